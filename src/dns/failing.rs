//! Tells a resolver that fails from a name that does.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::log::Rarely;

/// So many failures in a row, and not one answer between them, are no accident of names.
const IN_A_ROW: u64 = 8;

/// What became of the last questions to one resolver.
#[derive(Debug, Default)]
pub(super) struct Failing {
    in_a_row: AtomicU64,
    complaints: Rarely,
}

impl Failing {
    pub(super) fn answered(&self) {
        self.in_a_row.store(0, Ordering::Relaxed);
    }

    /// A question failed. How many did so in a row, when that is worth a line in the log.
    pub(super) fn failed(&self) -> Option<u64> {
        let times = self.in_a_row.fetch_add(1, Ordering::Relaxed) + 1;
        let is_due = times >= IN_A_ROW && self.complaints.times().is_some();
        is_due.then_some(times)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_answer_between_failures_says_that_the_names_are_at_fault() {
        let failing = Failing::default();
        for _ in 0..3 {
            for _ in 1..IN_A_ROW {
                assert_eq!(failing.failed(), None);
            }
            failing.answered();
        }
        for _ in 1..IN_A_ROW {
            assert_eq!(failing.failed(), None);
        }
        assert_eq!(failing.failed(), Some(IN_A_ROW));
        assert_eq!(failing.failed(), None, "it was said a moment ago");
    }
}
