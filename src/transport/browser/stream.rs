//! A tunnel through the page: its WebSocket, and how much the page has yet to hand on.
//!
//! A page cannot hold up what it is sent, so it says how much of it has left for the server, and we send no more than
//! [`WINDOW`] ahead of that.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::codec::Id;
use super::dialer::Shared;
use crate::copy;
use crate::io::{HEADROOM, Io, Link, forward, scratch};
use crate::transport::ws::WsStream;

/// The most that the page holds of a tunnel for its server. It says what it took for every eighth of it.
pub(super) const WINDOW: u64 = 1024 * 1024;

/// Bytes over the page.
pub(super) struct Piped {
    socket: WsStream<Link>,
    window: Arc<Window>,
    shared: Arc<Shared>,
    id: Id,
}

/// How much may be sent; the page's words come by another connection.
#[derive(Debug, Default)]
pub(super) struct Window(Mutex<Sent>);

#[derive(Debug, Default)]
struct Sent {
    /// Not handed on yet.
    ahead: u64,
    writer: Option<Waker>,
    /// The page is gone, and nothing will be.
    gone: bool,
}

impl Window {
    fn lock(&self) -> MutexGuard<'_, Sent> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The page has handed on so many bytes.
    pub(super) fn took(&self, bytes: u64) {
        let mut sent = self.lock();
        sent.ahead = sent.ahead.saturating_sub(bytes);
        wake(&mut sent);
    }

    /// The page is gone.
    pub(super) fn close(&self) {
        let mut sent = self.lock();
        sent.gone = true;
        wake(&mut sent);
    }

    /// How many bytes there is room for.
    fn poll_room(&self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut sent = self.lock();
        if sent.gone {
            let text = "the browser page was closed or loaded again";
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::ConnectionReset, text)));
        }
        let room = WINDOW.saturating_sub(sent.ahead);
        if room == 0 {
            sent.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(Ok(usize::try_from(room).unwrap_or(usize::MAX)))
    }

    fn sent(&self, bytes: usize) {
        self.lock().ahead += bytes as u64;
    }
}

fn wake(sent: &mut Sent) {
    if let Some(writer) = sent.writer.take() {
        writer.wake();
    }
}

impl Piped {
    pub(super) fn new(
        socket: WsStream<Link>,
        window: Arc<Window>,
        shared: Arc<Shared>,
        id: Id,
    ) -> Self {
        Self {
            socket,
            window,
            shared,
            id,
        }
    }
}

impl Drop for Piped {
    fn drop(&mut self) {
        self.shared.forget(self.id);
    }
}

impl fmt::Debug for Piped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Piped")
    }
}

impl AsyncRead for Piped {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(cx, buf)
    }
}

impl AsyncWrite for Piped {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut scratch = scratch::take();
        let n = buf.len().min(scratch.len() - HEADROOM);
        let over = &mut scratch[..HEADROOM + n];
        copy::copy(&buf[..n], &mut over[HEADROOM..]);
        self.poll_write_in_place(cx, over)
    }

    forward!(socket: poll_flush poll_shutdown);
}

impl Io for Piped {
    fn poll_write_in_place(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let room = match this.window.poll_room(cx) {
            Poll::Ready(room) => room?,
            Poll::Pending => {
                // What was taken before must go, or the page never makes room.
                let _ = Pin::new(&mut this.socket).poll_flush(cx)?;
                return Poll::Pending;
            }
        };
        let n = (buf.len() - HEADROOM).min(room);
        let socket = Pin::new(&mut this.socket);
        let n = ready!(socket.poll_write_in_place(cx, &mut buf[..HEADROOM + n]))?;
        this.window.sent(n);
        Poll::Ready(Ok(n))
    }

    forward!(socket: poll_close poll_end end_cuts_off say_end holds_up_others half_closes cork set_close_reason goodbye set_low_water bound_unsent);
}
