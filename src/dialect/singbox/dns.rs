//! `dns`: who is asked for the addresses of which names.

use serde_json::Value;

use super::conditions::{Conditions, texts};
use crate::config::Outbound;
use crate::dialect::clients::dns::{Names, Server, Upstream, Way, free_tag, names_alone, unbuilt};
use crate::dialect::clients::groups::{Groups, Lead};
use crate::dialect::clients::nodes::outbound;
use crate::dialect::clients::parts::Parts;
use crate::dialect::tree::keys::Keys;
use crate::dialect::tree::{At, Node};
use crate::dns::Strategy;
use crate::protocol::{OutboundSettings, freedom};
use crate::transport::ClientSettings;

/// Reads it. Servers of before 1.12 are reached by `last`, the way of all that no rule takes.
pub(super) fn read<'n>(
    keys: &Keys<'n>,
    conditions: &Conditions<'n>,
    groups: &Groups<'_>,
    parts: &Parts,
    last: Option<Lead>,
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
    let reader = Reader {
        keys: &section,
        conditions,
        groups,
        parts,
        last,
    };
    let resolver = resolver(keys);
    let final_server = match resolver.filter(|_| !asks_by_rules(keys)) {
        Some(tag) => {
            section.silent(&["rules", "final"]);
            reader.tagged(tag)
        }
        None => {
            let mut rules = section.items("rules").iter();
            let all = rules.find_map(|node| reader.rule(node, &mut names));
            all.or_else(|| match section.text("final") {
                Some(tag) => reader.tagged(tag),
                None => section.items("servers").first(),
            })
        }
    };
    if let Some(node) = final_server {
        reader.add(node, None, Vec::new(), &mut names);
    }
    if section.switch("disable_cache") {
        names.set("disableCache", true);
    }
    if let Some(address) = section.text("client_subnet") {
        names.set("clientIp", first_of(address));
    }
    section.silent(&[
        "final",
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

/// Who is asked for the names of targets that connections go straight to, by a server's tag.
fn resolver<'n>(keys: &Keys<'n>) -> Option<&'n str> {
    let node = keys.get("route")?.get("default_domain_resolver")?;
    node.as_text().or_else(|| node.get("server")?.as_text())
}

/// Whether any name is asked for by `dns.rules`: for rules about addresses, or for who asks here.
fn asks_by_rules(keys: &Keys<'_>) -> bool {
    let route = keys.get("route");
    let rules = route.and_then(|route| route.get("rules"));
    let mut rules = rules.map(Node::items).unwrap_or_default().iter();
    rules.any(|rule| texts(rule, "action").any(|word| ["resolve", "hijack-dns"].contains(&word)))
}

/// The address of a network.
fn first_of(network: &str) -> &str {
    network.split('/').next().unwrap_or_default()
}

struct Reader<'s, 'n> {
    keys: &'s Keys<'n>,
    conditions: &'s Conditions<'n>,
    groups: &'s Groups<'s>,
    parts: &'s Parts,
    last: Option<Lead>,
}

