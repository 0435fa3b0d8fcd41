//! `proxy.dns.Config`, Xray's: what is answered here, and what goes on, is said by rules.

use super::routing::patterns;
use crate::dialect::messages::at::{At, all};
use crate::dialect::messages::protocols::dns_server;
use crate::matching::{Domains, Geodata, geodata};
use crate::protocol::dns::{Act, OutboundSettings, Rule};
use crate::wire::xray::proxy::dns::{Config, DnsRuleConfig, RuleAction};

pub(super) fn outbound(config: &Config, at: &At) -> Option<OutboundSettings> {
    let server = dns_server(config.rewrite_server.as_ref(), &at.key("rewrite_server"));
    let geodata = Geodata::new(geodata::folders());
    let rules = config.rule.iter().enumerate();
    let rules = all(rules.map(|(i, message)| rule(message, &geodata, &at.key("rule").index(i))));
    let (network, host, port) = server?;
    let (rules, others) = apart(rules?);
    Some(OutboundSettings {
        network,
        host,
        port,
        rules: rules.into(),
        others,
        ttl: None,
    })
}

/// Without what is said of all questions at the end: addresses are answered here, and of the others this becomes.
fn apart(mut rules: Vec<Rule>) -> (Vec<Rule>, Act) {
    let is_usual = |rule: &Rule| {
        rule.act == Act::Answer(0) && rule.names.is_none() && rule.kinds == Rule::ADDRESSES
    };
    if let [.., usual, last] = &rules[..]
        && is_usual(usual)
        && last.kinds.is_empty()
        && last.names.is_none()
    {
        let act = last.act;
        rules.truncate(rules.len() - 2);
        return (rules, act);
    }
    (rules, Act::Reply(0))
}

fn rule(message: &DnsRuleConfig, geodata: &Geodata, at: &At) -> Option<Rule> {
    let Ok(code @ 0..=15) = u16::try_from(message.r_code) else {
        let text = "there is no room for it in an answer, expected 0 to 15";
        return at.key("r_code").error(text);
    };
    let mut kinds: Vec<std::ops::RangeInclusive<u16>> = Vec::new();
    for number in &message.q_type {
        let Ok(number) = u16::try_from(*number) else {
            return at.key("q_type").error("expected 0 to 65535");
        };
        match kinds.last_mut() {
            Some(last) if last.end().checked_add(1) == Some(number) => {
                *last = *last.start()..=number;
            }
            _ => kinds.push(number..=number),
        }
    }
    let names = match message.domain.is_empty() {
        true => None,
        false => {
            let at = at.key("domain");
            Some(at.ok(Domains::new(patterns(&message.domain, geodata, &at)?))?)
        }
    };
    let act = match RuleAction::try_from(message.action) {
        Ok(RuleAction::Direct) => Act::Forward,
        Ok(RuleAction::Drop) => Act::Drop,
        Ok(RuleAction::Return) => Act::Reply(code),
        Ok(RuleAction::Hijack) => Act::Answer(code),
        Err(_) => return at.key("action").error("there is no such action"),
    };
    Some(Rule { kinds, names, act })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Report;

    fn read(rules: Vec<DnsRuleConfig>) -> (Option<OutboundSettings>, Vec<String>) {
        let report = Report::default();
        let config = Config {
            rule: rules,
            ..Config::default()
        };
        let read = outbound(&config, &At::root(&report));
        let said = report.errors().into_iter();
        (read, said.map(|said| said.to_string()).collect())
    }

    /// As Xray: addresses are answered where no rule says otherwise, and whatever else is asked for gets nothing.
    #[test]
    fn what_no_rule_is_for_is_xrays() {
        let (read, _) = read(Vec::new());
        let read = read.unwrap();
        assert_eq!((&*read.rules, read.others), (&[][..], Act::Reply(0)));
    }

    #[test]
    fn types_in_a_row_are_one_range() {
        let rule = DnsRuleConfig {
            q_type: vec![1, 64, 65, 66, 65_535],
            ..DnsRuleConfig::default()
        };
        let (read, _) = read(vec![rule]);
        assert_eq!(
            read.unwrap().rules[0].kinds,
            [1..=1, 64..=66, 65_535..=65_535]
        );
    }

    #[test]
    fn what_could_not_be_held_is_refused() {
        for (rule, expected) in [
            (
                DnsRuleConfig {
                    r_code: 16,
                    ..DnsRuleConfig::default()
                },
                "rule[0].r_code: there is no room for it in an answer, expected 0 to 15",
            ),
            (
                DnsRuleConfig {
                    q_type: vec![-1],
                    ..DnsRuleConfig::default()
                },
                "rule[0].q_type: expected 0 to 65535",
            ),
            (
                DnsRuleConfig {
                    action: 7,
                    ..DnsRuleConfig::default()
                },
                "rule[0].action: there is no such action",
            ),
        ] {
            let (read, said) = read(vec![rule]);
            assert!(read.is_none());
            assert_eq!(said, [expected]);
        }
    }
}
