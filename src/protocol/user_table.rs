//! The users of an inbound, by what they show: an id, or the hash of a password.
//!
//! They come and go while the service runs; whoever was found keeps what they need.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use super::UserError;
use super::users::{Identity, NamedBy};
use crate::session::User;

pub(crate) struct UserTable<U: Identity>(RwLock<Table<U>>);

struct Table<U: Identity> {
    users: HashMap<U::Key, (U, Arc<UserEntry>)>,
    /// Emails are alike without regard to case, as in V2Ray.
    emails: HashMap<String, U::Key>,
    /// How many users there ever were.
    numbered: usize,
}

pub(crate) struct UserEntry {
    pub(super) user: Arc<User>,
    number: usize,
    named_by: NamedBy,
}

impl<U: Identity<Key: Copy> + Clone + PartialEq + Into<User>> UserTable<U> {
    /// The table of these users.
    pub(crate) fn of(users: Vec<U>) -> Self {
        let mut table = Table::empty(0);
        for user in users {
            table.insert(user, NamedBy::Config);
        }
        Self(RwLock::new(table))
    }

    /// Makes these the users that the config names. Those whom the API has added stay, where they have nothing of one of
    /// these.
    pub(super) fn set(&self, users: Vec<U>) {
        let mut table = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let empty = Table::empty(table.numbered);
        let mut before = std::mem::replace(&mut *table, empty).users;
        for user in users {
            let same = |(was, entry): &(U, Arc<UserEntry>)| {
                *was == user && entry.named_by == NamedBy::Config
            };
            match before.remove(&user.key()).filter(same) {
                Some((user, entry)) => table.place(user, entry),
                None => table.insert(user, NamedBy::Config),
            }
        }
        let added = before.into_values();
        for (user, entry) in added.filter(|(_, entry)| entry.named_by == NamedBy::Api) {
            if !table.has_email(user.email()) {
                table.place(user, entry);
            }
        }
    }

    /// Those whom the API has added.
    pub(super) fn added(&self) -> Vec<U> {
        let table = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let users = table.users.values();
        let added = users.filter(|(_, entry)| entry.named_by == NamedBy::Api);
        added.map(|(user, _)| user.clone()).collect()
    }

    /// One more; neither the key nor the email may be another's.
    pub(super) fn add(&self, user: U) -> Result<(), UserError> {
        let mut table = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(email) = user.email().filter(|email| table.has_email(Some(email))) {
            return Err(UserError::EmailTaken(email.to_owned()));
        }
        if table.users.contains_key(&user.key()) {
            return Err(UserError::KeyTaken);
        }
        table.insert(user, NamedBy::Api);
        Ok(())
    }

    /// Nobody is let in as this user any more; whoever is in stays.
    pub(super) fn remove(&self, email: &str) -> Result<(), UserError> {
        if email.is_empty() {
            return Err(UserError::NoEmail);
        }
        let mut table = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let key = table.emails.remove(&email.to_lowercase());
        let key = key.ok_or_else(|| UserError::NotFound(email.to_owned()))?;
        table.users.remove(&key);
        Ok(())
    }

    /// All of them in the order in which they came, or the one with this email.
    pub(super) fn list(&self, email: Option<&str>) -> Vec<U> {
        let table = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(email) = email {
            let key = table.emails.get(&email.to_lowercase());
            let found = key.and_then(|key| table.users.get(key));
            return found.map(|(user, _)| user.clone()).into_iter().collect();
        }
        let mut found: Vec<_> = table.users.values().collect();
        found.sort_by_key(|(_, entry)| entry.number);
        found.into_iter().map(|(user, _)| user.clone()).collect()
    }

    pub(super) fn count(&self) -> usize {
        let table = self.0.read().unwrap_or_else(PoisonError::into_inner);
        table.users.len()
    }

    pub(crate) fn find(&self, key: &U::Key) -> Option<Arc<UserEntry>> {
        let table = self.0.read().unwrap_or_else(PoisonError::into_inner);
        table.users.get(key).map(|(_, entry)| entry.clone())
    }
}

