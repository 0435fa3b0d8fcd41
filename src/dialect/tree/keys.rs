//! The keys of a map, as the readers of other programs' files ask for them.
//!
//! What is wrong keeps the part that it stands in from being carried over; what has no word here is left out. Either is
//! told with its place.

use std::cell::RefCell;
use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use super::{At, Node, Value};
use crate::dialect::v2ray::json::Setting;
use crate::report::{Message, did_you_mean};

/// What is said while a file is read.
#[derive(Default)]
pub(in crate::dialect) struct Notes {
    lines: RefCell<Vec<Message>>,
    astray: RefCell<Vec<Message>>,
    errors: RefCell<Vec<Message>>,
}

impl Notes {
    /// The part that this stands in cannot be carried over.
    pub(in crate::dialect) fn error(&self, at: &At, text: impl Display) {
        let message = at.message(text);
        self.errors.borrow_mut().push(message.clone());
        self.push(message);
    }

    /// This has no word here, and what it stands in does without.
    pub(in crate::dialect) fn left_out(&self, at: &At, text: impl Display) {
        self.push(at.message(text));
    }

    /// This has no word here, and without it sessions go another way than was meant.
    pub(in crate::dialect) fn astray(&self, at: &At, text: impl Display) {
        let message = at.message(text);
        let mut astray = self.astray.borrow_mut();
        if !astray.contains(&message) {
            astray.push(message.clone());
        }
        self.push(message);
    }

    /// How many lines there are.
    pub(in crate::dialect) fn mark(&self) -> usize {
        self.lines.borrow().len()
    }

    /// By all that was said since then sessions go astray.
    pub(in crate::dialect) fn all_astray(&self, mark: usize) {
        let lines = self.lines.borrow();
        let since = lines.iter().skip(mark).cloned();
        self.astray.borrow_mut().extend(since);
    }

    /// A line about nothing that has a place.
    pub(in crate::dialect) fn line(&self, line: String) {
        self.push(Message::of_text(line));
    }

    fn push(&self, message: Message) {
        let mut lines = self.lines.borrow_mut();
        if !lines.contains(&message) {
            lines.push(message);
        }
    }

    /// How many errors there are: a part without any leaves it as it was.
    pub(in crate::dialect) fn errors(&self) -> usize {
        self.errors.borrow().len()
    }

    /// What is wrong, if anything is; else what is left out.
    pub(in crate::dialect) fn into_result(self) -> Result<Vec<String>, Vec<String>> {
        let lines = |messages: Vec<Message>| messages.into_iter().map(|one| one.line).collect();
        let errors = self.errors.into_inner();
        match errors.is_empty() {
            true => Ok(lines(self.lines.into_inner())),
            false => Err(lines(errors)),
        }
    }

    /// All that was said, and that of it by which sessions go astray.
    pub(in crate::dialect) fn into_messages(self) -> (Vec<Message>, Vec<Message>) {
        let mut astray = self.astray.into_inner();
        astray.dedup();
        (self.lines.into_inner(), astray)
    }
}

/// A map that is being read.
pub(in crate::dialect) struct Keys<'a> {
    map: &'a Node,
    asked: RefCell<Vec<&'static str>>,
    notes: &'a Notes,
}

impl<'a> Keys<'a> {
    /// `None`, with an error, of what is no map.
    pub(in crate::dialect) fn of(map: &'a Node, notes: &'a Notes) -> Option<Self> {
        if !matches!(map.value, Value::Map(_)) {
            notes.error(&map.at, format_args!("{}, expected a map", found(map)));
            return None;
        }
        Some(Self {
            map,
            asked: RefCell::default(),
            notes,
        })
    }

