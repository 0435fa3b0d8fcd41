//! The table that a person reads.

use std::fmt::Write;

use super::widths::{columns, cut, padded};
use super::{Row, Vantage};

/// No name takes more columns.
const NAME: usize = 40;

/// A table of each vantage point, with what follows from it.
pub fn table(vantages: &[Vantage]) -> String {
    let mut out = String::new();
    for vantage in vantages {
        if !out.is_empty() {
            out.push('\n');
        }
        one(vantage, &mut out);
    }
    out
}

fn one(vantage: &Vantage, out: &mut String) {
    let place = vantage
        .backend
        .as_deref()
        .map(|url| format!(" ({url})"))
        .unwrap_or_default();
    let version = if vantage.version.is_empty() { "" } else { ", " };
    let _ = writeln!(
        out,
        "{}{place}{version}{}",
        cut(&vantage.name, NAME),
        vantage.version
    );
    if let Some(error) = &vantage.error {
        let _ = writeln!(out, "  {error}");
        if vantage.rows.iter().all(|row| !row.is_alive()) {
            return;
        }
    }
    let has_speed = vantage.rows.iter().any(|row| row.speed.is_some());
    let mut head = vec!["#", "name", "type", "rtt", "http"];
    if has_speed {
        head.extend(["speed", "best"]);
    }
    head.push("");
    let mut lines: Vec<Vec<String>> = vec![head.into_iter().map(str::to_owned).collect()];
    for (i, row) in vantage.rows.iter().enumerate() {
        lines.push(cells(i, row, has_speed));
    }
    let count = lines[0].len();
    let width = |n: usize| {
        lines
            .iter()
            .map(|line| columns(&line[n]))
            .max()
            .unwrap_or_default()
    };
    let widths: Vec<usize> = (0..count - 1).map(width).collect();
    for line in &lines {
        let mut text = String::new();
        for (n, cell) in line.iter().enumerate() {
            match (n, widths.get(n)) {
                (_, None) => text += cell,
                (0 | 3.., Some(width)) => {
                    text += &" ".repeat(width - columns(cell));
                    text += cell;
                }
                (_, Some(width)) => text += &padded(cell, *width),
            }
            text += "  ";
        }
        let _ = writeln!(out, "{}", text.trim_end());
    }
    let _ = writeln!(out, "{}", sum(vantage));
}

fn cells(i: usize, row: &Row, has_speed: bool) -> Vec<String> {
    let millis = |ms: Option<u16>| ms.map_or_else(|| "-".to_owned(), |ms| format!("{ms} ms"));
    let mut cells = vec![
        (i + 1).to_string(),
        cut(&row.info.name, NAME),
        row.info.kind.clone(),
        millis(row.rtt),
        millis(row.http),
    ];
    if has_speed {
        for speed in [row.speed, row.speed_max] {
            cells.push(
                speed
                    .filter(|_| row.is_alive())
                    .map_or_else(|| "-".to_owned(), rate),
            );
        }
    }
    let lost = (row.loss * 100.0).round();
    cells.push(match (&row.error, row.is_alive(), row.status) {
        (Some(error), ..) => error.replace(['\r', '\n'], " "),
        (None, true, _) if lost > 0.0 => format!("{lost} % lost"),
        (None, true, Some(status)) if status >= 400 => format!("the target answers with {status}"),
        _ => String::new(),
    });
    cells
}

/// What stands below a table.
pub(super) fn sum(vantage: &Vantage) -> String {
    let bytes: u64 = vantage.rows.iter().map(|row| row.bytes).sum();
    let mut text = format!(
        "{} of {} nodes answer, {:.1} s",
        vantage.alive(),
        vantage.rows.len(),
        vantage.took.as_secs_f64()
    );
    if bytes > 0 {
        let _ = write!(text, ", {} downloaded", size(bytes));
    }
    text
}

/// Bytes a second.
pub(super) fn rate(bytes: u64) -> String {
    format!("{}/s", size(bytes))
}

fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["kB", "MB", "GB", "TB"];
    let mut value = bytes as f64 / 1000.0;
    let mut unit = 0;
    while value >= 999.95 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::codec::ProxyInfo;
    use std::time::Duration;

    fn node(name: &str, rtt: Option<u16>, error: Option<&str>) -> Row {
        Row {
            info: ProxyInfo {
                name: name.to_owned(),
                address: "a.example:443".to_owned(),
                kind: "Vmess".to_owned(),
            },
            rtt,
            http: rtt.map(|rtt| rtt * 2),
            speed: rtt.map(|_| 12_345_678),
            speed_max: rtt.map(|_| 20_000_000),
            error: error.map(str::to_owned),
            bytes: 24_000_000,
            ..Row::default()
        }
    }

    #[test]
    fn names_in_any_letters_stand_in_line() {
        let vantage = Vantage {
            name: "here".to_owned(),
            version: "mobula".to_owned(),
            took: Duration::from_millis(1234),
            rows: vec![
                node("🇭🇰 香港", Some(31), None),
                node("b", None, Some("connection refused [tcp-refused]")),
            ],
            ..Vantage::default()
        };
        assert_eq!(
            table(&[vantage]),
            "here, mobula\n\
             #  name     type     rtt   http      speed       best\n\
             1  🇭🇰 香港  Vmess  31 ms  62 ms  12.3 MB/s  20.0 MB/s\n\
             2  b        Vmess      -      -          -          -  connection refused [tcp-refused]\n\
             1 of 2 nodes answer, 1.2 s, 48.0 MB downloaded\n"
        );
    }

    #[test]
    fn sizes_are_short() {
        for (bytes, text) in [
            (0, "0.0 kB"),
            (999_949, "999.9 kB"),
            (999_950, "1.0 MB"),
            (1_500_000_000, "1.5 GB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }
}
