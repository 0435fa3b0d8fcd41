//! The users of an inbound, by what they show.
//!
//! They come and go while the service runs; whoever was found keeps what they need.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use super::codec::chunks::{Edition, LENGTH, Opener};
use super::codec::keys::Key;
use super::codec::method::Cipher;
use super::codec::packet;
use super::settings::{Access, AeadKey, Blake3Key, UserSettings};
use crate::protocol::UserError;
use crate::protocol::users::NamedBy;
use crate::session::User;
use bytes::BytesMut;

pub(super) struct UserEntry {
    pub(super) user: Arc<User>,
    pub(super) number: u64,
    named_by: NamedBy,
    pub(super) cipher: Cipher,
    pub(super) key: Key,
}

/// Users whose keys are tried one after the other.
pub(super) struct Passwords(RwLock<Table<Vec<Arc<UserEntry>>>>);

/// Users who are named by the hash of their key.
pub(super) struct Identities {
    pub(super) cipher: Cipher,
    /// The server's.
    pub(super) key: Key,
    users: RwLock<Table<HashMap<[u8; 16], Arc<UserEntry>>>>,
}

#[derive(Default)]
struct Table<U> {
    users: U,
    /// Emails are alike without regard to case, as in V2Ray.
    emails: HashMap<String, u64>,
    /// How many users there ever were.
    numbered: u64,
}

/// Who may connect.
pub(super) enum Users {
    Anybody(Arc<UserEntry>),
    Passwords(Passwords),
    OneKey(Arc<UserEntry>),
    Identities(Identities),
}

/// Whose a first flight is.
pub(super) enum Found {
    /// With what opens the rest, which begins with the first chunk.
    User(Arc<UserEntry>, Opener),
    /// More bytes may tell.
    NotYet,
    Nobody,
}

impl Users {
    pub(super) fn new(access: Access) -> Self {
        match access {
            Access::Anybody(user) => {
                let none = Key::new(Cipher::Aes128Gcm, &[0; 16]).expect("it has 16 bytes");
                let mut entry = entry(&user, Cipher::Aes128Gcm, none, 0);
                entry.user = Arc::new(User {
                    anonymous: true,
                    ..User::clone(&entry.user)
                });
                Self::Anybody(Arc::new(entry))
            }
            Access::Passwords(users) => {
                let passwords = Passwords(RwLock::default());
                passwords.set(&users.into_iter().map(with_key).collect::<Vec<_>>());
                Self::Passwords(passwords)
            }
            Access::OneKey(user) => {
                let Blake3Key { cipher, key } = user.key;
                Self::OneKey(Arc::new(entry(&user, cipher, key, 0)))
            }
            Access::Identities { cipher, key, users } => {
                let identities = Identities {
                    cipher,
                    key,
                    users: RwLock::default(),
                };
                identities.set(&users);
                Self::Identities(identities)
            }
        }
    }

    /// Makes the users of `access` those that the config names; no other part of it is looked at. Those whom the API has
    /// added stay, where they have nothing of one of these.
    pub(super) fn set(&self, access: Access) {
        match (self, access) {
            (Self::Passwords(passwords), Access::Passwords(users)) => {
                passwords.set(&users.into_iter().map(with_key).collect::<Vec<_>>());
            }
            (Self::Identities(identities), Access::Identities { users, .. }) => {
                identities.set(&users);
            }
            _ => {}
        }
    }

    /// Adds those whom the API has added to `other`, where they fit.
    pub(super) fn add_added(&self, other: &Self) {
        match (self, other) {
            (Self::Passwords(passwords), Self::Passwords(other)) => {
                let users = other.0.read().unwrap_or_else(PoisonError::into_inner);
                for entry in users.users.iter().filter(|entry| entry.is_added()) {
                    let key = AeadKey {
                        cipher: entry.cipher,
                        key: entry.key,
                    };
                    let _ = passwords.add(&entry.settings(key));
                }
            }
            (Self::Identities(identities), Self::Identities(other))
                if identities.cipher == other.cipher =>
            {
                let users = other.users.read().unwrap_or_else(PoisonError::into_inner);
                for entry in users.users.values().filter(|entry| entry.is_added()) {
                    let _ = identities.add(&entry.settings(entry.key));
                }
            }
            _ => {}
        }
    }

    /// Nobody is let in as this user any more; whoever is in stays.
    pub(super) fn remove(&self, email: &str) -> Result<(), UserError> {
        match self {
            Self::Anybody(_) | Self::OneKey(_) => Err(UserError::NoUsers),
            Self::Passwords(passwords) => {
                let mut table = passwords.0.write().unwrap_or_else(PoisonError::into_inner);
                let number = table.forget(email)?;
                table.users.retain(|entry| entry.number != number);
                Ok(())
            }
            Self::Identities(identities) => {
                let users = &identities.users;
                let mut table = users.write().unwrap_or_else(PoisonError::into_inner);
                let number = table.forget(email)?;
                table.users.retain(|_, entry| entry.number != number);
                Ok(())
            }
        }
    }
}

