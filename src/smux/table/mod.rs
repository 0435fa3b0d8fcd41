//! The streams of one session, shared between the session's task and the ends that the streams gave out.
//!
//! What comes for a stream waits here until its reader takes it. Version 1 has no window for a stream, so a session whose
//! unread bytes have reached a bound is read no further until some are taken; what is done about slow readers has a room
//! (`slow`), and so has what a peer may have before it has logged in (`strangers`). In version 2 a sender may have so much on
//! its way, and no more. A window begins at 256 KiB and doubles while its reader keeps up, so distance throttles nobody who
//! reads, and who does not read keeps little. The bound of the session is there in both.
//!
//! FIN ends a stream in both directions: gost forgets what comes behind one, and its own writes fail. So a stream tells
//! its end when both directions are over, and who has heard one gets little more time to write. A peer that knows more
//! ([`HALF_CLOSES`](super::codec::HALF_CLOSES)) is told of each direction by itself; it says so when it is told for the first time.

mod handle;
mod send;
mod slow;
mod state;
pub(super) mod strangers;
mod stream;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};

use super::codec::Version;
use super::settings::Settings;

pub(super) use handle::{Handle, Sent};
pub(super) use state::State;
use stream::Stream;

/// Streams of a session at a time, at either end; gost has no bound. Those that have yet to say who they are have one for
/// the whole process (`io::handshakes`).
pub const MAX_STREAMS: usize = 65_536;

pub(super) struct Table {
    state: Mutex<State>,
    max_frame: usize,
    max_piped: usize,
    stream_window: u32,
}

/// What a stream that has nothing takes here.
#[cfg(test)]
pub(super) const STREAM_SIZE: usize = size_of::<Stream>();

impl Table {
    /// The streams of a session; `version` is `None` where the peer says it. Numbers are counted from `first`.
    pub(super) fn new(settings: &Settings, version: Option<Version>, first: u32) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State::new(settings, version, first)),
            max_frame: settings.max_frame(),
            max_piped: settings.max_piped(),
            stream_window: settings.stream_window.max(1),
        })
    }

    /// The same, of people whom nobody knows yet.
    pub(super) fn of_strangers(settings: &Settings) -> Arc<Self> {
        let table = Self::new(settings, None, 0);
        table.lock().are_strangers = true;
        table
    }

    /// Does something with the streams, and wakes whomever it concerns when it is done.
    pub(super) fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.lock();
        let done = act(&mut state);
        let woken = std::mem::take(&mut state.woken);
        drop(state);
        for waker in woken {
            waker.wake();
        }
        done
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A stream with the next number, of which the peer hears with the first frame; `None` when the session is over, or its
    /// numbers are, or it has as many as it may.
    pub(super) fn open(self: &Arc<Self>) -> Option<Handle> {
        let id = self.lock().open()?;
        Some(Handle::new(self.clone(), id, false))
    }

    /// Our end of a stream that the peer has opened.
    pub(super) fn opened(self: &Arc<Self>, id: u32) -> Handle {
        Handle::new(self.clone(), id, true)
    }
}

/// Has the task in `cx` woken by `waker`.
fn set(waker: &mut Option<Waker>, cx: &Context<'_>) {
    if waker.as_ref().is_none_or(|w| !w.will_wake(cx.waker())) {
        *waker = Some(cx.waker().clone());
    }
}
