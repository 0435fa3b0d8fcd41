//! `settings` of a `dns` outbound.

use std::cell::LazyCell;
use std::ops::RangeInclusive;
use std::sync::Arc;

use super::super::routing::lists::patterns;
use super::host;
use crate::address::Network;
use crate::dialect::v2ray::json::{Node, Object, Port, did_you_mean, one_of};
use crate::matching::{Domains, Geodata, geodata};
use crate::protocol::dns::{Act, OutboundSettings, Rule};

pub(super) fn outbound(settings: &Object) -> Option<OutboundSettings> {
    // An empty text is as good as none.
    let get = |key| {
        let node = settings.get(key);
        node.filter(|node| node.value.as_str() != Some(""))
    };
    let networks = [("tcp", Network::Tcp), ("udp", Network::Udp)];
    // Xray puts `rewrite` in front of them.
    let first = |keys: [&'static str; 2]| {
        let found = keys.map(get);
        found.into_iter().flatten().next()
    };
    let network = first(["network", "rewriteNetwork"]).and_then(|n| {
        let text = n.value.as_str().unwrap_or_default().to_ascii_lowercase();
        if !text.is_empty() && networks.iter().all(|(word, _)| *word != text) {
            n.warn(format!(
                "`{}` is unknown, questions go by the network that they came by, expected `tcp` or `udp`{}",
                text.escape_debug(),
                did_you_mean(&text, ["tcp", "udp"].into_iter())
            ));
            return None;
        }
        one_of(&n, &networks)
    });
    let address = first(["address", "rewriteAddress"]);
    let port: Option<Port> = settings
        .first(&["port", "rewritePort"])
        .and_then(|node| node.read());
    let (rules, others) = rules(settings, get("nonIPQuery"));
    let ttl = settings.read_or("responseTTL", 0);
    let overrides = settings.read_or("overrideResponseTTL", false);
    // A level names nothing that this outbound waits for.
    settings.silent(&["userLevel"]);
    Some(OutboundSettings {
        network,
        host: address.and_then(host),
        port: port.map(|Port(port)| port).filter(|port| *port != 0),
        rules: rules?,
        others,
        ttl: overrides.then_some(ttl),
    })
}

/// Which questions get what: `rules`, or `blockTypes` and `nonIPQuery` of before them. Rules are read whole or not at all,
/// for without one of them its questions would go where they were not meant to go.
fn rules(settings: &Object, other: Option<Node>) -> (Option<Arc<[Rule]>>, Act) {
    let words = [
        ("skip", Act::Forward),
        ("drop", Act::Drop),
        ("reject", Act::Reply(REFUSED)),
    ];
    let is_told = other.is_some();
    let other = other.and_then(|node| one_of(&node, &words));
    let blocked = settings.get("blockTypes");
    let Some(rules) = settings.get("rules") else {
        // Who blocks types in Xray has the others refused without a word about them; V2Ray forwards them.
        let usual = match blocked {
            Some(_) => Act::Reply(REFUSED),
            None => Act::Forward,
        };
        let others = other.unwrap_or(usual);
        let act = match others {
            Act::Reply(code) => Act::Reply(code),
            _ => Act::Drop,
        };
        let rules = match blocked {
            Some(node) => blocks(&node, act),
            None => Some(Arc::default()),
        };
        return (rules, others);
    };
    if is_told || blocked.is_some() {
        rules.error("`nonIPQuery` and `blockTypes` are words of before there were rules, and cannot stand beside them");
    }
    let geodata = LazyCell::new(|| Geodata::new(geodata::folders()));
    let each = rules.array().into_iter().map(|node| {
        let object = node.object()?;
        let rule = rule(&object, &geodata);
        object.finish();
        rule
    });
    let each: Vec<Option<Rule>> = each.collect();
    (each.into_iter().collect(), Act::Reply(0))
}

fn rule(object: &Object, geodata: &Geodata) -> Option<Rule> {
    let code = object.get("rCode");
    let code = code.map_or(Some(0), |node| {
        let code: u16 = node.read()?;
        let fits = code <= 15;
        if !fits {
            node.error(format!(
                "{code} has no room in an answer, expected 0 to 15, such as 3 for a name that is not there"
            ));
        }
        fits.then_some(code)
    });
    let words = [
        ("direct", Act::Forward),
        ("drop", Act::Drop),
        ("return", Act::Reply(code.unwrap_or(0))),
        ("hijack", Act::Answer(code.unwrap_or(0))),
    ];
    let act = object.require_node("action");
    let act = act.and_then(|node| one_of(&node, &words));
    let kinds = object
        .get("qType")
        .map_or(Some(Vec::new()), |node| kinds(&node));
    let domain = object.get("domain");
    let patterns = domain.as_ref().and_then(|node| patterns(node, geodata));
    let names = patterns.map(Domains::new);
    let names = names
        .transpose()
        .map_err(|e| object.node.error(e.to_string()));
    code?;
    Some(Rule {
        kinds: kinds?,
        names: names.ok()?,
        act: act?,
    })
}

