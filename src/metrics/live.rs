//! What is carried at the moment, tunnel by tunnel.
//!
//! A tunnel counts into counters of its own, which are part of its user's; here they are only looked at, when somebody
//! asks. Nothing of this is there unless somebody may.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::address::{Destination, Network};
use crate::session::{Source, User};
use crate::stats::{Counter, Traffic};

/// Tunnels of which more is kept than their bytes.
pub const MAX_LISTED: usize = 10_000;

/// How often [`Live::tick`] is to be called, and how many of its values are kept: ten minutes.
pub const TICK: Duration = Duration::from_secs(5);
pub const TICKS: usize = 120;

/// A rate is measured over at least so long.
const MEASURED: Duration = Duration::from_millis(400);

/// What was measured longer ago says nothing of the moment.
const FRESH: Duration = Duration::from_secs(10);

/// All tunnels there are.
#[derive(Debug, Default)]
pub struct Live(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    rows: HashMap<u64, Row>,
    next: u64,
    listed: usize,
    /// What tunnels have carried that are there no more.
    gone: Bytes,
    /// When rates were measured last.
    measured: Option<Instant>,
    /// When [`Live::tick`] was called last, and what had been carried then.
    ticked: Option<(Instant, Bytes)>,
    /// Rates in bytes a second, the last one at the end.
    history: VecDeque<Bytes>,
}

#[derive(Debug)]
struct Row {
    traffic: Traffic,
    /// Nothing of those beyond [`MAX_LISTED`].
    tunnel: Option<Arc<Tunnel>>,
    /// What it had carried when rates were measured last.
    before: Bytes,
    rate: Bytes,
}

/// Both directions, in bytes or in bytes a second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bytes {
    pub up: u64,
    pub down: u64,
}

/// Who has a tunnel, and by which way it goes.
#[derive(Debug)]
pub struct Tunnel {
    /// The session's number, which the log has.
    pub session: u32,
    pub network: Network,
    pub source: Source,
    pub user: Option<Arc<User>>,
    /// What numbers call the inbound.
    pub inbound: Arc<str>,
    pub began: Instant,
    leads: Mutex<Option<Leads>>,
}

/// Where a tunnel goes.
#[derive(Clone, Debug)]
pub struct Leads {
    /// What numbers call the outbound.
    pub outbound: Arc<str>,
    /// Of datagrams the last place that they began to go to.
    pub to: Destination,
}

/// A tunnel is there as long as this is kept.
#[derive(Debug)]
pub struct Entered(Box<Place>);

#[derive(Debug)]
struct Place {
    live: Arc<Live>,
    key: u64,
    tunnel: Option<Arc<Tunnel>>,
}

/// A tunnel, and what it carries.
#[derive(Clone, Debug)]
pub struct Carried {
    pub tunnel: Arc<Tunnel>,
    pub bytes: Bytes,
    pub rate: Bytes,
}

/// What there is at a moment.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// How many tunnels there are.
    pub open: usize,
    /// Those of them of which more is known.
    pub listed: Vec<Carried>,
    /// What all have carried since the beginning.
    pub bytes: Bytes,
    pub rate: Bytes,
    /// Rates every [`TICK`], the last one at the end.
    pub history: Vec<Bytes>,
}

impl Bytes {
    fn of(traffic: &Traffic) -> Self {
        let one = |counter: &Option<Arc<Counter>>| {
            let value = counter.as_ref().map_or(0, |counter| counter.get());
            u64::try_from(value).unwrap_or(0)
        };
        Self {
            up: one(&traffic.uplink),
            down: one(&traffic.downlink),
        }
    }

    pub fn sum(self) -> u64 {
        self.up.saturating_add(self.down)
    }

    fn add(&mut self, other: Self) {
        self.up = self.up.saturating_add(other.up);
        self.down = self.down.saturating_add(other.down);
    }

    /// Bytes a second, where `before` was so long ago.
    fn rate(self, before: Self, elapsed: Duration) -> Self {
        let secs = elapsed.as_secs_f64().max(0.001);
        let one = |now: u64, before: u64| (now.saturating_sub(before) as f64 / secs) as u64;
        Self {
            up: one(self.up, before.up),
            down: one(self.down, before.down),
        }
    }
}

impl Tunnel {
    /// Who has it; [`Live::enter`] takes it in.
    pub fn new(
        session: u32,
        network: Network,
        source: Source,
        user: Option<Arc<User>>,
        inbound: Arc<str>,
    ) -> Self {
        Self {
            session,
            network,
            source,
            user,
            inbound,
            began: Instant::now(),
            leads: Mutex::default(),
        }
    }

