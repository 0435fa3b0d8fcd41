//! A limited number of slots, shared between owners so that no owner can take them all.
//!
//! An owner may take one more slot as long as it has fewer than are free: one that asks for ever more gets
//! half of all, another one like that half of the rest, and whoever has none is served at once. Slots that
//! become free go to the waiting owners in turn, and among the questions of one owner to the latest: one that
//! has waited long, behind names that are not answered, is about to give up anyway.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use thiserror::Error;
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::log;
use crate::session::Owner;

/// Questions of one owner that wait for a slot; each belongs to a session of its own.
const MAX_WAITING: usize = 1024;

/// A wait for a slot that is worth a line in the log.
const LONG_WAIT: Duration = Duration::from_secs(2);

pub(super) struct Shares {
    /// The resolver, for messages.
    of: String,
    all: usize,
    /// How long a question may wait for a slot.
    patience: Duration,
    state: Mutex<State>,
}

struct State {
    free: usize,
    owners: HashMap<Owner, Share>,
    /// The owners that wait, each once.
    turns: VecDeque<Owner>,
}

#[derive(Default)]
struct Share {
    held: usize,
    waiting: VecDeque<oneshot::Sender<Slot>>,
}

/// A slot for one question; it is free again when this is dropped.
pub(super) struct Slot {
    shares: Arc<Shares>,
    owner: Owner,
}

#[derive(Debug, Error, PartialEq, Eq)]
#[error("too many names of {owner} wait for an answer of {of}")]
pub(super) struct NoSlot {
    owner: String,
    of: String,
}

impl Shares {
    pub(super) fn new(of: String, all: usize, patience: Duration) -> Arc<Self> {
        Arc::new(Self {
            of,
            all,
            patience,
            state: Mutex::new(State {
                free: all,
                owners: HashMap::new(),
                turns: VecDeque::new(),
            }),
        })
    }

    /// A slot for a question of `owner`, at once or when others have been answered.
    pub(super) async fn slot(self: &Arc<Self>, owner: &Owner) -> Result<Slot, NoSlot> {
        let mut turn = match self.take_or_wait(owner) {
            Ok(slot) => return Ok(slot),
            Err(turn) => turn,
        };
        // Whoever asks may give up before the end of the wait.
        let soon = timeout(LONG_WAIT, &mut turn).await;
        if !matches!(soon, Ok(Ok(_))) {
            self.complain(owner);
        }
        let got = match soon {
            Ok(got) => got.ok(),
            Err(_) => {
                let rest = self.patience.saturating_sub(LONG_WAIT);
                timeout(rest, turn).await.ok().and_then(Result::ok)
            }
        };
        got.ok_or_else(|| NoSlot {
            owner: owner.to_string(),
            of: self.of.clone(),
        })
    }

    /// A slot, or where it will be given. One too many that waits takes the turn of the one that waited longest.
    fn take_or_wait(self: &Arc<Self>, owner: &Owner) -> Result<Slot, oneshot::Receiver<Slot>> {
        let mut guard = self.lock();
        let state = &mut *guard;
        let share = state.owners.entry(owner.clone()).or_default();
        if share.waiting.is_empty() && share.may_take(state.free) {
            share.held += 1;
            state.free -= 1;
            return Ok(self.given(owner));
        }
        if share.waiting.len() >= MAX_WAITING {
            // It is told so.
            share.waiting.pop_front();
        }
        let (give, turn) = oneshot::channel();
        share.waiting.push_back(give);
        if !state.turns.contains(owner) {
            state.turns.push_back(owner.clone());
        }
        Err(turn)
    }

    fn given(self: &Arc<Self>, owner: &Owner) -> Slot {
        Slot {
            shares: self.clone(),
            owner: owner.clone(),
        }
    }

    /// Gives free slots to those who wait.
    fn deal(self: &Arc<Self>) {
        // A slot that nobody takes any more comes back by its drop, so this is not done under the lock.
        while let Some((give, slot)) = self.next() {
            let _ = give.send(slot);
        }
    }

    /// Whose turn it is, and the slot.
    fn next(self: &Arc<Self>) -> Option<(oneshot::Sender<Slot>, Slot)> {
        let mut guard = self.lock();
        let state = &mut *guard;
        for _ in 0..state.turns.len() {
            let owner = state.turns.pop_front()?;
            let Some(share) = state.owners.get_mut(&owner) else {
                continue;
            };
            while share.waiting.back().is_some_and(oneshot::Sender::is_closed) {
                share.waiting.pop_back();
            }
            if share.waiting.is_empty() {
                if share.held == 0 {
                    state.owners.remove(&owner);
                }
                continue;
            }
            let give = if share.may_take(state.free) {
                share.waiting.pop_back()
            } else {
                None
            };
            let is_given = give.is_some();
            if is_given {
                share.held += 1;
                state.free -= 1;
            }
            let slot = is_given.then(|| self.given(&owner));
            if !share.waiting.is_empty() {
                state.turns.push_back(owner);
            }
            if let Some(given) = give.zip(slot) {
                return Some(given);
            }
        }
        None
    }

