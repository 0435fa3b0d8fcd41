//! Values that parse themselves: numbers, ports, lists of strings.
//!
//! A number may stand in quotes, as V2Ray 5 and panels write it.

use std::borrow::Cow;

use serde_json::Value;

use crate::address::PortRange;

/// A setting that reads itself from one JSON value. The error says what was found and what was
/// expected; the caller adds the path.
pub trait Setting: Sized {
    fn parse(value: &Value) -> Result<Self, String>;
}

/// `the number 5`, `` `text` ``, `an array`: how an error names what it found.
pub fn found(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(b) => format!("`{b}`"),
        Value::Number(n) => format!("the number {n}"),
        Value::String(s) => format!("`{}`", s.escape_debug()),
        Value::Array(_) => "an array".to_owned(),
        Value::Object(_) => "an object".to_owned(),
    }
}

/// As [`found`], but a string is called one: `"5"` is not the number it looks like.
pub(super) fn typed(value: &Value) -> String {
    match value {
        Value::String(_) => format!("the string {}", found(value)),
        other => found(other),
    }
}

/// A port: a number, a string of digits, or `env:NAME` for an environment variable that holds one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Port(pub u16);

/// One or more [`PortRange`]s: `"80,443,1000-1010"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortRanges(pub Vec<PortRange>);

/// Ports of a rule: as [`PortRanges`], but commas with nothing between them are passed over, as in V2Ray, and a range may
/// end before it begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortList(pub Vec<PortRange>);

/// V2Ray's list of strings: an array, or one string with commas.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StringList(pub Vec<String>);

/// A text, or what stands in the environment for `env:NAME`, as Xray reads ports and addresses.
pub fn from_environment(text: &str) -> Result<Cow<'_, str>, String> {
    let Some(name) = text.strip_prefix("env:") else {
        return Ok(text.into());
    };
    let value = std::env::var(name);
    let value = value.map_err(|_| {
        let name = name.escape_debug();
        format!("the environment variable `{name}` is not set")
    });
    value.map(Cow::Owned)
}

impl PortRange {
    fn from_text(text: &str) -> Result<Self, String> {
        if let Some(name) = text.strip_prefix("env:") {
            let value = from_environment(text)?;
            return Self::from_digits(&value).ok_or_else(|| {
                format!("the environment variable `{name}` holds `{value}`, {PORT}")
            });
        }
        let range = Self::from_digits(text)
            .ok_or_else(|| format!("`{}` is not a port, {PORT}", text.escape_debug()))?;
        if range.from > range.to {
            return Err(format!("the range `{text}` ends before it begins"));
        }
        Ok(range)
    }

    fn from_digits(text: &str) -> Option<Self> {
        let (from, to) = text.split_once('-').unwrap_or((text, text));
        Some(Self {
            from: from.trim().parse().ok()?,
            to: to.trim().parse().ok()?,
        })
    }
}

const PORT: &str = "expected 0 to 65535, a range such as `1000-1010` or `env:NAME`";

impl Setting for bool {
    fn parse(value: &Value) -> Result<Self, String> {
        value
            .as_bool()
            .ok_or_else(|| format!("{} is not `true` or `false`", typed(value)))
    }
}

impl Setting for String {
    fn parse(value: &Value) -> Result<Self, String> {
        value
            .as_str()
            .map(str::to_owned)
            .ok_or_else(|| format!("{} is not a string", found(value)))
    }
}

macro_rules! unsigned {
    ($($t:ty),*) => {$(
        impl Setting for $t {
            fn parse(value: &Value) -> Result<Self, String> {
                let of_text = || value.as_str()?.trim().parse().ok();
                let whole: Option<u64> = value.as_u64().or_else(of_text);
                whole
                    .and_then(|n| n.try_into().ok())
                    .ok_or_else(|| format!("{} is not a whole number from 0 to {}", typed(value), <$t>::MAX))
            }
        }
    )*};
}
unsigned!(u8, u16, u32, u64);

impl Setting for f64 {
    fn parse(value: &Value) -> Result<Self, String> {
        let of_text = || value.as_str()?.trim().parse().ok();
        value
            .as_f64()
            .or_else(of_text)
            .filter(|n: &Self| n.is_finite())
            .ok_or_else(|| format!("{} is not a number", typed(value)))
    }
}

impl Setting for i64 {
    fn parse(value: &Value) -> Result<Self, String> {
        let of_text = || value.as_str()?.trim().parse().ok();
        value
            .as_i64()
            .or_else(of_text)
            .ok_or_else(|| format!("{} is not a whole number", typed(value)))
    }
}

impl Setting for PortRange {
    fn parse(value: &Value) -> Result<Self, String> {
        match value {
            Value::Number(n) => {
                let port = n.as_u64().and_then(|n| u16::try_from(n).ok());
                let port = port.ok_or_else(|| format!("{} is not a port, {PORT}", found(value)))?;
                Ok(Self {
                    from: port,
                    to: port,
                })
            }
            Value::String(text) => Self::from_text(text),
            other => Err(format!("{} is not a port, {PORT}", found(other))),
        }
    }
}

impl Setting for PortRanges {
    fn parse(value: &Value) -> Result<Self, String> {
        match value {
            Value::String(text) => text
                .split(',')
                .map(|part| PortRange::from_text(part.trim()))
                .collect::<Result<_, _>>()
                .map(Self),
            other => PortRange::parse(other).map(|range| Self(vec![range])),
        }
    }
}

impl Setting for PortList {
    fn parse(value: &Value) -> Result<Self, String> {
        let PortRanges(ranges) = match value {
            Value::String(text) => {
                let parts = text.split(',').map(str::trim);
                let parts = parts.filter(|part| !part.is_empty());
                let ranges = parts.map(|part| match PortRange::from_digits(part) {
                    Some(range) => Ok(range),
                    None => PortRange::from_text(part),
                });
                PortRanges(ranges.collect::<Result<_, _>>()?)
            }
            other => PortRanges::parse(other)?,
        };
        Ok(Self(ranges))
    }
}

impl Setting for Port {
    fn parse(value: &Value) -> Result<Self, String> {
        let range = PortRange::parse(value)?;
        if range.from == range.to {
            Ok(Self(range.from))
        } else {
            Err(format!("{} is a range, expected one port", found(value)))
        }
    }
}

impl Setting for StringList {
    fn parse(value: &Value) -> Result<Self, String> {
        match value {
            Value::String(text) => Ok(Self(
                text.split(',')
                    .map(|t| t.trim().to_owned())
                    .filter(|t| !t.is_empty())
                    .collect(),
            )),
            Value::Array(items) => items
                .iter()
                .map(|item| {
                    String::parse(item)
                        .map_err(|_| format!("{} is in a list of strings", found(item)))
                })
                .collect::<Result<_, _>>()
                .map(Self),
            other => Err(format!("{} is not a list of strings", found(other))),
        }
    }
}
