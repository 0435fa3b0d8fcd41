//! Copies both ways between two links until both directions are over.
//!
//! One task carries a tunnel, both directions in one hand-written poll. Bytes are read into a buffer of
//! the thread ([`scratch`]) and written on before the poll ends, so an idle tunnel holds no buffer;
//! what the other side does not take is kept until it does, and until then nothing more is read.
//! That is the bound: one read for each direction, beside what the layers below keep of one write.
//!
//! A tunnel may be silent for `connIdle` while both directions are open. When one has ended, it may be for
//! as long as `uplinkOnly` or `downlinkOnly` say for the other one; whatever moves starts the time anew.

mod burst;
mod ended;
#[cfg(test)]
mod tests;

pub use ended::{Ended, Failure};

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

use crate::io::{Io, Link, scratch};
use crate::policy::Limits;
use crate::stats::Traffic;

use burst::Burst;

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
    limits: Limits,
    /// The most that is read at once.
    read_max: u32,
    traffic: Traffic,
    timer: Pin<Box<Sleep>>,
    active: Instant,
    phase: Phase,
}

/// What a tunnel is allowed, and who counts it.
pub struct Terms {
    pub limits: Limits,
    /// The most that is read at once, and so kept for a slow peer.
    pub read_max: usize,
    /// Counts what is read from either end.
    pub traffic: Traffic,
}

impl Default for Terms {
    /// V2Ray's defaults, and nobody counts.
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            read_max: scratch::READ,
            traffic: Traffic::default(),
        }
    }
}

/// What the timer is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Open,
    /// The uplink has ended.
    DownlinkOnly,
    /// The downlink has ended.
    UplinkOnly,
    /// Both have ended, and the goodbyes are on their way.
    Closing,
    /// The uplink was given up, and the client, which has heard all there was, is told goodbye.
    Leaving,
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

/// Changes whenever something moves in a direction.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Progress {
    bytes: u64,
    owed: usize,
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
    pub fn new(client: Link, target: Link, first: Vec<u8>, terms: Terms) -> Self {
        terms.traffic.add_uplink(first.len());
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
            timer: Box::pin(sleep(terms.limits.idle.into())),
            limits: terms.limits,
            read_max: u32::try_from(terms.read_max).unwrap_or(u32::MAX),
            traffic: terms.traffic,
            active: Instant::now(),
            phase: Phase::Open,
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

    /// Ready when nothing has moved for too long.
    fn poll_limit(&mut self, cx: &mut Context<'_>) -> Poll<Failure> {
        let (phase, limit) = match (self.up.state, self.down.state) {
            (State::Copying, State::Copying) => (Phase::Open, self.limits.idle),
            (_, State::Copying) => (Phase::DownlinkOnly, self.limits.downlink_only),
            (_, _) => (Phase::UplinkOnly, self.limits.uplink_only),
        };
        let limit = Duration::from(limit);
        if self.phase != phase {
            self.phase = phase;
            self.active = Instant::now();
            self.timer.as_mut().reset(self.active + limit);
        }
        self.watch_bursts();
        // The timer is not reset with every read: when it rings it looks when the last one was.
        while self.timer.as_mut().poll(cx).is_ready() {
            let now = Instant::now();
            let idle = self.active + limit;
            if idle <= now {
                return Poll::Ready(match phase {
                    Phase::Open => Failure::Idle(limit),
                    _ => Failure::HalfClosed(limit),
                });
            }
            self.up.burst.release(now, &mut self.client);
            self.down.burst.release(now, &mut self.target);
            let due = self.burst_due().map_or(idle, |due| due.min(idle));
            self.timer.as_mut().reset(due);
        }
        Poll::Pending
    }

    fn say_goodbye(&mut self, phase: Phase) {
        self.phase = phase;
        self.timer.as_mut().reset(Instant::now() + CLOSE_LIMIT);
    }

    /// Waits for the goodbyes; how they fare changes nothing any more.
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
        if !matches!(this.phase, Phase::Closing | Phase::Leaving) {
            let before = (this.up.progress(), this.down.progress());
            let max = this.read_max as usize;
            let up = (this.up).poll(cx, &mut this.client, &mut this.target, max);
            let down = (this.down).poll(cx, &mut this.target, &mut this.client, max);
            let after = (this.up.progress(), this.down.progress());
            if before != after {
                this.active = Instant::now();
                let read =
                    |before: Progress, after: Progress| (after.bytes - before.bytes) as usize;
                this.traffic.add_uplink(read(before.0, after.0));
                this.traffic.add_downlink(read(before.1, after.1));
            }
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
                    this.say_goodbye(Phase::Closing);
                    Poll::Ready(Ok(()))
                }
                _ => match this.poll_limit(cx) {
                    Poll::Ready(Failure::HalfClosed(_)) if this.down.state == State::Done => {
                        // Dropped, not closed: what was sent to it is not all there was to send.
                        this.target = Link::other(tokio::io::empty());
                        this.say_goodbye(Phase::Leaving);
                        Poll::Ready(Ok(()))
                    }
                    failure => failure.map(Err),
                },
            };
            if let Err(error) = ready!(error) {
                return Poll::Ready(this.ended(Some(error)));
            }
        }
        ready!(this.poll_goodbye(cx));
        Poll::Ready(this.ended(match this.phase {
            Phase::Leaving => Some(Failure::HalfClosed(this.limits.uplink_only.into())),
            _ => None,
        }))
    }
}

impl Direction {
    fn progress(&self) -> Progress {
        Progress {
            bytes: self.bytes,
            owed: self.owed.len(),
        }
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut Link,
        to: &mut Link,
        max: usize,
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
                State::Copying => ready!(self.poll_copy(cx, from, to, max))?,
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
        max: usize,
    ) -> Poll<Result<(), End>> {
        let mut scratch = scratch::take();
        let mut buf = ReadBuf::new(&mut scratch[..max.min(scratch::READ)]);
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

fn took_nothing() -> io::Error {
    io::Error::new(io::ErrorKind::WriteZero, "a write took no bytes")
}
