//! How many threads a load takes.

use std::time::Duration;

/// Threads get help when each has more of a CPU than this.
const FULL: f64 = 0.9;

/// With more of a CPU than this, each, they are asked for the time. Of a virtual CPU, or of one that others use as well,
/// there may never be all.
const MUCH: f64 = 0.5;

/// They get help, too, when a timer is noticed so late on average: then many tasks wait for their turn.
const LATE: Duration = Duration::from_millis(3);

/// Threads are held back again when the others would have had no more of a CPU than this, each: what all of them wake
/// each other for is part of it.
const ENOUGH: f64 = 1.1;

/// After so many periods of that, and twice as many each time that it was a mistake.
const CALM: u32 = 10;

const CALM_MOST: u32 = 600;

/// How many threads work.
pub(super) struct Scale {
    pub(super) all: usize,
    pub(super) working: usize,
    /// How late timers are, on average.
    late: Duration,
    /// Periods in a row in which fewer would have been enough; where there are no fewer, since that is so.
    calm: u32,
    /// How many of them it takes.
    patience: u32,
}

impl Scale {
    pub(super) fn new(all: usize) -> Self {
        Self {
            all,
            working: 1,
            late: Duration::ZERO,
            calm: CALM_MOST,
            patience: CALM,
        }
    }

    /// A period had this load, in CPUs, and in it a timer was so late.
    pub(super) fn follow(&mut self, load: f64, late: Option<Duration>) {
        self.late = (self.late * 3 + late.unwrap_or_default()) / 4;
        let fewer = (1..self.working).find(|n| load <= ENOUGH * *n as f64);
        self.calm = match (self.working, fewer) {
            (1, _) | (_, Some(_)) => self.calm.saturating_add(1),
            _ => 0,
        };
        let too_few =
            load > FULL * self.working as f64 || (self.is_much(load) && self.late >= LATE);
        if too_few && self.working < self.all {
            let soon = self.working == 1 && self.calm < self.patience;
            self.patience = match soon {
                true => CALM_MOST.min(self.patience * 2),
                false => CALM,
            };
            self.change_to(self.all.min(self.working * 2));
        } else if let Some(fewer) = fewer.filter(|_| self.calm >= self.patience) {
            self.change_to(fewer);
        }
    }

    /// Whether it matters how late timers are.
    pub(super) fn is_much(&self, load: f64) -> bool {
        load > MUCH * self.working as f64
    }

    fn change_to(&mut self, working: usize) {
        self.working = working;
        self.calm = 0;
        self.late = Duration::ZERO;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROMPT: Option<Duration> = Some(Duration::from_micros(1200));
    const TARDY: Option<Duration> = Some(Duration::from_millis(9));

    fn after(scale: &mut Scale, periods: u32, load: f64, late: Option<Duration>) -> usize {
        for _ in 0..periods {
            scale.follow(load, late);
        }
        scale.working
    }

    #[test]
    fn who_has_all_of_a_cpu_gets_help_until_it_is_not_needed() {
        let mut scale = Scale::new(8);
        assert_eq!(after(&mut scale, 100, 0.85, PROMPT), 1);
        assert_eq!(after(&mut scale, 1, 0.95, PROMPT), 2);
        assert_eq!(after(&mut scale, 1, 1.9, PROMPT), 4);
        assert_eq!(after(&mut scale, 1, 3.9, PROMPT), 8);
        assert_eq!(after(&mut scale, 100, 8.0, PROMPT), 8);
        assert_eq!(after(&mut scale, CALM - 1, 2.0, PROMPT), 8);
        assert_eq!(after(&mut scale, 1, 2.0, PROMPT), 2);
        assert_eq!(after(&mut scale, CALM, 0.0, None), 1);
    }

    #[test]
    fn many_who_wait_for_each_other_are_helped_before() {
        let mut scale = Scale::new(2);
        assert_eq!(after(&mut scale, 1, 0.6, TARDY), 1, "once may be chance");
        assert_eq!(after(&mut scale, 1, 0.6, TARDY), 2);
        let mut scale = Scale::new(2);
        assert_eq!(after(&mut scale, 100, 0.4, TARDY), 1, "others have the CPU");
    }

    #[test]
    fn what_was_a_mistake_is_not_soon_done_again() {
        let mut scale = Scale::new(2);
        let mut returns = Vec::new();
        for _ in 0..4 {
            assert_eq!(after(&mut scale, 1, 0.95, PROMPT), 2);
            let mut periods = 0;
            while scale.working == 2 {
                scale.follow(1.05, PROMPT);
                periods += 1;
            }
            returns.push(periods);
        }
        assert_eq!(returns, [CALM, 2 * CALM, 4 * CALM, 8 * CALM]);
        assert_eq!(after(&mut scale, 1000, 0.2, None), 1);
        assert_eq!(after(&mut scale, 1, 0.95, None), 2);
        assert_eq!(
            after(&mut scale, CALM, 0.5, None),
            1,
            "it has been long ago"
        );
    }
}
