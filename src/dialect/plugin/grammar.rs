//! The text of `SS_PLUGIN_OPTIONS`: `name;name=value;name=a\;b`.
//!
//! A backslash takes its meaning from whatever follows it. A name ends at `=` or `;`, a value at `;` alone. One semicolon
//! may stand at the end.

use thiserror::Error;

/// One option, unescaped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    pub name: String,
    /// What stands behind `=`, if there is one.
    pub value: Option<String>,
}

/// Why a text holds no options. v2ray-plugin then runs as if there were none, and no addresses either.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum GrammarError {
    #[error(
        "a backslash ends it, expected what it stands in front of (`\\\\` is a backslash, `\\;` a semicolon)"
    )]
    LoneBackslash,
    #[error("the option behind {} has no name, expected `name` or `name=value` between semicolons", after(.0))]
    NoName(String),
}

/// Takes a text apart.
///
/// # Errors
///
/// When an option has no name, or a backslash nothing to stand in front of.
pub fn split(text: &str) -> Result<Vec<Pair>, GrammarError> {
    let mut pairs = Vec::new();
    let mut rest = text.chars();
    while !rest.as_str().is_empty() {
        let before = text.len() - rest.as_str().len();
        let (name, end) = word(&mut rest, &['=', ';'])?;
        if name.is_empty() {
            return Err(GrammarError::NoName(text[..before].to_owned()));
        }
        let value = match end {
            Some('=') => Some(word(&mut rest, &[';'])?.0),
            _ => None,
        };
        pairs.push(Pair { name, value });
    }
    Ok(pairs)
}

/// The text of `pairs`, as short as it can be.
pub fn join(pairs: &[Pair]) -> String {
    let mut text = String::new();
    for Pair { name, value } in pairs {
        if !text.is_empty() {
            text.push(';');
        }
        escape(name, &['\\', ';', '='], &mut text);
        if let Some(value) = value {
            text.push('=');
            escape(value, &['\\', ';'], &mut text);
        }
    }
    text
}

/// Up to one of `ends`, which is taken as well, or to the end of all.
fn word(rest: &mut std::str::Chars, ends: &[char]) -> Result<(String, Option<char>), GrammarError> {
    let mut word = String::new();
    while let Some(c) = rest.next() {
        match c {
            '\\' => word.push(rest.next().ok_or(GrammarError::LoneBackslash)?),
            end if ends.contains(&end) => return Ok((word, Some(end))),
            c => word.push(c),
        }
    }
    Ok((word, None))
}

fn escape(text: &str, special: &[char], out: &mut String) {
    for c in text.chars() {
        if special.contains(&c) {
            out.push('\\');
        }
        out.push(c);
    }
}

/// Where an option stands, without the values before it: one may be a key.
fn after(before: &str) -> String {
    match before.matches(';').count() {
        0 => "the beginning".to_owned(),
        n => format!("semicolon {n}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As v2ray-plugin takes them apart.
    #[test]
    fn options_are_split_at_semicolons_that_no_backslash_stands_in_front_of() {
        type Expected = [(&'static str, Option<&'static str>)];
        let cases: [(&str, &Expected); 9] = [
            ("", &[]),
            ("server", &[("server", None)]),
            (
                "server;tls;host=a.example",
                &[("server", None), ("tls", None), ("host", Some("a.example"))],
            ),
            ("tls;", &[("tls", None)]),
            (r"path=/a\;b\=c\\d", &[("path", Some(r"/a;b=c\d"))]),
            ("path=/?a=b", &[("path", Some("/?a=b"))]),
            (r"a\=b=c", &[("a=b", Some("c"))]),
            (r"\h\o\s\t=x", &[("host", Some("x"))]),
            ("host=;ü=ö", &[("host", Some("")), ("ü", Some("ö"))]),
        ];
        for (text, expected) in cases {
            let expected: Vec<Pair> = expected
                .iter()
                .map(|(name, value)| Pair {
                    name: (*name).to_owned(),
                    value: value.map(str::to_owned),
                })
                .collect();
            assert_eq!(split(text), Ok(expected.clone()), "{text}");
            assert_eq!(split(&join(&expected)), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_v2ray_plugin_passes_over_in_silence_is_an_error() {
        let said = |text: &str| split(text).unwrap_err().to_string();
        assert_eq!(
            said("tls;;server"),
            "the option behind semicolon 1 has no name, expected `name` or `name=value` between semicolons"
        );
        assert!(said("=x").starts_with("the option behind the beginning has no name"));
        assert_eq!(
            said(r"host=a\"),
            r"a backslash ends it, expected what it stands in front of (`\\` is a backslash, `\;` a semicolon)"
        );
    }
}
