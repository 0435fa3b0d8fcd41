//! What Python's `str()` makes of a dict: a literal of the language, read as Python itself would.

use std::collections::HashMap;
use std::str::Chars;

use crate::dialect::tree::{At, Node, Value};

/// Levels inside each other.
const MAX_DEPTH: usize = 16;

/// Values of a literal.
const MAX_NODES: usize = 100_000;

/// The literal; `None` where it is none.
pub(super) fn read(text: &str) -> Option<Node> {
    let mut literal = Literal {
        rest: text.trim(),
        depth: 0,
        nodes: 0,
    };
    let node = literal.value()?;
    literal.rest.trim_start().is_empty().then_some(node)
}

/// What is yet to be read of it.
struct Literal<'a> {
    rest: &'a str,
    depth: usize,
    nodes: usize,
}

impl Literal<'_> {
    fn value(&mut self) -> Option<Node> {
        self.rest = self.rest.trim_start();
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            return None;
        }
        let value = match self.rest.chars().next()? {
            '{' => self.inside('}', Self::dict)?,
            '[' => self.inside(']', Self::list)?,
            '(' => self.inside(')', Self::list)?,
            '\'' | '"' => Value::Text(self.string()?),
            _ => self.word()?,
        };
        Some(Node::new(value, &At::default()))
    }

    fn inside(&mut self, end: char, read: fn(&mut Self, char) -> Option<Value>) -> Option<Value> {
        if self.depth >= MAX_DEPTH {
            return None;
        }
        self.depth += 1;
        self.rest = &self.rest[1..];
        let value = read(self, end);
        self.depth -= 1;
        value
    }

    fn dict(&mut self, end: char) -> Option<Value> {
        let mut entries: Vec<(String, Node)> = Vec::new();
        let mut known: HashMap<String, usize> = HashMap::new();
        while !self.takes(end) {
            let Value::Text(key) = self.value()?.value else {
                return None;
            };
            if !self.takes(':') {
                return None;
            }
            let value = self.value()?;
            // As in Python, the last one counts.
            match known.get(&key) {
                Some(n) => entries[*n].1 = value,
                None => {
                    known.insert(key.clone(), entries.len());
                    entries.push((key, value));
                }
            }
            if !self.takes(',') && !self.is_next(end) {
                return None;
            }
        }
        Some(Value::Map(entries))
    }

    fn list(&mut self, end: char) -> Option<Value> {
        let mut items = Vec::new();
        while !self.takes(end) {
            items.push(self.value()?);
            if !self.takes(',') && !self.is_next(end) {
                return None;
            }
        }
        Some(Value::List(items))
    }

    fn is_next(&mut self, c: char) -> bool {
        self.rest = self.rest.trim_start();
        self.rest.starts_with(c)
    }

    fn takes(&mut self, c: char) -> bool {
        let is_next = self.is_next(c);
        if is_next {
            self.rest = &self.rest[c.len_utf8()..];
        }
        is_next
    }

    fn string(&mut self) -> Option<String> {
        let quote = self.rest.chars().next()?;
        let mut chars = self.rest[1..].chars();
        let mut text = String::new();
        loop {
            let c = chars.next()?;
            if c == quote {
                self.rest = chars.as_str();
                return Some(text);
            }
            if c == '\n' {
                return None;
            }
            if c != '\\' {
                text.push(c);
                continue;
            }
            let c = match chars.next()? {
                'x' => hex(&mut chars, 2)?,
                'u' => hex(&mut chars, 4)?,
                'U' => hex(&mut chars, 8)?,
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                'a' => '\x07',
                'b' => '\x08',
                'f' => '\x0c',
                'v' => '\x0b',
                '0' => '\0',
                c @ ('\\' | '\'' | '"') => c,
                c => {
                    text.push('\\');
                    c
                }
            };
            text.push(c);
        }
    }

    /// A number or a name.
    fn word(&mut self) -> Option<Value> {
        let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '+' | '_');
        let end = self.rest.find(|c| !is_part(c)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        Some(match word {
            "" => return None,
            "None" => Value::Null,
            "True" => Value::Text("true".to_owned()),
            "False" => Value::Text("false".to_owned()),
            word if word.parse::<f64>().is_ok() => Value::Text(word.to_owned()),
            _ => return None,
        })
    }
}

/// A character by its number; half of a surrogate pair stands for nothing.
fn hex(chars: &mut Chars<'_>, digits: usize) -> Option<char> {
    let (hex, rest) = chars.as_str().split_at_checked(digits)?;
    let code = u32::from_str_radix(hex, 16).ok()?;
    *chars = rest.chars();
    Some(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dict_of_many_keys_is_read_in_no_time_and_its_values_are_bounded() {
        let entry = |n: usize| format!("'{n}': {n}");
        let of = |n: usize| {
            let entries: Vec<String> = (0..n).map(entry).collect();
            format!("{{{}, '0': 'last'}}", entries.join(", "))
        };
        let began = std::time::Instant::now();
        let node = read(&of(40_000)).unwrap();
        assert_eq!(node.entries().len(), 40_000);
        assert_eq!(node.get("0").and_then(Node::as_text), Some("last"));
        assert!(began.elapsed().as_secs() < 2, "{:?}", began.elapsed());
        assert!(read(&of(60_000)).is_none());
    }
}
