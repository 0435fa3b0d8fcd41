//! What files and URLs have in common: a tree of names and texts, each with its place.

pub(in crate::dialect) mod keys;
pub(in crate::dialect) mod places;
pub(in crate::dialect) mod text;

use std::fmt;
use std::sync::Arc;

use text::short;

use crate::report::{Message, Span};

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::dialect) struct Node {
    pub value: Value,
    pub at: At,
}

/// Numbers and switches are texts: what is meant, its reader knows.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::dialect) enum Value {
    Null,
    Text(String),
    List(Vec<Node>),
    Map(Vec<(String, Node)>),
}

/// Where something stands: the file or the argument, what leads to it there, and its line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::dialect) struct At {
    pub source: Arc<str>,
    pub path: String,
    /// Line and column, from 1.
    pub line: Option<(usize, usize)>,
}

impl Node {
    pub(in crate::dialect) fn text(text: impl Into<String>, at: &At) -> Self {
        Self::new(Value::Text(text.into()), at)
    }

    pub(in crate::dialect) fn new(value: Value, at: &At) -> Self {
        let at = at.clone();
        Self { value, at }
    }

    /// The same; of a list a map that has it as `name`.
    #[must_use]
    pub(in crate::dialect) fn or_list_of(self, name: &str) -> Self {
        match self.value {
            Value::List(_) => {
                let at = self.at.clone();
                Self::new(Value::Map(vec![(name.to_owned(), self)]), &at)
            }
            _ => self,
        }
    }

    /// The entries of a map; none of anything else.
    pub(in crate::dialect) fn entries(&self) -> &[(String, Self)] {
        match &self.value {
            Value::Map(entries) => entries,
            _ => &[],
        }
    }

    /// The entry of this name, whatever its case.
    pub(in crate::dialect) fn get(&self, name: &str) -> Option<&Self> {
        let mut entries = self.entries().iter();
        let found = entries.find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, node)| node)
    }

    /// The same, to be changed.
    pub(in crate::dialect) fn get_mut(&mut self, name: &str) -> Option<&mut Self> {
        let Value::Map(entries) = &mut self.value else {
            return None;
        };
        let mut entries = entries.iter_mut();
        let found = entries.find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, node)| node)
    }

    /// Takes the entry of this name out.
    pub(in crate::dialect) fn take(&mut self, name: &str) -> Option<Self> {
        let Value::Map(entries) = &mut self.value else {
            return None;
        };
        let n = entries
            .iter()
            .position(|(key, _)| key.eq_ignore_ascii_case(name))?;
        Some(entries.remove(n).1)
    }

    pub(in crate::dialect) fn as_text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The parts of a list; one thing is a list of one.
    pub(in crate::dialect) fn items(&self) -> &[Self] {
        match &self.value {
            Value::List(items) => items,
            Value::Null => &[],
            _ => std::slice::from_ref(self),
        }
    }

    /// Puts `other` into the entry `name`, which becomes a list that grows.
    pub(in crate::dialect) fn push(&mut self, name: &str, other: Self) {
        let Value::Map(entries) = &mut self.value else {
            return;
        };
        let found = entries
            .iter_mut()
            .find(|(key, _)| key.eq_ignore_ascii_case(name));
        match found {
            Some((_, node)) => match &mut node.value {
                Value::List(items) => items.push(other),
                _ => node.value = Value::List(vec![other]),
            },
            None => {
                let at = other.at.clone();
                let value = Value::List(vec![other]);
                entries.push((name.to_owned(), Self { value, at }));
            }
        }
    }

    /// Puts `other` into the entry `name`, in the place of what is there.
    pub(in crate::dialect) fn set(&mut self, name: &str, other: Self) {
        if let Value::Map(entries) = &mut self.value {
            entries.retain(|(key, _)| !key.eq_ignore_ascii_case(name));
            entries.push((name.to_owned(), other));
        }
    }

    /// Takes over the first of each name that is not there yet.
    pub(super) fn add_missing(&mut self, others: Vec<(String, Self)>) {
        for (key, value) in others {
            if let Value::Map(entries) = &mut self.value
                && !entries
                    .iter()
                    .any(|(known, _)| known.eq_ignore_ascii_case(&key))
            {
                entries.push((key, value));
            }
        }
    }
}

impl At {
    /// Something inside.
    #[must_use]
    pub(in crate::dialect) fn key(&self, name: &str) -> Self {
        let name = short(name);
        let path = match self.path.is_empty() {
            true => name.to_owned(),
            false => format!("{}.{name}", self.path),
        };
        Self {
            path,
            ..self.clone()
        }
    }

    /// One of several.
    #[must_use]
    pub(in crate::dialect) fn item(&self, n: usize) -> Self {
        Self {
            path: format!("{}[{n}]", self.path),
            ..self.clone()
        }
    }
}

impl At {
    /// The same file, at a line and a column.
    fn on(&self, line: usize, column: usize) -> Self {
        Self {
            line: Some((line, column)),
            ..self.clone()
        }
    }

    /// What is said about this. Its place is a line and a column alone: whoever has the text finds the rest there
    /// ([`places`]).
    /// The same without its line, which is not to be shown.
    pub(in crate::dialect) fn without_line(&self) -> Self {
        Self {
            line: None,
            ..self.clone()
        }
    }

    pub(in crate::dialect) fn message(&self, text: impl fmt::Display) -> Message {
        let text = text.to_string();
        Message {
            file: (!self.source.is_empty()).then(|| self.source.to_string()),
            path: (!self.path.is_empty()).then(|| self.path.clone()),
            place: self.line.map(|(line, column)| Span {
                line,
                column,
                bytes: 0..0,
            }),
            line: format!("{self}: {text}"),
            text,
            excerpt: None,
        }
    }
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source)?;
        if let Some((line, column)) = self.line {
            write!(f, ":{line}:{column}")?;
        }
        match (self.path.is_empty(), self.source.is_empty()) {
            (true, _) => Ok(()),
            (false, true) => f.write_str(&self.path),
            (false, false) => write!(f, ": {}", self.path),
        }
    }
}
