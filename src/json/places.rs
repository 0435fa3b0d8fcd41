//! From a path to the line and column that it stands at.

use std::ops::Range;

use jsonc_parser::ast::{ObjectProp, Value};
use jsonc_parser::common::Ranged;
use jsonc_parser::{CollectOptions, ParseOptions, parse_to_ast};

use super::path::{Path, Step};

/// A place in a text. Lines and columns are counted from 1, columns in characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub line: usize,
    pub column: usize,
    /// The bytes that stand there.
    pub bytes: Range<usize>,
}

/// A text whose values can be found by their paths.
pub struct Places<'t> {
    text: &'t str,
    root: Value<'t>,
}

impl<'t> Places<'t> {
    /// `blanked` is `text` with its comments blanked out; `None` when it is no JSON.
    pub(super) fn parse(text: &'t str, blanked: &'t str) -> Option<Self> {
        let parsed = parse_to_ast(
            blanked,
            &CollectOptions::default(),
            &ParseOptions::default(),
        );
        let root = parsed.ok()?.value?;
        Some(Self { text, root })
    }

    /// The value at `path`, or what holds the place where it is missing.
    pub fn value(&self, path: &Path) -> Place {
        let (value, _) = self.walk(path);
        // Of a list or an object the bracket will do: the whole may be the whole file.
        let mut bytes = value.range().start..value.range().end;
        if matches!(value, Value::Object(_) | Value::Array(_)) {
            bytes.end = bytes.start + 1;
        }
        Place::new(self.text, bytes)
    }

    /// The last key of `path`, as it is written.
    pub fn key(&self, path: &Path) -> Place {
        match self.walk(path) {
            (_, Some(property)) => {
                let name = property.name.range();
                Place::new(self.text, name.start..name.end)
            }
            _ => self.value(path),
        }
    }

    /// How far `path` leads here, and the property at its end if it leads all the way to one.
    fn walk(&self, path: &Path) -> (&Value<'t>, Option<&ObjectProp<'t>>) {
        let (mut value, mut property) = (&self.root, None);
        for step in path.steps() {
            let next = match (value, step) {
                (Value::Object(object), Step::Key(key)) => {
                    // Of several equal keys the last one counts.
                    let mut named = object.properties.iter().rev();
                    let found = named.find(|p| p.name.as_str() == &**key);
                    found.map(|p| (&p.value, Some(p)))
                }
                (Value::Array(array), Step::Index(index)) => {
                    array.elements.get(*index).map(|value| (value, None))
                }
                _ => None,
            };
            match next {
                Some(next) => (value, property) = next,
                None => return (value, None),
            }
        }
        (value, property)
    }
}

impl Place {
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

    /// The character at a line and a column in bytes, both counted from 1; at the end of the text, the last
    /// one that shows.
    pub(super) fn at(text: &str, line: usize, column: usize) -> Self {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::Text;

    const TEXT: &str = "{ // é\n  \"log\": {}, # b\n  /* c */ \"inbounds\": [1, {\"Port\": \"x\", \"a b\": [],\n\"Port\": 80}]\n}";

    #[test]
    fn a_value_is_found_behind_comments_of_every_kind() {
        let inbound = Path::default().key("inbounds").index(1);
        assert_eq!(value(&inbound.key("a b")), (3, 48, "["));
        assert_eq!(value(&inbound), (3, 27, "{"));
        // Of two equal keys the last one counts.
        assert_eq!(value(&inbound.key("Port")), (4, 9, "80"));
        assert_eq!(key(&inbound.key("Port")), (4, 1, "\"Port\""));
    }

    #[test]
    fn what_is_missing_is_where_it_should_be() {
        let missing = Path::default().key("log").key("loglevel");
        assert_eq!(value(&missing), (2, 10, "{"));
        assert_eq!(key(&missing), (2, 10, "{"));
        assert_eq!(value(&Path::default()), (1, 1, "{"));
        assert_eq!(value(&Path::default().index(7)), (1, 1, "{"));
    }

    #[test]
    fn a_column_counts_characters() {
        let text = "{\"名\": \"é\", \"x\": 1}";
        let place = |path: Path| {
            Text::new(text.to_owned())
                .places()
                .unwrap()
                .value(&path)
                .column
        };
        assert_eq!(place(Path::default().key("x")), 17);
        assert_eq!(Place::at("a\nbé\"", 2, 4).column, 3);
        assert_eq!(Place::at("{\n\"a\"\n\n", 4, 0).bytes, 4..5);
        assert_eq!(Place::at("", 1, 1).bytes, 0..0);
    }

    fn value(path: &Path) -> (usize, usize, &'static str) {
        let text = Text::new(TEXT.to_owned());
        shown(text.places().unwrap().value(path))
    }

    fn key(path: &Path) -> (usize, usize, &'static str) {
        let text = Text::new(TEXT.to_owned());
        shown(text.places().unwrap().key(path))
    }

    fn shown(place: Place) -> (usize, usize, &'static str) {
        (place.line, place.column, &TEXT[place.bytes])
    }
}
