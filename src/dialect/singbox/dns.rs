//! `dns`: who is asked for the addresses of which names.

use super::conditions::{Conditions, texts};
use crate::config::Outbound;
use crate::dialect::clients::dns::{Names, Server, Upstream, Way, names_alone, unbuilt};
use crate::dialect::clients::groups::{Groups, Lead};
use crate::dialect::clients::nodes::{Parts, outbound};
use crate::dialect::tree::keys::Keys;
use crate::dialect::tree::{At, Node};
use crate::dns::Strategy;
use crate::protocol::{OutboundSettings, freedom};
use crate::transport::ClientSettings;

/// Reads it. Servers of before 1.12 are reached by the outbound of all that no rule takes.
pub(super) fn read<'n>(
    keys: &Keys<'n>,
    conditions: &Conditions<'n>,
    groups: &Groups<'_>,
    parts: &Parts,
) -> Option<Names<'n>> {
    let section = keys.map("dns")?;
    let strategy = match section.word("strategy").as_deref() {
        Some("ipv4_only") => Strategy::UseIpv4,
        Some("ipv6_only") => Strategy::UseIpv6,
        Some("prefer_ipv4") => Strategy::PreferIpv4,
        Some("prefer_ipv6") => Strategy::PreferIpv6,
        _ => Strategy::UseIp,
    };
    let mut names = Names::new(section.at(), keys.notes(), strategy);
    let servers = Servers {
        keys: &section,
        groups,
        parts,
    };
    for node in section.items("rules") {
        if !conditions.takes_nothing(node) {
            rule(node, conditions, &servers, &mut names);
        }
    }
    let named = section.text("final");
    let last = match named {
        Some(tag) => servers.tagged(tag),
        None => section.items("servers").first(),
    };
    if let Some(node) = last {
        servers.add(node, Vec::new(), &mut names);
    }
    if section.switch("disable_cache") {
        names.set("disableCache", true);
    }
    if let Some(address) = section.text("client_subnet") {
        let address = address.split('/').next().unwrap_or_default();
        names.set("clientIp", address);
    }
    section.silent(&[
        "independent_cache",
        "cache_capacity",
        "reverse_mapping",
        "fakeip",
        "disable_expire",
        "timeout",
        "optimistic",
    ]);
    section.finish();
    Some(names)
}

struct Servers<'s, 'n> {
    keys: &'s Keys<'n>,
    groups: &'s Groups<'s>,
    parts: &'s Parts,
}

impl<'n> Servers<'_, 'n> {
    fn tagged(&self, tag: &str) -> Option<&'n Node> {
        let mut all = self.keys.items("servers").iter();
        let found = all.find(|node| texts(node, "tag").next() == Some(tag));
        if found.is_none() {
            let text = format_args!("there is no server `{}`", tag.escape_debug());
            self.keys.notes().left_out(self.keys.at(), text);
        }
        found
    }

    /// Asks a server for names, or for all that are left.
    fn add(&self, node: &Node, domains: Vec<serde_json::Value>, names: &mut Names<'_>) {
        let notes = self.keys.notes();
        let text = |key: &str| texts(node, key).next();
        let upstream = match (text("type"), text("address")) {
            // Who is given made-up addresses has asked for them elsewhere.
            (Some("fakeip"), _) | (_, Some("fakeip")) => return,
            (Some(kind), None) => of_type(kind, node),
            (None | Some("legacy"), Some(address)) => Upstream::parse(address),
            (None, None) => Err("`type` is missing: the server is left out".to_owned()),
            (Some(kind), Some(_)) => Err(unbuilt(kind)),
        };
        let upstream = match upstream {
            Ok(upstream) => upstream,
            Err(text) => return notes.left_out(&node.at, text),
        };
        let Some(way) = self.way(node) else {
            let text = "`detour` leads to what is not carried over: the server is left out";
            return notes.left_out(&node.at, text);
        };
        let mut server = Server::new(upstream, way);
        server.names = domains;
        names.server(&node.at, server);
    }

    fn way(&self, node: &Node) -> Option<Way> {
        let is_new = texts(node, "type").next().is_some();
        let tag = match (texts(node, "detour").next(), &self.parts.first) {
            (Some(tag), _) => tag,
            (None, Some(first)) if !is_new => first,
            (None, _) => return Some(Way::Direct),
        };
        let lead = self.groups.lead(tag)?;
        let is_straight = match &lead {
            Lead::Outbound(tag) => self.parts.outbounds.iter().any(|one| straight(one, tag)),
            Lead::Balancer(_) => false,
        };
        Some(match is_straight {
            true => Way::Direct,
            false => Way::By(lead),
        })
    }
}

