//! Copies both ways between two links until both directions are over.
//!
//! One task carries a tunnel, both directions in one hand-written poll. Bytes are read into a buffer of
//! the thread ([`scratch`]) and written on before the poll ends, so an idle tunnel holds no buffer;
//! what the other side does not take is kept until it does, and until then nothing more is read.
//! That is the bound: one read for each direction, beside what the layers below keep of one write.

mod burst;

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

use crate::io::{Io, Link, scratch};

use burst::Burst;

/// How long both directions may be silent: V2Ray's default `connIdle`.
pub const IDLE_LIMIT: Duration = Duration::from_secs(300);

/// How long the peers get to answer our goodbye once both directions are over.
const CLOSE_LIMIT: Duration = Duration::from_secs(2);

/// Reads of one direction before the other one, and other tasks, get their turn.
const READS_A_TURN: usize = 2;

/// A running tunnel; a future that ends with it.
pub struct Relay {
    client: Link,
    target: Link,
    up: Direction,
    down: Direction,
    timer: Pin<Box<Sleep>>,
    active: Instant,
    closing: bool,
}

/// How a tunnel ended: bytes carried, and what went wrong if something did.
#[derive(Debug)]
pub struct Ended {
    pub up: u64,
    pub down: u64,
    pub error: Option<Failure>,
}

/// What ended a tunnel before its time.
#[derive(Debug)]
pub enum Failure {
    /// The side that asked for the session.
    Client(io::Error),
    /// The side that was asked for.
    Target(io::Error),
    /// Neither side sent anything for this long.
    Idle(Duration),
}

/// Which end of a direction an error came from.
enum End {
    From(io::Error),
    To(io::Error),
}

/// One direction of a tunnel.
#[derive(Default)]
struct Direction {
    /// Read, but not yet taken by the other side.
    owed: Vec<u8>,
    state: State,
    bytes: u64,
    burst: Burst,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum State {
    #[default]
    Copying,
    /// The reading side has ended; the writing side is being told.
    Ending,
    Done,
}

impl Relay {
    /// `first` was already read from `client`.
    pub fn new(client: Link, target: Link, first: Vec<u8>) -> Self {
        let up = Direction {
            bytes: first.len() as u64,
            owed: first,
            ..Direction::default()
        };
        Self {
            client,
            target,
            up,
            down: Direction::default(),
            timer: Box::pin(sleep(IDLE_LIMIT)),
            active: Instant::now(),
            closing: false,
        }
    }

    fn ended(&self, error: Option<Failure>) -> Ended {
        Ended {
            up: self.up.bytes,
            down: self.down.bytes,
            error,
        }
    }

    /// Lets go of the links after `failure`. The one that did not fail is told that the stream has broken off,
    /// unless it has seen the end of it already.
    pub async fn part(self, failure: &Failure) {
        let (broken, whole, told) = match failure {
            Failure::Client(_) => (self.client, self.target, self.up.state),
            Failure::Target(_) => (self.target, self.client, self.down.state),
            _ => return,
        };
        drop(broken);
        if told != State::Done {
            whole.cut_off().await;
        }
    }

    fn burst_due(&self) -> Option<Instant> {
        let dues = [self.up.burst.due(), self.down.burst.due()];
        dues.into_iter().flatten().min()
    }

    /// Has the timer ring in time for a socket that has just been told to wait.
    fn watch_bursts(&mut self) {
        if let Some(due) = self.burst_due()
            && due < self.timer.deadline()
        {
            self.timer.as_mut().reset(due);
        }
    }

