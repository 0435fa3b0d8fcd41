//! What an inbound made of a link.

use std::fmt;
use std::sync::Arc;

use tokio::sync::mpsc;

use crate::address::{Destination, Network};
use crate::io::{Link, Packets};
use crate::seam::Reply;
use crate::session::{Attributes, Source, User};

/// What an inbound found in a link, and what else rules may ask for.
pub struct Admission {
    pub accepted: Accepted,
    /// Bytes 7 and 8 of the id that a VLESS client showed, and 0 of all others.
    pub vless_route: u16,
}

/// What an inbound found in a link.
pub enum Accepted {
    /// One stream to one place.
    Stream {
        user: Option<Arc<User>>,
        to: Destination,
        link: Link,
        /// There where the peer waits for an answer.
        reply: Option<Box<dyn Reply>>,
    },
    /// One plain HTTP request, by a stream of its own, and what its head says.
    Request {
        user: Option<Arc<User>>,
        to: Destination,
        link: Link,
        attributes: Attributes,
        reply: Option<Box<dyn Reply>>,
    },
    /// Datagrams; each names its own peer.
    Packets {
        user: Option<Arc<User>>,
        packets: Box<dyn Packets>,
    },
    /// A port of this machine is to be opened, and whoever comes there is led into the link.
    Bind {
        user: Option<Arc<User>>,
        at: Destination,
        network: Network,
        /// So many may come at once.
        visitors: usize,
        /// Whether the streams that they are led by have windows, as smux 2 has and smux 1 has not.
        windows: bool,
        link: Link,
    },
    /// Several sessions inside one link (plain HTTP requests on a kept-alive connection): each
    /// arrives here when its request does, and the link ends when the sender is dropped.
    Sessions(mpsc::Receiver<Self>),
}

/// For whoever debugs.
impl fmt::Display for Accepted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stream { to, .. } => write!(f, "asks for {to}"),
            Self::Request { to, .. } => write!(f, "asks {to} for something"),
            Self::Bind { at, network, .. } => write!(f, "asks for port {at} of {network}"),
            Self::Packets { .. } => f.write_str("has datagrams"),
            Self::Sessions(_) => f.write_str("has sessions"),
        }
    }
}

/// Datagrams of one source on a UDP listener.
pub struct Datagrams {
    pub source: Source,
    pub user: Option<Arc<User>>,
    pub packets: Box<dyn Packets>,
}
