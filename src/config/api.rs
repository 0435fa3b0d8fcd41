//! What of V2Ray's gRPC API is served, and where.

#![warn(missing_docs)]

use std::net::SocketAddr;
use std::sync::Arc;

use crate::report::Place;

/// What is served, and where it is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Api {
    /// The tag under which rules lead sessions to it.
    pub tag: Arc<str>,
    /// `services`.
    pub services: Services,
    /// Xray's `listen`: an address of its own, beside the tag.
    pub listen: Option<SocketAddr>,
    /// Where `api` stands.
    pub at: Place,
}

/// `services`: which of V2Ray's are answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Services {
    /// `HandlerService`: inbounds, outbounds and users that come and go.
    pub handler: bool,
    /// `LoggerService`.
    pub logger: bool,
    /// `RoutingService`.
    pub routing: bool,
    /// `StatsService`.
    pub stats: bool,
}
