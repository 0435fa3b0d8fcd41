//! Several outbounds under one tag.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Chooses an outbound for each session, among those whose tag begins with one of its selectors.
#[derive(Debug)]
pub struct Balancer {
    pub tag: String,
    pub strategy: Strategy,
    pub selectors: Vec<String>,
    /// The outbound that carries sessions when there is none to choose.
    pub fallback: Option<Arc<str>>,
    turn: AtomicUsize,
}

/// How a balancer chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    Random,
    RoundRobin,
}

impl Balancer {
    pub fn new(
        tag: String,
        strategy: Strategy,
        selectors: Vec<String>,
        fallback: Option<Arc<str>>,
    ) -> Self {
        Self {
            tag,
            strategy,
            selectors,
            fallback,
            turn: AtomicUsize::new(0),
        }
    }

    /// Whether the outbound tagged `tag` is one to choose.
    pub fn selects(&self, tag: &str) -> bool {
        self.selectors.iter().any(|prefix| tag.starts_with(prefix))
    }

    /// One of `tags`, in the order of the outbounds; `random` is for balancers that choose by chance.
    pub fn choose<'t>(
        &self,
        tags: impl Iterator<Item = &'t Arc<str>>,
        random: impl FnOnce() -> u32,
    ) -> Option<Arc<str>> {
        let candidates: Vec<&Arc<str>> = tags.filter(|tag| self.selects(tag)).collect();
        if candidates.is_empty() {
            return self.fallback.clone();
        }
        let n = match self.strategy {
            Strategy::Random => random() as usize,
            Strategy::RoundRobin => self.turn.fetch_add(1, Ordering::Relaxed),
        };
        Some(candidates[n % candidates.len()].clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outbounds_are_taken_in_turn_or_by_chance() {
        let choices = |strategy| {
            let balancer = balancer(strategy, &["pr"], None);
            let tags = ["pr-1", "direct", "pr-2", "pr-3"].map(Arc::from);
            [(); 4].map(|()| balancer.choose(tags.iter(), || 7).unwrap())
        };
        let in_turn = ["pr-1", "pr-2", "pr-3", "pr-1"].map(Arc::from);
        assert_eq!(choices(Strategy::RoundRobin), in_turn);
        assert_eq!(choices(Strategy::Random), [(); 4].map(|()| "pr-2".into()));
    }

    #[test]
    fn with_none_to_choose_the_fallback_carries() {
        let tags = ["direct".into()];
        let chosen =
            |fallback| balancer(Strategy::Random, &["pr"], fallback).choose(tags.iter(), || 0);
        assert_eq!(chosen(None), None);
        assert_eq!(chosen(Some("block")).as_deref(), Some("block"));
    }

    fn balancer(strategy: Strategy, selectors: &[&str], fallback: Option<&str>) -> Balancer {
        let selectors = selectors.iter().map(|s| s.to_string()).collect();
        Balancer::new("b".into(), strategy, selectors, fallback.map(Arc::from))
    }
}
