//! Bytes a second: `1000000`, `1 MB/s`, `512KiB/s`.

use serde_json::Value;

use super::Setting;
use super::scalar::typed;

/// Bytes a second; 0 is no bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate(pub u64);

/// The units, in small letters. Those of bits would be as long and eight times as small, so only `B` is a byte.
const UNITS: [(&str, f64); 8] = [
    ("", 1.0),
    ("B", 1.0),
    ("kB", 1e3),
    ("MB", 1e6),
    ("GB", 1e9),
    ("KiB", 1024.0),
    ("MiB", 1024.0 * 1024.0),
    ("GiB", 1024.0 * 1024.0 * 1024.0),
];

/// A number of bytes, or a text with a unit, `/s` behind it or not.
impl Setting for Rate {
    fn parse(value: &Value) -> Result<Self, String> {
        let read = match value {
            Value::Number(n) => n.as_u64(),
            Value::String(text) => return of_text(text.trim(), value),
            _ => None,
        };
        read.map(Self)
            .ok_or_else(|| format!("{} is not a rate, {EXPECTED}", typed(value)))
    }
}

fn of_text(text: &str, value: &Value) -> Result<Rate, String> {
    let wrong = || format!("{} is not a rate, {EXPECTED}", typed(value));
    let size = text.strip_suffix("/s").unwrap_or(text).trim_end();
    let digits = size.find(|c: char| !c.is_ascii_digit() && c != '.');
    let (number, unit) = size.split_at(digits.unwrap_or(size.len()));
    let unit = unit.trim_start();
    let number: f64 = number.parse().map_err(|_| wrong())?;
    let known = UNITS.iter().find(|(name, _)| {
        // `b` is a bit to many people, and would be eight times too much.
        name.eq_ignore_ascii_case(unit) && !unit.ends_with('b')
    });
    let Some((_, bytes)) = known else {
        let lower = unit.to_ascii_lowercase();
        if unit.ends_with('b') || lower.contains("bit") || lower.ends_with("bps") {
            return Err(format!(
                "{} is a rate of bits, expected one of bytes, an eighth of it: `1.25 MB/s` is 10 Mbit/s",
                typed(value)
            ));
        }
        return Err(wrong());
    };
    let bytes = number * bytes;
    if bytes != 0.0 && !(1.0..=MOST).contains(&bytes) {
        return Err(wrong());
    }
    Ok(Rate(bytes as u64))
}

/// Beyond it nothing can be told from no bound.
const MOST: f64 = 1e15;

const EXPECTED: &str =
    "expected bytes a second: a whole number, or such as `10 MB/s` (B, kB, MB, GB, KiB, MiB, GiB)";

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn rates_have_units_of_bytes() {
        let cases = [
            (json!(0), 0),
            (json!(1_000_000), 1_000_000),
            (json!("1000"), 1000),
            (json!("10 MB/s"), 10_000_000),
            (json!("10MB/s"), 10_000_000),
            (json!(" 1.5 kB "), 1500),
            (json!("512 KB/s"), 512_000),
            (json!("64 KiB/s"), 64 * 1024),
            (json!("2MiB/s"), 2 * 1024 * 1024),
            (json!("1 GB/s"), 1_000_000_000),
            (json!("1 GiB/s"), 1 << 30),
            (json!("20 B/s"), 20),
            (json!("0 MB/s"), 0),
        ];
        for (value, bytes) in cases {
            assert_eq!(Rate::parse(&value), Ok(Rate(bytes)), "{value}");
        }
    }

    #[test]
    fn bits_are_told_from_bytes_and_the_rest_is_no_rate() {
        for value in [
            json!("10 Mb/s"),
            json!("10 Mbit/s"),
            json!("10 Mbps"),
            json!("8 b/s"),
        ] {
            let said = Rate::parse(&value).unwrap_err();
            assert!(said.contains("a rate of bits"), "{said}");
        }
        for value in [
            json!("fast"),
            json!(""),
            json!("MB/s"),
            json!("-1 MB/s"),
            json!(-1),
            json!(1.5),
            json!("1.2.3 MB"),
            json!("0.1 B/s"),
            json!("10 MB/m"),
            json!("10 TB/s"),
            json!("9e30 GB"),
            json!(true),
            json!({}),
        ] {
            let said = Rate::parse(&value).unwrap_err();
            assert!(said.contains("is not a rate"), "{value}: {said}");
        }
    }
}
