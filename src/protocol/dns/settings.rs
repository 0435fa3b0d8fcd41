//! What a `dns` outbound can be told.

#![warn(missing_docs)]

use std::ops::RangeInclusive;
use std::sync::Arc;

use crate::address::{Destination, Host, Network};
use crate::dns::codec::Kind;
use crate::matching::{Domains, Name};

/// `settings` of a `dns` outbound.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OutboundSettings {
    /// Where questions that are not answered here go, in place of where they were sent.
    pub network: Option<Network>,
    /// `address`.
    pub host: Option<Host>,
    /// `port`.
    pub port: Option<u16>,
    /// Xray's `rules`, and what its `blockTypes` means: the first that fits a question says what becomes of it.
    pub rules: Arc<[Rule]>,
    /// `nonIPQuery`: what becomes of questions that are not for addresses, where no rule fits.
    pub others: Act,
    /// `responseTTL` in seconds, if `overrideResponseTTL` asks for it.
    pub ttl: Option<u32>,
}

/// One of `rules`.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// `qType`: the types that it is for, all without any.
    pub kinds: Vec<RangeInclusive<u16>>,
    /// `domain`: the names that it is for.
    pub names: Option<Domains>,
    /// `action`.
    pub act: Act,
}

/// What becomes of a question.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Act {
    /// `direct`, or `skip`: it goes to the server.
    #[default]
    Forward,
    /// `drop`: it gets no answer.
    Drop,
    /// `return`, or `reject` (5): a reply with this code and nothing else.
    Reply(u16),
    /// `hijack`: addresses come from the built-in DNS, and whatever else is asked for gets this code.
    Answer(u16),
}

impl Rule {
    /// A and AAAA.
    pub const ADDRESSES: [RangeInclusive<u16>; 2] = [1..=1, 28..=28];

    pub(super) fn fits(&self, asked: &Kind) -> bool {
        let mut kinds = self.kinds.iter();
        (self.kinds.is_empty() || kinds.any(|kinds| kinds.contains(&asked.number)))
            && self
                .names
                .as_ref()
                .is_none_or(|names| names.contains(&Name::new(&asked.name)))
    }
}

impl OutboundSettings {
    /// Where other questions go that are sent to `to` by `network`.
    pub fn server(&self, network: Network, to: &Destination) -> (Network, Destination) {
        let host = self.host.as_ref().unwrap_or(&to.host).clone();
        let to = Destination::new(host, self.port.unwrap_or(to.port));
        (self.network.unwrap_or(network), to)
    }
}
