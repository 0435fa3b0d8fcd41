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
