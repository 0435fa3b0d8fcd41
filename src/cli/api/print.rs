//! How answers are printed: tables for people, JSON for programs.

use std::fmt::Write;

use serde::Serialize;
use serde_json::ser::{PrettyFormatter, Serializer};
use serde_json::{Value, json};

use crate::api::client::{Stat, SysStatsResponse};

pub(super) fn pretty(value: &Value) -> String {
    // As Go is told to write it.
    let mut text = Vec::new();
    let four = PrettyFormatter::with_indent(b"    ");
    let written = value.serialize(&mut Serializer::with_formatter(&mut text, four));
    let text = written.ok().and_then(|()| String::from_utf8(text).ok());
    text.unwrap_or_default()
}

pub(super) fn stat_json(stat: &Stat) -> Value {
    json!({"name": stat.name, "value": stat.value})
}

pub(super) fn table(stats: &[Stat]) -> String {
    let rows = stats.iter().map(|s| (amount(s.value), s.name.clone()));
    columns(&rows.collect::<Vec<_>>())
}

/// Numbers to the right, what they are behind them.
fn columns(rows: &[(String, String)]) -> String {
    let width = rows.iter().map(|(n, _)| n.len()).max().unwrap_or_default();
    let mut text = String::new();
    for (number, name) in rows {
        let _ = writeln!(text, "{number:>width$}  {name}");
    }
    text
}

/// Bytes as people read them.
fn amount(bytes: i64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes.unsigned_abs() < 1024 {
        return format!("{bytes} B  ");
    }
    let mut amount = bytes as f64 / 1024.0;
    let mut unit = 0;
    while amount.abs() >= 1023.95 && unit + 1 < UNITS.len() {
        amount /= 1024.0;
        unit += 1;
    }
    format!("{amount:.1} {}", UNITS[unit])
}

pub(super) fn sys_json(sys: &SysStatsResponse) -> Value {
    json!({
        "NumGoroutine": sys.num_goroutine, "NumGC": sys.num_gc, "Alloc": sys.alloc,
        "TotalAlloc": sys.total_alloc, "Sys": sys.sys, "Mallocs": sys.mallocs, "Frees": sys.frees,
        "LiveObjects": sys.live_objects, "PauseTotalNs": sys.pause_total_ns, "Uptime": sys.uptime,
    })
}

pub(super) fn sys_table(sys: &SysStatsResponse) -> String {
    let row = |number: String, name: &str| (number, name.to_owned());
    columns(&[
        row(format!("{} s", sys.uptime), "uptime"),
        row(sys.num_goroutine.to_string(), "tasks"),
        row(amount(sys.alloc as i64), "memory"),
        row(amount(sys.sys as i64), "address space"),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_written_for_people() {
        let all = [0, 1023, 1024, 1536, 1024 * 1024 - 1, 5 << 30];
        let text = all.map(amount);
        assert_eq!(
            text.each_ref().map(|t| t.trim()),
            ["0 B", "1023 B", "1.0 KiB", "1.5 KiB", "1.0 MiB", "5.0 GiB"]
        );
    }

    #[test]
    fn a_table_has_its_numbers_in_one_column() {
        let stat = |name: &str, value| Stat {
            name: name.to_owned(),
            value,
        };
        assert_eq!(
            table(&[stat("user>>>a", 3), stat("user>>>b", 2048)]),
            "  3 B    user>>>a\n2.0 KiB  user>>>b\n"
        );
    }
}