impl Users {
    /// All of them in the order in which they came, or the one with this email.
    pub(super) fn list(
        &self,
        email: Option<&str>,
    ) -> Result<Vec<UserSettings<AeadKey>>, UserError> {
        let mut entries: Vec<Arc<UserEntry>> = match self {
            Self::Anybody(_) | Self::OneKey(_) => return Err(UserError::NoUsers),
            Self::Passwords(passwords) => {
                let table = passwords.0.read().unwrap_or_else(PoisonError::into_inner);
                table.users.clone()
            }
            Self::Identities(identities) => {
                let users = &identities.users;
                let table = users.read().unwrap_or_else(PoisonError::into_inner);
                table.users.values().cloned().collect()
            }
        };
        entries.sort_by_key(|entry| entry.number);
        if let Some(email) = email.map(str::to_lowercase) {
            let own = |entry: &Arc<UserEntry>| entry.user.email.as_ref().map(|e| e.to_lowercase());
            entries.retain(|entry| own(entry).as_ref() == Some(&email));
        }
        let settings = |entry: Arc<UserEntry>| UserSettings {
            key: AeadKey {
                cipher: entry.cipher,
                key: entry.key,
            },
            email: entry.user.email.clone(),
            level: entry.user.level,
        };
        Ok(entries.into_iter().map(settings).collect())
    }
}

impl Passwords {
    /// One more; neither the password nor the email may be another's.
    pub(super) fn add(&self, user: &UserSettings<AeadKey>) -> Result<(), UserError> {
        let mut table = self.0.write().unwrap_or_else(PoisonError::into_inner);
        table.add_password(user, NamedBy::Api)
    }

    fn set(&self, users: &[UserSettings<AeadKey>]) {
        let mut table = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let mut before = table.empty();
        for user in users {
            let same = |entry: &Arc<UserEntry>| {
                let AeadKey { cipher, key } = user.key;
                (entry.cipher, entry.key) == (cipher, key) && entry.is_the_configs(user)
            };
            match before.iter().position(same) {
                Some(place) => table.keep(before.swap_remove(place), Vec::push),
                // As a config has it, where nobody has anything of another.
                None => drop(table.add_password(user, NamedBy::Config)),
            }
        }
        for entry in before.into_iter().filter(|entry| entry.is_added()) {
            let has =
                |other: &Arc<UserEntry>| (other.cipher, other.key) == (entry.cipher, entry.key);
            if !table.has_email(entry.user.email.as_deref()) && !table.users.iter().any(has) {
                table.keep(entry, Vec::push);
            }
        }
    }

    /// Tries the keys for which `flight` is long enough, and was not when it had `before` bytes.
    pub(super) fn find(&self, flight: &[u8], before: usize) -> Found {
        let table = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let mut may_come = false;
        for entry in &table.users {
            let salt_len = entry.cipher.key_len();
            let wanted = salt_len + LENGTH;
            may_come |= wanted > flight.len();
            if wanted <= before || wanted > flight.len() {
                continue;
            }
            let (salt, rest) = flight.split_at(salt_len);
            let mut opener = Opener::new(Edition::Aead, entry.cipher, &entry.key, salt);
            if opener.chunk(rest).is_ok() {
                return Found::User(entry.clone(), opener);
            }
        }
        match may_come {
            true => Found::NotYet,
            false => Found::Nobody,
        }
    }

    /// Whose datagram it is, and what it says; `first` is asked before all others.
    pub(super) fn open(
        &self,
        datagram: &[u8],
        first: Option<&Arc<UserEntry>>,
    ) -> Option<(Arc<UserEntry>, BytesMut)> {
        let open = |entry: &Arc<UserEntry>| packet::open(entry.cipher, &entry.key, datagram);
        let table = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let first = first.filter(|first| table.users.iter().any(|entry| Arc::ptr_eq(entry, first)));
        let mut all = first.into_iter().chain(&table.users);
        all.find_map(|entry| Some((entry.clone(), open(entry)?)))
    }
}

impl Identities {
    /// One more; neither the key nor the email may be another's.
    pub(super) fn add(&self, user: &UserSettings<Key>) -> Result<(), UserError> {
        let mut table = self.users.write().unwrap_or_else(PoisonError::into_inner);
        table.add_identity(self.cipher, user, NamedBy::Api)
    }

    fn set(&self, users: &[UserSettings<Key>]) {
        let mut table = self.users.write().unwrap_or_else(PoisonError::into_inner);
        let mut before = table.empty();
        let place = |users: &mut HashMap<_, _>, entry: Arc<UserEntry>| {
            users.insert(entry.key.hash(), entry);
        };
        for user in users {
            let known = before.remove(&user.key.hash());
            match known.filter(|entry| entry.is_the_configs(user)) {
                Some(entry) => table.keep(entry, place),
                // As a config has it, where nobody has anything of another.
                None => drop(table.add_identity(self.cipher, user, NamedBy::Config)),
            }
        }
        for entry in before.into_values().filter(|entry| entry.is_added()) {
            if !table.has_email(entry.user.email.as_deref()) {
                table.keep(entry, place);
            }
        }
    }

