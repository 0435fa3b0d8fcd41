//! What of V2Ray's gRPC API is served, and where.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::report::Place;

/// What is served, and where it is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Api {
    /// The tag under which rules lead sessions to it.
    pub tag: Arc<str>,
    pub services: Services,
    /// Xray's `listen`: an address of its own, beside the tag.
    pub listen: Option<SocketAddr>,
    pub at: Place,
}

/// `services`: which of V2Ray's are answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Services {
    pub handler: bool,
    pub logger: bool,
    pub routing: bool,
    pub stats: bool,
}