    /// Where it goes, as soon as that is known.
    pub fn leads(&self) -> Option<Leads> {
        let leads = self.leads.lock();
        leads.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Entered {
    /// From here on it goes there.
    pub fn lead(&self, outbound: Arc<str>, to: Destination) {
        if let Some(tunnel) = &self.0.tunnel {
            let mut leads = tunnel.leads.lock().unwrap_or_else(PoisonError::into_inner);
            *leads = Some(Leads { outbound, to });
        }
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.0.live.leave(self.0.key);
    }
}

impl Live {
    /// One more tunnel, which counts into `traffic`.
    pub fn enter(self: &Arc<Self>, traffic: Traffic, tunnel: Tunnel) -> Entered {
        let mut table = self.lock();
        let key = table.next;
        table.next += 1;
        let tunnel = (table.listed < MAX_LISTED).then(|| Arc::new(tunnel));
        table.listed += usize::from(tunnel.is_some());
        table.rows.insert(
            key,
            Row {
                traffic,
                tunnel: tunnel.clone(),
                before: Bytes::default(),
                rate: Bytes::default(),
            },
        );
        drop(table);
        Entered(Box::new(Place {
            live: self.clone(),
            key,
            tunnel,
        }))
    }

    fn leave(&self, key: u64) {
        let mut table = self.lock();
        if let Some(row) = table.rows.remove(&key) {
            table.listed -= usize::from(row.tunnel.is_some());
            table.gone.add(Bytes::of(&row.traffic));
        }
    }

    /// Remembers how much passes; to be called every [`TICK`].
    pub fn tick(&self, now: Instant) {
        let mut table = self.lock();
        let bytes = table.bytes();
        if let Some((then, before)) = table.ticked.replace((now, bytes)) {
            if table.history.len() == TICKS {
                table.history.pop_front();
            }
            let rate = bytes.rate(before, now.saturating_duration_since(then));
            table.history.push_back(rate);
        }
    }

    /// Measures rates anew, where that was not done a moment ago. `false` when it was so long ago that they say nothing:
    /// then it is to be done once more, a little later.
    pub fn measure(&self, now: Instant) -> bool {
        let mut table = self.lock();
        let elapsed = table
            .measured
            .map(|then| now.saturating_duration_since(then));
        if elapsed.is_some_and(|elapsed| elapsed < MEASURED) {
            return true;
        }
        table.measured = Some(now);
        for row in table.rows.values_mut() {
            let bytes = Bytes::of(&row.traffic);
            row.rate = match elapsed {
                Some(elapsed) if elapsed < FRESH => bytes.rate(row.before, elapsed),
                _ => Bytes::default(),
            };
            row.before = bytes;
        }
        elapsed.is_some_and(|elapsed| elapsed < FRESH)
    }

    /// What there is, with the rates that were measured last.
    pub fn seen(&self) -> Seen {
        let table = self.lock();
        let mut seen = Seen {
            open: table.rows.len(),
            bytes: table.gone,
            history: table.history.iter().copied().collect(),
            ..Seen::default()
        };
        for row in table.rows.values() {
            let bytes = Bytes::of(&row.traffic);
            seen.bytes.add(bytes);
            seen.rate.add(row.rate);
            if let Some(tunnel) = &row.tunnel {
                seen.listed.push(Carried {
                    tunnel: tunnel.clone(),
                    bytes,
                    rate: row.rate,
                });
            }
        }
        seen
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn bytes(&self) -> Bytes {
        let mut sum = self.gone;
        for row in self.rows.values() {
            sum.add(Bytes::of(&row.traffic));
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn tunnel(session: u32) -> Tunnel {
        Tunnel::new(session, Network::Tcp, Source::Unix, None, "front".into())
    }

    fn enter(live: &Arc<Live>, session: u32) -> (Entered, Traffic) {
        let traffic = Traffic::default().part();
        (live.enter(traffic.clone(), tunnel(session)), traffic)
    }

    #[test]
    fn a_tunnel_is_there_until_it_ends_and_its_bytes_stay() {
        let live = Arc::<Live>::default();
        let (one, traffic) = enter(&live, 7);
        let to = "example.com:443".parse::<Destination>().unwrap();
        one.lead("direct".into(), to.clone());
        traffic.add_uplink(10);
        traffic.add_downlink(1000);
        let seen = live.seen();
        let carried = Bytes { up: 10, down: 1000 };
        assert_eq!((seen.open, seen.bytes), (1, carried));
        let row = &seen.listed[0];
        assert_eq!((row.tunnel.session, row.bytes), (7, carried));
        let leads = row.tunnel.leads().unwrap();
        assert_eq!((&*leads.outbound, leads.to), ("direct", to));
        drop(one);
        let seen = live.seen();
        assert_eq!((seen.open, seen.listed.len()), (0, 0));
        assert_eq!(seen.bytes, carried);
    }

    #[test]
    fn a_rate_is_that_of_the_time_since_it_was_measured() {
        let live = Arc::<Live>::default();
        let (_one, traffic) = enter(&live, 1);
        let begin = Instant::now();
        assert!(!live.measure(begin), "there was nothing to compare with");
        traffic.add_downlink(3000);
        assert!(live.measure(begin + 2 * SECOND));
        let rate = |live: &Live| live.seen().listed[0].rate.down;
        assert_eq!(rate(&live), 1500);
        // Somebody else who asks at once is told the same.
        assert!(live.measure(begin + 2 * SECOND + SECOND / 10));
        assert_eq!(rate(&live), 1500);
        assert!(!live.measure(begin + 60 * SECOND), "it was long ago");
        assert_eq!((rate(&live), live.seen().rate.down), (0, 0));
    }

    #[test]
    fn the_last_ten_minutes_are_remembered() {
        let live = Arc::<Live>::default();
        let (one, traffic) = enter(&live, 1);
        let begin = Instant::now();
        for turn in 0..2 * TICKS as u32 {
            live.tick(begin + turn * TICK);
            traffic.add_uplink(5 * turn as usize);
        }
        drop(one);
        live.tick(begin + 2 * TICKS as u32 * TICK);
        let history = live.seen().history;
        assert_eq!(history.len(), TICKS);
        assert_eq!(history.last().unwrap().up, 2 * TICKS as u64 - 1);
    }

    #[test]
    fn beyond_a_bound_tunnels_are_counted_and_not_listed() {
        let live = Arc::<Live>::default();
        let mut all: Vec<_> = (0..=MAX_LISTED as u32).map(|n| enter(&live, n)).collect();
        all[MAX_LISTED].1.add_uplink(5);
        let seen = live.seen();
        assert_eq!((seen.open, seen.listed.len()), (MAX_LISTED + 1, MAX_LISTED));
        assert_eq!(seen.bytes.up, 5);
        all.truncate(1);
        all.push(enter(&live, 0));
        assert_eq!(live.seen().listed.len(), 2);
    }
}
