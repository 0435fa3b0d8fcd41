//! A tree as text: `-O yaml` and `-O json`.

use std::fmt::Write;

use serde_json::{Map, Value as Json};

use crate::dialect::tree::{Node, Value};

/// As JSON.
pub(super) fn json(node: &Node) -> String {
    let text = serde_json::to_string_pretty(&of("", node));
    text.unwrap_or_default()
}

/// As YAML.
pub(super) fn yaml(node: &Node) -> String {
    let mut out = String::new();
    write(node, 0, &mut out);
    out
}

/// Keys whose values are switches or numbers; all else is a text, though it may look otherwise.
const TYPED: [&str; 6] = [
    "secure",
    "retries",
    "maxFails",
    "whitelist",
    "reverse",
    "failTimeout",
];

fn of(key: &str, node: &Node) -> Json {
    match &node.value {
        Value::Null => Json::Null,
        Value::Text(text) => scalar(key, text),
        Value::List(items) => items.iter().map(|item| of("", item)).collect(),
        Value::Map(entries) => {
            let pairs = entries
                .iter()
                .map(|(key, value)| (key.clone(), of(key, value)));
            Json::Object(pairs.collect::<Map<_, _>>())
        }
    }
}

fn scalar(key: &str, text: &str) -> Json {
    let is_typed = TYPED.iter().any(|typed| typed.eq_ignore_ascii_case(key));
    match text {
        "true" if is_typed => true.into(),
        "false" if is_typed => false.into(),
        _ => match text.parse::<i64>() {
            Ok(n) if is_typed && n.to_string() == text => n.into(),
            _ => text.into(),
        },
    }
}

fn write(node: &Node, depth: usize, out: &mut String) {
    let pad = "  ".repeat(depth);
    match &node.value {
        Value::Map(entries) => {
            for (key, value) in entries {
                let _ = write!(out, "{pad}{}:", quoted(key));
                match &value.value {
                    Value::Text(text) if !scalar(key, text).is_string() => {
                        let _ = writeln!(out, " {text}");
                    }
                    _ => below(value, depth + 1, out),
                }
            }
        }
        Value::List(items) => {
            for item in items {
                let mut inner = String::new();
                write(item, depth + 1, &mut inner);
                let _ = match item.value {
                    Value::Map(_) | Value::List(_) if !inner.is_empty() => {
                        write!(out, "{pad}- {}", inner.trim_start())
                    }
                    _ => writeln!(out, "{pad}- {}", inner.trim()),
                };
            }
        }
        Value::Null => out.push_str("null"),
        Value::Text(text) => out.push_str(&quoted(text)),
    }
}

fn below(value: &Node, depth: usize, out: &mut String) {
    match &value.value {
        Value::Map(entries) if entries.is_empty() => out.push_str(" {}\n"),
        Value::List(items) if items.is_empty() => out.push_str(" []\n"),
        Value::Map(_) => {
            out.push('\n');
            write(value, depth, out);
        }
        Value::List(_) => {
            out.push('\n');
            write(value, depth - 1, out);
        }
        Value::Null | Value::Text(_) => {
            out.push(' ');
            write(value, depth, out);
            out.push('\n');
        }
    }
}

/// In quotes where it would be something else without.
fn quoted(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-./@+=".contains(c);
    // What begins like a number is none if it has a letter that no number has, or is an address.
    let of_no_number = |c: char| c.is_ascii_alphabetic() && !"abcdefxo".contains(c);
    let is_none = text.contains(of_no_number) || text.matches('.').count() > 1;
    let begins = text.starts_with(|c: char| c.is_ascii_alphabetic() || "_/".contains(c))
        || text.starts_with(|c: char| c.is_ascii_digit()) && is_none;
    let word = text.to_ascii_lowercase();
    let means_something = matches!(
        &*word,
        "null" | "true" | "false" | "yes" | "no" | "on" | "off" | "y" | "n"
    );
    match begins && text.chars().all(is_plain) && !means_something {
        true => text.to_owned(),
        // JSON's strings are YAML's as well.
        false => Json::from(text).to_string(),
    }
}
