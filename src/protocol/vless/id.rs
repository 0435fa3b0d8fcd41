//! Whose id it is.
//!
//! ```text
//! | who 6 | route 2 | who 8 |
//! ```
//! As in Xray, the route is the client's to choose: rules may ask for it (`vlessRoute`), and it is no part of who comes.

use uuid::Uuid;

use crate::protocol::users::{Identity, UserSettings};
use crate::session::User;

/// A user of an inbound.
#[derive(Clone, Debug, PartialEq)]
pub struct VlessUser(pub UserSettings);

/// The id without its route.
pub(super) fn who(id: Uuid) -> Uuid {
    let mut bytes = id.into_bytes();
    bytes[6..8].fill(0);
    Uuid::from_bytes(bytes)
}

pub(super) fn route(id: Uuid) -> u16 {
    let bytes = id.into_bytes();
    u16::from_be_bytes([bytes[6], bytes[7]])
}

impl Identity for VlessUser {
    type Key = Uuid;
    const KEY: &'static str = "id, its bytes 7 and 8 aside";

    fn key(&self) -> Uuid {
        who(*self.0.id)
    }

    fn email(&self) -> Option<&str> {
        self.0.email()
    }
}

impl From<VlessUser> for UserSettings {
    fn from(VlessUser(user): VlessUser) -> Self {
        user
    }
}

impl From<VlessUser> for User {
    fn from(VlessUser(user): VlessUser) -> Self {
        user.into()
    }
}
