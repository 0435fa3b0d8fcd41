//! Counters under V2Ray's names, such as `user>>>a@b.c>>>traffic>>>uplink`.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

/// Bytes, or whatever its name says; signed, as V2Ray gives it away.
#[derive(Debug, Default)]
pub struct Counter(AtomicI64);

/// All counters of the process.
#[derive(Debug, Default)]
pub struct Registry {
    counters: RwLock<BTreeMap<String, Arc<Counter>>>,
}

impl Counter {
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n as i64, Ordering::Relaxed);
    }

    pub fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }

    /// The value so far; it begins at 0 again.
    pub fn take(&self) -> i64 {
        self.0.swap(0, Ordering::Relaxed)
    }
}

impl Registry {
    /// The counter called `name`, which is there from now on.
    pub fn counter(&self, name: &str) -> Arc<Counter> {
        if let Some(counter) = self.get(name) {
            return counter;
        }
        let mut counters = self
            .counters
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        counters.entry(name.to_owned()).or_default().clone()
    }

    pub fn get(&self, name: &str) -> Option<Arc<Counter>> {
        let counters = self.counters.read().unwrap_or_else(PoisonError::into_inner);
        counters.get(name).cloned()
    }

    /// All counters whose names `wanted` takes, by name.
    pub fn select(&self, wanted: impl Fn(&str) -> bool) -> Vec<(String, Arc<Counter>)> {
        let counters = self.counters.read().unwrap_or_else(PoisonError::into_inner);
        let all = counters.iter().filter(|(name, _)| wanted(name));
        all.map(|(name, counter)| (name.clone(), counter.clone()))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_is_made_once_and_found_by_its_name() {
        let registry = Registry::default();
        registry.counter("user>>>a>>>traffic>>>uplink").add(3);
        registry.counter("user>>>a>>>traffic>>>uplink").add(4);
        registry.counter("inbound>>>in>>>traffic>>>uplink").add(1);
        assert!(registry.get("user>>>b>>>traffic>>>uplink").is_none());
        let users = registry.select(|name| name.starts_with("user>>>"));
        let [(name, counter)] = &users[..] else {
            panic!("{users:?}");
        };
        assert_eq!(
            (name.as_str(), counter.get()),
            ("user>>>a>>>traffic>>>uplink", 7)
        );
        assert_eq!((counter.take(), counter.get()), (7, 0));
    }
}
