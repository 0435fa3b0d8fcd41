//! `settings` of a `freedom` outbound.

use std::cell::LazyCell;

use super::super::dns::domain_strategy;
use super::super::routing::lists::networks;
use super::disguise::{fragment, noises};
use crate::address::{Host, Network};
use crate::dialect::v2ray::json::{Node, Object, PortList, PortRange, StringList, found, one_of};
use crate::matching::{Geodata, geodata};
use crate::protocol::freedom::{Action, FinalRule, FinalRules, OutboundSettings, Redirect};
use crate::seam::ProxyVersion;

pub(super) fn outbound(settings: &Object) -> Option<OutboundSettings> {
    // Xray goes by the older word where the newer one is empty.
    let said = |key| settings.get(key).filter(|node| node.value != "");
    let (strategy, older) = (said("targetStrategy"), said("domainStrategy"));
    let strategy = strategy.or(older).and_then(|n| domain_strategy(&n));
    let redirect = settings.get("redirect").and_then(|n| redirect(&n));
    let redirect = redirect.or_else(|| of_five(settings));
    let level = settings.read_or("userLevel", 0);
    settings.silent(&["timeout"]);
    refuse(settings);
    Some(OutboundSettings {
        strategy: strategy.unwrap_or_default(),
        redirect: redirect.unwrap_or_default(),
        level,
        rules: final_rules(settings),
        fragment: settings.get("fragment").and_then(|n| fragment(&n)),
        proxy_header: settings.get("proxyProtocol").and_then(proxy_header),
        noises: noises(settings),
    })
}

/// Xray passes over what is neither; a target that waits for a header would take no connection.
fn proxy_header(node: Node) -> Option<ProxyVersion> {
    match node.read::<u32>()? {
        0 => None,
        1 => Some(ProxyVersion::One),
        2 => Some(ProxyVersion::Two),
        other => {
            node.error(format!(
                "no version {other} of the PROXY protocol is known, expected 1, 2, or 0 for none"
            ));
            None
        }
    }
}

/// Keys of Xray's that nobody wants passed over.
fn refuse(settings: &Object) {
    settings.refuse(
        "noise",
        "Xray has taken this key away: write `noises`, an array of such objects",
    );
}

/// `finalRules`, and before them `ipsBlocked` of older Xray. Every mistake is an error: what such a rule holds back must
/// not pass.
fn final_rules(settings: &Object) -> FinalRules {
    let geodata = LazyCell::new(|| Geodata::new(geodata::folders()));
    let blocked = settings.get("ipsBlocked");
    let blocked = blocked.and_then(|node| networks(&[node], &geodata));
    let blocked = blocked.map(|ips| FinalRule {
        ips: Some(ips),
        ..FinalRule::of_all(Action::Block)
    });
    let rules = settings.array("finalRules").into_iter().filter_map(|node| {
        let object = node.object()?;
        let rule = final_rule(&object, &geodata);
        object.finish();
        rule
    });
    let rules: Vec<FinalRule> = rules.collect();
    // Alone it held nothing else back.
    let others = (blocked.is_some() && rules.is_empty()).then(|| FinalRule::of_all(Action::Allow));
    FinalRules(blocked.into_iter().chain(rules).chain(others).collect())
}

fn final_rule(object: &Object, geodata: &Geodata) -> Option<FinalRule> {
    let action = object.require_node("action");
    let actions = [("allow", Action::Allow), ("block", Action::Block)];
    let action = action.and_then(|node| one_of(&node, &actions));
    let ips = object.get("ip").and_then(|node| networks(&[node], geodata));
    // The connection ends at once: who asked is told why.
    object.no_effect(&["blockDelay"]);
    let (ports, on) = (ports(object)?, on(object)?);
    Some(FinalRule {
        action: action?,
        networks: on,
        ports,
        ips,
    })
}

