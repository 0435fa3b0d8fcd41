//! The client's link, which is there before the handshake is.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};
use tokio_rustls::client::TlsStream;

use super::super::HANDSHAKE_LIMIT;
use super::super::outbound::cause;
use super::super::stream::Stream;
use super::{RECORD, SENT};
use crate::address::Host;
use crate::cause::{DialError, SharedError, TlsError};
use crate::io::{Goodbye, Io, Link};

/// How long a reader waits for the writer, to whom the first flight belongs. A server may be the one to speak first, and then nobody
/// writes; such a handshake goes without early data.
const PATIENCE: Duration = Duration::from_millis(200);

/// A connection whose first writes go along with the handshake. Reader and writer are one task, as they share what wakes them.
pub(in super::super) struct Early(State);

enum State {
    Shaking(Box<Shaking>),
    Open(Box<Stream>),
    /// The handshake failed, or was never wanted.
    Over(Option<Arc<io::Error>>),
}

struct Shaking {
    tls: TlsStream<Link>,
    /// Whose certificate is looked at.
    host: Host,
    /// By when the handshake must be done, once it has begun: something was written, or nobody waits for that any longer.
    limit: Option<Pin<Box<Sleep>>>,
    /// What may still be sent ahead.
    room: usize,
    patience: Option<Pin<Box<Sleep>>>,
    reader: Option<Waker>,
}

impl Early {
    pub(in super::super) fn new(tls: TlsStream<Link>, host: Host) -> Self {
        Self(State::Shaking(Box::new(Shaking {
            tls,
            host,
            limit: None,
            room: SENT,
            patience: None,
            reader: None,
        })))
    }

    /// The stream behind the handshake, which goes on.
    fn poll_open(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Pin<&mut Stream>>> {
        if let State::Shaking(shaking) = &mut self.0 {
            let shaken = ready!(shaking.poll(cx));
            let shaking = std::mem::replace(&mut self.0, State::Over(None));
            match (shaken, shaking) {
                (Err(e), _) => self.0 = State::Over(Some(Arc::new(e))),
                (Ok(()), State::Shaking(shaking)) => {
                    if let Some(reader) = shaking.reader {
                        reader.wake();
                    }
                    self.0 = State::Open(Box::new(Stream::new(shaking.tls)));
                }
                (Ok(()), other) => self.0 = other,
            }
        }
        match &mut self.0 {
            State::Open(stream) => Poll::Ready(Ok(Pin::new(&mut **stream))),
            // Whoever asks hears why.
            State::Over(Some(e)) => Poll::Ready(Err(SharedError::of(e))),
            _ => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    /// Writes, to be sent at once, and says how much; what comes of the handshake is for the next call to tell.
    fn poll_early(&mut self, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        let State::Shaking(shaking) = &mut self.0 else {
            return Ok(0);
        };
        let first = bufs.iter().find(|buf| !buf.is_empty());
        let first = first.map_or(&[][..], |buf| buf);
        let Some(room) = shaking.room.checked_sub(RECORD).filter(|room| *room > 0) else {
            return Ok(0);
        };
        let part = &first[..first.len().min(room)];
        let taken = match Pin::new(&mut shaking.tls).poll_write(cx, part) {
            Poll::Ready(taken) => taken.map_err(|e| shaking.failed(e))?,
            // The server allows less, and the handshake has to come first.
            Poll::Pending => 0,
        };
        shaking.room = room - taken;
        if let Some(reader) = shaking.reader.take() {
            reader.wake();
        }
        if let Poll::Ready(Err(e)) = self.poll_open(cx) {
            return Err(e);
        }
        Ok(taken)
    }
}

impl Shaking {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let limit = self
            .limit
            .get_or_insert_with(|| Box::pin(sleep(HANDSHAKE_LIMIT)));
        if let Poll::Ready(shaken) = Pin::new(&mut self.tls).poll_flush(cx) {
            return Poll::Ready(shaken.map_err(|e| self.failed(e)));
        }
        ready!(limit.as_mut().poll(cx));
        Poll::Ready(Err(self.slow()))
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
            && shaking.limit.is_none()
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
        match this.poll_early(cx, bufs)? {
            0 => ready!(this.poll_open(cx))?.poll_write_vectored(cx, bufs),
            written => Poll::Ready(Ok(written)),
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
    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        match &mut this.0 {
            // Nothing was said, so there is nothing to take leave of.
            State::Shaking(shaking) if shaking.limit.is_none() => {
                this.0 = State::Over(None);
                Poll::Ready(Ok(()))
            }
            _ => Pin::new(this).poll_shutdown(cx),
        }
    }

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

    fn bound_unsent(&mut self, bytes: u32) {
        match &mut self.0 {
            State::Shaking(shaking) => shaking.tls.get_mut().0.bound_unsent(bytes),
            State::Open(stream) => stream.bound_unsent(bytes),
            State::Over(_) => {}
        }
    }
}
