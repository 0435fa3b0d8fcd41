//! Several outbounds under one tag.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Chooses one of its outbounds for each session.
#[derive(Debug)]
pub struct Balancer {
    pub tag: String,
    strategy: Strategy,
    /// Indexes; never empty.
    outbounds: Vec<usize>,
    turn: AtomicUsize,
}

/// How a balancer chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    Random,
    RoundRobin,
}

impl Balancer {
    /// `None` without any outbound.
    pub fn new(tag: String, strategy: Strategy, outbounds: Vec<usize>) -> Option<Self> {
        (!outbounds.is_empty()).then(|| Self {
            tag,
            strategy,
            outbounds,
            turn: AtomicUsize::new(0),
        })
    }

    pub fn choose(&self, random: fn() -> u32) -> usize {
        let n = match self.strategy {
            Strategy::Random => random() as usize,
            Strategy::RoundRobin => self.turn.fetch_add(1, Ordering::Relaxed),
        };
        self.outbounds[n % self.outbounds.len()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outbounds_are_taken_in_turn_or_by_chance() {
        let choices = |strategy| {
            let balancer = Balancer::new("b".into(), strategy, vec![3, 5, 8]).unwrap();
            [(); 4].map(|()| balancer.choose(|| 7))
        };
        assert_eq!(choices(Strategy::RoundRobin), [3, 5, 8, 3]);
        assert_eq!(choices(Strategy::Random), [5; 4]);
        assert!(Balancer::new("b".into(), Strategy::Random, vec![]).is_none());
    }
}
