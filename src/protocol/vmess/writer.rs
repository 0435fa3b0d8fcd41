//! The writing half of a body: plain bytes from the caller, sealed bytes to the layer below.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use super::codec::body::{Framing, MAX_OVERHEAD, MAX_PLAIN, Sealer};
use super::codec::response::Keys;
use crate::copy;
use crate::io::{HEADROOM, Io, Unsent, random, scratch};

/// Writes a body behind a header. What the layer below does not take at once is kept, and nothing
/// new is taken until it is gone: at most [`scratch::LEN`] bytes.
pub(super) struct Writer {
    /// Rides in front of the first bytes of the body.
    header: Vec<u8>,
    /// `None`: the body is raw.
    sealer: Option<Box<Sealer>>,
    unsent: Unsent,
    end_mark: bool,
    ended: bool,
}

impl Writer {
    pub(super) fn new(
        header: Vec<u8>,
        framing: Framing,
        request: &Keys,
        own: &Keys,
        end_mark: bool,
    ) -> Self {
        let sealer = (!framing.is_raw()).then(|| Box::new(Sealer::new(framing, request, own)));
        Self {
            header,
            sealer,
            unsent: Unsent::default(),
            end_mark,
            ended: false,
        }
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }

    pub(super) fn is_raw(&self) -> bool {
        self.sealer.is_none()
    }

    pub(super) fn poll_write<S: Io>(
        &mut self,
        inner: &mut S,
        cx: &mut Context<'_>,
        plain: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_push(inner, cx))?;
        if self.ended {
            let text = "written to after its end";
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::BrokenPipe, text)));
        }
        if plain.is_empty() {
            return Poll::Ready(Ok(0));
        }
        if self.adds_nothing() {
            return Pin::new(inner).poll_write(cx, plain);
        }
        let mut scratch = scratch::take();
        let mut len = self.begin(&mut scratch);
        let mut taken = 0;
        while taken < plain.len() && scratch.len() - len > MAX_OVERHEAD {
            let room = scratch.len() - len - MAX_OVERHEAD;
            let n = (plain.len() - taken).min(MAX_PLAIN).min(room);
            len += self.seal(&plain[taken..taken + n], &mut scratch[len..]);
            taken += n;
        }
        self.unsent.hand_down(inner, cx, &mut scratch[..len])?;
        Poll::Ready(Ok(taken))
    }

    /// [`Io::poll_write_in_place`].
    pub(super) fn poll_write_in_place<S: Io>(
        &mut self,
        inner: &mut S,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_push(inner, cx))?;
        match self.adds_nothing() && !self.ended {
            true => Pin::new(inner).poll_write_in_place(cx, buf),
            false => self.poll_write(inner, cx, &buf[HEADROOM..]),
        }
    }

    /// Whether payload goes down as it is.
    fn adds_nothing(&self) -> bool {
        self.is_raw() && self.header.is_empty()
    }

    /// Sends one datagram as one chunk. One that is too large is dropped.
    pub(super) fn poll_packet<S: Io>(
        &mut self,
        inner: &mut S,
        cx: &mut Context<'_>,
        plain: &[u8],
    ) -> Poll<io::Result<()>> {
        ready!(self.poll_push(inner, cx))?;
        // An empty chunk would be the end of the stream.
        if plain.is_empty() || plain.len() > MAX_PACKET {
            return Poll::Ready(Ok(()));
        }
        let mut scratch = scratch::take();
        let mut len = self.begin(&mut scratch);
        len += self.seal(plain, &mut scratch[len..]);
        self.unsent.hand_down(inner, cx, &mut scratch[..len])?;
        Poll::Ready(Ok(()))
    }

    /// Hands down the header even if nothing follows it.
    pub(super) fn release_header(&mut self) {
        self.unsent.push(&self.header);
        self.header = Vec::new();
    }

    /// Ends the body: nothing can be written afterwards. `poll_push` sends what it takes.
    pub(super) fn end(&mut self) {
        if self.ended {
            return;
        }
        self.ended = true;
        self.release_header();
        if self.end_mark && !self.is_raw() {
            let mut mark = [0; MAX_OVERHEAD];
            let len = self.seal(&[], &mut mark);
            self.unsent.push(&mark[..len]);
        }
    }

    /// Ready when all that was taken has gone to the layer below.
    pub(super) fn poll_push<S: Io>(
        &mut self,
        inner: &mut S,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        self.unsent.poll_push(inner, cx)
    }

    /// Leaves [`HEADROOM`] free, puts the header behind it if it is still there, and returns what is taken
    /// of `out`.
    fn begin(&mut self, out: &mut [u8]) -> usize {
        let header = std::mem::take(&mut self.header);
        let len = HEADROOM + header.len();
        out[HEADROOM..len].copy_from_slice(&header);
        len
    }

    fn seal(&mut self, plain: &[u8], out: &mut [u8]) -> usize {
        let Some(sealer) = &mut self.sealer else {
            copy::copy(plain, &mut out[..plain.len()]);
            return plain.len();
        };
        sealer.seal(plain, out, &mut random::fill)
    }
}

/// The largest datagram whose chunk can say its size.
const MAX_PACKET: usize = 0xffff - MAX_OVERHEAD;
