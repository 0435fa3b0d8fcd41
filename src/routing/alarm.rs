//! Sessions that fail: so many, one behind the other, that an observer should not wait for its next probe.

use std::io::ErrorKind;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// What became of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Its server was reached.
    Reached,
    /// It was not.
    Failed(ErrorKind),
}

/// Counts failures as mihomo does: from the first one on for a while, or until one session reaches its server. A connection
/// that is refused needs no others.
#[derive(Debug, Default)]
pub(super) struct Alarm {
    /// Nobody is asked for a lock where nobody listens.
    is_set: AtomicBool,
    state: Mutex<State>,
    bell: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// How many failures, and within what time.
    limit: Option<(NonZeroU32, Duration)>,
    failed: u32,
    first: Option<Instant>,
    /// It has rung, and nobody has calmed down yet.
    rings: bool,
}

impl Alarm {
    pub(super) fn set(&self, failed: NonZeroU32, within: Duration) {
        *self.state() = State {
            limit: Some((failed, within)),
            ..State::default()
        };
        self.is_set.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_set(&self) -> bool {
        self.is_set.load(Ordering::Relaxed)
    }

    pub(super) fn hear(&self, outcome: Outcome, now: Instant) {
        if self.state().hear(outcome, now) {
            self.bell.notify_one();
        }
    }

    pub(super) async fn rung(&self) {
        self.bell.notified().await;
    }

    pub(super) fn calm_down(&self) {
        self.state().rings = false;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Whether it begins to ring.
    fn hear(&mut self, outcome: Outcome, now: Instant) -> bool {
        let Some((limit, within)) = self.limit.filter(|_| !self.rings) else {
            return false;
        };
        let kind = match outcome {
            Outcome::Reached => {
                (self.failed, self.first) = (0, None);
                return false;
            }
            Outcome::Failed(kind) => kind,
        };
        let first = *self.first.get_or_insert(now);
        if now.saturating_duration_since(first) > within {
            (self.failed, self.first) = (0, Some(now));
        }
        self.failed += 1;
        self.rings = self.failed >= limit.get() || kind == ErrorKind::ConnectionRefused;
        if self.rings {
            (self.failed, self.first) = (0, None);
        }
        self.rings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_rings_when_sessions_fail_one_behind_the_other() {
        let three = NonZeroU32::new(3).unwrap();
        let start = Instant::now();
        // The second of each outcome, and whether it rings.
        let rings = |outcomes: &[(u64, Outcome)]| {
            let mut state = State {
                limit: Some((three, Duration::from_secs(5))),
                ..State::default()
            };
            let hear = |(at, outcome): &(u64, Outcome)| {
                state.hear(*outcome, start + Duration::from_secs(*at))
            };
            outcomes.iter().map(hear).collect::<Vec<_>>()
        };
        let (failed, fine) = (Outcome::Failed(ErrorKind::TimedOut), Outcome::Reached);
        assert_eq!(
            rings(&[(0, failed), (1, failed), (2, failed)]),
            [false, false, true]
        );
        let one_is_fine = [(0, failed), (1, failed), (2, fine), (3, failed)];
        assert_eq!(rings(&one_is_fine), [false; 4]);
        let too_slow = [
            (0, failed),
            (1, failed),
            (9, failed),
            (10, failed),
            (11, failed),
        ];
        assert_eq!(rings(&too_slow), [false, false, false, false, true]);
        let refused = Outcome::Failed(ErrorKind::ConnectionRefused);
        assert_eq!(
            rings(&[(0, refused), (1, refused)]),
            [true, false],
            "it rings already"
        );
        assert_eq!(rings(&[(0, fine), (0, refused)]), [false, true]);
    }
}
