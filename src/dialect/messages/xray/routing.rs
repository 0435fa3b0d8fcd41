//! Rules and balancers: `xray.app.router.Config`.

use std::time::Duration;

use ipnet::IpNet;
use prost::Message;

use super::{older, ports};
use crate::address::{Network, PortRange};
use crate::dialect::messages::at::{At, all, whole};
use crate::dialect::messages::error::MessageError;
use crate::dialect::messages::tag;
use crate::matching::{Domains, Geodata, Networks, Pattern, Regex, geodata};
use crate::report::{Placed, Report};
use crate::routing::attrs::Expression;
use crate::routing::{
    Among, BalancerSettings, Conditions, Cost, LeastLoad, Match, ProgramTest, Rule, Settings,
    Strategy, Target, UserTest, is_this_system,
};
use crate::wire::common::net::Network as WireNetwork;
use crate::wire::common::serial::TypedMessage;
use crate::wire::typed;
use crate::wire::xray::app::router::routing_rule::TargetTag;
use crate::wire::xray::app::router::{
    BalancingRule, Config, RoutingRule, StrategyLeastLoadConfig, StrategyWeight,
};
use crate::wire::xray::common::geodata::domain::Type;
use crate::wire::xray::common::geodata::{Cidr, DomainRule, IpRule, domain_rule, ip_rule};
use crate::wire::xray::common::net::PortList;

/// Rules, and the balancers that they lead to.
///
/// # Errors
///
/// When it is none of Xray's messages for it, or one of them could not be held.
pub fn routing(message: &TypedMessage) -> Result<Settings, MessageError> {
    let report = Report::default();
    let at = At::root(&report);
    if !typed::is_xray(message) || typed::name(message) != "app.router.Config" {
        // Xray's words.
        let wrong = at.error("AddRule: config type error");
        return whole(wrong, &report);
    }
    let later: Result<Config, _> = typed::open(message);
    let is_later = later.is_ok();
    let is_known = |config: &Config| config.encoded_len() == message.value.len();
    let is_whole = later.as_ref().is_ok_and(is_known);
    let first = later.map_err(MessageError::from);
    let first = first.and_then(|config| read_whole(&config));
    if is_whole && first.is_ok() {
        return first;
    }
    // Letters of a name or of a country may pass for fields that a later message could have.
    let older = older::routing(&message.value, is_later);
    match older.map(|config| read_whole(&config)) {
        Some(older) if older.is_ok() || !is_later => older,
        _ => first,
    }
}

fn read_whole(config: &Config) -> Result<Settings, MessageError> {
    let report = Report::default();
    whole(read(config, &At::root(&report)), &report)
}

fn read(config: &Config, at: &At) -> Option<Settings> {
    let geodata = Geodata::new(geodata::folders());
    let rules = config.rule.iter().enumerate();
    let rules = all(rules.map(|(i, message)| rule(message, &geodata, &at.key("rule").index(i))));
    let balancers = config.balancing_rule.iter().enumerate();
    let balancers = balancers.map(|(i, rule)| balancer(rule, &at.key("balancing_rule").index(i)));
    let balancers = all(balancers);
    Some(Settings {
        rules: rules?,
        balancers: balancers?,
        ..Settings::default()
    })
}

fn rule(message: &RoutingRule, geodata: &Geodata, at: &At) -> Option<Rule> {
    if message.webhook.is_some() {
        at.key("webhook")
            .warn("nobody is called, the rule holds without it");
    }
    let target = match &message.target_tag {
        Some(TargetTag::Tag(tag)) if !tag.is_empty() => Some(Target::Outbound(tag.as_str().into())),
        Some(TargetTag::BalancingTag(tag)) if !tag.is_empty() => {
            Some(Target::Balancer(tag.clone()))
        }
        _ => at.error("the rule leads nowhere, expected `tag` or `balancing_tag`"),
    };
    let conditions = conditions(message, geodata, at);
    Some(Rule {
        tag: message.rule_tag.clone(),
        conditions: conditions?,
        target: Placed::from(target?),
    })
}

