//! Rules as Xray up to 26.3 sends them: names are `Domain` and addresses `GeoIP`, by the numbers that later ones have
//! for `DomainRule` and `IPRule`.
//!
//! What is of one kind is hardly ever of the other: a later message is tried first.

use prost::Message;

use crate::wire::xray::app::router::routing_rule::TargetTag;
use crate::wire::xray::app::router::{BalancingRule, Config, RoutingRule};
use crate::wire::xray::common::geodata::{
    Cidr, CidrRule, Domain, DomainRule, IpRule, domain_rule, ip_rule,
};
use crate::wire::xray::common::net::PortList;

/// The same in a later message. `None` of what is neither, and of networks that are turned round together.
pub(super) fn routing(bytes: &[u8]) -> Option<Config> {
    let older = OlderConfig::decode(bytes).ok()?;
    let rules = older.rule.into_iter().map(rule);
    Some(Config {
        rule: rules.collect::<Option<_>>()?,
        balancing_rule: older.balancing_rule,
        ..Config::default()
    })
}

fn rule(older: OlderRule) -> Option<RoutingRule> {
    Some(RoutingRule {
        rule_tag: older.rule_tag,
        domain: older.domain.into_iter().map(name).collect(),
        ip: networks(older.geoip)?,
        port_list: older.port_list,
        networks: older.networks,
        source_ip: networks(older.source_geoip)?,
        source_port_list: older.source_port_list,
        user_email: older.user_email,
        inbound_tag: older.inbound_tag,
        protocol: older.protocol,
        attributes: older.attributes,
        local_ip: networks(older.local_geoip)?,
        local_port_list: older.local_port_list,
        vless_route_list: older.vless_route_list,
        process: older.process,
        target_tag: older.target_tag,
        ..RoutingRule::default()
    })
}

fn name(domain: Domain) -> DomainRule {
    DomainRule {
        value: Some(domain_rule::Value::Custom(domain)),
    }
}

/// Each network by itself.
fn networks(lists: Vec<GeoIp>) -> Option<Vec<IpRule>> {
    let mut all = Vec::new();
    for list in lists {
        if list.reverse_match && list.cidr.len() != 1 {
            return None;
        }
        all.extend(list.cidr.into_iter().map(|cidr| IpRule {
            value: Some(ip_rule::Value::Custom(CidrRule {
                cidr: Some(cidr),
                reverse_match: list.reverse_match,
            })),
        }));
    }
    Some(all)
}

#[derive(Clone, PartialEq, Message)]
struct OlderConfig {
    #[prost(message, repeated, tag = "2")]
    rule: Vec<OlderRule>,
    #[prost(message, repeated, tag = "3")]
    balancing_rule: Vec<BalancingRule>,
}

#[derive(Clone, PartialEq, Message)]
struct OlderRule {
    #[prost(string, tag = "19")]
    rule_tag: String,
    #[prost(message, repeated, tag = "2")]
    domain: Vec<Domain>,
    #[prost(message, repeated, tag = "10")]
    geoip: Vec<GeoIp>,
    #[prost(message, optional, tag = "14")]
    port_list: Option<PortList>,
    #[prost(
        enumeration = "crate::wire::common::net::Network",
        repeated,
        tag = "13"
    )]
    networks: Vec<i32>,
    #[prost(message, repeated, tag = "11")]
    source_geoip: Vec<GeoIp>,
    #[prost(message, optional, tag = "16")]
    source_port_list: Option<PortList>,
    #[prost(string, repeated, tag = "7")]
    user_email: Vec<String>,
    #[prost(string, repeated, tag = "8")]
    inbound_tag: Vec<String>,
    #[prost(string, repeated, tag = "9")]
    protocol: Vec<String>,
    #[prost(map = "string, string", tag = "15")]
    attributes: std::collections::HashMap<String, String>,
    #[prost(message, repeated, tag = "17")]
    local_geoip: Vec<GeoIp>,
    #[prost(message, optional, tag = "18")]
    local_port_list: Option<PortList>,
    #[prost(message, optional, tag = "20")]
    vless_route_list: Option<PortList>,
    #[prost(string, repeated, tag = "21")]
    process: Vec<String>,
    #[prost(oneof = "TargetTag", tags = "1, 12")]
    target_tag: Option<TargetTag>,
}

#[derive(Clone, PartialEq, Message)]
struct GeoIp {
    #[prost(message, repeated, tag = "2")]
    cidr: Vec<Cidr>,
    #[prost(bool, tag = "3")]
    reverse_match: bool,
}

#[cfg(test)]
mod tests {
    use hex_literal::hex;

    use super::*;

    /// What `xray api adrules` of 26.3.27 sends of a name, a network and a port.
    const SENT: [u8; 48] = hex!(
        "12 2e 0a 06 646972656374 12 0d 08 03 12 09 3132372e302e302e31 52 0a 12 08 0a 04 7f000001 10 20"
        "72 04 0a 02 08 07 9a 01 02 7232"
    );

    #[test]
    fn rules_of_older_xray_are_those_of_later_ones() {
        assert!(Config::decode(&SENT[..]).is_err());
        let config = routing(&SENT).expect("an older message");
        let rule = &config.rule[0];
        assert_eq!(rule.rule_tag, "r2");
        assert_eq!(rule.target_tag, Some(TargetTag::Tag("direct".to_owned())));
        let Some(domain_rule::Value::Custom(domain)) = &rule.domain[0].value else {
            panic!("{rule:?}");
        };
        assert_eq!((domain.r#type, &*domain.value), (3, "127.0.0.1"));
        let Some(ip_rule::Value::Custom(network)) = &rule.ip[0].value else {
            panic!("{rule:?}");
        };
        let cidr = network.cidr.as_ref().expect("a network");
        assert_eq!((&cidr.ip[..], cidr.prefix), (&[127, 0, 0, 1][..], 32));
    }

    #[test]
    fn networks_that_are_turned_round_together_are_not_held() {
        let list = |cidr: Vec<Cidr>| {
            networks(vec![GeoIp {
                cidr,
                reverse_match: true,
            }])
        };
        let one = Cidr {
            ip: vec![10, 0, 0, 0],
            prefix: 8,
        };
        assert_eq!(list(vec![one.clone()]).map(|all| all.len()), Some(1));
        assert_eq!(list(vec![one.clone(), one]), None);
    }
}
