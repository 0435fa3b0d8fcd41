//! Counters under V2Ray's names, such as `user>>>a@b.c>>>traffic>>>uplink`.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

/// Bytes, or whatever its name says; signed, as V2Ray gives it away.
#[derive(Debug, Default)]
pub struct Counter(AtomicI64);

/// Both directions of whoever is counted; nothing is there for a direction that is not.
#[derive(Clone, Debug, Default)]
pub struct Traffic {
    /// From the client to the server.
    pub uplink: Option<Arc<Counter>>,
    pub downlink: Option<Arc<Counter>>,
}

/// The counters of one link or socket, as seen from here.
#[derive(Clone, Debug, Default)]
pub struct Meter {
    pub read: Option<Arc<Counter>>,
    pub written: Option<Arc<Counter>>,
}

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

impl Traffic {
    pub fn add_uplink(&self, bytes: usize) {
        add(self.uplink.as_deref(), bytes);
    }

    pub fn add_downlink(&self, bytes: usize) {
        add(self.downlink.as_deref(), bytes);
    }

    /// For a link to a client: what is read from it goes up.
    pub fn of_inbound(self) -> Meter {
        Meter {
            read: self.uplink,
            written: self.downlink,
        }
    }

    /// For a link to a server or target: what is written to it goes up.
    pub fn of_outbound(self) -> Meter {
        Meter {
            read: self.downlink,
            written: self.uplink,
        }
    }
}

impl Meter {
    /// Whether nothing is counted.
    pub fn is_off(&self) -> bool {
        self.read.is_none() && self.written.is_none()
    }

    pub fn add_read(&self, bytes: usize) {
        add(self.read.as_deref(), bytes);
    }

    pub fn add_written(&self, bytes: usize) {
        add(self.written.as_deref(), bytes);
    }
}

fn add(counter: Option<&Counter>, bytes: usize) {
    if let Some(counter) = counter {
        counter.add(bytes as u64);
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
