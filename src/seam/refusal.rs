//! A link that nothing was accepted from.

use bytes::Bytes;

use crate::cause::ProtocolError;
use crate::io::Link;

/// Nothing was accepted from a link.
#[derive(Debug)]
pub struct Refusal {
    /// For the log.
    pub cause: ProtocolError,
    /// What the log calls the peer, if it has shown who it is.
    pub user: Option<String>,
    /// What to do with the link, where the peer was not told.
    pub unanswered: Option<Unanswered>,
}

/// A link that is not one of ours, as its peer left it: it may be read on without an answer, so that a prober learns
/// nothing, or handed to somebody who knows what to make of it.
#[derive(Debug)]
pub struct Unanswered {
    pub link: Link,
    /// What has been read from it.
    pub read: Bytes,
}

impl Refusal {
    /// The peer went away, or was answered in full (a SOCKS error): nothing is left to do.
    pub fn done(cause: impl Into<ProtocolError>) -> Self {
        Self {
            cause: cause.into(),
            user: None,
            unanswered: None,
        }
    }

    /// The peer learns nothing.
    pub fn silent(cause: impl Into<ProtocolError>, link: Link, read: impl Into<Bytes>) -> Self {
        let read = read.into();
        Self {
            unanswered: Some(Unanswered { link, read }),
            ..Self::done(cause)
        }
    }

    /// Of somebody who has shown who they are.
    #[must_use]
    pub fn of(self, user: Option<String>) -> Self {
        Self { user, ..self }
    }
}
