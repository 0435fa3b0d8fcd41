//! What a `trojan` inbound or outbound can be told.

use super::codec::Key;
use crate::protocol::servers::ServerSettings;
use crate::protocol::users::Identity;
use crate::protocol::{FallbackSettings, InboundTraits, Unsealed};
use crate::report::Place;
use crate::secret::Secret;
use crate::session::User;

/// `settings` of a `trojan` inbound.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InboundSettings {
    /// `clients`; no two have the same password.
    pub users: Vec<UserSettings>,
    /// Who gets the links of strangers.
    pub fallbacks: Vec<FallbackSettings>,
}

/// Who may connect.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserSettings {
    pub password: Secret<String>,
    /// V2Ray's label for a user; it need not be an address.
    pub email: Option<String>,
    /// Index into `policy.levels`.
    pub level: u32,
}

/// `settings` of a `trojan` outbound.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OutboundSettings {
    /// `servers`; each has one account.
    pub servers: Vec<ServerSettings<AccountSettings>>,
}

/// Who we are at a server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccountSettings {
    /// Where `password` stands.
    pub at: Place,
    pub password: Secret<String>,
    /// Index into `policy.levels`.
    pub level: u32,
}

impl Identity for UserSettings {
    type Key = Key;
    const KEY: &'static str = "password";

    fn key(&self) -> Key {
        Key::of(&self.password)
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

impl InboundSettings {
    pub fn traits(&self) -> InboundTraits {
        InboundTraits {
            requires_auth: true,
            ..InboundTraits::default()
        }
    }
}

impl OutboundSettings {
    /// All accounts: nothing but TLS seals their payload, nor what they show the server.
    pub fn unsealed(&self) -> impl Iterator<Item = Unsealed<'_>> {
        self.servers.iter().flat_map(|server| {
            server.accounts.iter().map(|account| Unsealed {
                at: &account.at,
                says: "trojan",
                instead: None,
                server: &server.to.host,
            })
        })
    }
}
