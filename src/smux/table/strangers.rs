//! Sessions in which nobody has said who they are yet.
//!
//! An opening is eight bytes, and a stream that is served takes kilobytes until its time is up. So few are served at a time before the first
//! login. Others wait, and what comes behind them is read: a known client may well begin with a crowd, of which the first must be
//! heard to the end of their logins. From then on it may have very many.

use std::time::Duration;

use super::State;
use crate::io::scratch;

/// Streams that are served at a time.
const SERVED: usize = 128;

/// Streams that may be open, those that wait included.
const OPEN: usize = 4096;

/// Bytes that may lie unread.
const HELD: usize = 256 * 1024;

/// One read: what it opens is there before it is counted.
const READ: usize = 16 * 1024;

/// After how long there has to be a stream, and how often that is looked at then.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);
pub(crate) const LOOK: Duration = Duration::from_secs(15);

impl State {
    pub(crate) fn are_strangers(&self) -> bool {
        self.are_strangers
    }

    /// From now on whoever is at the other end may have as much as those whom one knows.
    pub(crate) fn know(&mut self) {
        if std::mem::take(&mut self.are_strangers) {
            self.wake_driver();
        }
    }

    /// They have opened as many streams as they may.
    pub(super) fn is_crowded(&self) -> bool {
        self.are_strangers && self.streams.len() >= OPEN
    }

    /// Whether one more stream is served, where so many are open and not served yet.
    pub(crate) fn serves_one_more(&self, waiting: usize) -> bool {
        !self.are_strangers || self.streams.len().saturating_sub(waiting) < SERVED
    }

    /// The most that one read takes.
    pub(crate) fn read_max(&self) -> usize {
        match self.are_strangers {
            true => READ,
            false => scratch::READ,
        }
    }

    /// How much may lie unread where known people may have `most`.
    pub(super) fn bound_held(&self, most: usize) -> usize {
        match self.are_strangers {
            true => most.min(HELD),
            false => most,
        }
    }
}
