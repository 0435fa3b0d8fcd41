//! What was seen before and must not be seen again.

use std::collections::HashSet;
use std::hash::Hash;

/// Remembers keys exactly, for `life` to twice `life` seconds, in bounded memory.
///
/// Two generations; when the younger is `life` old, or full, it becomes the older and the older is
/// forgotten. The age is that of a clock that only goes on. The time that a key carries is another's, and the
/// clock it is judged by may jump forward and back; so a key that is not later than the latest forgotten
/// one is refused as if it had been seen. In ordinary times no such key is taken any more anyway; otherwise some
/// slow clocks are refused, never a replay accepted.
#[derive(Debug)]
pub(in crate::protocol) struct ReplayFilter<K> {
    young: Generation<K>,
    old: Generation<K>,
    life: u64,
    bound: usize,
    /// Keys of this time or before cannot be told from forgotten ones.
    forgotten: i64,
}

#[derive(Debug)]
struct Generation<K> {
    keys: HashSet<K>,
    began: u64,
    /// The latest time of a key in here.
    latest: i64,
}

impl<K: Eq + Hash> ReplayFilter<K> {
    /// At most `2 * bound` keys are kept.
    pub(in crate::protocol) fn new(life: u64, bound: usize) -> Self {
        Self {
            young: Generation::new(0),
            old: Generation::new(0),
            life,
            bound,
            forgotten: i64::MIN,
        }
    }

    /// Whether `key` is new; from then on it is known. `time` is when the key says it was made, `age` how long
    /// the process has been running.
    pub(in crate::protocol) fn insert(&mut self, key: K, time: i64, age: u64) -> bool {
        self.age(age);
        if time <= self.forgotten || self.old.keys.contains(&key) {
            return false;
        }
        self.young.latest = self.young.latest.max(time);
        self.young.keys.insert(key)
    }

    /// The same of a key that says no time: it is new again once it has been forgotten.
    pub(in crate::protocol) fn insert_undated(&mut self, key: K, age: u64) -> bool {
        self.age(age);
        !self.old.keys.contains(&key) && self.young.keys.insert(key)
    }

    /// Whether `key` cannot be new.
    pub(in crate::protocol) fn has(&self, key: &K, time: i64) -> bool {
        time <= self.forgotten || self.young.keys.contains(key) || self.old.keys.contains(key)
    }

    /// Keys of this time or before were forgotten elsewhere.
    pub(in crate::protocol) fn forget(&mut self, time: i64) {
        self.forgotten = self.forgotten.max(time);
    }

    fn age(&mut self, age: u64) {
        let due = age.saturating_sub(self.young.began) >= self.life;
        if due || self.young.keys.len() >= self.bound {
            self.forgotten = self.forgotten.max(self.old.latest);
            self.old = std::mem::replace(&mut self.young, Generation::new(age));
        }
    }
}

impl<K> Generation<K> {
    fn new(began: u64) -> Self {
        Self {
            keys: HashSet::new(),
            began,
            latest: i64::MIN,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_700_000_000;

    #[test]
    fn a_key_is_known_for_its_whole_life() {
        let mut seen = ReplayFilter::new(240, 1000);
        assert!(seen.insert(1, NOW, 0));
        for age in [0, 1, 120, 239, 240] {
            assert!(!seen.insert(1, NOW, age));
            assert!(seen.insert(1000 + age, NOW + age as i64, age));
        }
    }

    #[test]
    fn what_a_right_clock_may_say_is_never_taken_for_forgotten() {
        let mut seen = ReplayFilter::new(241, 1 << 20);
        for age in 0..2000_u64 {
            let now = NOW + age as i64;
            for (i, skew) in [-120, 0, 120].into_iter().enumerate() {
                assert!(seen.insert((age, i), now + skew, age), "{age} {skew}");
            }
        }
    }

    #[test]
    fn a_forgotten_key_is_refused_however_the_clock_jumps() {
        let mut seen = ReplayFilter::new(241, 1000);
        assert!(seen.insert(1, NOW, 0));
        // An hour passes, or the clock says so; all is forgotten. Then it is NOW again.
        for age in [300, 600, 900] {
            seen.insert(age, NOW + age as i64, age);
        }
        assert!(!seen.has(&2, NOW + 900));
        assert!(seen.has(&1, NOW));
        assert!(!seen.insert(1, NOW, 901));
        assert!(seen.insert(3, NOW + 901, 901));
    }

    #[test]
    fn a_key_without_a_time_is_known_for_its_life_and_never_refused_when_it_is_new() {
        let mut seen = ReplayFilter::new(60, 1000);
        for age in 0..1000_u64 {
            assert!(seen.insert_undated(age, age), "{age}");
            for known in age.saturating_sub(59)..=age {
                assert!(!seen.insert_undated(known, age), "{known} at {age}");
            }
            assert!(seen.young.keys.len() + seen.old.keys.len() <= 120);
        }
    }

    #[test]
    fn memory_is_bounded_and_a_forgotten_key_is_still_refused() {
        let mut seen = ReplayFilter::new(240, 10);
        for key in 0..100 {
            assert!(seen.insert(key, key, key as u64 / 10));
            assert!(seen.young.keys.len() + seen.old.keys.len() <= 20);
        }
        for key in 0..100 {
            assert!(!seen.insert(key, key, 10), "{key} was seen");
        }
        assert!(seen.insert(100, 100, 10));
    }
}
