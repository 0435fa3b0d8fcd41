//! What an observer knows of the outbounds: who answers, and how fast.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::{Arc, LazyLock, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant};

use super::alarm::{Alarm, Outcome};

/// The last that was seen of each outbound, by tag; written by an observer, read by balancers.
#[derive(Debug, Default)]
pub struct HealthTable {
    seen: RwLock<BTreeMap<Arc<str>, Observation>>,
    /// What sessions have seen, which the observer hears of.
    alarm: Alarm,
}

/// The tables of all observers, in the order of the observers.
#[derive(Clone, Debug, Default)]
pub struct HealthTables(Vec<(String, Arc<HealthTable>)>);

/// One outbound. Times are seconds since 1970, 0 for never.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observation {
    pub alive: bool,
    /// How long a probe takes; with several samples, their average.
    pub delay: Duration,
    pub last_seen: i64,
    pub last_try: i64,
    /// Why the last probe failed; empty when it did not.
    pub last_error: String,
    /// With an observer that takes several samples.
    pub samples: Option<Samples>,
}

/// What of a probe that found nobody is no time, V2Ray writes down as so many milliseconds.
const NEVER: i64 = 99_999_999;

impl Observation {
    /// The delay as V2Ray tells it, in milliseconds.
    pub fn millis(&self) -> i64 {
        match self.alive {
            true => self.delay.as_millis() as i64,
            false => NEVER,
        }
    }
}

/// Probes of the recent past, and the times that the successful ones took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Samples {
    pub all: usize,
    pub failed: usize,
    pub average: Duration,
    pub deviation: Duration,
    pub max: Duration,
    pub min: Duration,
}

impl HealthTable {
    /// The one that stays empty, where there is no observer.
    pub(super) fn of_nobody() -> Arc<Self> {
        static EMPTY: LazyLock<Arc<HealthTable>> = LazyLock::new(Arc::default);
        EMPTY.clone()
    }

    /// Stores an observation and returns the previous one.
    pub fn note(&self, tag: &Arc<str>, observation: Observation) -> Option<Observation> {
        let mut all = self.seen.write().unwrap_or_else(PoisonError::into_inner);
        all.insert(tag.clone(), observation)
    }

    pub fn get(&self, tag: &str) -> Option<Observation> {
        self.read().get(tag).cloned()
    }

    /// All, by tag.
    pub fn all(&self) -> Vec<(Arc<str>, Observation)> {
        let all = self.read();
        all.iter().map(|(t, s)| (t.clone(), s.clone())).collect()
    }

    /// Removes all outbounds but these.
    pub fn keep_only(&self, tags: &[Arc<str>]) {
        let mut all = self.seen.write().unwrap_or_else(PoisonError::into_inner);
        all.retain(|tag, _| tags.contains(tag));
    }

    pub(super) fn read(&self) -> RwLockReadGuard<'_, BTreeMap<Arc<str>, Observation>> {
        self.seen.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The observer wants to know when so many sessions fail `within` that time, none that does not between them.
    pub fn alarm_after(&self, failed: NonZeroU32, within: Duration) {
        self.alarm.set(failed, within);
    }

    /// A session by the outbound of this tag has reached its server at `now`, or has not.
    pub fn hear(&self, tag: &str, outcome: Outcome, now: Instant) {
        if self.alarm.is_set() && self.read().contains_key(tag) {
            self.alarm.hear(outcome, now);
        }
    }

    /// Waits until sessions fail. What they do then is not heard before [`Self::calm_down`].
    pub async fn alarmed(&self) {
        self.alarm.rung().await;
    }

    /// Sessions are heard again.
    pub fn calm_down(&self) {
        self.alarm.calm_down();
    }
}

impl HealthTables {
    /// These tables, each with the tag of its observer.
    pub fn of(tables: Vec<(String, Arc<HealthTable>)>) -> Self {
        Self(tables)
    }

    /// One empty table for each observer; `observers` are their tags.
    pub fn new<'t>(observers: impl Iterator<Item = &'t str>) -> Self {
        Self(
            observers
                .map(|tag| (tag.to_owned(), Arc::default()))
                .collect(),
        )
    }

    /// The table of the first observer with this tag (empty: without a tag).
    pub fn get(&self, observer: &str) -> Option<&Arc<HealthTable>> {
        let found = self.0.iter().find(|(tag, _)| tag == observer);
        found.map(|(_, table)| table)
    }

    /// A session by the outbound of this tag has reached its server at `now`, or has not.
    pub(super) fn hear(&self, tag: &str, outcome: Outcome, now: Instant) {
        for (_, table) in &self.0 {
            table.hear(tag, outcome, now);
        }
    }

    /// In the order of the observers.
    pub fn tables(&self) -> impl Iterator<Item = Arc<HealthTable>> {
        self.0.iter().map(|(_, table)| table.clone())
    }
}

impl Samples {
    /// Summarises probes: the time that each took, `None` for those that failed.
    pub fn of(probes: impl Iterator<Item = Option<Duration>>) -> Self {
        let mut samples = Self::default();
        let mut times = Vec::new();
        for probe in probes {
            samples.all += 1;
            match probe {
                Some(time) => times.push(time),
                None => samples.failed += 1,
            }
        }
        let (Some(min), Some(max)) = (times.iter().min(), times.iter().max()) else {
            return samples;
        };
        (samples.min, samples.max) = (*min, *max);
        let count = times.len() as f64;
        let average = times.iter().map(Duration::as_secs_f64).sum::<f64>() / count;
        let deviation = if times.len() == 1 {
            // A single sample has no deviation. V2Ray assumes half of it, so that it does not rank as the steadiest.
            average / 2.0
        } else {
            let squares = times.iter().map(|t| (t.as_secs_f64() - average).powi(2));
            (squares.sum::<f64>() / count).sqrt()
        };
        samples.average = Duration::from_secs_f64(average);
        samples.deviation = Duration::from_secs_f64(deviation);
        samples
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_weighed_as_v2ray_weighs_them() {
        let ms = |n| Some(Duration::from_millis(n));
        let samples = |probes: &[Option<Duration>]| Samples::of(probes.iter().copied());
        let some = samples(&[
            ms(60),
            ms(140),
            ms(60),
            ms(140),
            ms(60),
            ms(60),
            ms(140),
            None,
        ]);
        assert_eq!((some.all, some.failed), (8, 1));
        assert_eq!(
            (some.average.as_micros(), some.deviation.as_micros()),
            (94_285, 39_589)
        );
        assert_eq!((Some(some.min), Some(some.max)), (ms(60), ms(140)));
        let one = samples(&[ms(60)]);
        assert_eq!((Some(one.average), Some(one.deviation)), (ms(60), ms(30)));
        let none = samples(&[None, None]);
        assert_eq!(
            (none.all, none.failed, none.average),
            (2, 2, Duration::ZERO)
        );
    }

    #[test]
    fn what_is_observed_no_more_is_forgotten() {
        let health = HealthTable::default();
        let tags: [Arc<str>; 2] = ["a".into(), "b".into()];
        for tag in &tags {
            assert_eq!(health.note(tag, Observation::default()), None);
        }
        assert!(health.note(&tags[0], Observation::default()).is_some());
        health.keep_only(&tags[1..]);
        let left: Vec<_> = health.all().into_iter().map(|(tag, _)| tag).collect();
        assert_eq!(left, tags[1..]);
    }
}
