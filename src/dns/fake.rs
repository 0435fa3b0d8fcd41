//! `fakedns`: addresses that are made up for names, and the names back from them.
//!
//! A client that is given a made-up address connects to it, and where its connection comes in the name takes the
//! address' place: nobody has had to resolve it on this side. A pool remembers a bounded number of names, those that
//! were used last, and any of its acts takes the same time however many these are.
//!
//! Addresses are handed out in their order, as by V2Ray. Once all have been, the one whose name was forgotten longest
//! ago comes first: what an application still holds is rather unknown than somebody else's.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

use lru::LruCache;

use super::codec::Family;
use super::settings::FakePool;

/// Addresses of a pool that are in use or wait for it, beyond those that its names need. What was forgotten is kept in
/// order, and an IPv6 network has more addresses than there is memory.
const SPARE: u128 = 1 << 20;

/// All pools of a config.
#[derive(Default)]
pub struct FakePools(Vec<Arc<Pool>>);

/// What an address of a pool stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fake {
    /// This name.
    Name(Arc<str>),
    /// No name that is known: it was forgotten, or the address was never handed out.
    Forgotten,
}

impl FakePools {
    /// Each network once, by the first that names it; so it is with those that overlap.
    /// One that was there `before` goes on: clients hold its addresses.
    pub(super) fn new<'a>(settings: impl Iterator<Item = &'a FakePool>, before: &Self) -> Self {
        let mut all = Self::default();
        for pool in settings {
            if all.of(pool).is_none() {
                let same = before.0.iter().find(|same| same.settings == *pool);
                all.0
                    .push(same.cloned().unwrap_or_else(|| Arc::new(Pool::new(*pool))));
            }
        }
        all
    }

    pub(super) fn of(&self, settings: &FakePool) -> Option<&Arc<Pool>> {
        let mut pools = self.0.iter();
        pools.find(|pool| pool.settings.overlaps(settings))
    }

    /// What `ip` stands for; `None` when it is of no pool. A name that is asked for is in use.
    pub fn find(&self, ip: IpAddr) -> Option<Fake> {
        let mut pools = self.0.iter();
        let pool = pools.find(|pool| pool.settings.holds(ip))?;
        Some(pool.name(ip).map_or(Fake::Forgotten, Fake::Name))
    }
}

/// One network, and the names that its addresses stand for.
pub(super) struct Pool {
    settings: FakePool,
    names: Mutex<Names>,
}

/// Addresses are numbered from the first one that is handed out.
struct Names {
    by_name: LruCache<Arc<str>, u64>,
    by_number: HashMap<u64, Arc<str>>,
    /// The next number that was never handed out.
    next: u64,
    /// How many are handed out at all.
    end: u64,
    /// Handed out before, and free since; the longest first.
    free: VecDeque<u64>,
}

impl Pool {
    fn new(settings: FakePool) -> Self {
        let names = settings.names().get() as u128;
        let most = names.saturating_add(SPARE);
        let end = most.min(settings.last_offset().saturating_add(1));
        let names = Names {
            by_name: LruCache::unbounded(),
            by_number: HashMap::new(),
            next: 0,
            end: end.try_into().unwrap_or(u64::MAX),
            free: VecDeque::new(),
        };
        Self {
            settings,
            names: Mutex::new(names),
        }
    }

    pub(super) fn family(&self) -> Family {
        match self.settings.network().addr() {
            IpAddr::V4(_) => Family::V4,
            IpAddr::V6(_) => Family::V6,
        }
    }

    /// The address that stands for `name`, which is in lower case.
    pub(super) fn address(&self, name: &str) -> IpAddr {
        let most = self.settings.names().get();
        let number = self.lock().number(name, most);
        self.settings.address(number.into())
    }

