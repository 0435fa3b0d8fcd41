//! A line about what may happen thousands of times a second: said at once, then now and then with a count.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// How long after one line the next one may follow.
const PAUSE: Duration = Duration::from_secs(60);

/// One kind of line.
#[derive(Debug, Default)]
pub struct Rarely(Mutex<Past>);

#[derive(Debug, Default)]
struct Past {
    said: Option<Instant>,
    /// How often there was cause since then.
    times: u64,
}

impl Rarely {
    /// There is cause for the line. When it is time to say it, how often there was cause since the last
    /// one, this time included.
    pub fn times(&self) -> Option<u64> {
        let mut past = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        past.times += 1;
        if past.said.is_some_and(|said| said.elapsed() < PAUSE) {
            return None;
        }
        past.said = Some(Instant::now());
        Some(std::mem::take(&mut past.times))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_first_time_is_said_at_once_and_the_others_with_the_next_line() {
        let rarely = Rarely::default();
        assert_eq!(rarely.times(), Some(1));
        assert_eq!((rarely.times(), rarely.times()), (None, None));
        tokio::time::advance(PAUSE).await;
        assert_eq!(rarely.times(), Some(3));
        assert_eq!(rarely.times(), None);
    }
}
