//! A number that is drawn anew each time: `"100-200"`.

use std::time::Duration;

use crate::io::random;

/// The longest of pauses in milliseconds: no client waits longer for a connection.
pub const LONGEST_PAUSE_MS: u32 = 60_000;

/// Both ends belong to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Between {
    /// The smallest.
    pub from: u32,
    /// The largest, never less than `from`.
    pub to: u32,
}

impl Between {
    /// One of its numbers.
    pub fn draw(self) -> u32 {
        let many = u64::from(self.to.saturating_sub(self.from)) + 1;
        let mut bytes = [0; 8];
        random::fill(&mut bytes);
        let above = u64::from_le_bytes(bytes) % many;
        self.from.saturating_add(above.try_into().unwrap_or(0))
    }

    /// One of its numbers, in milliseconds; `None` for no wait at all.
    pub fn pause(self) -> Option<Duration> {
        let millis = self.draw();
        (millis > 0).then(|| Duration::from_millis(millis.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_number_of_it_is_drawn_and_no_other() {
        let draw = |from, to| -> HashSet<u32> {
            let numbers = Between { from, to };
            (0..1000).map(|_| numbers.draw()).collect()
        };
        assert_eq!(draw(3, 5), HashSet::from([3, 4, 5]));
        assert_eq!(draw(7, 7), HashSet::from([7]));
        assert!(draw(0, u32::MAX).len() > 900);
        assert_eq!(Between::default().pause(), None);
    }
}
