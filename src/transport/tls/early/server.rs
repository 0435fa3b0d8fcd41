//! The server's link, which is there before the client's side of the handshake is.

use std::future::poll_fn;
use std::io::{self, IoSlice, Read, Write};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio_rustls::rustls::server::Accepted as Hello;
use tokio_rustls::rustls::{self, ServerConfig, ServerConnection};
use tokio_rustls::{Accept, TlsAcceptor};

use super::super::stream::Stream;
use crate::io::{Goodbye, Io, Link};

/// The handshake behind `hello`, up to where there is something to read, and what `look` sees in it there.
pub(in super::super) async fn accept<T>(
    hello: Hello,
    mut link: Link,
    config: Arc<ServerConfig>,
    look: impl FnOnce(&ServerConnection) -> T,
) -> io::Result<(Link, T)> {
    let tls = match hello.into_connection(config.clone()) {
        Ok(tls) => tls,
        Err((e, mut alert)) => {
            let mut told = Vec::new();
            alert.write_all(&mut told)?;
            let sent = async {
                link.write_all(&told).await?;
                link.flush().await
            };
            // It may have left already.
            let _ = sent.await;
            return Err(invalid(e));
        }
    };
    let mut shaking = Shaking { link, tls };
    // What came behind the ClientHello was taken in with it.
    poll_fn(|cx| Poll::Ready(shaking.process(cx))).await?;
    poll_fn(|cx| shaking.poll_early(cx)).await?;
    let seen = look(&shaking.tls);
    // All of the client's may be here already, its Finished too, and early data wants to be read all the same.
    if shaking.tls.is_handshaking() || shaking.tls.early_data().is_some() {
        let state = State::Shaking(shaking);
        return Ok((Link::other(Early { state, config }), seen));
    }
    let stream = shaking.into_stream(config).await?;
    Ok((Link::other(Stream::new(stream)), seen))
}

/// A connection whose client has not said its last word of the handshake yet.
struct Early {
    state: State,
    config: Arc<ServerConfig>,
}

enum State {
    Shaking(Shaking),
    /// The handshake is done; what holds it changes hands.
    Opening(Accept<Link>),
    Open(Stream),
    Over,
}

struct Shaking {
    link: Link,
    tls: ServerConnection,
}

impl Shaking {
    /// Goes on until there is early data, or the handshake is done.
    fn poll_early(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let wrote = self.poll_send(cx)?;
            if self.tls.early_data().is_some() || !self.tls.is_handshaking() {
                ready!(wrote.map(Ok::<(), io::Error>))?;
                return Poll::Ready(Ok(()));
            }
            ready!(self.poll_receive(cx))?;
        }
    }

    /// Takes in what has come; an end in the middle is an error.
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut link = Blocking {
            link: &mut self.link,
            cx,
        };
        match self.tls.read_tls(&mut link) {
            Ok(0) => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
            Ok(_) => {}
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Poll::Pending,
            Err(e) => return Poll::Ready(Err(e)),
        }
        Poll::Ready(self.process(cx))
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

    fn into_stream(self, config: Arc<ServerConfig>) -> Accept<Link> {
        let Self { link, tls } = self;
        TlsAcceptor::from(config).accept_with(link, |fresh| *fresh = tls)
    }
}

impl Early {
    /// The stream behind the handshake, once that is done and all early data was read.
    fn poll_open(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Pin<&mut Stream>>> {
        loop {
            match std::mem::replace(&mut self.state, State::Over) {
                State::Shaking(shaking) => {
                    self.state = State::Opening(shaking.into_stream(self.config.clone()));
                }
                State::Opening(mut accept) => match Pin::new(&mut accept).poll(cx) {
                    Poll::Ready(tls) => self.state = State::Open(Stream::new(tls?)),
                    Poll::Pending => {
                        self.state = State::Opening(accept);
                        return Poll::Pending;
                    }
                },
                State::Open(stream) => {
                    self.state = State::Open(stream);
                    let State::Open(stream) = &mut self.state else {
                        unreachable!("it was put there a moment ago");
                    };
                    return Poll::Ready(Ok(Pin::new(stream)));
                }
                State::Over => return Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
            }
        }
    }
}

impl AsyncRead for Early {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while let State::Shaking(shaking) = &mut this.state {
            let _ = shaking.poll_send(cx)?;
            if let Some(mut early) = shaking.tls.early_data() {
                let read = early.read(buf.initialize_unfilled())?;
                if read > 0 {
                    buf.advance(read);
                    return Poll::Ready(Ok(()));
                }
            }
            if !shaking.tls.is_handshaking() {
                break;
            }
            ready!(shaking.poll_receive(cx))?;
        }
        ready!(this.poll_open(cx))?.poll_read(cx, buf)
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
        let State::Shaking(shaking) = &mut this.state else {
            return ready!(this.poll_open(cx))?.poll_write_vectored(cx, bufs);
        };
        // What is kept unsent is bounded: nothing is taken while something waits.
        ready!(shaking.poll_send(cx)?);
        let written = shaking.tls.writer().write_vectored(bufs)?;
        let _ = shaking.poll_send(cx)?;
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        match &mut this.state {
            State::Shaking(shaking) => shaking.poll_send(cx)?.map(Ok),
            _ => ready!(this.poll_open(cx))?.poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let State::Shaking(shaking) = &mut this.state else {
            return ready!(this.poll_open(cx))?.poll_shutdown(cx);
        };
        shaking.tls.send_close_notify();
        ready!(shaking.poll_send(cx)?);
        Pin::new(&mut shaking.link).poll_shutdown(cx)
    }
}

impl Io for Early {
    fn goodbye(&self) -> Goodbye {
        match &self.state {
            State::Open(stream) => stream.goodbye(),
            _ => Goodbye::Unknown,
        }
    }

    fn set_low_water(&mut self, bytes: usize) {
        if let State::Open(stream) = &mut self.state {
            stream.set_low_water(bytes);
        }
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
