//! A client's link that is written to before the server has answered the upgrade.
//!
//! Servers of V2Ray and Xray forget what one read gives them behind the request. So the request goes out by itself, and
//! what follows it is held back for a moment, or until the answer is there: then it comes by another read, unless the
//! server is very busy.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use crate::cause::{DialError, UpgradeError};
use crate::http::head;
use crate::http::upgrade::{LIMIT, MAX_HEADER, granted, is_preliminary, look_at_clock};
use crate::io::{Io, Link, PeerClock, Prefixed, Step, forward};

/// How long what follows the request is held back. A server that reads what there is needs far less; it is little
/// beside the round trip that is saved.
const PAUSE: Duration = Duration::from_millis(10);

pub(super) struct Ahead {
    /// What came behind the answer stands in front.
    link: Prefixed<Link>,
    state: State,
}

enum State {
    /// The request is sent, and its answer is not there.
    Asked(Box<Asked>),
    /// The answer was a 101.
    Open,
    /// It was none.
    Over,
}

struct Asked {
    path: String,
    step: Step,
    clock: Arc<PeerClock>,
    /// Of the answer.
    read: BytesMut,
    limit: Pin<Box<Sleep>>,
    /// `None` when it is over.
    pause: Option<Pin<Box<Sleep>>>,
    /// Who waits for its end.
    writer: Option<Waker>,
}

impl Ahead {
    /// The request for `path` is sent; `clock` is told what time it is there.
    pub(super) fn new(link: Link, path: String, clock: Arc<PeerClock>) -> Self {
        let asked = Asked {
            path,
            step: Step::begin("upgrade"),
            clock,
            read: BytesMut::new(),
            limit: Box::pin(sleep(LIMIT)),
            pause: Some(Box::pin(sleep(PAUSE))),
            writer: None,
        };
        Self {
            link: Prefixed::new(Bytes::new(), link),
            state: State::Asked(Box::new(asked)),
        }
    }

    /// Ready when the answer is there and was a 101.
    fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let answered = match &mut self.state {
            State::Open => return Poll::Ready(Ok(())),
            State::Over => return Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
            State::Asked(asked) => ready!(asked.poll(&mut self.link, cx)),
        };
        let before = std::mem::replace(&mut self.state, State::Over);
        if let State::Asked(asked) = before
            && let Some(writer) = asked.writer
        {
            writer.wake();
        }
        self.link.put_back(answered.map_err(DialError::from)?);
        self.state = State::Open;
        Poll::Ready(Ok(()))
    }

    /// Ready when something may follow the request.
    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.state {
            State::Open => Poll::Ready(Ok(())),
            State::Over => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
            State::Asked(asked) => {
                if let Some(pause) = &mut asked.pause {
                    if pause.as_mut().poll(cx).is_pending() {
                        asked.writer = Some(cx.waker().clone());
                        return Poll::Pending;
                    }
                    asked.pause = None;
                }
                Poll::Ready(Ok(()))
            }
        }
    }
}

impl Asked {
    /// What came behind the 101.
    fn poll(
        &mut self,
        link: &mut Prefixed<Link>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Bytes, UpgradeError>> {
        loop {
            while let Some((answer, len)) = head::response(&self.read)? {
                self.read.advance(len);
                if !is_preliminary(answer.status()) {
                    look_at_clock(answer.headers(), &self.clock);
                    granted(&answer, &self.path)?;
                    self.step.done(format_args!("101 at {}", self.path));
                    return Poll::Ready(Ok(std::mem::take(&mut self.read).freeze()));
                }
            }
            if self.read.len() >= MAX_HEADER {
                return Poll::Ready(Err(UpgradeError::TooLarge));
            }
            if self.limit.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Err(UpgradeError::Slow(LIMIT)));
            }
            let mut piece = [0; 1024];
            let mut piece = ReadBuf::new(&mut piece);
            let read = ready!(Pin::new(&mut *link).poll_read(cx, &mut piece));
            read.map_err(UpgradeError::Broken)?;
            if piece.filled().is_empty() {
                return Poll::Ready(Err(UpgradeError::Closed));
            }
            self.read.extend_from_slice(piece.filled());
        }
    }
}

impl AsyncRead for Ahead {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_answer(cx))?;
        Pin::new(&mut this.link).poll_read(cx, buf)
    }
}

impl AsyncWrite for Ahead {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_turn(cx))?;
        Pin::new(&mut this.link).poll_write(cx, buf)
    }

    forward!(link: poll_flush poll_shutdown);
}

impl Io for Ahead {
    forward!(link: poll_close poll_end end_cuts_off say_end holds_up_others half_closes cork set_close_reason goodbye tcp presence);

    fn poll_write_in_place(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_turn(cx))?;
        Pin::new(&mut this.link).poll_write_in_place(cx, buf)
    }

    fn set_low_water(&mut self, bytes: usize) {
        // What is awaited first is an answer, and short.
        if matches!(self.state, State::Open) {
            self.link.set_low_water(bytes);
        }
    }

    forward!(link: bound_unsent);
}
