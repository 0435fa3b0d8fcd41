//! How servers are reached. This room makes no connections itself: whoever knows transports and routing
//! lends it this.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;

use crate::address::Destination;
use crate::io::{Link, Packets};

/// The road to a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Via {
    /// Straight from this host: `tcp+local://`, `https+local://`.
    Direct,
    /// As the rules of routing say for an inbound with this tag.
    Routed(Option<Arc<str>>),
}

pub type Dialled<T> = Pin<Box<dyn Future<Output = io::Result<T>> + Send>>;

pub trait Dialer: Send + Sync {
    fn stream(&self, way: &Via, to: &Destination) -> Dialled<Link>;

    /// Datagrams to `to` and back.
    fn packets(&self, way: &Via, to: &Destination) -> Dialled<Box<dyn Packets>>;

    /// TLS for HTTP with `server`, whose certificate an authority of the system must have issued; `true`
    /// when both ends speak HTTP/2.
    fn tls(&self, link: Link, server: &Destination) -> Dialled<(Link, bool)>;
}
