//! What a `socks` inbound or outbound can be told.

#![warn(missing_docs)]

use crate::address::Host;
use crate::protocol::accounts::Account;
use crate::protocol::servers::ServerSettings;
use crate::protocol::{Grant, InboundTraits};

/// `settings` of a `socks` inbound.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InboundSettings {
    /// `accounts`, with `auth: password`; without it anybody may use the proxy.
    pub accounts: Option<Vec<Account>>,
    /// `userLevel`: index into `policy.levels`, of everybody.
    pub level: u32,
    /// Whether UDP ASSOCIATE is granted, and a UDP port listened on.
    pub udp: bool,
    /// `udpTunnel`: whether datagrams may travel inside the connection, as gost's clients ask for. Beside it they are taken, as
    /// by gost, of those alone who have an association, also where nobody is asked for a password.
    pub udp_tunnel: bool,
    /// `ip`: the address told to UDP clients, in place of the inbound's own.
    pub udp_ip: Option<Host>,
    /// `allowTransparent`, for HTTP requests on the same port.
    pub transparent: bool,
    /// `waitForConnect`.
    pub grant: Grant,
    /// What of all that its first byte tells apart is taken; V2Ray's takes all.
    pub taken: Taken,
}

/// What clients may speak.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Taken {
    /// SOCKS 4, 4a and 5, and HTTP.
    #[default]
    All,
    /// SOCKS 4 and 4a.
    Four,
    /// RFC 1928.
    Five,
}

/// `settings` of a `socks` outbound.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OutboundSettings {
    /// They take turns.
    pub servers: Vec<ServerSettings<Account>>,
    /// `version`.
    pub version: Version,
    /// `udpTunnel`: datagrams travel inside the connection, for servers that are gosts.
    pub udp_tunnel: bool,
    /// Whether a client with an account offers to go without, as gost's do: its server may not ask for any.
    pub offers_none: bool,
}

/// What the servers speak.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Version {
    /// Names are resolved here, since SOCKS 4 knows IPv4 addresses only.
    Four,
    /// SOCKS 4 with names.
    FourA,
    /// RFC 1928.
    #[default]
    Five,
}

impl InboundSettings {
    /// What follows from the settings for others.
    pub fn traits(&self) -> InboundTraits {
        InboundTraits {
            handshake_level: Some(self.level),
            requires_auth: self.accounts.is_some(),
            is_proxy: true,
            datagrams: self.udp,
            auth_hint: "`accounts` with `auth: password`",
            ..InboundTraits::default()
        }
    }
}