    fn complain(&self, owner: &Owner) {
        log::repeated(&format!(
            "names are not resolved, or late: {owner} waits for all the answers of {} that are its share of the {} that \
             are waited for at a time",
            self.of, self.all
        ));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Share {
    fn may_take(&self, free: usize) -> bool {
        self.held < free
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        {
            let mut guard = self.shares.lock();
            let state = &mut *guard;
            state.free += 1;
            if let Some(share) = state.owners.get_mut(&self.owner) {
                share.held -= 1;
                if share.held == 0 && share.waiting.is_empty() {
                    state.owners.remove(&self.owner);
                }
            }
        }
        self.shares.deal();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;
    use tokio::task::JoinHandle;
    use tokio::time::{Instant, sleep};

    const PATIENCE: Duration = Duration::from_secs(8);
    const MOMENT: Duration = Duration::from_millis(1);

    #[tokio::test(start_paused = true)]
    async fn one_who_asks_for_ever_more_has_a_part_and_another_one_is_served_at_once() {
        let shares = shares(28);
        let held = take_all(&shares, &owner(1)).await;
        assert_eq!(held.len(), 14);
        let second = take_all(&shares, &owner(2)).await;
        assert_eq!(second.len(), 7);
        let third = take_all(&shares, &owner(3)).await;
        assert_eq!(third.len(), 4);
        assert!(shares.slot(&owner(4)).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn places_that_become_free_go_to_the_owners_that_wait_in_turn() {
        let shares = shares(4);
        let mut first = take_all(&shares, &owner(1)).await;
        let mut second = take_all(&shares, &owner(2)).await;
        assert_eq!((first.len(), second.len()), (2, 1));
        let waiting = [1, 1, 2, 2].map(|n| wait(&shares, n));
        sleep(MOMENT).await;
        let done = || waiting.each_ref().map(JoinHandle::is_finished);
        assert_eq!(done(), [false; 4]);
        // Of an owner the latest one is served first.
        first.pop();
        sleep(MOMENT).await;
        assert_eq!(done(), [false, true, false, false]);
        first.pop();
        second.pop();
        sleep(MOMENT).await;
        assert_eq!(done(), [true, true, false, true]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_has_an_end_and_so_has_the_queue() {
        let shares = shares(1);
        let _held = shares.slot(&owner(1)).await.unwrap();
        let mut waiting = VecDeque::new();
        for _ in 0..MAX_WAITING {
            waiting.push_back(wait(&shares, 1));
        }
        sleep(MOMENT).await;
        let one_more = wait(&shares, 1);
        sleep(MOMENT).await;
        let first = waiting.pop_front().unwrap();
        assert!(first.is_finished());
        assert_eq!(
            first.await.unwrap().err().unwrap().to_string(),
            "too many names of 10.0.0.1 wait for an answer of it"
        );
        let begin = Instant::now();
        assert!(one_more.await.unwrap().is_err());
        assert!(begin.elapsed() <= PATIENCE);
        for wait in waiting {
            assert!(wait.await.unwrap().is_err());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_gone_takes_no_place_and_nothing_is_left_behind() {
        let shares = shares(1);
        let held = shares.slot(&owner(1)).await.unwrap();
        let there = wait(&shares, 1);
        let gone = wait(&shares, 1);
        sleep(MOMENT).await;
        gone.abort();
        let _ = gone.await;
        drop(held);
        drop(there.await.unwrap().expect("its turn has come"));
        let state = shares.lock();
        assert_eq!(state.free, 1);
        assert!(state.owners.is_empty() && state.turns.is_empty());
    }

    fn shares(all: usize) -> Arc<Shares> {
        Shares::new("it".to_owned(), all, PATIENCE)
    }

    fn owner(n: u8) -> Owner {
        Owner::Host(Ipv4Addr::new(10, 0, 0, n).into())
    }

    fn wait(shares: &Arc<Shares>, n: u8) -> JoinHandle<Result<Slot, NoSlot>> {
        let shares = shares.clone();
        crate::io::spawn(async move { shares.slot(&owner(n)).await })
    }

    /// As many as are to be had without a wait.
    async fn take_all(shares: &Arc<Shares>, owner: &Owner) -> Vec<Slot> {
        let mut held = Vec::new();
        while let Ok(Ok(slot)) = timeout(Duration::ZERO, shares.slot(owner)).await {
            held.push(slot);
        }
        held
    }
}
