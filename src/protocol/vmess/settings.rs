//! What a `vmess` inbound or outbound can be told.

#![warn(missing_docs)]

use uuid::Uuid;

use crate::protocol::servers::ServerSettings;
use crate::protocol::users::UserSettings;
use crate::protocol::{InboundTraits, Unsealed};
use crate::report::Place;
use crate::secret::Secret;

/// `settings` of a `vmess` inbound.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InboundSettings {
    /// `clients`.
    pub users: Vec<UserSettings>,
    /// `disableInsecureEncryption`: requests whose payload is not sealed are refused.
    pub sealed_only: bool,
}

/// `settings` of a `vmess` outbound.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OutboundSettings {
    /// `vnext`; each has at least one account.
    pub servers: Vec<ServerSettings<AccountSettings>>,
}

/// Who we are at a server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccountSettings {
    /// Where `security` stands.
    pub at: Place,
    /// `id`.
    pub id: Secret<Uuid>,
    /// `security`.
    pub security: Security,
    /// `experiments: AuthenticatedLength`: the lengths of chunks are sealed, too.
    pub authenticated_length: bool,
    /// `experiments: NoTerminationSignal`: a stream ends without an empty chunk.
    pub no_end_mark: bool,
    /// Index into `policy.levels`.
    pub level: u32,
}

/// `security` of an account: how its payload is sealed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Security {
    /// AES-128-GCM where the processor has instructions for it, else ChaCha20-Poly1305.
    #[default]
    Auto,
    /// AES-128-GCM.
    Aes128Gcm,
    /// ChaCha20-Poly1305.
    ChaCha20Poly1305,
    /// Chunks without a seal.
    None,
    /// No chunks either.
    Zero,
}

impl InboundSettings {
    /// What follows from the settings for others.
    pub fn traits(&self) -> InboundTraits {
        InboundTraits {
            requires_auth: true,
            ..InboundTraits::default()
        }
    }
}

impl OutboundSettings {
    /// Accounts whose payload nothing seals.
    pub fn unsealed(&self) -> impl Iterator<Item = Unsealed<'_>> {
        self.servers.iter().flat_map(|server| {
            let unsealed = server.accounts.iter().filter(|a| a.security.is_unsealed());
            unsealed.map(|account| Unsealed {
                at: &account.at,
                says: account.security.name(),
                instead: Some(Security::Auto.name()),
                server: &server.to.host,
            })
        })
    }
}

impl Security {
    /// Whether payload can be read, and changed, on the way.
    pub fn is_unsealed(self) -> bool {
        matches!(self, Self::None | Self::Zero)
    }

    /// V2Ray's word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Aes128Gcm => "aes-128-gcm",
            Self::ChaCha20Poly1305 => "chacha20-poly1305",
            Self::None => "none",
            Self::Zero => "zero",
        }
    }
}
