//! An object of a config that is written anew: what has been taken of it, and what was said about the rest.

use std::cell::RefCell;
use std::fmt::Display;
use std::time::Duration;

use serde_json::{Map, Value};

use crate::dialect::v2ray::json::{Setting, is_spelling_of};
use crate::dialect::v2ray::protocols::v2ray_s_name;

/// What is said, a line for each, of a config whose names may be spelled as those of messages or not.
pub(in crate::dialect::v2ray) struct Lines {
    said: RefCell<Vec<String>>,
    has_protobuf_names: bool,
    /// What is said of a key that gets lost.
    no_word: &'static str,
}

impl Lines {
    /// `has_protobuf_names`: as whoever reads the config sees it.
    pub(in crate::dialect::v2ray) fn new(has_protobuf_names: bool, no_word: &'static str) -> Self {
        Self {
            said: RefCell::default(),
            has_protobuf_names,
            no_word,
        }
    }

    pub(in crate::dialect::v2ray) fn push(&self, line: String) {
        self.said.borrow_mut().push(line);
    }

    pub(in crate::dialect::v2ray) fn into_inner(self) -> Vec<String> {
        self.said.into_inner()
    }

    /// Whether `written` is `key`.
    pub(in crate::dialect::v2ray) fn names(&self, written: &str, key: &str) -> bool {
        match self.has_protobuf_names {
            true => is_spelling_of(written, key),
            false => written.eq_ignore_ascii_case(key),
        }
    }
}

/// An object that knows its path.
pub(in crate::dialect::v2ray) struct Part<'a> {
    map: &'a Map<String, Value>,
    pub(in crate::dialect::v2ray) path: String,
    taken: RefCell<Vec<String>>,
    pub(in crate::dialect::v2ray) lines: &'a Lines,
}

impl<'a> Part<'a> {
    /// `None` of what is no object.
    pub(in crate::dialect::v2ray) fn of(
        value: &'a Value,
        path: String,
        lines: &'a Lines,
    ) -> Option<Self> {
        Some(Self {
            map: value.as_object()?,
            path,
            taken: RefCell::default(),
            lines,
        })
    }