impl<U: Identity<Key: Copy> + Clone + PartialEq + Into<User>> Table<U> {
    fn empty(numbered: usize) -> Self {
        Self {
            users: HashMap::new(),
            emails: HashMap::new(),
            numbered,
        }
    }

    fn has_email(&self, email: Option<&str>) -> bool {
        email.is_some_and(|email| self.emails.contains_key(&email.to_lowercase()))
    }

    fn insert(&mut self, user: U, named_by: NamedBy) {
        let entry = UserEntry {
            user: Arc::new(user.clone().into()),
            number: self.numbered,
            named_by,
        };
        self.numbered += 1;
        self.place(user, Arc::new(entry));
    }

    fn place(&mut self, user: U, entry: Arc<UserEntry>) {
        let key = user.key();
        if let Some(email) = user.email() {
            self.emails.insert(email.to_lowercase(), key);
        }
        self.users.insert(key, (user, entry));
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

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::protocol::UserSettings;

    fn user(id: u128, email: &str) -> UserSettings {
        UserSettings {
            id: Uuid::from_u128(id).into(),
            email: Some(email.to_owned()).filter(|email| !email.is_empty()),
            level: 0,
        }
    }

    #[test]
    fn users_come_and_go_by_email() {
        let users = UserTable::of(vec![user(1, ""), user(2, "b@x")]);
        let found = |id| users.find(&Uuid::from_u128(id)).map(|e| e.to_string());
        assert_eq!(found(1).as_deref(), Some("user 0"));
        assert_eq!(found(2).as_deref(), Some("b@x"));
        assert_eq!(found(3), None);
        let taken = UserError::EmailTaken("B@x".to_owned());
        assert_eq!(users.add(user(3, "B@x")), Err(taken));
        assert_eq!(users.add(user(1, "c@x")), Err(UserError::KeyTaken));
        assert_eq!(users.add(user(3, "c@x")), Ok(()));
        assert_eq!(users.remove("B@X"), Ok(()));
        assert_eq!((found(2), found(3).as_deref()), (None, Some("c@x")));
        assert_eq!(users.count(), 2);
        assert_eq!(users.list(None), [user(1, ""), user(3, "c@x")]);
        assert_eq!(users.list(Some("C@x")), [user(3, "c@x")]);
        assert_eq!(users.list(Some("b@x")), []);
        assert_eq!(users.remove(""), Err(UserError::NoEmail));
        let nobody = UserError::NotFound("b@x".to_owned());
        assert_eq!(users.remove("b@x"), Err(nobody));
        assert_eq!(users.add(user(2, "b@x")), Ok(()));
        assert!(found(2).is_some());
    }

    #[test]
    fn a_config_names_its_users_anew_and_those_of_the_api_stay() {
        let users = UserTable::of(vec![user(1, "a@x"), user(2, "b@x"), user(3, "")]);
        let entry = |id| users.find(&Uuid::from_u128(id));
        let (first, third) = (entry(1), entry(3));
        for (id, email) in [(7, "api@x"), (8, "later@x"), (9, "taken@x")] {
            assert_eq!(users.add(user(id, email)), Ok(()));
        }
        users.set(vec![
            user(1, "a@x"),
            user(3, "c@x"),
            user(8, "other@x"),
            user(10, "Taken@x"),
        ]);
        let mut emails: Vec<_> = users
            .list(None)
            .into_iter()
            .filter_map(|u| u.email)
            .collect();
        emails.sort();
        assert_eq!(emails, ["Taken@x", "a@x", "api@x", "c@x", "other@x"]);
        assert!(
            first
                .zip(entry(1))
                .is_some_and(|(was, is)| Arc::ptr_eq(&was, &is))
        );
        assert!(
            third
                .zip(entry(3))
                .is_some_and(|(was, is)| !Arc::ptr_eq(&was, &is))
        );
        assert_eq!(users.added(), [user(7, "api@x")]);
        users.set(Vec::new());
        assert_eq!(users.list(None), [user(7, "api@x")]);
        assert_eq!(users.remove("api@x"), Ok(()));
        assert_eq!(users.count(), 0);
    }
}
