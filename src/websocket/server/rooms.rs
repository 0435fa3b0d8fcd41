//! Rooms: a message goes to all others in one.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Mutex as Turns, Notify};
use tokio::time::timeout;

use super::held::Kept;
use super::outbox::{Due, Outbox, Put};

/// The one room where all are in the same.
pub(super) const ALL: &str = "";

/// How long a call waits for its turn, and then for its answer.
pub(super) const TURN: Duration = Duration::from_secs(60);
const ANSWER: Duration = Duration::from_secs(10);

/// Calls that wait for their turn in one room.
const MAX_CALLS: usize = 64;

/// How long one who is spoken to without haste may take nothing.
const PATIENCE: Duration = Duration::from_secs(10);

/// All rooms in which somebody is.
#[derive(Default)]
pub(super) struct Rooms {
    all: Arc<Mutex<HashMap<String, Arc<Room>>>>,
}

#[derive(Default)]
pub(super) struct Room {
    here: Mutex<Here>,
    next: AtomicU64,
    /// Somebody came, or went.
    changed: Notify,
    /// A call has the room for itself.
    turn: Turns<()>,
    calls: AtomicUsize,
}

#[derive(Default)]
struct Here {
    members: HashMap<u64, Arc<Outbox>>,
    /// Who has the room in hand: it is forgotten with the last one.
    holders: usize,
    /// Whose call it is.
    caller: Option<Arc<Outbox>>,
}

/// Somebody's place in a room, which is left with it.
pub(super) struct Place {
    rooms: Arc<Mutex<HashMap<String, Arc<Room>>>>,
    name: String,
    pub(super) room: Arc<Room>,
    id: u64,
}

/// Why a call has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoAnswer {
    /// Nobody is there, or all have left.
    Nobody,
    /// Too many others wait for their turn.
    Busy,
    /// Its turn has not come.
    Late,
    /// Nobody has said anything.
    Silent,
}

impl Rooms {
    /// Enters a room, which is made for the first one.
    pub(super) fn enter(&self, name: &str, outbox: &Arc<Outbox>) -> Place {
        let mut all = lock(&self.all);
        let room = all.entry(name.to_owned()).or_default().clone();
        let id = room.next.fetch_add(1, Ordering::Relaxed);
        let mut here = lock(&room.here);
        here.holders += 1;
        here.members.insert(id, outbox.clone());
        drop((here, all));
        room.changed.notify_waiters();
        self.place(name, room, id)
    }

    /// Looks into a room, if there is one.
    pub(super) fn find(&self, name: &str) -> Option<Place> {
        let all = lock(&self.all);
        let room = all.get(name)?.clone();
        lock(&room.here).holders += 1;
        Some(self.place(name, room, NOBODY))
    }

    /// Looks into a room, which is made if there is none.
    pub(super) fn room(&self, name: &str) -> Place {
        let mut all = lock(&self.all);
        let room = all.entry(name.to_owned()).or_default().clone();
        lock(&room.here).holders += 1;
        self.place(name, room, NOBODY)
    }

    fn place(&self, name: &str, room: Arc<Room>, id: u64) -> Place {
        Place {
            rooms: self.all.clone(),
            name: name.to_owned(),
            room,
            id,
        }
    }
}

/// No member's number.
const NOBODY: u64 = u64::MAX;

impl Place {
    /// Says something to all others; whether one of them has much to read.
    pub(super) fn say(&self, message: &Kept) -> bool {
        self.room.say(Some(self.id), message)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut all = lock(&self.rooms);
        let mut here = lock(&self.room.here);
        here.members.remove(&self.id);
        here.holders -= 1;
        if here.holders == 0 {
            all.remove(&self.name);
        }
        drop((here, all));
        self.room.changed.notify_waiters();
    }
}

impl Room {
    fn say(&self, from: Option<u64>, message: &Kept) -> bool {
        let here = lock(&self.here);
        let mut is_far_behind = false;
        for (id, outbox) in &here.members {
            if Some(*id) == from {
                continue;
            }
            is_far_behind |= outbox.put(message) == Put::FarBehind;
        }
        // A caller hears members, and not itself.
        if let (Some(caller), Some(_)) = (&here.caller, from) {
            caller.put(message);
        }
        is_far_behind
    }

    /// Says something to all, no faster than they take it; those who take nothing are dropped.
    pub(super) async fn say_in_time(&self, message: &Kept) {
        self.say(None, message);
        let members: Vec<_> = {
            let here = lock(&self.here);
            here.members.values().cloned().collect()
        };
        for outbox in members {
            if timeout(PATIENCE, outbox.room()).await.is_err() {
                outbox.give_up();
            }
        }
    }

    /// Ready when somebody is there.
    pub(super) async fn somebody(&self) {
        self.until(|members| members > 0).await;
    }

