//! The task of a link: its frames into the sessions' inboxes, the sessions' frames out to it.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep, timeout};
use tracing::{debug, trace};

use super::codec::{Frame, Kind};
use super::table::Table;
use crate::copy;
use crate::io::{Io, Link, coop, scratch};

/// Reads and writes of a link before other tasks get their turn.
const TURNS: usize = 8;

/// How long a link gets to send what is left and to say goodbye.
const CLOSE_LIMIT: Duration = Duration::from_secs(2);

/// What becomes of the sessions that the peer opens.
pub(super) trait SessionHandler: Send {
    fn open(&mut self, table: &Arc<Table>, session_id: u16, kind: Kind, data: Option<Bytes>);
}

pub(super) struct Driver<D> {
    link: Link,
    table: Arc<Table>,
    door: D,
    /// The beginning of a frame.
    input: BytesMut,
    /// A frame whose session has no room for it yet.
    stalled: Option<(Frame, Option<Bytes>)>,
    /// Frames on their way down.
    output: BytesMut,
    unflushed: bool,
    /// How often it is looked whether anybody uses the link.
    unused: Option<Duration>,
    /// A link on which no byte moves for so long is over, whatever sessions it has.
    idle: Duration,
    active: Instant,
    timer: Pin<Box<Sleep>>,
}

impl<D: SessionHandler> Driver<D> {
    pub(super) fn new(
        mut link: Link,
        table: Arc<Table>,
        door: D,
        unused: Option<Duration>,
        idle: Duration,
    ) -> Self {
        link.share();
        Self {
            link,
            table,
            door,
            input: BytesMut::new(),
            stalled: None,
            output: BytesMut::new(),
            unflushed: false,
            unused,
            idle,
            active: Instant::now(),
            timer: Box::pin(sleep(unused.map_or(idle, |unused| unused.min(idle)))),
        }
    }

    /// Carries frames until the link is over, which ends every session that is left.
    pub(super) async fn run(mut self) {
        let (kind, reason) = match poll_fn(|cx| self.poll(cx)).await {
            Ok(()) => (
                io::ErrorKind::UnexpectedEof,
                "the mux link has ended".to_owned(),
            ),
            Err(e) => (e.kind(), format!("mux: {e}")),
        };
        debug!(reason, "mux link ends");
        self.table.lock().fail(kind, &reason);
        let goodbye = poll_fn(|cx| {
            ready!(self.poll_out(cx))?;
            Pin::new(&mut self.link).poll_close(cx)
        });
        // However the goodbye ends, the link is dropped.
        let _ = timeout(CLOSE_LIMIT, goodbye).await;
    }

    /// Ready when the link has ended, or nobody needs it.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        for _ in 0..TURNS {
            // Whatever makes a frame from here on wakes the task again.
            let _ = self.poll_out(cx)?;
            match self.poll_in(cx)? {
                Poll::Ready(true) => {}
                Poll::Ready(false) => return Poll::Ready(Ok(())),
                Poll::Pending => return self.poll_idle(cx),
            }
        }
        coop::yield_now(cx);
        Poll::Pending
    }

    /// Sends the frames that wait; ready when there are none.
    fn poll_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            if self.output.is_empty() {
                self.output = self.table.lock().take_out(cx);
            }
            if self.output.is_empty() {
                break;
            }
            self.unflushed = true;
            while !self.output.is_empty() {
                match ready!(Pin::new(&mut self.link).poll_write(cx, &self.output))? {
                    0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                    n => self.output.advance(n),
                }
                self.active = Instant::now();
            }
        }
        if self.unflushed {
            ready!(Pin::new(&mut self.link).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    /// One read, and the frames in it; `false` at the end of the link.
    fn poll_in(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        if !self.decode(cx)? {
            // The reader that makes room wakes us.
            return Poll::Pending;
        }
        let mut scratch = scratch::take();
        let mut buf = ReadBuf::new(&mut scratch);
        ready!(Pin::new(&mut self.link).poll_read(cx, &mut buf))?;
        if buf.filled().is_empty() {
            if self.input.is_empty() {
                return Poll::Ready(Ok(false));
            }
            let text = format!("the link ended {} bytes into a frame", self.input.len());
            let error = io::Error::new(io::ErrorKind::UnexpectedEof, text);
            return Poll::Ready(Err(error));
        }
        copy::append(buf.filled(), &mut self.input);
        self.active = Instant::now();
        self.table.lock().hear(self.active);
        self.decode(cx)?;
        Poll::Ready(Ok(true))
    }

    /// Deals out the frames that are whole; `false` when a session has no room for more.
    fn decode(&mut self, cx: &Context<'_>) -> io::Result<bool> {
        loop {
            let next = match self.stalled.take() {
                None => Frame::decode(&mut self.input)
                    .map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))?,
                stalled => stalled,
            };
            let Some((frame, data)) = next else { break };
            let keeps = data.is_some() && matches!(frame.kind, Kind::Keep(_));
            if keeps && !self.table.lock().poll_room(cx, frame.session_id) {
                self.stalled = Some((frame, data));
                return Ok(false);
            }
            trace!(?frame, len = data.as_ref().map(Bytes::len), "mux frame");
            match frame.kind {
                Kind::Stream(_) | Kind::Packets { .. } => {
                    self.door
                        .open(&self.table, frame.session_id, frame.kind, data);
                }
                Kind::Keep(from) => self.table.lock().keep(frame.session_id, from, data),
                Kind::End => self.table.lock().end(frame.session_id, frame.error),
                Kind::KeepAlive => {}
            }
        }
        if self.input.is_empty() {
            // An idle link holds no buffer.
            self.input = BytesMut::new();
        }
        Ok(true)
    }

    /// Ready when the link has no session at the end of its time, or has been silent for too long.
    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let state = self.table.lock();
        if let Some(error) = state.error() {
            return Poll::Ready(Err(error));
        }
        if state.is_retired() && state.sessions() == 0 {
            return Poll::Ready(Ok(()));
        }
        drop(state);
        while self.timer.as_mut().poll(cx).is_ready() {
            let now = Instant::now();
            let mut state = self.table.lock();
            if self.unused.is_some() && state.sessions() == 0 {
                // Within the lock, so that no session is opened meanwhile.
                state.fail(io::ErrorKind::NotConnected, "the mux link was idle");
                return Poll::Ready(Ok(()));
            }
            drop(state);
            let mut due = self.active + self.idle;
            if due <= now {
                let text = format!("silent for {} s", self.idle.as_secs());
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, text)));
            }
            if let Some(unused) = self.unused {
                due = due.min(now + unused);
            }
            self.timer.as_mut().reset(due);
        }
        Poll::Pending
    }
}
