//! Counters under V2Ray's names, such as `user>>>a@b.c>>>traffic>>>uplink`, and who is online from where under
//! Xray's, `user>>>a@b.c>>>online`.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

/// Bytes, or whatever its name says; signed, as V2Ray gives it away.
#[derive(Debug, Default)]
pub struct Counter {
    value: AtomicI64,
    /// What counts there, too.
    whole: Option<Arc<Self>>,
}

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

/// The addresses that one user's sessions come from.
#[derive(Debug, Default)]
pub struct Online(Mutex<BTreeMap<IpAddr, Seen>>);

/// What there is of one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    sessions: usize,
    last: i64,
}

/// A session that counts as long as it lives.
#[derive(Debug)]
pub struct Presence {
    online: Arc<Online>,
    ip: IpAddr,
}

/// All counters of the process.
#[derive(Debug, Default)]
pub struct Registry {
    counters: RwLock<BTreeMap<String, Arc<Counter>>>,
    online: RwLock<BTreeMap<String, Arc<Online>>>,
}

impl Counter {
    pub fn add(&self, n: u64) {
        self.value.fetch_add(n as i64, Ordering::Relaxed);
        if let Some(whole) = &self.whole {
            whole.add(n);
        }
    }

    pub fn get(&self) -> i64 {
        self.value.load(Ordering::Relaxed)
    }

    /// The value so far; it begins at 0 again.
    pub fn take(&self) -> i64 {
        self.value.swap(0, Ordering::Relaxed)
    }

    fn part_of(whole: Option<Arc<Self>>) -> Arc<Self> {
        Arc::new(Self {
            value: AtomicI64::new(0),
            whole,
        })
    }
}

impl Traffic {
    /// Counters that begin at 0; what they count, these count as well.
    #[must_use]
    pub fn part(self) -> Self {
        Self {
            uplink: Some(Counter::part_of(self.uplink)),
            downlink: Some(Counter::part_of(self.downlink)),
        }
    }

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

impl Online {
    /// One more session from `ip`, at the time `now` in seconds since 1970. Of this machine nobody is counted, as in
    /// Xray: what comes from here came through a proxy that did not say from where.
    pub fn enter(self: &Arc<Self>, ip: IpAddr, now: i64) -> Option<Presence> {
        let ip = ip.to_canonical();
        if is_here(ip) {
            return None;
        }
        let mut seen = self.lock();
        let entry = seen.entry(ip).or_insert(Seen {
            sessions: 0,
            last: now,
        });
        entry.sessions += 1;
        entry.last = now;
        Some(Presence {
            online: self.clone(),
            ip,
        })
    }

    /// From how many addresses there are sessions.
    pub fn count(&self) -> usize {
        self.lock().len()
    }

    /// These addresses, and when the last session of each began, in seconds since 1970.
    pub fn addresses(&self) -> Vec<(IpAddr, i64)> {
        let seen = self.lock();
        seen.iter().map(|(ip, seen)| (*ip, seen.last)).collect()
    }

    fn leave(&self, ip: IpAddr) {
        let mut seen = self.lock();
        if let Some(entry) = seen.get_mut(&ip) {
            entry.sessions -= 1;
            if entry.sessions == 0 {
                seen.remove(&ip);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<IpAddr, Seen>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The two addresses that Xray passes over.
fn is_here(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip == Ipv4Addr::LOCALHOST,
        IpAddr::V6(ip) => ip == Ipv6Addr::LOCALHOST,
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.online.leave(self.ip);
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

    /// The addresses under `name`, which is there from now on.
    pub fn online(&self, name: &str) -> Arc<Online> {
        if let Some(online) = self.get_online(name) {
            return online;
        }
        let mut all = self.online.write().unwrap_or_else(PoisonError::into_inner);
        all.entry(name.to_owned()).or_default().clone()
    }

    pub fn get_online(&self, name: &str) -> Option<Arc<Online>> {
        let all = self.online.read().unwrap_or_else(PoisonError::into_inner);
        all.get(name).cloned()
    }

    /// All that have an address, by name.
    pub fn all_online(&self) -> Vec<(String, Arc<Online>)> {
        let all = self.online.read().unwrap_or_else(PoisonError::into_inner);
        let some = all.iter().filter(|(_, online)| online.count() > 0);
        some.map(|(name, online)| (name.clone(), online.clone()))
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

    #[test]
    fn what_a_part_counts_its_whole_counts_too() {
        let whole = Traffic {
            uplink: Some(Arc::default()),
            downlink: None,
        };
        let (one, other) = (whole.clone().part(), whole.clone().part());
        one.add_uplink(3);
        one.add_downlink(7);
        other.add_uplink(4);
        let value = |counter: &Option<Arc<Counter>>| counter.as_ref().map(|c| c.get());
        assert_eq!(
            (value(&one.uplink), value(&one.downlink)),
            (Some(3), Some(7))
        );
        assert_eq!(value(&whole.uplink), Some(7));
        assert_eq!(value(&whole.downlink), None);
    }

    #[test]
    fn an_address_is_online_as_long_as_one_of_its_sessions() {
        let registry = Registry::default();
        let online = registry.online("user>>>a>>>online");
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let one = online.enter(ip("192.0.2.1"), 5);
        let same = online.enter(ip("::ffff:192.0.2.1"), 7);
        let other = online.enter(ip("2001:db8::1"), 6);
        assert!(online.enter(ip("127.0.0.1"), 8).is_none());
        assert!(online.enter(ip("::1"), 8).is_none());
        let seen = [(ip("192.0.2.1"), 7), (ip("2001:db8::1"), 6)];
        assert_eq!(online.addresses(), seen);
        drop(one);
        assert_eq!(online.count(), 2);
        drop(same);
        assert_eq!(registry.all_online()[0].1.addresses(), seen[1..]);
        drop(other);
        assert!(registry.all_online().is_empty());
        assert!(registry.get_online("user>>>a>>>online").is_some());
        assert!(registry.get_online("user>>>b>>>online").is_none());
    }
}
