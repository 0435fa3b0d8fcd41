//! `selector`: how one of several nodes, or of several targets, is chosen.

use std::time::Duration;

use super::Problems;
use super::part::{check_keys, duration};
use crate::dialect::tree::{Node, Value};
use crate::report::either;
use crate::routing::Among::All;
use crate::routing::{Failing, Strategy};

/// gost's `maxFails` and `failTimeout`.
const FAILING: Failing = Failing {
    max_fails: 1,
    timeout: Duration::from_secs(10),
};

/// Shorter ones are numbers that were meant as seconds.
const SHORTEST: Duration = Duration::from_millis(1);

/// Reads it; without one it is as gost has it.
pub(super) fn read(node: Option<&Node>, problems: &Problems) -> (Strategy, Failing) {
    let Some(node) = node.filter(|node| node.value != Value::Null) else {
        return (Strategy::RoundRobin(All), FAILING);
    };
    check_keys(node, &["strategy", "maxFails", "failTimeout"], problems);
    let failing = Failing {
        max_fails: max_fails(node, problems).unwrap_or(FAILING.max_fails),
        timeout: timeout(node, problems).unwrap_or(FAILING.timeout),
    };
    (strategy(node, problems), failing)
}

fn strategy(node: &Node, problems: &Problems) -> Strategy {
    let Some(node) = node.get("strategy") else {
        return Strategy::RoundRobin(All);
    };
    match node.as_text().unwrap_or_default() {
        "" | "round" | "rr" => Strategy::RoundRobin(All),
        "random" | "rand" => Strategy::Random(All),
        "fifo" | "ha" => Strategy::First,
        other => {
            let built = either(&["round", "random", "fifo"]);
            let text = format!("`{}` is not built, expected {built}", other.escape_debug());
            problems.error(&node.at, &text);
            Strategy::First
        }
    }
}

/// 0, as everything below it, is gost's default.
fn max_fails(node: &Node, problems: &Problems) -> Option<u32> {
    let node = node.get("maxFails")?;
    let Some(n) = node.as_text().and_then(|text| text.parse::<i32>().ok()) else {
        problems.error(&node.at, "this is no number");
        return None;
    };
    u32::try_from(n).ok().filter(|n| *n > 0)
}

/// As Go writes spans of time, or in nanoseconds, as gost's own `-O json` does.
fn timeout(node: &Node, problems: &Problems) -> Option<Duration> {
    let node = node.get("failTimeout")?;
    let text = node.as_text().unwrap_or_default();
    let span = match text.parse() {
        Ok(nanos) => Some(Duration::from_nanos(nanos)),
        Err(_) => duration(text),
    };
    match span {
        Some(span) if span.is_zero() => None,
        Some(span) if span >= SHORTEST => Some(span),
        Some(_) => {
            let text = format!("`{text}` is so many nanoseconds, expected a span such as `10s`");
            problems.error(&node.at, &text);
            None
        }
        None => {
            let text = "this is no span of time, expected one such as `10s`";
            problems.error(&node.at, text);
            None
        }
    }
}
