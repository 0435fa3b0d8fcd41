//! How servers are reached. This room makes no connections itself: `dispatch`, which knows transports and routing,
//! implements [`Dialer`].

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;

use crate::address::Destination;
use crate::io::{Link, Packets};

/// How a server is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Via {
    /// Directly from this host: `tcp+local://`, `https+local://` …
    Direct,
    /// As the rules say for a session of an inbound with this tag.
    Routed(Option<Arc<str>>),
}

/// What is spoken inside TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inside {
    Http,
    /// DNS itself. Nobody is told so, as there is nothing else behind its port.
    Dns,
}

pub type DialFuture<T> = Pin<Box<dyn Future<Output = io::Result<T>> + Send>>;

pub trait Dialer: Send + Sync {
    fn stream(&self, via: &Via, to: &Destination) -> DialFuture<Link>;

    /// Datagrams to `to` and back.
    fn packets(&self, via: &Via, to: &Destination) -> DialFuture<Box<dyn Packets>>;

    /// TLS with `server`, whose certificate an authority of the system must have issued; `true` when both ends speak
    /// HTTP/2.
    fn tls(&self, link: Link, server: &Destination, inside: Inside) -> DialFuture<(Link, bool)>;
}
