//! The first flights that were answered: none of them is answered again.
//!
//! All inbounds of a process share one memory, whatever becomes of an inbound or a user. With a state folder it
//! outlives the process, and other processes with the same folder share it too ([`journal`]). Without one, whoever recorded a first flight may send it once more to a process that was started after it.

mod filter;
mod journal;

use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use tracing::{info, warn};

use journal::{Journal, Record};

pub(super) use filter::ReplayFilter;
pub(super) use journal::Id;

/// How far a client's clock may be off at the most: in VMess, V2Ray's number.
pub(super) const MAX_SKEW: i64 = 120;

/// How long an auth id could be sent again: its time may lie this far on either side of ours.
pub(super) const LIFE: u64 = 2 * MAX_SKEW as u64 + 1;

/// Remembered ids in each of two generations: 17,000 new connections a second, each with two.
const IDS: usize = 1 << 23;

#[derive(Debug)]
pub struct ReplayMemory {
    began: Instant,
    own: Mutex<ReplayFilter<Id>>,
    /// What was written to the state folder, by us or others.
    kept: Option<Mutex<Kept>>,
}

#[derive(Debug)]
struct Kept {
    journal: Journal,
    /// What others wrote.
    foreign: ReplayFilter<Id>,
    /// The last attempt to write failed, and was complained of.
    failing: bool,
}

impl Default for ReplayMemory {
    /// Only for as long as it lives.
    fn default() -> Self {
        Self {
            began: Instant::now(),
            own: Mutex::new(ReplayFilter::new(LIFE, IDS)),
            kept: None,
        }
    }
}

impl ReplayMemory {
    /// Kept in `folder`, if there is one and it can be used.
    pub fn open(folder: Option<&Path>) -> Self {
        let Some(folder) = folder else {
            info!(
                "no state folder: a recorded first flight may be answered once more after a restart"
            );
            return Self::default();
        };
        let mut replays = Self::default();
        let mut foreign = ReplayFilter::new(LIFE, IDS);
        let opened = Journal::open(folder).and_then(|mut journal| {
            journal
                .catch_up(|r| take(&mut foreign, r, 0))
                .map(|()| journal)
        });
        match opened {
            Ok(journal) => {
                let failing = false;
                replays.kept = Some(Mutex::new(Kept {
                    journal,
                    foreign,
                    failing,
                }));
            }
            Err(e) => warn!(
                "the state folder {} cannot be used: {e}; a first flight that was recorded within the last {MAX_SKEW} s may be answered once more after a restart",
                folder.display()
            ),
        }
        replays
    }

    /// Whether an auth id of this time is new; from then on it is not. Nothing may be answered before
    /// [`ReplayMemory::keep`] has agreed.
    pub(super) fn take(&self, id: Id, time: i64) -> bool {
        let age = self.age();
        let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        own.insert(id, time, age)
    }

    /// Whether the session of an auth id that was just taken is new as well, and neither is known to others. The next
    /// process will know both.
    pub(super) fn keep(&self, auth_id: Id, session: Id, time: i64) -> bool {
        self.take(session, time) && self.write(&[auth_id, session], time)
    }

    /// Whether a flight that has one id alone is new; the next process will know it.
    pub(super) fn spend(&self, id: Id, time: i64) -> bool {
        self.take(id, time) && self.write(&[id], time)
    }

    fn write(&self, ids: &[Id], time: i64) -> bool {
        let Some(kept) = &self.kept else {
            return true;
        };
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.write(ids, time, self.age())
    }

    fn age(&self) -> u64 {
        self.began.elapsed().as_secs()
    }
}

impl Kept {
    fn write(&mut self, ids: &[Id], time: i64, age: u64) -> bool {
        let Self {
            journal, foreign, ..
        } = self;
        journal.lock();
        let read = journal.catch_up(|record| take(foreign, record, age));
        let is_new = !ids.iter().any(|id| foreign.has(id, time));
        let records: Vec<_> = ids
            .iter()
            .map(|id| Record::Spent { id: *id, time })
            .collect();
        let written = match is_new {
            true => read.and_then(|()| journal.append(&records)),
            false => read,
        };
        journal.unlock();
        match written {
            Ok(()) => self.failing = false,
            Err(e) if !self.failing => {
                self.failing = true;
                warn!(
                    "cannot write to the state folder: {e}; until it can be written to, a first flight that is recorded may be answered once more after a restart"
                );
            }
            Err(_) => {}
        }
        is_new
    }
}

