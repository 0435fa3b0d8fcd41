//! What servers have said, for as long as it holds. The clock is the caller's.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::codec::{Question, Reply};

/// Questions that are remembered for each server.
const MAX_ENTRIES: usize = 4096;

/// Replies and when they are over.
#[derive(Default)]
pub(super) struct Cache(HashMap<Question, (Reply, Instant)>);

impl Cache {
    /// The reply, with what is left of its time.
    pub(super) fn get(&self, question: &Question, now: Instant) -> Option<Reply> {
        let (reply, until) = self.0.get(question)?;
        let left = until.checked_duration_since(now)?;
        let ttl = left.as_secs().try_into().unwrap_or(reply.ttl);
        (!left.is_zero()).then(|| Reply {
            ttl,
            ..reply.clone()
        })
    }

    pub(super) fn put(&mut self, question: Question, reply: Reply, now: Instant) {
        if reply.ttl == 0 {
            return;
        }
        if self.0.len() >= MAX_ENTRIES && !self.0.contains_key(&question) {
            self.make_room(now);
        }
        let until = now + Duration::from_secs(reply.ttl.into());
        self.0.insert(question, (reply, until));
    }

    /// Forgets what is over; if nothing is, the quarter that would be over first.
    fn make_room(&mut self, now: Instant) {
        self.0.retain(|_, (_, until)| *until > now);
        if self.0.len() < MAX_ENTRIES {
            return;
        }
        let mut ends: Vec<Instant> = self.0.values().map(|(_, until)| *until).collect();
        let (_, quarter, _) = ends.select_nth_unstable(MAX_ENTRIES / 4);
        let quarter = *quarter;
        let mut too_many = self.0.len() - MAX_ENTRIES * 3 / 4;
        // Many may end in the same moment: no more go than must.
        self.0.retain(|_, (_, until)| {
            let goes = *until <= quarter && too_many > 0;
            too_many -= usize::from(goes);
            !goes
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::codec::Family;

    #[test]
    fn a_reply_ages_and_ends() {
        let begin = Instant::now();
        let mut cache = Cache::default();
        cache.put(question(1), reply(10), begin);
        cache.put(question(2), reply(0), begin);
        let ttl = |n, secs| {
            let at = begin + Duration::from_secs(secs);
            cache.get(&question(n), at).map(|r| r.ttl)
        };
        assert_eq!(ttl(1, 0), Some(10));
        assert_eq!(ttl(1, 9), Some(1));
        assert_eq!(ttl(1, 10), None);
        assert_eq!(ttl(2, 0), None, "a reply for no time at all is not kept");
        assert_eq!(ttl(3, 0), None);
    }

    #[test]
    fn a_full_cache_forgets_what_is_over_first() {
        let begin = Instant::now();
        let mut cache = Cache::default();
        for n in 0..MAX_ENTRIES {
            cache.put(question(n), reply(100 + n as u32), begin);
        }
        cache.put(question(MAX_ENTRIES), reply(1), begin);
        assert!(cache.0.len() <= MAX_ENTRIES);
        assert!(cache.get(&question(0), begin).is_none());
        assert!(cache.get(&question(MAX_ENTRIES - 1), begin).is_some());
        assert!(cache.get(&question(MAX_ENTRIES), begin).is_some());

        let mut alike = Cache::default();
        for n in 0..2 * MAX_ENTRIES {
            alike.put(question(n), reply(100), begin);
            assert!(alike.0.len() <= MAX_ENTRIES);
        }
        assert!(alike.0.len() > MAX_ENTRIES / 2);
    }

    fn question(n: usize) -> Question {
        Question {
            name: format!("{n}.example.com"),
            family: Family::V4,
        }
    }

    fn reply(ttl: u32) -> Reply {
        Reply {
            code: 0,
            ips: vec![[1, 2, 3, 4].into()],
            ttl,
            truncated: false,
        }
    }
}
