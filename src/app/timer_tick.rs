//! Keeps timers cheap while connections come.
//!
//! Every limit of a new connection is a timer. One that is due before all others makes the thread that waits
//! for the sockets look at them anew: a write to an eventfd and a wake-up, three times in the life of a short
//! connection. So while connections come there is one timer that is due sooner than any of theirs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use tokio::time::sleep;

/// Shorter than the limits of a connection.
const TICK: Duration = Duration::from_millis(50);

#[derive(Default)]
pub(super) struct TimerTick(Arc<AtomicU8>);

const RESTS: u8 = 0;
const TICKS: u8 = 1;
/// Ticks, and a connection has come since the last tick.
const BUSY: u8 = 2;

impl TimerTick {
    /// A connection has come.
    pub(super) fn keep(&self) {
        if self.0.swap(BUSY, Ordering::Relaxed) == RESTS {
            crate::io::spawn(tick(self.0.clone()));
        }
    }
}

/// Ticks until no connection has come between two ticks.
async fn tick(state: Arc<AtomicU8>) {
    loop {
        sleep(TICK).await;
        let quiet = state.compare_exchange(TICKS, RESTS, Ordering::Relaxed, Ordering::Relaxed);
        if quiet.is_ok() {
            return;
        }
        state.store(TICKS, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn ticks_while_connections_come_and_rests_then() {
        let timer_tick = TimerTick::default();
        let state = || timer_tick.0.load(Ordering::Relaxed);
        for _ in 0..3 {
            timer_tick.keep();
            assert_eq!(state(), BUSY);
            sleep(TICK * 5 / 4).await;
            assert_eq!(state(), TICKS);
        }
        sleep(TICK * 2).await;
        assert_eq!(state(), RESTS);
        timer_tick.keep();
        sleep(TICK * 5 / 4).await;
        assert_eq!(state(), TICKS);
    }
}
