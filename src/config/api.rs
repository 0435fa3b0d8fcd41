//! What of V2Ray's gRPC API is served, and where.

#![warn(missing_docs)]

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use crate::report::Place;

/// What is served, and where it is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Api {
    /// The tag under which rules lead sessions to it.
    pub tag: Arc<str>,
    /// `services`.
    pub services: Services,
    /// Xray's `listen`: a place of its own, beside the tag.
    pub listen: Option<ApiListen>,
    /// Where `api` stands.
    pub at: Place,
}

/// Where the API listens by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ApiListen {
    /// An address and a port.
    Tcp(SocketAddr),
    /// A path in the file system; permissions may stand behind it, `,0660`.
    Unix(PathBuf),
    /// `@name`, Linux's abstract namespace (without the `@`).
    Abstract(Vec<u8>),
}

impl fmt::Display for ApiListen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(at) => at.fmt(f),
            Self::Unix(path) => path.display().fmt(f),
            Self::Abstract(name) => write!(f, "@{}", String::from_utf8_lossy(name).escape_debug()),
        }
    }
}

impl ApiListen {
    /// The address, where others than this machine may reach it.
    pub(crate) fn outside(&self) -> Option<IpAddr> {
        match self {
            Self::Tcp(at) => Some(at.ip()).filter(|ip| !ip.to_canonical().is_loopback()),
            Self::Unix(_) | Self::Abstract(_) => None,
        }
    }
}

/// `services`: which of V2Ray's are answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Services {
    /// `HandlerService`: inbounds, outbounds and users that come and go.
    pub handler: bool,
    /// `LoggerService`.
    pub logger: bool,
    /// `ObservatoryService`.
    pub observatory: bool,
    /// `ReflectionService`: what services there are, and what their messages look like.
    pub reflection: bool,
    /// `RoutingService`.
    pub routing: bool,
    /// `StatsService`.
    pub stats: bool,
}
