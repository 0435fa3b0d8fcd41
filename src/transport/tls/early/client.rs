//! The client's link, which is there before the handshake is.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};
use tokio_rustls::client::TlsStream;

use super::super::HANDSHAKE_LIMIT;
use super::super::outbound::cause;
use super::super::stream::Stream;
use crate::address::Host;
use crate::cause::{DialError, TlsError};
use crate::io::{Goodbye, Io, Link};

/// How long a reader waits for the writer, to whom the first flight belongs. A server may be the one to speak first, and then nobody
/// writes; such a handshake goes without early data.
const PATIENCE: Duration = Duration::from_millis(200);

/// A connection whose first writes go along with the handshake.
pub(in super::super) struct Early(State);

enum State {
    Shaking(Box<Shaking>),
    Open(Stream),
    /// The handshake failed, and that was told.
    Over,
}

struct Shaking {
    tls: TlsStream<Link>,
    /// Whose certificate is looked at.
    host: Host,
    limit: Pin<Box<Sleep>>,
    /// Something was written, or nobody waits for that any longer.
    began: bool,
    patience: Option<Pin<Box<Sleep>>>,
    reader: Option<Waker>,
}

impl Early {
    pub(in super::super) fn new(tls: TlsStream<Link>, host: Host) -> Self {
        Self(State::Shaking(Box::new(Shaking {
            tls,
            host,
            limit: Box::pin(sleep(HANDSHAKE_LIMIT)),
            began: false,
            patience: None,
            reader: None,
        })))
    }

    /// The stream behind the handshake, which goes on.
    fn poll_open(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Pin<&mut Stream>>> {
        if let State::Shaking(shaking) = &mut self.0 {
            let shaken = ready!(shaking.poll(cx));
            let State::Shaking(shaking) = std::mem::replace(&mut self.0, State::Over) else {
                unreachable!("it was that a moment ago");
            };
            shaken?;
            if let Some(reader) = shaking.reader {
                reader.wake();
            }
            self.0 = State::Open(Stream::new(shaking.tls));
        }
        match &mut self.0 {
            State::Open(stream) => Poll::Ready(Ok(Pin::new(stream))),
            _ => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    /// Writes, to be sent at once; what comes of the handshake is for the next call to tell.
    fn poll_early(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Option<Poll<io::Result<usize>>> {
        let State::Shaking(shaking) = &mut self.0 else {
            return None;
        };
        let taken = match Pin::new(&mut shaking.tls).poll_write_vectored(cx, bufs) {
            Poll::Ready(Ok(taken)) => taken,
            // Early data is full, and the handshake has to come first.
            Poll::Pending => match shaking.limit.as_mut().poll(cx) {
                Poll::Ready(()) => return Some(Poll::Ready(Err(shaking.slow()))),
                Poll::Pending => return Some(Poll::Pending),
            },
            Poll::Ready(Err(e)) => return Some(Poll::Ready(Err(shaking.failed(e)))),
        };
        if !std::mem::replace(&mut shaking.began, true)
            && let Some(reader) = shaking.reader.take()
        {
            reader.wake();
        }
        Some(match self.poll_open(cx) {
            Poll::Ready(Err(e)) => Poll::Ready(Err(e)),
            _ => Poll::Ready(Ok(taken)),
        })
    }
}

impl Shaking {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.began = true;
        match Pin::new(&mut self.tls).poll_flush(cx) {
            Poll::Ready(shaken) => Poll::Ready(shaken.map_err(|e| self.failed(e))),
            Poll::Pending => {
                ready!(self.limit.as_mut().poll(cx));
                Poll::Ready(Err(self.slow()))
            }
        }
    }

    fn failed(&self, e: io::Error) -> io::Error {
        DialError::from(cause(e, &self.host)).into()
    }

    fn slow(&self) -> io::Error {
        DialError::from(TlsError::Slow(HANDSHAKE_LIMIT)).into()
    }
}

impl AsyncRead for Early {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let State::Shaking(shaking) = &mut this.0
            && !shaking.began
        {
            let patience = shaking
                .patience
                .get_or_insert_with(|| Box::pin(sleep(PATIENCE)));
            if patience.as_mut().poll(cx).is_pending() {
                shaking.reader = Some(cx.waker().clone());
                return Poll::Pending;
            }
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
        if bufs.iter().all(|buf| buf.is_empty()) {
            return Poll::Ready(Ok(0));
        }
        match this.poll_early(cx, bufs) {
            Some(written) => written,
            None => ready!(this.poll_open(cx))?.poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.get_mut().poll_open(cx))?.poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.get_mut().poll_open(cx))?.poll_shutdown(cx)
    }
}

impl Io for Early {
    fn goodbye(&self) -> Goodbye {
        match &self.0 {
            State::Open(stream) => stream.goodbye(),
            _ => Goodbye::Unknown,
        }
    }

    fn set_low_water(&mut self, bytes: usize) {
        if let State::Open(stream) = &mut self.0 {
            stream.set_low_water(bytes);
        }
    }
}
