//! A TLS connection as a link.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsStream;

use crate::io::{Goodbye, Io, Link, Presence};

/// What rustls makes of a link, with the manners of a proxy: a connection that ends without
/// close_notify has ended, as Go's peers and CDNs see it (VMess and WebSocket have end marks of their
/// own, and who wants to know asks for the goodbye), and the shutdown of our direction leaves the other one open.
pub(super) struct Stream {
    tls: TlsStream<Link>,
    /// The connection has ended without close_notify.
    silent: bool,
}

impl Stream {
    pub(super) fn new(tls: impl Into<TlsStream<Link>>) -> Self {
        Self {
            tls: tls.into(),
            silent: false,
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match ready!(Pin::new(&mut self.tls).poll_read(cx, buf)) {
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => {
                self.silent = true;
                Poll::Ready(Ok(()))
            }
            result => Poll::Ready(result),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tls).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tls).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.tls.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tls).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tls).poll_shutdown(cx)
    }
}

impl Io for Stream {
    fn goodbye(&self) -> Goodbye {
        match self.silent {
            true => Goodbye::Unknown,
            false => Goodbye::Said,
        }
    }

    fn socket(&self) -> Option<&TcpStream> {
        self.tls.get_ref().0.socket()
    }

    fn presence(&self) -> Presence {
        self.tls.get_ref().0.presence()
    }

    fn set_low_water(&mut self, bytes: usize) {
        self.tls.get_mut().0.set_low_water(bytes);
    }

    fn bound_unsent(&mut self, bytes: u32) {
        self.tls.get_mut().0.bound_unsent(bytes);
    }
}
