//! `rule-providers`: those that stand in the file, and those of the well-known collections.

use super::conditions::{Condition, Lost, any_of, inner};
use crate::dialect::clients::logic::Any;
use crate::dialect::clients::rules::Asks;
use crate::dialect::clients::sets;
use crate::dialect::tree::Node;
use crate::dialect::tree::keys::{Keys, Notes};

/// The providers of a file.
pub(super) struct Sets<'n> {
    all: sets::Sets<'n>,
    notes: &'n Notes,
}

impl<'n> Sets<'n> {
    pub(super) fn of(keys: &Keys<'n>) -> Self {
        let all = keys.get("rule-providers").map(Node::entries);
        Self::new(all.unwrap_or_default(), keys.notes())
    }

    fn new(all: &'n [(String, Node)], notes: &'n Notes) -> Self {
        let all = all.iter().map(|(name, node)| (name.as_str(), node));
        Self {
            all: sets::Sets::new(all),
            notes,
        }
    }

    /// What is asked for by a rule that names a provider.
    pub(super) fn read(&self, name: &str, flags: &[&str], depth: usize) -> Result<Condition, Lost> {
        let unbuilt = || Lost::Kind("RULE-SET".to_owned());
        let set = self.all.get(name).ok_or_else(unbuilt)?;
        let text = |key: &str| set.get(key).and_then(Node::as_text);
        let condition = match text("type") {
            Some("inline") => {
                let lines = set.get("payload").map(Node::items).unwrap_or_default();
                let lines = lines.iter().filter_map(Node::as_text).map(str::trim);
                // They refer to no other list.
                let none = Self::new(&[], self.notes);
                let all: Result<_, _> = match text("behavior") {
                    Some("domain") => lines.map(|line| Ok(names_of(line))).collect(),
                    Some("ipcidr") => {
                        let lines = lines.map(|line| format!("IP-CIDR,{line}"));
                        lines.map(|line| inner(&line, &none, depth)).collect()
                    }
                    _ => lines.map(|line| inner(line, &none, depth)).collect(),
                };
                any_of(all?)
            }
            _ => {
                let places = ["url", "path"].into_iter();
                let mut known = places.map(|key| sets::of_geodata(set, key, self.notes));
                let any = known.find_map(|any| any).ok_or_else(unbuilt)?;
                let resolves = !any.asks_for_names();
                Condition { any, resolves }
            }
        };
        // Addresses in it would be those of sources.
        let is_about_sources = flags.contains(&"src");
        match self.all.spend(condition.any.entries()) && !is_about_sources {
            true => Ok(condition),
            false => Err(unbuilt()),
        }
    }
}

fn names_of(text: &str) -> Condition {
    let mut asks = Asks::default();
    asks.add("domain", pattern(text));
    Condition {
        any: Any::of(asks),
        resolves: false,
    }
}

/// In V2Ray's words: `a.test` alone; `+.a.test`, and all below it; `.a.test`, all below it; `*.a.test`, what is one name below it.
pub(super) fn pattern(text: &str) -> String {
    let quoted = |name: &str| {
        let parts = name.split('*').map(regex::escape);
        parts.collect::<Vec<_>>().join("[^.]+")
    };
    if let Some(name) = text.strip_prefix("+.") {
        match name.contains('*') {
            true => format!("regexp:(^|\\.){}$", quoted(name)),
            false => format!("domain:{name}"),
        }
    } else if let Some(name) = text.strip_prefix('.') {
        format!("regexp:\\.{}$", quoted(name))
    } else if text.contains('*') {
        format!("regexp:^{}$", quoted(text))
    } else {
        format!("full:{text}")
    }
}
