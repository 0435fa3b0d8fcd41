//! What `reverse` can be told.

#![warn(missing_docs)]

use std::sync::Arc;

use crate::address::{Destination, Network};
use crate::report::Place;

/// `reverse`: the ends of reverse tunnels that are here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// `bridges`: who connects from the inside.
    pub bridges: Vec<BridgeSettings>,
    /// `portals`: who waits for them, and sends sessions in.
    pub portals: Vec<PortalSettings>,
    /// `publish`: ports of relay servers that lead here.
    pub publish: Vec<PublishSettings>,
}

/// A port that a relay server is to open, and where those who come there are led.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishSettings {
    /// Where it stands.
    pub at: Place,
    /// `tag`: the `inboundTag` of what comes in, and its name in messages.
    pub tag: Arc<str>,
    /// `outboundTag`: the `relay` outbounds that have servers. When one fails the next has its turn.
    pub outbounds: Vec<Arc<str>>,
    /// How many of these, one after the other, lead to different servers: one that refuses may be another's only.
    pub servers: usize,
    /// `listen`: the address and port at the server.
    pub listen: Destination,
    /// `network`.
    pub network: Network,
    /// `target`.
    pub to: PublishTarget,
}

/// Where visitors of a published port are led.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PublishTarget {
    /// To one place, whatever they say.
    Place(Destination),
    /// To web servers, by the host that they ask for; each request says whose it is.
    Web(Vec<WebTarget>),
    /// To the inbound of the same tag, which speaks this.
    Inbound(&'static str),
}

/// A web server behind a published port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebTarget {
    /// `name`: what messages call it.
    pub name: Arc<str>,
    /// The hosts that it is for; all that no other one is for, where there are none.
    pub hosts: Vec<String>,
    /// Where it is.
    pub to: Destination,
}

impl PublishSettings {
    /// What messages call each of those who are led to, and where they are.
    pub fn ends(&self) -> Vec<(&str, String)> {
        match &self.to {
            PublishTarget::Place(to) => vec![(&self.tag, to.to_string())],
            PublishTarget::Web(all) => all.iter().map(WebTarget::end).collect(),
            PublishTarget::Inbound(what) => vec![(&self.tag, format!("{what}, spoken here"))],
        }
    }
}

impl WebTarget {
    fn end(&self) -> (&str, String) {
        let to = match &self.hosts[..] {
            [] => self.to.to_string(),
            hosts => format!("{} (for {})", self.to, hosts.join(", ")),
        };
        (&self.name, to)
    }
}

/// A bridge connects to its portal, and what the portal sends in comes out of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BridgeSettings {
    /// Where it stands.
    pub at: Place,
    /// `tag`: the `inboundTag` of its own connections, and of the sessions that come out of it.
    pub tag: Arc<str>,
    /// `domain`: the name that its connections are for. Nobody resolves it, the portal knows it.
    pub domain: String,
}

/// A portal sends sessions through the bridges that are connected to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortalSettings {
    /// Where it stands.
    pub at: Place,
    /// `tag`: the `outboundTag` that leads here.
    pub tag: Arc<str>,
    /// `domain`: a connection for this name is a bridge's.
    pub domain: String,
}
