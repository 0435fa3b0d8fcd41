//! Rules and balancers as Xray's message of them. What a rule says of names and addresses goes along as it is written:
//! the server has the files.

use std::collections::HashMap;

use super::rule::{self, checked};
use super::{balancer, domain_strategy, target};
use crate::address::{Network, PortRange};
use crate::dialect::v2ray::json::{Node, Object, StringList, found};
use crate::matching::{Pattern, parse_network};
use crate::routing::{Among, BalancerSettings, DomainStrategy, LeastLoad, Match, Strategy, Target};
use crate::wire::common::net::{self as wire, Network as WireNetwork};
use crate::wire::net;
use crate::wire::typed::seal_xray;
use crate::wire::xray::app::router::config::DomainStrategy as WireStrategy;
use crate::wire::xray::app::router::routing_rule::TargetTag;
use crate::wire::xray::app::router::{
    BalancingRule, Config, RoutingRule, StrategyLeastLoadConfig, StrategyWeight,
};
use crate::wire::xray::common::geodata::domain::Type;
use crate::wire::xray::common::geodata::{
    Cidr, CidrRule, Domain, DomainRule, GeoIpRule, GeoSiteRule, IpRule, domain_rule, ip_rule,
};
use crate::wire::xray::common::net::PortList;

/// `routing`; every mistake is reported.
pub(in crate::dialect::v2ray) fn read(routing: &Object) -> Option<Config> {
    let strategy = routing.get("domainStrategy");
    let strategy = match strategy.map(|node| domain_strategy(&node)) {
        None | Some(DomainStrategy::AsIs) => WireStrategy::AsIs,
        Some(DomainStrategy::IpIfNonMatch) => WireStrategy::IpIfNonMatch,
        Some(DomainStrategy::IpOnDemand) => WireStrategy::IpOnDemand,
    };
    let rules = routing.array("rules").into_iter();
    let rules: Vec<_> = rules.map(|node| read_rule(node.object()?)).collect();
    let balancers = routing.array("balancers").into_iter();
    let balancers = balancers.map(|node| {
        let balancer = balancer::read(node.object()?, &[])?;
        read_balancer(&balancer, &node)
    });
    let balancers: Vec<_> = balancers.collect();
    Some(Config {
        domain_strategy: strategy.into(),
        rule: rules.into_iter().collect::<Option<_>>()?,
        balancing_rule: balancers.into_iter().collect::<Option<_>>()?,
    })
}

fn read_rule(object: Object) -> Option<RoutingRule> {
    let mut takes_nothing = false;
    let target = target(&object, &[]).map(|placed| placed.value);
    let domain = strings(&object, &["domain", "domains"], domain_rule);
    let ip = strings(&object, &["ip"], ip_rule);
    let source_ip = strings(&object, &["sourceIP", "source"], ip_rule);
    let local_ip = strings(&object, &["localIP"], ip_rule);
    let ports = rule::ports(&object, &["port"], &mut takes_nothing);
    let vless_routes = rule::ports(&object, &["vlessRoute"], &mut takes_nothing);
    let local_ports = rule::ports(&object, &["localPort"], &mut takes_nothing);
    let source_ports = rule::ports(&object, &["sourcePort"], &mut takes_nothing);
    let networks = rule::networks(&object, &mut takes_nothing);
    let lists = ["user", "inboundTag", "protocol", "process", "localOS"];
    let [users, inbounds, protocols, process, local_os] = lists.map(|key| {
        let StringList(texts) = object.read(key).unwrap_or_default();
        texts.into_iter().filter(|text| !text.is_empty()).collect()
    });
    let attributes = object.get("attrs").map(|node| attributes(&node));
    let rule_tag = object.read("ruleTag");
    object.silent(&["type", "domainMatcher", "id"]);
    object.refuse("webhook", "nobody is called, leave it out");
    if takes_nothing {
        object.node.error("the rule takes nothing");
    }
    object.finish();
    Some(RoutingRule {
        target_tag: Some(match target? {
            Target::Outbound(tag) => TargetTag::Tag(tag.to_string()),
            Target::Balancer(tag) => TargetTag::BalancingTag(tag),
        }),
        rule_tag: rule_tag.unwrap_or_default(),
        domain: domain?,
        ip: ip?,
        port_list: port_list(&ports),
        networks: networks.into_iter().map(network).collect(),
        source_ip: source_ip?,
        source_port_list: port_list(&source_ports),
        local_ip: local_ip?,
        local_port_list: port_list(&local_ports),
        vless_route_list: port_list(&vless_routes),
        process,
        local_os,
        user_email: users,
        inbound_tag: inbounds,
        protocol: protocols,
        attributes: attributes.unwrap_or(Some(HashMap::new()))?,
        ..RoutingRule::default()
    })
}

