//! From a path to the line and column that it stands at.

use jsonc_parser::ast::{ObjectProp, Value};
use jsonc_parser::common::Ranged;
use jsonc_parser::{CollectOptions, ParseOptions, parse_to_ast};

use crate::report::{Lines, Path, Span, Step};

/// A text whose values can be found by their paths.
pub struct Spans<'t> {
    lines: Lines<'t>,
    root: Value<'t>,
}

impl<'t> Spans<'t> {
    /// `blanked` is `text` with its comments blanked out; `None` when it is no JSON.
    pub(super) fn parse(text: &'t str, blanked: &'t str) -> Option<Self> {
        let parsed = parse_to_ast(
            blanked,
            &CollectOptions::default(),
            &ParseOptions::default(),
        );
        let root = parsed.ok()?.value?;
        let lines = Lines::of(text);
        Some(Self { lines, root })
    }

    /// The value at `path`, or what holds the place where it is missing.
    pub fn value(&self, path: &Path) -> Span {
        let (value, _) = self.walk(path);
        // Of a list or an object the bracket will do: the whole may be the whole file.
        let mut bytes = value.range().start..value.range().end;
        if matches!(value, Value::Object(_) | Value::Array(_)) {
            bytes.end = bytes.start + 1;
        }
        self.lines.span(bytes)
    }

    /// The last key of `path`, as it is written.
    pub fn key(&self, path: &Path) -> Span {
        match self.walk(path) {
            (_, Some(property)) => {
                let name = property.name.range();
                self.lines.span(name.start..name.end)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::v2ray::json::Text;

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
                .spans()
                .unwrap()
                .value(&path)
                .column
        };
        assert_eq!(place(Path::default().key("x")), 17);
        assert_eq!(Span::at("a\nbé\"", 2, 4).column, 3);
        assert_eq!(Span::at("{\n\"a\"\n\n", 4, 0).bytes, 4..5);
        assert_eq!(Span::at("", 1, 1).bytes, 0..0);
    }

    fn value(path: &Path) -> (usize, usize, &'static str) {
        let text = Text::new(TEXT.to_owned());
        shown(text.spans().unwrap().value(path))
    }

    fn key(path: &Path) -> (usize, usize, &'static str) {
        let text = Text::new(TEXT.to_owned());
        shown(text.spans().unwrap().key(path))
    }

    fn shown(place: Span) -> (usize, usize, &'static str) {
        (place.line, place.column, &TEXT[place.bytes])
    }
}
