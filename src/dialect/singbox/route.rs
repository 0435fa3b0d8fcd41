//! `route`: rules, and the outbound that carries what none of them takes.

use super::counted;
use crate::config::Outbound;
use crate::dialect::clients::groups::{Groups, Lead};
use crate::dialect::clients::nodes::{Parts, outbound};
use crate::dialect::clients::rules::{Asks, Rules};
use crate::dialect::tree::Node;
use crate::dialect::tree::keys::{Keys, Notes};
use crate::protocol::{OutboundSettings, blackhole};
use crate::transport::ClientSettings;

/// Reads `route`, and gives `parts` the outbound that carries what no rule takes.
pub(super) fn read<'n>(keys: &Keys<'n>, groups: Groups<'_>, parts: &mut Parts) -> Rules<'n> {
    let notes = keys.notes();
    let mut rules = Rules::new(notes);
    let mut named = None;
    if let Some(route) = keys.map("route") {
        let api = keys
            .get("experimental")
            .and_then(|one| one.get("clash_api"));
        let mode = api.and_then(|api| api.get("default_mode"));
        let mode = mode.and_then(Node::as_text).unwrap_or("rule");
        let mut lost: Vec<&Node> = Vec::new();
        for node in route.items("rules") {
            if !takes_nothing(node, mode) && !rule(node, &groups, parts, &mut rules) {
                lost.push(node);
            }
        }
        if let Some(rule) = lost.first() {
            let text = "what they take goes where the others send it";
            notes.astray(
                &rule.at,
                format_args!(
                    "{} of `route`, beginning here: not carried over, {text}",
                    counted(lost.len(), "rule")
                ),
            );
        }
        route.silent(&[
            "auto_detect_interface",
            "default_domain_resolver",
            "rule_set",
        ]);
        route.no_way(
            &["default_interface", "default_mark"],
            "it is not carried over",
        );
        route.no_word(&["override_android_vpn"], "it is not carried over");
        named = route.text("final");
        route.finish();
    }
    parts.first = first(keys, &groups, parts, named, &mut rules);
    groups.settle(parts, &mut rules);
    rules
}

/// Whether no session is one for this rule: `mode`, which a dashboard of Clash would change, stays here, and no ICMP comes in.
fn takes_nothing(node: &Node, mode: &str) -> bool {
    let texts = |key: &str| {
        let items = node.get(key).map(Node::items).unwrap_or_default();
        items.iter().filter_map(Node::as_text)
    };
    let is_inverted = texts("invert").any(|text| text == "true");
    let is_other_mode = texts("clash_mode").any(|other| !other.eq_ignore_ascii_case(mode));
    let mut networks = texts("network").peekable();
    let is_icmp = networks.peek().is_some() && networks.all(|network| network == ICMP);
    !is_inverted && (is_other_mode || is_icmp)
}

const ICMP: &str = "icmp";

/// Reads a rule; whether all of it is built.
fn rule(node: &Node, groups: &Groups<'_>, parts: &mut Parts, rules: &mut Rules<'_>) -> bool {
    let text = |key: &str| node.get(key).and_then(Node::as_text);
    let action = text("action").unwrap_or("route");
    let target = match action {
        // Names are known here, and DNS goes the way of its session.
        "sniff" | "hijack-dns" => return true,
        "resolve" => {
            rules.resolve();
            return node.entries().iter().all(|(key, _)| key == "action");
        }
        "reject" => {
            let tag = "block";
            if !parts
                .outbounds
                .iter()
                .any(|one| one.tag.as_deref() == Some(tag))
            {
                let protocol = OutboundSettings::Blackhole(blackhole::OutboundSettings::default());
                let block = outbound(&node.at, Some(tag), ClientSettings::default(), protocol);
                parts.outbounds.push(block);
            }
            Lead::Outbound(tag.to_owned())
        }
        "route" => match text("outbound") {
            Some(tag) => chosen(tag, groups),
            None => return false,
        },
        _ => return false,
    };
    let Some((names, addresses, rest)) = asks(node) else {
        return false;
    };
    // Names and addresses are alternatives there, and both needed here.
    for one in [names, addresses] {
        if !one.is_empty() {
            rules.push(&node.at, one.and(&rest), &target, false);
        }
    }
    if !has_destination(node) {
        rules.push(&node.at, rest, &target, false);
    }
    true
}

const DESTINATIONS: [&str; 8] = [
    "domain",
    "domain_suffix",
    "domain_keyword",
    "domain_regex",
    "geosite",
    "ip_cidr",
    "ip_is_private",
    "geoip",
];

fn has_destination(node: &Node) -> bool {
    DESTINATIONS.iter().any(|key| node.get(key).is_some())
}

/// What a rule asks of names, of addresses, and of all else; `None` where that is not built.
fn asks(node: &Node) -> Option<(Asks, Asks, Asks)> {
    let (mut names, mut addresses, mut rest) = Default::default();
    for (key, value) in node.entries() {
        let texts: Vec<&str> = value.items().iter().filter_map(Node::as_text).collect();
        if texts.len() < value.items().len() {
            return None;
        }
        ask(
            &key.to_ascii_lowercase(),
            &texts,
            &mut names,
            &mut addresses,
            &mut rest,
        )?;
    }
    Some((names, addresses, rest))
}