/// What `read` makes of each text.
fn strings<T>(
    object: &Object,
    keys: &[&'static str],
    read: fn(&str) -> Result<T, String>,
) -> Option<Vec<T>> {
    let Some(node) = object.first(keys) else {
        return Some(Vec::new());
    };
    let StringList(texts) = node.read()?;
    let texts = texts.iter().map(|text| text.trim());
    let each = texts.filter(|text| !text.is_empty()).map(|text| {
        let read = read(text);
        read.map_err(|e| node.error(e)).ok()
    });
    let each: Vec<_> = each.collect();
    each.into_iter().collect()
}

/// Xray's are expressions, by the key that each is for.
fn attributes(node: &Node) -> Option<HashMap<String, String>> {
    let Some(map) = node.value.as_object() else {
        let found = found(node.value);
        node.error(format!("{found} has no place in Xray's message, expected an object such as {{\":method\": \"GET\"}}"));
        return None;
    };
    let each = map.iter().map(|(key, value)| match value.as_str() {
        Some(text) => Some((key.clone(), text.to_owned())),
        None => {
            node.error(format!("`{}` is not a string", key.escape_debug()));
            None
        }
    });
    each.collect()
}

fn domain_rule(text: &str) -> Result<DomainRule, String> {
    let (file, rest) = match text.split_once(':') {
        Some(("geosite", rest)) => ("geosite.dat", rest),
        Some(("ext" | "ext-domain" | "ext-site", rest)) => file_and_code(text, rest)?,
        _ => return custom(text),
    };
    let (code, attrs) = rest.split_once('@').unwrap_or((rest, ""));
    if code.is_empty() {
        return Err(format!("`{}` names no category", text.escape_debug()));
    }
    Ok(DomainRule {
        value: Some(domain_rule::Value::Geosite(GeoSiteRule {
            file: file.to_owned(),
            code: code.to_ascii_uppercase(),
            attrs: attrs.to_ascii_lowercase(),
        })),
    })
}

fn custom(text: &str) -> Result<DomainRule, String> {
    let pattern = match text.split_once(':') {
        Some(("regexp", rest)) => Pattern::Regex(rest.to_owned()),
        Some(("domain", rest)) => Pattern::Domain(rest.to_owned()),
        Some(("full", rest)) => Pattern::Full(rest.to_owned()),
        Some(("keyword", rest)) => Pattern::Keyword(rest.to_owned()),
        Some(("dotless", rest)) if rest.contains('.') => {
            let text = text.escape_debug();
            return Err(format!(
                "`{text}` has a dot, expected a part of a name without dots"
            ));
        }
        Some(("dotless", rest)) => Pattern::Regex(format!("^[^.]*{rest}[^.]*$")),
        _ => Pattern::Keyword(text.to_owned()),
    };
    let (kind, value) = match checked(pattern)? {
        Pattern::Keyword(value) => (Type::Substr, value),
        Pattern::Regex(value) => (Type::Regex, value),
        Pattern::Domain(value) => (Type::Domain, value),
        Pattern::Full(value) => (Type::Full, value),
    };
    if value.is_empty() {
        return Err(format!(
            "`{}` has nothing behind the `:`",
            text.escape_debug()
        ));
    }
    Ok(DomainRule {
        value: Some(domain_rule::Value::Custom(Domain {
            r#type: kind.into(),
            value,
        })),
    })
}

fn ip_rule(text: &str) -> Result<IpRule, String> {
    let bare = text.trim_start_matches('!');
    let mut reverse_match = (text.len() - bare.len()) % 2 == 1;
    let (file, code) = match bare.split_once(':') {
        Some(("geoip", rest)) => ("geoip.dat", rest),
        Some(("ext" | "ext-ip", rest)) => file_and_code(text, rest)?,
        _ => {
            let net = parse_network(bare).map_err(|e| e.to_string())?;
            return Ok(IpRule {
                value: Some(ip_rule::Value::Custom(CidrRule {
                    cidr: Some(Cidr {
                        ip: net::bytes(net.addr()),
                        prefix: net.prefix_len().into(),
                    }),
                    reverse_match,
                })),
            });
        }
    };
    let bare = code.trim_start_matches('!');
    reverse_match ^= (code.len() - bare.len()) % 2 == 1;
    if bare.is_empty() {
        return Err(format!("`{}` names no category", text.escape_debug()));
    }
    Ok(IpRule {
        value: Some(ip_rule::Value::Geoip(GeoIpRule {
            file: file.to_owned(),
            code: bare.to_ascii_uppercase(),
            reverse_match,
        })),
    })
}

fn file_and_code<'t>(text: &str, rest: &'t str) -> Result<(&'t str, &'t str), String> {
    let parts = rest.split_once(':').filter(|(file, _)| !file.is_empty());
    let text = text.escape_debug();
    parts.ok_or_else(|| format!("`{text}` is not of the form `ext:FILE:CATEGORY`"))
}

