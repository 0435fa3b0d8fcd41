//! The figures of a run, as a table.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::Role;
use super::peer::Program;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Measure {
    Up,
    Down,
    Bulk,
    Connection,
    Idle,
    PingPong,
    FirstByte,
}

/// What must hold against sing-box: the measure and the largest ratio.
const REQUIRED: [(Measure, f64); 3] = [
    (Measure::Bulk, 1.0),
    (Measure::Connection, 1.0),
    (Measure::Idle, 1.0),
];

const ALL: [Measure; 7] = [
    Measure::Up,
    Measure::Down,
    Measure::Bulk,
    Measure::Connection,
    Measure::Idle,
    Measure::PingPong,
    Measure::FirstByte,
];

#[derive(Default)]
pub(crate) struct Figures(BTreeMap<(Role, Measure, &'static str), Vec<f64>>);

impl Figures {
    pub(crate) fn add(&mut self, program: &Program, role: Role, measure: Measure, value: f64) {
        self.0
            .entry((role, measure, program.name()))
            .or_default()
            .push(value);
    }

    pub(crate) fn table(&self, programs: &[Program]) -> String {
        let mut out = String::new();
        let names: Vec<&str> = programs.iter().map(Program::name).collect();
        let _ = writeln!(out, "| role | measure | {} |", names.join(" | "));
        let _ = writeln!(out, "|---|---|{}", "---|".repeat(names.len()));
        for role in [Role::Server, Role::Client] {
            for measure in ALL {
                let cells: Vec<String> = names
                    .iter()
                    .map(|name| self.cell(role, measure, name))
                    .collect();
                let role = format!("{role:?}").to_lowercase();
                let _ = writeln!(
                    out,
                    "| {role} | {} | {} |",
                    measure.name(),
                    cells.join(" | ")
                );
            }
        }
        out.push_str("\nMedian (lowest to highest; ratio to sing-box).\n\n");
        for (measure, at_most) in REQUIRED {
            for role in [Role::Server, Role::Client] {
                let Some(ratio) = self.ratio(role, measure, "mobula") else {
                    continue;
                };
                let verdict = if ratio <= at_most {
                    "holds"
                } else {
                    "falls short"
                };
                let role = format!("{role:?}").to_lowercase();
                let name = measure.name();
                let _ = writeln!(
                    out,
                    "{verdict}: {role}, {name}: {ratio:.2} of sing-box, at most {at_most:.2}"
                );
            }
        }
        out
    }

    fn cell(&self, role: Role, measure: Measure, name: &'static str) -> String {
        let Some((median, low, high)) = self.summary(role, measure, name) else {
            return "–".to_owned();
        };
        let n = measure.digits();
        let ratio = self.ratio(role, measure, name).unwrap_or(f64::NAN);
        format!("{median:.n$} ({low:.n$} to {high:.n$}; {ratio:.2})")
    }

    fn ratio(&self, role: Role, measure: Measure, name: &'static str) -> Option<f64> {
        let (median, ..) = self.summary(role, measure, name)?;
        let (other, ..) = self.summary(role, measure, "sing-box")?;
        Some(median / other)
    }

    fn summary(&self, role: Role, measure: Measure, name: &'static str) -> Option<(f64, f64, f64)> {
        let mut values = self.0.get(&(role, measure, name))?.clone();
        values.sort_unstable_by(f64::total_cmp);
        Some((values[values.len() / 2], *values.first()?, *values.last()?))
    }
}

impl Measure {
    fn name(self) -> &'static str {
        match self {
            Self::Up => "up, CPU-s/GiB",
            Self::Down => "down, CPU-s/GiB",
            Self::Bulk => "mean of up and down, CPU-s/GiB",
            Self::Connection => "CPU-ms per new connection",
            Self::Idle => "bytes per idle tunnel",
            Self::PingPong => "1 KiB ping-pong p50, µs",
            Self::FirstByte => "connection to first byte p50, µs",
        }
    }

    fn digits(self) -> usize {
        match self {
            Self::Up | Self::Down | Self::Bulk | Self::Connection => 3,
            Self::Idle | Self::PingPong | Self::FirstByte => 0,
        }
    }
}
