//! The keys of a service's or a node's part, in whatever spelling, and those that nobody has asked for.

use std::cell::RefCell;
use std::collections::HashSet;
use std::time::Duration;

use super::Problems;
use crate::dialect::tree::{At, Node, Value};
use crate::dialect::v2ray::json::Setting;
use crate::report::did_you_mean;

/// Maps that are looked into one after the other. gost hands the keys of a URL to all parts alike.
pub(super) struct Part<'a> {
    maps: Vec<&'a Node>,
    /// The keys that somebody has asked for; shared by the parts of one service or node.
    asked: &'a Asked,
    problems: &'a Problems,
    pub at: At,
}

/// The names that somebody understands, in small letters.
#[derive(Default)]
pub(super) struct Asked(RefCell<HashSet<String>>);

impl<'a> Part<'a> {
    pub(super) fn new(
        maps: impl IntoIterator<Item = Option<&'a Node>>,
        at: &At,
        asked: &'a Asked,
        problems: &'a Problems,
    ) -> Self {
        Self {
            maps: maps.into_iter().flatten().collect(),
            asked,
            problems,
            at: at.clone(),
        }
    }

    /// The value of the first of these names that is there.
    pub(super) fn get(&self, names: &[&str]) -> Option<&'a Node> {
        let mut asked = self.asked.0.borrow_mut();
        asked.extend(names.iter().map(|name| name.to_ascii_lowercase()));
        drop(asked);
        let found = names.iter().find_map(|name| {
            let entries = self.maps.iter().flat_map(|map| map.entries());
            let named = entries.filter(|(key, _)| bare(key).eq_ignore_ascii_case(name));
            // With a prefix it goes before the same without; of two alike the first counts.
            let found = named.min_by_key(|(key, _)| key.len() == name.len());
            found.map(|(_, node)| node)
        });
        let of_mux = names.iter().find_map(|name| {
            let name = name.strip_prefix("mux.")?;
            self.maps.iter().find_map(|map| map.get("mux")?.get(name))
        });
        found.or(of_mux).filter(|node| node.value != Value::Null)
    }

    /// Keys that are understood, and change nothing here.
    pub(super) fn silent(&self, names: &[&str]) {
        let names = names.iter().map(|name| name.to_ascii_lowercase());
        self.asked.0.borrow_mut().extend(names);
    }

    /// Keys of TLS where none is spoken: gost passes over them, and whoever wrote them believes that it is.
    pub(super) fn without_tls(&self, names: &[&str], carrier: &str) {
        for name in names {
            if let Some(node) = self.get(&[name]) {
                let text = format!(
                    "`{name}` says nothing here: `{carrier}` speaks no TLS, and who is in between can read it"
                );
                self.problems.warn(&node.at, &text);
            }
        }
    }

    /// Keys that would mean something, and are not built.
    pub(super) fn refuse(&self, names: &[&str], why: &str) {
        if let Some(node) = self.get(names) {
            self.problems.error(&node.at, why);
        }
    }

    pub(super) fn text(&self, names: &[&str]) -> Option<String> {
        let node = self.get(names)?;
        match node.as_text() {
            Some(text) => Some(text.to_owned()),
            None => self.bad(node, "a text"),
        }
    }

    /// As Go's ParseBool has it.
    pub(super) fn switch(&self, names: &[&str]) -> Option<bool> {
        let node = self.get(names)?;
        match node.as_text() {
            Some("1" | "t" | "T" | "true" | "TRUE" | "True") => Some(true),
            // A key without a value is none, as in gost.
            Some("0" | "f" | "F" | "false" | "FALSE" | "False" | "") => Some(false),
            _ => self.bad(node, "`true` or `false`"),
        }
    }

    pub(super) fn number(&self, names: &[&str]) -> Option<u32> {
        let node = self.get(names)?;
        match node.as_text().and_then(|text| text.parse().ok()) {
            Some(n) => Some(n),
            None => self.bad(node, "a number"),
        }
    }

    /// `15s`, `1m30s`, or a number of seconds.
    pub(super) fn span(&self, names: &[&str]) -> Option<Duration> {
        let node = self.get(names)?;
        match node.as_text().and_then(duration) {
            Some(span) => Some(span),
            None => self.bad(node, "a span of time such as `15s`"),
        }
    }

    fn bad<T>(&self, node: &Node, expected: &str) -> Option<T> {
        let found = match &node.value {
            Value::Text(text) => format!("`{}`", text.escape_debug()),
            Value::List(_) => "a list".to_owned(),
            Value::Map(_) => "a map".to_owned(),
            Value::Null => "nothing".to_owned(),
        };
        let text = format!("{found} is here, expected {expected}");
        self.problems.error(&node.at, &text);
        None
    }
}