fn port_list(ranges: &[PortRange]) -> Option<PortList> {
    let range = ranges.iter().map(|range| wire::PortRange {
        from: range.from.into(),
        to: range.to.into(),
    });
    (!ranges.is_empty()).then(|| PortList {
        range: range.collect(),
    })
}

fn network(network: Network) -> i32 {
    let network = match network {
        Network::Tcp => WireNetwork::Tcp,
        Network::Udp => WireNetwork::Udp,
    };
    network.into()
}

fn read_balancer(balancer: &BalancerSettings, node: &Node) -> Option<BalancingRule> {
    let mut settings = None;
    let (strategy, among) = match &balancer.strategy.value {
        Strategy::Random(among) => ("random", *among),
        Strategy::RoundRobin(among) => ("roundrobin", *among),
        Strategy::LeastPing { keep_within } => {
            if !keep_within.is_zero() {
                node.error("`keepWithin` has no place in Xray's message");
                return None;
            }
            ("leastping", Among::All)
        }
        // Xray has no word for these.
        Strategy::First => ("fifo", Among::All),
        Strategy::FirstAlive => ("firstalive", Among::All),
        Strategy::LeastLoad(load) => {
            let load = least_load(load);
            settings = Some(seal_xray("app.router.StrategyLeastLoadConfig", &load));
            ("leastload", Among::All)
        }
    };
    if among == Among::Alive || !balancer.observer.value.is_empty() {
        node.error("`aliveOnly` and `observerTag` have no place in Xray's message");
        return None;
    }
    let fallback = balancer.fallback.as_ref();
    Some(BalancingRule {
        tag: balancer.tag.clone(),
        outbound_selector: balancer.selectors.value.clone(),
        strategy: strategy.to_owned(),
        strategy_settings: settings,
        fallback_tag: fallback.map_or_else(String::new, |tag| tag.value.to_string()),
    })
}

