//! A link that nothing was accepted from.

use std::sync::Arc;

use bytes::Bytes;

use crate::cause::ProtocolError;
use crate::io::Link;
use crate::seam::Fallback;

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
    /// Who is to have both, if anybody.
    pub fallback: Option<Arc<Fallback>>,
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
            unanswered: Some(Unanswered {
                link,
                read,
                fallback: None,
            }),
            ..Self::done(cause)
        }
    }

    /// Whom it is handed to.
    #[must_use]
    pub fn hand_to(mut self, fallback: Option<Arc<Fallback>>) -> Self {
        if let Some(unanswered) = &mut self.unanswered {
            unanswered.fallback = fallback;
        }
        self
    }

    /// Of somebody who has shown who they are.
    #[must_use]
    pub fn of(self, user: Option<String>) -> Self {
        Self { user, ..self }
    }
}
