//! The answer to a request for a stream.

use bytes::Bytes;

use crate::cause::Unreached;

/// An inbound has taken a request and not answered it yet: whoever opens the way to the target says what became of it.
pub trait Reply: Send {
    /// What the peer is told: that the way is open, as far as that is known before the first payload, or why it is not.
    /// These bytes are written to the link, in front of everything else.
    fn answer(self: Box<Self>, outcome: Result<(), &Unreached<'_>>) -> Bytes;

    /// Whether the peer may say nothing until then.
    fn is_awaited(&self) -> bool {
        true
    }
}
