//! From problems to messages: the file, the line and the column of each.

use super::load::Source;
use super::merge::Origins;
use crate::dialect::v2ray::json::Spans;
use crate::report::{Message, Path, Problem, Span};

/// Gives problems their places in the files that were read.
pub(super) fn placed(
    problems: Vec<Problem>,
    sources: &[Source],
    origins: &Origins,
) -> Vec<Message> {
    if problems.is_empty() {
        return Vec::new();
    }
    let places: Vec<Option<Spans>> = sources.iter().map(|s| s.text.spans()).collect();
    let message = |problem: Problem| {
        let (file, path) = origins.locate(&problem.path);
        let line = format!("{}: {}", origins.name(&problem.path), problem.text);
        let message = Message {
            path: Some(path.to_string()),
            line,
            ..Message::of_text(problem.text)
        };
        let at = match (sources, file) {
            ([_], _) => Some(0),
            (_, Some(file)) => sources.iter().position(|source| source.name == file),
            // Several files of V2Ray 5 become one in which nobody knows what was whose.
            (_, None) => None,
        };
        let Some((source, places)) = at.and_then(|at| Some((&sources[at], places[at].as_ref()?)))
        else {
            return message;
        };
        let place = place(places, &path, problem.is_the_key);
        let file = Some(source.name.clone());
        Message { file, ..message }.at(place, source.text.as_str())
    };
    problems.into_iter().map(message).collect()
}

fn place(places: &Spans, path: &Path, is_the_key: bool) -> Span {
    match is_the_key {
        true => places.key(path),
        false => places.value(path),
    }
}

#[cfg(test)]
mod tests {
    use crate::dialect::v2ray::{Format, Input, load};

    #[test]
    fn a_mistake_is_shown_where_it_stands() {
        let config = "{\n  // ein Fräulein\n  \"outbounds\": [{ \"protocol\": \"freedon\" }]\n}";
        let message = &load(&[text("c.json", config)], Format::V4).errors[0];
        assert_eq!((message.path.as_deref()), Some("outbounds[0].protocol"));
        let place = message.place.clone().unwrap();
        assert_eq!((place.line, place.column), (3, 31));
        assert_eq!(
            message.excerpt().unwrap(),
            "\x20--> c.json:3:31
  |
3 |   \"outbounds\": [{ \"protocol\": \"freedon\" }]
  |                               ^^^^^^^^^"
        );
    }

    #[test]
    fn an_unknown_key_is_shown_itself_and_a_missing_one_by_its_object() {
        let config = r#"{"log": {"lvl": "x"}, "outbounds": [{}]}"#;
        let loaded = load(&[text("c.json", config)], Format::V4);
        let column = |m: &super::Message| m.place.clone().unwrap().column;
        assert_eq!(column(&loaded.warnings[0]), 10);
        assert_eq!(column(&loaded.errors[0]), 37);
    }

    #[test]
    fn a_mistake_in_one_of_several_files_is_shown_in_that_file() {
        let inputs = [
            text("a.json", "{\"outbounds\": [{\"protocol\": \"x\"}]}"),
            text("b.json", "{\n\"log\": 5}"),
        ];
        let errors = load(&inputs, Format::V4).errors;
        let place = errors[0].place.clone().unwrap();
        assert_eq!(errors[0].file.as_deref(), Some("b.json"));
        assert_eq!((place.line, place.column), (2, 8));
        assert_eq!(errors[1].file.as_deref(), Some("a.json"));
    }

    #[test]
    fn a_slip_in_the_syntax_is_shown_too() {
        let message = &load(&[text("c.json", "{\n\"a\": 1,\n}")], Format::V4).errors[0];
        assert!(
            message
                .to_string()
                .starts_with("c.json: line 3, column 1: ")
        );
        assert!(message.excerpt().unwrap().contains("c.json:3:1"));
    }

    fn text(name: &str, text: &str) -> Input {
        Input::Text {
            name: name.to_owned(),
            text: text.to_owned(),
        }
    }
}
