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
use crate::session::User;
use bytes::BytesMut;

pub(super) struct UserEntry {
    pub(super) user: Arc<User>,
    pub(super) number: u64,
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
                for user in users {
                    passwords.insert(&UserSettings {
                        key: user.key.key(),
                        email: user.email,
                        level: user.level,
                    });
                }
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
                for user in users {
                    identities.insert(&user);
                }
                Self::Identities(identities)
            }
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
        let AeadKey { cipher, key } = user.key;
        let has = |entry: &Arc<UserEntry>| (entry.cipher, entry.key) == (cipher, key);
        if table.users.iter().any(has) {
            return Err(UserError::KeyTaken);
        }
        let number = table.name(user.email.as_deref())?;
        let entry = entry(user, cipher, key, number);
        table.users.push(Arc::new(entry));
        Ok(())
    }

    /// As a config has it, where nobody has anything of another.
    fn insert(&self, user: &UserSettings<AeadKey>) {
        let added = self.add(user);
        debug_assert!(added.is_ok(), "{added:?}");
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
        let hash = user.key.hash();
        if table.users.contains_key(&hash) {
            return Err(UserError::KeyTaken);
        }
        let number = table.name(user.email.as_deref())?;
        let entry = entry(user, self.cipher, user.key, number);
        table.users.insert(hash, Arc::new(entry));
        Ok(())
    }

    /// As a config has it, where nobody has anything of another.
    fn insert(&self, user: &UserSettings<Key>) {
        let added = self.add(user);
        debug_assert!(added.is_ok(), "{added:?}");
    }

    /// The user whose key has this hash.
    pub(super) fn find(&self, hash: &[u8; 16]) -> Option<Arc<UserEntry>> {
        let table = self.users.read().unwrap_or_else(PoisonError::into_inner);
        table.users.get(hash).cloned()
    }
}

impl<U> Table<U> {
    /// The number of one more user.
    fn name(&mut self, email: Option<&str>) -> Result<u64, UserError> {
        if let Some(email) = email {
            let lower = email.to_lowercase();
            if self.emails.contains_key(&lower) {
                return Err(UserError::EmailTaken(email.to_owned()));
            }
            self.emails.insert(lower, self.numbered);
        }
        self.numbered += 1;
        Ok(self.numbered - 1)
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
        cipher,
        key,
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
