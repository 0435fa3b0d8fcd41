//! What bounds the lines that a stranger, or a mistake that every session meets, could write without end.
//!
//! The first line of a kind is said at once. What follows within [`WINDOW`] is counted, and the count is said with the
//! last of these lines: `… (1234 more in 5 s)`. A kind belongs to a group, such as the address that it comes from; a group
//! has a few kinds of its own, so that one that thinks of ever new ones does not fill the table. Where the table is full or
//! the budget spent, lines are counted together, whatever they are: no line is said, and none is lost from the counts.

use std::collections::HashMap;
use std::fmt;
use std::time::{Duration, Instant};

/// How long further lines of a kind are only counted; a count is said at the latest after this.
pub(super) const WINDOW: Duration = Duration::from_secs(5);

/// Kinds of one group; further ones are counted together.
const KINDS: usize = 8;

/// The most of a kind's name that is looked at.
const KIND_LEN: usize = 160;

pub(super) struct RateLimit<L> {
    groups: HashMap<String, Vec<Kind<L>>>,
    max_groups: usize,
    budget: Option<Budget>,
    /// What lines that are counted together are of.
    of: &'static str,
    /// What found no place.
    rest: Option<Untold<L>>,
    /// When the oldest of all began.
    oldest: Option<Instant>,
}

/// Lines that may be said: a number at once, and some more for each second.
pub(super) struct Budget {
    most: f64,
    per_second: f64,
    left: f64,
    counted: Option<Instant>,
}

/// A line that stands for others, too.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Told<L> {
    /// The last of them.
    pub(super) last: L,
    pub(super) count: Count,
}

/// How many lines one stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Count {
    pub(super) more: u64,
    /// In which they came.
    pub(super) seconds: u64,
    /// What they are of, where they are not alike.
    pub(super) of: Option<&'static str>,
}

struct Kind<L> {
    /// None of what a group has too many kinds of.
    name: Option<String>,
    untold: Untold<L>,
}

struct Untold<L> {
    since: Instant,
    count: u64,
    /// There is one when there is a count.
    last: Option<L>,
}

impl<L: Clone> RateLimit<L> {
    /// `of` is said of lines that are counted together.
    pub(super) fn new(max_groups: usize, budget: Option<Budget>, of: &'static str) -> Self {
        Self {
            groups: HashMap::new(),
            max_groups,
            budget,
            of,
            rest: None,
            oldest: None,
        }
    }

    /// Whether `line` may be said; it is counted if not.
    pub(super) fn allows(&mut self, group: &str, kind: &str, line: &L, now: Instant) -> bool {
        self.oldest.get_or_insert(now);
        let name = shape(kind);
        let has_room = self.groups.len() < self.max_groups;
        let kinds = match self.groups.get_mut(group) {
            Some(kinds) => kinds,
            None if has_room && Budget::take(&mut self.budget, now) => {
                let kind = Kind::new(Some(name), now);
                self.groups.insert(group.to_owned(), vec![kind]);
                return true;
            }
            None => {
                count(&mut self.rest, 1, line, now);
                return false;
            }
        };
        let full = kinds.len() >= KINDS;
        let mut known = kinds.iter_mut();
        match known.find(|known| known.name.as_ref() == Some(&name)) {
            Some(known) => known.untold.add(1, line),
            None if full => match kinds.iter_mut().find(|known| known.name.is_none()) {
                Some(others) => others.untold.add(1, line),
                None => {
                    let mut others = Kind::new(None, now);
                    others.untold.add(1, line);
                    kinds.push(others);
                }
            },
            None if Budget::take(&mut self.budget, now) => {
                kinds.push(Kind::new(Some(name), now));
                return true;
            }
            None => count(&mut self.rest, 1, line, now),
        }
        false
    }

    /// The counts whose time has come, or all of them: a line for each.
    pub(super) fn due(&mut self, now: Instant, all: bool) -> Vec<Told<L>> {
        let mut lines = Vec::new();
        let (budget, rest, of) = (&mut self.budget, &mut self.rest, self.of);
        let is_due = |untold: &Untold<L>| all || now >= untold.since + WINDOW;
        self.groups.retain(|_, kinds| {
            kinds.retain_mut(|kind| {
                let untold = &mut kind.untold;
                if !is_due(untold) {
                    return true;
                }
                let Some(last) = untold.last.take() else {
                    return false;
                };
                if all || Budget::take(budget, now) {
                    let of = kind.name.is_none().then_some("several kinds");
                    let count = untold.told(now, of);
                    lines.push(Told { last, count });
                } else {
                    count(rest, untold.count, &last, now);
                }
                *untold = Untold::new(now);
                true
            });
            !kinds.is_empty()
        });
        if rest.as_ref().is_some_and(is_due)
            && let Some(rest) = rest.take()
            && let count = rest.told(now, Some(of))
            && let Some(last) = rest.last
        {
            lines.push(Told { last, count });
        }
        let kinds = self.groups.values().flatten();
        let kinds = kinds.map(|kind| kind.untold.since);
        self.oldest = kinds.chain(self.rest.as_ref().map(|rest| rest.since)).min();
        lines
    }

    /// When [`Self::due`] has something to do again.
    pub(super) fn next(&self) -> Option<Instant> {
        self.oldest.map(|oldest| oldest + WINDOW)
    }

