//! YAML, with the scalars of its core schema.

use super::{Entry, Placed, Value};
use crate::dialect::tree::text::{Marks, marked};
use crate::dialect::tree::{Node, Value as Read};
use crate::report::Message;

pub(super) fn read(text: &str, name: &str) -> Result<Placed, Box<Message>> {
    let (root, marks) = marked(text, &name.into())?;
    Ok(placed(&root, &marks))
}

fn placed(node: &Node, marks: &Marks) -> Placed {
    let line = node.at.line.map_or(0, |(line, _)| line);
    let value = match &node.value {
        Read::Null => Value::Plain("null".to_owned()),
        Read::Text(text) if marks.is_plain(node) => resolved(text),
        Read::Text(text) => Value::Text(text.clone()),
        Read::List(items) => Value::List(items.iter().map(|item| placed(item, marks)).collect()),
        Read::Map(entries) => {
            let entry = |(key, node): &(String, Node)| Entry {
                line: marks.key_line(node).unwrap_or(0),
                key: key.clone(),
                value: placed(node, marks),
            };
            Value::Map(entries.iter().map(entry).collect())
        }
    };
    Placed { line, value }
}

/// A scalar without quotes.
fn resolved(text: &str) -> Value {
    if let "true" | "True" | "TRUE" | "false" | "False" | "FALSE" = text {
        return Value::Plain(text.to_ascii_lowercase());
    }
    match number(text) {
        Some(number) => Value::Plain(number.to_string()),
        None => Value::Text(text.to_owned()),
    }
}

fn number(text: &str) -> Option<serde_json::Number> {
    let bare = text.strip_prefix(['+', '-']).unwrap_or(text);
    let with_radix = |mark: &str, radix| {
        let digits = text.strip_prefix(mark)?;
        i64::from_str_radix(digits, radix).ok()
    };
    if let Some(n) = with_radix("0x", 16).or_else(|| with_radix("0o", 8)) {
        return Some(n.into());
    }
    if !bare.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return None;
    }
    if let Ok(n) = text.parse::<i64>() {
        return Some(n.into());
    }
    let is_float = bare
        .chars()
        .all(|c| c.is_ascii_digit() || "+-.eE".contains(c));
    let float = text.parse::<f64>().ok().filter(|_| is_float)?;
    serde_json::Number::from_f64(float)
}