fn ports(object: &Object) -> Option<Vec<PortRange>> {
    let node = object.get("port");
    let Some(node) = node.filter(|node| node.value.as_str() != Some("")) else {
        return Some(Vec::new());
    };
    let PortList(ranges) = node.read()?;
    if let Some(range) = ranges.iter().find(|range| range.from > range.to) {
        let PortRange { from, to } = range;
        node.error(format!("the range `{from}-{to}` ends before it begins"));
        return None;
    }
    Some(ranges)
}

fn on(object: &Object) -> Option<Vec<Network>> {
    let Some(node) = object.get("network") else {
        return Some(Vec::new());
    };
    let StringList(words) = node.read()?;
    let words = words.iter().flat_map(|words| words.split(','));
    let each = words.map(|word| match word.trim().to_ascii_lowercase().as_str() {
        "tcp" => Some(Network::Tcp),
        "udp" => Some(Network::Udp),
        other => {
            let other = other.escape_debug();
            node.error(format!(
                "`{other}` is unknown, expected `tcp`, `udp` or `tcp,udp`"
            ));
            None
        }
    });
    each.collect()
}

/// V2Ray 5's `destinationOverride`: `{"server": {"address": "127.0.0.1", "port": 80}}`.
fn of_five(settings: &Object) -> Option<Redirect> {
    if let Some(node) = settings.get("protocolReplacement")
        && !matches!(node.value.as_str(), Some("IDENTITY"))
        && node.value.as_u64() != Some(0)
    {
        node.unbuilt("streams stay streams and datagrams stay datagrams, expected `IDENTITY`");
    }
    let over = settings.object("destinationOverride")?;
    let server = over.object("server");
    over.finish();
    let server = server?;
    let address = server.get("address");
    let port = server.read_or("port", 0);
    server.finish();
    let host = match address {
        None => None,
        Some(node) => {
            let text: String = node.read()?;
            let host = Host::parse(&text).map_err(|e| node.error(e.to_string()));
            Some(host.ok()?)
        }
    };
    Some(Redirect::of(host, port))
}

fn redirect(node: &Node) -> Option<Redirect> {
    let text: String = node.read()?;
    if text.is_empty() {
        return None;
    }
    let parsed = parse(&text);
    if parsed.is_none() {
        node.error(format!(
            "{} is not a target, expected `host:port`, `:port` or `[IPv6]:port`",
            found(node.value)
        ));
    }
    parsed
}