    /// The value of the first of these keys that is there, however they are spelled; all of them are taken.
    pub(in crate::dialect::v2ray) fn get(&self, keys: &[&str]) -> Option<&'a Value> {
        let mut taken = self.taken.borrow_mut();
        taken.extend(keys.iter().map(|key| (*key).to_owned()));
        keys.iter().find_map(|key| self.find(key))
    }

    fn find(&self, key: &str) -> Option<&'a Value> {
        let exact = self.map.get(key);
        let first = |is: &dyn Fn(&str) -> bool| {
            let mut entries = self.map.iter();
            entries.find(|(name, _)| is(name)).map(|(_, value)| value)
        };
        let value = exact
            .or_else(|| first(&|name| name.eq_ignore_ascii_case(key)))
            .or_else(|| first(&|name| self.lines.names(name, key)));
        value.filter(|value| !value.is_null())
    }

    pub(in crate::dialect::v2ray) fn part(&self, keys: &[&str]) -> Option<Self> {
        let value = self.get(keys)?;
        let name = keys.iter().find(|key| self.find(key).is_some())?;
        Self::of(value, self.at(name), self.lines)
    }

    pub(in crate::dialect::v2ray) fn text(&self, keys: &[&str]) -> Option<String> {
        match self.get(keys)? {
            Value::String(text) if text.is_empty() => None,
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        }
    }

    /// A text in small letters; empty where there is none.
    pub(in crate::dialect::v2ray) fn word(&self, keys: &[&str]) -> String {
        self.text(keys)
            .unwrap_or_default()
            .trim()
            .to_ascii_lowercase()
    }

    /// `protocol`, by V2Ray's name of it.
    pub(in crate::dialect::v2ray) fn protocol(&self) -> String {
        v2ray_s_name(&self.word(&["protocol"])).to_owned()
    }

    pub(in crate::dialect::v2ray) fn is_on(&self, keys: &[&str]) -> bool {
        self.get(keys) == Some(&Value::Bool(true))
    }

    /// What stands in a list, or alone in its place.
    pub(in crate::dialect::v2ray) fn items(&self, keys: &[&str]) -> Vec<&'a Value> {
        match self.get(keys) {
            Some(Value::Array(items)) => items.iter().collect(),
            Some(one) if !is_nothing(one) => vec![one],
            _ => Vec::new(),
        }
    }

    /// Texts: a list of them, or one with commas.
    pub(in crate::dialect::v2ray) fn texts(&self, keys: &[&str]) -> Vec<String> {
        let texts: Vec<String> = match self.get(keys) {
            Some(Value::String(text)) => {
                text.split(',').map(|part| part.trim().to_owned()).collect()
            }
            Some(Value::Number(number)) => vec![number.to_string()],
            Some(Value::Array(items)) => {
                let items = items.iter();
                items
                    .filter_map(|item| item.as_str().map(str::to_owned))
                    .collect()
            }
            _ => Vec::new(),
        };
        texts.into_iter().filter(|text| !text.is_empty()).collect()
    }

    /// Objects of a list.
    pub(in crate::dialect::v2ray) fn parts(&self, keys: &[&str]) -> Vec<Self> {
        let name = keys.iter().find(|key| self.find(key).is_some());
        let at = self.at(name.unwrap_or(&""));
        let items = self.items(keys).into_iter().enumerate();
        let parts = items.filter_map(|(i, item)| Self::of(item, format!("{at}[{i}]"), self.lines));
        parts.collect()
    }

    /// Copies the first of these keys that is there and says something, under the name of the first.
    pub(in crate::dialect::v2ray) fn keep(&self, to: &mut Map<String, Value>, keys: &[&str]) {
        if let Some(value) = self.get(keys).filter(|value| !is_nothing(value)) {
            to.insert(keys[0].to_owned(), value.clone());
        }
    }

    pub(in crate::dialect::v2ray) fn at(&self, key: &str) -> String {
        match &*self.path {
            "" => key.to_owned(),
            path => format!("{path}.{key}"),
        }
    }

    /// Says that a key gets lost.
    pub(in crate::dialect::v2ray) fn lost(&self, key: &str, why: impl Display) {
        let line = format!("{}: {why}", self.at(key));
        let mut lines = self.lines.said.borrow_mut();
        if !lines.contains(&line) {
            lines.push(line);
        }
    }

    /// Says that all of this gets lost.
    pub(in crate::dialect::v2ray) fn gone(&self, why: impl Display) {
        self.lines
            .push(format!("{}: {why}: it is left out", self.path));
    }

    /// A span of time, which a protobuf has as a number of nanoseconds.
    pub(in crate::dialect::v2ray) fn nanos(
        &self,
        five: &mut Map<String, Value>,
        key: &str,
        from: &[&str],
    ) {
        if let Some(nanos) = self.get(from).and_then(nanos) {
            five.insert(key.to_owned(), nanos);
        }
    }

    /// Keys that are understood and change nothing.
    pub(in crate::dialect::v2ray) fn silent(&self, keys: &[&str]) {
        self.get(keys);
    }

    /// Keys that there is no word for, where they say something.
    pub(in crate::dialect::v2ray) fn no_word(&self, keys: &[&str]) {
        for key in keys {
            if self.get(&[key]).is_some_and(|value| !is_nothing(value)) {
                self.lost(key, self.lines.no_word);
            }
        }
    }

    /// Tells of the keys that nobody has taken.
    pub(in crate::dialect::v2ray) fn finish(self) {
        let taken = self.taken.borrow();
        for (key, value) in self.map {
            let is_taken = taken.iter().any(|name| self.lines.names(key, name));
            if !is_nothing(value) && !is_taken {
                self.lost(key, self.lines.no_word);
            }
        }
    }
}

/// `10s` in nanoseconds.
pub(in crate::dialect::v2ray) fn nanos(span: &Value) -> Option<Value> {
    let span = Duration::parse(span).ok().filter(|span| !span.is_zero())?;
    Some(u64::try_from(span.as_nanos()).ok()?.into())
}

/// Whether a value says no more than its absence does.
pub(in crate::dialect::v2ray) fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(is_on) => !is_on,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
    }
}

pub(in crate::dialect::v2ray) const NO_WORD: &str = "V2Ray 5's form has no word for it";
