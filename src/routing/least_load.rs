//! `leastLoad`: the steadiest outbounds.
//!
//! Outbounds are ranked by the deviation of their probes' times (of a single probe, by its time), weighed
//! by `costs`. Without `baselines` the first `expected` are chosen from. With them, those below the first
//! baseline that `expected` stay below; if no baseline does, the first `expected`, or without `expected`
//! those below the last baseline, which may be none.

use std::sync::Arc;
use std::time::Duration;

use super::{LeastLoad, Match, Observation};

/// An outbound on its way through the ranking.
struct Node<'t> {
    tag: &'t Arc<str>,
    cost: Duration,
    average: Duration,
    failed: usize,
    all: usize,
}

impl LeastLoad {
    /// The outbounds of `seen` to choose from, the best first.
    pub(super) fn select<'t>(&self, seen: &[(&'t Arc<str>, &Observation)]) -> Vec<&'t Arc<str>> {
        let mut nodes: Vec<Node> = seen
            .iter()
            .filter(|(_, observation)| self.allows(observation))
            .map(|(tag, observation)| self.node(tag, observation))
            .collect();
        nodes.sort_by(|a, b| {
            let more_tries_first = b.all.cmp(&a.all);
            (a.cost, a.average, a.failed)
                .cmp(&(b.cost, b.average, b.failed))
                .then(more_tries_first)
                .then(a.tag.cmp(b.tag))
        });
        nodes.truncate(self.count(&nodes));
        nodes.into_iter().map(|node| node.tag).collect()
    }

    fn allows(&self, observation: &Observation) -> bool {
        let fast = self
            .max_rtt
            .is_none_or(|max| observation.delay.as_millis() < max.as_millis());
        let reliable = observation.samples.is_none_or(|samples| {
            self.tolerance <= 0.0 || samples.failed as f64 <= self.tolerance * samples.all as f64
        });
        observation.alive && fast && reliable
    }

    fn node<'t>(&self, tag: &'t Arc<str>, observation: &Observation) -> Node<'t> {
        let (average, deviation, failed, all) = match observation.samples {
            Some(s) => (s.average, s.deviation, s.failed, s.all),
            None => (observation.delay, observation.delay, 1, 1),
        };
        let cost = deviation.as_secs_f64() * self.weight(tag).sqrt();
        Node {
            tag,
            cost: Duration::try_from_secs_f64(cost).unwrap_or(Duration::MAX),
            average,
            failed,
            all,
        }
    }

    fn weight(&self, tag: &str) -> f64 {
        let matched = self
            .costs
            .iter()
            .find_map(|cost| Some((cost, cost.pattern.find(tag)?)));
        match matched {
            Some((cost, found)) => cost.value.or_else(|| first_number(found)).unwrap_or(1.0),
            None => 1.0,
        }
    }

    /// How many of the best are chosen from.
    fn count(&self, nodes: &[Node]) -> usize {
        let expected = self.expected.max(1).min(nodes.len());
        if self.expected > nodes.len() || self.baselines.is_empty() {
            return expected;
        }
        let mut count = 0;
        for baseline in &self.baselines {
            let below = nodes.iter().take_while(|node| node.cost < *baseline);
            count = count.max(below.count());
            if count >= expected {
                return count;
            }
        }
        if self.expected > 0 { expected } else { count }
    }
}

impl Match {
    /// The part of `tag` that matches, never an empty one.
    fn find<'s>(&'s self, tag: &'s str) -> Option<&'s str> {
        let found = match self {
            Self::Text(text) => tag.contains(text.as_str()).then_some(text.as_str()),
            Self::Regex(regex) => regex.find(tag),
        };
        found.filter(|found| !found.is_empty())
    }
}

