//! sing-box' binary lists of rules, as what they are made from.
//!
//! ```text
//! "SRS" version(u8) zlib( rules(varint), rule… )
//! rule:    0, item…, 255, invert(u8)   or   1, and or or(u8), rules(varint), rule…, invert(u8)
//! item:    kind(u8), values
//! ```

use std::collections::HashSet;

use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::decompress_to_vec_zlib_with_limit as unpacked;

use crate::dialect::clients::packed::{Budget, MOST, Packed, Unreadable, address, names, networks};
use crate::dialect::tree::{At, Node, Value};

/// The newest.
const VERSION: u8 = 4;

/// How deep rules may stand in others.
const MAX_DEPTH: usize = 16;

/// Marks in front of names: all that ends so; the name and all below it. And behind one: where it goes on after a dot.
const ENDING: char = '\r';
const BELOW: char = '\n';
const GOES_ON: char = '\u{8}';

/// The rules of a list.
pub(super) fn rules(bytes: &[u8], at: &At, budget: &Budget) -> Result<Node, Unreadable> {
    let mut head = Packed::new(bytes, budget);
    if head.take(3)? != b"SRS" {
        return Err(Unreadable::Damaged);
    }
    match head.byte()? {
        1..=VERSION => {}
        version => return Err(Unreadable::Version(version)),
    }
    let plain = unpacked(head.rest(), MOST).map_err(|e| match e.status {
        TINFLStatus::HasMoreOutput => Unreadable::TooLarge,
        _ => Unreadable::Damaged,
    })?;
    let mut packed = Packed::new(&plain, budget);
    let reader = Reader { at };
    reader.rules(&mut packed, 0)
}

struct Reader<'a> {
    at: &'a At,
}

impl Reader<'_> {
    fn node(&self, value: Value) -> Node {
        Node::new(value, self.at)
    }

    fn texts(&self, texts: impl IntoIterator<Item = String>) -> Node {
        let texts = texts.into_iter().map(|text| Node::text(text, self.at));
        self.node(Value::List(texts.collect()))
    }

    fn rules(&self, packed: &mut Packed<'_>, depth: usize) -> Result<Node, Unreadable> {
        let count = packed.varint()?;
        let rules = (0..count).map(|_| self.rule(packed, depth));
        let rules: Vec<Node> = rules.collect::<Result<_, _>>()?;
        Ok(self.node(Value::List(rules)))
    }

    fn rule(&self, packed: &mut Packed<'_>, depth: usize) -> Result<Node, Unreadable> {
        packed.spend()?;
        match packed.byte()? {
            0 => self.plain(packed),
            1 if depth < MAX_DEPTH => self.logical(packed, depth),
            _ => Err(Unreadable::Damaged),
        }
    }

    fn logical(&self, packed: &mut Packed<'_>, depth: usize) -> Result<Node, Unreadable> {
        let mode = match packed.byte()? {
            0 => "and",
            1 => "or",
            _ => return Err(Unreadable::Damaged),
        };
        let rules = self.rules(packed, depth + 1)?;
        let rule = vec![
            ("type".to_owned(), Node::text("logical", self.at)),
            ("mode".to_owned(), Node::text(mode, self.at)),
            ("rules".to_owned(), rules),
        ];
        self.inverted(rule, packed)
    }

    fn inverted(
        &self,
        mut rule: Vec<(String, Node)>,
        packed: &mut Packed<'_>,
    ) -> Result<Node, Unreadable> {
        if packed.byte()? != 0 {
            rule.push(("invert".to_owned(), Node::text("true", self.at)));
        }
        Ok(self.node(Value::Map(rule)))
    }

    fn plain(&self, packed: &mut Packed<'_>) -> Result<Node, Unreadable> {
        let mut rule: Vec<(String, Node)> = Vec::new();
        loop {
            // Several items may be about the same.
            let mut add = |key: &str, texts: Vec<String>| {
                let new = self.texts(texts);
                let found = rule.iter_mut().find(|(known, _)| known == key);
                match (found.map(|(_, node)| &mut node.value), new.value) {
                    (Some(Value::List(all)), Value::List(more)) => all.extend(more),
                    (None, Value::List(all)) if !all.is_empty() => {
                        rule.push((key.to_owned(), self.node(Value::List(all))));
                    }
                    _ => {}
                }
            };
            match packed.byte()? {
                2 => {
                    let (names, suffixes) = named(names(packed, Packed::varint)?);
                    add("domain", names);
                    add("domain_suffix", suffixes);
                }
                16 => {
                    let (suffixes, patterns) = of_adguard(names(packed, Packed::varint)?);
                    add("domain_suffix", suffixes);
                    add("domain_regex", patterns);
                }
                kind @ (5 | 6) => {
                    let read = |packed: &mut Packed<'_>| {
                        let len = packed.varint()?;
                        address(packed.take(len)?)
                    };
                    let networks = networks(packed, read)?;
                    let networks = networks.iter().map(ToString::to_string).collect();
                    add(KEYS[usize::from(kind)], networks);
                }
                kind @ (0 | 7 | 9) => {
                    let count = packed.varint()?;
                    let numbers = (0..count).map(|_| {
                        packed.spend()?;
                        packed.array().map(u16::from_be_bytes)
                    });
                    let numbers: Result<Vec<u16>, _> = numbers.collect();
                    let numbers = numbers?.iter().map(ToString::to_string).collect();
                    add(KEYS[usize::from(kind)], numbers);
                }
                kind @ (1 | 3 | 4 | 8 | 10..=15 | 17) => {
                    add(KEYS[usize::from(kind)], strings(packed)?);
                }
                255 => return self.inverted(rule, packed),
                kind => {
                    let what = KEYS.get(usize::from(kind)).ok_or(Unreadable::Damaged)?;
                    return Err(Unreadable::Unbuilt(format!("`{what}`")));
                }
            }
        }
    }
}

