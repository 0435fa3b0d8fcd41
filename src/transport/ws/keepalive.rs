//! Heartbeat of a tunnel: when to ping, and when to give a peer up.
//!
//! Proxies in between cut a connection that is silent for 60 s (nginx) or 100 s (CDNs), and nginx
//! watches each direction by itself. So each end pings when it has sent nothing for a period, and
//! when the peer has said nothing for one; a peer that says nothing for two periods is gone.
//!
//! Only silence that we listen to counts. It begins when a read finds nothing, so the time in which
//! nobody reads (the other side of the relay is slow) is not the peer's silence; and it begins anew
//! while the peer does not take what we send, for then it cannot see our ping either.

use std::pin::Pin;
use std::task::Context;
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

pub(super) struct Keepalive {
    period: Duration,
    /// Since when reads have found nothing; `None` while there is something, or nobody reads.
    quiet: Option<Instant>,
    sent: Instant,
    pinged: Instant,
    timer: Pin<Box<Sleep>>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Due {
    Ping,
    /// Nothing came in this time, though a ping was sent.
    Dead(Duration),
}

impl Keepalive {
    pub(super) fn new(period: Duration) -> Self {
        let now = Instant::now();
        Self {
            period,
            quiet: None,
            sent: now,
            pinged: now,
            timer: Box::pin(sleep_until(now + period)),
        }
    }

    pub(super) fn heard(&mut self) {
        self.quiet = None;
    }

    pub(super) fn sent(&mut self) {
        self.sent = Instant::now();
    }

    /// A read found nothing.
    pub(super) fn listening(&mut self) {
        if self.quiet.is_none() {
            self.quiet = Some(Instant::now());
        }
    }

    /// What is due; `stuck` when the peer does not take what we have for it. Ask until `None`: then
    /// the task is woken when something is.
    ///
    /// The timer is not touched while data flows: it runs out once a period, and is set again by
    /// what has happened since.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, stuck: bool) -> Option<Due> {
        while self.timer.as_mut().poll(cx).is_ready() {
            let now = Instant::now();
            if stuck && self.quiet.is_some() {
                self.quiet = Some(now);
            }
            let silence = self.quiet.map_or(Duration::ZERO, |since| now - since);
            if silence >= 2 * self.period {
                return Some(Due::Dead(silence));
            }
            let due = silence >= self.period || now - self.sent >= self.period;
            let ping = due && now - self.pinged >= self.period;
            if ping {
                self.pinged = now;
                self.sent = now;
            }
            let quiet = self.quiet.unwrap_or(now);
            let next = [
                self.sent + self.period,
                self.pinged + self.period,
                quiet + self.period,
                quiet + 2 * self.period,
            ]
            .into_iter()
            .filter(|at| *at > now)
            .min();
            let next = next.unwrap_or(now + self.period);
            self.timer.as_mut().reset(next);
            if ping {
                return Some(Due::Ping);
            }
        }
        None
    }
}
