//! Rules as Xray up to 26.3 sends them: names are `Domain` and addresses `GeoIP`, by the numbers that later ones have
//! for `DomainRule` and `IPRule`.
//!
//! What is of one kind is seldom of the other: a later message is tried first, and is taken where nothing of it is unknown.

use prost::Message;

use crate::wire::xray::app::router::routing_rule::TargetTag;
use crate::wire::xray::app::router::{BalancingRule, Config, RoutingRule};
use crate::wire::xray::common::geodata::{
    Cidr, CidrRule, Domain, DomainRule, IpRule, domain_rule, ip_rule,
};
use crate::wire::xray::common::net::PortList;

/// The same in a later message. `None` of what is neither, of networks that are turned round together and of a category of
/// networks without any. `whole`: and of what has more than an older message has.
pub(super) fn routing(bytes: &[u8], whole: bool) -> Option<Config> {
    let older = OlderConfig::decode(bytes).ok()?;
    if whole && older.encoded_len() != bytes.len() {
        return None;
    }
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
        domain: older.domain.into_iter().map(name).collect::<Option<_>>()?,
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

/// A text with control characters is a later message.
fn name(older: OlderDomain) -> Option<DomainRule> {
    if older.value.chars().any(char::is_control) {
        return None;
    }
    let domain = Domain {
        r#type: older.r#type,
        value: older.value,
    };
    Some(DomainRule {
        value: Some(domain_rule::Value::Custom(domain)),
    })
}

/// Each network by itself. A list without any takes nothing, which is no condition in a later message.
fn networks(lists: Vec<GeoIp>) -> Option<Vec<IpRule>> {
    let mut all = Vec::new();
    for list in lists {
        if list.cidr.is_empty() || list.reverse_match && list.cidr.len() != 1 {
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
    domain: Vec<OlderDomain>,
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
struct OlderDomain {
    #[prost(int32, tag = "1")]
    r#type: i32,
    #[prost(string, tag = "2")]
    value: String,
    #[prost(message, repeated, tag = "3")]
    attribute: Vec<Mark>,
}

/// One of a category's names has been found by it, nothing depends on it any more.
#[derive(Clone, PartialEq, Message)]
struct Mark {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(bool, optional, tag = "2")]
    bool_value: Option<bool>,
    #[prost(int64, optional, tag = "3")]
    int_value: Option<i64>,
}

#[derive(Clone, PartialEq, Message)]
struct GeoIp {
    #[prost(string, tag = "1")]
    country_code: String,
    #[prost(message, repeated, tag = "2")]
    cidr: Vec<Cidr>,
    #[prost(bool, tag = "3")]
    reverse_match: bool,
}

#[cfg(test)]
mod tests {
    use hex_literal::hex;

    use super::*;
    use crate::matching::Name;
    use crate::wire::common::serial::TypedMessage;
    use crate::wire::typed::seal_xray;

    /// What `xray api adrules` of 26.3.27 sends of a name, a network and a port.
    const SENT: [u8; 48] = hex!(
        "12 2e 0a 06 646972656374 12 0d 08 03 12 09 3132372e302e302e31 52 0a 12 08 0a 04 7f000001 10 20"
        "72 04 0a 02 08 07 9a 01 02 7232"
    );

    #[test]
    fn rules_of_older_xray_are_those_of_later_ones() {
        assert!(Config::decode(&SENT[..]).is_err());
        let config = routing(&SENT, true).expect("an older message");
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

    fn sealed(config: &impl Message) -> TypedMessage {
        seal_xray("app.router.Config", config)
    }

    /// `abcdefghi` is a field of eight bytes in a later message, `HK` one of a number.
    #[test]
    fn an_older_message_that_passes_for_a_later_one_is_read_as_it_was_meant() {
        let cidr = Cidr {
            ip: vec![10, 0, 0, 0],
            prefix: 8,
        };
        let older = |value: &str, lists: Vec<GeoIp>| OlderConfig {
            rule: vec![OlderRule {
                domain: vec![OlderDomain {
                    value: value.to_owned(),
                    ..OlderDomain::default()
                }],
                geoip: lists,
                target_tag: Some(TargetTag::Tag("direct".to_owned())),
                ..OlderRule::default()
            }],
            balancing_rule: Vec::new(),
        };
        let list = GeoIp {
            country_code: "HK".to_owned(),
            cidr: vec![cidr],
            reverse_match: false,
        };
        let of_a_name = older("abcdefghi", Vec::new());
        assert!(Config::decode(&of_a_name.encode_to_vec()[..]).is_ok());
        for older in [of_a_name, older("abcdefghi", vec![list])] {
            let read = super::super::routing::routing(&sealed(&older)).expect("an older message");
            let conditions = &read.rules[0].conditions;
            let domains = conditions.domains.as_ref().expect("a name");
            assert!(domains.contains(&Name::new("x.abcdefghi.test")));
            assert!(!domains.contains(&Name::new("a.test")));
            assert_eq!(conditions.ips.is_some(), !older.rule[0].geoip.is_empty());
        }
    }

    /// One of the future has fields that nobody knows; its names are no texts of an older one.
    #[test]
    fn a_later_message_stays_one_whatever_more_it_has() {
        let rule = RoutingRule {
            domain: vec![DomainRule {
                value: Some(domain_rule::Value::Custom(Domain {
                    r#type: 3,
                    value: "a.test".to_owned(),
                })),
            }],
            target_tag: Some(TargetTag::Tag("direct".to_owned())),
            ..RoutingRule::default()
        };
        let config = Config {
            rule: vec![rule],
            ..Config::default()
        };
        let mut message = sealed(&config);
        assert!(routing(&message.value, true).is_none());
        // Field 15, a number.
        message.value.extend([0x78, 1]);
        let read = super::super::routing::routing(&message).expect("a later message");
        let domains = read.rules[0].conditions.domains.as_ref().expect("a name");
        assert!(domains.contains(&Name::new("a.test")));
        assert!(!domains.contains(&Name::new("b.a.test")));
    }

    #[test]
    fn networks_that_are_turned_round_together_are_not_held() {
        let list_of = |cidr: Vec<Cidr>, reverse_match| {
            networks(vec![GeoIp {
                country_code: "CN".to_owned(),
                cidr,
                reverse_match,
            }])
        };
        let list = |cidr| list_of(cidr, true);
        let one = Cidr {
            ip: vec![10, 0, 0, 0],
            prefix: 8,
        };
        assert_eq!(list(vec![one.clone()]).map(|all| all.len()), Some(1));
        assert_eq!(list(vec![one.clone(), one.clone()]), None);
        // A category that is empty takes nothing, and no condition would take everything.
        assert_eq!([list(Vec::new()), list_of(Vec::new(), false)], [None, None]);
        let several = list_of(vec![one.clone(), one], false);
        assert_eq!(several.map(|all| all.len()), Some(2));
    }
}