/// Seconds since 1970.
pub(super) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs() as i64)
}

fn take(foreign: &mut ReplayFilter<Id>, record: Record, age: u64) {
    match record {
        Record::Spent { id, time } => {
            foreign.insert(id, time, age);
        }
        Record::Forgotten { time } => foreign.forget(time),
    }
}

#[cfg(test)]
mod tests {
    use super::journal::NAME;
    use super::*;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use tempfile::tempdir;

    const NOW: i64 = 1_700_000_000;

    fn id(n: u8) -> Id {
        [n; 16]
    }

    /// As an inbound does it.
    fn answers(replays: &ReplayMemory, n: u8) -> bool {
        replays.take(id(n), NOW) && replays.keep(id(n), id(n ^ 0x80), NOW)
    }

    #[test]
    fn what_was_answered_before_a_restart_is_not_answered_after_it() {
        let folder = tempdir().unwrap();
        let first = ReplayMemory::open(Some(folder.path()));
        assert!(answers(&first, 1));
        assert!(!answers(&first, 1));
        // A process that is killed does nothing more.
        std::mem::forget(first);
        let second = ReplayMemory::open(Some(folder.path()));
        assert!(!answers(&second, 1));
        assert!(answers(&second, 2));
    }

    #[test]
    fn two_processes_know_what_the_other_one_has_answered() {
        let folder = tempdir().unwrap();
        let old = ReplayMemory::open(Some(folder.path()));
        let new = ReplayMemory::open(Some(folder.path()));
        for n in 1..50 {
            let (first, second) = if n % 2 == 0 {
                (&old, &new)
            } else {
                (&new, &old)
            };
            assert!(answers(first, n));
            assert!(!answers(second, n), "{n}");
        }
    }

    #[test]
    fn a_flight_with_one_id_is_known_to_all_others() {
        let folder = tempdir().unwrap();
        let first = ReplayMemory::open(Some(folder.path()));
        let other = ReplayMemory::open(Some(folder.path()));
        assert!(first.spend(id(1), NOW) && !first.spend(id(1), NOW));
        assert!(!other.spend(id(1), NOW) && other.spend(id(2), NOW));
        let next = ReplayMemory::open(Some(folder.path()));
        assert!(!next.spend(id(1), NOW) && !next.spend(id(2), NOW));
    }

    #[test]
    fn session_keys_are_as_unique_as_auth_ids() {
        let folder = tempdir().unwrap();
        let replays = ReplayMemory::open(Some(folder.path()));
        assert!(replays.take(id(1), NOW) && replays.keep(id(1), id(9), NOW));
        assert!(replays.take(id(2), NOW) && !replays.keep(id(2), id(9), NOW));
        let next = ReplayMemory::open(Some(folder.path()));
        assert!(next.take(id(3), NOW) && !next.keep(id(3), id(9), NOW));
    }

    #[test]
    fn what_cannot_be_kept_stops_nobody() {
        let folder = tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        let replays = ReplayMemory::open(Some(&file));
        assert!(answers(&replays, 1));
        assert!(!answers(&replays, 1));
    }

    #[test]
    fn a_full_disk_stops_nobody() {
        let folder = tempdir().unwrap();
        symlink("/dev/full", folder.path().join(NAME)).unwrap();
        let replays = ReplayMemory::open(Some(folder.path()));
        for n in 1..5 {
            assert!(answers(&replays, n));
            assert!(!answers(&replays, n));
        }
    }

    #[test]
    fn only_the_owner_reads_it() {
        let folder = tempdir().unwrap();
        let inside = folder.path().join("state");
        let replays = ReplayMemory::open(Some(&inside));
        assert!(answers(&replays, 1));
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&inside), 0o700);
        let files: Vec<_> = fs::read_dir(&inside).unwrap().collect();
        for file in files {
            assert_eq!(mode(&file.unwrap().path()), 0o600);
        }
    }
}
