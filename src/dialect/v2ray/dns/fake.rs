//! `fakedns`: networks whose addresses are made up for names.

use crate::config::{Draft, Inbound};
use crate::dialect::v2ray::json::{Node, found};
use crate::dns::{FakePool, Settings};
use crate::matching::parse_network;
use crate::report::{Path, Report};

/// What a config calls `fakedns`, at the top or for one server: a pool, a list of them, and in V2Ray 5 their networks
/// alone or the messages of its API. `None` asks for what is usual.
pub(in crate::dialect::v2ray) fn pools(node: &Node) -> Option<Vec<FakePool>> {
    let list = node.value.get("pools").filter(|list| list.is_array());
    let list = list.map(|list| {
        let at = node.path.key("pools");
        Node::at(at, list, node.report())
    });
    let list = match list {
        Some(list) => list.array(),
        None if node.value.is_array() => node.array(),
        None => return pool(node).map(|pool| vec![pool]),
    };
    let read: Vec<FakePool> = list.iter().filter_map(pool).collect();
    let mut all = Vec::new();
    apart(node, &mut all, &read);
    Some(all)
}

/// `fakedns` of one server, which may be `true`: the pools of the top.
pub(super) fn of_server(node: &Node) -> Option<Option<Vec<FakePool>>> {
    match node.value.as_bool() {
        Some(true) => Some(None),
        Some(false) => None,
        None => Some(pools(node)),
    }
}

fn pool(node: &Node) -> Option<FakePool> {
    if node.value.is_string() {
        return network(node, None);
    }
    if !node.value.is_object() {
        node.error(format!(
            "{} is not a pool, expected such as `{{\"ipPool\": \"198.18.0.0/15\", \"poolSize\": 65535}}`",
            found(node.value)
        ));
        return None;
    }
    let object = node.object()?;
    let size = object.first(&["poolSize", "lruSize"]);
    let of = object.get("ipPool");
    let pool = match &of {
        Some(of) => network(of, size.as_ref()),
        None => {
            let usual = FakePool::usual(crate::dns::Families::V4);
            sized(node, usual.first()?.network(), size.as_ref())
        }
    };
    object.finish();
    pool
}

/// The pool of the network at `node`.
fn network(node: &Node, size: Option<&Node>) -> Option<FakePool> {
    let text: String = node.read()?;
    let text = text.trim();
    if !text.contains('/') {
        let text = text.escape_debug();
        node.error(format!(
            "`{text}` is not a network, expected such as `198.18.0.0/15` or `fc00::/18`"
        ));
        return None;
    }
    match parse_network(text) {
        Ok(network) => sized(node, network, size),
        Err(e) => {
            node.error(e.to_string());
            None
        }
    }
}

fn sized(node: &Node, network: ipnet::IpNet, size: Option<&Node>) -> Option<FakePool> {
    let (pool, at) = match size {
        Some(at) => {
            let names: u64 = at.read()?;
            let names = names.try_into().unwrap_or(usize::MAX);
            (FakePool::new(network, names), at)
        }
        None => (FakePool::of_usual_size(network), node),
    };
    pool.map_err(|e| at.error(e.to_string())).ok()
}

/// Pools that share addresses would make one address stand for two names.
pub(super) fn apart(node: &Node, all: &mut Vec<FakePool>, more: &[FakePool]) {
    for pool in more {
        let other = all.iter().find(|other| other.overlaps(pool));
        match other {
            None => all.push(*pool),
            // The same network is the same pool.
            Some(other) if other.network().trunc() == pool.network().trunc() => {}
            Some(other) => node.error(format!(
                "{} overlaps with the pool {}, and an address would stand for two names",
                pool.network(),
                other.network()
            )),
        }
    }
}

/// Addresses that are made up come back as names by an inbound that looks for them.
pub(in crate::dialect::v2ray) fn check(
    dns: &Settings,
    inbounds: &[Draft<Inbound>],
    written: Option<&Path>,
    report: &Report,
) {
    let gives = dns.servers.iter().any(|server| !server.fakes.is_empty());
    let is_a_pool_there = gives || !dns.fakes.is_empty();
    let mut is_looked_for = false;
    for inbound in inbounds.iter().filter_map(|draft| draft.part.as_ref()) {
        let sniffing = inbound.sniffing.as_ref();
        if !sniffing.is_some_and(|sniffing| sniffing.names_fakes()) {
            continue;
        }
        is_looked_for = true;
        if !is_a_pool_there {
            let at = inbound.at.key("sniffing").key("destOverride");
            let text = "`fakedns` has no effect: no address is made up, as `fakedns` is not among `dns.servers`";
            report.warn(&at, text);
        }
    }
    if gives && !is_looked_for {
        let at = Path::default().key("dns").key("servers");
        let text = "`fakedns` makes addresses up, and no inbound turns them into names again: write `fakedns` into `sniffing.destOverride` of those that connections to these addresses come in by";
        report.warn(&at, text);
    }
    if let (false, false, Some(at)) = (gives, dns.fakes.is_empty(), written) {
        let text = "nobody is given these addresses: write `fakedns` into `dns.servers`";
        report.warn(at, text);
    }
}
