//! freedom: straight to the target.

use crate::address::Destination;
use crate::dns::Strategy;
use crate::io::{BindUdp, Packets};
use crate::json::Object;

pub struct Outbound {}

impl Outbound {
    pub fn read(_settings: &Object) -> Option<Self> {
        todo!()
    }

    /// Where a session to `to` really goes (`redirect`).
    pub fn target(&self, _to: &Destination) -> Destination {
        todo!()
    }

    pub fn strategy(&self) -> Strategy {
        todo!()
    }

    /// Datagrams to anyone.
    pub fn packets(&self, _bind: BindUdp) -> Box<dyn Packets> {
        todo!()
    }
}
