//! The server's link, which is there before the client's side of the handshake is.

use std::future::poll_fn;
use std::io::{self, IoSlice, Read, Write};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_rustls::rustls::server::{Accepted, AcceptedAlert, Acceptor};
use tokio_rustls::rustls::{self, ServerConfig, ServerConnection};

use crate::io::{Goodbye, Io, Link, Prefixed, Presence};

/// How much is read at once: a ClientHello with what browsers put into it, and more.
const READ: usize = 4096;

/// What a client has said so far.
pub(in super::super) struct Hello {
    /// Its ClientHello.
    pub(in super::super) accepted: Accepted,
    /// The same as it came, and what came behind it.
    pub(in super::super) received: Vec<u8>,
    /// How much of that rustls has.
    seen: usize,
}

impl Hello {
    /// Forgets what rustls has made of it.
    pub(in super::super) fn into_received(self) -> Vec<u8> {
        self.received
    }
}

/// The ClientHello of a connection.
pub(in super::super) async fn hello(link: &mut Link) -> io::Result<Hello> {
    let mut acceptor = Acceptor::default();
    let (mut received, mut seen) = (Vec::new(), 0);
    loop {
        match acceptor.accept() {
            Ok(Some(accepted)) => {
                return Ok(Hello {
                    accepted,
                    received,
                    seen,
                });
            }
            Ok(None) => {}
            Err((e, alert)) => return Err(refuse(link, e, alert).await),
        }
        if seen == received.len() {
            received.reserve(READ);
            if link.read_buf(&mut received).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        seen += acceptor.read_tls(&mut &received[seen..])?;
    }
}

/// Tells a client why there is no handshake.
async fn refuse(link: &mut Link, e: rustls::Error, mut alert: AcceptedAlert) -> io::Error {
    let mut told = Vec::new();
    let sent = async {
        alert.write_all(&mut told)?;
        link.write_all(&told).await?;
        link.flush().await
    };
    // It may have left already.
    let _ = sent.await;
    invalid(e)
}

/// The handshake behind `hello`, up to where there is something to read, and what `look` sees in it there. The client's part of it
/// must have come by `until`.
pub(in super::super) async fn accept<T>(
    mut hello: Hello,
    link: Link,
    config: Arc<ServerConfig>,
    until: Instant,
    look: impl FnOnce(&ServerConnection) -> T,
) -> io::Result<(Link, T)> {
    let unseen = hello.received.split_off(hello.seen);
    let mut link = Prefixed::link(unseen.into(), link);
    let tls = match hello.accepted.into_connection(config) {
        Ok(tls) => tls,
        Err((e, alert)) => return Err(refuse(&mut link, e, alert).await),
    };
    let mut early = Early {
        link,
        tls,
        limit: Some(Box::pin(sleep_until(until))),
        is_shut: false,
        is_silent: false,
    };
    // What came behind the ClientHello was taken in with it.
    poll_fn(|cx| Poll::Ready(early.process(cx))).await?;
    poll_fn(|cx| early.poll_accept(cx)).await?;
    let seen = look(&early.tls);
    Ok((Link::other(early), seen))
}

/// A connection whose client may not have said its last word of the handshake yet. Reader and writer are one task, as they share what
/// wakes them.
struct Early {
    link: Link,
    tls: ServerConnection,
    /// By when the handshake must be done; nothing once it is.
    limit: Option<Pin<Box<Sleep>>>,
    /// Our direction has ended: nothing is sent any more, tickets neither.
    is_shut: bool,
    /// The connection has ended without close_notify.
    is_silent: bool,
}

impl Early {
    /// Goes on until there is early data, or the handshake is done.
    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let sent = self.poll_send(cx)?;
            if self.tls.early_data().is_some() || !self.tls.is_handshaking() {
                return sent.map(Ok);
            }
            if ready!(self.poll_receive(cx))? == 0 {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }

    /// Takes in what has come; nothing is the end.
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut link = Blocking {
            link: &mut self.link,
            cx,
        };
        let received = match self.tls.read_tls(&mut link) {
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Poll::Pending,
            received => received?,
        };
        Poll::Ready(self.process(cx).map(|()| received))
    }

    /// Looks into what was taken in.
    fn process(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        self.tls.process_new_packets().map(drop).map_err(|e| {
            // The alert, if there is room for it.
            let _ = self.poll_send(cx);
            invalid(e)
        })
    }

    /// Sends what is to be sent.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> io::Result<Poll<()>> {
        if self.is_shut {
            return Ok(Poll::Ready(()));
        }
        while self.tls.wants_write() {
            let mut link = Blocking {
                link: &mut self.link,
                cx,
            };
            match self.tls.write_tls(&mut link) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(Poll::Pending),
                Err(e) => return Err(e),
            }
        }
        match Pin::new(&mut self.link).poll_flush(cx) {
            Poll::Ready(flushed) => flushed.map(Poll::Ready),
            Poll::Pending => Ok(Poll::Pending),
        }
    }

    /// What is there to read: early data first, then what came behind the handshake.
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if let Some(mut early) = self.tls.early_data() {
            let read = early.read(buf)?;
            if read > 0 {
                return Ok(read);
            }
        }
        self.tls.reader().read(buf)
    }
}

