//! A client's link whose handshake waits for the first write, to take it along as early data.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};

use crate::io::{CloseReason, Goodbye, HEADROOM, Io, Sink};

/// The handshake on its way.
type Shaking<S> = Pin<Box<dyn Future<Output = io::Result<S>> + Send>>;

/// How long a reader waits for the writer. A server may be the one to speak first, and then nobody
/// writes; such a session begins without early data.
const PATIENCE: Duration = Duration::from_millis(200);

/// `S` is what the handshake makes.
pub(crate) struct LazyHandshake<S> {
    state: State<S>,
    /// Asked for before there was a stream.
    unsent: Option<u32>,
}

enum State<S> {
    /// Nothing was written; the handshake begins with at most `max` bytes.
    Waiting {
        max: usize,
        handshake: Box<dyn FnOnce(Vec<u8>) -> Shaking<S> + Send>,
        patience: Option<Pin<Box<Sleep>>>,
        reader: Option<Waker>,
    },
    Shaking(Shaking<S>),
    Open(S),
    /// The handshake failed, or was never wanted.
    Over,
}

impl<S: Io> LazyHandshake<S> {
    pub(crate) fn new(
        max: usize,
        handshake: impl FnOnce(Vec<u8>) -> Shaking<S> + Send + 'static,
    ) -> Self {
        Self {
            state: State::Waiting {
                max,
                handshake: Box::new(handshake),
                patience: None,
                reader: None,
            },
            unsent: None,
        }
    }

    /// Begins the handshake if it has not begun, and returns how much of `data` it takes along.
    fn begin(&mut self, data: &[u8]) -> usize {
        match std::mem::replace(&mut self.state, State::Over) {
            State::Waiting {
                max,
                handshake,
                reader,
                ..
            } => {
                let n = data.len().min(max);
                self.state = State::Shaking(handshake(data[..n].to_vec()));
                if let Some(reader) = reader {
                    reader.wake();
                }
                n
            }
            other => {
                self.state = other;
                0
            }
        }
    }

    fn opened(&mut self, shaken: io::Result<S>) -> io::Result<()> {
        self.state = State::Over;
        let mut stream = shaken?;
        if let Some(bytes) = self.unsent {
            stream.bound_unsent(bytes);
        }
        self.state = State::Open(stream);
        Ok(())
    }

    /// The stream, once the handshake is done; it begins here if it has not.
    fn poll_open(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Pin<&mut S>>> {
        self.begin(&[]);
        if let State::Shaking(shaking) = &mut self.state {
            let shaken = ready!(shaking.as_mut().poll(cx));
            self.opened(shaken)?;
        }
        match &mut self.state {
            State::Open(stream) => Poll::Ready(Ok(Pin::new(stream))),
            _ => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }
}

impl<S: Io> AsyncRead for LazyHandshake<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let State::Waiting {
            patience, reader, ..
        } = &mut this.state
        {
            let patience = patience.get_or_insert_with(|| Box::pin(sleep(PATIENCE)));
            if patience.as_mut().poll(cx).is_pending() {
                *reader = Some(cx.waker().clone());
                return Poll::Pending;
            }
        }
        ready!(this.poll_open(cx))?.poll_read(cx, buf)
    }
}

impl<S: Io> AsyncWrite for LazyHandshake<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let taken = this.begin(buf);
        if taken == 0 {
            return ready!(this.poll_open(cx))?.poll_write(cx, buf);
        }
        // The request goes out at once; what comes of it is for the next call to tell.
        if let State::Shaking(shaking) = &mut this.state
            && let Poll::Ready(result) = shaking.as_mut().poll(cx)
        {
            this.opened(result)?;
        }
        Poll::Ready(Ok(taken))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.get_mut().poll_open(cx))?.poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.get_mut().poll_open(cx))?.poll_shutdown(cx)
    }
}

impl<S: Io> Io for LazyHandshake<S> {
    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        match this.state {
            State::Waiting { .. } | State::Over => {
                this.state = State::Over;
                Poll::Ready(Ok(()))
            }
            State::Shaking(_) | State::Open(_) => ready!(this.poll_open(cx))?.poll_close(cx),
        }
    }

    fn poll_end(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.get_mut().poll_open(cx))?.poll_end(cx)
    }

    fn poll_write_in_place(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.state {
            State::Open(stream) => Pin::new(stream).poll_write_in_place(cx, buf),
            _ => self.poll_write(cx, &buf[HEADROOM..]),
        }
    }

    /// Nobody knows before there is a stream.
    fn half_closes(&self) -> bool {
        match &self.state {
            State::Open(stream) => stream.half_closes(),
            _ => false,
        }
    }

    fn set_close_reason(&mut self, reason: CloseReason) {
        if let State::Open(stream) = &mut self.state {
            stream.set_close_reason(reason);
        }
    }

    fn goodbye(&self) -> Goodbye {
        match &self.state {
            State::Open(stream) => stream.goodbye(),
            _ => Goodbye::Unknown,
        }
    }

    fn tcp(&self) -> Option<&TcpStream> {
        match &self.state {
            State::Open(stream) => stream.tcp(),
            _ => None,
        }
    }

    fn source(&self) -> Option<&TcpStream> {
        match &self.state {
            State::Open(stream) => stream.source(),
            _ => None,
        }
    }

    fn took(&mut self, bytes: usize) {
        if let State::Open(stream) = &mut self.state {
            stream.took(bytes);
        }
    }

    fn sink(&self) -> Option<Sink<'_>> {
        match &self.state {
            State::Open(stream) => stream.sink(),
            _ => None,
        }
    }

    fn poll_announce(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: usize,
    ) -> Poll<io::Result<()>> {
        ready!(self.get_mut().poll_open(cx))?.poll_announce(cx, bytes)
    }

    fn gave(&mut self, bytes: usize) {
        if let State::Open(stream) = &mut self.state {
            stream.gave(bytes);
        }
    }

    fn cork(&mut self) {
        if let State::Open(stream) = &mut self.state {
            stream.cork();
        }
    }

    fn set_low_water(&mut self, bytes: usize) {
        if let State::Open(stream) = &mut self.state {
            stream.set_low_water(bytes);
        }
    }

    fn bound_unsent(&mut self, bytes: u32) {
        match &mut self.state {
            State::Open(stream) => stream.bound_unsent(bytes),
            _ => self.unsent = Some(bytes),
        }
    }
}