fn ask(
    key: &str,
    texts: &[&str],
    names: &mut Asks,
    addresses: &mut Asks,
    rest: &mut Asks,
) -> Option<()> {
    let is_on = texts == ["true"];
    match key {
        "action" | "outbound" | "clash_mode" => {}
        "type" if texts == ["default"] => {}
        "invert" | "rule_set_ip_cidr_match_source" if texts == ["false"] => {}
        "domain" => texts
            .iter()
            .for_each(|name| names.add("domain", format!("full:{name}"))),
        "domain_suffix" => {
            for name in texts {
                // With a dot in front it is not the name itself.
                let pattern = match name.strip_prefix('.') {
                    Some(name) => format!("regexp:\\.{}$", escaped(name)),
                    None => format!("domain:{name}"),
                };
                names.add("domain", pattern);
            }
        }
        "domain_keyword" => {
            texts
                .iter()
                .for_each(|text| names.add("domain", format!("keyword:{text}")));
        }
        "domain_regex" => {
            texts
                .iter()
                .for_each(|text| names.add("domain", format!("regexp:{text}")));
        }
        "geosite" => {
            texts
                .iter()
                .for_each(|code| names.add("domain", format!("geosite:{code}")));
        }
        "ip_cidr" => {
            for text in texts {
                addresses.add_network("ip", text).ok()?;
            }
        }
        "ip_is_private" if is_on => addresses.add_geoip("ip", "private"),
        "geoip" => texts
            .iter()
            .for_each(|code| addresses.add_geoip("ip", code)),
        "source_ip_cidr" => {
            for text in texts {
                rest.add_network("source", text).ok()?;
            }
        }
        "source_ip_is_private" if is_on => rest.add_geoip("source", "private"),
        "source_geoip" => texts.iter().for_each(|code| rest.add_geoip("source", code)),
        "port" => texts.iter().for_each(|port| rest.add_ports("port", port)),
        "port_range" => {
            for range in texts {
                rest.add_ports("port", &ports(range));
            }
        }
        "source_port" => texts
            .iter()
            .for_each(|port| rest.add_ports("sourcePort", port)),
        "source_port_range" => {
            for range in texts {
                rest.add_ports("sourcePort", &ports(range));
            }
        }
        "network" => {
            let networks = texts.iter().filter(|name| **name != ICMP);
            networks.for_each(|name| rest.add("network", *name));
        }
        "inbound" => texts.iter().for_each(|tag| rest.add("inboundTag", *tag)),
        "auth_user" => texts.iter().for_each(|user| rest.add("user", *user)),
        _ => return None,
    }
    Some(())
}

/// `1000:2000`, and one side may be missing.
fn ports(range: &str) -> String {
    let (from, to) = range.split_once(':').unwrap_or((range, range));
    let from = if from.is_empty() { "0" } else { from };
    let to = if to.is_empty() { "65535" } else { to };
    format!("{from}-{to}")
}

fn escaped(text: &str) -> String {
    text.replace('.', "\\.")
}

/// What is there of nothing is left out with its rule.
fn chosen(tag: &str, groups: &Groups<'_>) -> Lead {
    let lead = groups.lead(tag);
    lead.unwrap_or_else(|| Lead::Outbound(tag.to_owned()))
}

/// The outbound that `route.final` names, or the first one, whichever its groups choose.
fn first(
    keys: &Keys,
    groups: &Groups<'_>,
    parts: &Parts,
    named: Option<&str>,
    rules: &mut Rules<'_>,
) -> Option<String> {
    let notes: &Notes = keys.notes();
    let all = keys.items("outbounds");
    let tag_of = |node: &'_ Node| node.get("tag").and_then(Node::as_text).map(str::to_owned);
    let wanted = named.map(str::to_owned).or_else(|| tag_of(all.first()?))?;
    let has_no_rules = rules.is_empty();
    let tag = match chosen(&wanted, groups) {
        Lead::Outbound(tag) => tag,
        lead @ Lead::Balancer(_) => {
            rules.push(keys.at(), Asks::everything(), &lead, false);
            return groups.first_of(&lead);
        }
    };
    let found = parts
        .outbounds
        .iter()
        .find(|outbound| outbound.tag.as_deref() == Some(&*tag));
    if found.is_some_and(|found| found.leads_away() || !has_no_rules) {
        return Some(tag);
    }
    // Nothing would go to a server.
    let server = parts.outbounds.iter().find(|one| Outbound::leads_away(one));
    let server = server.and_then(|server| server.tag.as_deref())?;
    let chosen = server.to_owned();
    let (tag, server) = (tag.escape_debug(), server.escape_debug());
    match found {
        Some(_) => notes.left_out(
            keys.at(),
            format_args!(
                "what no rule sends elsewhere goes by `{tag}`: without its rules that would be everything, so `{server}` takes its place"
            ),
        ),
        None => notes.astray(
            keys.at(),
            format_args!("everything goes by `{tag}`, which is not carried over: `{server}` takes its place"),
        ),
    }
    Some(chosen)
}
