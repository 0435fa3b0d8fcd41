//! A file of the state folder that says which first flights were answered.
//!
//! ```text
//! | CRC-32 of the rest 4 | kind 1 | 0 3 | unix seconds 8 | id 16 |
//! ```
//! Records are appended, each before its flight is answered; what a process has written survives it, though not the
//! machine's loss of power. Several processes may share the file: each reads what the others have appended, under a
//! lock on the file. One that has grown is written anew without the oldest records, and replaced; who has the
//! old one open sees that it has no name any more. A record that makes no sense is passed over.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use super::{MAX_SKEW, now};

pub(in crate::protocol) type Id = [u8; 16];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Record {
    Spent {
        id: Id,
        time: i64,
    },
    /// Records of this time or before may have been left out.
    Forgotten {
        time: i64,
    },
}

#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    file: File,
    /// All before was read, or written by us.
    at: u64,
    /// While nobody else writes, where the file ends.
    locked: Option<u64>,
    /// The length at which it is written anew.
    full: u64,
}

pub(super) const NAME: &str = "vmess-first-flights";

const RECORD: usize = 32;

/// The least length at which it is written anew.
const FULL: u64 = 1024 * 1024;

/// How often a file that another process has locked is asked for; each time is a millisecond. That process is about to
/// write a few bytes, or it is stopped.
const PATIENCE: usize = 20;

impl Journal {
    pub(super) fn open(folder: &Path) -> io::Result<Self> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)?;
        let path = folder.join(NAME);
        let file = options().open(&path)?;
        Ok(Self {
            path,
            file,
            at: 0,
            locked: None,
            full: FULL,
        })
    }

    /// Keeps other processes out; a file that has been replaced is changed for the new one. Without a lock the records
    /// are as whole, but two processes that are sent one flight at the same moment may both answer it.
    pub(super) fn lock(&mut self) {
        for _ in 0..PATIENCE {
            match self.file.try_lock() {
                Ok(()) => match self.file.metadata() {
                    Ok(about) if about.nlink() == 0 => {
                        let _ = self.file.unlock();
                        let Ok(file) = options().open(&self.path) else {
                            return;
                        };
                        (self.file, self.at) = (file, 0);
                    }
                    Ok(about) => {
                        self.locked = Some(about.len());
                        return;
                    }
                    Err(_) => {
                        let _ = self.file.unlock();
                        return;
                    }
                },
                Err(TryLockError::WouldBlock) => thread::sleep(Duration::from_millis(1)),
                Err(TryLockError::Error(_)) => return,
            }
        }
    }

    /// Where the file ends.
    fn end(&self) -> io::Result<u64> {
        match self.locked {
            Some(end) => Ok(end),
            None => Ok(self.file.metadata()?.len()),
        }
    }

    pub(super) fn unlock(&mut self) {
        if self.locked.take().is_some() {
            // It goes with the process at the latest.
            let _ = self.file.unlock();
        }
    }

    /// Gives every record that others have appended.
    pub(super) fn catch_up(&mut self, mut take: impl FnMut(Record)) -> io::Result<()> {
        let end = self.end()?;
        if end < self.at {
            // Somebody has emptied it.
            self.at = 0;
        }
        let mut piece = vec![0; (end - self.at).min(64 * 1024) as usize / RECORD * RECORD];
        while end - self.at >= RECORD as u64 {
            let len = piece.len().min((end - self.at) as usize / RECORD * RECORD);
            self.file.read_exact_at(&mut piece[..len], self.at)?;
            self.at += len as u64;
            piece[..len]
                .chunks_exact(RECORD)
                .filter_map(decode)
                .for_each(&mut take);
        }
        Ok(())
    }

    /// Appends `records`, and writes the file anew if it has become large.
    pub(super) fn append(&mut self, records: &[Record]) -> io::Result<()> {
        // What a write that did not succeed has left would shift all that follow.
        let mut end = self.end()?;
        if !end.is_multiple_of(RECORD as u64) {
            end -= end % RECORD as u64;
            self.file.set_len(end)?;
        }
        let bytes: Vec<u8> = records.iter().flat_map(encode).collect();
        let mut file = &self.file;
        file.write_all(&bytes)?;
        if let Some(known) = &mut self.locked {
            // Nobody else has written meanwhile; otherwise our own will be read.
            *known = end + bytes.len() as u64;
            self.at = *known;
            if self.at >= self.full {
                // If it cannot be done now, it is not tried again at once.
                self.full = 2 * self.at;
                self.renew()?;
            }
        }
        Ok(())
    }

    /// Leaves out what nobody can send any more.
    fn renew(&mut self) -> io::Result<()> {
        let oldest = now() - MAX_SKEW - 1;
        let (mut kept, mut forgotten) = (Vec::new(), i64::MIN);
        self.at = 0;
        self.catch_up(|record| match record {
            Record::Spent { time, .. } if time >= oldest => kept.push(record),
            Record::Spent { time, .. } | Record::Forgotten { time } => {
                forgotten = forgotten.max(time);
            }
        })?;
        kept.insert(0, Record::Forgotten { time: forgotten });
        let bytes: Vec<u8> = kept.iter().flat_map(encode).collect();
        let beside = self.path.with_extension("new");
        let _ = fs::remove_file(&beside);
        let mut file = options().create_new(true).open(&beside)?;
        file.write_all(&bytes)?;
        fs::rename(&beside, &self.path)?;
        // The lock was on the old one.
        (self.file, self.locked) = (file, None);
        self.at = bytes.len() as u64;
        self.full = FULL.max(2 * self.at);
        Ok(())
    }
}

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).append(true).create(true).mode(0o600);
    options
}

