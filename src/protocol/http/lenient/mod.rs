//! Heads of requests as V2Ray takes them, made such that hyper takes them too.
//!
//! V2Ray reads with Go's library, which forgives what hyper refuses: a line that goes on in the next one, a name with a
//! space in it, letters in a URL that should be `%22`, `HTTP/1.2`, the length of a body in a CONNECT. [`LenientHeads`] stands
//! below hyper and rewrites each head, as Go would send it on. Bodies pass as they are: their lengths are followed
//! only to find the next head.

mod body;
mod head;

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use self::body::At;
use super::inbound::{MAX_HEAD, Next};
use crate::io::{Io, Link, scratch};

/// How much is read at once.
const READ: usize = 16 * 1024;

pub(crate) struct LenientHeads {
    inner: Link,
    at: At,
    /// Read and not handed on.
    read: BytesMut,
    /// How much of it holds no end of a head.
    seen: usize,
    /// The head that the reader has not taken yet.
    head: Bytes,
    /// What became of the last request.
    next: Next,
}

impl LenientHeads {
    pub(crate) fn new(inner: Link, next: Next) -> Self {
        Self {
            inner,
            at: At::Head,
            read: BytesMut::new(),
            seen: 0,
            head: Bytes::new(),
            next,
        }
    }

    /// The link, and what was read from it and not handed on.
    pub(super) fn into_parts(self) -> (Link, Bytes) {
        match self.head.is_empty() {
            true => (self.inner, self.read.freeze()),
            false => (self.inner, [&self.head[..], &self.read].concat().into()),
        }
    }

    /// How much of what was read may be handed on to who has `room`; `None` asks for more.
    fn ready(&mut self, room: usize) -> Option<usize> {
        if self.at == At::Tunnel && self.next.was_refused() {
            self.at = At::Head;
        }
        let here = self.read.len().min(room);
        let n = match self.at {
            At::Head => {
                let from = std::mem::replace(&mut self.seen, self.read.len());
                let may_be = head::may_begin(&self.read);
                let Some(len) = head::len(&self.read, from).filter(|_| may_be) else {
                    if self.read.len() < MAX_HEAD && may_be {
                        return None;
                    }
                    // hyper says what is wrong with it.
                    self.at = At::Raw;
                    return Some(here);
                };
                let (head, at) = head::mend(&self.read[..len]);
                self.read.advance(len);
                if at == At::Tunnel {
                    self.next.take();
                }
                (self.head, self.at, self.seen) = (head.into(), at, 0);
                return Some(0);
            }
            At::Tunnel | At::Raw => here,
            At::Body(left) => {
                let n = usize::try_from(left).map_or(here, |left| left.min(here));
                self.at = At::rest_of(left - n as u64);
                n
            }
            At::Chunked(chunk) => {
                let (n, at) = chunk.follow(&self.read[..here]);
                self.at = at;
                n
            }
        };
        (n > 0).then_some(n)
    }
}

impl AsyncRead for LenientHeads {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        loop {
            if !this.head.is_empty() {
                let n = this.head.len().min(buf.remaining());
                buf.put_slice(&this.head.split_to(n));
                return Poll::Ready(Ok(()));
            }
            if !this.read.is_empty()
                && let Some(n) = this.ready(buf.remaining())
            {
                buf.put_slice(&this.read[..n]);
                this.read.advance(n);
                if n > 0 {
                    return Poll::Ready(Ok(()));
                }
                continue;
            }
            let all = match this.at {
                At::Raw => Some(u64::MAX),
                At::Body(left) if left >= buf.remaining() as u64 => Some(left),
                _ => None,
            };
            if let Some(left) = all
                && this.read.is_empty()
            {
                // Whatever comes is handed on.
                let before = buf.filled().len();
                ready!(Pin::new(&mut this.inner).poll_read(cx, buf))?;
                if this.at != At::Raw {
                    this.at = At::rest_of(left - (buf.filled().len() - before) as u64);
                }
                return Poll::Ready(Ok(()));
            }
            let mut scratch = scratch::take();
            let mut read = ReadBuf::new(&mut scratch[..READ]);
            ready!(Pin::new(&mut this.inner).poll_read(cx, &mut read))?;
            if read.filled().is_empty() {
                // What is left is no head, and hyper is told so by its end.
                this.at = At::Raw;
                if this.read.is_empty() {
                    return Poll::Ready(Ok(()));
                }
                continue;
            }
            this.read.extend_from_slice(read.filled());
        }
    }
}

impl AsyncWrite for LenientHeads {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }
}

impl Io for LenientHeads {}

#[cfg(test)]
mod tests;
