//! One pattern for names, and the regular expressions in it, which are Go's.

use std::fmt;

use regex::bytes::{self, RegexBuilder, RegexSet, RegexSetBuilder};
use thiserror::Error;

use super::go_regex::{means_another, translated};

/// The most memory, in bytes, that one compiled set of regular expressions may take.
const REGEX_LIMIT: usize = 16 << 20;

/// One pattern for a domain name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// Any name with this text in it.
    Keyword(String),
    Regex(String),
    /// This name and all below it.
    Domain(String),
    /// This name alone.
    Full(String),
}

/// Why patterns cannot be matched: a regular expression is not one, or too much for its limit.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{0}")]
pub struct PatternError(pub(super) String);

/// A compiled expression. Two are equal when they are written alike.
#[derive(Clone)]
pub struct Regex {
    text: Box<str>,
    compiled: bytes::Regex,
}

impl Pattern {
    /// # Errors
    ///
    /// When it is a regular expression that cannot be compiled.
    pub fn check(&self) -> Result<(), PatternError> {
        match self {
            Self::Regex(text) => Regex::new(text).map(drop),
            Self::Keyword(_) | Self::Domain(_) | Self::Full(_) => Ok(()),
        }
    }
}

impl Regex {
    /// Classes such as `\w` are ASCII's, as in Go.
    ///
    /// # Errors
    ///
    /// When the expression cannot be compiled.
    pub fn new(text: &str) -> Result<Self, PatternError> {
        let as_written = compiled(text);
        let compiled = match &as_written {
            Ok(_) if !means_another(text) => as_written,
            // What is wrong is told of what was written.
            _ => compiled(&translated(text)).map_err(|e| as_written.err().unwrap_or(e)),
        };
        Ok(Self {
            text: text.into(),
            compiled: compiled.map_err(|e| reason(&e))?,
        })
    }

    /// As it is written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    pub fn is_match(&self, text: &str) -> bool {
        self.compiled.is_match(text.as_bytes())
    }

    /// The first part of `text` that matches.
    pub fn find<'t>(&self, text: &'t str) -> Option<&'t str> {
        let found = self.compiled.find(text.as_bytes())?;
        text.get(found.range())
    }
}

impl PartialEq for Regex {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Regex {}

impl fmt::Debug for Regex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

fn compiled(text: &str) -> Result<bytes::Regex, regex::Error> {
    RegexBuilder::new(text)
        .unicode(false)
        .size_limit(REGEX_LIMIT)
        .build()
}

/// All of `texts` at once, without regard to case.
pub(super) fn regex_set(texts: &[String]) -> Result<RegexSet, PatternError> {
    let set = |texts: &[String]| {
        RegexSetBuilder::new(texts)
            .unicode(false)
            .case_insensitive(true)
            .size_limit(REGEX_LIMIT)
            .build()
    };
    let all = match texts.iter().any(|text| means_another(text)) {
        true => None,
        false => set(texts).ok(),
    };
    let readable = || {
        let texts = texts.iter().map(|text| match compiled(text) {
            Ok(_) if !means_another(text) => text.clone(),
            _ => translated(text),
        });
        set(&texts.collect::<Vec<_>>())
    };
    all.map_or_else(readable, Ok).map_err(|e| reason(&e))
}

/// The last line of what the parser says; those before draw a picture.
fn reason(error: &regex::Error) -> PatternError {
    let text = error.to_string();
    let last = text.lines().last().unwrap_or_default();
    PatternError(last.strip_prefix("error: ").unwrap_or(last).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_regular_expression_that_cannot_be_read_says_why() {
        let check = |text: &str| Pattern::Regex(text.to_owned()).check();
        assert_eq!(check("a("), Err(PatternError("unclosed group".to_owned())));
        assert_eq!(check(r"(^|\.)google\.[a-z]{2}$"), Ok(()));
        assert!(check("(a{1000}){1000}").is_err());
    }
}
