//! One direction of a tunnel: reads, writes on, and keeps what is not taken.
//!
//! While much is coming, and both ends let their bytes through as they are, these do not come here at all
//! ([`splice`](crate::io::splice)).

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::io::burst::Burst;
use crate::io::splice::Spliced;
use crate::io::{Goodbye, HEADROOM, Io, Link, Sink, broken_off, coop, scratch};

/// Full reads of one direction before the other one, and other tasks, get their turn. With each turn the scheduler may wake a thread
/// that looks for work in vain, so turns are not to be short.
const FULL_READS_A_TURN: usize = 2;

/// As [`FULL_READS_A_TURN`], of layers that give less at once.
const READS_A_TURN: usize = 16;

/// What one read brings at least where the next bytes are spliced: of less, a copy costs less than the pipe does.
const MUCH: usize = 32 * 1024;

/// One direction of a tunnel.
#[derive(Default)]
pub(super) struct Direction {
    pub(super) owed: Owed,
    pub(super) state: State,
    /// The last read brought much.
    in_bulk: bool,
    pub(super) bytes: u64,
    pub(super) burst: Burst,
}

/// Read, but not yet taken by the other side.
pub(super) enum Owed {
    Bytes(Vec<u8>),
    Spliced(Box<Spliced>),
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
    owed: usize,
}

/// Which end of a direction an error came from.
pub(super) enum End {
    From(io::Error),
    To(io::Error),
}

impl Owed {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::Spliced(spliced) => spliced.left(),
        }
    }
}

impl Default for Owed {
    fn default() -> Self {
        Self::Bytes(Vec::new())
    }
}

impl Direction {
    /// A direction of which `first` was already read.
    pub(super) fn with_first(first: Vec<u8>) -> Self {
        Self {
            bytes: first.len() as u64,
            owed: Owed::Bytes(first),
            ..Self::default()
        }
    }

    pub(super) fn progress(&self) -> Progress {
        Progress {
            bytes: self.bytes,
            owed: self.owed.len(),
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
        let turn = FULL_READS_A_TURN * max.min(scratch::READ);
        let (mut reads, before) = (0, self.bytes);
        while self.state != State::Done {
            if self.owed.len() > 0 {
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
            } else if reads == READS_A_TURN || self.bytes - before >= turn as u64 {
                coop::yield_now(cx);
                return Poll::Pending;
            } else {
                let room = match self.in_bulk && max >= MUCH {
                    true => to.sink().map_or(0, Sink::room).min(max),
                    false => 0,
                };
                match room >= MUCH {
                    true => ready!(self.poll_splice(cx, from, to, room, max))?,
                    false => ready!(self.poll_copy(cx, from, to, max))?,
                }
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
        self.came(n, from);
        let mut rest = &mut scratch[..HEADROOM + n];
        while rest.len() > HEADROOM {
            match Pin::new(&mut *to).poll_write_in_place(cx, rest) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(End::To(took_nothing()))),
                Poll::Ready(Ok(n)) => rest = &mut rest[n..],
                Poll::Ready(Err(e)) => return Poll::Ready(Err(End::To(e))),
                Poll::Pending => {
                    self.owed = Owed::Bytes(rest[HEADROOM..].to_vec());
                    return Poll::Pending;
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    /// As [`Self::poll_copy`], inside the kernel, of what `to` has room for.
    fn poll_splice(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut Link,
        to: &mut Link,
        room: usize,
        max: usize,
    ) -> Poll<Result<(), End>> {
        let taken = match from.source() {
            Some(source) => ready!(Spliced::poll_take(cx, source, room)).map_err(End::From)?,
            None => None,
        };
        let Some(mut spliced) = taken.filter(|spliced| spliced.left() > 0) else {
            // The end of the stream is for a read to tell.
            self.in_bulk = false;
            return self.poll_copy(cx, from, to, max);
        };
        let n = spliced.left();
        from.took(n);
        self.came(n, from);
        let given = poll_give(&mut spliced, cx, to).map_err(End::To)?;
        if given.is_pending() {
            self.owed = Owed::Spliced(Box::new(spliced));
            return Poll::Pending;
        }
        self.owed = refused(&mut spliced).map_err(End::To)?;
        Poll::Ready(Ok(()))
    }

    /// `n` bytes were read from `from`.
    fn came(&mut self, n: usize, from: &mut Link) {
        self.bytes += n as u64;
        self.in_bulk = n >= MUCH;
        self.burst.read(n, from);
    }

    fn poll_owed(&mut self, cx: &mut Context<'_>, to: &mut Link) -> Poll<io::Result<()>> {
        if let Owed::Spliced(spliced) = &mut self.owed {
            ready!(poll_give(spliced, cx, to))?;
            self.owed = refused(spliced)?;
        }
        if let Owed::Bytes(bytes) = &mut self.owed {
            ready!(poll_write_all(bytes, cx, to))?;
        }
        self.owed = Owed::default();
        Poll::Ready(Ok(()))
    }
}

fn poll_write_all(
    bytes: &mut Vec<u8>,
    cx: &mut Context<'_>,
    to: &mut Link,
) -> Poll<io::Result<()>> {
    let mut sent = 0;
    let result = loop {
        if sent == bytes.len() {
            return Poll::Ready(Ok(()));
        }
        match Pin::new(&mut *to).poll_write(cx, &bytes[sent..]) {
            Poll::Ready(Ok(0)) => break Poll::Ready(Err(took_nothing())),
            Poll::Ready(Ok(n)) => sent += n,
            Poll::Ready(Err(e)) => break Poll::Ready(Err(e)),
            Poll::Pending => break Poll::Pending,
        }
    };
    bytes.drain(..sent);
    result
}

/// Ready when `to` has taken all that is in the pipe, or wants it in the usual way.
fn poll_give(spliced: &mut Spliced, cx: &mut Context<'_>, to: &mut Link) -> Poll<io::Result<()>> {
    ready!(Pin::new(&mut *to).poll_announce(cx, spliced.left()))?;
    while spliced.left() > 0 {
        let n = match to.sink().ok_or(io::ErrorKind::BrokenPipe)? {
            Sink::Socket(socket) => ready!(spliced.poll_give(cx, socket, usize::MAX))?,
            Sink::Frames(frames) => match ready!(frames.poll_put(cx, spliced))? {
                0 => break,
                n => n,
            },
        };
        to.gave(n);
    }
    Poll::Ready(Ok(()))
}

/// What a link has left in a pipe.
fn refused(spliced: &mut Spliced) -> io::Result<Owed> {
    let mut bytes = Vec::new();
    spliced.read(spliced.left(), &mut bytes)?;
    Ok(Owed::Bytes(bytes))
}

fn took_nothing() -> io::Error {
    io::Error::new(io::ErrorKind::WriteZero, "a write took no bytes")
}
