//! Tells a resolver that fails from names that cannot be resolved.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// This many failures in a row without one answer are not due to the names.
const IN_A_ROW: u64 = 8;

/// A resolver that answered within this time is alive, however many names it fails to resolve.
const LATELY: Duration = Duration::from_secs(20);

/// The outcome of the last questions to one resolver.
#[derive(Debug, Default)]
pub(super) struct Failing {
    past: Mutex<Past>,
}

#[derive(Debug, Default)]
struct Past {
    in_a_row: u64,
    answered: Option<Instant>,
}

impl Failing {
    pub(super) fn answered(&self) {
        *self.lock() = Past {
            in_a_row: 0,
            answered: Some(Instant::now()),
        };
    }

    /// Notes a failure; `true` when so many have failed in a row that the log should say so.
    pub(super) fn failed(&self) -> bool {
        let mut past = self.lock();
        past.in_a_row += 1;
        let is_there = past.answered.is_some_and(|at| at.elapsed() < LATELY);
        !is_there && past.in_a_row >= IN_A_ROW
    }

    fn lock(&self) -> MutexGuard<'_, Past> {
        self.past.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::advance;

    #[tokio::test(start_paused = true)]
    async fn an_answer_between_failures_says_that_the_names_are_at_fault() {
        let failing = Failing::default();
        for _ in 1..IN_A_ROW {
            assert!(!failing.failed());
        }
        failing.answered();
        for _ in 0..2 * IN_A_ROW {
            assert!(!failing.failed());
        }
        advance(LATELY).await;
        assert!(failing.failed());
    }
}
