//! `hijack-dns`: questions that are answered here, wherever they were sent.
//!
//! sing-box finds them by what is in them, and mobula by the port that they are sent to. Addresses are answered; whatever else is
//! asked for is refused.

use super::conditions::{Conditions, texts};
use crate::dialect::clients::dns::free_tag;
use crate::dialect::clients::groups::Lead;
use crate::dialect::clients::nodes::outbound;
use crate::dialect::clients::parts::Parts;
use crate::dialect::clients::rules::Rules;
use crate::dialect::tree::keys::Keys;
use crate::dialect::tree::{At, Node, Value};
use crate::protocol::{OutboundSettings, dns};
use crate::transport::ClientSettings;

/// The outbounds that were the way to sing-box' own DNS before it had the action.
pub(super) struct Hijack<'n> {
    of_dns: Vec<&'n str>,
}

impl<'n> Hijack<'n> {
    pub(super) fn of(keys: &Keys<'n>) -> Self {
        let all = keys.items("outbounds").iter();
        let of_dns = all.filter(|one| is_of_dns(one));
        Self {
            of_dns: of_dns.filter_map(|one| texts(one, "tag").next()).collect(),
        }
    }

    /// Whether a rule sends there.
    pub(super) fn takes(&self, rule: &Node) -> bool {
        let text = |key: &str| texts(rule, key).next();
        match text("action") {
            Some("hijack-dns") => true,
            None | Some("route") => text("outbound").is_some_and(|tag| self.of_dns.contains(&tag)),
            Some(_) => false,
        }
    }
}

/// Whether a rule that asks for nothing else sends there what comes in by `inbound`.
pub(super) fn takes_all_of(keys: &Keys<'_>, inbound: &str) -> bool {
    const OF_THEM: [&str; 3] = ["inbound", "action", "outbound"];
    let hijack = Hijack::of(keys);
    let rules = keys.get("route").and_then(|route| route.get("rules"));
    let mut rules = rules.map(Node::items).unwrap_or_default().iter();
    rules.any(|rule| {
        let mut keys = rule.entries().iter();
        hijack.takes(rule)
            && keys.all(|(key, _)| OF_THEM.contains(&key.as_str()))
            && texts(rule, "inbound").any(|tag| tag == inbound)
    })
}

/// Whether an outbound is sing-box' own DNS.
pub(super) fn is_of_dns(outbound: &Node) -> bool {
    texts(outbound, "type").next() == Some("dns")
}

/// Reads a rule that sends there.
///
/// # Errors
///
/// What of it is not built.
pub(super) fn rule<'n>(
    node: &'n Node,
    conditions: &Conditions<'n>,
    parts: &mut Parts,
    rules: &mut Rules<'n>,
) -> Result<(), String> {
    let mut asked = node.clone();
    ask_for_port(&mut asked);
    let any = conditions.read(&asked, 0)?;
    let lead = Lead::Outbound(answering(&node.at, parts));
    for asks in any.into_rules() {
        rules.push(&node.at, asks, &lead, false);
    }
    Ok(())
}

/// Has it ask for the port in the place of the protocol, and those in it as well.
fn ask_for_port(rule: &mut Node) {
    if texts(rule, "protocol").eq(["dns"]) {
        rule.take("protocol");
        if rule.get("port").is_none() && rule.get("port_range").is_none() {
            let at = rule.at.clone();
            rule.set("port", Node::text("53", &at));
        }
    }
    if let Some(Value::List(inner)) = rule.get_mut("rules").map(|rules| &mut rules.value) {
        inner.iter_mut().for_each(ask_for_port);
    }
}

/// What a question for anything but addresses is answered.
const REFUSED: u16 = 5;

/// The tag of the outbound that answers.
fn answering(at: &At, parts: &mut Parts) -> String {
    let mut all = parts.outbounds.iter();
    let known = all.find(|one| matches!(one.protocol, OutboundSettings::Dns(_)));
    if let Some(tag) = known.and_then(|one| one.tag.as_deref()) {
        return tag.to_owned();
    }
    let outbounds = parts.outbounds.iter();
    let tag = free_tag(
        "dns-out".to_owned(),
        outbounds.filter_map(|one| one.tag.as_deref()),
    );
    // Whomever the client names shall not hear what others are to be asked.
    let protocol = OutboundSettings::Dns(dns::OutboundSettings {
        others: dns::Act::Reply(REFUSED),
        ..dns::OutboundSettings::default()
    });
    let made = outbound(at, Some(&tag), ClientSettings::default(), protocol);
    parts.outbounds.push(made);
    tag
}
