//! The end of our direction where the link below has one end for both, and no word stands for ours alone.
//!
//! A peer that hears of the end of both may drop what it has not handed on (V2Ray's client does), and what it still had to say is
//! lost. So our end is passed down when it has been silent for a while, as V2Ray ends a session of which one direction is over.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep};

use crate::io::Io;

/// How long a peer may be silent behind our last byte before it is told that this was the last. V2Ray gives a session
/// of which one direction has ended as long.
pub(super) const SILENCE: Duration = Duration::from_secs(1);

/// The same in the middle of its answer, where the link has one end for both directions and would cut the answer off.
pub(super) const ANSWERING: Duration = Duration::from_secs(60);

/// An end that has yet to be passed down.
pub(super) struct Untold(Pin<Box<Sleep>>);

impl Untold {
    /// Whoever reads looks after it. It may be a while until somebody does, so the timer is set going here.
    pub(super) fn new(cx: &mut Context<'_>) -> Self {
        let mut silence = Box::pin(sleep(SILENCE));
        let _ = silence.as_mut().poll(cx);
        Self(silence)
    }

    /// Passes the end down, with a goodbye or without one, when the peer, from which something has `moved` just now or not, has been
    /// silent for long enough. Ready when that is done.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        link: &mut impl Io,
        moved: bool,
        says_goodbye: bool,
    ) -> Poll<()> {
        if moved {
            let patience = match link.end_cuts_off() {
                true => ANSWERING,
                false => SILENCE,
            };
            self.0.as_mut().reset(Instant::now() + patience);
        }
        ready!(self.0.as_mut().poll(cx));
        let told = match says_goodbye {
            true => Pin::new(link).poll_shutdown(cx),
            false => Pin::new(link).poll_end(cx),
        };
        // A link that cannot take it now is asked again; one that broke tells its reader.
        told.map(drop)
    }
}
