//! Names that are answered without a server: V2Ray 4's `hosts` and V2Ray 5's `staticHosts`.

use super::super::routing::{NOTHING_MARKED, patterns_of_text, wrong_kind};
use super::typed_pattern;
use crate::address::Host;
use crate::dialect::v2ray::json::{Node, Object, found};
use crate::dns::{HostEntry, HostNames, HostValue};
use crate::matching::{Geodata, Pattern};

pub(super) fn read(dns: &Object, geodata: &Geodata) -> Vec<HostEntry> {
    let mut hosts = Vec::new();
    if let Some(node) = dns.get("hosts") {
        match node.value.as_object() {
            Some(entries) => {
                for (key, value) in entries {
                    let at = Node::at(node.path.key(key), value, node.report());
                    let patterns = host_pattern(&at, key, geodata);
                    let values = values(&at);
                    add(&mut hosts, &at, patterns, values);
                }
            }
            None => node.error(format!("{} is not an object", found(node.value))),
        }
    }
    for node in dns.array("staticHosts") {
        let Some(entry) = node.object() else { continue };
        let pattern = typed_pattern(&entry);
        let other = entry.get("proxiedDomain");
        let other = other.filter(|node| node.value.as_str() != Some(""));
        let to = other.or_else(|| entry.get("ip"));
        let values = to.as_ref().and_then(values);
        if to.is_none() {
            entry
                .node
                .error("neither `ip` nor `proxiedDomain` says what the name stands for");
        }
        entry.finish();
        add(&mut hosts, &node, pattern.map(|p| vec![p]), values);
    }
    hosts
}

fn add(
    hosts: &mut Vec<HostEntry>,
    node: &Node,
    patterns: Option<Vec<Pattern>>,
    values: Option<Vec<HostValue>>,
) {
    if let (Some(patterns), Some(values)) = (patterns, values) {
        match HostNames::new(patterns) {
            Ok(names) => hosts.push(HostEntry { names, values }),
            Err(e) => node.error(e.to_string()),
        }
    }
}

/// As in a rule, but a plain text is a whole name.
fn host_pattern(node: &Node, key: &str, geodata: &Geodata) -> Option<Vec<Pattern>> {
    if !key.contains(':') {
        return Some(vec![Pattern::Full(key.to_owned())]);
    }
    if let Some(guess) = wrong_kind(key) {
        node.warn(guess);
    }
    let read = patterns_of_text(key, geodata);
    if read.as_ref().is_ok_and(Vec::is_empty) {
        node.warn(NOTHING_MARKED);
    }
    read.map_err(|text| node.error(text)).ok()
}

/// An address or a name, a list of addresses, or Xray's response code (`#3`). A name in a list is the only one that counts, as in
/// V2Ray.
fn values(node: &Node) -> Option<Vec<HostValue>> {
    let nodes = if node.value.is_array() {
        node.array()
    } else {
        vec![node.clone()]
    };
    let mut all = Vec::new();
    for node in &nodes {
        let text: String = node.read()?;
        if let Some(code) = text.trim().strip_prefix('#') {
            return match code.parse() {
                Ok(code) => Some(vec![HostValue::Code(code)]),
                Err(_) => {
                    let text = text.escape_debug();
                    node.error(format!(
                        "`{text}` is no response code, expected such as `#3`"
                    ));
                    None
                }
            };
        }
        match Host::parse(text.trim()) {
            Ok(Host::Ip(ip)) => all.push(HostValue::Ip(ip.to_canonical())),
            Ok(Host::Domain(name)) => return Some(vec![HostValue::Name(name)]),
            Err(e) => {
                let text = text.escape_debug();
                node.warn(format!(
                    "`{text}` is neither an IP address nor a name, so the name has no address: {e}"
                ));
                return Some(vec![HostValue::Code(3)]);
            }
        }
    }
    if all.is_empty() {
        node.error("the list is empty, expected an IP address or a name");
        return None;
    }
    Some(all)
}
