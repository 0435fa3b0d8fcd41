//! The end of our direction where the link below has one end for both, and no word stands for ours alone; or where the peer
//! would lose what it has not handed on.
//!
//! A peer that hears of the end of both may drop what it has not handed on (V2Ray's client does), and what it still had to say is
//! lost. Where an end comes in one read with data, V2Ray's VMess forgets these, for its `AuthenticationReader` does not look at what came
//! with an `io.EOF`; and Go's `tls.Conn` makes one read of them in TLS 1.2, where a close_notify behind them shows.
//! So our end is passed down when it has been silent for a while, as V2Ray ends a session of which one direction is over.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::ReadBuf;
use tokio::time::{Instant, Sleep, sleep};

use crate::io::{Io, scratch};

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

    /// Ready when the peer has ended as well, or been silent for long enough: for the very end, when nobody else reads.
    pub(super) fn poll_ended(&mut self, cx: &mut Context<'_>, link: &mut impl Io) -> Poll<()> {
        let mut scratch = scratch::take();
        loop {
            let mut rest = ReadBuf::new(&mut scratch);
            match Pin::new(&mut *link).poll_read(cx, &mut rest) {
                Poll::Ready(Ok(())) if !rest.filled().is_empty() => {}
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => return self.0.as_mut().poll(cx),
            }
        }
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