fn least_load(load: &LeastLoad) -> StrategyLeastLoadConfig {
    let nanos = |span: &std::time::Duration| i64::try_from(span.as_nanos()).unwrap_or(i64::MAX);
    let costs = load.costs.iter().map(|cost| {
        let (regexp, text) = match &cost.pattern {
            Match::Text(text) => (false, text.clone()),
            Match::Regex(regex) => (true, regex.as_str().to_owned()),
        };
        StrategyWeight {
            regexp,
            r#match: text,
            value: cost.value.unwrap_or_default() as f32,
        }
    });
    StrategyLeastLoadConfig {
        costs: costs.collect(),
        baselines: load.baselines.iter().map(nanos).collect(),
        expected: i32::try_from(load.expected).unwrap_or(i32::MAX),
        max_rtt: load.max_rtt.as_ref().map_or(0, nanos),
        tolerance: load.tolerance as f32,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::messages;
    use crate::testing::settings;
    use serde_json::json;

    #[test]
    fn what_is_written_is_read_by_the_api() {
        let routing = json!({
            "domainStrategy": "IPIfNonMatch",
            "rules": [
                {"ruleTag": "one", "outboundTag": "direct", "domain": ["a.test", "full:b.test", "regexp:^c"],
                 "ip": ["10.0.0.0/8", "!::1"], "port": "53,1000-2000", "network": "tcp,udp", "user": "regexp:^a",
                 "inboundTag": ["in"], "protocol": "tls", "sourcePort": 5, "source": ["192.0.2.1"]},
                {"balancerTag": "all", "network": ["tcp"]},
            ],
            "balancers": [{"tag": "all", "selector": ["a"], "fallbackTag": "direct", "strategy": {
                "type": "leastLoad", "settings": {"expected": 2, "maxRTT": "1s", "tolerance": 0.5,
                "baselines": ["1s"], "costs": [{"regexp": true, "match": "^x", "value": 0.5}]},
            }}],
        });
        let (config, said) = settings::read(&routing, read);
        assert!(said.is_empty(), "{said:?}");
        let sealed = seal_xray("app.router.Config", &config.unwrap());
        let read = messages::routing(&sealed).unwrap();
        assert_eq!(read.rules.len(), 2);
        let conditions = &read.rules[0].conditions;
        assert_eq!(conditions.ports.len(), 2);
        assert_eq!(conditions.networks, [Network::Tcp, Network::Udp]);
        assert_eq!(conditions.inbounds.value, ["in"]);
        assert!(conditions.domains.is_some() && conditions.ips.is_some());
        let Strategy::LeastLoad(load) = &read.balancers[0].strategy.value else {
            panic!("{:?}", read.balancers[0]);
        };
        assert_eq!((load.expected, load.costs.len()), (2, 1));
    }

    #[test]
    fn names_of_geodata_are_left_for_the_server() {
        let geosite = domain_rule("geosite:cn@ads").unwrap();
        assert_eq!(
            geosite.value,
            Some(domain_rule::Value::Geosite(GeoSiteRule {
                file: "geosite.dat".to_owned(),
                code: "CN".to_owned(),
                attrs: "ads".to_owned(),
            }))
        );
        let geoip = ip_rule("ext:my.dat:!private").unwrap();
        assert_eq!(
            geoip.value,
            Some(ip_rule::Value::Geoip(GeoIpRule {
                file: "my.dat".to_owned(),
                code: "PRIVATE".to_owned(),
                reverse_match: true,
            }))
        );
        for wrong in ["geoip:", "ext:x", "10.0.0.0/33", "a.test"] {
            assert!(ip_rule(wrong).is_err(), "{wrong}");
        }
        for wrong in ["geosite:", "ext::x", "regexp:(", "dotless:a.b"] {
            assert!(domain_rule(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_has_no_place_in_the_message_is_refused() {
        for (routing, expected) in [
            (json!({"rules": [{"port": 1}]}), "the rule leads nowhere"),
            (
                json!({"rules": [{"outboundTag": "a", "attrs": "x"}]}),
                "has no place in Xray's message",
            ),
            (
                json!({"rules": [{"outboundTag": "a", "webhook": {"url": "http://a"}}]}),
                "nobody is called",
            ),
            (
                json!({"balancers": [{"tag": "a", "selector": ["a"], "strategy": {"type": "random", "settings": {"aliveOnly": true}}}]}),
                "`aliveOnly` and `observerTag`",
            ),
        ] {
            let (_, said) = settings::read(&routing, read);
            assert!(said.iter().any(|text| text.contains(expected)), "{said:?}");
        }
    }
}
