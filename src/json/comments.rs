//! JSON as people write it: with `//`, `#` and `/* */` comments.

use serde_json::Value;
use thiserror::Error;

/// Text that is not JSON, and where.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("line {line}, column {column}: {text}")]
pub struct SyntaxError {
    pub line: usize,
    pub column: usize,
    pub text: String,
}

/// Parses JSON with comments; the last of several equal keys wins. A BOM in front is skipped.
pub fn parse(text: &str) -> Result<Value, SyntaxError> {
    let blanked = blank(text.strip_prefix('\u{feff}').unwrap_or(text));
    serde_json::from_str(&blanked).map_err(|e| {
        let full = e.to_string();
        // serde_json ends its message with the place, which has a field of its own here.
        let text = full
            .rsplit_once(" at line ")
            .map_or(&*full, |(head, _)| head);
        SyntaxError {
            line: e.line(),
            column: e.column(),
            text: text.replace("EOF while parsing", "the text ends inside"),
        }
    })
}

/// Replaces comments by spaces, so that what follows keeps its line and column.
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
            let len = rest.find("*/").map_or(rest.len(), |n| n + 2);
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
fn string_len(text: &str) -> usize {
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
    out.extend(comment.chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn all_kinds_of_comments_are_skipped() {
        let text = "{ // one\n \"a\": 1, # two\n /* three \" */ \"b\": \"// # /* no */\" }";
        assert_eq!(parse(text), Ok(json!({"a": 1, "b": "// # /* no */"})));
    }

    #[test]
    fn a_mistake_keeps_its_place_behind_comments() {
        let e = parse("{ /* é\n */ \"a\": x }").unwrap_err();
        assert_eq!((e.line, e.column), (2, 10));
        assert_eq!(e.to_string(), "line 2, column 10: expected value");
    }

    #[test]
    fn an_unfinished_string_or_comment_is_a_mistake_not_a_panic() {
        assert!(parse("{ \"a").is_err());
        assert!(parse("{ /* ").is_err());
        assert!(parse("{ \"a\\").is_err());
    }
}
