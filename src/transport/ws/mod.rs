//! WebSocket transport.

use std::io;

use crate::address::Destination;
use crate::io::{Arrival, Link, Refusal};
use crate::json::Node;

/// The server side.
pub struct Inbound {}

/// The client side.
pub struct Outbound {}

impl Inbound {
    pub fn read(_settings: Option<&Node>) -> Option<Self> {
        todo!()
    }

    /// Answers the HTTP requests of one connection up to the upgrade.
    pub async fn accept(&self, _arrival: Arrival) -> Result<Arrival, Refusal> {
        todo!()
    }
}

impl Outbound {
    pub fn read(_settings: Option<&Node>) -> Option<Self> {
        todo!()
    }

    /// The client's handshake with `server` (delayed to the first write with early data).
    pub async fn dress(&self, _link: Link, _server: &Destination, _tls: bool) -> io::Result<Link> {
        todo!()
    }
}