fn conditions(message: &RoutingRule, geodata: &Geodata, at: &At) -> Option<Conditions> {
    let domains = match message.domain.is_empty() {
        true => Some(None),
        false => {
            let at = at.key("domain");
            let patterns = patterns(&message.domain, geodata, &at);
            patterns.and_then(|patterns| at.ok(Domains::new(patterns)).map(Some))
        }
    };
    let ips = networks(&message.ip, geodata, &at.key("ip"));
    let sources = networks(&message.source_ip, geodata, &at.key("source_ip"));
    let locals = networks(&message.local_ip, geodata, &at.key("local_ip"));
    let local_ports = port_list(message.local_port_list.as_ref(), &at.key("local_port_list"));
    let vless_routes = port_list(
        message.vless_route_list.as_ref(),
        &at.key("vless_route_list"),
    );
    let targets = port_list(message.port_list.as_ref(), &at.key("port_list"));
    let from = message.source_port_list.as_ref();
    let source_ports = port_list(from, &at.key("source_port_list"));
    let users = message.user_email.iter().filter(|email| !email.is_empty());
    let users = users.map(|email| user(email, &at.key("user_email")));
    let named = message.networks.iter().filter_map(|network| {
        match WireNetwork::try_from(*network).ok()? {
            WireNetwork::Tcp | WireNetwork::RawTcp => Some(Network::Tcp),
            WireNetwork::Udp => Some(Network::Udp),
            _ => None,
        }
    });
    let conditions = Conditions {
        domains: domains?,
        also_domains: None,
        ips: ips?,
        no_resolve: false,
        ports: targets?,
        networks: named.collect(),
        sources: sources?,
        source_ports: source_ports?,
        users: all(users)?,
        inbounds: filled(&message.inbound_tag).into(),
        protocols: filled(&message.protocol).into(),
        attrs: attributes(message, at)?,
        locals: locals?,
        local_ports: local_ports?,
        vless_routes: vless_routes?,
        programs: (message.process.iter())
            .map(|text| ProgramTest::parse(text))
            .collect(),
    };
    if !message.networks.is_empty() && conditions.networks.is_empty() {
        return at.key("networks").error("none of them is TCP or UDP");
    }
    let systems = &message.local_os;
    if !systems.is_empty() && !systems.iter().any(|name| is_this_system(name)) {
        let at = at.key("local_os");
        return at.error("none of them is this system, the rule would take nothing");
    }
    if systems.is_empty() && conditions.ask_nothing() {
        return at.error("the rule asks for nothing, it would take every session");
    }
    Some(conditions)
}

fn filled(texts: &[String]) -> Vec<String> {
    let filled = texts.iter().filter(|text| !text.is_empty());
    filled.cloned().collect()
}

fn port_list(list: Option<&PortList>, at: &At) -> Option<Vec<PortRange>> {
    list.map_or(Some(Vec::new()), |list| ports(list, at))
}

fn user(email: &str, at: &At) -> Option<UserTest> {
    match email.strip_prefix("regexp:") {
        None => Some(UserTest::Email(email.to_owned())),
        Some(text) => at.ok(Regex::new(text)).map(UserTest::Regex),
    }
}

/// Xray's values are expressions, each for the value of its key; `:method` and the like are keys, too.
fn attributes(message: &RoutingRule, at: &At) -> Option<Option<Expression>> {
    if message.attributes.is_empty() {
        return Some(None);
    }
    let named = message.attributes.iter();
    let named = named.map(|(name, pattern)| (name.as_str(), pattern.as_str()));
    at.key("attributes").ok(Expression::of_each(named))
}

/// The patterns of names.
pub(super) fn patterns(rules: &[DomainRule], geodata: &Geodata, at: &At) -> Option<Vec<Pattern>> {
    let each = rules.iter().enumerate().map(|(i, rule)| {
        let at = at.index(i);
        match rule.value.as_ref() {
            Some(domain_rule::Value::Custom(domain)) => {
                let value = domain.value.clone();
                let pattern = match domain.r#type() {
                    Type::Substr => Pattern::Keyword(value),
                    Type::Regex => Pattern::Regex(value),
                    Type::Domain => Pattern::Domain(value),
                    Type::Full => Pattern::Full(value),
                };
                if domain.value.is_empty() {
                    return at.error("it is empty");
                }
                at.ok(pattern.check())?;
                Some(vec![pattern])
            }
            Some(domain_rule::Value::Geosite(rule)) => {
                let marks: Vec<&str> = rule.attrs.split(['@', ',', '&']).collect();
                let marks: Vec<&str> = marks.into_iter().filter(|m| !m.is_empty()).collect();
                at.ok(geodata.patterns(&rule.file, &rule.code, &marks))
            }
            None => at.error("it is empty"),
        }
    });
    Some(all(each)?.into_iter().flatten().collect())
}

