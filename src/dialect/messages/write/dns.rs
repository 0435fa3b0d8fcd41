//! A `dns` outbound, in either form.

use super::host;
use crate::address::Network;
use crate::protocol::dns::{Act, OutboundSettings, Rule};
use crate::wire::common::net::{Endpoint, Network as WireNetwork};
use crate::wire::proxy::dns as v2ray;
use crate::wire::xray::proxy::dns::{Config, DnsRuleConfig, RuleAction};

/// `None` if it has a time for its answers, or a rule for names, which are kept only as they are looked up.
pub(super) fn xray(settings: &OutboundSettings) -> Option<Config> {
    if settings.ttl.is_some() {
        return None;
    }
    let each: Option<Vec<_>> = settings.rules.iter().map(rule).collect();
    let mut rules = each?;
    if settings.others != Act::Reply(0) {
        let usual = DnsRuleConfig {
            action: RuleAction::Hijack.into(),
            q_type: Rule::ADDRESSES
                .into_iter()
                .map(|n| (*n.start()).into())
                .collect(),
            ..DnsRuleConfig::default()
        };
        rules.extend([usual, of(settings.others)]);
    }
    Some(Config {
        user_level: 0,
        rule: rules,
        rewrite_server: server(settings),
    })
}

/// What V2Ray's has no word for, or the message.
pub(super) fn v2ray(settings: &OutboundSettings) -> Result<v2ray::Config, &'static str> {
    let non_ip_query = match settings.others {
        _ if !settings.rules.is_empty() => return Err("`rules` of a `dns` outbound"),
        Act::Forward => "",
        Act::Drop => "drop",
        Act::Reply(_) | Act::Answer(_) => return Err("this `nonIPQuery`"),
    };
    Ok(v2ray::Config {
        server: server(settings),
        user_level: 0,
        response_ttl: settings.ttl.unwrap_or(0),
        override_response_ttl: settings.ttl.is_some(),
        non_ip_query: non_ip_query.to_owned(),
    })
}

fn rule(rule: &Rule) -> Option<DnsRuleConfig> {
    if rule.names.is_some() {
        return None;
    }
    let numbers = rule.kinds.iter().cloned().flatten();
    Some(DnsRuleConfig {
        q_type: numbers.map(i32::from).collect(),
        ..of(rule.act)
    })
}

fn of(act: Act) -> DnsRuleConfig {
    let (action, code) = match act {
        Act::Forward => (RuleAction::Direct, 0),
        Act::Drop => (RuleAction::Drop, 0),
        Act::Reply(code) => (RuleAction::Return, code),
        Act::Answer(code) => (RuleAction::Hijack, code),
    };
    DnsRuleConfig {
        action: action.into(),
        r_code: code.into(),
        ..DnsRuleConfig::default()
    }
}

fn server(settings: &OutboundSettings) -> Option<Endpoint> {
    let network = match settings.network {
        None => WireNetwork::Unknown,
        Some(Network::Tcp) => WireNetwork::Tcp,
        Some(Network::Udp) => WireNetwork::Udp,
    };
    let endpoint = Endpoint {
        network: network.into(),
        address: settings.host.as_ref().map(host),
        port: settings.port.unwrap_or(0).into(),
    };
    (endpoint != Endpoint::default()).then_some(endpoint)
}
