//! Whether anything still comes back on a flow of datagrams by a server.
//!
//! A V2Ray server that met a datagram of more than 2,048 bytes, in either direction, carries no answer on
//! that connection any more and leaves it open; a connection may also be gone without a word. What is sent
//! is no sign of life, so a flow whose datagrams are not answered gets a new connection: soon, where there
//! were answers before and the application goes on asking, and ever more rarely while there are none.
//!
//! A new connection has a new port at the far end, which an application may mind that waits for somebody to
//! call. So a datagram now and then, which keeps a door open, asks for nothing; nor does one that never had
//! an answer. These keep their connection for as long as it could be idle.

use std::time::Duration;

use tokio::time::Instant;

/// How long answers may stay away; V2Ray's `socks` gives up a connection after 7 to 8 s.
const PATIENCE: Duration = Duration::from_secs(7);

/// Where new connections brought no answer either.
const MOST_PATIENCE: Duration = Duration::from_secs(60);

/// Datagrams without an answer that tell more than one that was lost.
const AT_LEAST: u32 = 2;

/// Whoever wants an answer asks again before that. What keeps a door open comes every 15 s or less often.
const ASKS_AGAIN: Duration = Duration::from_secs(12);

/// The most that V2Ray surely carries: its buffer, less the address that packetaddr puts in front.
const V2RAY_DATAGRAM_MAX: usize = 2048 - 19;

pub(super) struct Liveness {
    /// Answers are due: there were some, or something was sent that makes a server of V2Ray's deaf.
    is_expected: bool,
    patience: Duration,
    /// All datagrams since the last answer.
    unanswered: Run,
    /// Those of them that came soon one after the other, up to the last one.
    asking: Run,
    last: Instant,
}

/// Datagrams, and when the first of them was sent.
#[derive(Clone, Copy)]
struct Run {
    count: u32,
    since: Instant,
}

impl Liveness {
    pub(super) fn new() -> Self {
        let now = Instant::now();
        let none = Run {
            count: 0,
            since: now,
        };
        Self {
            is_expected: false,
            patience: PATIENCE,
            unanswered: none,
            asking: none,
            last: now,
        }
    }

    pub(super) fn sent(&mut self, len: usize, now: Instant) {
        if now.duration_since(self.last) > ASKS_AGAIN {
            self.asking.count = 0;
        }
        self.last = now;
        self.unanswered.add(now);
        self.asking.add(now);
        self.is_expected |= len > V2RAY_DATAGRAM_MAX;
    }

    pub(super) fn heard(&mut self) {
        self.is_expected = true;
        self.patience = PATIENCE;
        self.forget();
    }

    /// Whether the next datagram deserves a new connection; `idle` is how long a flow may be silent.
    pub(super) fn is_deaf(&self, idle: Duration, now: Instant) -> bool {
        let asks = self.is_expected && now.duration_since(self.last) <= ASKS_AGAIN;
        let in_vain = asks && self.asking.lasts(self.patience, now);
        in_vain || self.unanswered.lasts(idle.max(MOST_PATIENCE), now)
    }

    /// A new connection begins. Whether it is the first one since an answer.
    pub(super) fn begin_anew(&mut self) -> bool {
        let is_first = self.is_expected && self.patience == PATIENCE;
        self.forget();
        self.patience = (2 * self.patience).min(MOST_PATIENCE);
        is_first
    }

    /// What waited for the connection was sent this moment.
    pub(super) fn opened(&mut self) {
        self.forget();
    }

    fn forget(&mut self) {
        self.unanswered.count = 0;
        self.asking.count = 0;
    }
}

impl Run {
    fn add(&mut self, now: Instant) {
        if self.count == 0 {
            self.since = now;
        }
        self.count = self.count.saturating_add(1);
    }

    fn lasts(self, time: Duration, now: Instant) -> bool {
        self.count >= AT_LEAST && now.duration_since(self.since) >= time
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDLE: Duration = Duration::from_secs(300);

    /// When a flow gets new connections that sends a datagram of `len` bytes every so many seconds.
    fn renewals(liveness: &mut Liveness, len: usize, every: u64, secs: u64) -> Vec<u64> {
        let begin = Instant::now();
        let mut all = Vec::new();
        for sec in (0..secs).step_by(every as usize) {
            let now = begin + Duration::from_secs(sec);
            if liveness.is_deaf(IDLE, now) {
                liveness.begin_anew();
                all.push(sec);
            }
            liveness.sent(len, now);
        }
        all
    }

    #[test]
    fn where_answers_stay_away_a_new_connection_is_tried_and_then_more_rarely() {
        let mut liveness = Liveness::new();
        liveness.heard();
        let begun = renewals(&mut liveness, 100, 1, 240);
        assert_eq!(begun, [7, 21, 49, 105, 165, 225]);
        liveness.heard();
        assert_eq!(renewals(&mut liveness, 100, 1, 10), [7]);
        liveness.heard();
        assert_eq!(renewals(&mut liveness, 100, 5, 16), [10]);
        liveness.heard();
        assert_eq!(renewals(&mut liveness, 100, 10, 30), [20]);
    }

    #[test]
    fn one_datagram_that_is_lost_says_nothing() {
        let mut liveness = Liveness::new();
        liveness.heard();
        let now = Instant::now();
        liveness.sent(100, now);
        assert!(!liveness.is_deaf(IDLE, now + IDLE));
    }

    #[test]
    fn what_keeps_a_door_open_has_its_connection_for_as_long_as_it_could_be_idle() {
        for every in [15, 25, 60] {
            let mut liveness = Liveness::new();
            liveness.heard();
            assert_eq!(renewals(&mut liveness, 4, every, 330), [300]);
        }
    }

    #[test]
    fn what_was_never_answered_keeps_its_connection_for_as_long_as_it_could_be_idle() {
        assert_eq!(renewals(&mut Liveness::new(), 100, 1, 700), [300, 600]);
        let begun = renewals(&mut Liveness::new(), 2100, 1, 30);
        assert_eq!(begun, [7, 21], "V2Ray may have been made deaf");
    }
}
