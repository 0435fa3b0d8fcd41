//! Copies both ways between two links until both directions are over.
//!
//! One task carries a tunnel, both directions in one hand-written poll. Bytes are read into a buffer of
//! the thread ([`scratch`]) and written on before the poll ends, so an idle tunnel holds no buffer;
//! what the other side does not take is kept until it does, and until then nothing more is read.
//! That is the bound: one read for each direction, beside what the layers below keep of one write.
//!
//! Only a direction that has come to its end is ended at the other side. Whatever else becomes of a tunnel, be it
//! that the process is killed, a side that has not heard all there was is told of a reset.
//!
//! A tunnel may be silent for `connIdle` while both directions are open. When one has ended, it may be for
//! as long as `uplinkOnly` or `downlinkOnly` say for the other one; whatever moves starts the time anew.

mod direction;
mod outcome;
#[cfg(test)]
mod tests;

pub use outcome::{Ended, Failure};

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep, timeout};

use crate::io::{Io, Link, scratch};
use crate::limits::Pace;
use crate::policy::Limits;
use crate::stats::Traffic;

use direction::{Direction, End, Progress, State};

/// How long the peers get to answer our goodbye once both directions are over.
const CLOSE_LIMIT: Duration = Duration::from_secs(2);

/// The same of a client that ends the connection itself, and has yet to read what lies between: it may be slow.
const LEAVE_LIMIT: Duration = Duration::from_secs(60);

/// How long a target may go on when its client has said all and has gone: it takes the last bytes, and may say an end.
const LEFT_LIMIT: Duration = Duration::from_secs(5);

/// What may lie in a socket for a peer who takes little while others wait for him: one who takes a read of ours in ten seconds is
/// known to go on.
const UNSENT: u32 = 256 * 1024;

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
    /// How fast it may be; there where anything bounds that.
    pace: Option<Box<Pace>>,
    timer: Pin<Box<Sleep>>,
    active: Instant,
    /// The client is known to have gone.
    is_left: bool,
    phase: Phase,
}

/// What a tunnel is allowed, and who counts it.
pub struct Allowance {
    pub limits: Limits,
    /// The most that is read at once, and so kept for a slow peer.
    pub read_max: usize,
    /// Counts what is read from either end.
    pub traffic: Traffic,
    /// How fast it may be.
    pub pace: Option<Box<Pace>>,
}

impl Default for Allowance {
    /// V2Ray's defaults, and nobody counts.
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            read_max: scratch::READ,
            traffic: Traffic::default(),
            pace: None,
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
    /// The uplink has ended, and the client has gone.
    Left,
    /// Both have ended, and the goodbyes are on their way.
    Closing,
    /// The uplink was given up, and the client, which has heard all there was, is told goodbye.
    AbandonedUplink,
}

