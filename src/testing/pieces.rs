//! A link whose bytes come in pieces, for codecs that stand around a link.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::io::{Io, Link};

/// Gives `data` in pieces of `size` bytes and then its end; takes and forgets what is written.
struct Pieces {
    data: Vec<u8>,
    size: usize,
    given: usize,
}

pub(super) fn in_pieces(data: &[u8], size: usize) -> Link {
    Link::other(Pieces {
        data: data.to_vec(),
        size,
        given: 0,
    })
}

/// All that can be read without waiting, up to about `most` bytes, and whether it ended in order.
pub(super) fn read_all(mut from: impl AsyncRead + Unpin, most: usize) -> (Vec<u8>, bool) {
    let mut all = Vec::new();
    let mut buf = vec![0; 4096];
    let mut cx = Context::from_waker(Waker::noop());
    while all.len() < most {
        let mut part = ReadBuf::new(&mut buf);
        match Pin::new(&mut from).poll_read(&mut cx, &mut part) {
            Poll::Ready(Ok(())) if part.filled().is_empty() => return (all, true),
            Poll::Ready(Ok(())) => all.extend_from_slice(part.filled()),
            Poll::Ready(Err(_)) => return (all, false),
            Poll::Pending => panic!("what is there is not read"),
        }
    }
    (all, true)
}

impl AsyncRead for Pieces {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let rest = &self.data[self.given..];
        let n = rest.len().min(self.size).min(buf.remaining());
        buf.put_slice(&rest[..n]);
        self.given += n;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Pieces {
    fn poll_write(
        self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl Io for Pieces {}
