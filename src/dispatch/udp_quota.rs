//! What each owner holds of UDP: associations, and the flows that carry their datagrams.
//!
//! Each of them keeps descriptors, for as long as nobody says that it is over. So an owner has a bound, a
//! part of the descriptors that the process may have, and whoever wants one more gives up the one of its own
//! that was idle longest. While there is little left for all, the bound is what is left.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Waker};

use tokio::time::Instant;

use crate::io::open_files;
use crate::log;
use crate::session::Owner;

/// The most that one owner holds where descriptors are plenty. An association by `freedom` counts for two and
/// has one port; Linux has some 28,000 for all.
const MOST_EACH: usize = 8 * 1024;

/// The same for all owners.
const MOST: usize = 48 * 1024;

pub(super) struct UdpQuota {
    /// Set with the first one that is held: at the start the process may yet raise its limit.
    bounds: OnceLock<Bounds>,
    begin: Instant,
    state: Mutex<State>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Bounds {
    each: usize,
    all: usize,
}

#[derive(Default)]
struct State {
    owners: HashMap<Owner, Held>,
    held: usize,
    /// The number of the next one.
    next: u64,
}

/// What one owner holds.
#[derive(Default)]
struct Held {
    /// By when each was used, as far as it is known, and its number. Use is not written down here at once: one
    /// that comes up as the oldest and was used since goes back to its place.
    units: BTreeMap<(u64, u64), Arc<Unit>>,
    weight: usize,
}

struct Unit {
    /// For how many it counts.
    weight: usize,
    /// When it was last used, in milliseconds.
    used: AtomicU64,
    /// It gave way.
    is_gone: AtomicBool,
    /// Where it is among the others; written under the lock.
    listed: AtomicU64,
    task: Arc<Task>,
}

/// The task of an association, which is woken when something of it gives way.
#[derive(Default)]
pub(super) struct Task(Mutex<Option<Waker>>);

/// An association or a flow that is held; given back when this is dropped.
pub(super) struct QuotaSlot {
    udp_quota: Arc<UdpQuota>,
    owner: Owner,
    number: u64,
    unit: Arc<Unit>,
}

impl UdpQuota {
    /// For the descriptors that this process may have.
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            bounds: OnceLock::new(),
            begin: Instant::now(),
            state: Mutex::default(),
        })
    }

    fn bounds(&self) -> Bounds {
        *self.bounds.get_or_init(|| Bounds::of(open_files::limit()))
    }

    /// One more for `owner`, in `task`, that counts for `weight`. Where that is too much, others give way.
    pub(super) fn take(
        self: &Arc<Self>,
        owner: &Owner,
        task: &Arc<Task>,
        weight: usize,
    ) -> QuotaSlot {
        let now = self.millis(Instant::now());
        let bounds = self.bounds();
        let mut guard = self.lock();
        let state = &mut *guard;
        let mut gone = Vec::new();
        while state.is_full(owner, weight, bounds)
            && let Some(unit) = state.give_way(owner)
        {
            gone.push(unit);
        }
        let number = state.next;
        state.next += 1;
        let unit = Arc::new(Unit {
            weight,
            used: now.into(),
            is_gone: false.into(),
            listed: now.into(),
            task: task.clone(),
        });
        let held = state.owners.entry(owner.clone()).or_default();
        held.units.insert((now, number), unit.clone());
        held.weight += weight;
        state.held += weight;
        drop(guard);
        if !gone.is_empty() {
            self.log_open_error(owner);
        }
        gone.iter().for_each(|unit| unit.task.wake());
        QuotaSlot {
            udp_quota: self.clone(),
            owner: owner.clone(),
            number,
            unit,
        }
    }

    fn log_open_error(&self, owner: &Owner) {
        let each = self.bounds().each;
        log::repeated(&format!(
            "UDP: {owner} has all the associations and flows that it may have (at most {each} descriptors), and those that were \
             idle longest give way"
        ));
    }

    fn millis(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.begin).as_millis();
        u64::try_from(since).unwrap_or(u64::MAX)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Bounds {
    /// A quarter of the descriptors for each owner, and half for all.
    fn of(descriptors: usize) -> Self {
        Self {
            each: (descriptors / 4).clamp(16, MOST_EACH),
            all: (descriptors / 2).clamp(32, MOST),
        }
    }
}

impl State {
    /// Whether there is no room for `weight` more of `owner`.
    fn is_full(&self, owner: &Owner, weight: usize, bounds: Bounds) -> bool {
        let held = self.owners.get(owner).map_or(0, |held| held.weight);
        let room = bounds.all.saturating_sub(self.held);
        held + weight > bounds.each || held >= room
    }