impl Relay {
    /// `first` was already read from `client`.
    pub fn new(mut client: Link, mut target: Link, first: Vec<u8>, allowance: Allowance) -> Self {
        allowance.traffic.add_uplink(first.len());
        let mut pace = allowance.pace;
        if let Some(pace) = &mut pace {
            pace.spend_up(first.len());
        }
        client.begun();
        target.begun();
        if client.holds_up_others() {
            target.bound_unsent(UNSENT);
        }
        if target.holds_up_others() {
            client.bound_unsent(UNSENT);
        }
        Self {
            client,
            target,
            up: Direction::with_first(first),
            down: Direction::default(),
            timer: Box::pin(sleep(allowance.limits.idle.into())),
            limits: allowance.limits,
            read_max: u32::try_from(allowance.read_max).unwrap_or(u32::MAX),
            traffic: allowance.traffic,
            pace,
            active: Instant::now(),
            is_left: false,
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

    /// Lets go of the links after `failure`. One that did not fail is told that the stream has broken off,
    /// unless it has seen the end of it already.
    pub async fn finish(self, failure: Failure) {
        let cut_off = async |mut link: Link, told: State| {
            if told != State::Done {
                link.abort().await;
            } else if link.is_left_to_peer() {
                let leaving = poll_fn(|cx| Pin::new(&mut link).poll_close(cx));
                let _ = timeout(LEAVE_LIMIT, leaving).await;
            }
        };
        match failure {
            Failure::Client(_) => {
                drop(self.client);
                cut_off(self.target, self.up.state).await;
            }
            Failure::Target(_) => {
                drop(self.target);
                cut_off(self.client, self.down.state).await;
            }
            Failure::Idle(_) | Failure::HalfClosed(_) => {
                let target = cut_off(self.target, self.up.state);
                tokio::join!(target, cut_off(self.client, self.down.state));
            }
        }
    }

    /// The most that each direction may read now; 0 when it has to wait, which is not silence.
    fn read_max(&mut self, cx: &mut Context<'_>) -> (usize, usize) {
        let max = self.read_max as usize;
        let Some(pace) = &mut self.pace else {
            return (max, max);
        };
        let both = (pace.up(cx).min(max), pace.down(cx).min(max));
        if both.0 == 0 || both.1 == 0 {
            self.active = Instant::now();
        }
        both
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
        self.is_left = self.is_left || self.client.poll_gone(cx).is_ready();
        let (phase, limit) = match (self.up.state, self.down.state) {
            (State::Copying, State::Copying) => (Phase::Open, self.limits.idle.into()),
            (State::Done, State::Copying) if self.is_left => (Phase::Left, LEFT_LIMIT),
            (_, State::Copying) => (Phase::DownlinkOnly, self.limits.downlink_only.into()),
            (_, _) => (Phase::UplinkOnly, self.limits.uplink_only.into()),
        };
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
                    Phase::Left => Failure::Client(std::io::ErrorKind::ConnectionReset.into()),
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
        let limit = match self.client.is_left_to_peer() {
            true => LEAVE_LIMIT,
            false => CLOSE_LIMIT,
        };
        self.phase = phase;
        self.timer.as_mut().reset(Instant::now() + limit);
    }

    /// Waits for the goodbyes; how they fare changes nothing any more.
    fn poll_goodbye(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self.poll_closed(cx) {
            Poll::Ready(()) => Poll::Ready(()),
            Poll::Pending => self.timer.as_mut().poll(cx),
        }
    }

    fn poll_closed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let client = poll_close(&mut self.client, self.down.state, cx).is_ready();
        let target = poll_close(&mut self.target, self.up.state, cx).is_ready();
        match client && target {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }
}

/// Says goodbye to a link, where `written` is what became of the direction towards it.
fn poll_close(link: &mut Link, written: State, cx: &mut Context<'_>) -> Poll<()> {
    match (&link, written) {
        // A bare socket that was shut down has nothing more to say.
        (Link::Tcp(_), State::Done) => Poll::Ready(()),
        _ => Pin::new(link).poll_close(cx).map(drop),
    }
}

impl Future for Relay {
    type Output = Ended;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Ended> {
        let this = &mut *self;
        if !matches!(this.phase, Phase::Closing | Phase::AbandonedUplink) {
            let before = (this.up.progress(), this.down.progress());
            let (max_up, max_down) = this.read_max(cx);
            let up = (this.up).poll(cx, &mut this.client, &mut this.target, max_up);
            let down = (this.down).poll(cx, &mut this.target, &mut this.client, max_down);
            let after = (this.up.progress(), this.down.progress());
            if before != after {
                // What is said to a client that has gone keeps nothing open.
                if !this.is_left || before.0 != after.0 {
                    this.active = Instant::now();
                }
                let read =
                    |before: Progress, after: Progress| (after.bytes - before.bytes) as usize;
                let (up, down) = (read(before.0, after.0), read(before.1, after.1));
                this.traffic.add_uplink(up);
                this.traffic.add_downlink(down);
                if let Some(pace) = &mut this.pace {
                    pace.spend_up(up);
                    pace.spend_down(down);
                }
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
                    // Most goodbyes are said at once, and a timer would wake the thread for nothing.
                    if this.poll_closed(cx).is_ready() {
                        return Poll::Ready(this.ended(None));
                    }
                    this.say_goodbye(Phase::Closing);
                    Poll::Ready(Ok(()))
                }
                _ => match this.poll_limit(cx) {
                    Poll::Ready(Failure::HalfClosed(_)) if this.down.state == State::Done => {
                        // Cut off, not closed: what was sent to it is not all there was to send.
                        let none = Link::other(tokio::io::empty());
                        crate::io::spawn(std::mem::replace(&mut this.target, none).abort());
                        this.say_goodbye(Phase::AbandonedUplink);
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
            Phase::AbandonedUplink => Some(Failure::HalfClosed(this.limits.uplink_only.into())),
            _ => None,
        }))
    }
}
