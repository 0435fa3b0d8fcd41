//! When to ask for a certificate.

use std::time::{Duration, SystemTime};

/// How long an authority may ask us to wait. Let's Encrypt counts within a week.
const LONGEST_WAIT: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// When a certificate is renewed: when a third of its time is left, as Let's Encrypt advises.
pub(super) fn due(from: SystemTime, until: SystemTime) -> SystemTime {
    let time = until.duration_since(from).unwrap_or_default();
    until - time / 3
}

/// How long to wait after so many attempts that failed. `is_free`: the authority has had no work with them. Let's
/// Encrypt takes five validations an hour that fail.
pub(super) fn pause(failures: u32, is_free: bool) -> Duration {
    let (first, most) = match is_free {
        true => (5, 10 * 60),
        false => (60, 60 * 60),
    };
    let doubled = 2u64.saturating_pow(failures.saturating_sub(1));
    Duration::from_secs(doubled.saturating_mul(first).min(most))
}

/// The same, but not before the moment that the authority names.
pub(super) fn wait(pause: Duration, not_before: Option<SystemTime>, now: SystemTime) -> Duration {
    let asked = not_before.and_then(|at| at.duration_since(now).ok());
    pause.max(asked.unwrap_or_default().min(LONGEST_WAIT))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 60 * 60);

    #[test]
    fn a_third_of_its_time_before_its_end_a_certificate_is_renewed() {
        let from = SystemTime::UNIX_EPOCH + 20_000 * DAY;
        assert_eq!(due(from, from + 90 * DAY), from + 60 * DAY);
        assert_eq!(due(from, from + 6 * DAY), from + 4 * DAY);
        // What ends before it begins is renewed at once.
        assert_eq!(due(from, from - DAY), from - DAY);
    }

    #[test]
    fn attempts_become_rare_and_never_end() {
        let secs = |failures, is_free| pause(failures, is_free).as_secs();
        assert_eq!([1, 2, 3, 4].map(|n| secs(n, true)), [5, 10, 20, 40]);
        assert_eq!([1, 2, 3, 4].map(|n| secs(n, false)), [60, 120, 240, 480]);
        assert_eq!([secs(90, true), secs(u32::MAX, false)], [600, 3600]);
    }

    #[test]
    fn the_authority_may_ask_for_more_patience_but_not_for_all_of_it() {
        let now = SystemTime::UNIX_EPOCH + 20_000 * DAY;
        let pause = Duration::from_secs(60);
        assert_eq!(wait(pause, None, now), pause);
        assert_eq!(wait(pause, Some(now - DAY), now), pause);
        assert_eq!(wait(pause, Some(now + DAY), now), DAY);
        assert_eq!(wait(pause, Some(now + 900 * DAY), now), LONGEST_WAIT);
    }
}
