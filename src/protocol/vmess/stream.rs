//! A link inside a VMess connection, for both roles.
//!
//! Half-close is an empty chunk. Where a raw body has none, the end of the link is the end of the
//! body, so our end is passed down. A server's is passed down always: sing-box does not heed the
//! empty chunk and waits for the end of the link, and V2Ray, which heeds it, reads no further.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::reader::Reader;
use super::writer::Writer;
use crate::io::{Io, scratch};

pub(super) struct VmessStream<S> {
    inner: S,
    reader: Reader,
    writer: Writer,
    role: Role,
    /// The layer below has ended too.
    hung_up: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// A flush sends the header, even if there is no payload yet.
    Client,
    /// The header waits for the first payload.
    Server,
}

impl<S> VmessStream<S> {
    pub(super) fn new(inner: S, reader: Reader, writer: Writer, role: Role) -> Self {
        Self {
            inner,
            reader,
            writer,
            role,
            hung_up: false,
        }
    }
}

impl<S: Io> VmessStream<S> {
    /// Behind its end mark a client that waits for an answer says nothing more, and nobody reads from it. One that
    /// goes away closes its WebSocket or is reset, which shows only to who reads.
    fn listen(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if self.role != Role::Server || !self.reader.has_ended() || self.hung_up {
            return Ok(());
        }
        let mut scratch = scratch::take();
        let mut rest = ReadBuf::new(&mut scratch);
        if let Poll::Ready(end) = Pin::new(&mut self.inner).poll_read(cx, &mut rest) {
            end?;
            // The layer below knows what an end means, and has its own time for more of an answer.
            self.hung_up = rest.filled().is_empty();
            if !self.hung_up {
                cx.waker().wake_by_ref();
            }
        }
        Ok(())
    }
}

impl<S: Io> AsyncRead for VmessStream<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.reader.poll_read(&mut this.inner, cx, buf)
    }
}

impl<S: Io> AsyncWrite for VmessStream<S> {
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
        if this.role == Role::Client {
            this.writer.release_header();
        }
        ready!(this.writer.poll_push(&mut this.inner, cx))?;
        this.listen(cx)?;
        Pin::new(&mut this.inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.writer.end();
        let last = this.writer.is_raw() || this.reader.has_ended() || this.role == Role::Server;
        if last {
            // The end mark and what the layer below says go out together.
            this.inner.hold();
        }
        ready!(this.writer.poll_push(&mut this.inner, cx))?;
        if last {
            return Pin::new(&mut this.inner).poll_shutdown(cx);
        }
        Pin::new(&mut this.inner).poll_flush(cx)
    }
}

impl<S: Io> Io for VmessStream<S> {
    /// No end mark is sent here: a stream that was given up must not look complete.
    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_close(cx)
    }

    fn poll_write_over(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.writer.poll_write_over(&mut this.inner, cx, buf)
    }

    fn set_low_water(&mut self, bytes: usize) {
        self.inner.set_low_water(bytes);
    }

    fn tcp(&self) -> Option<&TcpStream> {
        self.inner.tcp()
    }
}
