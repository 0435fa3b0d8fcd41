//! Where in a text something stands that is said about it.

use crate::dialect::v2ray::json::{Spans, Text};
use crate::report::{Message, Path, Step};

/// Gives the messages about `file`, which holds `text`, the lines that they are about, with a mark below. Those about YAML
/// have a line and a column, those about JSON a path alone.
pub(in crate::dialect) fn placed(messages: Vec<Message>, file: &str, text: &str) -> Vec<Message> {
    let is_about = |message: &Message| message.file.as_deref() == Some(file);
    let has_path =
        |message: &Message| is_about(message) && message.place.is_none() && message.path.is_some();
    let mut json = Text::with_commas(text.to_owned());
    let spans = messages.iter().any(has_path).then(|| {
        // What follows the value is nobody's place.
        let _ = json.parse();
        json.spans()
    });
    let spans = spans.flatten();
    messages
        .into_iter()
        .map(|message| match is_about(&message) {
            true => one(message, text, spans.as_ref()),
            false => message,
        })
        .collect()
}

fn one(message: Message, text: &str, spans: Option<&Spans<'_>>) -> Message {
    match (&message.place, &message.path, spans) {
        (Some(place), ..) if message.excerpt.is_none() => {
            let (line, column) = (place.line, place.column);
            message.in_text(line, column, text)
        }
        (None, Some(path), Some(spans)) => {
            let span = spans.value(&steps(path));
            message.at(span, text)
        }
        _ => message,
    }
}

/// `outbounds[0].tls` as a path. A name with a dot in it leads no further than to what it stands in.
fn steps(path: &str) -> Path {
    let mut steps = Vec::new();
    for part in path.split('.') {
        let (name, indexes) = part.split_once('[').unwrap_or((part, ""));
        if !name.is_empty() {
            steps.push(Step::Key(name.into()));
        }
        let indexes = indexes.split(['[', ']']).filter(|index| !index.is_empty());
        steps.extend(indexes.filter_map(|index| index.parse().ok().map(Step::Index)));
    }
    steps.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::dialect::tree::{At, text};

    #[test]
    fn a_line_is_shown_with_its_mark() {
        let yaml = "a:\n  - b: 99999 # no port\n";
        let json = "{ // one\n \"a\": [{\"b\": 99999,}]\n}";
        let source = Arc::from("x");
        let of_yaml = text::read(yaml, &source).unwrap();
        let of_json = text::read_json(json, &source).unwrap();
        for (root, text, line) in [
            (
                of_yaml,
                yaml,
                "2 |   - b: 99999 # no port\n  |        ^^^^^",
            ),
            (
                of_json,
                json,
                "2 |  \"a\": [{\"b\": 99999,}]\n  |              ^^^^^",
            ),
        ] {
            let node = root.get("a").unwrap().items()[0].get("b").unwrap();
            let said = placed(vec![node.at.message("no port")], "x", text);
            let excerpt = said[0].excerpt().unwrap();
            assert!(excerpt.ends_with(line), "{excerpt}");
            // What is about another file stays as it is.
            let other = At {
                source: Arc::from("y"),
                ..node.at.clone()
            };
            let said = placed(vec![other.message("no port")], "x", text);
            assert_eq!(said[0].excerpt(), None);
        }
    }
}
