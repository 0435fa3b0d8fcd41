//! A link that came in.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::time::Instant;

use crate::io::Link;
use crate::session::Source;

/// What a client has said and agreed to before anything can be read from a link.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFacts {
    /// The name that it asked for, in small letters.
    pub server_name: Option<String>,
    /// The protocol that was agreed on (ALPN).
    pub alpn: Option<String>,
}

/// A link that came in, and from where.
pub struct Arrival {
    pub link: Link,
    pub source: Source,
    /// The address of ours that was connected to, or what a proxy in front says it was.
    pub local: Source,
    /// Whom the peer meant to reach when the packet filter brought it to a transparent listener; `None`
    /// when it meant the listener itself.
    pub original_dst: Option<SocketAddr>,
    /// There where TLS ends here.
    pub tls: Option<Arc<TlsFacts>>,
    /// When the peer's turn to speak began: at the connection, or when a layer's handshake was over. Limits
    /// count from here, however long nobody had to look.
    pub since: Instant,
}