    /// Takes away what was idle longest: of `owner`, or of whoever has most if that has nothing.
    fn give_way(&mut self, owner: &Owner) -> Option<Arc<Unit>> {
        let has_some = self.owners.contains_key(owner);
        let owner = match has_some {
            true => owner.clone(),
            false => {
                let most = self.owners.iter().max_by_key(|(_, held)| held.weight);
                most.map(|(owner, _)| owner.clone())?
            }
        };
        let held = self.owners.get_mut(&owner)?;
        let gone = loop {
            let ((listed, number), unit) = held.units.pop_first()?;
            let used = unit.used.load(Ordering::Relaxed);
            if used <= listed {
                break unit;
            }
            unit.listed.store(used, Ordering::Relaxed);
            held.units.insert((used, number), unit);
        };
        held.weight -= gone.weight;
        self.held -= gone.weight;
        if held.units.is_empty() {
            self.owners.remove(&owner);
        }
        gone.is_gone.store(true, Ordering::Release);
        Some(gone)
    }
}

impl QuotaSlot {
    /// It is in use.
    pub(super) fn touch(&self, now: Instant) {
        let now = self.udp_quota.millis(now);
        self.unit.used.store(now, Ordering::Relaxed);
    }

    /// Whether it has to be closed, because the owner wanted another one.
    pub(super) fn is_gone(&self) -> bool {
        self.unit.is_gone.load(Ordering::Acquire)
    }
}

impl Drop for QuotaSlot {
    fn drop(&mut self) {
        let mut guard = self.udp_quota.lock();
        let state = &mut *guard;
        let Some(held) = state.owners.get_mut(&self.owner) else {
            return;
        };
        let listed = self.unit.listed.load(Ordering::Relaxed);
        // One that gave way is not there any more.
        if held.units.remove(&(listed, self.number)).is_some() {
            held.weight -= self.unit.weight;
            state.held -= self.unit.weight;
        }
        if held.units.is_empty() {
            state.owners.remove(&self.owner);
        }
    }
}

impl Task {
    /// Has the task in `cx` woken.
    pub(super) fn register(&self, cx: &Context<'_>) {
        let mut waker = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if waker.as_ref().is_none_or(|w| !w.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
    }

    fn wake(&self) {
        let waker = self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::time::advance;

    #[tokio::test(start_paused = true)]
    async fn the_one_that_was_idle_longest_gives_way() {
        let udp_quota = within(3, 100);
        let mut held = Vec::new();
        for _ in 0..3 {
            held.push(take(&udp_quota, 1));
            advance(Duration::from_millis(1)).await;
        }
        held[0].touch(Instant::now());
        held.push(take(&udp_quota, 1));
        assert_eq!(gone(&held), [false, true, false, false]);
        let other = take(&udp_quota, 2);
        assert!(!other.is_gone());
        assert_eq!(gone(&held), [false, true, false, false]);
        drop(held.remove(0));
        held.push(take(&udp_quota, 1));
        assert_eq!(gone(&held), [true, false, false, false]);
        drop((held, other));
        let state = udp_quota.lock();
        assert_eq!((state.held, state.owners.len()), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn where_little_is_left_for_all_each_has_less_and_who_has_nothing_has_one() {
        let udp_quota = within(100, 8);
        let first: Vec<_> = (0..20).map(|_| take(&udp_quota, 1)).collect();
        assert_eq!(left(&first), 4);
        let second: Vec<_> = (0..20).map(|_| take(&udp_quota, 2)).collect();
        assert_eq!((left(&first), left(&second)), (4, 2));
        let others: Vec<_> = (3..9).map(|n| take(&udp_quota, n)).collect();
        assert_eq!(left(&others), others.len());
        assert_eq!(udp_quota.lock().held, 8);
    }

    #[tokio::test(start_paused = true)]
    async fn what_counts_for_more_takes_the_place_of_more() {
        let udp_quota = within(4, 100);
        let held: Vec<_> = (0..4).map(|_| take(&udp_quota, 1)).collect();
        let owner = Owner::Host([10, 0, 0, 1].into());
        let heavy = udp_quota.take(&owner, &Arc::default(), 3);
        assert_eq!(gone(&held), [true, true, true, false]);
        assert!(!heavy.is_gone());
        let most = udp_quota.take(&owner, &Arc::default(), 10);
        assert!(gone(&held)[3] && heavy.is_gone() && !most.is_gone());
        drop((held, heavy, most));
        assert_eq!(udp_quota.lock().held, 0);
    }

    #[test]
    fn bounds_are_parts_of_the_descriptors_there_are() {
        let bounds = |each, all| Bounds { each, all };
        assert_eq!(Bounds::of(2048), bounds(512, 1024));
        assert_eq!(Bounds::of(1 << 20), bounds(8192, 49_152));
        assert_eq!(Bounds::of(10), bounds(16, 32));
    }

    fn within(each: usize, all: usize) -> Arc<UdpQuota> {
        let udp_quota = UdpQuota::new();
        udp_quota.bounds.set(Bounds { each, all }).unwrap();
        udp_quota
    }

    fn take(udp_quota: &Arc<UdpQuota>, n: u8) -> QuotaSlot {
        let owner = Owner::Host([10, 0, 0, n].into());
        udp_quota.take(&owner, &Arc::default(), 1)
    }

    fn gone(held: &[QuotaSlot]) -> Vec<bool> {
        held.iter().map(QuotaSlot::is_gone).collect()
    }

    fn left(held: &[QuotaSlot]) -> usize {
        held.iter().filter(|holding| !holding.is_gone()).count()
    }
}
