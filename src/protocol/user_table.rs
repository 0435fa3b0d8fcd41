//! The users of an inbound, by what they show: an id, or the hash of a password.
//!
//! They come and go while the service runs; whoever was found keeps what they need.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::sync::{Arc, PoisonError, RwLock};

use super::UserError;
use super::users::Identity;
use crate::session::User;

pub(super) struct UserTable<K>(RwLock<Table<K>>);

struct Table<K> {
    users: HashMap<K, Arc<UserEntry>>,
    /// Emails are alike without regard to case, as in V2Ray.
    emails: HashMap<String, K>,
    /// How many users there ever were.
    numbered: usize,
}

pub(super) struct UserEntry {
    pub(super) user: Arc<User>,
    number: usize,
}

impl<K: Copy + Eq + Hash> UserTable<K> {
    fn new(users: impl IntoIterator<Item = (K, User)>) -> Self {
        let mut table = Table {
            users: HashMap::new(),
            emails: HashMap::new(),
            numbered: 0,
        };
        for (key, user) in users {
            table.insert(key, user);
        }
        Self(RwLock::new(table))
    }

    /// The table of these users.
    pub(super) fn of<U: Identity<Key = K> + Into<User>>(users: Vec<U>) -> Self {
        Self::new(users.into_iter().map(|user| (user.key(), user.into())))
    }

    /// One more; neither the key nor the email may be another's.
    pub(super) fn add(&self, key: K, user: User) -> Result<(), UserError> {
        let mut table = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(email) = &user.email
            && table.emails.contains_key(&email.to_lowercase())
        {
            return Err(UserError::EmailTaken(email.clone()));
        }
        if table.users.contains_key(&key) {
            return Err(UserError::KeyTaken);
        }
        table.insert(key, user);
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

    pub(super) fn find(&self, key: &K) -> Option<Arc<UserEntry>> {
        let table = self.0.read().unwrap_or_else(PoisonError::into_inner);
        table.users.get(key).cloned()
    }
}

impl<K: Copy + Eq + Hash> Table<K> {
    fn insert(&mut self, key: K, user: User) {
        if let Some(email) = &user.email {
            self.emails.insert(email.to_lowercase(), key);
        }
        let entry = UserEntry {
            user: Arc::new(user),
            number: self.numbered,
        };
        self.numbered += 1;
        self.users.insert(key, Arc::new(entry));
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
    use super::*;

    fn user(email: &str) -> User {
        User {
            email: Some(email.to_owned()).filter(|email| !email.is_empty()),
            ..User::default()
        }
    }

    #[test]
    fn users_come_and_go_by_email() {
        let users = UserTable::new([(1, user("")), (2, user("b@x"))]);
        let found = |key| users.find(&key).map(|e| e.to_string());
        assert_eq!(found(1).as_deref(), Some("user 0"));
        assert_eq!(found(2).as_deref(), Some("b@x"));
        assert_eq!(found(3), None);
        let taken = UserError::EmailTaken("B@x".to_owned());
        assert_eq!(users.add(3, user("B@x")), Err(taken));
        assert_eq!(users.add(1, user("c@x")), Err(UserError::KeyTaken));
        assert_eq!(users.add(3, user("c@x")), Ok(()));
        assert_eq!(users.remove("B@X"), Ok(()));
        assert_eq!((found(2), found(3).as_deref()), (None, Some("c@x")));
        assert_eq!(users.remove(""), Err(UserError::NoEmail));
        let nobody = UserError::NotFound("b@x".to_owned());
        assert_eq!(users.remove("b@x"), Err(nobody));
        assert_eq!(users.add(2, user("b@x")), Ok(()));
        assert!(found(2).is_some());
    }
}
