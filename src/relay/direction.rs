//! One direction of a tunnel: reads, writes on, and keeps what is not taken.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::burst::Burst;
use crate::io::{Goodbye, HEADROOM, Io, Link, broken_off, coop, scratch};

/// Reads of one direction before the other one, and other tasks, get their turn.
const READS_A_TURN: usize = 2;

/// One direction of a tunnel.
#[derive(Default)]
pub(super) struct Direction {
    /// Read, but not yet taken by the other side.
    pub(super) pending: Vec<u8>,
    pub(super) state: State,
    pub(super) bytes: u64,
    pub(super) burst: Burst,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum State {
    #[default]
    Copying,
    /// The reading side has ended; the writing side is being told.
    Ending,
    Done,
}

/// Changes whenever something moves in a direction.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Progress {
    pub(super) bytes: u64,
    pending: usize,
}

/// Which end of a direction an error came from.
pub(super) enum End {
    From(io::Error),
    To(io::Error),
}

impl Direction {
    pub(super) fn progress(&self) -> Progress {
        Progress {
            bytes: self.bytes,
            pending: self.pending.len(),
        }
    }

    /// Reads at most `max` at once; with 0 nothing is read.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut Link,
        to: &mut Link,
        max: usize,
    ) -> Poll<Result<(), End>> {
        let mut reads = 0;
        while self.state != State::Done {
            if !self.pending.is_empty() {
                ready!(self.poll_owed(cx, to)).map_err(End::To)?;
            }
            // What was written may still be on its way down; nothing is read before it is gone. The
            // flush also sends the header of a protocol whose first payload is late.
            ready!(Pin::new(&mut *to).poll_flush(cx)).map_err(End::To)?;
            if self.state == State::Ending {
                ready!(Pin::new(&mut *to).poll_shutdown(cx)).map_err(End::To)?;
                to.finished();
                self.state = State::Done;
            } else if max == 0 {
                // Whoever bounds it wakes the task.
                return Poll::Pending;
            } else if reads == READS_A_TURN {
                coop::yield_now(cx);
                return Poll::Pending;
            } else {
                ready!(self.poll_copy(cx, from, to, max))?;
                reads += 1;
            }
        }
        Poll::Ready(Ok(()))
    }

    /// One read, and what the other side takes of it at once.
    fn poll_copy(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut Link,
        to: &mut Link,
        max: usize,
    ) -> Poll<Result<(), End>> {
        let mut scratch = scratch::take();
        let mut buf = ReadBuf::new(&mut scratch[HEADROOM..][..max.min(scratch::READ)]);
        ready!(Pin::new(&mut *from).poll_read(cx, &mut buf)).map_err(End::From)?;
        let n = buf.filled().len();
        if n == 0 {
            if from.goodbye() == Goodbye::Owed {
                return Poll::Ready(Err(End::From(broken_off("a goodbye"))));
            }
            self.burst.end(from);
            self.state = State::Ending;
            return Poll::Ready(Ok(()));
        }
        self.bytes += n as u64;
        self.burst.read(n, from);
        let mut rest = &mut scratch[..HEADROOM + n];
        while rest.len() > HEADROOM {
            match Pin::new(&mut *to).poll_write_in_place(cx, rest) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(End::To(took_nothing()))),
                Poll::Ready(Ok(n)) => rest = &mut rest[n..],
                Poll::Ready(Err(e)) => return Poll::Ready(Err(End::To(e))),
                Poll::Pending => {
                    self.pending = rest[HEADROOM..].to_vec();
                    return Poll::Pending;
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_owed(&mut self, cx: &mut Context<'_>, to: &mut Link) -> Poll<io::Result<()>> {
        let mut sent = 0;
        let result = loop {
            if sent == self.pending.len() {
                self.pending = Vec::new();
                return Poll::Ready(Ok(()));
            }
            match Pin::new(&mut *to).poll_write(cx, &self.pending[sent..]) {
                Poll::Ready(Ok(0)) => break Poll::Ready(Err(took_nothing())),
                Poll::Ready(Ok(n)) => sent += n,
                Poll::Ready(Err(e)) => break Poll::Ready(Err(e)),
                Poll::Pending => break Poll::Pending,
            }
        };
        self.pending.drain(..sent);
        result
    }
}

fn took_nothing() -> io::Error {
    io::Error::new(io::ErrorKind::WriteZero, "a write took no bytes")
}
