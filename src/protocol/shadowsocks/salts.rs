//! The salts of 2017 that were answered: none of them is answered again while it is remembered.
//!
//! Such a request says no time, so nobody can tell how old it is. What has been forgotten may be answered once more.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crate::protocol::replay::ReplayFilter;

/// How long a salt is remembered, to twice as long.
const LIFE: u64 = 60 * 60;

/// Remembered salts in each of two generations: 290 new connections a second for a whole hour.
const SALTS: usize = 1 << 20;

/// The same of datagrams, each of which has one.
const DATAGRAM_LIFE: u64 = 60;
const DATAGRAM_SALTS: usize = 1 << 18;

/// Salts are chance, so the beginning of one is as good as all of it.
type Id = [u8; 16];

#[derive(Debug)]
pub struct SaltMemory {
    began: Instant,
    streams: Mutex<ReplayFilter<Id>>,
    datagrams: Mutex<ReplayFilter<Id>>,
}

impl Default for SaltMemory {
    fn default() -> Self {
        Self {
            began: Instant::now(),
            streams: Mutex::new(ReplayFilter::new(LIFE, SALTS)),
            datagrams: Mutex::new(ReplayFilter::new(DATAGRAM_LIFE, DATAGRAM_SALTS)),
        }
    }
}

impl SaltMemory {
    /// Whether the salt of a stream is new; from then on it is not.
    pub(super) fn take(&self, salt: &[u8]) -> bool {
        self.spend(&self.streams, salt)
    }

    /// The same of a datagram.
    pub(super) fn take_datagram(&self, salt: &[u8]) -> bool {
        self.spend(&self.datagrams, salt)
    }

    fn spend(&self, filter: &Mutex<ReplayFilter<Id>>, salt: &[u8]) -> bool {
        let age = self.began.elapsed().as_secs();
        let Some(id) = salt.first_chunk() else {
            return false;
        };
        let mut filter = filter.lock().unwrap_or_else(PoisonError::into_inner);
        filter.insert_undated(*id, age)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_salt_is_taken_once_by_streams_and_once_by_datagrams() {
        let salts = SaltMemory::default();
        assert!(salts.take(&[1; 16]) && salts.take(&[2; 32]));
        assert!(!salts.take(&[1; 16]) && !salts.take(&[2; 32]));
        assert!(salts.take_datagram(&[1; 16]));
        assert!(!salts.take_datagram(&[1; 16]));
    }
}
