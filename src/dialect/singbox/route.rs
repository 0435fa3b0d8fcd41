//! `route`: rules, and the outbound that carries what none of them takes.

use super::conditions::Conditions;
use super::hijack::{self, Hijack};
use super::{counted, dns};
use crate::config::Outbound;
use crate::dialect::clients::beside::Ways;
use crate::dialect::clients::groups::{Groups, Lead};
use crate::dialect::clients::nodes::outbound;
use crate::dialect::clients::parts::Parts;
use crate::dialect::clients::rules::{Asks, Rules};
use crate::dialect::tree::Node;
use crate::dialect::tree::keys::{Keys, Notes};
use crate::protocol::{OutboundSettings, blackhole};
use crate::transport::ClientSettings;

/// Reads `route`, and gives `parts` the outbound that carries what no rule takes.
pub(super) fn read<'n>(
    keys: &Keys<'n>,
    groups: Groups<'_>,
    ways: &Ways,
    parts: &mut Parts,
) -> Rules<'n> {
    let notes = keys.notes();
    let mut rules = Rules::new(notes);
    ways.lead(&groups, &mut rules);
    let mut named = None;
    let mut has_lost = false;
    let api = keys
        .get("experimental")
        .and_then(|one| one.get("clash_api"));
    let mode = api.and_then(|api| api.get("default_mode"));
    let mode = mode.and_then(Node::as_text).unwrap_or("rule");
    let route = keys.map("route");
    let sets = route.as_ref().map(|route| route.items("rule_set"));
    let conditions = Conditions::of(sets.unwrap_or_default(), mode, notes);
    if let Some(route) = route {
        let hijack = Hijack::of(keys);
        // By what each asks for in vain, in the order of the first.
        let mut lost: Vec<(String, Vec<&Node>)> = Vec::new();
        for node in route.items("rules") {
            if conditions.takes_nothing(node) {
                continue;
            }
            let read = match hijack.takes(node) {
                true => hijack::rule(node, &conditions, parts, &mut rules),
                false => rule(node, &conditions, &groups, parts, &mut rules),
            };
            let Err(why) = read else {
                tell_options(node, notes);
                continue;
            };
            match lost.iter_mut().find(|(known, _)| *known == why) {
                Some((_, rules)) => rules.push(node),
                None => lost.push((why, vec![node])),
            }
        }
        has_lost = !lost.is_empty();
        for (why, rules) in lost {
            let places = match rules.len() {
                1 => String::new(),
                n => format!("{} beginning here: ", counted(n, "rule")),
            };
            notes.astray(
                &rules[0].at,
                format_args!("{places}{why} is not carried over, what would be taken goes where other rules send it"),
            );
        }
        route.silent(&["auto_detect_interface", "default_domain_resolver"]);
        route.no_way(
            &["default_interface", "default_mark"],
            "it is not carried over",
        );
        route.no_word(&["override_android_vpn"], "it is not carried over");
        named = route.text("final");
        route.finish();
    }
    let as_meant = named.is_some() && !has_lost;
    parts.first = first(keys, &groups, parts, (named, as_meant), &mut rules);
    let last = wanted(keys, named).and_then(|tag| groups.lead(&tag));
    let last = last.or_else(|| parts.first.clone().map(Lead::Outbound));
    let names = dns::read(keys, &conditions, &groups, parts, last);
    groups.settle(parts, &mut rules);
    if let Some(names) = names {
        let direct = names.needs_direct().then(|| dns::direct(parts));
        names.settle(parts, direct, &mut rules);
    }
    rules
}

/// Says that an action is taken without what it says beside its name; no session goes another way by that.
fn tell_options(node: &Node, notes: &Notes) {
    let action = node.get("action").and_then(Node::as_text);
    if let Some(action @ ("resolve" | "route-options")) = action
        && node.entries().len() > 1
    {
        let text = format_args!("what `{action}` says beside its name is not carried over");
        notes.left_out(&node.at, text);
    }
}

/// What of a `route-options` changes where a session goes.
const REDIRECTS: [&str; 2] = ["override_address", "override_port"];

/// Reads a rule.
///
/// # Errors
///
/// What of it is not built.
fn rule<'n>(
    node: &'n Node,
    conditions: &Conditions<'n>,
    groups: &Groups<'_>,
    parts: &mut Parts,
    rules: &mut Rules<'n>,
) -> Result<(), String> {
    let text = |key: &str| node.get(key).and_then(Node::as_text);
    let action = text("action").unwrap_or("route");
    let target = match action {
        // It is a matter of the inbounds.
        "sniff" => return Ok(()),
        // Addresses are asked for where a rule behind wants some, and which of them is dialled is the outbound's.
        "resolve" => {
            rules.resolve();
            return Ok(());
        }
        "route-options" => {
            let redirect = REDIRECTS.iter().find(|key| node.get(key).is_some());
            return redirect.map_or(Ok(()), |key| Err(format!("`{key}`")));
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
            None => return Err("a rule without `outbound`".to_owned()),
        },
        other => return Err(format!("`action: {}`", other.escape_debug())),
    };
    for asks in conditions.read(node, 0)?.into_rules() {
        rules.push(&node.at, asks, &target, false);
    }
    Ok(())
}

/// What is there of nothing is left out with its rule.
fn chosen(tag: &str, groups: &Groups<'_>) -> Lead {
    let lead = groups.lead(tag);
    lead.unwrap_or_else(|| Lead::Outbound(tag.to_owned()))
}

/// What carries all that no rule takes, an outbound or a group: what `route.final` names, or the first one.
fn wanted(keys: &Keys<'_>, named: Option<&str>) -> Option<String> {
    let first = keys.items("outbounds").first();
    let first = first.and_then(|node| node.get("tag")?.as_text());
    named.or(first).map(str::to_owned)
}

/// The outbound that `route.final` names, or the first one, whichever its groups choose. It is taken `as_meant` where the file
/// names it and no rule of it is lost, though nothing goes to a server then.
fn first(
    keys: &Keys,
    groups: &Groups<'_>,
    parts: &Parts,
    (named, as_meant): (Option<&str>, bool),
    rules: &mut Rules<'_>,
) -> Option<String> {
    let notes: &Notes = keys.notes();
    let wanted = wanted(keys, named)?;
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
    if found.is_some_and(|found| found.leads_away() || !has_no_rules || as_meant) {
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
