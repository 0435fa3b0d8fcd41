//! A text in TOML: its values with their places, which of them were asked for, and what is said of them.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::report::{Message, Span, did_you_mean, either};

/// The file, and what is to be said about it.
pub(super) struct Text<'t> {
    name: &'t str,
    content: &'t str,
    said: RefCell<Said>,
}

#[derive(Default)]
struct Said {
    errors: Vec<(Range<usize>, String)>,
    warnings: Vec<(Range<usize>, String)>,
}

/// A table, and the keys of it that are known.
pub(super) struct Table<'t, 'a> {
    text: &'a Text<'t>,
    /// Where it begins.
    at: Range<usize>,
    keys: DeTable<'t>,
    asked: RefCell<BTreeSet<&'static str>>,
}

/// A value and its place.
#[derive(Clone)]
pub(super) struct Value<'t, 'a> {
    text: &'a Text<'t>,
    at: Range<usize>,
    value: DeValue<'t>,
}

impl<'t> Text<'t> {
    pub(super) fn new(name: &'t str, content: &'t str) -> Self {
        Self {
            name,
            content,
            said: RefCell::default(),
        }
    }

    /// The whole; `None` when it is no TOML.
    pub(super) fn root(&self) -> Option<Table<'t, '_>> {
        match DeTable::parse(self.content) {
            Ok(root) => Some(Table::new(self, 0..0, root.into_inner())),
            Err(e) => {
                let end = self.content.len();
                let at = e.span().unwrap_or(end..end);
                let text = e.message().replace('\n', ", ");
                self.error(&at, format!("this is no TOML: {text}"));
                None
            }
        }
    }

    fn error(&self, at: &Range<usize>, text: impl Into<String>) {
        self.said
            .borrow_mut()
            .errors
            .push((at.clone(), text.into()));
    }

    /// In the order of the text.
    pub(super) fn into_messages(self) -> (Vec<Message>, Vec<Message>) {
        let Said {
            mut errors,
            mut warnings,
        } = self.said.into_inner();
        let message = |(at, text): (Range<usize>, String)| {
            let end = self.content.len();
            let at = at.start.min(end)..at.end.min(end);
            let place = Span::new(self.content, at);
            let line = format!("{}:{}:{}: {text}", self.name, place.line, place.column);
            let message = Message::of_file(self.name, text).at(place, self.content);
            Message { line, ..message }
        };
        for said in [&mut errors, &mut warnings] {
            said.sort_by_key(|(at, _)| at.start);
        }
        let warnings = warnings.into_iter().map(message).collect();
        (errors.into_iter().map(message).collect(), warnings)
    }
}

impl<'t, 'a> Table<'t, 'a> {
    fn new(text: &'a Text<'t>, at: Range<usize>, keys: DeTable<'t>) -> Self {
        Self {
            text,
            at,
            keys,
            asked: RefCell::default(),
        }
    }

    /// About the table itself, or what is missing in it.
    pub(super) fn error(&self, text: impl Into<String>) {
        self.text.error(&self.at, text);
    }

    pub(super) fn get(&self, key: &'static str) -> Option<Value<'t, 'a>> {
        self.asked.borrow_mut().insert(key);
        let value = self.keys.get(key)?;
        Some(Value {
            text: self.text,
            at: value.span(),
            value: value.get_ref().clone(),
        })
    }

    /// A value that must be there.
    pub(super) fn require(&self, key: &'static str) -> Option<Value<'t, 'a>> {
        let value = self.get(key);
        if value.is_none() {
            self.error(format!("`{key}` is missing"));
        }
        value
    }

    /// Says which keys nobody knows; `name` is what the table is called.
    pub(super) fn finish(self, name: &str) {
        let asked = self.asked.into_inner();
        for key in self.keys.keys() {
            let word: &str = key.get_ref();
            if !asked.contains(word) {
                let near = did_you_mean(word, asked.iter().copied());
                let word = word.escape_debug();
                let text = format!("{name} has no key `{word}`{near}");
                self.text.error(&key.span(), text);
            }
        }
    }
}

impl<'t, 'a> Value<'t, 'a> {
    pub(super) fn error(&self, text: impl Into<String>) {
        self.text.error(&self.at, text);
    }

    pub(super) fn warn(&self, text: impl Into<String>) {
        let warning = (self.at.clone(), text.into());
        self.text.said.borrow_mut().warnings.push(warning);
    }

    fn wrong<T>(&self, expected: &str) -> Option<T> {
        let found = self.value.type_str();
        self.error(format!("this is a TOML {found}, expected {expected}"));
        None
    }

    pub(super) fn table(self) -> Option<Table<'t, 'a>> {
        match self.value {
            DeValue::Table(keys) => {
                let at = self.at.start..self.at.start;
                Some(Table::new(self.text, at, keys))
            }
            _ => self.wrong("a table"),
        }
    }

    /// The elements of an array.
    pub(super) fn array(&self) -> Option<Vec<Self>> {
        let DeValue::Array(all) = &self.value else {
            return self.wrong("an array");
        };
        let one = |value: &Spanned<DeValue<'t>>| Self {
            text: self.text,
            at: value.span(),
            value: value.get_ref().clone(),
        };
        Some(all.iter().map(one).collect())
    }

    /// One value, or the elements of an array.
    pub(super) fn list(&self) -> Vec<Self> {
        match self.value {
            DeValue::Array(_) => self.array().unwrap_or_default(),
            _ => vec![self.clone()],
        }
    }

    pub(super) fn string(&self) -> Option<String> {
        match &self.value {
            DeValue::String(text) => Some(text.to_string()),
            _ => self.wrong("a string, in quotes"),
        }
    }

    /// A string that says something.
    pub(super) fn word(&self) -> Option<String> {
        let word = self.string()?;
        if word.trim().is_empty() {
            self.error("this is empty");
            return None;
        }
        Some(word)
    }

    pub(super) fn bool(&self) -> Option<bool> {
        match self.value {
            DeValue::Boolean(value) => Some(value),
            _ => self.wrong("`true` or `false`"),
        }
    }

    /// A whole number.
    pub(super) fn integer(&self) -> Option<i64> {
        let DeValue::Integer(number) = &self.value else {
            return self.wrong("a number");
        };
        let read = i64::from_str_radix(number.as_str(), number.radix()).ok();
        if read.is_none() {
            self.error(format!("{} is too much", number.as_str()));
        }
        read
    }

    /// From 1 to 65535.
    pub(super) fn port(&self) -> Option<u16> {
        let DeValue::Integer(number) = &self.value else {
            return self.wrong("a port, a number from 1 to 65535");
        };
        let port = u16::from_str_radix(number.as_str(), number.radix());
        let port = port.ok().filter(|port| *port != 0);
        if port.is_none() {
            let text = format!("{} is not a port, expected 1 to 65535", number.as_str());
            self.error(text);
        }
        port
    }

    pub(super) fn is_integer(&self) -> bool {
        self.value.is_integer()
    }

    /// One of these words.
    pub(super) fn one_of<T: Copy>(&self, words: &[(&'static str, T)]) -> Option<T> {
        let word = self.string()?;
        let found = words.iter().find(|(name, _)| *name == word);
        if found.is_none() {
            let names: Vec<&str> = words.iter().map(|(name, _)| *name).collect();
            let near = did_you_mean(&word, names.iter().copied());
            let word = word.escape_debug();
            self.error(format!(
                "`{word}` is unknown, expected {}{near}",
                either(&names)
            ));
        }
        found.map(|(_, value)| *value)
    }
}
