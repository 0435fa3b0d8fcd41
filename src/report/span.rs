//! A line and a column of a text.

#![warn(missing_docs)]

use std::iter;
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

/// Where the lines of a text begin, for one in which many places are named.
#[derive(Debug)]
pub struct Lines<'t> {
    text: &'t str,
    starts: Vec<usize>,
}

impl<'t> Lines<'t> {
    /// Looks for them.
    pub fn of(text: &'t str) -> Self {
        let others = text.match_indices('\n').map(|(at, _)| at + 1);
        Self {
            text,
            starts: iter::once(0).chain(others).collect(),
        }
    }

    /// The place of these bytes.
    pub fn span(&self, bytes: Range<usize>) -> Span {
        let line = self.starts.partition_point(|start| *start <= bytes.start);
        let before = &self.text[self.starts[line - 1]..bytes.start];
        Span {
            line,
            column: 1 + before.trim_start_matches('\u{feff}').chars().count(),
            bytes,
        }
    }
}

impl Span {
    /// Of these bytes of a text.
    pub fn new(text: &str, bytes: Range<usize>) -> Self {
        Lines::of(text).span(bytes)
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
