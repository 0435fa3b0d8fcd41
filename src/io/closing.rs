//! Why a link is ended before both sides have said all, for layers that can tell their peers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Why we end a link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CloseReason {
    /// All was said.
    Done,
    /// Whoever holds the link stops its service.
    GoingAway,
    /// What the link carried has broken off.
    #[default]
    CutOff,
    /// What both ends have agreed on: a close code of WebSocket between 4000 and 4999.
    Private(u16),
}

/// Tells the layers of many links why they are dropped, if they are: what holds the links knows, and nobody asks it
/// when they go with it.
#[derive(Clone, Debug, Default)]
pub struct Closing(Arc<AtomicBool>);

/// From the end of this on, what is dropped is dropped because its holder goes away.
#[derive(Debug)]
pub struct Holder(Closing);

impl Closing {
    /// For what will end all of them.
    pub fn holder(&self) -> Holder {
        Holder(self.clone())
    }

    /// Why a link that is dropped now is dropped.
    pub fn reason(&self) -> CloseReason {
        match self.0.load(Ordering::Relaxed) {
            true => CloseReason::GoingAway,
            false => CloseReason::CutOff,
        }
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        self.0.0.store(true, Ordering::Relaxed);
    }
}
