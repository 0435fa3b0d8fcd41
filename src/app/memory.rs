//! Gives memory back when many connections have come and gone.

use std::time::{Duration, Instant};

use tokio::task::spawn_blocking;
use tokio::time::sleep;
use tracing::debug;

use crate::io::ended;

/// A flood is not over with its first connection; and no more than four times a minute is worth the work.
const PAUSE: Duration = Duration::from_secs(15);

/// Trims after connections have ended, for as long as it is polled; it sleeps while there are few.
pub(super) async fn give_back() {
    loop {
        ended::many().await;
        sleep(PAUSE).await;
        ended::begin_anew();
        // Threads that allocate meanwhile may wait for it, but the one that polls must not.
        let began = Instant::now();
        let _ = spawn_blocking(trim).await;
        debug!(took = ?began.elapsed(), "what was free was given back to the system");
    }
}

/// Gives whole pages that hold nothing back to the system, wherever they lie. Takes milliseconds for a heap of some
/// 100 MiB, in which other threads may wait for memory.
#[cfg(target_env = "gnu")]
#[expect(
    unsafe_code,
    reason = "no crate that is well kept has a safe word for it"
)]
fn trim() {
    // SAFETY: glibc's manual calls `malloc_trim` MT-safe; it takes a number and touches no memory that is in use.
    unsafe { nix::libc::malloc_trim(0) };
}

/// musl gives back what is freed as it goes.
#[cfg(not(target_env = "gnu"))]
fn trim() {}
