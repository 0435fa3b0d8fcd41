//! TLS by rustls.

use std::io;

use crate::address::Destination;
use crate::io::{Link, Refusal};
use crate::json::Node;

/// The server side.
pub struct Inbound {}

/// The client side.
pub struct Outbound {}

impl Inbound {
    /// Reads `tlsSettings`; `stream` is the `streamSettings` they are missing from, if they are.
    pub fn read(_stream: &Node, _settings: Option<&Node>) -> Option<Self> {
        todo!()
    }

    pub async fn accept(&self, _link: Link) -> Result<Link, Refusal> {
        todo!()
    }
}

impl Outbound {
    /// Reads `tlsSettings`; a WebSocket on top speaks HTTP/1.1 only, whatever `alpn` says.
    pub fn read(_settings: Option<&Node>, _ws: bool) -> Option<Self> {
        todo!()
    }

    pub async fn dress(&self, _link: Link, _server: &Destination) -> io::Result<Link> {
        todo!()
    }
}
