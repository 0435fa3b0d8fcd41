//! Who sent an auth id, and whether it may be believed.
//!
//! An auth id names nobody: every user's key must be tried. One try is an eighth of eight AES blocks,
//! and the keys stand in one row, 176 bytes a user; those who came last are tried first, so a busy
//! user is found at once. Measured among 10,000 users, 2 cores, optimised build: 0.3 µs for the user
//! before, 0.7 µs for one of 50 in turn, 32 µs for any of them in no order, 140 µs for a stranger.
//!
//! Users come and go while the service runs. A group of eight is made anew for each change, and who it is about is
//! found by hash; whoever was found keeps what they need, so nothing changes under a session.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use uuid::Uuid;

use super::codec::auth_id::{AuthIdMatcher, CmdKey};
use super::codec::header::{Padding, Request};
use crate::cause::AuthError;
use crate::protocol::replay::{MAX_SKEW, ReplayMemory};
use crate::protocol::users::NamedBy;
use crate::protocol::{UserError, UserSettings};
use crate::secret::Secret;
use crate::session::User;

/// How many readers are tried before all others.
const RECENT: usize = 64;

pub(crate) struct Users {
    table: RwLock<Table>,
    /// Whose readers opened the last auth ids, the newest in front; indexes. After a removal they may
    /// be behind the end, or another user's: they only say where to look first.
    recent: Mutex<Vec<u32>>,
}

#[derive(Default)]
struct Table {
    /// Of eight users each, in order.
    readers: Vec<AuthIdMatcher>,
    users: Vec<Arc<UserEntry>>,
    /// Where in `users` somebody is. Emails are alike without regard to case, as in V2Ray.
    emails: HashMap<String, usize>,
    ids: HashSet<Uuid>,
    /// How many users there ever were.
    numbered: usize,
}

/// A user, and the key that all others derive from.
pub(crate) struct UserEntry {
    id: Secret<Uuid>,
    pub(crate) key: CmdKey,
    pub(super) user: Arc<User>,
    number: usize,
    named_by: NamedBy,
    /// A client of theirs pads its headers with zeros.
    pads_zeros: AtomicBool,
    /// A client of theirs pads them with chance.
    pads_randomly: AtomicBool,
}

impl Users {
    pub(crate) fn new(users: Vec<UserSettings>) -> Self {
        let mut table = Table::default();
        for user in users {
            table.push(user, NamedBy::Config);
        }
        table.renew_all();
        Self {
            table: RwLock::new(table),
            recent: Mutex::default(),
        }
    }

    /// Makes these the users that the config names. Those whom the API has added stay, where they have nothing of one of
    /// these.
    pub(super) fn set(&self, users: Vec<UserSettings>) {
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        let is_config = |entry: &UserEntry| entry.named_by == NamedBy::Config;
        let same = |(entry, user): (&Arc<UserEntry>, &UserSettings)| {
            is_config(entry) && entry.settings() == *user
        };
        if table.users.len() == users.len() && table.users.iter().zip(&users).all(same) {
            return;
        }
        let before = std::mem::take(&mut *table);
        table.numbered = before.numbered;
        let mut known: HashMap<Uuid, Arc<UserEntry>> = HashMap::new();
        known.extend(before.users.iter().map(|entry| (*entry.id, entry.clone())));
        for user in users {
            let entry = known.remove(&*user.id);
            match entry.filter(|entry| same((entry, &user))) {
                Some(entry) => table.place(entry),
                None => table.push(user, NamedBy::Config),
            }
        }
        let added = before.users.into_iter().filter(|entry| !is_config(entry));
        for entry in added {
            let email = entry.user.email.as_ref().map(|email| email.to_lowercase());
            let taken = email.is_some_and(|email| table.emails.contains_key(&email));
            if !taken && !table.ids.contains(&*entry.id) {
                table.place(entry);
            }
        }
        table.renew_all();
    }

    /// Those whom the API has added.
    pub(super) fn added(&self) -> Vec<UserSettings> {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        let users = table.users.iter();
        let added = users.filter(|entry| entry.named_by == NamedBy::Api);
        added.map(|entry| entry.settings()).collect()
    }

