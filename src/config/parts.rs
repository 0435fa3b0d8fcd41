//! The frame of an inbound and of an outbound: where it listens, what it goes through, and what its parts are.

#![warn(missing_docs)]

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use crate::address::PortRange;
use crate::dns::Strategy;
use crate::report::Place;
use crate::{limits, mux, protocol, sniffing, transport};

/// An inbound.
#[derive(Clone, Debug, PartialEq)]
pub struct Inbound {
    /// Where it stands.
    pub at: Place,
    /// What messages call it: `inbounds[0]`.
    pub name: String,
    /// `tag`: what rules and the API call it.
    pub tag: Option<Arc<str>>,
    /// `listen`.
    pub listen: Listen,
    /// Ports to listen on; empty with a unix socket.
    pub ports: Vec<PortRange>,
    /// `streamSettings`.
    pub transport: transport::ServerSettings,
    /// `protocol` and `settings`.
    pub protocol: protocol::InboundSettings,
    /// What is done with the first bytes of its sessions.
    pub sniffing: Option<sniffing::Settings>,
    /// `limits` of its own.
    pub limits: limits::Settings,
    /// Others on the same place, told apart by their requests.
    pub beside: Vec<Self>,
}

/// An outbound.
#[derive(Clone, Debug, PartialEq)]
pub struct Outbound {
    /// Where it stands.
    pub at: Place,
    /// What messages call it: `outbounds[0]`.
    pub name: String,
    /// `tag`: what rules and the API call it.
    pub tag: Option<Arc<str>>,
    /// `streamSettings`, and `sendThrough` among its socket options.
    pub transport: transport::ClientSettings,
    /// `protocol` and `settings`.
    pub protocol: protocol::OutboundSettings,
    /// `proxySettings.tag`: the outbound whose sessions its connections are.
    pub through: Option<Through>,
    /// `domainStrategy`: names are resolved here before they are sent on.
    pub strategy: Strategy,
    /// Xray's `ForceIP…`: a name without a fitting address is not sent on.
    pub must_resolve: bool,
    /// `mux`, switched on.
    pub mux: Option<mux::Settings>,
    /// Below the protocol: connections to its server share those of the transport, as v2ray-plugin has them shared (`mux=1`). The other
    /// end is a plugin as well, or what V2Ray has in its place.
    pub plugin_mux: Option<mux::Settings>,
}

impl Outbound {
    /// Whether its sessions go to a server of the user's, not straight to their targets or nowhere.
    pub fn leads_away(&self) -> bool {
        use protocol::OutboundSettings::{Blackhole, Dns, Freedom, Loopback};
        !matches!(
            self.protocol,
            Blackhole(_) | Dns(_) | Freedom(_) | Loopback(_)
        )
    }
}

/// The outbound that another one goes through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Through {
    /// Where it is named.
    pub at: Place,
    /// Its tag.
    pub tag: Arc<str>,
}

/// Where an inbound listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// An address; `0.0.0.0` and `::` are all of either family.
    Ip(IpAddr),
    /// A path in the file system.
    Unix(PathBuf),
    /// `@name`, Linux's abstract namespace (without the `@`).
    Abstract(Vec<u8>),
    /// Nowhere here: at a port of a relay server, which is published under the inbound's tag.
    Published,
}

/// A part as it was written: its tag counts for others even where the rest could not be read.
#[derive(Clone, Debug)]
pub struct Draft<T> {
    /// Where it stands.
    pub at: Place,
    /// `tag`: what rules and the API call it.
    pub tag: Option<Arc<str>>,
    /// Of an outbound.
    pub through: Option<Through>,
    /// What was made of it.
    pub part: Option<T>,
}