fn encode(record: &Record) -> [u8; RECORD] {
    let (kind, time, id) = match record {
        Record::Spent { id, time } => (1, *time, *id),
        Record::Forgotten { time } => (2, *time, [0; 16]),
    };
    let mut out = [0; RECORD];
    out[4] = kind;
    out[8..16].copy_from_slice(&time.to_be_bytes());
    out[16..].copy_from_slice(&id);
    let sum = crc32fast::hash(&out[4..]);
    out[..4].copy_from_slice(&sum.to_be_bytes());
    out
}

fn decode(bytes: &[u8]) -> Option<Record> {
    let (sum, rest) = bytes.split_first_chunk::<4>()?;
    if crc32fast::hash(rest).to_be_bytes() != *sum {
        return None;
    }
    let (head, id) = rest.split_first_chunk::<12>()?;
    let [kind, _, _, _, time @ ..] = *head;
    let time = i64::from_be_bytes(time);
    match kind {
        1 => Some(Record::Spent {
            id: id.try_into().ok()?,
            time,
        }),
        2 => Some(Record::Forgotten { time }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::tempdir;

    fn record(n: u8) -> Record {
        Record::Spent {
            id: [n; 16],
            time: now(),
        }
    }

    fn all(journal: &mut Journal) -> Vec<Record> {
        let mut all = Vec::new();
        journal.catch_up(|record| all.push(record)).unwrap();
        all
    }

    #[test]
    fn records_come_back_and_nonsense_between_them_does_not() {
        let folder = tempdir().unwrap();
        let mut journal = Journal::open(folder.path()).unwrap();
        let records = [record(1), Record::Forgotten { time: -7 }, record(2)];
        journal.append(&records[..2]).unwrap();
        let mut file = options().open(folder.path().join(NAME)).unwrap();
        file.write_all(&[0xab; RECORD]).unwrap();
        file.write_all(b"a torn one").unwrap();
        journal.append(&records[2..]).unwrap();
        let mut again = Journal::open(folder.path()).unwrap();
        assert_eq!(all(&mut again), records);
    }

    #[test]
    fn each_process_reads_what_the_other_has_appended() {
        let folder = tempdir().unwrap();
        let mut one = Journal::open(folder.path()).unwrap();
        let mut other = Journal::open(folder.path()).unwrap();
        for n in 0..5 {
            one.lock();
            one.catch_up(|_| {}).unwrap();
            one.append(&[record(n)]).unwrap();
            one.unlock();
            other.lock();
            assert_eq!(all(&mut other).len(), 1);
            other.unlock();
        }
    }

    #[test]
    fn a_large_file_is_written_anew_and_the_others_notice() {
        let folder = tempdir().unwrap();
        let mut one = Journal::open(folder.path()).unwrap();
        let mut other = Journal::open(folder.path()).unwrap();
        let old = Record::Spent {
            id: [7; 16],
            time: now() - 1000,
        };
        let many = vec![old; FULL as usize / RECORD - 1];
        one.lock();
        one.append(&many).unwrap();
        assert_eq!(all(&mut other).len(), many.len());
        one.append(&[record(1)]).unwrap();
        let len = fs::metadata(folder.path().join(NAME)).unwrap().len();
        assert_eq!(len, 2 * RECORD as u64);
        one.append(&[record(2)]).unwrap();
        one.unlock();
        other.lock();
        let [Record::Forgotten { time }, rest @ ..] = &all(&mut other)[..] else {
            panic!("what was left out must be said");
        };
        assert!(*time <= now() - 1000);
        assert_eq!(rest.len(), 2);
        other.append(&[record(3)]).unwrap();
        let mut fresh = Journal::open(folder.path()).unwrap();
        assert_eq!(all(&mut fresh).len(), 4);
    }
}
