//! A visitor's connection, which must take what it is sent.

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

use crate::io::{Io, Link, Presence};

/// A link whose peer has so long to take the next bytes.
pub(in crate::transport) struct Patient {
    link: Link,
    silence: Duration,
    waiting: Option<Pin<Box<Sleep>>>,
    watch: Arc<Watch>,
    /// Since when the peer says nothing more.
    done: Option<Instant>,
}

/// What others want to know of the link while it is not theirs.
#[derive(Debug)]
pub(super) struct Watch {
    /// All that was written is on its way.
    flushed: AtomicBool,
    /// The next flush shall look whether the peer is still there.
    look: AtomicBool,
}

/// How long one who says nothing more, and may have gone, is taken to wait for an answer, or for more of it.
const FAREWELL: Duration = Duration::from_secs(5);

impl Watch {
    pub(super) fn is_flushed(&self) -> bool {
        self.flushed.load(Ordering::Relaxed)
    }

    pub(super) fn look(&self) {
        self.look.store(true, Ordering::Relaxed);
    }
}

impl Patient {
    pub(in crate::transport) fn new(link: Link, silence: Duration) -> Self {
        Self {
            link,
            silence,
            waiting: None,
            watch: Arc::new(Watch {
                flushed: AtomicBool::new(true),
                look: AtomicBool::new(false),
            }),
            done: None,
        }
    }

    pub(super) fn watch(&self) -> Arc<Watch> {
        self.watch.clone()
    }

    /// An error where nobody is there any more.
    fn look(&mut self) -> io::Result<()> {
        if !self.watch.look.swap(false, Ordering::Relaxed) {
            return Ok(());
        }
        let is_gone = match self.link.presence() {
            Presence::Here => false,
            Presence::Done => self.done.get_or_insert_with(Instant::now).elapsed() >= FAREWELL,
            Presence::Gone => true,
        };
        match is_gone {
            true => Err(io::ErrorKind::NotConnected.into()),
            false => Ok(()),
        }
    }

    /// There is an answer to wait for, or more of it.
    fn writes(&mut self) {
        self.watch.flushed.store(false, Ordering::Relaxed);
        self.done = None;
    }

    pub(super) fn into_inner(self) -> Link {
        self.link
    }

    fn patiently<T>(
        &mut self,
        cx: &mut Context<'_>,
        act: impl FnOnce(Pin<&mut Link>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if let Poll::Ready(done) = act(Pin::new(&mut self.link), cx) {
            self.waiting = None;
            return Poll::Ready(done);
        }
        let silence = self.silence;
        let waiting = self.waiting.get_or_insert_with(|| Box::pin(sleep(silence)));
        let up = waiting.as_mut().poll(cx);
        up.map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Patient {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.link).poll_read(cx, buf)
    }
}

impl AsyncWrite for Patient {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.writes();
        self.patiently(cx, |link, cx| link.poll_write(cx, buf))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.writes();
        self.patiently(cx, |link, cx| link.poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        self.link.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.look()?;
        let flushed = self.patiently(cx, |link, cx| link.poll_flush(cx));
        if matches!(flushed, Poll::Ready(Ok(()))) {
            self.watch.flushed.store(true, Ordering::Relaxed);
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.patiently(cx, |link, cx| link.poll_shutdown(cx))
    }
}
