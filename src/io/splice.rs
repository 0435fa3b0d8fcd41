//! Bytes that go from one socket to another inside the kernel: splice(2), by way of a pipe.
//!
//! Such bytes are copied neither into this process nor out of it again. A pipe is taken when there is something to move
//! and given back when it is empty, so that an idle tunnel holds none.
//!
//! A pipe is two open files, and the kernel gives one user without privileges 64 MiB of room in pipes (`pipe-user-pages-soft`,
//! pipe(7)). So there are no more than [`MOST`]; whoever gets none copies.

use std::cell::RefCell;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use nix::fcntl::{FcntlArg, OFlag, SpliceFFlags, fcntl, splice};
use nix::unistd::{pipe2, read};
use tokio::io::Interest;
use tokio::net::TcpStream;

use super::open_files;

/// The room of a pipe, in bytes: as much as any user may have (`pipe-max-size`). A piece of a packet takes a page of it, however
/// short it is.
const ROOM: i32 = 1024 * 1024;

/// All pipes there may be: what the kernel lets one user have of this size.
const MOST: usize = 64;

/// The most that is taken at once. It may become one message of a WebSocket, and there are readers of these that refuse more
/// than 1 MiB.
const TAKE: usize = ROOM as usize - 64 * 1024;

/// Pipes a thread keeps for the next taker.
const KEPT: usize = 4;

static MADE: AtomicUsize = AtomicUsize::new(0);

