//! JSON as people write it: with `//`, `#` and `/* */` comments.

use serde_json::Value;
use thiserror::Error;

use super::lexer::{Lexer, block_len};
use super::spans::Spans;
use crate::dialect::surrogates::mended;
use crate::report::Span;

/// Text that is not JSON, and where.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("line {}, column {}: {text}", .place.line, .place.column)]
pub struct SyntaxError {
    pub place: Span,
    pub text: String,
}

impl SyntaxError {
    /// Of a comment.
    fn endless(place: Span) -> Self {
        let text = "this comment has no end, expected */".to_owned();
        Self { place, text }
    }
}

/// A text that is JSON, or should be.
pub struct Text {
    text: String,
    /// Without its comments, and without what follows the value; every byte of it keeps its place.
    blanked: String,
}

impl Text {
    pub fn new(text: String) -> Self {
        let blanked = blank(&mended(&text));
        Self { text, blanked }
    }

    /// As sing-box reads it: a comma may stand behind the last value of a list or an object.
    pub fn with_commas(text: String) -> Self {
        let blanked = without_last_commas(blank(&mended(&text)));
        Self { text, blanked }
    }

    /// As it is written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// What it says; the last of several equal keys wins. A BOM in front is skipped. What follows the value is
    /// passed over, as V2Ray does: its place comes beside it.
    pub fn parse(&mut self) -> Result<(Value, Option<Span>), SyntaxError> {
        let bom = self.blanked.len() - self.blanked.trim_start_matches('\u{feff}').len();
        let blanked = &self.blanked[bom..];
        let mut values = serde_json::Deserializer::from_str(blanked).into_iter();
        let value = match values.next() {
            Some(value) => value,
            // Nothing is there but comments.
            None => match self.open_comment() {
                Some(place) => return Err(SyntaxError::endless(place)),
                None => Ok(Value::Null),
            },
        };
        let value = value.map_err(|e| {
            let full = e.to_string();
            // serde_json ends its message with the place, which has a field of its own here.
            let text = full
                .rsplit_once(" at line ")
                .map_or(&*full, |(head, _)| head);
            if let (true, Some(place)) = (e.is_eof(), self.open_comment()) {
                return SyntaxError::endless(place);
            }
            SyntaxError {
                place: Span::at(&self.text, e.line(), e.column()),
                text: text.replace("EOF while parsing", "the text ends inside"),
            }
        })?;
        let end = bom + values.byte_offset();
        let rest = self.blanked[end..].trim_start();
        let rest = rest.chars().next().map(|first| {
            let start = self.blanked.len() - rest.len();
            Span::new(&self.text, start..start + first.len_utf8())
        });
        self.blanked.truncate(end);
        Ok((value, rest))
    }

    /// The mark of a comment that takes all of the rest.
    fn open_comment(&self) -> Option<Span> {
        let mut lexer = Lexer::new(&self.text);
        loop {
            if let Some(last) = lexer.comments().pop()
                && last.is_open()
            {
                let at = self.text.len() - last.text.len();
                return Some(Span::new(&self.text, at..at + 2));
            }
            lexer.next()?;
        }
    }

    /// Where its values stand; `None` when it is no JSON.
    pub fn spans(&self) -> Option<Spans<'_>> {
        Spans::parse(&self.text, &self.blanked)
    }
}

/// Replaces commas that nothing follows by spaces; there are no comments left.
fn without_last_commas(blanked: String) -> String {
    let bytes = blanked.as_bytes();
    let mut cut = Vec::new();
    let (mut at, mut comma) = (0, None);
    while at < bytes.len() {
        match bytes[at] {
            b'"' => {
                comma = None;
                at += string_len(&blanked[at..]);
                continue;
            }
            b',' => comma = Some(at),
            b'}' | b']' => cut.extend(comma.take()),
            byte if byte.is_ascii_whitespace() => {}
            _ => comma = None,
        }
        at += 1;
    }
    let mut bytes = blanked.into_bytes();
    cut.into_iter().for_each(|at| bytes[at] = b' ');
    String::from_utf8(bytes).unwrap_or_default()
}

/// Replaces comments by spaces, byte by byte, so that what follows keeps its place.
fn blank(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(['"', '/', '#']) {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let len = if rest.starts_with('"') {
            let len = string_len(rest);
            out.push_str(&rest[..len]);
            len
        } else if rest.starts_with('#') || rest.starts_with("//") {
            let len = rest.find('\n').unwrap_or(rest.len());
            push_blank(&mut out, &rest[..len]);
            len
        } else if rest.starts_with("/*") {
            let len = block_len(rest);
            push_blank(&mut out, &rest[..len]);
            len
        } else {
            out.push('/');
            1
        };
        rest = &rest[len..];
    }
    out.push_str(rest);
    out
}

/// Bytes of the string literal that `text` begins with, quotes included.
pub(super) fn string_len(text: &str) -> usize {
    let mut escaped = false;
    for (i, b) in text.bytes().enumerate().skip(1) {
        match b {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return i + 1,
            _ => {}
        }
    }
    text.len()
}

fn push_blank(out: &mut String, comment: &str) {
    out.extend(comment.bytes().map(|b| if b == b'\n' { '\n' } else { ' ' }));
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn parse(text: &str) -> Result<Value, SyntaxError> {
        Text::new(text.to_owned()).parse().map(|(value, _)| value)
    }

    #[test]
    fn all_kinds_of_comments_are_skipped() {
        let text = "{ // one\n \"a\": 1, # two\n /* three \" */ \"b\": \"// # /* no */\" }";
        assert_eq!(parse(text), Ok(json!({"a": 1, "b": "// # /* no */"})));
    }

    #[test]
    fn a_mistake_keeps_its_place_behind_comments() {
        let e = parse("{ /* é\n */ \"a\": x }").unwrap_err();
        assert_eq!((e.place.line, e.place.column), (2, 10));
        assert_eq!(e.to_string(), "line 2, column 10: expected value");
    }

    #[test]
    fn what_follows_the_value_is_passed_over_and_told() {
        let rest = |text: &str| Text::new(text.to_owned()).parse().unwrap().1;
        let place = rest("\u{feff}{} // }\n}\n").unwrap();
        assert_eq!((place.line, place.column), (2, 1));
        assert_eq!(rest("{} // }\n \n"), None);
    }

    #[test]
    fn an_unfinished_string_or_comment_is_a_mistake_not_a_panic() {
        assert!(parse("{ \"a").is_err());
        assert!(parse("{ /* ").is_err());
        assert!(parse("{ \"a\\").is_err());
    }
}
