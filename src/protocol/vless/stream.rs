//! A link inside a VLESS connection.

use std::io;

use super::codec::Response;
use crate::protocol::awaited::Awaited;
use crate::protocol::bare::{Answer, BareStream};

pub(super) type VlessStream = BareStream<Response>;

impl Answer for Response {
    fn is_whole(&self) -> bool {
        *self == Self::Whole
    }

    fn take(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = Self::take(self, bytes);
        taken.map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))
    }

    fn broken_off(awaited: &Awaited) -> io::Result<()> {
        Err(awaited.never_came().into())
    }
}
