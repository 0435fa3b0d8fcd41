//! Destinations that do not go through a chain, or not through a service.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Subnets, Ipv6Subnets};
use serde_json::{Map, Value as Json};

use super::Problems;
use crate::dialect::tree::{At, Node, Value};
use crate::matching::{Domains, Networks, Pattern, parse_network};
use crate::routing::Conditions;

/// Some destinations, or all but these.
pub(super) struct Bypass {
    /// What one of must hold; a rule has names and addresses in conditions of their own.
    pub matches: Vec<Asked>,
    /// All others are meant.
    pub is_whitelist: bool,
}

/// What a rule asks for, as settings and in the words of a config.json.
#[derive(Clone, Default)]
pub(super) struct Asked {
    pub conditions: Conditions,
    pub text: Map<String, Json>,
}

fn asked(key: &str, texts: Vec<String>, conditions: Conditions) -> Asked {
    let text = Map::from_iter([(key.to_owned(), texts.into())]);
    Asked { conditions, text }
}

/// What a service, a hop or a node says of one, if it does.
pub(super) fn of(node: &Node) -> Option<&Node> {
    node.get("bypass").or_else(|| node.get("bypasses"))
}

/// Reads `bypass` of a service, a hop or a node: patterns, or the name of one of `bypasses`.
pub(super) fn read(node: &Node, root: &Node, problems: &Problems) -> Option<Bypass> {
    let mut is_whitelist = false;
    let mut patterns: Vec<(String, Node)> = Vec::new();
    for item in node.items() {
        let text = item.as_text().unwrap_or_default();
        let mut named = root
            .get("bypasses")
            .map(Node::items)
            .unwrap_or_default()
            .iter();
        let named = named.find(|one| one.get("name").and_then(Node::as_text) == Some(text));
        if let Some(named) = named {
            let is_on = named.get("whitelist").and_then(Node::as_text) == Some("true");
            is_whitelist |= is_on || named.get("reverse").and_then(Node::as_text) == Some("true");
            for (key, value) in named.entries() {
                match &*key.to_ascii_lowercase() {
                    "name" | "whitelist" | "reverse" => {}
                    "matchers" => {
                        let texts = value.items().iter();
                        let texts =
                            texts.filter_map(|one| Some((one.as_text()?.to_owned(), one.clone())));
                        patterns.extend(texts);
                    }
                    other => problems.error(
                        &value.at,
                        &format!("`{other}` is not built here, expected `matchers`"),
                    ),
                }
            }
            continue;
        }
        let list = match text.strip_prefix('~') {
            Some(list) => {
                is_whitelist = true;
                list
            }
            None => text,
        };
        let texts = list
            .split(',')
            .map(str::trim)
            .filter(|text| !text.is_empty());
        for text in texts {
            match is_of_file(&item.at) && is_word(text) {
                // A list that keeps somebody out must not be lost by a slip of the pen.
                true => problems.error(
                    &item.at,
                    &format!("there is no bypass `{}`", text.escape_debug()),
                ),
                false => patterns.push((text.to_owned(), item.clone())),
            }
        }
    }
    if node.value == Value::Null {
        return None;
    }
    let (mut names, mut networks) = (Vec::new(), Vec::new());
    for (text, place) in patterns {
        match pattern(&text) {
            Some(Found::Name(name)) => names.push(name),
            Some(Found::Networks(found)) => networks.extend(found),
            None => {
                let text = text.escape_debug();
                let text = format!(
                    "`{text}` is not built, expected an address, `A-B`, a network, a name, `.name` or `*.name`"
                );
                problems.error(&place.at, &text);
            }
        }
    }
    let mut matches = Vec::new();
    if !names.is_empty() {
        let texts = names.iter().map(|name| match name {
            Pattern::Domain(name) => format!("domain:{name}"),
            Pattern::Regex(text) => format!("regexp:{text}"),
            Pattern::Full(name) | Pattern::Keyword(name) => format!("full:{name}"),
        });
        let texts = texts.collect();
        // Those with an expression are of our making.
        matches.extend(Domains::new(names).ok().map(|domains| {
            let conditions = Conditions {
                domains: Some(domains),
                ..Conditions::default()
            };
            asked("domain", texts, conditions)
        }));
    }
    if !networks.is_empty() {
        let texts = networks.iter().map(ToString::to_string).collect();
        let conditions = Conditions {
            ips: Some(Networks {
                inside: networks.into_iter().collect(),
                outside: Vec::new(),
            }),
            ..Conditions::default()
        };
        matches.push(asked("ip", texts, conditions));
    }
    Some(Bypass {
        matches,
        is_whitelist,
    })
}

/// A file of gost's calls a bypass by its name, and knows no list in place.
fn is_of_file(at: &At) -> bool {
    !["-L ", "-F "]
        .iter()
        .any(|option| at.source.starts_with(option))
}

/// What would be a name without a dot, of which there are hardly any.
fn is_word(text: &str) -> bool {
    matches!(pattern(text), Some(Found::Name(Pattern::Full(name))) if !name.contains('.'))
}

/// What one pattern is about.
enum Found {
    Name(Pattern),
    Networks(Vec<IpNet>),
}

/// Names, or networks; `None` of what is not built.
fn pattern(text: &str) -> Option<Found> {
    if let Ok(network) = parse_network(text) {
        return Some(Found::Networks(vec![network]));
    }
    if let Some((from, to)) = text.split_once('-')
        && let (Ok(from), Ok(to)) = (from.trim().parse(), to.trim().parse())
    {
        return range(from, to).map(Found::Networks);
    }
    let is_name = |name: &str| {
        let is_fit = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
        !name.is_empty() && name.chars().all(is_fit)
    };
    let lower = text.to_ascii_lowercase();
    if lower.contains(['*', '?']) {
        let is_fit = is_name(&lower.replace(['*', '?'], ""));
        return (is_fit && !may_be_an_address(&lower)).then(|| Found::Name(glob(&lower)));
    }
    // The name, and all below it.
    if let Some(name) = lower.strip_prefix('.')
        && is_name(name)
    {
        return Some(Found::Name(Pattern::Domain(name.to_owned())));
    }
    is_name(&lower).then(|| Found::Name(Pattern::Full(lower.clone())))
}

/// The networks from one address to another.
fn range(from: IpAddr, to: IpAddr) -> Option<Vec<IpNet>> {
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) if from <= to => {
            Some(Ipv4Subnets::new(from, to, 0).map(IpNet::V4).collect())
        }
        (IpAddr::V6(from), IpAddr::V6(to)) if from <= to => {
            Some(Ipv6Subnets::new(from, to, 0).map(IpNet::V6).collect())
        }
        _ => None,
    }
}

/// Stars stand for any text there, dots included, and for addresses as well: one that is about names alone has a letter that no
/// address has, or ends with a label that has any.
fn may_be_an_address(glob: &str) -> bool {
    let is_of_address = |c: char| c.is_ascii_hexdigit() || ".:*?".contains(c);
    if !glob.chars().all(is_of_address) {
        return false;
    }
    let label = glob.rsplit_once('.').map(|(_, label)| label);
    let is_label = |label: &str| {
        !label.contains(['*', '?']) && label.contains(|c: char| c.is_ascii_alphabetic())
    };
    !label.is_some_and(is_label)
}

fn glob(text: &str) -> Pattern {
    let quoted = text.chars().map(|c| match c {
        '*' => ".*".to_owned(),
        '?' => ".".to_owned(),
        c => regex::escape(&c.to_string()),
    });
    Pattern::Regex(format!("^{}$", quoted.collect::<String>()))
}
