//! What a `dns` outbound can be told.

#![warn(missing_docs)]

use crate::address::{Destination, Host, Network};

/// `settings` of a `dns` outbound.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OutboundSettings {
    /// Where questions that are not answered here go, in place of where they were sent.
    pub network: Option<Network>,
    /// `address`.
    pub host: Option<Host>,
    /// `port`.
    pub port: Option<u16>,
    /// `nonIPQuery`.
    pub others: Others,
    /// `responseTTL` in seconds, if `overrideResponseTTL` asks for it.
    pub ttl: Option<u32>,
}

/// What becomes of questions that are not for addresses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Others {
    /// `skip`: they go to the server.
    #[default]
    Forward,
    /// They get no answer.
    Drop,
    /// `reject`: they are refused.
    Refuse,
}

impl OutboundSettings {
    /// Where other questions go that are sent to `to` by `network`.
    pub fn server(&self, network: Network, to: &Destination) -> (Network, Destination) {
        let host = self.host.as_ref().unwrap_or(&to.host).clone();
        let to = Destination::new(host, self.port.unwrap_or(to.port));
        (self.network.unwrap_or(network), to)
    }
}
