//! A link inside a Trojan connection.

use std::io;

use crate::protocol::awaited::Awaited;
use crate::protocol::bare::{Answer, BareStream};

pub(super) type TrojanStream = BareStream<Payload>;

/// A server's payload, in front of which nothing stands. So nothing tells a server that closes because it does not know
/// the password from a target that closes without a word.
#[derive(Default)]
pub(super) enum Payload {
    #[default]
    Awaited,
    Begun,
}

impl Answer for Payload {
    fn is_whole(&self) -> bool {
        matches!(self, Self::Begun)
    }

    fn take(&mut self, _bytes: &[u8]) -> io::Result<usize> {
        *self = Self::Begun;
        Ok(0)
    }

    fn broken_off(awaited: &Awaited) -> io::Result<()> {
        awaited.ended();
        Ok(())
    }
}