    /// One more; neither the id nor the email may be another's.
    pub(super) fn add(&self, user: UserSettings) -> Result<(), UserError> {
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(email) = &user.email
            && table.emails.contains_key(&email.to_lowercase())
        {
            return Err(UserError::EmailTaken(email.clone()));
        }
        if table.ids.contains(&*user.id) {
            return Err(UserError::KeyTaken);
        }
        table.push(user, NamedBy::Api);
        let last = (table.users.len() - 1) / AuthIdMatcher::USERS;
        table.renew(last);
        Ok(())
    }

    /// Nobody is let in as this user any more; whoever is in stays.
    pub(super) fn remove(&self, email: &str) -> Result<(), UserError> {
        if email.is_empty() {
            return Err(UserError::NoEmail);
        }
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        let place = table.remove(email);
        let place = place.ok_or_else(|| UserError::NotFound(email.to_owned()))?;
        let last = table.users.len() / AuthIdMatcher::USERS;
        table.renew(last);
        table.renew(place / AuthIdMatcher::USERS);
        Ok(())
    }

    /// All of them, or the one with this email.
    pub(super) fn list(&self, email: Option<&str>) -> Vec<UserSettings> {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        match email {
            None => table.users.iter().map(|user| user.settings()).collect(),
            Some(email) => {
                let place = table.emails.get(&email.to_lowercase());
                let user = place.and_then(|place| table.users.get(*place));
                user.map(|user| user.settings()).into_iter().collect()
            }
        }
    }

    pub(super) fn count(&self) -> usize {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        table.users.len()
    }

    /// The user who sent `auth_id`, and the time in it; `now` is in seconds since 1970. Each auth id is good for one
    /// time.
    pub(crate) fn find(
        &self,
        auth_id: &[u8; 16],
        now: i64,
        replays: &ReplayMemory,
    ) -> Result<(Arc<UserEntry>, i64), AuthError> {
        let (member, time) = self.owner(auth_id).ok_or(AuthError::UnknownUser)?;
        let skew = now.abs_diff(time);
        if skew > MAX_SKEW as u64 {
            let (who, behind) = (member.to_string(), time < now);
            let most = MAX_SKEW;
            return Err(AuthError::Clock {
                who,
                skew,
                behind,
                most,
            });
        }
        if !replays.take(*auth_id, time) {
            return Err(AuthError::Replay {
                who: member.to_string(),
            });
        }
        Ok((member, time))
    }

    fn owner(&self, auth_id: &[u8; 16]) -> Option<(Arc<UserEntry>, i64)> {
        let mut recent = [0; RECENT];
        let recent = {
            let known = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
            recent[..known.len()].copy_from_slice(&known);
            &recent[..known.len()]
        };
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        let hot = recent.iter().map(|i| *i as usize);
        let (group, (lane, time)) = hot
            .chain(0..table.readers.len())
            .find_map(|i| Some((i, table.readers.get(i)?.open(auth_id)?)))?;
        let member = table
            .users
            .get(group * AuthIdMatcher::USERS + lane)?
            .clone();
        drop(table);
        if recent.first() != Some(&(group as u32)) {
            self.move_to_front(group as u32);
        }
        Some((member, time))
    }

    fn move_to_front(&self, index: u32) {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.retain(|i| *i != index);
        recent.truncate(RECENT - 1);
        recent.insert(0, index);
    }
}

impl Table {
    fn push(&mut self, user: UserSettings, named_by: NamedBy) {
        let number = self.numbered;
        self.numbered += 1;
        self.place(Arc::new(UserEntry {
            key: CmdKey::new(&user.id),
            id: user.id,
            user: Arc::new(user.into()),
            number,
            named_by,
            pads_zeros: AtomicBool::new(false),
            pads_randomly: AtomicBool::new(false),
        }));
    }

    fn place(&mut self, entry: Arc<UserEntry>) {
        if let Some(email) = &entry.user.email {
            self.emails.insert(email.to_lowercase(), self.users.len());
        }
        self.ids.insert(*entry.id);
        self.users.push(entry);
    }

    fn renew_all(&mut self) {
        let groups = self.users.len().div_ceil(AuthIdMatcher::USERS);
        (0..groups).for_each(|group| self.renew(group));
    }

    /// Takes a user out; the last one comes to the place that they had, which is given back.
    fn remove(&mut self, email: &str) -> Option<usize> {
        let place = self.emails.remove(&email.to_lowercase())?;
        let gone = self.users.swap_remove(place);
        self.ids.remove(&*gone.id);
        if let Some(moved) = self.users.get(place)
            && let Some(email) = &moved.user.email
            && let Entry::Occupied(mut at) = self.emails.entry(email.to_lowercase())
        {
            at.insert(place);
        }
        Some(place)
    }

