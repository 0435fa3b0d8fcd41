//! Frames on their way to the link: bytes, and pipes whose content comes between them.
//!
//! ```text
//! bytes: | frame | frame | header |    | header |    | frame |
//! pipes:                          ╰ 32 KiB ╯   ╰ 7 KiB ╯
//! ```
//! What a pipe holds goes from one socket to another inside the kernel. It may do so only where the link shows its socket; where
//! it does no more, what is in the pipes is written as the bytes are.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use nix::libc;
use socket2::SockRef;
use tokio::io::{AsyncWrite, Interest};
use tokio::net::TcpStream;

use crate::copy;
use crate::io::splice::Spliced;
use crate::io::{HEADROOM, Io, Link, Sink};

/// Bytes behind [`HEADROOM`], if there are any, and the pipes among them.
#[derive(Default)]
pub(super) struct Frames {
    /// Those that are gone may be a part of what stands in front of the others.
    bytes: Vec<u8>,
    sent: usize,
    /// Where in the bytes the pipes have their say, and for how long; in all so many bytes of theirs are left.
    gaps: VecDeque<Gap>,
    pipes: VecDeque<Spliced>,
    piped: usize,
    /// The link was told how much there is.
    is_announced: bool,
}

struct Gap {
    at: usize,
    len: usize,
}

impl Frames {
    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// How many bytes are to be written.
    pub(super) fn left(&self) -> usize {
        self.bytes.len().saturating_sub(HEADROOM + self.sent) + self.piped
    }

    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// So many bytes are about to be put here.
    pub(super) fn reserve(&mut self, n: usize) {
        self.bytes.reserve(HEADROOM + n);
    }

    pub(super) fn put(&mut self, bytes: &[u8]) {
        if self.bytes.is_empty() {
            self.bytes.resize(HEADROOM, 0);
        }
        copy::append(bytes, &mut self.bytes);
    }

    /// All that is in `pipe`, in frames with so much data at most, each behind what `header` makes of its length.
    pub(super) fn put_pipe<const N: usize>(
        &mut self,
        pipe: Spliced,
        max: usize,
        header: impl Fn(usize) -> [u8; N],
    ) {
        let mut left = pipe.left();
        self.piped += left;
        self.pipes.push_back(pipe);
        while left > 0 {
            let len = left.min(max);
            left -= len;
            self.put(&header(len));
            let at = self.bytes.len();
            self.gaps.push_back(Gap { at, len });
        }
    }

