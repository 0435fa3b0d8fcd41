//! Counts what has ended, for whoever clears up behind it.

use std::sync::atomic::{AtomicU32, Ordering};

use tokio::sync::Notify;

/// Fewer leave some hundred KiB at most.
const MANY: u32 = 32;

static ALL: Ended = Ended::new();

struct Ended {
    count: AtomicU32,
    enough: Notify,
}

/// A handshake is over, or a session.
pub fn one() {
    ALL.one();
}

/// Ready when many have ended since [`begin_anew`].
pub async fn many() {
    ALL.enough.notified().await;
}

pub fn begin_anew() {
    ALL.begin_anew();
}

impl Ended {
    const fn new() -> Self {
        Self {
            count: AtomicU32::new(0),
            enough: Notify::const_new(),
        }
    }

    fn one(&self) {
        if self.count.fetch_add(1, Ordering::Relaxed) + 1 == MANY {
            self.enough.notify_one();
        }
    }

    fn begin_anew(&self) {
        self.count.store(0, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::time::timeout;

    #[tokio::test(start_paused = true)]
    async fn many_are_told_once_and_again_when_counted_anew() {
        let ended = Ended::new();
        let told = async || {
            let soon = timeout(Duration::from_millis(10), ended.enough.notified());
            soon.await.is_ok()
        };
        (1..MANY).for_each(|_| ended.one());
        assert!(!told().await);
        (0..5 * MANY).for_each(|_| ended.one());
        assert!(told().await);
        assert!(!told().await);
        ended.begin_anew();
        (0..MANY).for_each(|_| ended.one());
        assert!(told().await);
    }
}
