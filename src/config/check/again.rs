//! Ways through a `loopback` that lead back to where they begin.

use std::collections::{HashMap, HashSet};

use crate::config::{Draft, Outbound};
use crate::report::Report;
use crate::routing::{self, Target, selected};

/// Warns of outbounds whose connections the rules may lead through themselves: such a connection fails.
pub(crate) fn ways_round(
    outbounds: &[Draft<Outbound>],
    routing: &routing::Settings,
    report: &Report,
) {
    let tagged = outbounds.iter().enumerate();
    let tagged = tagged.filter_map(|(n, draft)| Some((draft.tag.as_deref()?, n)));
    let places: HashMap<&str, usize> = tagged.collect();
    for (start, draft) in outbounds.iter().enumerate() {
        let Some(through) = &draft.through else {
            continue;
        };
        let mut next = vec![&*through.tag];
        let mut met = HashSet::new();
        let mut asks_rules = false;
        while let Some(tag) = next.pop() {
            let Some(n) = places.get(tag).copied() else {
                continue;
            };
            if n == start && asks_rules {
                let text = format!(
                    "connections to its server go through `{}`, and the rules may lead them to this outbound again: those fail",
                    through.tag.escape_debug()
                );
                report.warn(&through.at, text);
                break;
            }
            if !met.insert(n) {
                continue;
            }
            next.extend(outbounds[n].through.iter().map(|through| &*through.tag));
            let part = outbounds[n].part.as_ref();
            if let Some(loopback) = part.and_then(|part| part.protocol.loopback()) {
                asks_rules = true;
                next.extend(led(routing, loopback.inbound.as_deref(), &places));
            }
        }
    }
}

/// The outbounds that rules lead connections of the inbound `name` to, up to the rule that takes all of them.
fn led<'o>(
    routing: &'o routing::Settings,
    name: Option<&str>,
    places: &HashMap<&'o str, usize>,
) -> Vec<&'o str> {
    let mut tags = Vec::new();
    for rule in &routing.rules {
        let inbounds = &rule.conditions.inbounds;
        if !inbounds.is_empty() && !inbounds.iter().any(|tag| Some(tag.as_str()) == name) {
            continue;
        }
        match &*rule.target {
            Target::Outbound(tag) => tags.push(&**tag),
            Target::Balancer(tag) => {
                let balancer = routing.balancer(tag);
                let fallback = balancer.and_then(|one| one.fallback.as_ref());
                tags.extend(fallback.map(|tag| &***tag));
                let members = places.keys().copied();
                tags.extend(members.filter(|tag| {
                    balancer.is_some_and(|balancer| selected(&balancer.selectors, tag))
                }));
            }
        }
        if rule
            .conditions
            .takes_all_streams_of(name.unwrap_or_default())
        {
            break;
        }
    }
    tags
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::dialect::v2ray::{Format, Input, load};

    #[test]
    fn a_way_that_may_come_round_is_warned_of() {
        let warned = |rules: serde_json::Value| {
            let proxy = |tag: &str, through: Option<&str>| {
                let mut one = json!({"tag": tag, "protocol": "trojan", "streamSettings": {"security": "tls"},
                    "settings": {"servers": [{"address": "192.0.2.1", "port": 443, "password": "p"}]}});
                if let Some(through) = through {
                    one["proxySettings"] = json!({"tag": through});
                }
                one
            };
            let again =
                json!({"tag": "again", "protocol": "loopback", "settings": {"inboundTag": "x"}});
            let config = json!({
                "inbounds": [{"listen": "127.0.0.1", "port": 1080, "protocol": "socks"}],
                "outbounds": [proxy("far", Some("again")), proxy("near", None), proxy("next", None), again],
                "routing": {"rules": rules, "balancers": [{"tag": "b", "selector": ["n"]}, {"tag": "all", "selector": [""]}]}
            });
            let text = Input::Text {
                name: "c.json".to_owned(),
                text: config.to_string(),
            };
            let loaded = load(&[text], Format::V4);
            assert_eq!(loaded.errors, []);
            let warnings = loaded.warnings.iter().map(ToString::to_string);
            warnings
                .filter(|line| line.contains("those fail"))
                .collect::<Vec<_>>()
        };
        let x = |more: serde_json::Value| {
            let mut rule = json!({"type": "field", "inboundTag": ["x"]});
            rule.as_object_mut()
                .unwrap()
                .extend(more.as_object().unwrap().clone());
            rule
        };
        let other = json!({"type": "field", "network": "tcp,udp", "outboundTag": "far"});
        assert_eq!(
            warned(json!([x(json!({"balancerTag": "b"})), other])),
            [""; 0]
        );
        assert_eq!(
            warned(json!([x(json!({"outboundTag": "near"})), other])),
            [""; 0]
        );
        for rules in [
            json!([x(json!({"balancerTag": "all"}))]),
            json!([x(json!({"outboundTag": "far"}))]),
            json!([x(json!({"port": 1, "balancerTag": "b"})), other]),
        ] {
            let expected = "outbounds[0].proxySettings.tag: connections to its server go through `again`, and the rules may lead them to this outbound again: those fail";
            assert_eq!(warned(rules.clone()), [expected], "{rules}");
        }
    }
}
