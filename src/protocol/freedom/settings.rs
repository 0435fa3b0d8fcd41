//! What a `freedom` outbound can be told.

#![warn(missing_docs)]

use std::net::Ipv4Addr;
use std::sync::Arc;

use crate::address::{Destination, Host};
use crate::dns::Strategy;
use crate::io::fragment::Fragment;
use crate::protocol::freedom::{FinalRules, Noise};
use crate::seam::ProxyVersion;

/// `settings` of a `freedom` outbound.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OutboundSettings {
    /// `domainStrategy`: how names are resolved when they are dialled.
    pub strategy: Strategy,
    /// `redirect`.
    pub redirect: Redirect,
    /// `userLevel`: index into `policy.levels`.
    pub level: u32,
    /// Xray's `finalRules`: what may be connected to.
    pub rules: FinalRules,
    /// Xray's `fragment`: how what goes to a target is cut.
    pub fragment: Option<Fragment>,
    /// Xray's `proxyProtocol`: who comes is told to targets in front of all that a stream carries.
    pub proxy_header: Option<ProxyVersion>,
    /// Xray's `noises`: datagrams in front of the first one.
    pub noises: Arc<[Noise]>,
}

/// `redirect`: the parts of every target that are replaced. V2Ray reads `:port` as "same host" and
/// port 0 as "same port".
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Redirect {
    /// In place of the target's.
    pub host: Option<Host>,
    /// In place of the target's.
    pub port: Option<u16>,
}

impl Redirect {
    /// In the words of V2Ray, where port 0 is the target's, and so is the address `0.0.0.0`; `::` is one of its own.
    pub fn of(host: Option<Host>, port: u16) -> Self {
        let any = Host::Ip(Ipv4Addr::UNSPECIFIED.into());
        Self {
            host: host.filter(|host| *host != any),
            port: (port != 0).then_some(port),
        }
    }

    /// Where a session to `to` really goes.
    pub fn apply(&self, to: &Destination) -> Destination {
        Destination {
            host: self.host.as_ref().unwrap_or(&to.host).clone(),
            port: self.port.unwrap_or(to.port),
        }
    }
}
