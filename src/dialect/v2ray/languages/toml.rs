//! TOML.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{Entry, Placed, Value};
use crate::report::{Message, Span};

pub(super) fn read(text: &str, name: &str) -> Result<Placed, Box<Message>> {
    let lines = Lines(text.match_indices('\n').map(|(at, _)| at).collect());
    match DeTable::parse(text) {
        Ok(root) => Ok(Placed {
            line: 0,
            value: lines.table(root.get_ref()),
        }),
        Err(e) => {
            let at = e.span().unwrap_or(text.len()..text.len());
            let said = format!("this is no TOML: {}", e.message().replace('\n', ", "));
            let place = Span::new(text, at.start.min(text.len())..at.end.min(text.len()));
            let line = format!("{name}:{}:{}: {said}", place.line, place.column);
            let message = Message::of_file(name, said).at(place, text);
            Err(Message { line, ..message }.into())
        }
    }
}

/// Where lines end.
struct Lines(Vec<usize>);

impl Lines {
    fn at(&self, byte: usize) -> usize {
        1 + self.0.partition_point(|end| *end < byte)
    }

    /// In the order of the text.
    fn table(&self, table: &DeTable<'_>) -> Value {
        let mut entries: Vec<_> = table.iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        let entry = |(key, value): (&Spanned<_>, &Spanned<DeValue<'_>>)| {
            let key: &Spanned<std::borrow::Cow<'_, str>> = key;
            Entry {
                line: self.at(key.span().start),
                key: key.get_ref().to_string(),
                value: self.placed(value),
            }
        };
        Value::Map(entries.into_iter().map(entry).collect())
    }

    fn placed(&self, spanned: &Spanned<DeValue<'_>>) -> Placed {
        let value = match spanned.get_ref() {
            DeValue::String(text) => Value::Text(text.to_string()),
            DeValue::Integer(n) => {
                let n = i64::from_str_radix(n.as_str(), n.radix());
                Value::Plain(n.unwrap_or(i64::MAX).to_string())
            }
            DeValue::Float(n) => {
                let n: f64 = n.as_str().parse().unwrap_or(f64::NAN);
                match serde_json::Number::from_f64(n) {
                    Some(n) => Value::Plain(n.to_string()),
                    None => Value::Text(n.to_string()),
                }
            }
            DeValue::Boolean(on) => Value::Plain(on.to_string()),
            DeValue::Datetime(time) => Value::Text(time.to_string()),
            DeValue::Array(items) => {
                Value::List(items.iter().map(|item| self.placed(item)).collect())
            }
            DeValue::Table(table) => self.table(table),
        };
        // A table's begins with its name.
        let line = match value {
            Value::Map(_) => 0,
            _ => self.at(spanned.span().start),
        };
        Placed { line, value }
    }
}
