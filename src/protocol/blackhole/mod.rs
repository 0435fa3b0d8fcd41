//! blackhole: nothing goes anywhere.

use crate::io::{Link, Packets};
use crate::json::Object;

pub struct Outbound {}

impl Outbound {
    pub fn read(_settings: &Object) -> Option<Self> {
        todo!()
    }

    /// A link that answers as `response` says, and ends.
    pub fn link(&self) -> Link {
        todo!()
    }

    /// Datagrams that vanish.
    pub fn packets(&self) -> Box<dyn Packets> {
        todo!()
    }
}
