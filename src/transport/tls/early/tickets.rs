//! What a server's tickets stand for, each good for one time.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio_rustls::rustls::server::StoresServerSessions;

/// Tickets of one generation.
const MANY: usize = 8 * 1024;

/// Bytes of one generation: with certificates of clients in them, tickets are large.
const LARGE: usize = 4 * 1024 * 1024;

/// Two generations: when the young one is full, it takes the place of the old one, whose tickets are worth nothing then. Whoever comes with
/// such a ticket has a whole handshake.
#[derive(Default)]
pub(in super::super) struct Tickets(Mutex<Generations>);

#[derive(Default)]
struct Generations {
    young: HashMap<Vec<u8>, Vec<u8>>,
    old: HashMap<Vec<u8>, Vec<u8>>,
    /// Of the young ones.
    bytes: usize,
}

impl Tickets {
    fn lock(&self) -> MutexGuard<'_, Generations> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StoresServerSessions for Tickets {
    fn put(&self, key: Vec<u8>, value: Vec<u8>) -> bool {
        let mut all = self.lock();
        all.bytes += key.len() + value.len();
        all.young.insert(key, value);
        if all.young.len() >= MANY || all.bytes >= LARGE {
            all.old = std::mem::take(&mut all.young);
            all.bytes = 0;
        }
        true
    }

    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        let all = self.lock();
        all.young.get(key).or_else(|| all.old.get(key)).cloned()
    }

    fn take(&self, key: &[u8]) -> Option<Vec<u8>> {
        let mut all = self.lock();
        if let Some(value) = all.young.remove(key) {
            all.bytes -= key.len() + value.len();
            return Some(value);
        }
        all.old.remove(key)
    }

    fn can_cache(&self) -> bool {
        true
    }
}

/// Keys stay out.
impl fmt::Debug for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = self.lock();
        write!(f, "Tickets({})", all.young.len() + all.old.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(i: usize) -> Vec<u8> {
        i.to_be_bytes().to_vec()
    }

    #[test]
    fn each_is_good_for_one_time() {
        let tickets = Tickets::default();
        tickets.put(name(1), b"secret".to_vec());
        assert_eq!(tickets.get(&name(1)).as_deref(), Some(&b"secret"[..]));
        assert_eq!(tickets.take(&name(1)).as_deref(), Some(&b"secret"[..]));
        assert_eq!(tickets.take(&name(1)), None);
        assert_eq!(tickets.lock().bytes, 0);
        assert_eq!(format!("{tickets:?}"), "Tickets(0)");
    }

    #[test]
    fn the_oldest_give_way_and_memory_is_bounded() {
        let tickets = Tickets::default();
        for i in 0..10 * MANY {
            tickets.put(name(i), vec![0; 100]);
        }
        {
            let all = tickets.lock();
            assert!(all.young.len() + all.old.len() <= 2 * MANY);
        }
        assert_eq!(tickets.take(&name(0)), None);
        assert!(tickets.take(&name(10 * MANY - 1)).is_some());
        assert!(tickets.take(&name(9 * MANY)).is_some());
        for i in 0..10_000 {
            tickets.put(name(i), vec![0; 10_000]);
            let all = tickets.lock();
            let held = all.young.values().chain(all.old.values()).map(Vec::len);
            assert!(held.sum::<usize>() < 2 * LARGE + 20_000);
        }
    }
}
