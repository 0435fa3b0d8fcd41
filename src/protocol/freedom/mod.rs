//! freedom: straight to the target.

mod packets;
mod settings;

pub use settings::{OutboundSettings, Redirect};

use crate::address::Destination;
use crate::dns::{Lookup, Strategy};
use crate::io::{BindUdp, Link, Packets};
use crate::protocol::bare;

pub struct Outbound(OutboundSettings);

impl From<OutboundSettings> for Outbound {
    fn from(settings: OutboundSettings) -> Self {
        Self(settings)
    }
}

impl Outbound {
    /// Where a session to `to` really goes (`redirect`).
    pub fn target(&self, to: &Destination) -> Destination {
        self.0.redirect.apply(to)
    }

    pub fn strategy(&self) -> Strategy {
        self.0.strategy
    }

    pub fn level(&self) -> u32 {
        self.0.level
    }

    /// A stream by a link to the target.
    pub fn stream(&self, link: Link) -> Link {
        bare::headless_client(link)
    }

    /// Datagrams to anyone.
    pub fn packets(&self, bind: BindUdp, lookup: Lookup) -> Box<dyn Packets> {
        Box::new(packets::Sockets::new(bind, lookup, self.0.redirect.clone()))
    }
}

/// Datagrams to anyone, as of an outbound without settings.
pub fn packets(bind: BindUdp) -> Box<dyn Packets> {
    let redirect = Redirect::default();
    Box::new(packets::Sockets::new(bind, Lookup::System, redirect))
}
