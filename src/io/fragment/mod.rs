//! Xray's `fragment`, of `freedom` and of `finalmask`: what goes to the other end of a connection is cut into pieces, each of which
//! is written by itself.
//!
//! A ClientHello is cut into TLS records, each with the header of the one that it stood in:
//!
//! ```text
//! 16 0301 len | ClientHello              from the client
//! 16 0301 l1 | Clie, 16 0301 l2 | ntHe…  to the target
//! ```
//!
//! All else is cut into writes, and the bytes stay as they are.

mod between;

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use crate::io::{Io, Link, Sink, forward};

pub use between::{Between, LONGEST_PAUSE_MS};

/// `fragment`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// `packets`.
    pub cut: Cut,
    /// `length`: bytes of a piece, at least one.
    pub length: Between,
    /// `lengths` of `finalmask`, of the second piece and of those behind it; the last holds for all that follow.
    pub more_lengths: Vec<Between>,
    /// `interval`: milliseconds behind each piece.
    pub interval: Between,
    /// `delays`, as [`Self::more_lengths`].
    pub more_intervals: Vec<Between>,
    /// `maxSplit`: how many pieces are made of a ClientHello or of a write; 0 for as many as there are.
    pub max_split: Between,
    /// How what comes of it is cut again: the next one of `finalmask`.
    pub then: Option<Box<Self>>,
}

/// What is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// `tlshello`: a first write that is a TLS handshake, into records.
    TlsHello,
    /// Every write.
    All,
    /// These writes, the first of all is 1.
    Writes {
        /// The first of them.
        from: u32,
        /// The last of them.
        to: u32,
    },
}

/// A link to the other end, whose writes are cut as `fragment` says, if it says anything.
pub fn cut(link: Link, fragment: Option<&Fragment>) -> Link {
    match fragment {
        Some(fragment) => {
            let link = cut(link, fragment.then.as_deref());
            Link::other(Fragmented::new(link, fragment.clone()))
        }
        None => link,
    }
}

/// What does so.
struct Fragmented {
    inner: Link,
    fragment: Fragment,
    /// Writes that came until now.
    writes: u32,
    /// What is left of the TLS record that is cut.
    record: Option<Record>,
    /// Nothing is cut from here on.
    is_over: bool,
    /// Taken, and not cut yet.
    payload: Bytes,
    /// On its way.
    piece: Bytes,
    /// Pieces that may be made of what is cut; the last of them is all that is left.
    splits: u32,
    /// Pieces of it that were made.
    made: usize,
    pause: Option<Pin<Box<Sleep>>>,
}

struct Record {
    /// Type and version.
    front: [u8; 3],
    left: usize,
}

/// Type, version and length.
const RECORD_HEADER: usize = 5;

const HANDSHAKE: u8 = 22;

/// The first byte of its version, whatever the version is.
const MAJOR: u8 = 3;

/// The first byte of its message. What is no TLS may begin with the same record, by chance.
const CLIENT_HELLO: u8 = 1;

/// What is taken of one write: Xray's writes are its buffers, and a range of writes is one of these.
const LARGEST: usize = 8 * 1024;

impl Fragment {
    /// Whether any piece waits.
    fn waits(&self) -> bool {
        self.interval.to > 0 || !self.more_intervals.is_empty()
    }
}

fn nth(first: Between, more: &[Between], n: usize) -> Between {
    match n.checked_sub(1) {
        None => first,
        Some(n) => *more.get(n).or(more.last()).unwrap_or(&first),
    }
}

impl Fragmented {
    fn new(inner: Link, fragment: Fragment) -> Self {
        Self {
            inner,
            fragment,
            writes: 0,
            record: None,
            is_over: false,
            payload: Bytes::new(),
            piece: Bytes::new(),
            splits: 0,
            made: 0,
            pause: None,
        }
    }

    /// Whether writes pass as they are.
    fn passes(&self) -> bool {
        self.is_over && self.piece.is_empty() && self.payload.is_empty() && self.pause.is_none()
    }

    /// Whether the next write is cut.
    fn cuts(&self) -> bool {
        let next = self.writes.saturating_add(1);
        match self.fragment.cut {
            Cut::TlsHello => !self.is_over,
            Cut::All => true,
            Cut::Writes { from, to } => (from..=to).contains(&next),
        }
    }

    /// As many pieces as `maxSplit` says.
    fn begin(&mut self) {
        self.made = 0;
        self.splits = match self.fragment.max_split.draw() {
            0 => u32::MAX,
            many => many,
        };
    }

