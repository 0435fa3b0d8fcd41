//! A visitor's connection, which must take what it is sent.

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use super::SILENCE;
use crate::io::Link;

/// A link whose peer has [`SILENCE`] to take the next bytes.
pub(in crate::transport) struct Patient {
    link: Link,
    waiting: Option<Pin<Box<Sleep>>>,
    flushed: Flushed,
}

/// Whether all that was written is on its way.
#[derive(Clone, Debug)]
pub(super) struct Flushed(Arc<AtomicBool>);

impl Flushed {
    pub(super) fn is_so(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Patient {
    pub(in crate::transport) fn new(link: Link) -> Self {
        Self {
            link,
            waiting: None,
            flushed: Flushed(Arc::new(AtomicBool::new(true))),
        }
    }

    pub(super) fn flushed(&self) -> Flushed {
        self.flushed.clone()
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
        let waiting = self.waiting.get_or_insert_with(|| Box::pin(sleep(SILENCE)));
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
        self.flushed.0.store(false, Ordering::Relaxed);
        self.patiently(cx, |link, cx| link.poll_write(cx, buf))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.flushed.0.store(false, Ordering::Relaxed);
        self.patiently(cx, |link, cx| link.poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        self.link.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = self.patiently(cx, |link, cx| link.poll_flush(cx));
        if matches!(flushed, Poll::Ready(Ok(()))) {
            self.flushed.0.store(true, Ordering::Relaxed);
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.patiently(cx, |link, cx| link.poll_shutdown(cx))
    }
}