    /// Makes the readers of one group fit its users.
    fn renew(&mut self, group: usize) {
        let users = self.users.iter().skip(group * AuthIdMatcher::USERS);
        let keys: Vec<CmdKey> = users.take(AuthIdMatcher::USERS).map(|m| m.key).collect();
        if keys.is_empty() {
            self.readers.truncate(group);
        } else if group < self.readers.len() {
            self.readers[group] = AuthIdMatcher::new(&keys);
        } else {
            self.readers.push(AuthIdMatcher::new(&keys));
        }
    }
}

impl UserEntry {
    fn settings(&self) -> UserSettings {
        UserSettings {
            id: self.id,
            email: self.user.email.clone(),
            level: self.user.level,
        }
    }

    /// Whether a client of theirs has padded its headers with zeros, with this request or an earlier one.
    pub(super) fn pads_zeros(&self, request: &Request) -> bool {
        if request.padding == Padding::Zeros {
            self.pads_zeros.store(true, Ordering::Relaxed);
        }
        self.pads_zeros.load(Ordering::Relaxed)
    }

    /// Whether one has padded them with chance.
    pub(super) fn pads_randomly(&self, request: &Request) -> bool {
        if request.padding == Padding::Random {
            self.pads_randomly.store(true, Ordering::Relaxed);
        }
        self.pads_randomly.load(Ordering::Relaxed)
    }
}

/// How log lines name a user: never by id.
impl fmt::Display for UserEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.user.email {
            Some(email) => f.write_str(email),
            None => write!(f, "user {}", self.number),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::vmess::codec::auth_id::Writer;
    use std::time::Instant;

    const NOW: i64 = 1_700_000_000;

    fn users(n: u32) -> Users {
        Users::new((0..n).map(|i| user(i, None)).collect())
    }

    fn user(i: u32, email: Option<&str>) -> UserSettings {
        UserSettings {
            id: Uuid::from_u128(i.into()).into(),
            email: email.map(str::to_owned),
            level: 0,
        }
    }

    fn key(i: u32) -> CmdKey {
        CmdKey::new(&Uuid::from_u128(i.into()))
    }

    #[test]
    fn a_config_names_its_users_anew_and_those_of_the_api_stay() {
        let (all, replays) = (users(20), ReplayMemory::default());
        assert_eq!(all.add(user(50, Some("api@x"))), Ok(()));
        assert_eq!(all.add(user(51, Some("Taken@x"))), Ok(()));
        let mut named: Vec<_> = (10..30).map(|i| user(i, None)).collect();
        named.push(user(60, Some("taken@x")));
        all.set(named.clone());
        let lets_in = |i, salt| {
            let id = Writer::new(&key(i)).seal(NOW, [salt; 4]);
            all.find(&id, NOW, &replays).is_ok()
        };
        for i in 0..61 {
            let is_user = (10..30).contains(&i) || i == 50 || i == 60;
            assert_eq!(lets_in(i, 1), is_user, "{i}");
        }
        assert_eq!(all.count(), 22);
        assert_eq!(all.added(), [user(50, Some("api@x"))]);
        all.set(named);
        assert_eq!(all.remove("api@x"), Ok(()));
        assert!(!lets_in(50, 2) && lets_in(60, 2) && lets_in(29, 2));
    }

    #[test]
    fn unknown_user_wrong_clock_and_replay_are_told_apart() {
        let (users, replays) = (users(3), ReplayMemory::default());
        let found = |users: &Users, id: &[u8; 16]| found(users, &replays, id);
        let id = |time, salt| Writer::new(&key(2)).seal(time, [salt; 4]);
        assert_eq!(found(&users, &id(NOW - 120, 0)), Ok(2));
        assert_eq!(found(&users, &id(NOW + 120, 0)), Ok(2));
        assert_eq!(
            found(&users, &id(NOW - 300, 1)).unwrap_err().to_string(),
            "user 2's clock is 300 s behind ours, at most 120 s is allowed"
        );
        assert_eq!(
            found(&users, &id(NOW + 121, 1)).unwrap_err().to_string(),
            "user 2's clock is 121 s ahead of ours, at most 120 s is allowed"
        );
        assert_eq!(
            (users.find(&id(NOW + 120, 0), NOW + 240, &replays).err()).unwrap(),
            AuthError::Replay {
                who: "user 2".to_owned()
            }
        );
        assert_eq!(found(&users, &[0; 16]), Err(AuthError::UnknownUser));
    }

