//! What of V2Ray's gRPC API is served, and where.

use std::net::SocketAddr;

use tokio::sync::mpsc;

use crate::io::Link;

/// What is served, and where it is asked.
pub struct Api {
    pub services: Services,
    /// Xray's `listen`: an address of its own, beside the outbound.
    pub listen: Option<SocketAddr>,
    /// Sessions that rules lead to the outbound.
    pub links: mpsc::Receiver<Link>,
}

/// `services`: which of V2Ray's are answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Services {
    pub handler: bool,
    pub logger: bool,
    pub routing: bool,
    pub stats: bool,
}
