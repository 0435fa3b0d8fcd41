//! The steps by which a session comes about, for whoever debugs: a line for each, with the time it took.
//!
//! Nothing is measured unless debug lines are written, and nothing but the start of a session ever asks.

use std::fmt::Display;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tracing::{Level, debug, enabled};

use super::{Io, Link, forward};

/// A step that has begun. Where it does not come to its end, that is said when it is dropped.
#[derive(Debug)]
pub struct Step {
    name: &'static str,
    began: Option<Instant>,
}

impl Step {
    /// `dns`, `tcp`, `tls`, `upgrade`, `request`, `protocol`, `first byte`.
    pub fn begin(name: &'static str) -> Self {
        let began = enabled!(Level::DEBUG).then(Instant::now);
        Self { name, began }
    }

    /// Whether anybody wants to know.
    pub fn is_told(&self) -> bool {
        self.began.is_some()
    }

    /// It is over; `what` came of it.
    pub fn done(&mut self, what: impl Display) {
        if let Some(began) = self.began.take() {
            let micros = began.elapsed().as_micros();
            let tenths = (micros + 50) / 100;
            let ms = tenths as f64 / 10.0;
            debug!(step = self.name, ms, "{}: {ms:.1} ms, {what}", self.name);
        }
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        self.done("failed");
    }
}

/// A link whose first byte is a step.
struct FirstByte {
    inner: Link,
    step: Step,
}

impl Link {
    /// The link as it is, unless somebody wants to know when its first byte comes.
    #[must_use]
    pub fn with_first_byte(self) -> Self {
        let step = Step::begin("first byte");
        match step.is_told() {
            true => Self::other(FirstByte { inner: self, step }),
            false => self,
        }
    }
}

impl AsyncRead for FirstByte {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(cx, buf))?;
        self.step.done(match buf.filled().len() - before {
            0 => "there is none",
            _ => "the target answers",
        });
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for FirstByte {
    forward!(inner: poll_write poll_write_vectored is_write_vectored poll_flush poll_shutdown);
}

impl Io for FirstByte {
    forward!(inner: poll_close poll_end end_cuts_off say_end holds_up_others poll_write_in_place half_closes is_left_to_peer cork);
    forward!(inner: set_close_reason goodbye tcp socket presence set_low_water poll_gone bound_unsent);
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpStream;

    #[tokio::test]
    async fn nothing_stands_around_a_link_that_nobody_asks_about() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let stream = TcpStream::connect(at).await.unwrap();
        let link = Link::Tcp(stream).with_first_byte();
        assert!(matches!(link, Link::Tcp(_)));
        assert!(!Step::begin("tcp").is_told());
    }
}