/// Addresses; `None` within when nothing is asked for.
pub(super) fn networks(rules: &[IpRule], geodata: &Geodata, at: &At) -> Option<Option<Networks>> {
    if rules.is_empty() {
        return Some(None);
    }
    let mut inside = Vec::new();
    let mut outside = Vec::new();
    let mut sound = true;
    for (i, rule) in rules.iter().enumerate() {
        let at = at.index(i);
        let read = match rule.value.as_ref() {
            Some(ip_rule::Value::Custom(rule)) => {
                let cidr = rule.cidr.as_ref().and_then(cidr);
                let cidr = cidr.or_else(|| at.error("this is no network"));
                cidr.map(|cidr| (vec![cidr], rule.reverse_match))
            }
            Some(ip_rule::Value::Geoip(rule)) => {
                let cidrs = at.ok(geodata.networks(&rule.file, &rule.code));
                cidrs.map(|cidrs| (cidrs, rule.reverse_match))
            }
            None => at.error("it is empty"),
        };
        match read {
            Some((cidrs, false)) => inside.extend(cidrs),
            Some((cidrs, true)) => outside.push(cidrs.into_iter().collect()),
            None => sound = false,
        }
    }
    sound.then(|| {
        Some(Networks {
            inside: inside.into_iter().collect(),
            outside,
        })
    })
}

fn cidr(message: &Cidr) -> Option<IpNet> {
    let ip = crate::wire::net::address(&message.ip)?;
    // Four bytes in sixteen are four to us, and 96 bits fewer.
    let mapped = message.ip.len() == 16 && ip.is_ipv4();
    let len = match mapped {
        true => message.prefix.checked_sub(96)?,
        false => message.prefix,
    };
    let net = IpNet::new(ip, u8::try_from(len).ok()?).ok()?;
    Some(net.trunc())
}

fn balancer(message: &BalancingRule, at: &At) -> Option<BalancerSettings> {
    if message.tag.is_empty() {
        return at.key("tag").error("it is missing");
    }
    let strategy = match message.strategy.to_ascii_lowercase().as_str() {
        "" | "random" => Strategy::Random(Among::All),
        "roundrobin" => Strategy::RoundRobin(Among::All),
        "leastping" => Strategy::LEAST_PING,
        "firstalive" => Strategy::FirstAlive,
        "leastload" => Strategy::LeastLoad(least_load(message.strategy_settings.as_ref(), at)?),
        other => {
            let other = other.escape_debug();
            let text = format!(
                "`{other}` is unknown, expected `random`, `roundrobin`, `leastping`, `leastload` or `firstalive`"
            );
            return at.key("strategy").error(text);
        }
    };
    let selectors = filled(&message.outbound_selector);
    if selectors.is_empty() {
        return at.key("outbound_selector").error("there is none");
    }
    Some(BalancerSettings {
        tag: message.tag.clone(),
        strategy: strategy.into(),
        selectors: selectors.into(),
        fallback: tag(&message.fallback_tag).map(Into::into),
        ..BalancerSettings::default()
    })
}

fn least_load(settings: Option<&TypedMessage>, at: &At) -> Option<LeastLoad> {
    let Some(settings) = settings else {
        return Some(LeastLoad::default());
    };
    let at = at.key("strategy_settings");
    let config: StrategyLeastLoadConfig = at.open(settings)?;
    let nanos = |n: i64| u64::try_from(n).ok().map(Duration::from_nanos);
    let baselines = config.baselines.iter().filter_map(|n| nanos(*n));
    let costs = config.costs.iter();
    Some(LeastLoad {
        costs: all(costs.map(|weight| cost(weight, &at.key("costs"))))?,
        baselines: baselines.collect(),
        expected: usize::try_from(config.expected).unwrap_or(0),
        max_rtt: nanos(config.max_rtt).filter(|rtt| !rtt.is_zero()),
        tolerance: config.tolerance.into(),
    })
}

