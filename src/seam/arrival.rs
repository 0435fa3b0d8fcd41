//! A link that came in.

use std::net::SocketAddr;

use tokio::time::Instant;

use crate::io::Link;
use crate::session::Source;

/// A link that came in, and from where.
pub struct Arrival {
    pub link: Link,
    pub source: Source,
    /// The address of ours that was connected to, or what a proxy in front says it was.
    pub local: Source,
    /// Whom the peer meant to reach when the packet filter brought it to a transparent listener; `None`
    /// when it meant the listener itself.
    pub original_dst: Option<SocketAddr>,
    /// When the peer's turn to speak began: at the connection, or when a layer's handshake was over. Limits
    /// count from here, however long nobody had to look.
    pub since: Instant,
}