/// `65`, `"65"` or `"11,13,15-17"`.
fn kinds(node: &Node) -> Option<Vec<RangeInclusive<u16>>> {
    let text = match node.value.as_u64() {
        Some(number) => number.to_string(),
        None => node.read()?,
    };
    let parts = text
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty());
    let ranges = parts.map(|part| {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        let range = from.trim().parse().ok()?..=to.trim().parse().ok()?;
        (!range.is_empty()).then_some(range)
    });
    let ranges: Option<Vec<_>> = ranges.collect();
    if ranges.is_none() {
        node.error(format!(
            "`{}` is no type of a question, expected a number from 0 to 65535 such as 28 for AAAA, or such as `\"11,13,15-17\"`",
            text.escape_debug()
        ));
    }
    ranges
}

fn blocks(node: &Node, act: Act) -> Option<Arc<[Rule]>> {
    let kinds = node.array().into_iter().map(|node| {
        let number: u16 = node.read()?;
        Some(number..=number)
    });
    let kinds: Vec<Option<_>> = kinds.collect();
    let kinds: Vec<_> = kinds.into_iter().collect::<Option<_>>()?;
    let rule = (!kinds.is_empty()).then_some(Rule {
        kinds,
        names: None,
        act,
    });
    Some(rule.into_iter().collect())
}

const REFUSED: u16 = 5;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::settings;
    use serde_json::{Value, json};

    #[test]
    fn the_settings_replace_the_parts_they_name() {
        let to = "8.8.8.8:5353".parse().unwrap();
        for (settings, network, server) in [
            (json!({}), Network::Udp, "8.8.8.8:5353"),
            (json!({"network": "tcp"}), Network::Tcp, "8.8.8.8:5353"),
            (json!({"address": "1.1.1.1"}), Network::Udp, "1.1.1.1:5353"),
            (json!({"port": 53}), Network::Udp, "8.8.8.8:53"),
        ] {
            let outbound = read(&settings).0.unwrap();
            let (over, at) = outbound.server(Network::Udp, &to);
            assert_eq!((over, at.to_string()), (network, server.to_owned()));
        }
    }

    #[test]
    fn mistakes_say_what_was_expected() {
        for (settings, text) in [
            (
                json!({"network": "ucp"}),
                "network: `ucp` is unknown, questions go by the network that they came by, expected `tcp` or `udp`, did you mean `tcp`?",
            ),
            (
                json!({"nonIPQuery": "block"}),
                "nonIPQuery: `block` is unknown, expected `skip`, `drop` or `reject`",
            ),
        ] {
            assert_eq!(read(&settings).1, [text]);
        }
    }

    #[test]
    fn rules_and_what_came_before_them_say_what_becomes_of_a_question() {
        let rules = json!({"rules": [
            {"action": "Return", "rCode": 3, "domain": ["domain:example.com"]},
            {"action": "direct", "qType": 65},
            {"action": "drop", "qType": "11,13,15-17"},
            {"action": "hijack", "rCode": 4},
        ]});
        let (outbound, said) = read(&rules);
        let outbound = outbound.unwrap();
        assert!(said.is_empty(), "{said:?}");
        let acts: Vec<Act> = outbound.rules.iter().map(|rule| rule.act).collect();
        assert_eq!(
            acts,
            [Act::Reply(3), Act::Forward, Act::Drop, Act::Answer(4)]
        );
        assert_eq!(outbound.rules[2].kinds, [11..=11, 13..=13, 15..=17]);
        assert_eq!(outbound.others, Act::Reply(0));
        for (settings, block, others) in [
            (
                json!({"blockTypes": [65]}),
                Some(Act::Reply(5)),
                Act::Reply(5),
            ),
            (
                json!({"blockTypes": [65], "nonIPQuery": "skip"}),
                Some(Act::Drop),
                Act::Forward,
            ),
            (
                json!({"blockTypes": [65], "nonIPQuery": "drop"}),
                Some(Act::Drop),
                Act::Drop,
            ),
            (json!({"blockTypes": []}), None, Act::Reply(5)),
            (json!({"nonIPQuery": "reject"}), None, Act::Reply(5)),
            (json!({}), None, Act::Forward),
        ] {
            let outbound = read(&settings).0.unwrap();
            let rule = outbound.rules.first();
            assert_eq!(rule.map(|rule| rule.act), block, "{settings}");
            assert_eq!(outbound.others, others, "{settings}");
        }
    }

    #[test]
    fn a_rule_that_cannot_be_read_is_an_error() {
        for (settings, text) in [
            (
                json!({"rules": [{"qType": 1}]}),
                "rules[0]: `action` is missing",
            ),
            (
                json!({"rules": [{"action": "reject"}]}),
                "rules[0].action: `reject` is unknown, expected `direct`, `drop`, `return` or `hijack`",
            ),
            (
                json!({"rules": [{"action": "drop", "qType": "AAAA"}]}),
                "rules[0].qType: `AAAA` is no type of a question, expected a number from 0 to 65535 such as 28 for AAAA, or such as `\"11,13,15-17\"`",
            ),
            (
                json!({"rules": [{"action": "return", "rCode": 16}]}),
                "rules[0].rCode: 16 has no room in an answer, expected 0 to 15, such as 3 for a name that is not there",
            ),
            (
                json!({"rules": [{"action": "drop"}], "nonIPQuery": "skip"}),
                "rules: `nonIPQuery` and `blockTypes` are words of before there were rules, and cannot stand beside them",
            ),
        ] {
            assert_eq!(read(&settings).1, [text]);
        }
    }

    fn read(value: &Value) -> (Option<OutboundSettings>, Vec<String>) {
        settings::read(value, outbound)
    }
}
