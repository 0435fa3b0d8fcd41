//! freedom: straight to the target.

mod addressed;
mod names;
mod noise;
mod packets;
mod redirected;
mod rules;
mod settings;

use std::net::IpAddr;
use std::sync::Arc;

pub use noise::{Content, Family, LARGEST_DATAGRAM, MOST_NOISES, Noise};
pub use rules::{Action, FinalRule, FinalRules, Gate};
pub use settings::{OutboundSettings, Redirect};

use crate::address::{Destination, Network};
use crate::dns::{Lookup, Strategy};
use crate::io::fragment;
use crate::io::{BindUdp, Link, Packets};
use crate::protocol::bare;
use crate::seam::ProxyVersion;
use crate::session::Entry;

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

    /// The header that streams begin with.
    pub fn proxy_header(&self) -> Option<ProxyVersion> {
        self.0.proxy_header
    }

    /// A stream by a link to the target.
    pub fn stream(&self, link: Link) -> Link {
        self.cut(bare::headless_client(link))
    }

    /// A link to the target that somebody speaks on, cut as `fragment` says.
    pub fn cut(&self, link: Link) -> Link {
        fragment::cut(link, self.0.fragment.as_ref())
    }

    /// The rules that hold for what comes in by `entry`, if any hold something back; `label` is what messages call
    /// the outbound.
    pub fn gate(&self, network: Network, entry: Entry, label: Arc<str>) -> Option<Gate> {
        self.0.rules.gate(network, entry, label)
    }

    /// Datagrams to anyone, or to those whom `gate` allows.
    pub fn packets(
        &self,
        bind: BindUdp,
        local: Option<IpAddr>,
        lookup: Lookup,
        gate: Option<Gate>,
    ) -> Box<dyn Packets> {
        let sockets = packets::Sockets::new(bind, local, lookup.clone(), gate);
        self.redirected(self.noisy(Box::new(sockets), lookup))
    }

    /// `inner` with `noises` in front of what it sends.
    pub fn noisy(&self, inner: Box<dyn Packets>, lookup: Lookup) -> Box<dyn Packets> {
        if self.0.noises.is_empty() {
            return inner;
        }
        let noises = self.0.noises.clone();
        Box::new(noise::Noisy::new(inner, noises, lookup))
    }

    /// Datagrams to where `redirect` has them.
    pub fn redirected(&self, inner: Box<dyn Packets>) -> Box<dyn Packets> {
        match &self.0.redirect {
            redirect if *redirect == Redirect::default() => inner,
            redirect => Box::new(redirected::Redirected::new(inner, redirect.clone())),
        }
    }

    /// Datagrams that another outbound sends on: to addresses where `lookup` says how names become some, and to those whom `gate`
    /// allows.
    pub fn addressed(
        &self,
        inner: Box<dyn Packets>,
        lookup: Lookup,
        gate: Option<Gate>,
    ) -> Box<dyn Packets> {
        match lookup.strategy() == Strategy::AsIs && gate.is_none() {
            true => inner,
            false => Box::new(addressed::Addressed::new(inner, lookup, gate)),
        }
    }
}

/// Datagrams to anyone, as of an outbound without settings.
pub fn packets(bind: BindUdp) -> Box<dyn Packets> {
    Box::new(packets::Sockets::new(bind, None, Lookup::System, None))
}