    /// Takes what is to be cut off the front of `buf`, and how much that was; 0 when it is not to be cut.
    fn take(&mut self, buf: &[u8]) -> usize {
        if self.fragment.cut != Cut::TlsHello {
            let taken = &buf[..buf.len().min(LARGEST)];
            self.payload = Bytes::copy_from_slice(taken);
            self.begin();
            return taken.len();
        }
        let mut front = 0;
        if self.record.is_none()
            && let [HANDSHAKE, MAJOR, minor, high, low, CLIENT_HELLO, ..] = *buf
        {
            let left = usize::from(u16::from_be_bytes([high, low]));
            self.record = Some(Record {
                front: [HANDSHAKE, MAJOR, minor],
                left,
            });
            front = RECORD_HEADER;
            self.begin();
        }
        let Some(record) = self.record.as_mut().filter(|record| record.left > 0) else {
            self.is_over = true;
            return 0;
        };
        // A ClientHello that comes in parts is cut part by part.
        let taken = &buf[front..buf.len().min(front + record.left)];
        record.left -= taken.len();
        self.is_over = record.left == 0;
        self.payload = Bytes::copy_from_slice(taken);
        front + taken.len()
    }

    /// The next piece of what was taken.
    fn cut(&mut self) -> Bytes {
        let Some(front) = self.record.as_ref().map(|record| record.front) else {
            let len = self.next_len();
            return self.payload.split_to(len);
        };
        let mut records = BytesMut::new();
        loop {
            let len = self.next_len();
            records.put_slice(&front);
            records.put_u16(len.try_into().expect("a record has a length of two bytes"));
            records.put_slice(&self.payload.split_to(len));
            // Where none of them waits, all go in one write.
            if self.fragment.waits() || self.payload.is_empty() {
                return records.freeze();
            }
        }
    }

    fn next_len(&mut self) -> usize {
        let left = self.payload.len();
        self.splits = self.splits.saturating_sub(1);
        let length = nth(self.fragment.length, &self.fragment.more_lengths, self.made);
        self.made += 1;
        match self.splits {
            0 => left,
            _ => (length.draw() as usize).clamp(1, left),
        }
    }

    /// Hands down what was taken, piece by piece.
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            if !self.piece.is_empty() {
                while !self.piece.is_empty() {
                    let n = ready!(Pin::new(&mut self.inner).poll_write(cx, &self.piece))?;
                    if n == 0 {
                        return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                    }
                    self.piece.advance(n);
                }
                // That of the piece that has just gone.
                let n = self.made.saturating_sub(1);
                let interval = nth(self.fragment.interval, &self.fragment.more_intervals, n);
                let pause = interval.pause();
                self.pause = pause.map(|pause| Box::pin(sleep(pause)));
            }
            if let Some(pause) = &mut self.pause {
                // The piece is on the wire while the next one waits.
                ready!(Pin::new(&mut self.inner).poll_flush(cx))?;
                ready!(pause.as_mut().poll(cx));
                self.pause = None;
            }
            if self.payload.is_empty() {
                return Poll::Ready(Ok(()));
            }
            ready!(Pin::new(&mut self.inner).poll_flush(cx))?;
            self.piece = self.cut();
        }
    }
}

impl AsyncRead for Fragmented {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl AsyncWrite for Fragmented {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_drain(cx))?;
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let taken = match self.cuts() {
            true => self.take(buf),
            false => 0,
        };
        let taken = match taken {
            0 => ready!(Pin::new(&mut self.inner).poll_write(cx, buf))?,
            taken => {
                // What does not go out at once does with the next write or flush.
                if let Poll::Ready(Err(e)) = self.poll_drain(cx) {
                    return Poll::Ready(Err(e));
                }
                taken
            }
        };
        self.writes = self.writes.saturating_add(1);
        if let Cut::Writes { to, .. } = self.fragment.cut {
            self.is_over = self.writes >= to;
        }
        Poll::Ready(Ok(taken))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.passes() {
            return Pin::new(&mut self.inner).poll_write_vectored(cx, bufs);
        }
        let first = bufs.iter().find(|buf| !buf.is_empty());
        self.poll_write(cx, first.map_or(&[], |buf| buf))
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(cx))?;
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(cx))?;
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

impl Io for Fragmented {
    forward!(inner: half_closes end_cuts_off say_end holds_up_others cork set_close_reason goodbye tcp presence source took set_low_water bound_unsent);
    forward!(inner: poll_announce gave);

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(cx))?;
        Pin::new(&mut self.inner).poll_close(cx)
    }

    fn poll_end(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(cx))?;
        Pin::new(&mut self.inner).poll_end(cx)
    }

    fn poll_write_in_place(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        match self.passes() {
            true => Pin::new(&mut self.inner).poll_write_in_place(cx, buf),
            false => self.poll_write(cx, &buf[crate::io::HEADROOM..]),
        }
    }

    fn sink(&self) -> Option<Sink<'_>> {
        self.inner.sink().filter(|_| self.passes())
    }

    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.inner.poll_readable(cx)
    }
}

#[cfg(test)]
mod tests;
