//! How a WebSocket ends.
//!
//! WebSocket has no half-close: a close frame ends both directions, as most peers understand it. So
//! `poll_shutdown` sends one and reading goes on until the peer's; a close frame of the peer is the
//! end for reading, and is answered when our own direction ends. RFC 6455, section 5.5.1, lets us
//! finish what we are sending before that.
//!
//! A peer that closes with another code than 1000 has broken off: reading ends with an error. Only a client
//! may say 1001 and mean no more than that: a browser does when it leaves the page.
//!
//! Most peers are gone for good when they close, so a direction that stays silent for [`FAREWELL`] after
//! that is over too, and at once if the connection has ended with it. A connection that ends without a close frame may be half-closed,
//! and has [`HALF_CLOSED`].
//!
//! A page of ours in a browser stands for the peer behind it, and may not say most codes below 3000: it adds
//! 2000 to them. 1006 among them is a peer that is gone without a word.
//!
//! A tunnel that is cut off is dropped without `poll_close`. The peer is told as far as the socket takes
//! it at once: with its own close code if it was the one to close, with 1001 when the service ends, else
//! 1011, which is no clean end.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::sleep;

use super::WsStream;
use crate::cause::{AnswerError, Reach};
use crate::io::{CloseReason, Goodbye, scratch};
use crate::transport::ws::codec::{FrameError, Role};

/// How far our own close frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CloseFrame {
    Open,
    Due(u16),
    Sent,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Failure {
    Frame(FrameError),
    Silent(Duration),
}

/// For a peer's last bytes after it broke the protocol.
const LINGER: Duration = Duration::from_secs(1);

/// V2Ray's default `downlinkOnly`.
pub(super) const FAREWELL: Duration = Duration::from_secs(5);

/// The same for a peer whose connection has ended without a close frame: a gost has half-closed it, and waits so long.
const HALF_CLOSED: Duration = Duration::from_secs(10);

pub(super) const NORMAL: u16 = 1000;
const PROTOCOL_ERROR: u16 = 1002;
const GOING_AWAY: u16 = 1001;
const CUT_OFF: u16 = 1011;

/// What a browser calls the end of a peer that sends no close frame.
const ABNORMAL: u16 = 1006;

/// What a page adds to codes that it may not say.
const MOVED: u16 = 2000;

impl<S: AsyncRead + AsyncWrite + Unpin> WsStream<S> {
    pub(super) fn fail(&mut self, failure: Failure) -> io::Error {
        self.failure = Some(failure);
        self.closing = match (failure, self.closing) {
            (_, CloseFrame::Sent) => CloseFrame::Sent,
            (Failure::Frame(_), _) => {
                self.linger = Some(Box::pin(sleep(LINGER)));
                CloseFrame::Due(PROTOCOL_ERROR)
            }
            // Whoever answers no ping and is there all the same sees what everyone sees whose first
            // flight was not one: both ends may come after the same 60 s.
            (Failure::Silent(_), _) => CloseFrame::Due(NORMAL),
        };
        failure.into()
    }

    /// The failure, if there is one. A breach is told once the peer has had the chance to read our close
    /// frame: a socket that is dropped with unread bytes is reset, and the reset may overtake the frame.
    pub(super) fn poll_failure(&mut self, cx: &mut Context<'_>) -> Poll<Option<Failure>> {
        if let Some(timer) = &mut self.linger {
            if timer.as_mut().poll(cx).is_pending() {
                // Whoever can no longer be written to is not waited for.
                if ready!(self.poll_send_and_flush(cx)).is_ok()
                    && ready!(Pin::new(&mut self.inner).poll_shutdown(cx)).is_ok()
                {
                    let mut scratch = scratch::take();
                    loop {
                        let mut rest = ReadBuf::new(&mut scratch);
                        let read = ready!(Pin::new(&mut self.inner).poll_read(cx, &mut rest));
                        if read.is_err() || rest.filled().is_empty() {
                            break;
                        }
                    }
                }
            }
            self.linger = None;
        }
        Poll::Ready(self.failure)
    }

    /// Whether a peer that has closed is still sent something; if not, its close is answered and the
    /// tunnel over.
    pub(super) fn poll_farewell(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if self.ended.is_none() || self.closing != CloseFrame::Open {
            return Ok(());
        }
        if self.poll_hung_up(cx).is_pending() {
            let patience = match self.gone {
                true => HALF_CLOSED,
                false => FAREWELL,
            };
            let timer = self
                .close_grace
                .get_or_insert_with(|| Box::pin(sleep(patience)));
            if timer.as_mut().poll(cx).is_pending() {
                return Ok(());
            }
        }
        self.goodbye();
        self.serve(cx);
        let text = "the peer has closed the WebSocket";
        Err(io::Error::new(io::ErrorKind::BrokenPipe, text))
    }

    /// Ready when a peer that has closed the WebSocket has closed the connection as well.
    fn poll_hung_up(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.gone {
            // It has said nothing of the WebSocket, so perhaps it only speaks no more.
            return Poll::Pending;
        }
        let mut scratch = scratch::take();
        let mut rest = ReadBuf::new(&mut scratch);
        match ready!(Pin::new(&mut self.inner).poll_read(cx, &mut rest)) {
            Ok(()) if !rest.filled().is_empty() => Poll::Pending,
            _ => Poll::Ready(()),
        }
    }

    /// The peer's close frame has come.
    pub(super) fn closed_with(&mut self, code: u16) {
        let meant = match code {
            3001..=3015 if self.of_page => code - MOVED,
            code => code,
        };
        if meant == ABNORMAL && self.of_page {
            // Whether it would have said something else, the protocol knows best.
            self.expected_close = Goodbye::OwedByV2ray;
            self.silent = true;
        }
        self.ended = Some(match meant {
            ABNORMAL if self.of_page => NORMAL,
            code => code,
        });
    }

    /// Whether a peer that closed with this code had said all it had to say.
    pub(super) fn clean(&self, code: u16) -> io::Result<()> {
        let of_server = self.role == Role::Client || self.of_page;
        match code {
            NORMAL => Ok(()),
            GOING_AWAY if !of_server => Ok(()),
            _ => match Reach::of_close_code(code) {
                Some(reach) if of_server => Err(AnswerError::Unreached(reach).into()),
                _ => {
                    let text = format!("the peer closed the WebSocket with {code}");
                    Err(io::Error::new(io::ErrorKind::ConnectionReset, text))
                }
            },
        }
    }

    /// Asks for a close frame, once.
    pub(super) fn goodbye(&mut self) {
        self.close_for(CloseReason::Done);
    }

    /// Asks for a close frame that says why, once.
    pub(super) fn close_for(&mut self, reason: CloseReason) {
        if self.closing == CloseFrame::Open {
            self.close_with(self.ended.unwrap_or(code(reason)));
        }
    }

    fn close_with(&mut self, code: u16) {
        self.closing = match self.gone {
            true => CloseFrame::Sent,
            false => CloseFrame::Due(code),
        };
    }
}

fn code(reason: CloseReason) -> u16 {
    match reason {
        CloseReason::Done => NORMAL,
        CloseReason::GoingAway => GOING_AWAY,
        CloseReason::CutOff => CUT_OFF,
        CloseReason::Private(code) => code,
    }
}

impl From<Failure> for io::Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Frame(error) => Self::new(io::ErrorKind::InvalidData, error),
            Failure::Silent(silence) => {
                let text = format!("no answer to a ping for {} s", silence.as_secs());
                Self::new(io::ErrorKind::TimedOut, text)
            }
        }
    }
}
