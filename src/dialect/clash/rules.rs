//! `rules`, and what their policies come to: a proxy, the choice of a group, straight there, or nowhere.

use std::collections::{BTreeMap, HashSet};

use super::conditions::{self, Lost};
use super::door::Bound;
use super::providers::Provider;
use super::sets::Sets;
use super::{dns, groups};
use crate::dialect::clients::beside::Ways;
use crate::dialect::clients::groups::{Groups, Lead};
use crate::dialect::clients::parts::Parts;
use crate::dialect::clients::rules::{Asks, Rules};
use crate::dialect::singbox::counted;
use crate::dialect::tree::keys::{Keys, Notes};
use crate::dialect::tree::{At, Node};
use crate::protocol::{OutboundSettings, blackhole, freedom};

/// Reads `rules`, and gives `parts` the outbound that carries what none of them takes.
pub(super) fn read<'n>(
    keys: &Keys<'n>,
    providers: &[Provider<'n>],
    (listeners, ways): (&[Bound<'_>], &Ways),
    parts: &mut Parts,
) -> Rules<'n> {
    let notes = keys.notes();
    let mut rules = Rules::new(notes);
    let mut groups = groups::read(keys, providers);
    let passing = groups::passing(&groups);
    groups.retain(|group| !passing.contains(group.name));
    let names: HashSet<&str> = groups.iter().map(|one| one.name).collect();
    parts.forget_lost(|name| names.contains(name) || own(name).is_some(), notes);
    let groups = Groups::new(groups, &parts.outbounds, own, notes);
    let lines: Vec<&Node> = keys
        .items("rules")
        .iter()
        .chain(keys.items("rule"))
        .collect();
    let mode = keys.word("mode");
    let is_mode = |word: &str| mode.as_deref() == Some(word);
    // Whatever the rules say.
    let lines = if is_mode("direct") { Vec::new() } else { lines };
    ways.lead(&groups, &mut rules);
    let has_own_ways = of_listeners(listeners, &groups, &mut rules, notes) || !ways.is_empty();
    if is_mode("global") || (lines.is_empty() && !is_mode("direct")) {
        if is_mode("global") {
            let text = "the first proxy carries everything: mihomo goes straight there until somebody chooses one";
            keys.left_out("mode", text);
        }
        parts.first = first_server(parts);
        tell_of_first(keys, &groups, parts.first.as_deref());
        dns::tell_hosts(keys, "servers are told the names");
        if has_own_ways || groups.are_gone_through(&parts.outbounds) {
            groups.settle(parts, &mut rules);
        }
        return rules;
    }
    let sets = Sets::of(keys);
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
        let Some((asked, policy, flags)) = conditions::parted(&kind, &words) else {
            unbuilt.add(&line.at, Lost::Kind(kind).to_string());
            continue;
        };
        let condition = match conditions::read(&kind, asked, flags, &sets, 0) {
            Ok(condition) => condition,
            Err(Lost::Wrong(text)) => {
                notes.astray(&line.at, format_args!("{text}: the rule is left out"));
                continue;
            }
            Err(lost) => {
                unbuilt.add(&line.at, lost.to_string());
                continue;
            }
        };
        // The next rule decides.
        if passing.contains(policy) {
            continue;
        }
        let Some(lead) = groups.lead(policy) else {
            unbuilt.add(&line.at, format!("to `{}`", policy.escape_debug()));
            continue;
        };
        if condition.resolves {
            rules.resolve();
        }
        for asks in condition.any.into_rules() {
            let is_about_addresses = asks.get("ip").is_some() && asks.get("domain").is_none();
            let never_resolves = is_about_addresses && !condition.resolves;
            rules.push(&line.at, asks, &lead, never_resolves);
        }
    }
    unbuilt.tell(notes);
    // What no rule takes goes straight there.
    let last = last.filter(|(_, policy)| !passing.contains(policy));
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
    let names = dns::read(keys, &sets, &groups);
    let direct = names.needs_direct().then(|| groups.lead("DIRECT"));
    groups.settle(parts, &mut rules);
    names.settle(parts, direct.flatten(), &mut rules);
    rules
}

/// What comes in by a listener that names a proxy goes by that one, whatever else is said; whether there is any.
fn of_listeners(
    listeners: &[Bound<'_>],
    groups: &Groups<'_>,
    rules: &mut Rules<'_>,
    notes: &Notes,
) -> bool {
    for Bound { at, tag, proxy } in listeners {
        let Some(lead) = groups.lead(proxy) else {
            let text = format!(
                "`{}` is not carried over: what comes in here goes where other rules send it",
                proxy.escape_debug()
            );
            notes.astray(at, text);
            continue;
        };
        let mut asks = Asks::default();
        asks.add("inboundTag", tag.as_str());
        rules.push(at, asks, &lead, false);
    }
    !listeners.is_empty()
}

fn first_server(parts: &Parts) -> Option<String> {
    let server = parts.outbounds.iter().find(|one| one.leads_away());
    server.and_then(|server| server.tag.as_deref().map(str::to_owned))
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
