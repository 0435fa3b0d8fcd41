//! Keys where gost looks for them in a file: a URL has them for all parts of a service or a node alike.

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
        let value = match is(&key, "header") {
            true => headers(&value),
            false => value,
        };
        for part in [speaks, carries] {
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
