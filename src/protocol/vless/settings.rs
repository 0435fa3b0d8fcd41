//! What a `vless` inbound or outbound can be told.

use uuid::Uuid;

use crate::protocol::servers::ServerSettings;
use crate::protocol::{InboundTraits, Unsealed};
use crate::report::Place;
use crate::secret::Secret;
use crate::session::User;

/// `settings` of a `vless` inbound.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InboundSettings {
    pub users: Vec<UserSettings>,
}

/// Who may connect.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserSettings {
    pub id: Secret<Uuid>,
    /// V2Ray's label for a user; it need not be an address.
    pub email: Option<String>,
    /// Index into `policy.levels`.
    pub level: u32,
}

/// `settings` of a `vless` outbound.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OutboundSettings {
    /// `vnext`; each has at least one account.
    pub servers: Vec<ServerSettings<AccountSettings>>,
}

/// Who we are at a server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccountSettings {
    /// Where `encryption` stands.
    pub at: Place,
    pub id: Secret<Uuid>,
    /// Index into `policy.levels`.
    pub level: u32,
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
    /// All accounts: nothing but TLS seals their payload.
    pub fn unsealed(&self) -> impl Iterator<Item = Unsealed<'_>> {
        self.servers.iter().flat_map(|server| {
            server.accounts.iter().map(|account| Unsealed {
                at: &account.at,
                says: "vless",
                instead: None,
                server: &server.to.host,
            })
        })
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
