//! What is kept for all connections together: messages that are under way, and the beginnings of those that are coming.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_tungstenite::tungstenite::Message;

/// So many bytes of whole messages.
const MAX_HELD: usize = 128 << 20;

/// So many bytes of unfinished ones; beyond that only of short ones.
const MAX_COMING: usize = 128 << 20;

/// What is short.
const SHORT: usize = 64 * 1024;

/// What a message costs beside its bytes.
const OVERHEAD: usize = 128;

pub(super) struct Held {
    whole: Arc<Semaphore>,
    coming: AtomicUsize,
}

/// A message, counted as long as somebody has it.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    pub(super) message: Message,
    _held: Arc<OwnedSemaphorePermit>,
}

impl Default for Held {
    fn default() -> Self {
        Self {
            whole: Arc::new(Semaphore::new(MAX_HELD)),
            coming: AtomicUsize::new(0),
        }
    }
}

impl Held {
    /// Counts a message; waits while too many are under way. None stays so for long: whoever takes no messages is dropped.
    pub(super) async fn hold(&self, message: Message) -> Kept {
        let cost = u32::try_from(cost(&message)).unwrap_or(u32::MAX);
        let held = self.whole.clone().acquire_many_owned(cost).await;
        Kept {
            message,
            _held: Arc::new(held.expect("the semaphore is never closed")),
        }
    }
}

/// What a message is counted as.
pub(super) fn cost(message: &Message) -> usize {
    message.len() + OVERHEAD
}

/// What a connection has sent of a message that is not whole.
pub(super) struct Unfinished {
    all: Arc<Held>,
    own: usize,
}

impl Unfinished {
    pub(super) fn new(all: &Arc<Held>) -> Self {
        let all = all.clone();
        Self { all, own: 0 }
    }

    /// Whether so many bytes more may be kept.
    pub(super) fn keep(&mut self, bytes: usize) -> bool {
        self.own += bytes;
        let all = self.all.coming.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.own <= SHORT || all <= MAX_COMING
    }

    /// The message is whole.
    pub(super) fn is_whole(&mut self) {
        let own = std::mem::take(&mut self.own);
        self.all.coming.fetch_sub(own, Ordering::Relaxed);
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        self.is_whole();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unfinished_messages_have_a_bound_together_and_short_ones_always_a_place() {
        let all = Arc::new(Held::default());
        let (mut long, mut short) = (Unfinished::new(&all), Unfinished::new(&all));
        assert!(long.keep(MAX_COMING));
        assert!(short.keep(SHORT));
        assert!(!short.keep(1), "there is no place for a long one");
        long.is_whole();
        assert!(short.keep(1));
        drop(short);
        assert_eq!(all.coming.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn a_message_is_counted_until_the_last_one_has_let_it_go() {
        let held = Held::default();
        let message = || Message::from(vec![0; MAX_HELD - OVERHEAD]);
        let one = held.hold(message()).await;
        let other = one.clone();
        drop(one);
        let mut next = Box::pin(held.hold(Message::from("next")));
        let waits = tokio::time::timeout(std::time::Duration::from_millis(20), &mut next);
        assert!(waits.await.is_err());
        drop(other);
        next.await;
    }
}