    /// Writes all there is; ready when it is gone, and the room it took is kept.
    pub(super) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        link: &mut Link,
    ) -> Poll<io::Result<()>> {
        if !self.is_announced && !self.gaps.is_empty() {
            // A link that has something left to send shows no socket.
            ready!(Pin::new(&mut *link).poll_flush(cx))?;
            if socket(link).is_none() {
                self.empty_pipes()?;
            }
        }
        match self.gaps.is_empty() && !self.is_announced {
            true => ready!(self.poll_write_bytes(cx, link))?,
            false => ready!(self.poll_write_among_pipes(cx, link))?,
        }
        self.bytes.clear();
        self.sent = 0;
        self.is_announced = false;
        Poll::Ready(Ok(()))
    }

    fn poll_write_bytes(&mut self, cx: &mut Context<'_>, link: &mut Link) -> Poll<io::Result<()>> {
        while self.sent + HEADROOM < self.bytes.len() {
            let rest = &mut self.bytes[self.sent..];
            match ready!(Pin::new(&mut *link).poll_write_in_place(cx, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                n => self.sent += n,
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_write_among_pipes(
        &mut self,
        cx: &mut Context<'_>,
        link: &mut Link,
    ) -> Poll<io::Result<()>> {
        while self.left() > 0 {
            let (here, left) = (HEADROOM + self.sent, self.left());
            self.is_announced = true;
            ready!(Pin::new(&mut *link).poll_announce(cx, left))?;
            let socket = socket(link).ok_or(io::ErrorKind::BrokenPipe)?;
            let until = self.gaps.front().map_or(self.bytes.len(), |gap| gap.at);
            let n = match here < until {
                true => {
                    let n = ready!(poll_send(cx, socket, &self.bytes[here..until], left))?;
                    self.sent += n;
                    n
                }
                false => ready!(self.poll_give(cx, socket))?,
            };
            link.gave(n);
        }
        Poll::Ready(Ok(()))
    }

    /// What the pipe in front has to say here.
    fn poll_give(&mut self, cx: &mut Context<'_>, socket: &TcpStream) -> Poll<io::Result<usize>> {
        let (Some(gap), Some(pipe)) = (self.gaps.front_mut(), self.pipes.front_mut()) else {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        };
        let n = ready!(pipe.poll_give(cx, socket, gap.len))?;
        gap.len -= n;
        self.piped -= n;
        if gap.len == 0 {
            self.gaps.pop_front();
        }
        if pipe.left() == 0 {
            self.pipes.pop_front();
        }
        Poll::Ready(Ok(n))
    }

    /// Has what the pipes hold among the bytes.
    fn empty_pipes(&mut self) -> io::Result<()> {
        let mut all = Vec::with_capacity(HEADROOM + self.left());
        let mut from = 0;
        for gap in self.gaps.drain(..) {
            all.extend_from_slice(&self.bytes[from..gap.at]);
            from = gap.at;
            let pipe = self.pipes.front_mut().ok_or(io::ErrorKind::BrokenPipe)?;
            pipe.read(gap.len, &mut all)?;
            if pipe.left() == 0 {
                self.pipes.pop_front();
            }
        }
        all.extend_from_slice(&self.bytes[from..]);
        self.bytes = all;
        self.piped = 0;
        Ok(())
    }
}

/// Where a pipe would go.
pub(super) fn socket(link: &Link) -> Option<&TcpStream> {
    link.sink().and_then(Sink::socket)
}

/// Sends some of `bytes`, behind which others follow if there are `left` in all: these may be one packet with them.
fn poll_send(
    cx: &mut Context<'_>,
    socket: &TcpStream,
    bytes: &[u8],
    left: usize,
) -> Poll<io::Result<usize>> {
    let flags = match bytes.len() < left {
        true => libc::MSG_MORE,
        false => 0,
    };
    loop {
        ready!(socket.poll_write_ready(cx))?;
        let sending = || SockRef::from(socket).send_with_flags(bytes, flags);
        match socket.try_io(Interest::WRITABLE, sending) {
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            sent => return Poll::Ready(sent),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::tcp_pair;
    use std::future::poll_fn;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    async fn pipe_with(bytes: &[u8]) -> Spliced {
        let (mut sender, from) = tcp_pair().await;
        sender.write_all(bytes).await.unwrap();
        sender.shutdown().await.unwrap();
        let pipe = poll_fn(|cx| Spliced::poll_take(cx, &from, bytes.len())).await;
        let pipe = pipe.unwrap().unwrap();
        assert_eq!(pipe.left(), bytes.len());
        pipe
    }

    async fn frames() -> Frames {
        let mut frames = Frames::default();
        frames.put(b"a frame, ");
        frames.put_pipe(pipe_with(b"all of a pipe").await, 6, |len| {
            [b'0' + len as u8]
        });
        frames.put_pipe(pipe_with(b"two").await, 6, |len| [b'0' + len as u8]);
        frames.put(b", another frame");
        frames
    }

    const WRITTEN: &[u8] = b"a frame, 6all of6 a pip1e3two, another frame";

    /// Into a socket, and into a link that has none to show.
    #[tokio::test]
    async fn what_is_in_pipes_comes_where_its_header_is() {
        let (socket, mut socket_far) = tcp_pair().await;
        let (pipe, mut pipe_far) = duplex(7);
        let mut written = vec![0; WRITTEN.len()];
        for mut link in [Link::Tcp(socket), Link::other(pipe)] {
            let has_socket = link.tcp().is_some();
            let mut frames = frames().await;
            assert_eq!(frames.left(), WRITTEN.len());
            let writing = poll_fn(|cx| frames.poll_write(cx, &mut link));
            let reading = async {
                match has_socket {
                    true => socket_far.read_exact(&mut written).await,
                    false => pipe_far.read_exact(&mut written).await,
                }
            };
            let (wrote, read) = tokio::join!(writing, reading);
            wrote.unwrap();
            read.unwrap();
            assert_eq!(written, WRITTEN, "{}", String::from_utf8_lossy(&written));
            assert!(frames.is_empty());
            assert_eq!(frames.left(), 0);
        }
    }
}
