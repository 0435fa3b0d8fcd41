//! A line and a column of a text.

#![warn(missing_docs)]

use std::ops::Range;

/// A place in a text. Lines and columns are counted from 1, columns in characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// The bytes that stand there.
    pub bytes: Range<usize>,
}

impl Span {
    /// Of these bytes of a text.
    pub fn new(text: &str, bytes: Range<usize>) -> Self {
        let before = &text[..bytes.start];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        Self {
            line: 1 + before.matches('\n').count(),
            column: 1 + before[line_start..]
                .trim_start_matches('\u{feff}')
                .chars()
                .count(),
            bytes,
        }
    }

    /// What stands at a line and a column in characters, both counted from 1, up to a blank or what separates values; at
    /// the end of a line that is shorter, and of a text that is.
    pub fn word(text: &str, line: usize, column: usize) -> Self {
        let lines = text.split_inclusive('\n');
        let line_start: usize = lines.take(line.saturating_sub(1)).map(str::len).sum();
        let rest = text[line_start..].lines().next().unwrap_or_default();
        let mut places = rest.char_indices().map(|(at, _)| at);
        let at = places.nth(column.saturating_sub(1)).unwrap_or(rest.len());
        let word = &rest[at..];
        let end = word.find(|c: char| c.is_whitespace() || ",}]".contains(c));
        let start = line_start + at;
        Self::new(text, start..start + end.unwrap_or(word.len()))
    }

    /// The character at a line and a column in bytes, both counted from 1; at the end of the text, the last
    /// one that shows.
    pub fn at(text: &str, line: usize, column: usize) -> Self {
        let lines = text.split_inclusive('\n').map(str::len);
        let line_start: usize = lines.take(line.saturating_sub(1)).sum();
        let at = (line_start + column.saturating_sub(1)).min(text.trim_end().len());
        let at = (0..=at).rev().find(|at| text.is_char_boundary(*at));
        let at = at.unwrap_or_default();
        let (at, end) = match text[at..].trim_end().chars().next() {
            Some(c) => (at, at + c.len_utf8()),
            None => {
                let shown = text.trim_end();
                let last = shown.char_indices().next_back();
                (last.map_or(0, |(at, _)| at), shown.len())
            }
        };
        Self::new(text, at..end)
    }
}
