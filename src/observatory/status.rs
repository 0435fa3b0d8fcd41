//! Which answers mean that an outbound lives.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use http::StatusCode;
use thiserror::Error;

/// `expectedStatus`, in mihomo's words: `204`, `200/204`, `200-299/301`; any where there is none, or `*`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExpectedStatus(Vec<RangeInclusive<u16>>);

/// A part of a text that is no status.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("`{}` is not a status, expected `204`, several such as `200/204`, `200-299` or `*`", .0.escape_debug())]
pub struct StatusError(String);

impl ExpectedStatus {
    /// Whether any answer will do.
    pub fn is_any(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether it is this one.
    pub fn has(&self, status: StatusCode) -> bool {
        self.is_any() || self.0.iter().any(|range| range.contains(&status.as_u16()))
    }
}

impl FromStr for ExpectedStatus {
    type Err = StatusError;

    fn from_str(text: &str) -> Result<Self, StatusError> {
        let text = text.trim();
        if text == "*" {
            return Ok(Self::default());
        }
        let parts = text.split(['/', ',']).map(str::trim);
        let parts = parts.filter(|part| !part.is_empty());
        let range = |part: &str| {
            let (from, to) = part.split_once('-').unwrap_or((part, part));
            let number = |text: &str| text.trim().parse::<u16>();
            match (number(from), number(to)) {
                (Ok(from), Ok(to)) => Ok(from.min(to)..=from.max(to)),
                _ => Err(StatusError(part.to_owned())),
            }
        };
        parts.map(range).collect::<Result<_, _>>().map(Self)
    }
}

impl fmt::Display for ExpectedStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_any() {
            return f.write_str("*");
        }
        for (n, range) in self.0.iter().enumerate() {
            let slash = if n == 0 { "" } else { "/" };
            match range.start() == range.end() {
                true => write!(f, "{slash}{}", range.start())?,
                false => write!(f, "{slash}{}-{}", range.start(), range.end())?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_one_of_those_that_are_named() {
        for (text, held, others, written) in [
            ("204", &[204][..], &[200, 503][..], "204"),
            ("200/204", &[200, 204], &[201, 301], "200/204"),
            (
                "200-299, 301",
                &[200, 250, 299, 301],
                &[300, 199],
                "200-299/301",
            ),
            ("299-200", &[200, 299], &[300], "200-299"),
            ("*", &[100, 204, 503], &[], "*"),
            ("", &[503], &[], "*"),
        ] {
            let expected: ExpectedStatus = text.parse().unwrap();
            let has = |code: &u16| expected.has(StatusCode::from_u16(*code).unwrap());
            assert!(held.iter().all(has), "{text}");
            assert!(!others.iter().any(has), "{text}");
            assert_eq!(expected.to_string(), written);
        }
        for (text, part) in [
            ("2xx", "2xx"),
            ("200/ok", "ok"),
            ("200-", "200-"),
            ("70000", "70000"),
        ] {
            let e = text.parse::<ExpectedStatus>().unwrap_err();
            assert_eq!(e, StatusError(part.to_owned()));
        }
    }
}
