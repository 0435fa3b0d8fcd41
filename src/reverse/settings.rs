//! What `reverse` can be told.

#![warn(missing_docs)]

use std::sync::Arc;

use crate::report::Place;

/// `reverse`: the ends of reverse tunnels that are here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// `bridges`: who connects from the inside.
    pub bridges: Vec<BridgeSettings>,
    /// `portals`: who waits for them, and sends sessions in.
    pub portals: Vec<PortalSettings>,
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
