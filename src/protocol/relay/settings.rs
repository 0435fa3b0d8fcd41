//! What a `relay` inbound or outbound can be told.

#![warn(missing_docs)]

use std::sync::Arc;

use crate::address::{Destination, PortRange};
use crate::protocol::InboundTraits;
use crate::protocol::accounts::Account;
use crate::protocol::servers::ServerSettings;
use crate::seam::Fallback;
use crate::smux::{self, MAX_STREAMS};

/// `settings` of a `relay` inbound.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InboundSettings {
    /// `users`; without any, anybody may use it.
    pub accounts: Vec<Account>,
    /// `userLevel`: index into `policy.levels`, of everybody.
    pub level: u32,
    /// What clients may ask for.
    pub service: Service,
    /// `hidden`: who has no or a wrong password is let go without an answer.
    pub hidden: bool,
    /// Who gets the links of those who speak something else, in a process that has both on one port.
    pub stranger: Option<Arc<Fallback>>,
}

/// What a `relay` inbound does for its clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Service {
    /// `forward`: every session goes to one of these, in turn, whatever its request says.
    Forward(Vec<Destination>),
    /// What a request says.
    AsAsked {
        /// `connect`: whether it may lead to wherever the client wants.
        connect: bool,
        /// `bind`: whether ports of this machine are opened for clients.
        bind: Option<BindSettings>,
    },
}

/// Which ports clients may have opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BindSettings {
    /// `allowPorts`; all of them where it is left out.
    pub ports: Vec<PortRange>,
    /// `maxVisitors`: how many may be at one port at once, 65536 by default, and of those by UDP 4096 at most.
    pub visitors: usize,
    /// `muxVersion`: of smux, by which visitors of TCP are led to a client. A client goes by the first frame; a gost is told.
    pub mux: smux::Version,
}

/// `settings` of a `relay` outbound.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OutboundSettings {
    /// They take turns.
    pub servers: Vec<ServerSettings<Account>>,
    /// `udp`: how datagrams are asked for.
    pub udp: Udp,
}

/// How datagrams are asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Udp {
    /// `connect`: one destination for each connection, which every server allows.
    #[default]
    Connect,
    /// `associate`: any number in one connection, for which a gost wants `bind=true`.
    Associate,
}

impl Default for Service {
    fn default() -> Self {
        Self::AsAsked {
            connect: true,
            bind: None,
        }
    }
}

/// As many as one session takes.
impl Default for BindSettings {
    fn default() -> Self {
        Self {
            ports: Vec::new(),
            visitors: MAX_STREAMS,
            mux: smux::Version::One,
        }
    }
}

impl BindSettings {
    /// Whether clients may have this port opened. Port 0 stands for any that is free, so all must be allowed.
    pub fn allows(&self, port: u16) -> bool {
        match port {
            0 => self.ports.is_empty(),
            _ => self.ports.is_empty() || self.ports.iter().any(|range| range.contains(port)),
        }
    }
}

impl InboundSettings {
    /// What follows from the settings for others.
    pub fn traits(&self) -> InboundTraits {
        InboundTraits {
            handshake_level: Some(self.level),
            requires_auth: !self.accounts.is_empty(),
            is_proxy: matches!(self.service, Service::AsAsked { .. }),
            auth_hint: "`users`",
            ..InboundTraits::default()
        }
    }
}
