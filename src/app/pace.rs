//! Keeps the runtime's clock ticking while connections come in.
//!
//! tokio wakes the thread that waits for sockets each time a timer is set that rings before all others: an
//! `eventfd` write, a return from `epoll_wait` and often a handing over between threads. A new connection
//! sets several (a limit for its handshake, for the dialling, for its first payload), each of them earlier than
//! the idle limits of the tunnels that run. A timer that is earlier still makes them free.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::sleep;

/// Earlier than any limit that a new connection sets.
const TICK: Duration = Duration::from_millis(50);

/// Ticks without a new connection after which the clock stops.
const QUIET: u32 = 20;

static TICKING: AtomicBool = AtomicBool::new(false);
static NEW: AtomicBool = AtomicBool::new(false);

/// A connection has come.
pub(super) fn keep() {
    NEW.store(true, Ordering::Relaxed);
    if !TICKING.swap(true, Ordering::Relaxed) {
        tokio::spawn(tick());
    }
}

async fn tick() {
    let mut quiet = 0;
    while quiet < QUIET {
        sleep(TICK).await;
        quiet = if NEW.swap(false, Ordering::Relaxed) {
            0
        } else {
            quiet + 1
        };
    }
    TICKING.store(false, Ordering::Relaxed);
}
