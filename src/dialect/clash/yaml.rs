//! A value as YAML.

use std::fmt::Write;

use serde_json::{Map, Value};

/// Keys that people look for first; the others follow in the order of their names.
const FIRST: [&str; 16] = [
    "name",
    "type",
    "mixed-port",
    "socks-port",
    "port",
    "allow-lan",
    "bind-address",
    "authentication",
    "mode",
    "log-level",
    "listeners",
    "server",
    "server-port",
    "proxies",
    "proxy-groups",
    "rules",
];

/// As YAML, with a line break at its end.
pub(super) fn text(value: &Value) -> String {
    let mut out = String::new();
    write(value, 0, &mut out);
    out
}

fn in_order(map: &Map<String, Value>) -> impl Iterator<Item = (&String, &Value)> {
    let place = |key: &str| {
        FIRST
            .iter()
            .position(|first| *first == key)
            .unwrap_or(FIRST.len())
    };
    let is_root = map.contains_key("proxies");
    let mut entries: Vec<_> = map.iter().collect();
    // The port of a proxy stands behind its server.
    let place = move |key: &str| match key {
        "port" if !is_root => place("server-port"),
        key => place(key),
    };
    entries.sort_by_key(|(key, _)| place(key));
    entries.into_iter()
}

fn write(value: &Value, depth: usize, out: &mut String) {
    let pad = "  ".repeat(depth);
    match value {
        Value::Object(map) => {
            for (key, value) in in_order(map) {
                let _ = write!(out, "{pad}{}:", quoted(key));
                below(value, depth, out);
            }
        }
        Value::Array(items) => {
            for item in items {
                let mut inner = String::new();
                write(item, depth + 1, &mut inner);
                let _ = match item {
                    Value::Object(map) if map.is_empty() => writeln!(out, "{pad}- {{}}"),
                    Value::Object(_) | Value::Array(_) => {
                        write!(out, "{pad}- {}", inner.trim_start())
                    }
                    _ => writeln!(out, "{pad}- {inner}"),
                };
            }
        }
        Value::String(text) => out.push_str(&quoted(text)),
        other => out.push_str(&other.to_string()),
    }
}

fn below(value: &Value, depth: usize, out: &mut String) {
    match value {
        Value::Object(map) if map.is_empty() => out.push_str(" {}\n"),
        Value::Array(items) if items.is_empty() => out.push_str(" []\n"),
        Value::Object(_) => {
            out.push('\n');
            write(value, depth + 1, out);
        }
        Value::Array(_) => {
            out.push('\n');
            write(value, depth + 1, out);
        }
        _ => {
            out.push(' ');
            write(value, depth, out);
            out.push('\n');
        }
    }
}

/// In quotes where it would be, or might be taken for, something else without.
fn quoted(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-./".contains(c);
    let begins = text.starts_with(|c: char| c.is_ascii_alphabetic());
    let word = text.to_ascii_lowercase();
    let means_something = matches!(
        &*word,
        "null" | "true" | "false" | "yes" | "no" | "on" | "off" | "y" | "n"
    );
    match begins && text.chars().all(is_plain) && !means_something {
        true => text.to_owned(),
        // JSON's strings are YAML's as well.
        false => Value::from(text).to_string(),
    }
}