    /// The user whose key has this hash.
    pub(super) fn find(&self, hash: &[u8; 16]) -> Option<Arc<UserEntry>> {
        let table = self.users.read().unwrap_or_else(PoisonError::into_inner);
        table.users.get(hash).cloned()
    }
}

impl Table<Vec<Arc<UserEntry>>> {
    fn add_password(
        &mut self,
        user: &UserSettings<AeadKey>,
        named_by: NamedBy,
    ) -> Result<(), UserError> {
        let AeadKey { cipher, key } = user.key;
        let has = |entry: &Arc<UserEntry>| (entry.cipher, entry.key) == (cipher, key);
        self.refuse_known(user.email.as_deref())?;
        if self.users.iter().any(has) {
            return Err(UserError::KeyTaken);
        }
        let number = self.name(user.email.as_deref());
        let entry = UserEntry {
            named_by,
            ..entry(user, cipher, key, number)
        };
        self.users.push(Arc::new(entry));
        Ok(())
    }
}

impl Table<HashMap<[u8; 16], Arc<UserEntry>>> {
    fn add_identity(
        &mut self,
        cipher: Cipher,
        user: &UserSettings<Key>,
        named_by: NamedBy,
    ) -> Result<(), UserError> {
        let hash = user.key.hash();
        self.refuse_known(user.email.as_deref())?;
        if self.users.contains_key(&hash) {
            return Err(UserError::KeyTaken);
        }
        let number = self.name(user.email.as_deref());
        let entry = UserEntry {
            named_by,
            ..entry(user, cipher, user.key, number)
        };
        self.users.insert(hash, Arc::new(entry));
        Ok(())
    }
}

impl<U: Default> Table<U> {
    /// Takes all users out.
    fn empty(&mut self) -> U {
        self.emails.clear();
        std::mem::take(&mut self.users)
    }

    fn has_email(&self, email: Option<&str>) -> bool {
        email.is_some_and(|email| self.emails.contains_key(&email.to_lowercase()))
    }

    /// Puts a user back.
    fn keep(&mut self, entry: Arc<UserEntry>, place: impl Fn(&mut U, Arc<UserEntry>)) {
        if let Some(email) = &entry.user.email {
            self.emails.insert(email.to_lowercase(), entry.number);
        }
        place(&mut self.users, entry);
    }
}

impl UserEntry {
    fn is_added(&self) -> bool {
        self.named_by == NamedBy::Api
    }

    /// Whether the config has named this user before, and by all but the key in the same way.
    fn is_the_configs<K>(&self, user: &UserSettings<K>) -> bool {
        self.named_by == NamedBy::Config
            && self.user.email == user.email
            && self.user.level == user.level
    }

    fn settings<K>(&self, key: K) -> UserSettings<K> {
        UserSettings {
            key,
            email: self.user.email.clone(),
            level: self.user.level,
        }
    }
}

impl<U> Table<U> {
    /// Panels know by this one that a user is there, whatever else is the same.
    fn refuse_known(&self, email: Option<&str>) -> Result<(), UserError> {
        let known = email.filter(|email| self.emails.contains_key(&email.to_lowercase()));
        known.map_or(Ok(()), |email| Err(UserError::EmailTaken(email.to_owned())))
    }

    /// The number of one more user, whose email nobody has.
    fn name(&mut self, email: Option<&str>) -> u64 {
        if let Some(email) = email {
            self.emails.insert(email.to_lowercase(), self.numbered);
        }
        self.numbered += 1;
        self.numbered - 1
    }

    /// The number that the user with this email had.
    fn forget(&mut self, email: &str) -> Result<u64, UserError> {
        if email.is_empty() {
            return Err(UserError::NoEmail);
        }
        let number = self.emails.remove(&email.to_lowercase());
        number.ok_or_else(|| UserError::NotFound(email.to_owned()))
    }
}

fn entry<K>(user: &UserSettings<K>, cipher: Cipher, key: Key, number: u64) -> UserEntry {
    UserEntry {
        user: Arc::new(User {
            email: user.email.clone(),
            level: user.level,
            anonymous: false,
        }),
        number,
        named_by: NamedBy::Config,
        cipher,
        key,
    }
}

fn with_key(user: UserSettings<super::AeadPassword>) -> UserSettings<AeadKey> {
    UserSettings {
        key: user.key.key(),
        email: user.email,
        level: user.level,
    }
}

/// How log lines name a user: never by key.
impl fmt::Display for UserEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.user.email {
            Some(email) => f.write_str(email),
            None => write!(f, "user {}", self.number),
        }
    }
}
