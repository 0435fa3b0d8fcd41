//! What a member has yet to be sent.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::Notify;

use super::held::{Kept, cost};

/// So far behind a member may be, unless it is one message alone.
pub(super) const MAX_BEHIND: usize = 16 << 20;

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
    pong: Option<Bytes>,
    ping: bool,
    close: Option<(u16, String)>,
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
        if !state.queue.is_empty() && state.behind + cost > MAX_BEHIND {
            return self.end(state);
        }
        state.behind += cost;
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

    /// It is closed behind what is being sent; the first to say so has said it.
    pub(super) fn close(&self, code: u16, reason: &str) {
        let mut state = self.lock();
        state.close.get_or_insert_with(|| (code, reason.to_owned()));
        let forgotten = std::mem::take(&mut state.queue);
        state.behind = 0;
        drop((state, forgotten));
        self.filled.notify_one();
        self.drained.notify_waiters();
    }

    /// Nothing more is sent; what waits is forgotten.
    pub(super) fn give_up(&self) -> Put {
        self.end(self.lock())
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
        if let Some((code, reason)) = state.close.clone() {
            return Some(Due::Close(code, reason));
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

    #[tokio::test]
    async fn a_member_may_be_so_far_behind_or_one_long_message() {
        let (held, outbox) = (Held::default(), Outbox::default());
        let long = held.hold(Message::from(vec![1; MAX_BEHIND])).await;
        let short = held.hold(Message::from("short")).await;
        assert_eq!(outbox.put(&long), Put::FarBehind);
        assert_eq!(next(&outbox).await, "message of 16777216");
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
    }
}