/// The `type` of a handler, a listener, a connector or a dialer, in small letters.
pub(super) fn type_of(part: Option<&Node>, default: &str) -> String {
    let word = part.and_then(|part| part.get("type"));
    let word = word.and_then(Node::as_text).filter(|word| !word.is_empty());
    word.unwrap_or(default).to_ascii_lowercase()
}

/// What a mistake in the `type` is about: the word, else the part, else `whole`.
pub(super) fn place_of_type(part: Option<&Node>, whole: &Node) -> Node {
    let word = part.and_then(|part| part.get("type"));
    word.or(part).unwrap_or(whole).clone()
}

impl Asked {
    /// Tells of every key that nobody has asked for: gost is silent about them.
    pub(super) fn finish<'a>(
        &self,
        maps: impl IntoIterator<Item = Option<&'a Node>>,
        problems: &Problems,
    ) {
        let asked = self.0.borrow();
        for map in maps.into_iter().flatten() {
            for (key, node) in map.entries() {
                let name = bare(key);
                if name.eq_ignore_ascii_case("mux")
                    && let Value::Map(inside) = &node.value
                {
                    for (key, node) in inside {
                        tell(&asked, &format!("mux.{key}"), node, problems);
                    }
                    continue;
                }
                tell(&asked, name, node, problems);
            }
        }
    }
}

fn tell(asked: &HashSet<String>, name: &str, node: &Node, problems: &Problems) {
    let known = name.to_ascii_lowercase();
    if !asked.contains(&known) {
        let hint = did_you_mean(&known, asked.iter().map(String::as_str));
        let text = format!(
            "`{}` is not built here, or no key of this part{hint}",
            name.escape_debug()
        );
        problems.error(&node.at, &text);
    }
}

/// A key without the prefix that gost allows.
fn bare(key: &str) -> &str {
    let prefixes = ["ws.", "tls."];
    let cut = prefixes.iter().find_map(|prefix| {
        let front = key.get(..prefix.len())?;
        front
            .eq_ignore_ascii_case(prefix)
            .then(|| &key[prefix.len()..])
    });
    cut.unwrap_or(key)
}

/// As Go writes them, and numbers of seconds.
pub(super) fn duration(text: &str) -> Option<Duration> {
    if let Ok(secs) = text.parse::<u32>() {
        return Some(Duration::from_secs(secs.into()));
    }
    Duration::parse(&text.into()).ok()
}

/// Tells of keys that are none of `known`.
pub(super) fn check_keys(node: &Node, known: &[&str], problems: &Problems) {
    if matches!(node.value, Value::Text(_) | Value::List(_)) {
        let text = format!("expected `{}:` and what belongs to it", known[0]);
        problems.error(&node.at, &text);
    }
    for (key, value) in node.entries() {
        if !known.iter().any(|one| one.eq_ignore_ascii_case(key)) {
            let hint = did_you_mean(key, known.iter().copied());
            let text = format!("`{}` is not built here{hint}", key.escape_debug());
            problems.error(&value.at, &text);
        }
    }
}
