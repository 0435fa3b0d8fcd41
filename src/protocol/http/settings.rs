//! What an `http` inbound or outbound can be told.

#![warn(missing_docs)]

use http::HeaderMap;

use crate::protocol::accounts::Account;
use crate::protocol::servers::ServerSettings;
use crate::protocol::{Grant, InboundTraits};

/// `settings` of an `http` inbound.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InboundSettings {
    /// Who may use it; empty: anybody.
    pub accounts: Vec<Account>,
    /// `userLevel`: index into `policy.levels`, of everybody.
    pub level: u32,
    /// `allowTransparent`: whether requests are taken that were not meant for a proxy.
    pub transparent: bool,
    /// `udpTunnel`: whether datagrams may travel inside a CONNECT, as gost's clients ask for.
    pub udp_tunnel: bool,
    /// `waitForConnect`: also whether it is told why there is no way.
    pub grant: Grant,
}

/// `settings` of an `http` outbound.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OutboundSettings {
    /// They take turns.
    pub servers: Vec<ServerSettings<Account>>,
    /// `headers`, sent with every CONNECT.
    pub headers: HeaderMap,
    /// `udpTunnel`: datagrams travel inside a CONNECT, for servers that are gosts.
    pub udp_tunnel: bool,
}

impl InboundSettings {
    /// What follows from the settings for others.
    pub fn traits(&self) -> InboundTraits {
        InboundTraits {
            handshake_level: Some(self.level),
            requires_auth: !self.accounts.is_empty(),
            is_proxy: true,
            ..InboundTraits::default()
        }
    }
}
