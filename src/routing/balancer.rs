//! Several outbounds under one tag.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Instant;

use super::health::HealthTable;
use super::{Among, BalancerSettings, Strategy, place};

/// Chooses an outbound for each session.
#[derive(Debug)]
pub struct Balancer {
    settings: BalancerSettings,
    /// What the observer has seen; stays empty if there is none.
    health: Arc<HealthTable>,
    turn: AtomicUsize,
    /// How often in a row those failed that have, and when the last time was.
    failures: Mutex<HashMap<Arc<str>, (u32, Instant)>>,
    /// What `keepWithin` keeps.
    kept: Mutex<Option<Arc<str>>>,
    overriding: RwLock<Option<Arc<str>>>,
}

impl Balancer {
    pub fn new(settings: BalancerSettings, health: Arc<HealthTable>) -> Self {
        Self {
            settings,
            health,
            turn: AtomicUsize::new(0),
            failures: Mutex::default(),
            kept: Mutex::default(),
            overriding: RwLock::default(),
        }
    }

    /// Whether it chooses as `other` does, and by what the same observer sees.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        self.settings == other.settings && Arc::ptr_eq(&self.health, &other.health)
    }

    pub fn tag(&self) -> &str {
        &self.settings.tag
    }

    /// How often it chooses again for a stream whose way did not open.
    pub fn retries(&self) -> u32 {
        self.settings.retries
    }

    /// One of `tags`, in the order of the outbounds; `random` supplies the number for strategies that choose at random.
    pub fn choose<'t>(
        &self,
        tags: impl Iterator<Item = &'t Arc<str>>,
        random: impl FnOnce() -> u32,
    ) -> Option<Arc<str>> {
        let candidates = self.candidates(tags);
        let n = match &*self.settings.strategy {
            Strategy::RoundRobin(_) => self.turn.fetch_add(1, Ordering::Relaxed),
            Strategy::Random(_) | Strategy::LeastLoad(_) => random() as usize,
            Strategy::LeastPing { .. } | Strategy::First | Strategy::FirstAlive => 0,
        };
        match candidates.len() {
            0 => self.settings.fallback.as_ref().map(|tag| tag.value.clone()),
            len => candidates.get(n % len).map(|tag| Arc::clone(tag)),
        }
    }

    /// The outbound of this tag could be reached at `now`, or could not.
    pub fn note(&self, tag: &Arc<str>, reached: bool, now: Instant) {
        if self.settings.failing.is_none() || !self.settings.selects(tag) {
            return;
        }
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        match reached {
            true => drop(failures.remove(tag)),
            false => {
                let (count, last) = failures.entry(tag.clone()).or_insert((0, now));
                (*count, *last) = (count.saturating_add(1), now);
            }
        }
    }

    /// Leaves out those that have failed too often, unless none would be left.
    fn pass_over(&self, candidates: &mut Vec<&Arc<str>>) {
        let Some(failing) = self.settings.failing else {
            return;
        };
        let failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let is_out = |tag: &&Arc<str>| {
            let failed = failures.get(*tag);
            failed.is_some_and(|(count, last)| {
                *count >= failing.max_fails && last.elapsed() < failing.timeout
            })
        };
        if candidates.iter().any(|tag| !is_out(tag)) {
            candidates.retain(|tag| !is_out(tag));
        }
    }

    /// Those of `tags` that one is chosen from, the best alone where there is a best.
    pub fn candidates<'t>(&self, tags: impl Iterator<Item = &'t Arc<str>>) -> Vec<&'t Arc<str>> {
        let mut candidates: Vec<&Arc<str>> =
            tags.filter(|tag| self.settings.selects(tag)).collect();
        let seen = self.health.read();
        match &*self.settings.strategy {
            Strategy::Random(among) | Strategy::RoundRobin(among) => {
                // As in Xray; in V2Ray nobody comes to the fallback otherwise.
                let falls_back = self.settings.fallback.is_some();
                if *among == Among::Alive || falls_back {
                    candidates
                        .retain(|tag| seen.get(*tag).is_none_or(|observation| observation.alive));
                }
            }
            Strategy::First => {}
            Strategy::FirstAlive => {
                candidates.retain(|tag| seen.get(*tag).is_none_or(|observation| observation.alive));
                candidates.sort_by_key(|tag| place(&self.settings.selectors, tag));
            }
            Strategy::LeastPing { keep_within } => {
                candidates
                    .retain(|tag| seen.get(*tag).is_some_and(|observation| observation.alive));
                let delay = |tag: &Arc<str>| seen.get(tag).map_or(0, |s| s.delay.as_millis());
                candidates.sort_by_key(|tag| (delay(tag), *tag));
                if !keep_within.is_zero() {
                    self.keep(&mut candidates, keep_within.as_millis(), delay);
                }
                candidates.truncate(1);
            }
            Strategy::LeastLoad(strategy) => {
                let known = |tag| Some((tag, seen.get(tag)?));
                let seen: Vec<_> = candidates.into_iter().filter_map(known).collect();
                candidates = strategy.select(&seen);
            }
        }
        self.pass_over(&mut candidates);
        candidates
    }

    /// Puts the one that was chosen before in front of `candidates`, the soonest first, unless the first is sooner by more than `within`.
    fn keep(&self, candidates: &mut [&Arc<str>], within: u128, delay: impl Fn(&Arc<str>) -> u128) {
        let Some(soonest) = candidates.first().map(|tag| delay(tag)) else {
            return;
        };
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let before = candidates
            .iter()
            .position(|tag| Some(*tag) == kept.as_ref());
        if let Some(n) = before.filter(|n| delay(candidates[*n]) <= soonest + within) {
            candidates[..=n].rotate_right(1);
        }
        if kept.as_ref() != Some(candidates[0]) {
            *kept = Some(candidates[0].clone());
        }
    }

    /// The outbound that somebody has said to be chosen, whatever the strategy says.
    pub fn overridden(&self) -> Option<Arc<str>> {
        let said = self.overriding.read();
        said.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// `None` gives the strategy its choice back.
    pub fn set_override(&self, tag: Option<Arc<str>>) {
        let said = self.overriding.write();
        *said.unwrap_or_else(PoisonError::into_inner) = tag;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::{LeastLoad, Observation};
    use super::*;

    #[test]
    fn outbounds_are_taken_in_turn_or_by_chance() {
        let choices = |strategy| {
            let balancer = balancer(strategy, &["pr"], None);
            let tags = ["pr-1", "direct", "pr-2", "pr-3"].map(Arc::from);
            [(); 4].map(|()| balancer.choose(tags.iter(), || 7).unwrap())
        };
        let in_turn = ["pr-1", "pr-2", "pr-3", "pr-1"].map(Arc::from);
        assert_eq!(choices(Strategy::RoundRobin(Among::All)), in_turn);
        let by_chance = [(); 4].map(|()| "pr-2".into());
        assert_eq!(choices(Strategy::Random(Among::All)), by_chance);
    }

    #[test]
    fn who_cannot_be_reached_is_passed_over_for_a_while() {
        let failing = crate::routing::Failing {
            max_fails: 2,
            timeout: Duration::from_millis(50),
        };
        let settings = BalancerSettings {
            strategy: Strategy::First.into(),
            selectors: vec!["pr".to_owned()].into(),
            failing: Some(failing),
            ..BalancerSettings::default()
        };
        let balancer = Balancer::new(settings, Arc::default());
        let tags = ["pr-1", "pr-2"].map(Arc::<str>::from);
        let chosen = || balancer.choose(tags.iter(), || 0).unwrap().to_string();
        let note = |n: usize, reached| balancer.note(&tags[n], reached, Instant::now());
        assert_eq!(chosen(), "pr-1");
        note(0, false);
        assert_eq!(chosen(), "pr-1", "once is not twice");
        note(0, false);
        assert_eq!(chosen(), "pr-2");
        note(1, false);
        note(1, false);
        assert_eq!(chosen(), "pr-1", "there is nobody else");
        note(1, true);
        assert_eq!(chosen(), "pr-2");
        std::thread::sleep(Duration::from_millis(60));
        assert_eq!(chosen(), "pr-1");
    }

    #[test]
    fn with_none_to_choose_the_fallback_carries() {
        let tags = ["direct".into()];
        for strategy in [
            Strategy::Random(Among::All),
            Strategy::RoundRobin(Among::Alive),
            Strategy::LEAST_PING,
            Strategy::LeastLoad(LeastLoad::default()),
        ] {
            let chosen = |fallback| {
                let balancer = balancer(strategy.clone(), &["pr"], fallback);
                balancer.choose(tags.iter(), || 0)
            };
            assert_eq!(chosen(None), None);
            assert_eq!(chosen(Some("block")).as_deref(), Some("block"));
        }
    }

    #[test]
    fn the_fastest_that_answers_is_taken() {
        let balancer = balancer(Strategy::LEAST_PING, &["pr"], Some("block"));
        let chosen = || {
            let tags = ["pr-3", "other", "pr-2", "pr-1"].map(Arc::from);
            balancer.choose(tags.iter(), || 0).unwrap().to_string()
        };
        assert_eq!(chosen(), "block", "nothing is known yet");
        let seen = |tag: &str, alive, millis: f64| {
            let delay = Duration::from_secs_f64(millis / 1000.0);
            let observation = Observation {
                alive,
                delay,
                ..Observation::default()
            };
            balancer.health.note(&tag.into(), observation);
        };
        seen("other", true, 1.0);
        seen("pr-1", true, 30.0);
        seen("pr-3", true, 20.0);
        assert_eq!(chosen(), "pr-3");
        seen("pr-2", true, 20.9);
        assert_eq!(chosen(), "pr-2", "less than a millisecond is no difference");
        seen("pr-2", false, 0.0);
        seen("pr-3", false, 0.0);
        assert_eq!(chosen(), "pr-1");
        seen("pr-1", false, 0.0);
        assert_eq!(chosen(), "block");
    }

    #[test]
    fn the_chosen_one_stays_within_its_tolerance() {
        let keep_within = Duration::from_millis(50);
        let balancer = balancer(Strategy::LeastPing { keep_within }, &["pr"], None);
        let seen = |tag: &str, alive, millis| {
            let delay = Duration::from_millis(millis);
            let observation = Observation {
                alive,
                delay,
                ..Observation::default()
            };
            balancer.health.note(&tag.into(), observation);
        };
        let chosen = || {
            let tags = ["pr-1", "pr-2", "pr-3"].map(Arc::from);
            balancer
                .choose(tags.iter(), || 0)
                .map(|tag| tag.to_string())
        };
        assert_eq!(chosen(), None);
        for (tag, alive, millis, expected, why) in [
            ("pr-2", true, 100, "pr-2", "it is alone"),
            ("pr-1", true, 50, "pr-2", "50 ms are not more than 50"),
            ("pr-1", true, 49, "pr-1", "51 ms are"),
            ("pr-2", true, 10, "pr-1", "39 ms are not"),
            ("pr-1", false, 0, "pr-2", "the dead do not stay"),
            (
                "pr-1",
                true,
                5,
                "pr-2",
                "nor do they come back as what they were",
            ),
            ("pr-3", true, 1, "pr-2", "there is nothing to gain"),
            (
                "pr-2",
                true,
                90,
                "pr-3",
                "of two that are sooner the soonest",
            ),
        ] {
            seen(tag, alive, millis);
            assert_eq!(chosen().as_deref(), Some(expected), "{why}");
        }
    }

    #[test]
    fn the_first_that_is_not_dead_is_taken_in_the_order_of_the_selectors() {
        let balancer = balancer(Strategy::FirstAlive, &["b", "a", "a 2"], Some("b"));
        let chosen = || {
            let tags = ["a", "a 2", "other", "b"].map(Arc::from);
            balancer.choose(tags.iter(), || 1).unwrap().to_string()
        };
        assert_eq!(chosen(), "b", "nothing is known yet");
        let seen = |tag: &str, alive| {
            let observation = Observation {
                alive,
                ..Observation::default()
            };
            balancer.health.note(&tag.into(), observation);
        };
        seen("a 2", true);
        seen("b", false);
        assert_eq!(chosen(), "a", "it may live");
        seen("a", false);
        assert_eq!(chosen(), "a 2");
        seen("a 2", false);
        assert_eq!(chosen(), "b", "they are all dead");
        seen("a", true);
        assert_eq!(chosen(), "a");
        seen("b", true);
        assert_eq!(chosen(), "b", "it is back");
    }

    #[test]
    fn only_the_dead_are_passed_over_where_the_living_are_wanted() {
        let taken = |strategy| {
            let balancer = balancer(strategy, &["pr"], None);
            balancer.health.note(&"pr-1".into(), Observation::default());
            let tags = ["pr-1", "pr-2"].map(Arc::from);
            [0, 1].map(|n| balancer.choose(tags.iter(), || n).unwrap().to_string())
        };
        for strategy in [Strategy::Random, Strategy::RoundRobin] {
            assert_eq!(taken(strategy(Among::Alive)), ["pr-2", "pr-2"]);
            assert_eq!(taken(strategy(Among::All)), ["pr-1", "pr-2"]);
        }
    }

    #[test]
    fn the_dead_are_passed_over_where_there_is_a_fallback() {
        for strategy in [Strategy::Random, Strategy::RoundRobin] {
            let balancer = balancer(strategy(Among::All), &["pr"], Some("other"));
            balancer.health.note(&"pr-1".into(), Observation::default());
            let tags = ["pr-1", "pr-2", "other"].map(Arc::from);
            let chosen = || balancer.choose(tags.iter(), || 0).unwrap().to_string();
            assert_eq!(chosen(), "pr-2");
            balancer.health.note(&"pr-2".into(), Observation::default());
            assert_eq!(chosen(), "other");
        }
    }

    fn balancer(strategy: Strategy, selectors: &[&str], fallback: Option<&str>) -> Balancer {
        let selectors: Vec<String> = selectors.iter().map(|s| s.to_string()).collect();
        let settings = BalancerSettings {
            strategy: strategy.into(),
            selectors: selectors.into(),
            fallback: fallback.map(|tag| Arc::<str>::from(tag).into()),
            ..BalancerSettings::default()
        };
        Balancer::new(settings, Arc::default())
    }
}
