//! A stream with bytes that were already read from it put back in front.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::{Io, Link, forward};
use crate::copy;

/// Reads `prefix` first, then `inner`; writes go straight to `inner`.
pub struct Prefixed<S> {
    prefix: Bytes,
    inner: S,
}

impl<S> Prefixed<S> {
    pub fn new(prefix: Bytes, inner: S) -> Self {
        Self { prefix, inner }
    }

    /// Puts bytes in front of what is to be read; there are none yet.
    pub fn put_back(&mut self, bytes: Bytes) {
        debug_assert!(self.prefix.is_empty());
        self.prefix = bytes;
    }
}

impl Prefixed<Link> {
    /// The link as it is when there is nothing to put in front.
    pub fn link(prefix: Bytes, inner: Link) -> Link {
        if prefix.is_empty() {
            inner
        } else {
            Link::other(Self::new(prefix, inner))
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Prefixed<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.prefix.is_empty() {
            return Pin::new(&mut self.inner).poll_read(cx, buf);
        }
        let n = self.prefix.len().min(buf.remaining());
        copy::put(&self.prefix[..n], buf);
        self.prefix.advance(n);
        if self.prefix.is_empty() {
            // `advance` keeps the allocation alive; an idle tunnel has no use for it.
            self.prefix = Bytes::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Prefixed<S> {
    forward!(inner: poll_write poll_write_vectored is_write_vectored poll_flush poll_shutdown);
}

impl<S: Io> Io for Prefixed<S> {
    forward!(inner: poll_close poll_end end_cuts_off say_end holds_up_others poll_write_in_place half_closes is_left_to_peer cork);
    forward!(inner: set_close_reason goodbye tcp socket presence set_low_water poll_gone bound_unsent);
    forward!(inner: took sink poll_announce gave);

    fn source(&self) -> Option<&TcpStream> {
        self.inner.source().filter(|_| self.prefix.is_empty())
    }
}