impl<'n> Reader<'_, 'n> {
    fn tagged(&self, tag: &str) -> Option<&'n Node> {
        let mut all = self.keys.items("servers").iter();
        let found = all.find(|node| texts(node, "tag").next() == Some(tag));
        if found.is_none() {
            let text = format_args!(
                "there is no server `{}`, and others are asked in its place",
                tag.escape_debug()
            );
            self.keys.notes().astray(self.keys.at(), text);
        }
        found
    }

    /// Asks a server for names, or for all that are left, as `rule` says. Where it is not carried over, others hear of them.
    fn add(&self, node: &Node, rule: Option<&Node>, domains: Vec<Value>, names: &mut Names<'_>) {
        if is_fake(node) {
            return;
        }
        let notes = self.keys.notes();
        let read = self.server(node).map(|mut server| {
            server.names = domains;
            if let Some(rule) = rule {
                server.families = families(rule).or(server.families);
                let subnet = texts(rule, "client_subnet").next();
                let subnet = subnet.map(|text| first_of(text).to_owned());
                server.client_ip = subnet.or(server.client_ip.take());
            }
            names.servers(vec![(node.at.clone(), server)])
        });
        match read {
            Ok(true) => {}
            Ok(false) => notes.astray(&node.at, "others are asked in its place"),
            Err(text) => notes.astray(
                &node.at,
                format_args!("{text}, and others are asked in its place"),
            ),
        }
    }

    fn server(&self, node: &Node) -> Result<Server, String> {
        let Some(keys) = Keys::of(node, self.keys.notes()) else {
            return Err("it is left out".to_owned());
        };
        let kind = keys.word("type").filter(|kind| kind != "legacy");
        let upstream = match (kind.as_deref(), keys.text("address")) {
            (Some(kind), None) => of_type(kind, &keys)?,
            (None, Some(address)) => Upstream::parse(address)?,
            (None, None) => return Err("`type` is missing: the server is left out".to_owned()),
            (Some(kind), Some(_)) => return Err(unbuilt(kind)),
        };
        let way = self
            .way(keys.text("detour"), kind.is_some())
            .ok_or("`detour` leads to what is not carried over: the server is left out")?;
        let mut server = Server::new(upstream, way);
        server.families = families(node);
        server.client_ip = keys
            .text("client_subnet")
            .map(|text| first_of(text).to_owned());
        keys.silent(&[
            "tag",
            "strategy",
            "domain_resolver",
            "domain_strategy",
            "address_resolver",
            "address_strategy",
            "address_fallback_delay",
            "prefer_go",
            "interface",
            "connect_timeout",
            "fallback_delay",
        ]);
        if let Some(tls) = keys.map("tls") {
            tls.silent(&["enabled"]);
            tls.no_word(&["server_name"], "its certificate has to be of its address");
            tls.finish();
        }
        keys.finish();
        Ok(server)
    }

    fn way(&self, detour: Option<&str>, is_new: bool) -> Option<Way> {
        let lead = match (detour, &self.last) {
            (Some(tag), _) => self.groups.lead(tag)?,
            (None, Some(last)) if !is_new => last.clone(),
            (None, _) => return Some(Way::Direct),
        };
        let is_straight = match &lead {
            Lead::Outbound(tag) => self.parts.outbounds.iter().any(|one| straight(one, tag)),
            Lead::Balancer(_) => false,
        };
        Some(match is_straight {
            true => Way::Direct,
            false => Way::By(lead),
        })
    }

    /// One of `rules`: the names that a server is asked for. The server, where that is all of them.
    fn rule(&self, node: &'n Node, names: &mut Names<'_>) -> Option<&'n Node> {
        let notes = self.keys.notes();
        let text = |key: &str| texts(node, key).next();
        let action = text("action").unwrap_or("route");
        // Of the addresses of servers the system is asked.
        if self.conditions.takes_nothing(node)
            || text("outbound").is_some()
            || action == "route-options"
        {
            return None;
        }
        // Nothing but addresses is asked for here, and who asks for more is refused.
        let mut kinds = texts(node, "query_type").peekable();
        if kinds.peek().is_some() && !kinds.any(|kind| ["A", "AAAA"].contains(&kind)) {
            return None;
        }
        let Some(server) = text("server").filter(|_| action == "route") else {
            let action = action.escape_debug();
            let text = format_args!(
                "`action: {action}` is not carried over: the names are asked for as others"
            );
            notes.astray(&node.at, text);
            return None;
        };
        let server = self.tagged(server)?;
        if is_fake(server) {
            return None;
        }
        let mut asked = node.clone();
        // Nothing else is asked for here.
        if let [one, two] = texts(node, "query_type").collect::<Vec<_>>()[..]
            && [["A", "AAAA"], ["AAAA", "A"]].contains(&[one, two])
        {
            asked.take("query_type");
        }
        for key in OF_ANSWER {
            asked.take(key);
        }
        let lost = "others are asked for these names";
        match self.conditions.read(&asked, 0) {
            Ok(any) if any.takes_everything() => return Some(server),
            Ok(any) => match names_alone(any) {
                Some(domains) => self.add(server, Some(node), domains, names),
                None => {
                    let text =
                        format_args!("what asks for more than names is not carried over: {lost}");
                    notes.astray(&node.at, text);
                }
            },
            Err(why) => {
                notes.astray(&node.at, format_args!("{why} is not carried over: {lost}"));
            }
        }
        None
    }
}

/// What a rule says of how its server is asked.
const OF_ANSWER: [&str; 6] = [
    "server",
    "action",
    "disable_cache",
    "rewrite_ttl",
    "strategy",
    "client_subnet",
];

/// The one family that is asked for, in V2Ray's words.
fn families(node: &Node) -> Option<&'static str> {
    match texts(node, "strategy").next()? {
        "ipv4_only" => Some("UseIPv4"),
        "ipv6_only" => Some("UseIPv6"),
        _ => None,
    }
}

/// Whether it makes addresses up: whoever is given such has asked for them elsewhere.
fn is_fake(server: &Node) -> bool {
    ["type", "address"]
        .iter()
        .any(|key| texts(server, key).eq(["fakeip"]))
}

/// Whether this is the outbound `tag`, and leads straight to where a session goes.
fn straight(outbound: &Outbound, tag: &str) -> bool {
    outbound.tag.as_deref() == Some(tag)
        && outbound.through.is_none()
        && matches!(outbound.protocol, OutboundSettings::Freedom(_))
}

/// By what questions go straight to their servers.
pub(super) fn direct(parts: &mut Parts) -> Lead {
    let mut tags = parts
        .outbounds
        .iter()
        .filter_map(|one| Some((one, one.tag.as_deref()?)));
    if let Some((_, tag)) = tags.find(|(one, tag)| straight(one, tag)) {
        return Lead::Outbound(tag.to_owned());
    }
    let tags = parts.outbounds.iter().filter_map(|one| one.tag.as_deref());
    let tag = free_tag("dns-direct".to_owned(), tags);
    let protocol = OutboundSettings::Freedom(freedom::OutboundSettings::default());
    let made = outbound(
        &At::default(),
        Some(&tag),
        ClientSettings::default(),
        protocol,
    );
    parts.outbounds.push(made);
    Lead::Outbound(tag)
}

/// A server of 1.12 and later.
fn of_type(kind: &str, keys: &Keys<'_>) -> Result<Upstream, String> {
    let host = keys.text("server").unwrap_or_default();
    let bracketed = match host.contains(':') {
        true => format!("[{host}]"),
        false => host.to_owned(),
    };
    let port = keys.text("server_port").map(|port| format!(":{port}"));
    let at = format!("{bracketed}{}", port.unwrap_or_default());
    match kind {
        "local" | "dhcp" | "resolved" => Ok(Upstream::System),
        _ if host.is_empty() => Err(unbuilt(kind)),
        "udp" => Upstream::parse(&at),
        "tcp" => Ok(Upstream::Tcp(at)),
        "tls" => Ok(Upstream::Tls(at)),
        "https" => {
            let path = keys.text("path").unwrap_or("/dns-query");
            let slash = if path.starts_with('/') { "" } else { "/" };
            Ok(Upstream::Https(format!("{at}{slash}{path}")))
        }
        other => Err(unbuilt(other)),
    }
}
