//! Keys where gost looks for them in a file: a URL has them for all parts of a service or a node alike.

use super::Problems;
use super::security::TLS_KEYS;
use crate::dialect::tree::{Node, Value};

/// Gives them to the parts.
pub(super) fn keys(root: &mut Node) {
    for service in list(root, "services") {
        let shared = shared(service);
        let own = service.get_mut("handler").and_then(own_retries);
        let all = shared.iter().find(|(key, _)| is(key, RETRIES));
        if let Some(retries) = own.as_ref().or(all.map(|(_, retries)| retries)) {
            add(service, &["handler"], RETRIES, retries);
        }
        hand_out(service, shared, ["handler", "listener"]);
    }
    for chain in list(root, "chains") {
        list(chain, "hops").iter_mut().for_each(nodes);
    }
    list(root, "hops").iter_mut().for_each(nodes);
}

/// Keys of URLs that gost makes a part of its own of, by which somebody is kept out or led elsewhere; as metadata they mean nothing.
const UNPLACED: [&str; 12] = [
    "admission",
    "climiter",
    "hosts",
    "ignorechain",
    "interface",
    "limiter",
    "logger",
    "netns",
    "observer",
    "resolver",
    "rlimiter",
    "so_mark",
];

/// Says of keys that are none of metadata where they stand.
pub(super) fn refuse_unplaced(root: &Node, problems: &Problems) {
    let maps = |part: &str| {
        let inside = ["handler", "listener", "connector", "dialer"];
        let own = move |one: &Node| {
            let parts = inside
                .iter()
                .filter_map(|name| one.get(name)?.get("metadata"));
            parts
                .chain(one.get("metadata"))
                .cloned()
                .collect::<Vec<_>>()
        };
        let all = root.get(part).map(Node::items).unwrap_or_default();
        let hops = all
            .iter()
            .flat_map(|one| one.get("hops").map(Node::items).unwrap_or_default());
        let nodes = hops
            .chain(all)
            .flat_map(|hop| hop.get("nodes").map(Node::items).unwrap_or_default());
        all.iter().chain(nodes).flat_map(own).collect::<Vec<Node>>()
    };
    for map in ["services", "chains", "hops"].into_iter().flat_map(maps) {
        for (key, node) in map.entries() {
            let first = key.split('.').next().unwrap_or_default();
            if UNPLACED
                .iter()
                .any(|known| known.eq_ignore_ascii_case(first))
            {
                let text = format!(
                    "`{}` is not built here, and would be lost in what is printed: say it in a file, where GOST has a part for it",
                    key.escape_debug()
                );
                problems.error(&node.at, &text);
            }
        }
    }
}

/// Those with `handler.` in front.
fn own_retries(handler: &mut Node) -> Option<Node> {
    let keys = handler.get_mut("metadata")?;
    let retries = keys.take(RETRIES)?;
    if keys.entries().is_empty() {
        handler.take("metadata");
    }
    Some(retries)
}

const RETRIES: &str = "retries";

fn nodes(hop: &mut Node) {
    for node in list(hop, "nodes") {
        let shared = shared(node);
        hand_out(node, shared, ["connector", "dialer"]);
    }
}

/// What is for all parts, which then is nowhere else.
fn shared(node: &mut Node) -> Vec<(String, Node)> {
    match node.take("metadata").map(|node| node.value) {
        Some(Value::Map(entries)) => entries,
        _ => Vec::new(),
    }
}

/// Both parts have all of them, but for what is the carrier's `tls`.
fn hand_out(node: &mut Node, shared: Vec<(String, Node)>, [speaks, carries]: [&str; 2]) {
    for (key, value) in shared {
        let plain = key.strip_prefix("tls.").unwrap_or(&key);
        if let Some(path) = TLS_KEYS.iter().find(|(known, _)| is(known, plain)) {
            let (inside, name) = path.1;
            add(node, &[&[carries, "tls"], inside].concat(), name, &value);
            continue;
        }
        if is(&key, RETRIES) {
            continue;
        }
        // Those of a URL are the WebSocket's.
        let (value, parts) = match is(&key, "header") {
            true => (headers(&value), &[carries][..]),
            false => (value, &[speaks, carries][..]),
        };
        for part in parts {
            add(node, &[part, "metadata"], &key, &value);
        }
    }
}

/// `Name: value`, once or several times, as the map that a file has.
fn headers(value: &Node) -> Node {
    let mut map = Node::new(Value::Map(Vec::new()), &value.at);
    for text in value.items().iter().filter_map(Node::as_text) {
        let (name, value) = text.split_once(':').unwrap_or((text, ""));
        map.set(name.trim(), Node::text(value.trim(), &map.at));
    }
    match map.entries().is_empty() {
        true => value.clone(),
        false => map,
    }
}

fn is(key: &str, name: &str) -> bool {
    key.eq_ignore_ascii_case(name)
}

/// Puts `value` where `path` leads, if there is none of the name; maps on the way are made.
fn add(node: &mut Node, path: &[&str], name: &str, value: &Node) {
    let Some((first, rest)) = path.split_first() else {
        if node.get(name).is_none() {
            node.set(name, value.clone());
        }
        return;
    };
    if node.get(first).is_none() {
        node.set(first, Node::new(Value::Map(Vec::new()), &value.at));
    }
    if let Some(inside) = node.get_mut(first) {
        add(inside, rest, name, value);
    }
}

/// The items of a list of this name.
fn list<'a>(node: &'a mut Node, name: &str) -> &'a mut [Node] {
    match node.get_mut(name).map(|node| &mut node.value) {
        Some(Value::List(items)) => items,
        _ => &mut [],
    }
}