impl AsyncRead for Early {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if this.tls.wants_write() {
                // Our part of the handshake, and tickets behind it. What does not go out is for who writes.
                let _ = this.poll_send(cx);
            }
            match this.read(buf.initialize_unfilled()) {
                Ok(read) => {
                    buf.advance(read);
                    return Poll::Ready(Ok(()));
                }
                Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => {
                    this.is_silent = true;
                    return Poll::Ready(Ok(()));
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(e) => return Poll::Ready(Err(e)),
            }
            if let Some(limit) = &mut this.limit {
                match this.tls.is_handshaking() {
                    true if limit.as_mut().poll(cx).is_ready() => {
                        return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
                    }
                    true => {}
                    false => this.limit = None,
                }
            }
            let received = ready!(this.poll_receive(cx))?;
            if received == 0 && this.tls.is_handshaking() {
                this.is_silent = true;
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl AsyncWrite for Early {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        // What is kept unsent is bounded: nothing is taken while something waits.
        ready!(this.poll_send(cx)?);
        let written = this.tls.writer().write_vectored(bufs)?;
        let _ = this.poll_send(cx)?;
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_send(cx)?.map(Ok)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.is_shut {
            this.tls.send_close_notify();
            ready!(this.poll_send(cx)?);
            this.is_shut = true;
        }
        match ready!(Pin::new(&mut this.link).poll_shutdown(cx)) {
            // The client has left.
            Err(e) if e.kind() == io::ErrorKind::NotConnected => Poll::Ready(Ok(())),
            shut => Poll::Ready(shut),
        }
    }
}

impl Io for Early {
    fn goodbye(&self) -> Goodbye {
        match self.is_silent {
            true => Goodbye::Unknown,
            false => Goodbye::Said,
        }
    }

    fn socket(&self) -> Option<&TcpStream> {
        self.link.socket()
    }

    fn presence(&self) -> Presence {
        self.link.presence()
    }

    fn set_low_water(&mut self, bytes: usize) {
        if !self.tls.is_handshaking() {
            self.link.set_low_water(bytes);
        }
    }

    fn bound_unsent(&mut self, bytes: u32) {
        self.link.bound_unsent(bytes);
    }
}

/// A link for who knows only of reads and writes that would block.
struct Blocking<'l, 'c, 'w> {
    link: &'l mut Link,
    cx: &'c mut Context<'w>,
}

impl Read for Blocking<'_, '_, '_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let mut buf = ReadBuf::new(buf);
        match Pin::new(&mut *self.link).poll_read(self.cx, &mut buf) {
            Poll::Ready(read) => read.map(|()| buf.filled().len()),
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }
}

impl Write for Blocking<'_, '_, '_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(buf)])
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        match Pin::new(&mut *self.link).poll_write_vectored(self.cx, bufs) {
            Poll::Ready(written) => written,
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn invalid(e: rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, e)
}
