//! What was seen before and must not be seen again.

use std::collections::HashSet;
use std::hash::Hash;

/// Remembers keys exactly, for `life` to twice `life` seconds, in bounded memory.
///
/// Two generations; when the younger is `life` old, or full, it becomes the older and the older is
/// forgotten. Forgetting early must not let a replay through: then all keys whose own time is not
/// later than the latest forgotten one are refused as if they had been seen. At the bound some slow
/// clocks are refused, never a replay accepted.
pub(super) struct Seen<K> {
    young: Generation<K>,
    old: Generation<K>,
    life: i64,
    bound: usize,
    /// Keys of this time or before cannot be told from forgotten ones.
    forgotten: i64,
}

struct Generation<K> {
    keys: HashSet<K>,
    began: i64,
    /// The latest time of a key in here.
    latest: i64,
}

impl<K: Eq + Hash> Seen<K> {
    /// At most `2 * bound` keys are kept.
    pub(super) fn new(life: i64, bound: usize) -> Self {
        Self {
            young: Generation::new(i64::MIN),
            old: Generation::new(i64::MIN),
            life,
            bound,
            forgotten: i64::MIN,
        }
    }

    /// Whether `key` is new; from then on it is known. `time` is when the key says it was made.
    pub(super) fn insert(&mut self, key: K, time: i64, now: i64) -> bool {
        self.age(now);
        if time <= self.forgotten || self.old.keys.contains(&key) {
            return false;
        }
        self.young.latest = self.young.latest.max(time);
        self.young.keys.insert(key)
    }

    fn age(&mut self, now: i64) {
        let due = now.saturating_sub(self.young.began) >= self.life;
        if !due && self.young.keys.len() < self.bound {
            return;
        }
        // A generation that followed a full one is forgotten before its keys have lived out.
        if now.saturating_sub(self.young.began) < self.life && !self.old.keys.is_empty() {
            self.forgotten = self.forgotten.max(self.old.latest);
        }
        self.old = std::mem::replace(&mut self.young, Generation::new(now));
    }
}

impl<K> Generation<K> {
    fn new(began: i64) -> Self {
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

    #[test]
    fn a_key_is_known_for_its_whole_life() {
        let mut seen = Seen::new(240, 1000);
        assert!(seen.insert(1, 0, 0));
        for now in [0, 1, 120, 239, 240] {
            assert!(!seen.insert(1, 0, now));
            assert!(seen.insert(1000 + now, now, now));
        }
        assert!(seen.insert(1, 500, 500));
    }

    #[test]
    fn memory_is_bounded_and_a_forgotten_key_is_still_refused() {
        let mut seen = Seen::new(240, 10);
        for key in 0..100 {
            assert!(seen.insert(key, key, key / 10));
            assert!(seen.young.keys.len() + seen.old.keys.len() <= 20);
        }
        for key in 0..100 {
            assert!(!seen.insert(key, key, 10), "{key} was seen");
        }
        assert!(seen.insert(100, 100, 10));
    }
}