    #[test]
    fn every_one_of_many_users_is_found() {
        let (users, replays) = (users(1000), ReplayMemory::default());
        let found = |users: &Users, id: &[u8; 16]| found(users, &replays, id);
        for i in (0..1000).rev().step_by(7) {
            let id = Writer::new(&key(i)).seal(NOW, *b"salt");
            assert_eq!(found(&users, &id), Ok(i as usize));
        }
        let id = Writer::new(&key(500)).seal(NOW, *b"new!");
        assert_eq!(found(&users, &id), Ok(500));
    }

    #[test]
    fn users_come_and_go_and_nobody_else_is_lost() {
        let (users, replays) = (users(20), ReplayMemory::default());
        let found = |users: &Users, id: &[u8; 16]| found(users, &replays, id);
        let mut salt = 0u32;
        let mut is_in = |i: u32| {
            salt += 1;
            let id = Writer::new(&key(i)).seal(NOW, salt.to_be_bytes());
            found(&users, &id).map(|number| number as u32) == Ok(i)
        };
        let named = |id: u32, i: u32| user(id, Some(&format!("u{i}@x")));
        for i in 20..40 {
            assert_eq!(users.add(named(i, i)), Ok(()));
        }
        assert!((0..40).all(&mut is_in));
        assert_eq!(
            users.add(named(50, 20)),
            Err(UserError::EmailTaken("u20@x".to_owned()))
        );
        assert_eq!(users.add(named(3, 50)), Err(UserError::KeyTaken));
        let gone = [39, 20, 32, 24, 38, 37, 36, 35, 34];
        for (n, i) in gone.iter().enumerate() {
            assert_eq!(users.remove(&format!("U{i}@X")), Ok(()));
            assert!((0..40).all(|i| is_in(i) != gone[..=n].contains(&i)));
        }
        assert_eq!(users.count(), 40 - gone.len());
        assert_eq!(users.list(None).len(), users.count());
        assert_eq!(users.list(Some("U21@x")), [named(21, 21)]);
        assert_eq!(users.list(Some("u39@x")), []);
        assert_eq!(users.add(named(39, 39)), Ok(()), "nobody has them now");
        assert_eq!(users.remove("u39@x"), Ok(()));
        assert_eq!(users.remove(""), Err(UserError::NoEmail));
        assert_eq!(
            users.remove("u39@x"),
            Err(UserError::NotFound("u39@x".to_owned()))
        );
    }

    #[test]
    fn a_user_who_comes_back_cannot_be_replayed() {
        let (users, replays) = (users(0), ReplayMemory::default());
        let found = |users: &Users, id: &[u8; 16]| found(users, &replays, id);
        let id = Writer::new(&key(0)).seal(NOW, [0; 4]);
        users.add(user(0, Some("a@b"))).unwrap();
        assert_eq!(found(&users, &id), Ok(0));
        users.remove("a@b").unwrap();
        assert_eq!(found(&users, &id), Err(AuthError::UnknownUser));
        users.add(user(0, Some("a@b"))).unwrap();
        assert!(matches!(found(&users, &id), Err(AuthError::Replay { .. })));
    }

    fn found(
        users: &Users,
        replays: &ReplayMemory,
        auth_id: &[u8; 16],
    ) -> Result<usize, AuthError> {
        let found = users.find(auth_id, NOW, replays);
        found.map(|(member, _)| member.number)
    }

    #[test]
    fn a_user_who_comes_again_is_not_searched_among_ten_thousand() {
        let (users, replays) = (users(10_000), ReplayMemory::default());
        let time = |user: u32, salts: std::ops::Range<u32>| {
            let id = |salt: u32| Writer::new(&key(user)).seal(NOW, salt.to_be_bytes());
            let ids: Vec<_> = salts.map(id).collect();
            let began = Instant::now();
            let found = ids
                .iter()
                .filter(|id| users.find(id, NOW, &replays).is_ok());
            let found = found.count();
            (found, began.elapsed())
        };
        let (found, _) = time(9_999, 0..1);
        assert_eq!(found, 1);
        let (found, known) = time(9_999, 1..51);
        assert_eq!(found, 50);
        let (found, stranger) = time(20_000, 0..50);
        assert_eq!(found, 0);
        assert!(known * 20 < stranger, "{known:?}, a stranger {stranger:?}");
    }
}
