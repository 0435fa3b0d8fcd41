//! A link that was open, and is lost.

use std::io;

use thiserror::Error;

use super::reason;

/// Why an open link carries nothing any more, where it is the system that says so. It travels inside an [`io::Error`].
#[derive(Debug, Error)]
#[error("the connection is lost: {}", reason(.0))]
pub struct LinkError(#[source] pub io::Error);

impl LinkError {
    /// The cause that an error carries.
    pub fn of(error: &io::Error) -> Option<&Self> {
        super::inner(error)?.downcast_ref()
    }

    /// Stays when the sentence changes.
    pub fn code(&self) -> &'static str {
        match self.0.kind() {
            io::ErrorKind::TimedOut => "link-timeout",
            _ => "link-broken",
        }
    }
}

impl From<LinkError> for io::Error {
    fn from(error: LinkError) -> Self {
        Self::new(error.0.kind(), error)
    }
}
