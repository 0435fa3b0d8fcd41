//! Users of an inbound that come and go while it runs.

use thiserror::Error;

use super::{vless, vmess};

/// A user as their protocol has one.
#[derive(Clone, Debug, PartialEq)]
pub enum UserSettings {
    Vless(vless::UserSettings),
    Vmess(vmess::UserSettings),
}

/// Why the users of an inbound stay as they are; V2Ray's words where it has some.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum UserError {
    #[error("User {0} already exists.")]
    EmailTaken(String),
    #[error("another user has the same id")]
    IdTaken,
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