/// `1.5` of `x1.5-y2`.
fn first_number(text: &str) -> Option<f64> {
    let start = text.find(|c: char| c.is_ascii_digit())?;
    let text = &text[start..];
    let whole = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let mut end = whole;
    if let Some(fraction) = text[whole..].strip_prefix('.') {
        let digits = fraction.find(|c: char| !c.is_ascii_digit());
        match digits.unwrap_or(fraction.len()) {
            0 => {}
            n => end = whole + 1 + n,
        }
    }
    text[..end].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::super::health::Samples;
    use super::*;
    use crate::matching::Regex;
    use crate::routing::Cost;

    #[test]
    fn without_baselines_the_best_are_expected() {
        let chosen = |expected| {
            let strategy = LeastLoad {
                expected,
                ..LeastLoad::default()
            };
            select(&strategy, &[("a", 50), ("b", 10), ("c", 30)])
        };
        assert_eq!(chosen(0), ["b"]);
        assert_eq!(chosen(2), ["b", "c"]);
        assert_eq!(chosen(9), ["b", "c", "a"]);
    }

    #[test]
    fn baselines_widen_the_choice() {
        let chosen = |expected, baselines: &[u64]| {
            let strategy = LeastLoad {
                expected,
                baselines: baselines
                    .iter()
                    .map(|ms| Duration::from_millis(*ms))
                    .collect(),
                ..LeastLoad::default()
            };
            select(&strategy, &[("a", 10), ("b", 20), ("c", 30), ("d", 90)])
        };
        assert_eq!(chosen(1, &[25, 50]), ["a", "b"]);
        assert_eq!(chosen(3, &[25, 50]), ["a", "b", "c"]);
        assert_eq!(chosen(4, &[25, 50]), ["a", "b", "c", "d"]);
        assert_eq!(chosen(0, &[5, 15]), ["a"]);
        assert!(chosen(0, &[5]).is_empty(), "none is good enough");
        assert_eq!(chosen(1, &[5]), ["a"], "but one is expected");
    }

    #[test]
    fn costs_push_outbounds_back() {
        let cost = |pattern: &str, value| Cost {
            pattern: Match::Text(pattern.into()),
            value,
        };
        let regex = |pattern| Cost {
            pattern: Match::Regex(Regex::new(pattern).unwrap()),
            value: None,
        };
        let costs = vec![
            cost("cheap", Some(0.25)),
            regex(r"x\d+(\.\d+)?"),
            cost("dear", Some(9.0)),
        ];
        let strategy = LeastLoad {
            costs,
            expected: 9,
            ..LeastLoad::default()
        };
        // 100 × √0.25 = 50, 30 × √4 = 60, 25 × √9 = 75, 70.
        let seen = [("cheap", 100), ("x4", 30), ("dear", 25), ("plain", 70)];
        assert_eq!(select(&strategy, &seen), ["cheap", "x4", "plain", "dear"]);
    }

    #[test]
    fn slow_dead_and_unreliable_ones_are_left_out() {
        let strategy = LeastLoad {
            expected: 9,
            max_rtt: Some(Duration::from_millis(100)),
            tolerance: 0.25,
            ..LeastLoad::default()
        };
        let sampled = |failed| Observation {
            alive: true,
            samples: Some(Samples {
                all: 4,
                failed,
                ..Samples::default()
            }),
            ..Observation::default()
        };
        let dead = Observation::default();
        let (slow, fast) = (alive(100), alive(99));
        let (bad, good) = (sampled(2), sampled(1));
        let tags = ["slow", "fast", "dead", "bad", "good"].map(Arc::<str>::from);
        let seen: Vec<_> = tags
            .iter()
            .zip([&slow, &fast, &dead, &bad, &good])
            .collect();
        let chosen: Vec<&str> = strategy.select(&seen).into_iter().map(|t| &**t).collect();
        assert_eq!(chosen, ["good", "fast"]);
    }

    #[test]
    fn the_first_number_of_a_text() {
        let cases = [
            ("x1.5-y2", Some(1.5)),
            ("3.", Some(3.0)),
            ("a.7", Some(7.0)),
            ("none", None),
        ];
        for (text, number) in cases {
            assert_eq!(first_number(text), number);
        }
    }

    fn alive(ms: u64) -> Observation {
        Observation {
            alive: true,
            delay: Duration::from_millis(ms),
            ..Observation::default()
        }
    }

    fn select(strategy: &LeastLoad, seen: &[(&str, u64)]) -> Vec<String> {
        let seen: Vec<(Arc<str>, Observation)> = seen
            .iter()
            .map(|(tag, ms)| ((*tag).into(), alive(*ms)))
            .collect();
        let seen: Vec<_> = seen
            .iter()
            .map(|(tag, observation)| (tag, observation))
            .collect();
        strategy
            .select(&seen)
            .iter()
            .map(ToString::to_string)
            .collect()
    }
}
