//! A stream of a session.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

use super::table::{Handle, Sent};
use crate::copy;
use crate::io::{Goodbye, Io, Presence, Sink};

/// How long a write waits behind the peer's end, once all is read that came before it: by then whoever reads has heard of it, and
/// nothing is lost when the write fails. V2Ray's default `uplinkOnly`.
const GRACE: Duration = Duration::from_secs(2);

/// How long a peer may be silent behind our last byte before it is told that there will be no more, and can answer no
/// more. V2Ray's default `downlinkOnly`.
const FAREWELL: Duration = Duration::from_secs(5);

pub(super) struct SmuxStream {
    handle: Handle,
    grace: Option<Pin<Box<Sleep>>>,
    farewell: Option<Pin<Box<Sleep>>>,
}

impl SmuxStream {
    /// One that the peer has opened, or will hear of with the first write or flush.
    pub(super) fn new(handle: Handle) -> Self {
        Self {
            handle,
            grace: None,
            farewell: None,
        }
    }
}

impl AsyncRead for SmuxStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.handle.begin();
        let room = buf.remaining();
        if room == 0 {
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        let read = self.handle.poll_read(cx, room, |data| copy::put(data, buf));
        if buf.filled().len() > before
            && let Some(farewell) = &mut self.farewell
        {
            farewell.as_mut().reset(Instant::now() + FAREWELL);
        }
        read
    }
}

impl AsyncWrite for SmuxStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        if data.is_empty() {
            return Poll::Ready(Ok(0));
        }
        match ready!(self.handle.poll_send(cx, data))? {
            Sent::Bytes(n) => Poll::Ready(Ok(n)),
            Sent::Ended => {
                let this = &mut *self;
                let grace = this.grace.get_or_insert_with(|| Box::pin(sleep(GRACE)));
                while grace.as_mut().poll(cx).is_ready() {
                    if !this.handle.has_unread() {
                        let text = "the peer is done with the stream";
                        let error = io::Error::new(io::ErrorKind::BrokenPipe, text);
                        return Poll::Ready(Err(error));
                    }
                    grace.as_mut().reset(Instant::now() + GRACE);
                }
                Poll::Pending
            }
        }
    }

    /// What was written is with the session's task; only the word that there is a stream may still be here.
    fn poll_flush(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.handle.begin();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.handle.has_ended() || !self.handle.half_closes() {
            self.handle.end();
        } else {
            self.handle.end_writing();
        }
        Poll::Ready(Ok(()))
    }
}

impl Io for SmuxStream {
    /// FIN is the end of both directions, and who knows another one has to say so.
    fn half_closes(&self) -> bool {
        self.handle.half_closes()
    }

    /// Who knows of an end of one direction reads on behind it. For others no end is said before both directions are over, or
    /// before whoever waits for one would wait for ever.
    fn poll_end(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.handle.end_writing() {
            return Poll::Ready(Ok(()));
        }
        let farewell = this
            .farewell
            .get_or_insert_with(|| Box::pin(sleep(FAREWELL)));
        while farewell.as_mut().poll(cx).is_ready() {
            // While another stream's reader has filled the session, nobody listens to the peer.
            let now = Instant::now();
            let until = this.handle.listens_since().unwrap_or(now) + FAREWELL;
            if until <= now {
                this.handle.end();
                return Poll::Ready(Ok(()));
            }
            farewell.as_mut().reset(until);
        }
        Poll::Pending
    }

    fn say_end(&mut self) {
        self.handle.end_writing();
    }

    /// Whoever has ended both directions hears nothing any more.
    fn presence(&self) -> Presence {
        self.handle.presence()
    }

    /// FIN does.
    fn end_cuts_off(&self) -> bool {
        !self.handle.half_closes()
    }

    /// Without a window its reader does.
    fn holds_up_others(&self) -> bool {
        !self.handle.has_windows()
    }

    fn sink(&self) -> Option<Sink<'_>> {
        Some(Sink::Frames(&self.handle))
    }

    /// A stream whose session has ended breaks off with an error.
    fn goodbye(&self) -> Goodbye {
        Goodbye::Said
    }
}