#[cfg(test)]
thread_local! {
    static MOVED: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// How many bytes this thread has moved so far.
#[cfg(test)]
pub(crate) fn moved() -> usize {
    MOVED.get()
}

thread_local! {
    static FREE: RefCell<Vec<Ends>> = const { RefCell::new(Vec::new()) };
}

/// Both ends of an empty pipe.
struct Ends {
    read: OwnedFd,
    write: OwnedFd,
}

impl Drop for Ends {
    fn drop(&mut self) {
        MADE.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A pipe with what was taken from a socket and not yet given to another one.
pub struct Spliced {
    /// Until it is given back.
    ends: Option<Ends>,
    left: usize,
}

impl Spliced {
    /// Takes up to `max` bytes from `from`; none at the end of the stream. `None` when there is no pipe to be had, or the socket
    /// is none of those that can be spliced.
    ///
    /// # Errors
    ///
    /// Those of the socket: who is told one is the only one to be told.
    pub fn poll_take(
        cx: &mut Context<'_>,
        from: &TcpStream,
        max: usize,
    ) -> Poll<io::Result<Option<Self>>> {
        let Some(ends) = FREE.with_borrow_mut(Vec::pop).or_else(|| make().ok()) else {
            return Poll::Ready(Ok(None));
        };
        let mut pipe = Self {
            ends: Some(ends),
            left: 0,
        };
        loop {
            ready!(from.poll_read_ready(cx))?;
            match from.try_io(Interest::READABLE, || pipe.fill(from, max.min(TAKE))) {
                Ok(n) => {
                    pipe.left = n;
                    return Poll::Ready(Ok(Some(pipe)));
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(e) if e.kind() == io::ErrorKind::InvalidInput => return Poll::Ready(Ok(None)),
                Err(e) => return Poll::Ready(Err(e)),
            }
        }
    }

    /// How many bytes it holds.
    pub fn left(&self) -> usize {
        self.left
    }

    /// Gives `to` as much as it takes now, and at most `max` bytes; how many that were.
    ///
    /// # Errors
    ///
    /// Those of the socket.
    pub fn poll_give(
        &mut self,
        cx: &mut Context<'_>,
        to: &TcpStream,
        max: usize,
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(to.poll_write_ready(cx))?;
            match to.try_io(Interest::WRITABLE, || self.empty(to, max)) {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(n) => {
                    self.left -= n;
                    #[cfg(test)]
                    MOVED.with(|moved| moved.set(moved.get() + n));
                    return Poll::Ready(Ok(n));
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(e) => return Poll::Ready(Err(e)),
            }
        }
    }

    fn fill(&self, from: &TcpStream, max: usize) -> io::Result<usize> {
        let ends = self.ends.as_ref().ok_or(io::ErrorKind::NotConnected)?;
        transfer(from, &ends.write, max)
    }

    /// Copies `n` bytes of those it holds to the end of `out`.
    ///
    /// # Errors
    ///
    /// There are none while so many are in it.
    pub fn read(&mut self, n: usize, out: &mut Vec<u8>) -> io::Result<()> {
        let mut at = out.len();
        out.resize(at + n, 0);
        while at < out.len() {
            let ends = self.ends.as_ref().ok_or(io::ErrorKind::NotConnected)?;
            match read(&ends.read, &mut out[at..])? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                n => at += n,
            }
        }
        self.left -= n;
        Ok(())
    }

    /// What this holds, for one who gives it on later; nothing is left in it.
    pub fn take(&mut self) -> Self {
        Self {
            ends: self.ends.take(),
            left: std::mem::take(&mut self.left),
        }
    }

    fn empty(&self, to: &TcpStream, max: usize) -> io::Result<usize> {
        let ends = self.ends.as_ref().ok_or(io::ErrorKind::NotConnected)?;
        transfer(&ends.read, to, self.left.min(max))
    }
}

impl Drop for Spliced {
    fn drop(&mut self) {
        // One that is not empty is of no use to anybody.
        if let Some(ends) = self.ends.take().filter(|_| self.left == 0) {
            // The thread may be ending, and its list gone.
            let _ = FREE.try_with(|free| {
                let mut free = free.borrow_mut();
                if free.len() < KEPT {
                    free.push(ends);
                }
            });
        }
    }
}

fn transfer(from: impl AsFd, to: impl AsFd, len: usize) -> io::Result<usize> {
    let flags = SpliceFFlags::SPLICE_F_MOVE | SpliceFFlags::SPLICE_F_NONBLOCK;
    Ok(splice(from, None, to, None, len, flags)?)
}

/// A new pipe, as long as there are few.
fn make() -> io::Result<Ends> {
    let most = (open_files::limit() / 32).min(MOST);
    if MADE.fetch_add(1, Ordering::Relaxed) >= most {
        MADE.fetch_sub(1, Ordering::Relaxed);
        return Err(io::ErrorKind::QuotaExceeded.into());
    }
    let made = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK);
    let (read, write) = made.inspect_err(|_| {
        MADE.fetch_sub(1, Ordering::Relaxed);
    })?;
    let ends = Ends { read, write };
    // Where the kernel gives no more room, what is left would be a page or two.
    fcntl(&ends.write, FcntlArg::F_SETPIPE_SZ(ROOM))?;
    Ok(ends)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::tcp_pair;
    use std::future::poll_fn;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn bytes_go_from_socket_to_socket() {
        let (mut sender, from) = tcp_pair().await;
        let (to, mut receiver) = tcp_pair().await;
        sender.write_all(b"as they are").await.unwrap();
        let pipe = poll_fn(|cx| Spliced::poll_take(cx, &from, 7)).await;
        let mut pipe = pipe.unwrap().unwrap();
        assert_eq!(pipe.left(), 7);
        let given = poll_fn(|cx| pipe.poll_give(cx, &to, 100)).await.unwrap();
        assert_eq!((given, pipe.left()), (7, 0));
        let mut got = [0; 7];
        receiver.read_exact(&mut got).await.unwrap();
        assert_eq!(&got, b"as they");
    }

    #[tokio::test]
    async fn the_end_of_a_stream_is_nothing_taken() {
        let (sender, from) = tcp_pair().await;
        drop(sender);
        let pipe = poll_fn(|cx| Spliced::poll_take(cx, &from, 7)).await;
        assert_eq!(pipe.unwrap().unwrap().left(), 0);
    }

    #[tokio::test]
    async fn an_empty_pipe_is_used_again_and_a_full_one_is_not() {
        let (mut sender, from) = tcp_pair().await;
        let (to, _receiver) = tcp_pair().await;
        sender.write_all(b"12").await.unwrap();
        let take = || poll_fn(|cx| Spliced::poll_take(cx, &from, 1));
        let kept = || FREE.with_borrow(Vec::len);
        let mut pipe = take().await.unwrap().unwrap();
        poll_fn(|cx| pipe.poll_give(cx, &to, 100)).await.unwrap();
        drop(pipe);
        assert_eq!(kept(), 1);
        let pipe = take().await.unwrap().unwrap();
        assert_eq!(kept(), 0);
        drop(pipe);
        assert_eq!(kept(), 0);
    }
}