    fn name(&self, ip: IpAddr) -> Option<Arc<str>> {
        let number = u64::try_from(self.settings.offset(ip)?).ok()?;
        self.lock().name(number)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Names> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Names {
    fn number(&mut self, name: &str, most: usize) -> u64 {
        if let Some(number) = self.by_name.get(name) {
            return *number;
        }
        if self.by_name.len() >= most
            && let Some((_, number)) = self.by_name.pop_lru()
        {
            self.by_number.remove(&number);
            self.free.push_back(number);
        }
        let number = match self.next < self.end {
            true => {
                self.next += 1;
                self.next - 1
            }
            false => (self.free.pop_front()).expect("a pool has more addresses than names"),
        };
        let name: Arc<str> = name.into();
        self.by_number.insert(number, name.clone());
        self.by_name.put(name, number);
        number
    }

    fn name(&mut self, number: u64) -> Option<Arc<str>> {
        let name = self.by_number.get(&number)?.clone();
        self.by_name.promote(&name);
        Some(name)
    }
}

impl FakePool {
    /// Whether they share addresses.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.holds(other.network().addr()) || other.holds(self.network().addr())
    }

    fn holds(&self, ip: IpAddr) -> bool {
        self.network().contains(&ip)
    }

    /// The number of the last address.
    pub(super) fn last_offset(&self) -> u128 {
        bits(self.network().hostmask())
    }

    /// The one that comes `offset` after the first, round the end of the network.
    fn address(&self, offset: u128) -> IpAddr {
        let network = self.network();
        let first = bits(network.addr()) & self.last_offset();
        let host = first.wrapping_add(offset) & self.last_offset();
        let whole = bits(network.network()) | host;
        match network.addr() {
            IpAddr::V4(_) => Ipv4Addr::from(whole as u32).into(),
            IpAddr::V6(_) => Ipv6Addr::from(whole).into(),
        }
    }

    fn offset(&self, ip: IpAddr) -> Option<u128> {
        let first = bits(self.network().addr());
        let offset = bits(ip).wrapping_sub(first) & self.last_offset();
        self.holds(ip).then_some(offset)
    }
}

fn bits(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => ip.to_bits().into(),
        IpAddr::V6(ip) => ip.to_bits(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;
    use std::time::{Duration, Instant};

    #[test]
    fn addresses_are_handed_out_in_their_order_from_the_one_that_is_written() {
        let cases: [(&str, &[&str]); 3] = [
            ("198.18.0.0/15", &["198.18.0.0", "198.18.0.1", "198.18.0.2"]),
            ("198.18.0.6/29", &["198.18.0.6", "198.18.0.7", "198.18.0.0"]),
            ("fc00::ffff/18", &["fc00::ffff", "fc00::1:0", "fc00::1:1"]),
        ];
        for (network, expected) in cases {
            let pool = pool(network, 5);
            for (n, expected) in expected.iter().enumerate() {
                let name = format!("{n}.example");
                let ip = pool.address(&name);
                assert_eq!(ip.to_string(), *expected, "{network}");
                assert_eq!(pool.name(ip).as_deref(), Some(&*name));
                assert_eq!(pool.address(&name), ip, "a name keeps its address");
            }
        }
    }

    #[test]
    fn what_was_not_used_longest_is_forgotten_and_its_address_comes_last() {
        let pool = pool("198.18.0.0/29", 3);
        let [a, b, c] = ["a", "b", "c"].map(|name| pool.address(name));
        // One is asked for by its name, one by its address.
        assert_eq!(pool.address("a"), a);
        assert_eq!(pool.name(b).as_deref(), Some("b"));
        let d = pool.address("d");
        assert_eq!(pool.name(c), None, "forgotten");
        assert!([a, b].map(|ip| pool.name(ip)).iter().all(Option::is_some));
        let mut seen: HashSet<IpAddr> = [a, b, c, d].into();
        for name in ["e", "f", "g", "h"] {
            assert!(seen.insert(pool.address(name)), "a free one is left");
        }
        assert_eq!(pool.address("i"), c, "the first that was forgotten");
        assert_eq!(pool.address("c"), d, "a name that comes back is a new one");
    }

    #[test]
    fn no_two_names_share_an_address_and_memory_is_bounded() {
        for (network, names) in [("10.0.0.0/28", 15), ("10.0.0.3/30", 1), ("fc00::/18", 7)] {
            let pool = pool(network, names);
            for round in 0..200 {
                let name = (round * 7 % 40).to_string();
                let ip = pool.address(&name);
                assert!(pool.settings.holds(ip), "{network}: {ip}");
                assert_eq!(pool.name(ip).as_deref(), Some(&*name), "{network}");
                let inner = pool.lock();
                assert_eq!(inner.by_name.len(), inner.by_number.len());
                assert!(inner.by_name.len() <= names);
                let known = inner.by_name.iter();
                assert!(
                    known
                        .into_iter()
                        .all(|(name, n)| inner.by_number[n] == *name)
                );
                assert_eq!(inner.by_name.len() + inner.free.len(), inner.next as usize);
            }
        }
    }

    #[test]
    fn an_address_that_was_never_handed_out_has_no_name() {
        let (small, large) = ("198.18.0.0/24", "fc00::/18");
        let pools = FakePools::new(
            [settings(small, 9), settings(large, 9)].iter(),
            &FakePools::default(),
        );
        let find = |ip: &str| pools.find(ip.parse().unwrap());
        for forgotten in ["198.18.0.0", "198.18.0.255", "fc00::", "fc00:3fff::1"] {
            assert_eq!(find(forgotten), Some(Fake::Forgotten), "{forgotten}");
        }
        for other in ["198.18.1.0", "198.17.255.255", "fc00:4000::", "::1"] {
            assert_eq!(find(other), None, "{other}");
        }
        let pool = pools.of(&settings(small, 5)).unwrap();
        assert_eq!(pool.address("a.example").to_string(), "198.18.0.0");
        assert_eq!(find("198.18.0.0"), Some(Fake::Name("a.example".into())));
        assert_eq!(find("198.18.0.1"), Some(Fake::Forgotten));
    }

    #[test]
    fn many_threads_agree() {
        let pool = pool("198.18.0.0/15", 65535);
        let found: Vec<Vec<IpAddr>> = std::thread::scope(|scope| {
            let ask = || {
                (0..2000)
                    .map(|n| pool.address(&format!("{n}.example")))
                    .collect()
            };
            let asking: Vec<_> = (0..4).map(|_| scope.spawn(ask)).collect();
            asking
                .into_iter()
                .map(|asked| asked.join().unwrap())
                .collect()
        });
        assert!(found.iter().all(|one| *one == found[0]));
        let different: HashSet<&IpAddr> = found[0].iter().collect();
        assert_eq!(different.len(), 2000);
    }

    #[test]
    fn a_full_pool_is_as_quick_as_an_empty_one() {
        // One address is free: to look for it one after the other would take an hour.
        let pool = pool("10.0.0.0/16", 65535);
        let begin = Instant::now();
        for n in 0..400_000 {
            pool.address(&n.to_string());
        }
        assert!(
            begin.elapsed() < Duration::from_secs(30),
            "{:?}",
            begin.elapsed()
        );
    }

    fn pool(network: &str, names: usize) -> Pool {
        Pool::new(settings(network, names))
    }

    fn settings(network: &str, names: usize) -> FakePool {
        FakePool::new(network.parse().unwrap(), names).unwrap()
    }
}
