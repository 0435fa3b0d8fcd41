//! What a `dokodemo-door` inbound can be told.

#![warn(missing_docs)]

use crate::address::Destination;
use crate::mux;
use crate::protocol::InboundTraits;

/// `settings` of a `dokodemo-door` inbound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InboundSettings {
    /// `address` and `port`: where all goes; with `follow_redirect`, what was meant for the door itself.
    pub to: Option<Destination>,
    /// `followRedirect`: what a packet filter brings goes to where it was meant to go.
    pub follow_redirect: bool,
    /// `network`: whether TCP connections are listened for.
    pub tcp: bool,
    /// Whether a UDP port is listened on as well.
    pub udp: bool,
    /// `userLevel`: index into `policy.levels`.
    pub level: u32,
}

/// V2Ray listens for TCP alone unless it is told otherwise.
impl Default for InboundSettings {
    fn default() -> Self {
        Self {
            to: None,
            follow_redirect: false,
            tcp: true,
            udp: false,
            level: 0,
        }
    }
}

impl InboundSettings {
    /// What follows from the settings for others.
    pub fn traits(&self) -> InboundTraits {
        InboundTraits {
            handshake_level: None,
            streams: self.tcp,
            datagrams: self.udp,
            follows_redirect: self.follow_redirect,
            // V2Ray's API inbound is written without a port: what it leads to dials nothing.
            // The name of mux is no place, so it needs no port.
            lacks_port: !self.follow_redirect
                && self
                    .to
                    .as_ref()
                    .is_some_and(|to| to.port == 0 && !mux::is_meant(to)),
            ..InboundTraits::default()
        }
    }
}
