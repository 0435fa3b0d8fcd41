//! VMess with AEAD headers.

pub mod codec;

use std::io;

use crate::address::Destination;
use crate::io::{Arrival, Link, Packets, Refusal};
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

    /// A stream to `to`. Nothing is sent before the first write or flush.
    pub fn dress(&self, _link: Link, _to: &Destination, _account: usize) -> io::Result<Link> {
        todo!()
    }

    /// Datagrams to `to`.
    pub fn packets(
        &self,
        _link: Link,
        _to: &Destination,
        _account: usize,
    ) -> io::Result<Box<dyn Packets>> {
        todo!()
    }
}
