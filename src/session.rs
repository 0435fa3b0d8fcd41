//! Who asked: the facts of one session that the access log, routing and statistics want to know.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;

/// A user of an inbound or an account of an outbound.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    /// V2Ray's label for a user; it need not be an address.
    pub email: Option<String>,
    /// Index into `policy.levels`.
    pub level: u32,
}

/// What the head of an HTTP request says: `:method`, `:path`, and its headers in small letters.
pub type Attributes = BTreeMap<String, String>;

/// Where a connection came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// The peer's address, or the one that a trusted proxy named; port 0 when only the IP is known.
    Ip(SocketAddr),
    /// A unix socket has no address.
    Unix,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(addr) => addr.fmt(f),
            Self::Unix => f.write_str("unix"),
        }
    }
}

impl From<SocketAddr> for Source {
    fn from(addr: SocketAddr) -> Self {
        Self::Ip(SocketAddr::new(addr.ip().to_canonical(), addr.port()))
    }
}
