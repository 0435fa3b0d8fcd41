//! The writing half of a body: plain bytes from the caller, sealed bytes to the layer below.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::AsyncWrite;

use super::codec::body::{Framing, MAX_OVERHEAD, MAX_PLAIN, Sealer};
use super::codec::response::Keys;
use crate::io::{random, scratch};

/// Writes a body behind a header. What the layer below does not take at once is kept, and nothing
/// new is taken until it is gone: at most [`scratch::LEN`] bytes.
pub(super) struct Writer {
    /// Rides in front of the first bytes of the body.
    header: Vec<u8>,
    /// `None`: the body is raw.
    sealer: Option<Box<Sealer>>,
    unsent: BytesMut,
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
            unsent: BytesMut::new(),
            end_mark,
            ended: false,
        }
    }

    pub(super) fn is_raw(&self) -> bool {
        self.sealer.is_none()
    }

    pub(super) fn poll_write<S: AsyncWrite + Unpin>(
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
        if self.is_raw() && self.header.is_empty() {
            return Pin::new(inner).poll_write(cx, plain);
        }
        let mut scratch = scratch::take();
        let mut len = self.take_header(&mut scratch);
        let mut taken = 0;
        while taken < plain.len() && scratch.len() - len > MAX_OVERHEAD {
            let room = scratch.len() - len - MAX_OVERHEAD;
            let n = (plain.len() - taken).min(MAX_PLAIN).min(room);
            len += self.seal(&plain[taken..taken + n], &mut scratch[len..]);
            taken += n;
        }
        self.hand_down(inner, cx, &scratch[..len])?;
        Poll::Ready(Ok(taken))
    }

    /// Sends one datagram as one chunk. One that is too large is dropped.
    pub(super) fn poll_packet<S: AsyncWrite + Unpin>(
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
        let mut len = self.take_header(&mut scratch);
        len += self.seal(plain, &mut scratch[len..]);
        self.hand_down(inner, cx, &scratch[..len])?;
        Poll::Ready(Ok(()))
    }

    /// Hands down the header even if nothing follows it.
    pub(super) fn release_header(&mut self) {
        self.unsent.extend_from_slice(&self.header);
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
            self.unsent.extend_from_slice(&mark[..len]);
        }
    }

    /// Ready when all that was taken has gone to the layer below.
    pub(super) fn poll_push<S: AsyncWrite + Unpin>(
        &mut self,
        inner: &mut S,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while !self.unsent.is_empty() {
            let n = ready!(Pin::new(&mut *inner).poll_write(cx, &self.unsent))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.unsent.advance(n);
            if self.unsent.is_empty() {
                self.unsent = BytesMut::new();
            }
        }
        Poll::Ready(Ok(()))
    }

    fn take_header(&mut self, out: &mut [u8]) -> usize {
        let header = std::mem::take(&mut self.header);
        out[..header.len()].copy_from_slice(&header);
        header.len()
    }

    fn seal(&mut self, plain: &[u8], out: &mut [u8]) -> usize {
        let Some(sealer) = &mut self.sealer else {
            out[..plain.len()].copy_from_slice(plain);
            return plain.len();
        };
        sealer.seal(plain, out, &mut random::fill)
    }

    /// Writes as much of `sealed` as the layer below takes now, and keeps the rest.
    fn hand_down<S: AsyncWrite + Unpin>(
        &mut self,
        inner: &mut S,
        cx: &mut Context<'_>,
        mut sealed: &[u8],
    ) -> io::Result<()> {
        while !sealed.is_empty() {
            match Pin::new(&mut *inner).poll_write(cx, sealed) {
                Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(n)) => sealed = &sealed[n..],
                Poll::Ready(Err(e)) => return Err(e),
                Poll::Pending => {
                    self.unsent.extend_from_slice(sealed);
                    break;
                }
            }
        }
        Ok(())
    }
}

/// The largest datagram whose chunk can say its size.
const MAX_PACKET: usize = 0xffff - MAX_OVERHEAD;
