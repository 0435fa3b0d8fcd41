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
        let _ = spawn_blocking(mobula_trim::trim).await;
        debug!(took = ?began.elapsed(), "what was free was given back to the system");
    }
}