fn cost(weight: &StrategyWeight, at: &At) -> Option<Cost> {
    let pattern = match weight.regexp {
        true => Match::Regex(at.ok(Regex::new(&weight.r#match))?),
        false => Match::Text(weight.r#match.clone()),
    };
    Some(Cost {
        pattern,
        value: Some(f64::from(weight.value)).filter(|value| *value > 0.0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::Destination;
    use crate::routing::{HealthTables, Pick, Program, RouteInput, Router};
    use crate::session::Source;
    use crate::wire::common::net::PortRange as WireRange;
    use crate::wire::typed::seal_xray;
    use crate::wire::xray::common::geodata::{CidrRule, Domain, GeoIpRule};

    fn custom(kind: Type, value: &str) -> DomainRule {
        let domain = Domain {
            r#type: kind.into(),
            value: value.to_owned(),
        };
        DomainRule {
            value: Some(domain_rule::Value::Custom(domain)),
        }
    }

    fn net(ip: &[u8], prefix: u32, reverse_match: bool) -> IpRule {
        let cidr = Some(Cidr {
            ip: ip.to_vec(),
            prefix,
        });
        IpRule {
            value: Some(ip_rule::Value::Custom(CidrRule {
                cidr,
                reverse_match,
            })),
        }
    }

    fn to(tag: &str) -> RoutingRule {
        RoutingRule {
            target_tag: Some(TargetTag::Tag(tag.to_owned())),
            ..RoutingRule::default()
        }
    }

    fn read(rules: Vec<RoutingRule>) -> Result<Settings, String> {
        let config = Config {
            rule: rules,
            ..Config::default()
        };
        routing(&seal_xray("app.router.Config", &config)).map_err(|e| e.to_string())
    }

    #[test]
    fn every_condition_holds_for_what_it_names() {
        let private = IpRule {
            value: Some(ip_rule::Value::Geoip(GeoIpRule {
                file: "geoip.dat".to_owned(),
                code: "PRIVATE".to_owned(),
                reverse_match: false,
            })),
        };
        let range = WireRange { from: 80, to: 90 };
        let rules = [
            (
                RoutingRule {
                    domain: vec![custom(Type::Full, "a.test")],
                    ..to("x")
                },
                "a.test:1",
                "b.a.test:1",
            ),
            (
                RoutingRule {
                    domain: vec![custom(Type::Domain, "a.test")],
                    ..to("x")
                },
                "b.a.test:1",
                "ba.test:1",
            ),
            (
                RoutingRule {
                    domain: vec![custom(Type::Substr, "est")],
                    ..to("x")
                },
                "b.test:1",
                "b.tst:1",
            ),
            (
                RoutingRule {
                    domain: vec![custom(Type::Regex, "^a")],
                    ..to("x")
                },
                "a.test:1",
                "b.test:1",
            ),
            (
                RoutingRule {
                    ip: vec![net(&[10, 0, 0, 0], 8, false)],
                    ..to("x")
                },
                "10.1.1.1:1",
                "11.1.1.1:1",
            ),
            (
                RoutingRule {
                    ip: vec![net(&[10, 0, 0, 0], 8, true)],
                    ..to("x")
                },
                "11.1.1.1:1",
                "10.1.1.1:1",
            ),
            (
                RoutingRule {
                    ip: vec![private],
                    ..to("x")
                },
                "192.168.1.1:1",
                "1.1.1.1:1",
            ),
            (
                RoutingRule {
                    port_list: Some(PortList { range: vec![range] }),
                    ..to("x")
                },
                "1.1.1.1:85",
                "1.1.1.1:91",
            ),
            (
                RoutingRule {
                    source_ip: vec![net(&[192, 0, 2, 0], 24, false)],
                    ..to("x")
                },
                "1.1.1.1:1",
                "",
            ),
            (
                RoutingRule {
                    user_email: vec!["regexp:^ann".to_owned()],
                    ..to("x")
                },
                "1.1.1.1:1",
                "",
            ),
            (
                RoutingRule {
                    inbound_tag: vec!["in".to_owned()],
                    ..to("x")
                },
                "1.1.1.1:1",
                "",
            ),
            (
                RoutingRule {
                    networks: vec![WireNetwork::Tcp.into()],
                    ..to("x")
                },
                "1.1.1.1:1",
                "",
            ),
        ];
        for (rule, takes, leaves) in rules {
            let settings = read(vec![rule.clone()]).unwrap();
            let router = Router::new(settings, &HealthTables::default());
            let picked = |to: &str| {
                let to: Destination = to.parse().unwrap();
                let input = RouteInput {
                    inbound: Some("in"),
                    source: Source::from("192.0.2.7:9".parse::<std::net::SocketAddr>().unwrap()),
                    local: Source::Unix,
                    vless_route: 0,
                    program: Program::Unasked,
                    network: Network::Tcp,
                    to: &to,
                    named: None,
                    resolves_named: false,
                    user: Some("ann@example.com"),
                    protocol: None,
                    attributes: None,
                };
                matches!(router.pick(&input, None), Pick::Outbound(_))
            };
            assert!(picked(takes), "{rule:?} {takes}");
            assert!(leaves.is_empty() || !picked(leaves), "{rule:?} {leaves}");
        }
    }

    #[test]
    fn conditions_of_xray_alone_are_read() {
        let range = WireRange { from: 80, to: 90 };
        let ports = PortList { range: vec![range] };
        let rule = RoutingRule {
            local_ip: vec![net(&[10, 0, 0, 0], 8, false)],
            local_port_list: Some(ports.clone()),
            vless_route_list: Some(ports),
            process: vec!["/usr/bin/curl".to_owned()],
            local_os: vec!["Linux".to_owned(), "darwin".to_owned()],
            ..to("x")
        };
        let read = read(vec![rule]).unwrap();
        let conditions = &read.rules[0].conditions;
        let range = PortRange { from: 80, to: 90 };
        assert!(conditions.locals.is_some());
        assert_eq!(conditions.local_ports, [range]);
        assert_eq!(conditions.vless_routes, [range]);
        let path = ProgramTest::Path("/usr/bin/curl".to_owned());
        assert_eq!(conditions.programs, [path]);
        let here = RoutingRule {
            local_os: vec!["linux".to_owned()],
            ..to("x")
        };
        assert!(
            self::read(vec![here]).is_ok(),
            "it takes all, as is asked for"
        );
    }

    #[test]
    fn a_rule_that_would_take_too_much_is_refused() {
        let all = read(vec![to("x")]).unwrap_err();
        assert_eq!(
            all,
            "rule[0]: the rule asks for nothing, it would take every session"
        );
        let elsewhere = RoutingRule {
            local_os: vec!["plan9".to_owned()],
            inbound_tag: vec!["in".to_owned()],
            ..RoutingRule::default()
        };
        let said = read(vec![elsewhere]).unwrap_err();
        assert!(
            said.contains("rule[0].local_os: none of them is this system"),
            "{said}"
        );
        assert!(said.contains("rule[0]: the rule leads nowhere"), "{said}");
        let other = routing(&seal_xray("app.router.RoutingRule", &to("x"))).unwrap_err();
        assert!(
            other.to_string().ends_with("AddRule: config type error"),
            "{other}"
        );
    }

    #[test]
    fn balancers_come_with_their_strategies() {
        let load = StrategyLeastLoadConfig {
            expected: 2,
            max_rtt: 1_000_000_000,
            baselines: vec![2_000_000],
            costs: vec![StrategyWeight {
                regexp: false,
                r#match: "cheap".to_owned(),
                value: 0.5,
            }],
            ..Default::default()
        };
        let balancer = |strategy: &str| BalancingRule {
            tag: "b".to_owned(),
            outbound_selector: vec!["x".to_owned()],
            strategy: strategy.to_owned(),
            strategy_settings: Some(seal_xray("app.router.StrategyLeastLoadConfig", &load)),
            fallback_tag: "direct".to_owned(),
        };
        let read = |strategy: &str| {
            let config = Config {
                balancing_rule: vec![balancer(strategy)],
                ..Config::default()
            };
            let settings = routing(&seal_xray("app.router.Config", &config));
            settings.map(|settings| settings.balancers[0].clone())
        };
        let strategy = |name| read(name).unwrap().strategy.value;
        assert_eq!(strategy(""), Strategy::Random(Among::All));
        assert_eq!(strategy("roundRobin"), Strategy::RoundRobin(Among::All));
        let Strategy::LeastLoad(load) = strategy("leastload") else {
            panic!("another strategy");
        };
        assert_eq!((load.expected, load.costs.len()), (2, 1));
        assert_eq!(load.baselines, [Duration::from_millis(2)]);
        assert_eq!(read("").unwrap().fallback.unwrap().value.as_ref(), "direct");
        assert!(read("best").is_err());
    }
}