/// Whether this is the outbound `tag`, and leads straight to where a session goes.
fn straight(outbound: &Outbound, tag: &str) -> bool {
    outbound.tag.as_deref() == Some(tag)
        && outbound.through.is_none()
        && matches!(outbound.protocol, OutboundSettings::Freedom(_))
}

/// By what questions go straight to their servers.
pub(super) fn direct(parts: &mut Parts) -> Lead {
    let mut all = parts.outbounds.iter();
    let found = all.find(|one| one.tag.as_deref().is_some_and(|tag| straight(one, tag)));
    let tag = found.and_then(|one| one.tag.as_deref().map(str::to_owned));
    Lead::Outbound(tag.unwrap_or_else(|| {
        let protocol = OutboundSettings::Freedom(freedom::OutboundSettings::default());
        let made = outbound(
            &At::default(),
            Some(DIRECT),
            ClientSettings::default(),
            protocol,
        );
        parts.outbounds.push(made);
        DIRECT.to_owned()
    }))
}

/// Of no other outbound, or that would lead straight there.
const DIRECT: &str = "dns-direct";

/// A server of 1.12 and later.
fn of_type(kind: &str, node: &Node) -> Result<Upstream, String> {
    let text = |key: &str| texts(node, key).next();
    let host = text("server").unwrap_or_default();
    let bracketed = match host.contains(':') {
        true => format!("[{host}]"),
        false => host.to_owned(),
    };
    let port = text("server_port").map(|port| format!(":{port}"));
    let at = format!("{bracketed}{}", port.unwrap_or_default());
    match kind {
        "local" | "dhcp" | "resolved" => Ok(Upstream::System),
        _ if host.is_empty() => Err(unbuilt(kind)),
        "udp" => Upstream::parse(&at),
        "tcp" => Ok(Upstream::Tcp(at)),
        "tls" => Ok(Upstream::Tls(at)),
        "https" => {
            let path = text("path").unwrap_or("/dns-query");
            Ok(Upstream::Https(format!("{at}{path}")))
        }
        other => Err(unbuilt(other)),
    }
}

/// One of `rules`: the names that a server is asked for.
fn rule(
    node: &Node,
    conditions: &Conditions<'_>,
    servers: &Servers<'_, '_>,
    names: &mut Names<'_>,
) {
    let notes = servers.keys.notes();
    let text = |key: &str| texts(node, key).next();
    // Of the addresses of servers the system is asked.
    if text("outbound").is_some() {
        return;
    }
    let action = text("action").unwrap_or("route");
    if action == "route-options" {
        return;
    }
    let Some(server) = text("server").filter(|_| action == "route") else {
        let text = format_args!("`action: {}` is not carried over", action.escape_debug());
        return notes.left_out(&node.at, text);
    };
    let Some(server) = servers.tagged(server) else {
        return;
    };
    let is_fake = ["type", "address"].iter().any(|key| {
        let word = texts(server, key).next();
        word == Some("fakeip")
    });
    if is_fake {
        return;
    }
    let mut asked = node.clone();
    for key in [
        "server",
        "action",
        "disable_cache",
        "rewrite_ttl",
        "strategy",
    ] {
        asked.take(key);
    }
    let read = conditions.read(&asked, 0);
    match read.map(names_alone) {
        Ok(Some(domains)) if !domains.is_empty() => servers.add(server, domains, names),
        Ok(_) => notes.left_out(
            &node.at,
            "what asks for more than names is not carried over",
        ),
        Err(why) => notes.left_out(&node.at, format_args!("{why} is not carried over")),
    }
}
