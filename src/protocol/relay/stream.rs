//! A link inside a relay connection.

use std::io;

use super::codec::{Answer, AnswerError};
use crate::cause;
use crate::protocol::awaited::Awaited;
use crate::protocol::bare::{self, BareStream};

pub(super) type RelayStream = BareStream<Answer>;

impl bare::Answer for Answer {
    const OWES_GOODBYE: bool = false;

    fn is_whole(&self) -> bool {
        *self == Self::Whole
    }

    fn take(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Self::take(self, bytes).map_err(refused)
    }

    fn broken_off(awaited: &Awaited) -> io::Result<()> {
        Err(awaited.never_came().into())
    }
}

/// What a client makes of an answer that is none, or a refusal.
pub(super) fn refused(error: AnswerError) -> io::Error {
    match error {
        AnswerError::Status(status) => cause::AnswerError::Relay { status }.into(),
        error @ AnswerError::Version(_) => io::Error::new(io::ErrorKind::InvalidData, error),
    }
}
