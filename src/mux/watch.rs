//! A link as whoever looks after it sees it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::table::Table;

/// Looks after a link; it goes on when this is dropped.
#[derive(Clone)]
pub struct Watch(Arc<Table>);

impl Watch {
    pub(super) fn new(table: Arc<Table>) -> Self {
        Self(table)
    }

    /// Sessions at the moment.
    pub fn sessions(&self) -> usize {
        self.0.lock().sessions()
    }

    /// Why the link has ended, if it has.
    pub fn error(&self) -> Option<io::Error> {
        self.0.lock().error()
    }

    /// How long the peer has said nothing; `None` where it was not heard yet, or is not listened to, because a session has
    /// no room for more.
    pub fn silent_for(&self) -> Option<Duration> {
        let heard = self.0.lock().heard()?;
        Some(heard.elapsed())
    }

    /// Ends the link, and all that is in it.
    pub fn end(&self, reason: &str) {
        self.0.lock().fail(io::ErrorKind::TimedOut, reason);
    }
}
