//! Counts what has ended, for whoever clears up behind it.

use std::sync::atomic::{AtomicU32, Ordering};

use tokio::sync::Notify;

/// Fewer leave some hundred KiB at most.
const MANY: u32 = 32;

static COUNT: AtomicU32 = AtomicU32::new(0);
static ENOUGH: Notify = Notify::const_new();

/// A handshake is over, or a session.
pub fn one() {
    if COUNT.fetch_add(1, Ordering::Relaxed) + 1 == MANY {
        ENOUGH.notify_one();
    }
}

/// Ready when many have ended since [`begin_anew`].
pub async fn many() {
    ENOUGH.notified().await;
}

pub fn begin_anew() {
    COUNT.store(0, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::time::timeout;

    #[tokio::test(start_paused = true)]
    async fn many_are_told_once() {
        // Other tests count as well; only more can have ended than are counted here.
        begin_anew();
        (0..MANY).for_each(|_| one());
        many().await;
        begin_anew();
        let soon = timeout(Duration::from_millis(10), many()).await;
        assert!(soon.is_err() || COUNT.load(Ordering::Relaxed) >= MANY);
    }
}