    /// Waits for the goodbyes of both ends; how they fare changes nothing any more.
    fn poll_goodbye(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let client = Pin::new(&mut self.client).poll_close(cx).is_ready();
        let target = Pin::new(&mut self.target).poll_close(cx).is_ready();
        if (client && target) || self.timer.as_mut().poll(cx).is_ready() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }
}

impl Future for Relay {
    type Output = Ended;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Ended> {
        let this = &mut *self;
        if !this.closing {
            let before = (this.up.bytes, this.down.bytes);
            let up = this.up.poll(cx, &mut this.client, &mut this.target);
            let down = this.down.poll(cx, &mut this.target, &mut this.client);
            let error = match (&up, &down) {
                (Poll::Ready(Err(_)), _) => up.map_err(|e| match e {
                    End::From(e) => Failure::Client(e),
                    End::To(e) => Failure::Target(e),
                }),
                (_, Poll::Ready(Err(_))) => down.map_err(|e| match e {
                    End::From(e) => Failure::Target(e),
                    End::To(e) => Failure::Client(e),
                }),
                (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => {
                    this.closing = true;
                    this.timer.as_mut().reset(Instant::now() + CLOSE_LIMIT);
                    Poll::Ready(Ok(()))
                }
                _ => Poll::Pending,
            };
            if let Poll::Ready(Err(error)) = error {
                return Poll::Ready(this.ended(Some(error)));
            }
            if before != (this.up.bytes, this.down.bytes) {
                this.active = Instant::now();
                this.watch_bursts();
            }
        }
        if this.closing {
            ready!(this.poll_goodbye(cx));
            return Poll::Ready(this.ended(None));
        }
        // The timer is not reset with every read: when it rings it looks when the last one was.
        while this.timer.as_mut().poll(cx).is_ready() {
            let now = Instant::now();
            let idle = this.active + IDLE_LIMIT;
            if idle <= now {
                return Poll::Ready(this.ended(Some(Failure::Idle(IDLE_LIMIT))));
            }
            this.up.burst.release(now, &mut this.client);
            this.down.burst.release(now, &mut this.target);
            let due = this.burst_due().map_or(idle, |due| due.min(idle));
            this.timer.as_mut().reset(due);
        }
        Poll::Pending
    }
}

impl Direction {
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut Link,
        to: &mut Link,
    ) -> Poll<Result<(), End>> {
        for _ in 0..READS_A_TURN {
            if self.state == State::Done {
                return Poll::Ready(Ok(()));
            }
            if !self.owed.is_empty() {
                ready!(self.poll_owed(cx, to)).map_err(End::To)?;
            }
            // What was written may still be on its way down; nothing is read before it is gone. The
            // flush also sends the header of a protocol whose first payload is late.
            ready!(Pin::new(&mut *to).poll_flush(cx)).map_err(End::To)?;
            match self.state {
                State::Copying => ready!(self.poll_copy(cx, from, to))?,
                State::Ending => {
                    ready!(Pin::new(&mut *to).poll_shutdown(cx)).map_err(End::To)?;
                    self.state = State::Done;
                }
                State::Done => {}
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// One read, and what the other side takes of it at once.
    fn poll_copy(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut Link,
        to: &mut Link,
    ) -> Poll<Result<(), End>> {
        let mut scratch = scratch::take();
        let mut buf = ReadBuf::new(&mut scratch[..scratch::READ]);
        ready!(Pin::new(&mut *from).poll_read(cx, &mut buf)).map_err(End::From)?;
        let mut rest = buf.filled();
        if rest.is_empty() {
            self.burst.end(from);
            self.state = State::Ending;
            return Poll::Ready(Ok(()));
        }
        self.bytes += rest.len() as u64;
        self.burst.read(rest.len(), from);
        while !rest.is_empty() {
            match Pin::new(&mut *to).poll_write(cx, rest) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(End::To(took_nothing()))),
                Poll::Ready(Ok(n)) => rest = &rest[n..],
                Poll::Ready(Err(e)) => return Poll::Ready(Err(End::To(e))),
                Poll::Pending => {
                    self.owed = rest.to_vec();
                    return Poll::Pending;
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_owed(&mut self, cx: &mut Context<'_>, to: &mut Link) -> Poll<io::Result<()>> {
        let mut sent = 0;
        let result = loop {
            if sent == self.owed.len() {
                self.owed = Vec::new();
                return Poll::Ready(Ok(()));
            }
            match Pin::new(&mut *to).poll_write(cx, &self.owed[sent..]) {
                Poll::Ready(Ok(0)) => break Poll::Ready(Err(took_nothing())),
                Poll::Ready(Ok(n)) => sent += n,
                Poll::Ready(Err(e)) => break Poll::Ready(Err(e)),
                Poll::Pending => break Poll::Pending,
            }
        };
        self.owed.drain(..sent);
        result
    }
}

impl Failure {
    /// Whether this is the everyday end of a connection, which nobody needs to look into.
    pub fn is_usual(&self) -> bool {
        use io::ErrorKind::{
            BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected, UnexpectedEof,
        };
        match self {
            Self::Client(e) | Self::Target(e) => matches!(
                e.kind(),
                BrokenPipe | ConnectionAborted | ConnectionReset | NotConnected | UnexpectedEof
            ),
            Self::Idle(_) => true,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Client(e) => write!(f, "client side: {e}"),
            Self::Target(e) => write!(f, "target side: {e}"),
            Self::Idle(limit) => write!(f, "silent for {} s", limit.as_secs()),
        }
    }
}

fn took_nothing() -> io::Error {
    io::Error::new(io::ErrorKind::WriteZero, "a write took no bytes")
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    #[tokio::test]
    async fn the_end_of_one_direction_passes_on_while_the_other_goes_on() {
        let (mut client, mut target, relay) = tunnel(16, b"");
        let running = tokio::spawn(relay);
        client.write_all(b"question").await.unwrap();
        client.shutdown().await.unwrap();
        let mut question = Vec::new();
        target.read_to_end(&mut question).await.unwrap();
        assert_eq!(question, b"question");
        let answer = tokio::spawn(async move {
            let mut answer = Vec::new();
            client.read_to_end(&mut answer).await.unwrap();
            answer
        });
        target.write_all(&[7; 1000]).await.unwrap();
        target.shutdown().await.unwrap();
        assert_eq!(answer.await.unwrap(), [7; 1000]);
        let ended = running.await.unwrap();
        assert_eq!((ended.up, ended.down), (8, 1000));
        assert!(ended.error.is_none());
    }

    #[tokio::test]
    async fn what_was_read_before_comes_first() {
        let (mut client, mut target, relay) = tunnel(64, b"first ");
        tokio::spawn(relay);
        client.write_all(b"second").await.unwrap();
        let mut got = [0; 12];
        target.read_exact(&mut got).await.unwrap();
        assert_eq!(&got, b"first second");
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_tunnel_ends_but_an_active_one_does_not() {
        let (mut client, mut target, relay) = tunnel(64, b"");
        let running = tokio::spawn(relay);
        for _ in 0..3 {
            sleep(IDLE_LIMIT - Duration::from_secs(1)).await;
            client.write_all(b"x").await.unwrap();
            target.read_u8().await.unwrap();
        }
        let silent_since = Instant::now();
        let ended = running.await.unwrap();
        assert!(matches!(ended.error, Some(Failure::Idle(_))));
        assert_eq!(silent_since.elapsed().as_secs(), IDLE_LIMIT.as_secs());
    }

    #[test]
    fn an_idle_tunnel_is_small() {
        assert!(size_of::<Relay>() <= 256, "{}", size_of::<Relay>());
    }

    fn tunnel(capacity: usize, first: &[u8]) -> (DuplexStream, DuplexStream, Relay) {
        let (client, a) = duplex(capacity);
        let (target, b) = duplex(capacity);
        (
            client,
            target,
            Relay::new(Link::other(a), Link::other(b), first.to_vec()),
        )
    }
}
