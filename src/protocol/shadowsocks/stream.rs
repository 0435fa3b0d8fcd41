//! A link inside a Shadowsocks connection, for both roles.
//!
//! There is no word for the end of one direction: the end of the link is the end of the stream. What that takes where
//! a link's end is that of both directions is [`bare`](crate::protocol::bare)'s business.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::reader::Reader;
use super::writer::Writer;
use crate::io::{CloseReason, Goodbye, HEADROOM, Io, Link};

pub(super) struct SealedStream {
    inner: Link,
    reader: Reader,
    writer: Writer,
    role: Role,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// A flush sends the head, even if there is no payload yet.
    Client,
    /// The head waits for the first payload.
    Server,
}

impl SealedStream {
    pub(super) fn new(inner: Link, reader: Reader, writer: Writer, role: Role) -> Self {
        Self {
            inner,
            reader,
            writer,
            role,
        }
    }

    /// Our direction has come to its end; a target is told so even by a client that has said nothing.
    fn poll_rest(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.role == Role::Client {
            self.writer.release_head();
        }
        self.writer.poll_push(&mut self.inner, cx)
    }
}

impl AsyncRead for SealedStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.reader.poll_read(&mut this.inner, cx, buf)
    }
}

impl AsyncWrite for SealedStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.writer.poll_write(&mut this.inner, cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_rest(cx))?;
        Pin::new(&mut this.inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        // The last bytes and what the layer below says go out together.
        this.inner.cork();
        ready!(this.poll_rest(cx))?;
        Pin::new(&mut this.inner).poll_shutdown(cx)
    }
}

/// The socket below is not shown, so nobody is reset: who the peer is, and what it makes of a reset, cannot be known.
impl Io for SealedStream {
    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_close(cx)
    }

    fn end_cuts_off(&self) -> bool {
        self.inner.end_cuts_off()
    }

    fn say_end(&mut self) {
        self.inner.say_end();
    }

    fn holds_up_others(&self) -> bool {
        self.inner.holds_up_others()
    }

    fn poll_end(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_rest(cx))?;
        Pin::new(&mut this.inner).poll_end(cx)
    }

    fn poll_write_in_place(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write(cx, &buf[HEADROOM..])
    }

    fn half_closes(&self) -> bool {
        self.inner.half_closes()
    }

    fn set_close_reason(&mut self, reason: CloseReason) {
        self.inner.set_close_reason(reason);
    }

    fn goodbye(&self) -> Goodbye {
        self.inner.goodbye()
    }

    fn set_low_water(&mut self, bytes: usize) {
        self.inner.set_low_water(bytes);
    }

    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.inner.poll_gone(cx)
    }

    fn bound_unsent(&mut self, bytes: u32) {
        self.inner.bound_unsent(bytes);
    }
}
