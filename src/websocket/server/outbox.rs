//! What a member has yet to be sent.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::held::{Kept, cost};

/// So far behind a member may be as long as it takes something, unless it is one message alone.
const MAX_BEHIND: usize = 32 << 20;

/// So far behind it may be that takes nothing, for so long.
const MAX_STUCK: usize = 4 << 20;
const STUCK: Duration = Duration::from_secs(1);

/// From here on whoever can wait does.
const FAR_BEHIND: usize = 1 << 20;

/// Messages in their order, and what goes before them.
#[derive(Default)]
pub(super) struct Outbox {
    state: Mutex<State>,
    /// There is something to send.
    filled: Notify,
    /// There is room.
    drained: Notify,
    /// Nothing more is sent.
    overrun: Notify,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Kept>,
    behind: usize,
    is_overrun: bool,
    /// When something was taken of what is in the queue.
    progress: Option<Instant>,
    pong: Option<Bytes>,
    ping: bool,
    close: Option<(u16, String)>,
}

impl State {
    /// How long nothing has been taken of what is there.
    fn stuck(&self) -> Duration {
        let since = self.progress.filter(|_| !self.queue.is_empty());
        since.map_or(Duration::ZERO, |since| since.elapsed())
    }
}

/// What is to be sent.
#[derive(Clone, Debug)]
pub(super) enum Due {
    /// The last thing.
    Close(u16, String),
    Pong(Bytes),
    Ping,
    Message(Kept),
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Put {
    /// It waits, and so should who can.
    FarBehind,
    /// It will be sent.
    Taken,
    /// There was no room: from now on nothing is sent here.
    Overrun,
    /// As before.
    Gone,
}

impl Outbox {
    /// One message more.
    pub(super) fn put(&self, message: &Kept) -> Put {
        let mut state = self.lock();
        if state.is_overrun || state.close.is_some() {
            return Put::Gone;
        }
        let cost = cost(&message.message);
        let behind = state.behind + cost;
        let most = match state.stuck() {
            stuck if stuck > STUCK => MAX_STUCK,
            _ => MAX_BEHIND,
        };
        if state.queue.is_empty() {
            state.progress = Some(Instant::now());
        } else if behind > most {
            return self.end(state);
        }
        state.behind = behind;
        let is_far = state.behind > FAR_BEHIND;
        state.queue.push_back(message.clone());
        drop(state);
        self.filled.notify_one();
        if is_far { Put::FarBehind } else { Put::Taken }
    }

    /// The answer to a ping; that of the last one stands for all before (RFC 6455, section 5.5.3).
    pub(super) fn pong(&self, payload: Bytes) {
        self.lock().pong = Some(payload);
        self.filled.notify_one();
    }

    /// A sign of life is wanted.
    pub(super) fn ping(&self) {
        self.lock().ping = true;
        self.filled.notify_one();
    }

    /// The answer to the peer's Close: it is closed behind all that waits, and nothing more is taken.
    pub(super) fn answer_close(&self, code: u16) {
        let mut state = self.lock();
        state.close.get_or_insert_with(|| (code, String::new()));
        drop(state);
        self.filled.notify_one();
    }

    /// It is closed behind what is being sent, and what waits is forgotten; the first to say so has said it.
    pub(super) fn close(&self, code: u16, reason: &str) {
        let mut state = self.lock();
        state.close.get_or_insert_with(|| (code, reason.to_owned()));
        let forgotten = std::mem::take(&mut state.queue);
        state.behind = 0;
        drop((state, forgotten));
        self.filled.notify_one();
        self.drained.notify_waiters();
    }

    /// Something of the message at the front has been taken.
    pub(super) fn taken(&self) {
        self.lock().progress = Some(Instant::now());
    }

    /// Whether a member takes too little: nothing for so long, or nothing for a while when there is much.
    pub(super) fn is_slow(&self, limit: Duration) -> bool {
        let state = self.lock();
        let stuck = state.stuck();
        stuck > limit || (stuck > STUCK && state.behind > MAX_STUCK)
    }

    /// Nothing more is sent; what waits is forgotten.
    pub(super) fn give_up(&self) {
        self.end(self.lock());
    }

    fn end(&self, mut state: MutexGuard<'_, State>) -> Put {
        let was = std::mem::replace(&mut state.is_overrun, true);
        let forgotten = std::mem::take(&mut state.queue);
        state.behind = 0;
        drop((state, forgotten));
        self.overrun.notify_one();
        self.drained.notify_waiters();
        if was { Put::Gone } else { Put::Overrun }
    }

    /// What is next. A message stays at the front until it is [`sent`](Self::sent).
    pub(super) async fn next(&self) -> Due {
        loop {
            if let Some(due) = self.due() {
                return due;
            }
            self.filled.notified().await;
        }
    }

