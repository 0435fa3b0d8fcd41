//! SOCKS 4, 4a and 5.

use std::io;

use crate::address::Destination;
use crate::io::{Arrival, BindUdp, Link, Packets, Refusal};
use crate::json::Object;
use crate::protocol::{Accepted, Hop};

pub struct Inbound {}

impl Inbound {
    pub fn read(_settings: &Object) -> Option<Self> {
        todo!()
    }

    pub async fn accept(&self, _arrival: Arrival) -> Result<Accepted, Refusal> {
        todo!()
    }
}

pub struct Outbound {}

impl Outbound {
    pub fn read(_settings: &Object) -> Option<Self> {
        todo!()
    }

    pub fn hop(&self) -> Hop {
        todo!()
    }

    /// A stream to `to` through the server at the other end of `link`.
    pub async fn dress(&self, _link: Link, _to: &Destination, _account: usize) -> io::Result<Link> {
        todo!()
    }

    /// A UDP association; `link` is its control connection.
    pub async fn packets(
        &self,
        _link: Link,
        _account: usize,
        _bind: &BindUdp,
    ) -> io::Result<Box<dyn Packets>> {
        todo!()
    }
}