/// What the items are called, by their kinds.
const KEYS: [&str; 23] = [
    "query_type",
    "network",
    "domain",
    "domain_keyword",
    "domain_regex",
    "source_ip_cidr",
    "ip_cidr",
    "source_port",
    "source_port_range",
    "port",
    "port_range",
    "process_name",
    "process_path",
    "package_name",
    "wifi_ssid",
    "wifi_bssid",
    "adguard_domain",
    "process_path_regex",
    "network_type",
    "network_is_expensive",
    "network_is_constrained",
    "network_interface_address",
    "default_interface_address",
];

fn strings(packed: &mut Packed<'_>) -> Result<Vec<String>, Unreadable> {
    let count = packed.varint()?;
    let one = |_| {
        packed.spend()?;
        let len = packed.varint()?;
        let text = String::from_utf8(packed.take(len)?.to_vec());
        text.map_err(|_| Unreadable::Damaged)
    };
    (0..count).map(one).collect()
}

/// Names, and names with all below them. Older lists have two entries for one of these.
fn named(all: Vec<String>) -> (Vec<String>, Vec<String>) {
    let endings: HashSet<&str> = all
        .iter()
        .filter_map(|name| name.strip_prefix(ENDING)?.strip_prefix('.'))
        .collect();
    let plain: HashSet<&str> = all.iter().map(String::as_str).collect();
    let (mut names, mut suffixes) = (Vec::new(), Vec::new());
    for name in &all {
        if let Some(name) = name.strip_prefix(BELOW) {
            suffixes.push(name.to_owned());
        } else if let Some(ending) = name.strip_prefix(ENDING) {
            match ending.strip_prefix('.').filter(|name| plain.contains(name)) {
                Some(name) => suffixes.push(name.to_owned()),
                None => suffixes.push(ending.to_owned()),
            }
        } else if !endings.contains(name.as_str()) {
            names.push(name.clone());
        }
    }
    (names, suffixes)
}

/// Names with all below them, and patterns for the other rules of AdGuard: `||a.test^`, `|a.test^`, `a.test^`, `||a.test`.
fn of_adguard(all: Vec<String>) -> (Vec<String>, Vec<String>) {
    let (mut suffixes, mut patterns) = (Vec::new(), Vec::new());
    for rule in all {
        let (front, inner) = match rule.chars().next() {
            Some(BELOW) => ("(^|\\.)", &rule[1..]),
            Some(ENDING) => ("", &rule[1..]),
            _ => ("^", &rule[..]),
        };
        let (inner, behind) = match inner.strip_suffix(GOES_ON) {
            Some(inner) => (inner, "(\\.|$)"),
            None => (inner, "$"),
        };
        if rule.starts_with(BELOW) && behind == "$" && !inner.contains('*') {
            suffixes.push(inner.to_owned());
        } else {
            let parts: Vec<String> = inner.split('*').map(regex::escape).collect();
            patterns.push(format!("{front}{}{behind}", parts.join("[^.]*")));
        }
    }
    (suffixes, patterns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_of_a_kind_are_one_list() {
        let plain = [1, 0, 3, 1, 1, b'a', 10, 0, 3, 2, 1, b'b', 1, b'c', 255, 0];
        let packed = miniz_oxide::deflate::compress_to_vec_zlib(&plain, 1);
        let bytes = [b"SRS\x01", &packed[..]].concat();
        let rules = rules(&bytes, &At::default(), &Budget::default()).unwrap();
        let [rule] = rules.items() else {
            panic!("{rules:?}");
        };
        let [(key, words)] = rule.entries() else {
            panic!("{rule:?}");
        };
        let words: Vec<_> = words.items().iter().filter_map(Node::as_text).collect();
        assert_eq!(
            (key.as_str(), &words[..]),
            ("domain_keyword", &["a", "b", "c"][..])
        );
    }
}