    async fn until(&self, enough: impl Fn(usize) -> bool) {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            if enough(lock(&self.here).members.len()) {
                return;
            }
            changed.await;
        }
    }

    /// A place among the calls, before there is anything to say.
    pub(super) fn line_up(&self) -> Result<Waiting<'_>, NoAnswer> {
        Waiting::new(&self.calls).ok_or(NoAnswer::Busy)
    }

    /// Says something to all, and waits for the first message that comes back. Calls have their turns.
    pub(super) async fn call(
        &self,
        _waiting: Waiting<'_>,
        message: &Kept,
    ) -> Result<Kept, NoAnswer> {
        let turn = timeout(TURN, self.turn.lock()).await;
        let _turn = turn.map_err(|_| NoAnswer::Late)?;
        let outbox = Arc::new(Outbox::default());
        {
            let mut here = lock(&self.here);
            if here.members.is_empty() {
                return Err(NoAnswer::Nobody);
            }
            here.caller = Some(outbox.clone());
        }
        let _calling = Calling(self);
        self.say(None, message);
        tokio::select! {
            biased;
            answer = first(&outbox) => Ok(answer),
            () = self.until(|members| members == 0) => Err(NoAnswer::Nobody),
            () = tokio::time::sleep(ANSWER) => Err(NoAnswer::Silent),
        }
    }
}

/// The first message that a caller hears.
async fn first(outbox: &Outbox) -> Kept {
    loop {
        if let Due::Message(kept) = outbox.next().await {
            return kept;
        }
    }
}

/// The call ends with it, however it does.
struct Calling<'a>(&'a Room);

impl Drop for Calling<'_> {
    fn drop(&mut self) {
        lock(&self.0.here).caller = None;
    }
}

/// A call that has its place among those that wait.
pub(super) struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(calls: &'a AtomicUsize) -> Option<Self> {
        let before = calls.fetch_add(1, Ordering::Relaxed);
        let waiting = Self(calls);
        (before < MAX_CALLS).then_some(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::websocket::server::held::Held;
    use tokio_tungstenite::tungstenite::Message;

    async fn kept(text: &str) -> Kept {
        Held::default().hold(Message::from(text)).await
    }

    async fn call(room: &Room, message: &Kept) -> Result<Kept, NoAnswer> {
        room.call(room.line_up()?, message).await
    }

    fn enter(rooms: &Rooms, name: &str) -> (Place, Arc<Outbox>) {
        let outbox = Arc::new(Outbox::default());
        (rooms.enter(name, &outbox), outbox)
    }

    #[tokio::test]
    async fn a_message_goes_to_all_others_of_its_room_and_to_nobody_else() {
        let rooms = Rooms::default();
        let ((a, a_out), (_b, b_out), (c, c_out)) = (
            enter(&rooms, "/x"),
            enter(&rooms, "/x"),
            enter(&rooms, "/y"),
        );
        a.say(&kept("one").await);
        c.say(&kept("nobody").await);
        assert_eq!(first(&b_out).await.message, Message::from("one"));
        for outbox in [a_out, c_out] {
            let none = timeout(Duration::from_millis(10), outbox.next()).await;
            assert!(none.is_err());
        }
        drop((a, c));
        assert!(rooms.find("/x").is_some() && rooms.find("/y").is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_has_the_first_answer_and_its_turn() {
        let rooms = Rooms::default();
        let (member, outbox) = enter(&rooms, "/x");
        let place = rooms.find("/x").unwrap();
        let room = &place.room;
        let (one, two) = (kept("1").await, kept("2").await);
        let answering = async {
            for _ in 0..2 {
                let heard = first(&outbox).await;
                outbox.sent();
                tokio::time::sleep(Duration::from_secs(1)).await;
                member.say(&kept(&format!("to {}", heard.message)).await);
                member.say(&kept("late").await);
            }
        };
        let (a, b, ()) = tokio::join!(call(room, &one), call(room, &two), answering);
        assert_eq!(a.unwrap().message, Message::from("to 1"));
        assert_eq!(b.unwrap().message, Message::from("to 2"));
        assert_eq!(call(room, &one).await.unwrap_err(), NoAnswer::Silent);
        // Each of those that call at once has its time to wait.
        let (a, b, c) = tokio::join!(call(room, &one), call(room, &two), call(room, &one));
        for answer in [a, b, c] {
            assert_eq!(answer.unwrap_err(), NoAnswer::Silent);
        }
        let line: Vec<_> = (0..MAX_CALLS).map(|_| room.line_up().unwrap()).collect();
        assert_eq!(call(room, &one).await.unwrap_err(), NoAnswer::Busy);
        drop(line);
        let leaving = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            drop(member);
        };
        let (left, ()) = tokio::join!(call(room, &one), leaving);
        assert_eq!(left.unwrap_err(), NoAnswer::Nobody);
        assert_eq!(call(room, &one).await.unwrap_err(), NoAnswer::Nobody);
    }
}
