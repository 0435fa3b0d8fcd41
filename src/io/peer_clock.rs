//! What the other end's clock says.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

/// The clock of an outbound's server, as far as its answers tell: those of HTTP carry a `Date`. A proxy in between may be
/// the one to write it, and has as a rule the right time.
#[derive(Debug)]
pub struct PeerClock(AtomicI64);

/// Nothing was heard.
const UNKNOWN: i64 = i64::MIN;

impl PeerClock {
    /// It was so late there a moment ago.
    pub fn heard(&self, there: SystemTime) {
        let secs = |span: Duration| i64::try_from(span.as_secs()).unwrap_or(i64::MAX);
        let ahead = match there.duration_since(SystemTime::now()) {
            Ok(ahead) => secs(ahead),
            Err(e) => -secs(e.duration()),
        };
        self.0.store(ahead, Ordering::Relaxed);
    }

    /// By how many seconds it is ahead of ours, by what was heard last.
    pub fn ahead(&self) -> Option<i64> {
        Some(self.0.load(Ordering::Relaxed)).filter(|ahead| *ahead != UNKNOWN)
    }
}

impl Default for PeerClock {
    fn default() -> Self {
        Self(AtomicI64::new(UNKNOWN))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_answer_tells_how_far_its_clock_is_off() {
        let clock = PeerClock::default();
        assert_eq!(clock.ahead(), None);
        let hour = Duration::from_secs(3600);
        clock.heard(SystemTime::now() + hour);
        assert!(
            clock
                .ahead()
                .is_some_and(|ahead| (3590..=3600).contains(&ahead))
        );
        clock.heard(SystemTime::now() - hour);
        assert!(
            clock
                .ahead()
                .is_some_and(|ahead| (-3610..=-3590).contains(&ahead))
        );
    }
}
