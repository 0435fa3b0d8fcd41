//! What a `vless` inbound or outbound can be told.

use uuid::Uuid;

use crate::protocol::servers::ServerSettings;
use crate::protocol::users::UserSettings;
use crate::protocol::{FallbackSettings, InboundTraits, Unsealed};
use crate::report::Place;
use crate::secret::Secret;

/// `settings` of a `vless` inbound.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InboundSettings {
    pub users: Vec<UserSettings>,
    /// Who gets the links of strangers.
    pub fallbacks: Vec<FallbackSettings>,
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
