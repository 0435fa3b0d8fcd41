//! Whether anything still comes back on a flow of datagrams by a server.
//!
//! A V2Ray server that met a datagram of more than 2,048 bytes, in either direction, carries no answer on
//! that connection any more and leaves it open; a connection may also be gone without a word. What is sent
//! is no sign of life, so a flow whose datagrams are not answered gets a new connection: soon, where there
//! were answers before, and ever more rarely while there are none.

use std::time::Duration;

use tokio::time::Instant;

/// How long answers may stay away; V2Ray's `socks` gives up a connection after 7 to 8 s.
const PATIENCE: Duration = Duration::from_secs(7);

/// Where new connections brought no answer either.
const MOST_PATIENCE: Duration = Duration::from_secs(60);

/// Datagrams without an answer that tell more than one that was lost.
const AT_LEAST: u32 = 2;

/// The most that V2Ray surely carries: its buffer, less the address that packetaddr puts in front.
const V2RAY_DATAGRAM_MAX: usize = 2048 - 19;

pub(super) struct Hearing {
    /// Answers are due: there were some, or something was sent that makes a server of V2Ray's deaf.
    is_expected: bool,
    patience: Duration,
    /// Datagrams since the last answer, and when the first of them was sent.
    unanswered: u32,
    since: Instant,
}

impl Hearing {
    pub(super) fn new() -> Self {
        Self {
            is_expected: false,
            patience: PATIENCE,
            unanswered: 0,
            since: Instant::now(),
        }
    }

    pub(super) fn sent(&mut self, len: usize, now: Instant) {
        if self.unanswered == 0 {
            self.since = now;
        }
        self.unanswered = self.unanswered.saturating_add(1);
        self.is_expected |= len > V2RAY_DATAGRAM_MAX;
    }

    pub(super) fn heard(&mut self) {
        self.is_expected = true;
        self.patience = PATIENCE;
        self.unanswered = 0;
    }

    /// Whether the next datagram deserves a new connection. One that was never answered, which may have
    /// nobody who answers, keeps its connection (and so its address) for as long as it could be `idle`.
    pub(super) fn is_deaf(&self, idle: Duration, now: Instant) -> bool {
        let patience = match self.is_expected {
            true => self.patience,
            false => idle.max(MOST_PATIENCE),
        };
        self.unanswered >= AT_LEAST && now.duration_since(self.since) >= patience
    }

    /// A new connection begins. Whether it is the first one since an answer.
    pub(super) fn begin_anew(&mut self) -> bool {
        let is_first = self.is_expected && self.patience == PATIENCE;
        self.unanswered = 0;
        self.patience = (2 * self.patience).min(MOST_PATIENCE);
        is_first
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDLE: Duration = Duration::from_secs(300);

    /// When a flow gets new connections that sends a datagram of `len` bytes each second.
    fn renewals(hearing: &mut Hearing, len: usize, secs: u64) -> Vec<u64> {
        let begin = Instant::now();
        let mut all = Vec::new();
        for sec in 0..secs {
            let now = begin + Duration::from_secs(sec);
            if hearing.is_deaf(IDLE, now) {
                hearing.begin_anew();
                all.push(sec);
            }
            hearing.sent(len, now);
        }
        all
    }

    #[test]
    fn where_answers_stay_away_a_new_connection_is_tried_and_then_more_rarely() {
        let mut hearing = Hearing::new();
        hearing.heard();
        assert_eq!(renewals(&mut hearing, 100, 240), [7, 21, 49, 105, 165, 225]);
        hearing.heard();
        assert_eq!(renewals(&mut hearing, 100, 10), [7]);
    }

    #[test]
    fn one_datagram_that_is_lost_says_nothing() {
        let mut hearing = Hearing::new();
        hearing.heard();
        let now = Instant::now();
        hearing.sent(100, now);
        assert!(!hearing.is_deaf(IDLE, now + IDLE));
    }

    #[test]
    fn what_was_never_answered_keeps_its_connection_for_as_long_as_it_could_be_idle() {
        assert_eq!(renewals(&mut Hearing::new(), 100, 700), [300, 600]);
        let begun = renewals(&mut Hearing::new(), 2100, 30);
        assert_eq!(begun, [7, 21], "V2Ray may have been made deaf");
    }
}
