//! Which inbounds look into sessions: by `action: sniff` of a rule, and before there was that by `sniff` of an inbound.

use super::conditions::texts;
use crate::config::Inbound;
use crate::dialect::clients::sniffing::{ALL, settings};
use crate::dialect::tree::Node;
use crate::dialect::tree::keys::Keys;
use crate::sniffing::Settings;

/// Of an inbound itself.
pub(super) fn of_inbound(keys: &Keys) -> Option<Settings> {
    let overrides = keys.switch("sniff_override_destination");
    let sniffs = keys.switch("sniff");
    sniffs.then(|| settings(ALL.into_iter(), overrides))?
}

/// Of rules: those that have other conditions than an inbound count for all sessions of it.
pub(super) fn by_rules(keys: &Keys, inbounds: &mut [Inbound]) {
    let rules = keys.get("route").and_then(|route| route.get("rules"));
    let rules = rules.map(Node::items).unwrap_or_default();
    for rule in rules.iter().filter(|rule| sniffs(rule)) {
        let found = of_rule(rule);
        let named: Vec<&str> = texts(rule, "inbound").collect();
        for inbound in inbounds.iter_mut() {
            let tag = inbound.tag.as_deref().unwrap_or_default();
            if (named.is_empty() || named.contains(&tag)) && inbound.sniffing.is_none() {
                inbound.sniffing.clone_from(&found);
            }
        }
    }
}

fn of_rule(rule: &Node) -> Option<Settings> {
    let mut sniffers = texts(rule, "sniffer").peekable();
    match sniffers.peek() {
        Some(_) => settings(sniffers, false),
        None => settings(ALL.into_iter(), false),
    }
}

/// Of any inbound, whatever becomes of it here.
pub(super) fn of_any(keys: &Keys) -> Option<Settings> {
    let rules = keys.get("route").and_then(|route| route.get("rules"));
    let rules = rules.map(Node::items).unwrap_or_default();
    let by_rule = rules.iter().find(|rule| sniffs(rule)).and_then(of_rule);
    let is_on = |node: &Node, key| node.get(key).and_then(Node::as_text) == Some("true");
    let mut inbounds = keys.items("inbounds").iter();
    by_rule.or_else(|| {
        let sniffing = inbounds.find(|inbound| is_on(inbound, "sniff"))?;
        settings(
            ALL.into_iter(),
            is_on(sniffing, "sniff_override_destination"),
        )
    })
}

fn sniffs(rule: &Node) -> bool {
    texts(rule, "action").eq(["sniff"])
}
