//! A link whose first bytes may be the end of early data once more.
//!
//! V2Ray 5's client puts its whole first write into the header, and sends what exceeds `maxEarlyData` again behind the
//! request (v2fly/v2ray-core#3677). Its own server usually loses what comes twice. Others send more than our
//! `maxEarlyData` once: so what came twice is known by its bytes, which are sealed and like no others.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::io::{CloseReason, Goodbye, Io, Link};

pub(super) struct Repeated {
    /// What may come again; empty when that is decided.
    again: Bytes,
    /// How much of it has come.
    seen: usize,
    /// What was read and is no repetition.
    left: Bytes,
    link: Link,
}

impl Repeated {
    pub(super) fn new(again: Bytes, link: Link) -> Self {
        let (seen, left) = (0, Bytes::new());
        Self {
            again,
            seen,
            left,
            link,
        }
    }

    /// Compares what was read with what may come again.
    fn judge(&mut self, new: &[u8]) {
        let due = &self.again[self.seen..];
        let same = due.iter().zip(new).take_while(|(a, b)| a == b).count();
        if same == due.len() {
            self.left = Bytes::copy_from_slice(&new[same..]);
        } else if same == new.len() && !new.is_empty() {
            self.seen += same;
            return;
        } else {
            // It is like it by chance, or the end.
            self.left = [&self.again[..self.seen], new].concat().into();
        }
        self.again = Bytes::new();
    }
}

impl AsyncRead for Repeated {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while !this.again.is_empty() {
            let mut piece = [0; 1024];
            let mut piece = ReadBuf::new(&mut piece);
            ready!(Pin::new(&mut this.link).poll_read(cx, &mut piece))?;
            this.judge(piece.filled());
        }
        if this.left.is_empty() {
            return Pin::new(&mut this.link).poll_read(cx, buf);
        }
        let n = this.left.len().min(buf.remaining());
        buf.put_slice(&this.left[..n]);
        this.left.advance(n);
        if this.left.is_empty() {
            this.left = Bytes::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Repeated {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.link).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.link).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.link).poll_shutdown(cx)
    }
}

impl Io for Repeated {
    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.link).poll_close(cx)
    }

    fn poll_end(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.link).poll_end(cx)
    }

    fn poll_write_in_place(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.link).poll_write_in_place(cx, buf)
    }

    fn half_closes(&self) -> bool {
        self.link.half_closes()
    }

    fn cork(&mut self) {
        self.link.cork();
    }

    fn set_close_reason(&mut self, reason: CloseReason) {
        self.link.set_close_reason(reason);
    }

    fn goodbye(&self) -> Goodbye {
        self.link.goodbye()
    }

    fn tcp(&self) -> Option<&TcpStream> {
        self.link.tcp()
    }

    fn set_low_water(&mut self, bytes: usize) {
        self.link.set_low_water(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    /// However what follows is cut into pieces.
    #[tokio::test]
    async fn what_came_twice_is_taken_once_and_everything_else_stays() {
        for (behind, stays) in [
            (&b"tail and more"[..], &b" and more"[..]),
            (b"tail", b""),
            (b"tai", b"tai"),
            (b"ta, not the same", b"ta, not the same"),
            (b"other", b"other"),
            (b"", b""),
            (b"tailtail", b"tail"),
        ] {
            for size in [1, 2, 3, 64] {
                let (mut theirs, ours) = duplex(size);
                let again = Bytes::from_static(b"tail");
                let mut link = Repeated::new(again, Link::other(ours));
                let mut got = Vec::new();
                let send = async {
                    theirs.write_all(behind).await.unwrap();
                    drop(theirs);
                };
                let ((), read) = tokio::join!(send, link.read_to_end(&mut got));
                read.unwrap();
                assert_eq!(got, stays, "{behind:?} in pieces of {size}");
            }
        }
    }
}
