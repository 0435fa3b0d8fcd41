//! A stream in memory whose ends know whether the other one was ended or only left.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf, duplex};

use super::Io;

/// One end. Whoever reads from the other one meets an error if this end goes without a shutdown.
pub struct Pipe {
    inner: DuplexStream,
    ended: Arc<AtomicBool>,
    peer_ended: Arc<AtomicBool>,
}

/// Two ends, with room for `size` bytes in each direction.
pub fn pipe(size: usize) -> (Pipe, Pipe) {
    let (near, far) = duplex(size);
    let (near_ended, far_ended) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
    let end = |inner, ended: &Arc<_>, peer_ended: &Arc<_>| Pipe {
        inner,
        ended: Arc::clone(ended),
        peer_ended: Arc::clone(peer_ended),
    };
    (
        end(near, &near_ended, &far_ended),
        end(far, &far_ended, &near_ended),
    )
}

impl AsyncRead for Pipe {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(cx, buf))?;
        if buf.filled().len() == before
            && buf.remaining() > 0
            && !self.peer_ended.load(Ordering::Acquire)
        {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.ended.store(true, Ordering::Release);
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

impl Io for Pipe {}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn an_end_that_was_left_is_not_an_end() {
        for ends in [true, false] {
            let (mut near, mut far) = pipe(64);
            far.write_all(b"half").await.unwrap();
            if ends {
                far.shutdown().await.unwrap();
            }
            drop(far);
            let mut got = Vec::new();
            let end = near.read_to_end(&mut got).await;
            assert_eq!((got.as_slice(), end.is_ok()), (&b"half"[..], ends));
        }
    }
}
