//! From a proxy as fronts write it to one of Clash.

use crate::config::Outbound;
use crate::dialect::clash::proxy;
use crate::dialect::links::Read;
use crate::dialect::tree::keys::Notes;
use crate::dialect::tree::{At, Node, Value};

/// Reads a proxy.
pub(super) fn read(node: &Node) -> Result<Read, Vec<String>> {
    let node = as_clash(&placed(&proxy::plain(node), &At::default()));
    let notes = Notes::default();
    let outbound = proxy::read(&node, &notes);
    let place = |key: &str| At::default().key(key);
    match &outbound {
        Some(outbound) if !outbound.leads_away() => {
            notes.error(
                &place("type"),
                "there is no server to test, expected a proxy",
            );
        }
        Some(outbound) if outbound.through.is_some() => {
            let text = "a proxy behind another one is not read here";
            notes.error(&place("dialer-proxy"), text);
        }
        _ => {}
    }
    let left_out = notes.into_result()?;
    let outbound = outbound.ok_or_else(|| vec!["it is no proxy".to_owned()])?;
    let name = "the proxy".to_owned();
    Ok(Read {
        outbound: Outbound { name, ..outbound },
        left_out,
    })
}

/// Words that Clash itself does not take, and whose sense is plain.
fn as_clash(node: &Node) -> Node {
    let mut node = node.clone();
    let word = |key: &str| {
        let text = node.get(key).and_then(Node::as_text).unwrap_or_default();
        text.trim().to_ascii_lowercase()
    };
    let kind = match &*word("type") {
        "shadowsocks" => "ss".to_owned(),
        "socks" => "socks5".to_owned(),
        other => other.to_owned(),
    };
    let is_ws = word("network") == "websocket";
    let (name, other) = match &*kind {
        "vmess" | "vless" => ("servername", "sni"),
        _ => ("sni", "servername"),
    };
    let mut put = |key: &str, text: &str| {
        let at = At::default().key(key);
        node.take(key);
        node.set(key, Node::text(text, &at));
    };
    put("type", &kind);
    if is_ws {
        put("network", "ws");
    }
    // Either names the server to TLS, whatever the protocol.
    if let Some(found) = node.take(other)
        && node
            .get(name)
            .and_then(Node::as_text)
            .is_none_or(str::is_empty)
    {
        node.set(name, found);
    }
    node
}

/// The same with nothing in front of the keys: whoever reads several knows which proxy it is.
pub(super) fn placed(node: &Node, at: &At) -> Node {
    let value = match &node.value {
        Value::Map(entries) => {
            let entries = entries.iter();
            let entries = entries.map(|(key, node)| (key.clone(), placed(node, &at.key(key))));
            Value::Map(entries.collect())
        }
        Value::List(items) => Value::List(items.iter().map(|one| placed(one, at)).collect()),
        other => other.clone(),
    };
    Node::new(value, at)
}
