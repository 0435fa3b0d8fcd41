//! Spans of time as Go writes them: `10s`, `1m30s`, `1.5h`, `200ms`.

use std::time::Duration;

use serde_json::Value;

use super::Setting;
use super::scalar::typed;

/// Each unit in nanoseconds; `ms` stands before `m` and `s`, which begin and end it.
const UNITS: [(&str, f64); 8] = [
    ("ns", 1.0),
    ("us", 1e3),
    ("µs", 1e3),
    ("μs", 1e3),
    ("ms", 1e6),
    ("s", 1e9),
    ("m", 60e9),
    ("h", 3600e9),
];

/// A text with units, or a bare number of nanoseconds, as V2Ray 5 has it where its settings are a protobuf.
impl Setting for Duration {
    fn parse(value: &Value) -> Result<Self, String> {
        let read = match value {
            Value::Number(n) => n.as_u64().map(Self::from_nanos),
            Value::String(text) => from_text(text.trim()),
            _ => None,
        };
        read.ok_or_else(|| {
            format!(
                "{} is not a span of time, expected one such as `10s` or `1m30s`",
                typed(value)
            )
        })
    }
}

fn from_text(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    let mut nanos = 0.0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        let tail = &rest[digits..];
        let (unit, size) = UNITS.iter().find(|(unit, _)| tail.starts_with(unit))?;
        nanos += number * size;
        rest = &tail[unit.len()..];
    }
    // Go keeps them in 63 bits.
    (nanos < i64::MAX as f64).then(|| Duration::from_nanos(nanos as u64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn spans_as_go_writes_them() {
        let cases = [
            (json!("10s"), 10_000),
            (json!("1m30s"), 90_000),
            (json!("1.5h"), 5_400_000),
            (json!("200ms"), 200),
            (json!(".5s"), 500),
            (json!("0"), 0),
            (json!(" 2m "), 120_000),
            (json!(10_000_000_000_u64), 10_000),
        ];
        for (value, millis) in cases {
            assert_eq!(Duration::parse(&value), Ok(Duration::from_millis(millis)));
        }
    }

    #[test]
    fn what_is_none_is_told() {
        for value in [
            json!("10"),
            json!("s"),
            json!(""),
            json!("10 s"),
            json!("-1s"),
            json!("1.2.3s"),
            json!("9999999999h"),
            json!(-1),
            json!(true),
        ] {
            assert!(Duration::parse(&value).is_err(), "{value}");
        }
        assert_eq!(
            Duration::parse(&json!("10")).unwrap_err(),
            "the string `10` is not a span of time, expected one such as `10s` or `1m30s`"
        );
    }
}
