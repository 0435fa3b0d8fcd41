//! Proxies of a provider, as the provider would have them: those that its filters take, and with what its `override` says of all.

use std::collections::HashMap;

use super::groups::Filters;
use crate::dialect::tree::keys::{Keys, Notes};
use crate::dialect::tree::{Node, Value};

/// Keys of `override` that stand in the place of a proxy's own.
const OF_PROXIES: [&str; 11] = [
    "udp",
    "tfo",
    "mptcp",
    "skip-cert-verify",
    "dialer-proxy",
    "interface-name",
    "routing-mark",
    "ip-version",
    "up",
    "down",
    "udp-over-tcp",
];

/// Of a text that all proxies get, in bytes.
const LONGEST: usize = 256;

/// Makes the proxies of all providers in the file what they are there.
pub(super) fn settle(root: &mut Node, notes: &Notes) {
    let own = root.get("proxies").map(Node::items).unwrap_or_default();
    let own = own.iter().filter_map(|proxy| proxy.get("name")?.as_text());
    let mut names: HashMap<String, usize> = own.map(|name| (name.to_owned(), 1)).collect();
    let all = root.get_mut("proxy-providers");
    let Some(Value::Map(all)) = all.map(|node| &mut node.value) else {
        return;
    };
    for (_, provider) in all {
        if provider.get("payload").is_some() && choose(provider, notes).is_some() {
            override_all(provider);
        }
        distinguish(provider, &mut names);
    }
}

/// Gives its proxies names that no other has: groups find them by these.
fn distinguish(provider: &mut Node, names: &mut HashMap<String, usize>) {
    let Some(Value::List(proxies)) = provider.get_mut("payload").map(|node| &mut node.value) else {
        return;
    };
    for proxy in proxies {
        let Some(Value::Text(name)) = proxy.get_mut("name").map(|node| &mut node.value) else {
            continue;
        };
        let times = names.get(name).copied().unwrap_or(0);
        if times > 0 {
            let others = (times + 1..).map(|n| format!("{name} {n}"));
            let free = others.into_iter().find(|other| !names.contains_key(other));
            names.insert(std::mem::take(name), times + 1);
            *name = free.unwrap_or_default();
        }
        names.insert(name.clone(), 1);
    }
}

/// Keeps the proxies that the filters take; `None` where these cannot be read, which is told.
fn choose(provider: &mut Node, notes: &Notes) -> Option<()> {
    let keys = Keys::of(provider, notes)?;
    let filters = Filters::read(&keys, "filter").zip(Filters::read(&keys, "exclude-filter"));
    let kinds = keys.text("exclude-type").unwrap_or_default();
    let kinds = kinds.split('|').filter(|kind| !kind.is_empty());
    let kinds: Vec<String> = kinds.map(str::to_owned).collect();
    let Some((filter, excluded)) = filters else {
        // Those that should not be there might be.
        let none = Node::new(Value::List(Vec::new()), &provider.at);
        provider.set("payload", none);
        return None;
    };
    for key in ["filter", "exclude-filter", "exclude-type"] {
        provider.take(key);
    }
    // Its words are those of `type` here, and not as in groups the names of protocols.
    let is_in = |proxy: &Node| {
        let text = |key: &str| proxy.get(key).and_then(Node::as_text).unwrap_or_default();
        let (name, kind) = (text("name"), text("type"));
        let is_out =
            excluded.take(name) || kinds.iter().any(|word| word.eq_ignore_ascii_case(kind));
        (filter.is_empty() || filter.take(name)) && !is_out
    };
    if let Some(Value::List(proxies)) = provider.get_mut("payload").map(|node| &mut node.value) {
        proxies.retain(is_in);
        let name = |proxy: &Node| proxy.get("name").and_then(Node::as_text).map(str::to_owned);
        proxies.sort_by_cached_key(|proxy| filter.first(&name(proxy).unwrap_or_default()));
    }
    Some(())
}

/// What is left in `override` has no word here.
fn override_all(provider: &mut Node) {
    // Its older place.
    let through = provider.take("dialer-proxy");
    let mut over = provider.take("override");
    let mut take = |key: &str| over.as_mut().and_then(|over| over.take(key));
    // All proxies have it, so it is short.
    let is_short = |node: &Node| node.as_text().is_some_and(|text| text.len() <= LONGEST);
    let mut said: Vec<(&str, Node)> = Vec::new();
    said.extend(through.filter(is_short).map(|node| ("dialer-proxy", node)));
    for key in OF_PROXIES {
        said.extend(take(key).filter(is_short).map(|node| (key, node)));
    }
    let mut affix = |key: &str| {
        let node = take(key).filter(is_short);
        let text = node.as_ref().and_then(Node::as_text);
        text.unwrap_or_default().to_owned()
    };
    let (prefix, suffix) = (affix("additional-prefix"), affix("additional-suffix"));
    if let Some(rest) = over.filter(|over| !over.entries().is_empty()) {
        provider.set("override", rest);
    }
    let Some(Value::List(proxies)) = provider.get_mut("payload").map(|node| &mut node.value) else {
        return;
    };
    for proxy in proxies {
        for (key, node) in &said {
            proxy.set(key, node.clone());
        }
        if let Some(Value::Text(name)) = proxy.get_mut("name").map(|node| &mut node.value) {
            *name = format!("{prefix}{name}{suffix}");
        }
    }
}
