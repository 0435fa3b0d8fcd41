//! The users of an inbound that knows them by an id, or by a password; they come and go while it runs.

use std::hash::Hash;

use thiserror::Error;
use uuid::Uuid;

use super::{shadowsocks, trojan};
use crate::secret::Secret;
use crate::session::User;

/// Who may connect.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserSettings {
    pub id: Secret<Uuid>,
    /// V2Ray's label for a user; it need not be an address.
    pub email: Option<String>,
    /// Index into `policy.levels`.
    pub level: u32,
}

/// What no two users of one inbound share.
pub trait Identity {
    type Key: Eq + Hash;
    /// What configs call it.
    const KEY: &'static str;

    fn key(&self) -> Self::Key;

    fn email(&self) -> Option<&str>;
}

/// Who has named a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NamedBy {
    Config,
    /// Stays when the config is read again.
    Api,
}

/// A user of an inbound, or to be one, of the protocol that their account is of.
#[derive(Clone, Debug, PartialEq)]
pub enum AnyUser {
    Shadowsocks(shadowsocks::UserSettings<shadowsocks::AeadKey>),
    Shadowsocks2022(shadowsocks::UserSettings<Secret<Vec<u8>>>),
    Trojan(trojan::UserSettings),
    Vless(UserSettings),
    Vmess(UserSettings),
}

impl Identity for UserSettings {
    type Key = Uuid;
    const KEY: &'static str = "id";

    fn key(&self) -> Uuid {
        *self.id
    }

    fn email(&self) -> Option<&str> {
        self.email.as_deref()
    }
}

impl From<UserSettings> for User {
    fn from(user: UserSettings) -> Self {
        Self {
            email: user.email,
            level: user.level,
            anonymous: false,
        }
    }
}

/// Why the users of an inbound stay as they are; V2Ray's words where it has some.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum UserError {
    #[error("User {0} already exists.")]
    EmailTaken(String),
    #[error("another user has the same id, or the same password")]
    KeyTaken,
    #[error("a key of {found} bytes, the method of this inbound wants {wanted}")]
    KeyLength { found: usize, wanted: usize },
    #[error("Email must not be empty.")]
    NoEmail,
    #[error("User {0} not found.")]
    NotFound(String),
    #[error("the account is of another protocol than the inbound")]
    OtherProtocol,
    /// The protocol knows no users that could change.
    #[error("proxy is not a UserManager")]
    NoUsers,
}