    /// Whether it is as good as new.
    pub(super) fn is_at_rest(&self, now: Instant) -> bool {
        self.oldest.is_none()
            && self
                .budget
                .as_ref()
                .is_none_or(|budget| budget.is_whole(now))
    }
}

impl Budget {
    pub(super) const fn new(most: f64, per_second: f64) -> Self {
        Self {
            most,
            per_second,
            left: most,
            counted: None,
        }
    }

    fn is_whole(&self, now: Instant) -> bool {
        let since = self
            .counted
            .map(|since| now.saturating_duration_since(since));
        since.is_none_or(|since| self.left + since.as_secs_f64() * self.per_second >= self.most)
    }

    /// Takes a line out, if there is one left; without a budget there always is.
    fn take(budget: &mut Option<Self>, now: Instant) -> bool {
        let Some(budget) = budget else { return true };
        let since = budget.counted.replace(now);
        let passed = since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        let more = passed.as_secs_f64() * budget.per_second;
        budget.left = (budget.left + more).min(budget.most);
        let has = budget.left >= 1.0;
        if has {
            budget.left -= 1.0;
        }
        has
    }
}

impl<L> Kind<L> {
    fn new(name: Option<String>, now: Instant) -> Self {
        let untold = Untold::new(now);
        Self { name, untold }
    }
}

impl<L> Untold<L> {
    fn new(since: Instant) -> Self {
        Self {
            since,
            count: 0,
            last: None,
        }
    }

    fn told(&self, now: Instant, of: Option<&'static str>) -> Count {
        let passed = now.saturating_duration_since(self.since);
        Count {
            more: self.count,
            seconds: (passed.as_secs_f64().round() as u64).max(1),
            of,
        }
    }
}

impl<L: Clone> Untold<L> {
    fn add(&mut self, n: u64, line: &L) {
        self.count += n;
        match &mut self.last {
            Some(last) => last.clone_from(line),
            None => self.last = Some(line.clone()),
        }
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { more, seconds, of } = self;
        match of {
            None => write!(f, "({more} more in {seconds} s)"),
            Some(of) => write!(f, "(the last of {more} more of {of} in {seconds} s)"),
        }
    }
}

fn count<L: Clone>(rest: &mut Option<Untold<L>>, n: u64, line: &L, now: Instant) {
    rest.get_or_insert_with(|| Untold::new(now)).add(n, line);
}

/// What two lines of one kind have in common: numbers differ from one time to the next.
fn shape(kind: &str) -> String {
    let letters = kind.chars().filter(|c| !c.is_ascii_digit());
    letters.take(KIND_LEN).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted<L>(lines: &[Told<L>]) -> u64 {
        lines.iter().map(|told| told.count.more).sum()
    }

    fn shown(lines: &[Told<&str>]) -> Vec<String> {
        let lines = lines.iter();
        lines
            .map(|told| format!("{} {}", told.last, told.count))
            .collect()
    }

    #[test]
    fn the_first_of_a_kind_is_said_at_once_and_the_rest_is_counted() {
        let (mut limit, now) = (RateLimit::new(8, None, ""), Instant::now());
        let mut ask = |line: &'static str| limit.allows("10.0.0.1", line, &line, now);
        assert!(ask("clock is 300 s behind"));
        assert!(!ask("clock is 301 s behind"));
        assert!(ask("no user"));
        assert!(!ask("clock is 302 s behind"));
        assert_eq!(limit.next(), Some(now + WINDOW));
        assert_eq!(limit.due(now, false), []);
        let later = now + WINDOW;
        assert_eq!(
            shown(&limit.due(later, false)),
            ["clock is 302 s behind (2 more in 5 s)"]
        );
        // Nothing more came: the next one is a first one again.
        let later = later + WINDOW;
        assert_eq!(limit.due(later, false), []);
        assert!(limit.next().is_none());
        assert!(limit.allows("10.0.0.1", "no user", &"no user", later));
    }

    #[test]
    fn a_source_that_thinks_of_ever_new_kinds_hinders_no_other() {
        let (mut limit, now) = (RateLimit::new(8, None, ""), Instant::now());
        let said = (0..1000u32).filter(|n| {
            let path: String = n.to_string().bytes().map(|b| char::from(b + 49)).collect();
            limit.allows("bad", &path, &(), now)
        });
        assert_eq!(said.count(), KINDS);
        assert!(limit.allows("good", "no user", &(), now));
        assert_eq!(counted(&limit.due(now, true)), 1000 - KINDS as u64);
    }

    #[test]
    fn a_flood_from_everywhere_is_bounded_and_counted_to_the_last() {
        let mut limit = RateLimit::new(64, Some(Budget::new(20.0, 1.0)), "addresses");
        let (began, mut said, mut told) = (Instant::now(), 0, Vec::new());
        for n in 0..100_000u32 {
            let now = began + Duration::from_millis(u64::from(n));
            let source = format!("10.0.{}.{}", n % 7, n % 250);
            said += u64::from(limit.allows(&source, "no user", &(), now));
            if limit.next().is_some_and(|next| next <= now) {
                told.extend(limit.due(now, false));
            }
        }
        told.extend(limit.due(began + Duration::from_secs(100), true));
        assert_eq!(said + counted(&told), 100_000);
        let lines = said + told.len() as u64;
        // 20 at once, one a second, one for all others in 5 s, and what was left at the end.
        assert!(lines <= 20 + 100 + 20 + 64, "{lines}");
        assert!(limit.groups.len() <= 64);
    }
}