fn parse(text: &str) -> Option<Redirect> {
    let (host, port) = text.rsplit_once(':')?;
    if host.contains(':') && !host.starts_with('[') {
        return None;
    }
    let host = match host {
        "" => None,
        host => Some(Host::parse(host).ok()?),
    };
    let port = port.parse().ok()?;
    Some(Redirect::of(host, port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::Strategy;
    use crate::testing::settings;
    use serde_json::{Value, json};

    #[test]
    fn redirect_replaces_the_parts_it_names() {
        for (redirect, to) in [
            ("1.2.3.4:5", "1.2.3.4:5"),
            (":5", "example.com:5"),
            ("[::1]:0", "[::1]:443"),
            ("", "example.com:443"),
            ("0.0.0.0:5", "example.com:5"),
            ("[::]:5", "[::]:5"),
        ] {
            let outbound = read(&json!({"redirect": redirect})).0.unwrap();
            let target = outbound.redirect.apply(&"example.com:443".parse().unwrap());
            assert_eq!(target.to_string(), to);
        }
        for (address, to) in [("0.0.0.0", "example.com:5"), ("::1", "[::1]:5")] {
            let over = json!({"destinationOverride": {"server": {"address": address, "port": 5}}});
            let outbound = read(&over).0.unwrap();
            let target = outbound.redirect.apply(&"example.com:443".parse().unwrap());
            assert_eq!(target.to_string(), to);
        }
    }

    #[test]
    fn final_rules_are_read_whole_or_not_at_all() {
        let rules = json!([
            {"action": "Allow", "ip": ["127.0.0.1", "!10.0.0.0/8"], "port": "53,1000-2000", "network": "udp"},
            {"action": "block"},
        ]);
        let read_rules = |rules: &Value| {
            let (outbound, said) = read(rules);
            (outbound.unwrap().rules.0, said)
        };
        let (rules, said) = read_rules(&json!({"finalRules": rules}));
        assert!(said.is_empty(), "{said:?}");
        assert_eq!(rules[0].action, Action::Allow);
        assert_eq!(rules[0].networks, [Network::Udp]);
        assert_eq!(rules[0].ports.len(), 2);
        assert_eq!(rules[1], FinalRule::of_all(Action::Block));
        // What was blocked before there were rules comes first, and alone it keeps nobody from anything else.
        let (rules, _) =
            read_rules(&json!({"ipsBlocked": "10.0.0.0/8", "finalRules": [{"action": "allow"}]}));
        assert_eq!(
            [rules[0].action, rules[1].action],
            [Action::Block, Action::Allow]
        );
        let (rules, _) = read_rules(&json!({"ipsBlocked": ["10.0.0.0/8"]}));
        assert_eq!(rules[1], FinalRule::of_all(Action::Allow));
        for (rule, expected) in [
            (json!({}), "finalRules[0]: `action` is missing"),
            (json!({"action": "drop"}), "`drop`"),
            (
                json!({"action": "block", "network": "icmp"}),
                "`icmp` is unknown, expected `tcp`, `udp` or `tcp,udp`",
            ),
            (
                json!({"action": "block", "ip": ["10.0.0.0/33"]}),
                "`10.0.0.0/33` is not a network",
            ),
            (
                json!({"action": "block", "port": "9-1"}),
                "the range `9-1` ends before it begins",
            ),
        ] {
            let (_, said) = read(&json!({"finalRules": [rule]}));
            assert!(
                said.iter().any(|text| text.contains(expected)),
                "{rule}: {said:?}"
            );
        }
    }

    #[test]
    fn a_proxy_header_has_one_of_two_versions() {
        for (version, expected) in [
            (0, None),
            (1, Some(ProxyVersion::One)),
            (2, Some(ProxyVersion::Two)),
        ] {
            let (outbound, said) = read(&json!({"proxyProtocol": version}));
            assert_eq!(outbound.unwrap().proxy_header, expected);
            assert!(said.is_empty(), "{said:?}");
        }
    }

    #[test]
    fn strategies_are_found_in_any_case() {
        for (word, expected) in [
            ("UseIP", Strategy::UseIp),
            ("useipv4", Strategy::UseIpv4),
            ("USE_IP6", Strategy::UseIpv6),
            ("prefer-ip-v6", Strategy::PreferIpv6),
            ("AsIs", Strategy::AsIs),
            ("ForceIP", Strategy::UseIp),
            ("ForceIPv4", Strategy::UseIpv4),
            ("ForceIPv6", Strategy::UseIpv6),
            ("UseIPv4v6", Strategy::PreferIpv4),
            ("forceipv6v4", Strategy::PreferIpv6),
        ] {
            let outbound = read(&json!({"domainStrategy": word})).0.unwrap();
            assert_eq!(outbound.strategy, expected);
        }
    }

    #[test]
    fn mistakes_say_what_was_expected() {
        for (settings, text) in [
            (
                json!({"domainStrategy": "UseIPv5"}),
                "domainStrategy: `UseIPv5` is unknown, `AsIs` takes its place as in V2Ray, expected `AsIs`, `UseIP`, `UseIPv4`, `UseIPv6`, `PreferIPv4` or `PreferIPv6`, did you mean `UseIPv4`?",
            ),
            (
                json!({"proxyProtocol": 3}),
                "proxyProtocol: no version 3 of the PROXY protocol is known, expected 1, 2, or 0 for none",
            ),
            (
                json!({"redirect": "::1:53"}),
                "redirect: `::1:53` is not a target, expected `host:port`, `:port` or `[IPv6]:port`",
            ),
            (
                json!({"redirect": "host"}),
                "redirect: `host` is not a target, expected `host:port`, `:port` or `[IPv6]:port`",
            ),
        ] {
            assert_eq!(read(&settings).1, [text]);
        }
    }

    fn read(value: &Value) -> (Option<OutboundSettings>, Vec<String>) {
        settings::read(value, outbound)
    }
}