    fn due(&self) -> Option<Due> {
        let mut state = self.lock();
        if let Some((code, reason)) = &state.close
            && state.queue.is_empty()
        {
            return Some(Due::Close(*code, reason.clone()));
        }
        if let Some(payload) = state.pong.take() {
            return Some(Due::Pong(payload));
        }
        if std::mem::take(&mut state.ping) {
            return Some(Due::Ping);
        }
        state.queue.front().cloned().map(Due::Message)
    }

    /// The message at the front has been sent.
    pub(super) fn sent(&self) {
        let mut state = self.lock();
        if let Some(kept) = state.queue.pop_front() {
            state.behind -= cost(&kept.message);
            state.progress = Some(Instant::now());
        }
        drop(state);
        self.drained.notify_waiters();
    }

    /// Ready when there is room for more, or nothing will be sent any more.
    pub(super) async fn room(&self) {
        loop {
            let mut drained = pin!(self.drained.notified());
            drained.as_mut().enable();
            if self.lock().behind <= FAR_BEHIND {
                return;
            }
            drained.await;
        }
    }

    /// Ready when nothing more is sent here.
    pub(super) async fn overrun(&self) {
        self.overrun.notified().await;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::websocket::server::held::Held;
    use tokio_tungstenite::tungstenite::Message;

    async fn next(outbox: &Outbox) -> String {
        match outbox.next().await {
            Due::Message(kept) => format!("message of {}", kept.message.len()),
            other => format!("{other:?}"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_member_may_be_so_far_behind_or_one_long_message() {
        let (held, outbox) = (Held::default(), Outbox::default());
        let long = held.hold(Message::from(vec![1; MAX_BEHIND])).await;
        let short = held.hold(Message::from("short")).await;
        assert_eq!(outbox.put(&long), Put::FarBehind);
        assert_eq!(next(&outbox).await, "message of 33554432");
        assert_eq!(
            outbox.put(&short),
            Put::Overrun,
            "the first one is still under way"
        );
        assert_eq!(outbox.put(&short), Put::Gone);
        outbox.overrun().await;
        outbox.room().await;

        let outbox = Outbox::default();
        assert_eq!(outbox.put(&long), Put::FarBehind);
        outbox.sent();
        assert_eq!(outbox.put(&short), Put::Taken);
        outbox.room().await;
        assert_eq!(next(&outbox).await, "message of 5");
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_takes_nothing_is_slow_before_one_that_takes_little() {
        let (held, outbox) = (Held::default(), Outbox::default());
        let limit = Duration::from_secs(10);
        let much = held.hold(Message::from(vec![1; MAX_STUCK])).await;
        for _ in 0..3 {
            assert_eq!(outbox.put(&much), Put::FarBehind);
            tokio::time::sleep(STUCK).await;
            outbox.taken();
        }
        assert!(!outbox.is_slow(limit));
        tokio::time::sleep(2 * STUCK).await;
        assert!(outbox.is_slow(limit));
        assert_eq!(outbox.put(&much), Put::Overrun);

        let outbox = Outbox::default();
        tokio::time::sleep(2 * limit).await;
        let short = held.hold(Message::from("short")).await;
        outbox.put(&short);
        tokio::time::sleep(limit).await;
        assert!(!outbox.is_slow(limit));
        tokio::time::sleep(STUCK).await;
        assert!(outbox.is_slow(limit));
        outbox.sent();
        assert!(!outbox.is_slow(limit));
    }

    #[tokio::test]
    async fn control_frames_go_before_messages_and_a_close_is_the_last() {
        let (held, outbox) = (Held::default(), Outbox::default());
        let short = held.hold(Message::from("short")).await;
        outbox.put(&short);
        outbox.ping();
        outbox.pong(Bytes::from_static(b"1"));
        outbox.pong(Bytes::from_static(b"2"));
        assert_eq!(next(&outbox).await, "Pong(b\"2\")");
        assert_eq!(next(&outbox).await, "Ping");
        assert_eq!(next(&outbox).await, "message of 5");
        outbox.close(1001, "");
        outbox.close(1000, "too late");
        assert_eq!(next(&outbox).await, "Close(1001, \"\")");
        assert_eq!(outbox.put(&short), Put::Gone);

        let outbox = Outbox::default();
        outbox.put(&short);
        outbox.answer_close(1000);
        assert_eq!(outbox.put(&short), Put::Gone);
        assert_eq!(next(&outbox).await, "message of 5");
        outbox.sent();
        assert_eq!(next(&outbox).await, "Close(1000, \"\")");
    }
}
