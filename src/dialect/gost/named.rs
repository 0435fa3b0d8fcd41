//! Bypasses by their names: in a file of gost's `bypass` is nothing else, and what is no name of one is passed over.

use super::bypass;
use crate::dialect::tree::{Node, Value};

/// Gives what is said in place a name, and an entry of `bypasses`.
pub(super) fn bypasses(root: &mut Node) {
    let known = root.get("bypasses").map(Node::items).unwrap_or_default();
    let known = known.iter().filter_map(|one| one.get("name")?.as_text());
    let mut names = Names {
        known: known.map(str::to_owned).collect(),
        made: Vec::new(),
    };
    if let Value::Map(entries) = &mut root.value {
        for (key, node) in entries {
            match &*key.to_ascii_lowercase() {
                "services" => each(node).for_each(|service| names.service(service)),
                "chains" | "hops" => names.below(node),
                _ => {}
            }
        }
    }
    for one in names.made {
        root.push("bypasses", one);
    }
}

fn each(list: &mut Node) -> impl Iterator<Item = &mut Node> {
    match &mut list.value {
        Value::List(items) => items.iter_mut(),
        _ => [].iter_mut(),
    }
}

struct Names {
    known: Vec<String>,
    made: Vec<Node>,
}

impl Names {
    /// A key of `-L` is among its metadata, where gost reads none from a file.
    fn service(&mut self, service: &mut Node) {
        if bypass::of(service).is_none()
            && let Value::Map(entries) = &mut service.value
            && let Some((_, keys)) = entries
                .iter_mut()
                .find(|(key, _)| key.eq_ignore_ascii_case("metadata"))
            && let Some(bypass) = keys.take("bypass")
        {
            if keys.entries().is_empty() {
                service.take("metadata");
            }
            service.set("bypass", bypass);
        }
        self.below(service);
    }

    /// What a hop has of it stands in its chain, and what a node has in its hop.
    fn below(&mut self, node: &mut Node) {
        match &mut node.value {
            Value::List(items) => items.iter_mut().for_each(|item| self.below(item)),
            Value::Map(entries) => {
                for (key, value) in entries {
                    match &*key.to_ascii_lowercase() {
                        "bypass" | "bypasses" => match &mut value.value {
                            Value::List(items) => items.iter_mut().for_each(|item| self.name(item)),
                            _ => self.name(value),
                        },
                        "metadata" | "forwarder" => {}
                        _ => self.below(value),
                    }
                }
            }
            Value::Null | Value::Text(_) => {}
        }
    }

    fn name(&mut self, bypass: &mut Node) {
        let Some(text) = bypass.as_text().filter(|text| !text.is_empty()) else {
            return;
        };
        if self.known.iter().any(|name| name == text) {
            return;
        }
        let at = bypass.at.clone();
        let text_of = |text: &str| Node::text(text, &at);
        let (list, is_whitelist) = match text.strip_prefix('~') {
            Some(list) => (list, true),
            None => (text, false),
        };
        let matchers = list.split(',').map(str::trim).filter(|one| !one.is_empty());
        let matchers = Value::List(matchers.map(text_of).collect());
        let name = (0..)
            .map(|n| format!("bypass-{n}"))
            .find(|name| !self.known.contains(name))
            .unwrap_or_default();
        let mut entries = vec![("name".to_owned(), text_of(&name))];
        if is_whitelist {
            entries.push(("whitelist".to_owned(), text_of("true")));
        }
        entries.push(("matchers".to_owned(), Node::new(matchers, &at)));
        self.made.push(Node::new(Value::Map(entries), &at));
        bypass.value = Value::Text(name.clone());
        self.known.push(name);
    }
}