    pub(in crate::dialect) fn at(&self) -> &'a At {
        &self.map.at
    }

    pub(in crate::dialect) fn notes(&self) -> &'a Notes {
        self.notes
    }

    /// The value of a key; one that is empty is not there.
    pub(in crate::dialect) fn get(&self, name: &'static str) -> Option<&'a Node> {
        self.asked.borrow_mut().push(name);
        self.map.get(name).filter(|node| match &node.value {
            Value::Null => false,
            Value::Text(text) => !text.is_empty(),
            Value::List(_) | Value::Map(_) => true,
        })
    }

    pub(in crate::dialect) fn text(&self, name: &'static str) -> Option<&'a str> {
        let node = self.get(name)?;
        let text = node.as_text();
        if text.is_none() {
            self.wrong(node, "a text");
        }
        text
    }

    /// A text in small letters.
    pub(in crate::dialect) fn word(&self, name: &'static str) -> Option<String> {
        self.text(name).map(|text| text.trim().to_ascii_lowercase())
    }

    /// The value of a key that must be there.
    pub(in crate::dialect) fn required(&self, name: &'static str) -> Option<&'a str> {
        if self.get(name).is_none() {
            self.error(name, "it is missing");
        }
        self.text(name)
    }

    pub(in crate::dialect) fn number<T: FromStr>(&self, name: &'static str) -> Option<T> {
        let node = self.get(name)?;
        let number = node.as_text().and_then(|text| {
            let text = text.trim();
            text.strip_suffix(".0").unwrap_or(text).parse().ok()
        });
        if number.is_none() {
            self.wrong(node, "a number");
        }
        number
    }

    pub(in crate::dialect) fn switch(&self, name: &'static str) -> bool {
        self.switched(name).unwrap_or(false)
    }

    /// A switch that may have been left alone.
    pub(in crate::dialect) fn switched(&self, name: &'static str) -> Option<bool> {
        let node = self.get(name)?;
        let word = node.as_text().map(str::to_ascii_lowercase);
        match word.as_deref() {
            Some("true" | "yes" | "on" | "y" | "1" | "1.0") => Some(true),
            Some(word) if is_off(word) => Some(false),
            _ => {
                self.wrong(node, "`true` or `false`");
                None
            }
        }
    }

    /// A span of time, as Go writes it, or a number of `unit`s.
    pub(in crate::dialect) fn span(&self, name: &'static str, unit: Duration) -> Option<Duration> {
        let node = self.get(name)?;
        let text = node.as_text().unwrap_or_default().trim();
        let span = match text.parse::<u32>() {
            Ok(n) => Some(unit * n),
            Err(_) => Duration::parse(&text.into()).ok(),
        };
        if span.is_none() {
            self.wrong(node, "a span of time such as `15s`");
        }
        span.filter(|span| !span.is_zero())
    }

    /// Texts: a list of them, or one.
    pub(in crate::dialect) fn list(&self, name: &'static str) -> Vec<(&'a Node, &'a str)> {
        let Some(node) = self.get(name) else {
            return Vec::new();
        };
        let mut texts = Vec::new();
        for item in node.items() {
            match item.as_text() {
                Some(text) => texts.push((item, text)),
                None => self.wrong(item, "a text"),
            }
        }
        texts
    }

    /// The parts of a list.
    pub(in crate::dialect) fn items(&self, name: &'static str) -> &'a [Node] {
        self.get(name).map(Node::items).unwrap_or_default()
    }

    pub(in crate::dialect) fn map(&self, name: &'static str) -> Option<Self> {
        let node = self.get(name)?;
        // PHP has one empty array for both.
        let is_empty_list = matches!(&node.value, Value::List(items) if items.is_empty());
        Self::of(node, self.notes).filter(|_| !is_empty_list)
    }

    /// A map that is there and not switched off by its `switch`.
    pub(in crate::dialect) fn enabled(
        &self,
        name: &'static str,
        switch: &'static str,
    ) -> Option<Self> {
        self.map(name).filter(|map| map.switch(switch))
    }

    pub(in crate::dialect) fn error(&self, name: &str, text: impl Display) {
        self.notes.error(&self.place(name), text);
    }

    pub(in crate::dialect) fn left_out(&self, name: &str, text: impl Display) {
        self.notes.left_out(&self.place(name), text);
    }

    /// As [`Self::left_out`], where sessions go another way than was meant.
    pub(in crate::dialect) fn astray(&self, name: &str, text: impl Display) {
        self.notes.astray(&self.place(name), text);
    }

    fn place(&self, name: &str) -> At {
        let node = self.map.get(name);
        node.map_or_else(|| self.at().key(name), |node| node.at.clone())
    }

    /// Keys that are understood, and change nothing here.
    pub(in crate::dialect) fn silent(&self, names: &[&'static str]) {
        self.asked.borrow_mut().extend(names);
    }

    /// Keys that are understood, and have no word here: what they say gets lost unless it is nothing.
    pub(in crate::dialect) fn no_word(&self, names: &[&'static str], why: &str) {
        for name in names {
            if self.get(name).is_some_and(|node| !is_nothing(node)) {
                self.left_out(name, why);
            }
        }
    }

    /// As [`Self::no_word`], where sessions go another way than was meant.
    pub(in crate::dialect) fn no_way(&self, names: &[&'static str], why: &str) {
        for name in names {
            if self.get(name).is_some_and(|node| !is_nothing(node)) {
                self.astray(name, why);
            }
        }
    }

    /// Keys without which something else would be done than was meant.
    pub(in crate::dialect) fn refuse(&self, names: &[&'static str], why: &str) {
        for name in names {
            if self.get(name).is_some_and(|node| !is_nothing(node)) {
                self.error(name, why);
            }
        }
    }

    /// Tells of the keys that nobody has asked for.
    pub(in crate::dialect) fn finish(self) {
        for (key, node) in self.unasked() {
            self.tell_unasked(key, node);
        }
    }

    /// As [`Self::finish`], of a map in which people keep things to refer to: where there are many, in one line.
    pub(in crate::dialect) fn finish_whole(self) {
        const SHOWN: usize = 3;
        let unasked = self.unasked();
        if unasked.len() <= SHOWN {
            return self.finish();
        }
        let names = unasked[..SHOWN].iter();
        let names = names.map(|(key, _)| format!("`{}`", key.escape_debug()));
        let names = names.collect::<Vec<_>>().join(", ");
        let others = unasked.len() - SHOWN;
        let text = format_args!(
            "for {names} and {others} more keys there is no word here, they are left out"
        );
        self.notes.left_out(&unasked[0].1.at, text);
    }

    /// What is there, and was asked for by nobody.
    fn unasked(&self) -> Vec<(&'a str, &'a Node)> {
        let asked = self.asked.borrow();
        let is_asked = |key: &str| asked.iter().any(|name| name.eq_ignore_ascii_case(key));
        let entries = self.map.entries().iter();
        let unasked = entries.filter(|(key, node)| !is_nothing(node) && !is_asked(key));
        unasked.map(|(key, node)| (key.as_str(), node)).collect()
    }

    fn tell_unasked(&self, key: &str, node: &Node) {
        let asked = self.asked.borrow();
        let hint = did_you_mean(key, asked.iter().copied());
        let text = format_args!("there is no word for it here{hint}, it is left out");
        self.notes.left_out(&node.at, text);
    }

    fn wrong(&self, node: &Node, expected: &str) {
        let found = found(node);
        self.notes
            .error(&node.at, format_args!("{found}, expected {expected}"));
    }
}

/// Whether a value says no more than its absence does.
fn is_nothing(node: &Node) -> bool {
    match &node.value {
        Value::Null => true,
        Value::Text(text) => text.is_empty() || is_off(text),
        Value::List(items) => items.is_empty(),
        Value::Map(entries) => {
            let is_switched_off =
                |key: &str| node.get(key).and_then(Node::as_text).is_some_and(is_off);
            let is_nothing = entries.iter().all(|(_, node)| is_nothing(node));
            is_nothing || is_switched_off("enabled") || is_switched_off("enable")
        }
    }
}

/// A switch that is off, in the words of YAML and of fronts.
fn is_off(word: &str) -> bool {
    let words = ["false", "no", "off", "n", "0", "0.0"];
    words.iter().any(|off| word.eq_ignore_ascii_case(off))
}

/// What is there; of a text it may be a secret, so it is not shown.
fn found(node: &Node) -> &'static str {
    match &node.value {
        Value::Null => "nothing is here",
        Value::Text(_) => "a text or a number is here that cannot be used",
        Value::List(_) => "a list is here",
        Value::Map(_) => "a map is here",
    }
}
