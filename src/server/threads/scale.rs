//! How many threads a load takes.

use std::time::Duration;

/// Threads get help when each has more of a CPU than this.
const FULL: f64 = 0.9;

/// They get help, too, when timers are so late on average: then many tasks wait for their turn.
const LATE: Duration = Duration::from_millis(4);

/// But not with less of a CPU than this, each: then it is others that have it.
const SOME: f64 = 0.2;

/// A timer that is so late has waited for one task, whatever that one waits for.
const STUCK: Duration = Duration::from_millis(90);

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
    /// Periods in a row in which fewer would have been enough.
    calm: u32,
    /// How many of them it takes.
    patience: u32,
    /// Periods since threads were held back, unless they have been let go since.
    held_back: Option<u32>,
}

impl Scale {
    pub(super) fn new(all: usize) -> Self {
        Self {
            all,
            working: 1,
            late: Duration::ZERO,
            calm: 0,
            patience: CALM,
            held_back: None,
        }
    }

    /// A period had this load, in CPUs, and in it a timer was so late.
    pub(super) fn follow(&mut self, load: f64, late: Duration) {
        let of_each = |share: f64| share * self.working as f64;
        self.late = (self.late * 3 + late) / 4;
        self.held_back = self.held_back.map(|periods| periods.saturating_add(1));
        let fewer = (1..self.working).find(|n| load <= ENOUGH * *n as f64);
        self.calm = if fewer.is_some() { self.calm + 1 } else { 0 };
        let too_few =
            load > of_each(FULL) || (load > of_each(SOME) && self.late >= LATE) || late >= STUCK;
        if too_few && self.working < self.all {
            if let Some(periods) = self.held_back.take() {
                self.patience = match periods < 2 * self.patience {
                    true => CALM_MOST.min(self.patience * 2),
                    false => CALM,
                };
            }
            self.change_to(self.all.min(self.working * 2));
        } else if let Some(fewer) = fewer.filter(|_| self.calm >= self.patience) {
            self.held_back = Some(0);
            self.change_to(fewer);
        }
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

    const PROMPT: Duration = Duration::from_micros(1200);
    const TARDY: Duration = Duration::from_millis(9);

    fn after(scale: &mut Scale, periods: u32, load: f64, late: Duration) -> usize {
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
        assert_eq!(after(&mut scale, CALM, 0.0, PROMPT), 1);
    }

    #[test]
    fn many_who_wait_for_each_other_are_helped_before() {
        let mut scale = Scale::new(2);
        assert_eq!(after(&mut scale, 1, 0.6, TARDY), 1, "once may be chance");
        assert_eq!(after(&mut scale, 2, 0.6, TARDY), 2);
        let mut scale = Scale::new(2);
        assert_eq!(after(&mut scale, 100, 0.1, TARDY), 1, "others have the CPU");
        assert_eq!(after(&mut scale, 1, 0.0, STUCK), 2, "somebody waits");
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
        assert_eq!(after(&mut scale, 1000, 0.2, PROMPT), 1);
        assert_eq!(after(&mut scale, 1, 0.95, PROMPT), 2);
        assert_eq!(
            after(&mut scale, CALM, 0.5, PROMPT),
            1,
            "it has been long ago"
        );
    }

    #[test]
    fn a_steady_load_seldom_changes_anything() {
        for all in [2, 4, 8, 16] {
            for load in [0.5, 0.95, 1.05, 1.95, 2.15, 3.0, 3.9, 5.0] {
                let mut scale = Scale::new(all);
                let mut changes = 0;
                for _ in 0..6000 {
                    let before = scale.working;
                    scale.follow(load, PROMPT);
                    changes += u32::from(scale.working != before);
                }
                assert!(changes <= 40, "{changes} of {all} with {load}");
            }
        }
    }
}
