//! `rules`, and what their policies come to: a proxy, the choice of a group, straight there, or nowhere.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::groups;
use crate::dialect::clients::groups::{Groups, Lead};
use crate::dialect::clients::nodes::Parts;
use crate::dialect::clients::rules::{Asks, Rules};
use crate::dialect::singbox::counted;
use crate::dialect::tree::keys::{Keys, Notes};
use crate::dialect::tree::{At, Node};
use crate::protocol::{OutboundSettings, blackhole, freedom};

/// Reads `rules`, and gives `parts` the outbound that carries what none of them takes.
pub(super) fn read<'n>(keys: &Keys<'n>, parts: &mut Parts) -> Rules<'n> {
    let notes = keys.notes();
    let mut rules = Rules::new(notes);
    let groups = Groups::new(groups::read(keys), &parts.outbounds, own, notes);
    let lines: Vec<&Node> = keys
        .items("rules")
        .iter()
        .chain(keys.items("rule"))
        .collect();
    let mode = keys.word("mode");
    if mode.as_deref() == Some("direct") {
        let text = "nothing goes by the proxies then: expected `rule`, or `global`";
        keys.astray("mode", text);
    }
    if lines.is_empty() || mode.as_deref() == Some("global") {
        parts.first = first_server(parts);
        tell_of_first(keys, &groups, parts.first.as_deref());
        if groups.are_gone_through(&parts.outbounds) {
            groups.settle(parts, &mut rules);
        }
        return rules;
    }
    let mut unbuilt = Unbuilt::default();
    let mut last = None;
    for line in lines {
        let words: Vec<&str> = line.as_text().unwrap_or_default().split(',').collect();
        let words: Vec<&str> = words.iter().map(|word| word.trim()).collect();
        let kind = words[0].to_ascii_uppercase();
        if matches!(&*kind, "MATCH" | "FINAL") {
            last = Some((&line.at, words.get(1).copied().unwrap_or_default()));
            break;
        }
        let (value, policy, flags) = match &words[..] {
            // It may have commas itself, and is followed by nothing but the policy.
            [_, pattern @ .., policy] if kind == "DOMAIN-REGEX" && !pattern.is_empty() => {
                (pattern.join(",").into(), *policy, &[][..])
            }
            [_, value, policy, flags @ ..] => (Cow::from(*value), *policy, flags),
            _ => {
                unbuilt.add(&line.at, format!("of kind `{}`", kind.escape_debug()));
                continue;
            }
        };
        let (asks, is_about_addresses) = match asks(&kind, &value, flags) {
            Some(Ok(read)) => read,
            Some(Err(text)) => {
                notes.astray(&line.at, format_args!("{text}: the rule is left out"));
                continue;
            }
            None => {
                unbuilt.add(&line.at, format!("of kind `{}`", kind.escape_debug()));
                continue;
            }
        };
        let Some(lead) = groups.lead(policy) else {
            unbuilt.add(&line.at, format!("to `{}`", policy.escape_debug()));
            continue;
        };
        let never_resolves = is_about_addresses && flags.contains(&"no-resolve");
        if is_about_addresses && !never_resolves {
            rules.resolve();
        }
        rules.push(&line.at, asks, &lead, never_resolves);
    }
    unbuilt.tell(notes);
    // What no rule takes goes straight there.
    let (at, policy) = last.unwrap_or((keys.at(), "DIRECT"));
    let lead = groups.lead(policy);
    if let Some(lead @ Lead::Balancer(_)) = &lead {
        rules.push(at, Asks::everything(), lead, false);
    }
    parts.first = lead.and_then(|lead| groups.first_of(&lead)).or_else(|| {
        let text = format!(
            "what no rule takes goes by `{}`, which is not carried over",
            policy.escape_debug()
        );
        notes.astray(at, text);
        first_server(parts)
    });
    groups.settle(parts, &mut rules);
    rules
}

fn first_server(parts: &Parts) -> Option<String> {
    let server = parts.outbounds.iter().find(|one| one.leads_away());
    server.and_then(|server| server.tag.as_deref().map(str::to_owned))
}

/// What a rule asks for, and whether that is the address of its destination. `None` of a kind that is not built.
fn asks(kind: &str, value: &str, flags: &[&str]) -> Option<Result<(Asks, bool), String>> {
    let mut asks = Asks::default();
    let is_source = flags.contains(&"src");
    let addresses = if is_source { "source" } else { "ip" };
    let mut is_about_addresses = false;
    match kind {
        "DOMAIN" => asks.add("domain", format!("full:{value}")),
        "DOMAIN-SUFFIX" => {
            let name = value.trim_start_matches("+.").trim_start_matches('.');
            asks.add("domain", format!("domain:{name}"));
        }
        "DOMAIN-KEYWORD" => asks.add("domain", format!("keyword:{value}")),
        "DOMAIN-REGEX" => asks.add("domain", format!("regexp:{value}")),
        "GEOSITE" => asks.add("domain", format!("geosite:{value}")),
        "IP-CIDR" | "IP-CIDR6" => {
            is_about_addresses = !is_source;
            if let Err(e) = asks.add_network(addresses, value) {
                return Some(Err(e));
            }
        }
        "GEOIP" => {
            is_about_addresses = !is_source;
            asks.add_geoip(addresses, value);
        }
        "SRC-IP-CIDR" => {
            if let Err(e) = asks.add_network("source", value) {
                return Some(Err(e));
            }
        }
        "SRC-GEOIP" => asks.add_geoip("source", value),
        "DST-PORT" => asks.add_ports("port", &value.replace('/', ",")),
        "SRC-PORT" => asks.add_ports("sourcePort", &value.replace('/', ",")),
        "NETWORK" => asks.add("network", value.to_ascii_lowercase()),
        "IN-USER" => value.split('/').for_each(|user| asks.add("user", user)),
        _ => return None,
    }
    Some(Ok((asks, is_about_addresses)))
}

/// Rules that are not built, of a kind or to a policy: where the first is, and how many there are.
#[derive(Default)]
struct Unbuilt(BTreeMap<String, (At, usize)>);

impl Unbuilt {
    fn add(&mut self, at: &At, what: String) {
        let (_, n) = self.0.entry(what).or_insert_with(|| (at.clone(), 0));
        *n += 1;
    }

    fn tell(self, notes: &Notes) {
        for (what, (at, n)) in self.0 {
            let text = format!(
                "{} {what}, beginning here: not carried over",
                counted(n, "rule")
            );
            notes.astray(&at, text);
        }
    }
}

/// What is there without being written down.
fn own(name: &str) -> Option<(&'static str, OutboundSettings)> {
    Some(match name {
        "DIRECT" | "COMPATIBLE" => {
            let freedom = freedom::OutboundSettings::default();
            ("direct", OutboundSettings::Freedom(freedom))
        }
        "REJECT" | "REJECT-DROP" | "REJECT-TINYGIF" => {
            let blackhole = blackhole::OutboundSettings::default();
            ("reject", OutboundSettings::Blackhole(blackhole))
        }
        _ => return None,
    })
}

/// Without rules the first proxy carries everything, whatever the first group would choose.
fn tell_of_first(keys: &Keys, groups: &Groups<'_>, first: Option<&str>) {
    let group = keys.items("proxy-groups").first();
    let Some(name) = group.and_then(|group| group.get("name")?.as_text()) else {
        return;
    };
    let lead = groups.find(name);
    if lead != first.map(|tag| Lead::Outbound(tag.to_owned())) {
        let text = "there are no rules, the first proxy carries everything";
        keys.left_out("proxy-groups", text);
    }
}
