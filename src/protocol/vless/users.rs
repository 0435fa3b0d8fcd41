//! The users of an inbound, by id.
//!
//! They come and go while the service runs; whoever was found keeps what they need.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use uuid::Uuid;

use super::UserSettings;
use crate::protocol::UserError;
use crate::session::User;

pub(super) struct Users(RwLock<Table>);

#[derive(Default)]
struct Table {
    users: HashMap<Uuid, Arc<UserEntry>>,
    /// Emails are alike without regard to case, as in V2Ray.
    emails: HashMap<String, Uuid>,
    /// How many users there ever were.
    numbered: usize,
}

pub(super) struct UserEntry {
    pub(super) user: Arc<User>,
    number: usize,
}

impl Users {
    pub(super) fn new(users: Vec<UserSettings>) -> Self {
        let mut table = Table::default();
        for user in users {
            table.insert(user);
        }
        Self(RwLock::new(table))
    }

    /// One more; neither the id nor the email may be another's.
    pub(super) fn add(&self, user: UserSettings) -> Result<(), UserError> {
        let mut table = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(email) = &user.email
            && table.emails.contains_key(&email.to_lowercase())
        {
            return Err(UserError::EmailTaken(email.clone()));
        }
        if table.users.contains_key(&user.id) {
            return Err(UserError::IdTaken);
        }
        table.insert(user);
        Ok(())
    }

    /// Nobody is let in as this user any more; whoever is in stays.
    pub(super) fn remove(&self, email: &str) -> Result<(), UserError> {
        if email.is_empty() {
            return Err(UserError::NoEmail);
        }
        let mut table = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let id = table.emails.remove(&email.to_lowercase());
        let id = id.ok_or_else(|| UserError::NotFound(email.to_owned()))?;
        table.users.remove(&id);
        Ok(())
    }

    pub(super) fn find(&self, id: &Uuid) -> Option<Arc<UserEntry>> {
        let table = self.0.read().unwrap_or_else(PoisonError::into_inner);
        table.users.get(id).cloned()
    }
}

impl Table {
    fn insert(&mut self, user: UserSettings) {
        let id = *user.id;
        if let Some(email) = &user.email {
            self.emails.insert(email.to_lowercase(), id);
        }
        let entry = UserEntry {
            user: Arc::new(user.into()),
            number: self.numbered,
        };
        self.numbered += 1;
        self.users.insert(id, Arc::new(entry));
    }
}

/// How log lines name a user: never by id.
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

    fn user(id: u128, email: &str) -> UserSettings {
        UserSettings {
            id: Uuid::from_u128(id).into(),
            email: Some(email.to_owned()).filter(|email| !email.is_empty()),
            level: 0,
        }
    }

    #[test]
    fn users_come_and_go_by_email() {
        let users = Users::new(vec![user(1, ""), user(2, "b@x")]);
        let found = |id| users.find(&Uuid::from_u128(id)).map(|e| e.to_string());
        assert_eq!(found(1).as_deref(), Some("user 0"));
        assert_eq!(found(2).as_deref(), Some("b@x"));
        assert_eq!(found(3), None);
        let taken = UserError::EmailTaken("B@x".to_owned());
        assert_eq!(users.add(user(3, "B@x")), Err(taken));
        assert_eq!(users.add(user(1, "c@x")), Err(UserError::IdTaken));
        assert_eq!(users.add(user(3, "c@x")), Ok(()));
        assert_eq!(users.remove("B@X"), Ok(()));
        assert_eq!((found(2), found(3).as_deref()), (None, Some("c@x")));
        assert_eq!(users.remove(""), Err(UserError::NoEmail));
        let nobody = UserError::NotFound("b@x".to_owned());
        assert_eq!(users.remove("b@x"), Err(nobody));
        assert_eq!(users.add(user(2, "b@x")), Ok(()));
        assert!(found(2).is_some());
    }
}
