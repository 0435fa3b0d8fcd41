//! Configs, and where they send sessions.

use std::net::IpAddr;
use std::time::Instant;

use serde_json::{Value, json};

use super::*;
use crate::dialect::v2ray::routing::{Tags, read};
use crate::json::{Node, Report};
use crate::matching::{Domains, Geodata, Pattern};

#[test]
fn every_field_takes_what_it_names_and_nothing_else() {
    // Field and value, what it takes, what it leaves: inbound, source, network, destination, user.
    let cases = [
        (
            json!({"domain": ["domain:example.com"]}),
            "in 1.1.1.1:1 tcp a.example.com:80 -",
            "in 1.1.1.1:1 tcp example.org:80 -",
        ),
        (
            json!({"domains": ["exam"]}),
            "in 1.1.1.1:1 tcp example.com:80 -",
            "in 1.1.1.1:1 tcp 1.2.3.4:80 -",
        ),
        (
            json!({"domain": "full:a.com,full:b.com"}),
            "in 1.1.1.1:1 tcp b.com:80 -",
            "in 1.1.1.1:1 tcp c.b.com:80 -",
        ),
        (
            json!({"domain": ["regexp:\\.goo.*\\.com$"]}),
            "in 1.1.1.1:1 udp www.google.com:80 -",
            "in 1.1.1.1:1 tcp google.com:80 -",
        ),
        (
            json!({"domain": ["keyword:SINA"]}),
            "in 1.1.1.1:1 tcp sina.com:80 -",
            "in 1.1.1.1:1 tcp si.na:80 -",
        ),
        (
            json!({"domain": ["dotless:"]}),
            "in 1.1.1.1:1 tcp nas:80 -",
            "in 1.1.1.1:1 tcp nas.lan:80 -",
        ),
        (
            json!({"domain": ["dotless:pc"]}),
            "in 1.1.1.1:1 tcp mypc1:80 -",
            "in 1.1.1.1:1 tcp nas:80 -",
        ),
        (
            json!({"ip": ["10.0.0.0/8", "::1"]}),
            "in 1.1.1.1:1 tcp 10.2.3.4:80 -",
            "in 1.1.1.1:1 tcp 11.2.3.4:80 -",
        ),
        (
            json!({"ip": ["geoip:private"]}),
            "in 1.1.1.1:1 tcp [::1]:80 -",
            "in 1.1.1.1:1 tcp 8.8.8.8:80 -",
        ),
        (
            json!({"ip": ["geoip:!private"]}),
            "in 1.1.1.1:1 tcp 8.8.8.8:80 -",
            "in 1.1.1.1:1 tcp 192.168.1.1:80 -",
        ),
        (
            json!({"ip": ["!10.0.0.0/8"]}),
            "in 1.1.1.1:1 tcp 8.8.8.8:80 -",
            "in 1.1.1.1:1 tcp 10.1.1.1:80 -",
        ),
        (
            json!({"port": "53,443,1000-2000"}),
            "in 1.1.1.1:1 tcp a.com:1500 -",
            "in 1.1.1.1:1 tcp a.com:54 -",
        ),
        (
            json!({"port": 53}),
            "in 1.1.1.1:1 udp 8.8.8.8:53 -",
            "in 1.1.1.1:1 tcp a.com:54 -",
        ),
        (
            json!({"sourcePort": "1-9"}),
            "in 1.1.1.1:9 tcp a.com:80 -",
            "in 1.1.1.1:10 tcp a.com:5 -",
        ),
        (
            json!({"network": "udp"}),
            "in 1.1.1.1:1 udp a.com:80 -",
            "in 1.1.1.1:1 tcp a.com:80 -",
        ),
        (
            json!({"network": ["tcp"]}),
            "in 1.1.1.1:1 tcp a.com:80 -",
            "in 1.1.1.1:1 udp a.com:80 -",
        ),
        (
            json!({"source": ["10.0.0.1", "geoip:private"]}),
            "in 10.0.0.1:1 tcp a.com:80 -",
            "in 1.1.1.1:1 tcp 10.0.0.1:80 -",
        ),
        (
            json!({"user": ["love@v2ray.com"]}),
            "in 1.1.1.1:1 tcp a.com:80 love@v2ray.com",
            "in 1.1.1.1:1 tcp a.com:80 -",
        ),
        (
            json!({"user": ["regexp:^x\\d*@v2ray\\.com$"]}),
            "in 1.1.1.1:1 tcp a.com:80 x@v2ray.com",
            "in 1.1.1.1:1 tcp a.com:80 x@v2ray.org",
        ),
        (
            json!({"inboundTag": ["in", "other"]}),
            "other 1.1.1.1:1 tcp a.com:80 -",
            "third 1.1.1.1:1 tcp a.com:80 -",
        ),
        // Conditions of one rule must all hold.
        (
            json!({"port": 80, "network": "tcp"}),
            "in 1.1.1.1:1 tcp a.com:80 -",
            "in 1.1.1.1:1 udp a.com:80 -",
        ),
        (
            json!({"domain": ["domain:a.com"], "port": "80"}),
            "in 1.1.1.1:1 tcp a.com:80 -",
            "in 1.1.1.1:1 tcp a.com:81 -",
        ),
        // V2Ray 5.
        (
            json!({"domain": [{"type": "RootDomain", "value": "a.com"}]}),
            "in 1.1.1.1:1 tcp b.a.com:80 -",
            "in 1.1.1.1:1 tcp ba.com:80 -",
        ),
        (
            json!({"geoip": [{"code": "private"}], "networks": "tcp,udp"}),
            "in 1.1.1.1:1 tcp 127.0.0.1:80 -",
            "in 1.1.1.1:1 tcp 8.8.8.8:80 -",
        ),
        (
            json!({"geoip": [{"code": "private", "inverseMatch": true}]}),
            "in 1.1.1.1:1 tcp 8.8.8.8:80 -",
            "in 1.1.1.1:1 tcp 127.0.0.1:80 -",
        ),
        (
            json!({"geoip": [{"cidr": [{"ipAddr": "8.0.0.0", "prefix": 8}]}]}),
            "in 1.1.1.1:1 tcp 8.8.8.8:80 -",
            "in 1.1.1.1:1 tcp 9.9.9.9:80 -",
        ),
        (
            json!({"portList": "53", "userEmail": ["a"]}),
            "in 1.1.1.1:1 tcp a.com:53 a",
            "in 1.1.1.1:1 tcp a.com:53 b",
        ),
    ];
    for (mut rule, takes, leaves) in cases {
        rule["outboundTag"] = "block".into();
        let (router, report) = routing(json!({"routing": {"rules": [rule]}}));
        assert_eq!(problems(&report), [""; 0], "{rule}");
        assert_eq!(picked(&router, takes, None), "block", "{rule} {takes}");
        assert_eq!(picked(&router, leaves, None), "-", "{rule} {leaves}");
    }
}

#[test]
fn the_first_rule_that_takes_a_session_decides() {
    let rules = json!([
        {"type": "field", "domain": ["full:a.b.com"], "outboundTag": "proxy"},
        {"type": "field", "domain": ["domain:b.com"], "outboundTag": "block"},
        {"type": "field", "network": "tcp,udp", "outboundTag": "direct"}
    ]);
    let (router, _) = routing(json!({"routing": {"rules": rules}}));
    let to = |to| picked(&router, &format!("in 1.1.1.1:1 tcp {to} -"), None);
    assert_eq!(to("a.b.com:1"), "proxy");
    assert_eq!(to("x.a.b.com:1"), "block");
    assert_eq!(to("9.9.9.9:1"), "direct");
}

#[test]
fn addresses_of_a_name_are_asked_for_as_the_strategy_says() {
    let pick = |strategy: &str, resolved: Option<&str>| {
        let rules = json!([
            {"type": "field", "ip": ["geoip:private"], "port": "80", "outboundTag": "block"},
            {"type": "field", "domain": ["domain:a.com"], "outboundTag": "direct"}
        ]);
        let routing_json = json!({"routing": {"domainStrategy": strategy, "rules": rules}});
        let (router, _) = routing(routing_json);
        let resolved: Option<Vec<IpAddr>> = resolved.map(|ip| vec![ip.parse().unwrap()]);
        let to = |to| {
            picked(
                &router,
                &format!("in 1.1.1.1:1 tcp {to} -"),
                resolved.as_deref(),
            )
        };
        (to("a.com:80"), to("b.com:80"), to("b.com:81"))
    };
    let picks = |a: &str, b: &str, c: &str| (a.to_owned(), b.to_owned(), c.to_owned());
    assert_eq!(pick("AsIs", None), picks("direct", "-", "-"));
    assert_eq!(pick("IPIfNonMatch", None), picks("direct", "ip?", "-"));
    assert_eq!(pick("ipondemand", None), picks("ip?", "ip?", "-"));
    let private = Some("10.0.0.1");
    assert_eq!(pick("IPIfNonMatch", private), picks("block", "block", "-"));
    let public = Some("8.8.8.8");
    assert_eq!(pick("IPOnDemand", public), picks("direct", "-", "-"));
}

#[test]
fn a_balancer_takes_the_outbounds_whose_tags_begin_with_a_selector() {
    let (router, report) = routing(json!({"routing": {
        "rules": [{"type": "field", "network": "tcp", "balancerTag": "all"}],
        "balancers": [{"tag": "all", "selector": ["pro", "di"], "strategy": {"type": "roundRobin"}}]
    }}));
    assert_eq!(problems(&report), [""; 0]);
    let picks = [(); 3].map(|()| picked(&router, "in 1.1.1.1:1 tcp a.com:80 -", None));
    assert_eq!(picks, ["proxy", "direct", "proxy"]);

    let (router, _) = routing(json!({"router": {
        "rule": [{"networks": "tcp", "balancingTag": "all"}],
        "balancingRule": [{"tag": "all", "outboundSelector": ["none"], "fallbackTag": "block"}]
    }}));
    let pick = picked(&router, "in 1.1.1.1:1 tcp a.com:80 -", None);
    assert_eq!(pick, "block");
}

#[test]
fn a_unix_socket_has_no_source_address() {
    let rules = json!([{"type": "field", "source": ["geoip:!private"], "outboundTag": "block"}]);
    let (router, _) = routing(json!({"routing": {"rules": rules}}));
    let to = "a.com:80".parse().unwrap();
    let pick = router.pick(&facts(Source::Unix, &to), None);
    assert!(matches!(pick, Pick::Default));
}

#[test]
fn an_address_that_means_this_machine_is_met_by_its_rules() {
    let rules = json!([
        {"type": "field", "ip": ["127.0.0.0/8", "::1"], "network": "tcp", "outboundTag": "block"},
        {"type": "field", "ip": ["0.0.0.0", "::"], "outboundTag": "proxy"},
        {"type": "field", "ip": ["geoip:!private"], "outboundTag": "direct"},
    ]);
    let (router, _) = routing(json!({"routing": {"domainStrategy": "IPOnDemand", "rules": rules}}));
    for to in [
        "127.0.0.1",
        "0.0.0.0",
        "0",
        "0x0",
        "127.1",
        "[::]",
        "[::ffff:0.0.0.0]",
        "[::ffff:127.9.9.9]",
    ] {
        let session = format!("in 1.1.1.1:1 tcp {to}:80 -");
        assert_eq!(picked(&router, &session, None), "block", "{to}");
    }
    let udp = |to: &str| picked(&router, &format!("in 1.1.1.1:1 udp {to}:80 -"), None);
    assert_eq!(udp("0.0.0.0"), "proxy", "either form may be meant");
    assert_eq!(udp("127.0.0.1"), "-", "it is not abroad");
    assert_eq!(udp("8.8.8.8"), "direct");
    let resolved = ["0.0.0.0".parse().unwrap()];
    let session = "in 1.1.1.1:1 tcp a.example:80 -";
    assert_eq!(picked(&router, session, None), "ip?");
    assert_eq!(picked(&router, session, Some(&resolved)), "block");
}

#[test]
fn a_name_for_rules_alone_does_not_stand_for_the_address() {
    let rules = json!([
        {"type": "field", "domain": ["full:a.example"], "port": 80, "outboundTag": "proxy"},
        {"type": "field", "ip": ["192.168.0.0/16"], "outboundTag": "block"},
    ]);
    let (router, _) =
        routing(json!({"routing": {"domainStrategy": "IPIfNonMatch", "rules": rules}}));
    let takes = |to: &str, tag: &str| {
        let to = to.parse().unwrap();
        let facts = RouteInput {
            named: Some("a.example"),
            ..facts(Source::Unix, &to)
        };
        match router.pick(&facts, None) {
            Pick::To(Target::Outbound(to)) => **to == *tag,
            _ => tag == "-",
        }
    };
    assert!(takes("192.168.0.1:80", "proxy"));
    assert!(
        takes("192.168.0.1:81", "block"),
        "whatever its name resolves to"
    );
    assert!(takes("8.8.8.8:81", "-"));
}

#[test]
fn a_rule_that_asks_for_the_inbound_alone_takes_all_of_its_streams() {
    let rules = json!([
        {"type": "field", "inboundTag": ["panel", "other"], "outboundTag": "direct"},
        {"type": "field", "inboundTag": "panel", "network": "tcp,udp", "outboundTag": "direct"},
        {"type": "field", "inboundTag": "panel", "network": "udp", "outboundTag": "direct"},
        {"type": "field", "inboundTag": "panel", "port": 80, "outboundTag": "direct"},
        {"type": "field", "inboundTag": "panel", "source": "10.0.0.0/8", "outboundTag": "direct"},
        {"type": "field", "network": "tcp", "outboundTag": "direct"},
    ]);
    let (router, _) = routing(json!({"routing": {"rules": rules}}));
    let takes = router.rules.iter();
    let takes: Vec<bool> = takes
        .map(|(rule, _)| rule.takes_all_streams_of("panel"))
        .collect();
    assert_eq!(takes, [true, true, false, false, false, false]);
    assert!(!router.rules[0].0.takes_all_streams_of("vmess"));
}

#[test]
fn what_a_session_carries_is_asked_for_by_the_beginning_of_its_name() {
    let rules = json!([
        {"type": "field", "protocol": ["bittorrent", "http"], "outboundTag": "block"},
        {"type": "field", "protocol": "TLS,smtp", "outboundTag": "direct"},
    ]);
    let (router, report) = routing(json!({"routing": {"rules": rules}}));
    let to = "1.1.1.1:80".parse().unwrap();
    let takes = |protocol| {
        let facts = RouteInput {
            protocol,
            ..facts(Source::Unix, &to)
        };
        matches!(router.pick(&facts, None), Pick::To(_))
    };
    assert!(
        [Some("http1"), Some("http/1.1"), Some("bittorrent")]
            .into_iter()
            .all(takes)
    );
    // As in V2Ray, which tells small letters from capitals here.
    assert!(![None, Some("tls"), Some("quic")].into_iter().any(takes));
    assert_eq!(
        problems(&report),
        [
            "routing.rules[1].protocol: no session is ever found to be `TLS`, did you mean `tls`?",
            "routing.rules[1].protocol: no session is ever found to be `smtp`"
        ]
    );
}

#[test]
fn attributes_are_those_of_a_request_and_nothing_else_has_any() {
    let rules = json!([
        {"type": "field", "attrs": "attrs[':method'] == 'GET' or True", "port": 80, "outboundTag": "block"},
    ]);
    let (router, _) = routing(json!({"routing": {"rules": rules}}));
    let request: Attributes = [(":method".to_owned(), "POST".to_owned())].into();
    let takes = |port, attributes| {
        let to = format!("1.1.1.1:{port}").parse().unwrap();
        let facts = RouteInput {
            attributes,
            ..facts(Source::Unix, &to)
        };
        matches!(router.pick(&facts, None), Pick::To(_))
    };
    assert!(takes(80, Some(&request)));
    assert!(!takes(81, Some(&request)) && !takes(80, None));
    assert!(
        !takes(80, Some(&Attributes::new())),
        "an error takes nothing"
    );
}

#[test]
fn every_mistake_is_named_where_it_stands() {
    let (_, report) = routing(json!({"routing": {
        "domainStrategy": "IPIfNoneMatch",
        "rules": [
            {"type": "field", "ip": ["10.0.0.0/40", "10.0.0.x", "geoip:"], "outboundTag": "blok"},
            {"type": "chinaip", "port": "99999", "outboundTag": "direct"},
            {"type": "field", "domain": ["regexp:(", "dotless:a.b", "ext:x", "domian:x.com"], "balancerTag": "b"},
            {"type": "field", "outboundTag": "direct"},
            {"type": "field", "network": "tcp,icmp", "attrs": "attrs[':method'] = 'GET'"},
            {"type": "field", "inboundTag": ["api", "inn"], "outboundTag": "api"}
        ],
        "balancers": [{"tag": "x", "selector": ["nobody"], "strategy": {"type": "roundrobbin"}}]
    }}));
    let expected = [
        "routing.balancers[0].strategy.type: `roundrobbin` is unknown, expected `random`, `roundRobin`, `leastPing` or `leastLoad`, did you mean `roundRobin`?",
        "routing.balancers[0].selector: no outbound has a tag that begins like this",
        "routing.rules[0].ip[0]: `10.0.0.0/40` is not a network, expected 0 to 32 behind the `/`",
        "routing.rules[0].ip[1]: `10.0.0.x` is not an IP address, expected such as `10.0.0.0/8`, `geoip:cn`, `geoip:!cn` or `ext:FILE:CATEGORY`",
        "routing.rules[0].ip[2]: no category is named behind the `:`",
        "routing.rules[1].type: `chinaip` is not a kind of rule, expected `field` (with `ip`: `geoip:cn`)",
        "routing.rules[1].port: `99999` is not a port, expected 0 to 65535, a range such as `1000-1010` or `env:NAME`",
        "routing.rules[2].balancerTag: no balancer is tagged `b`, did you mean `x`?",
        "routing.rules[2].domain[0]: `(`: unclosed group",
        "routing.rules[2].domain[1]: `dotless:a.b` has a dot, expected a part of a name without dots",
        "routing.rules[2].domain[2]: `ext:x` is not of the form `ext:FILE:CATEGORY`",
        "routing.rules[3]: the rule asks for nothing, expected `domain`, `ip`, `port`, `network`, `source`, `user`, `inboundTag`, `protocol` or `attrs`",
        "routing.rules[4]: the rule leads nowhere, expected `outboundTag` or `balancerTag`",
        "routing.rules[4].network: `icmp` is not a network, expected `tcp`, `udp` or `tcp,udp`",
        "routing.rules[4].attrs: at character 18: `=`, expected an operator or the end",
        "routing.domainStrategy: `IPIfNoneMatch` is not `AsIs`, `IPIfNonMatch` or `IPOnDemand`, `AsIs` is used as in V2Ray, did you mean `IPIfNonMatch`?",
        "routing.rules[0].outboundTag: no outbound is tagged `blok`, so the first one carries what the rule takes, as in V2Ray, did you mean `block`?",
        "routing.rules[2].domain[3]: `domian` is no kind of pattern, this takes no name, did you mean `domain`?",
        "routing.rules[5].outboundTag: what is tagged `api` is not built yet, the rule has no effect",
        "routing.rules[5].inboundTag: no inbound is tagged `inn`, did you mean `in`?",
    ];
    assert_eq!(problems(&report), expected);
}

#[test]
fn a_name_is_not_compared_with_every_one_of_a_hundred_thousand() {
    let name = |i: u32| format!("{:x}.example.com", i.wrapping_mul(2_654_435_761));
    let time = |count: u32| {
        let patterns = (0..count).map(|i| match i % 5 {
            0 => Pattern::Full(name(i)),
            _ => Pattern::Domain(name(i)),
        });
        let domains = Domains::new(patterns).unwrap();
        let names: Vec<Name> = (0..1000)
            .map(|i| Name::new(&format!("www.{}", name(i))))
            .collect();
        let began = Instant::now();
        let found = names.iter().filter(|name| domains.contains(name)).count();
        assert_eq!(found, 800);
        began.elapsed()
    };
    let (few, many) = (time(1000), time(100_000));
    assert!(
        many < few * 20,
        "{few:?} in a thousand, {many:?} in a hundred thousand"
    );
}

fn routing(value: Value) -> (Router, Report) {
    let report = Report::default();
    let root = Node::root(&value, &report).object().unwrap();
    let tags = Tags {
        inbounds: ["in", "other", "third"].map(str::to_owned).to_vec(),
        outbounds: OUTBOUNDS.map(str::to_owned).to_vec(),
        sniffs: true,
        unbuilt: vec!["api".to_owned()],
        observers: Vec::new(),
    };
    let router = read(&root, &tags, &Geodata::default());
    root.finish();
    (router, report)
}

fn problems(report: &Report) -> Vec<String> {
    let errors = report.errors();
    let warnings = report.warnings();
    errors
        .iter()
        .chain(&warnings)
        .map(ToString::to_string)
        .collect()
}

const OUTBOUNDS: [&str; 3] = ["proxy", "direct", "block"];

/// The tag of the outbound; `-` without one, `ip?` when addresses are asked for. `session` is written as
/// in the table above.
fn picked(router: &Router, session: &str, resolved: Option<&[IpAddr]>) -> String {
    let [inbound, source, network, to, user] = session.split(' ').collect::<Vec<_>>()[..] else {
        panic!("{session}");
    };
    let to = to.parse().unwrap();
    let facts = RouteInput {
        inbound: Some(inbound),
        network: if network == "tcp" {
            Network::Tcp
        } else {
            Network::Udp
        },
        user: (user != "-").then_some(user),
        ..facts(Source::Ip(source.parse().unwrap()), &to)
    };
    let tag = match router.pick(&facts, resolved) {
        Pick::To(Target::Outbound(tag)) => Some(tag.clone()),
        Pick::To(Target::Balancer(balancer)) => {
            let tags = OUTBOUNDS.map(Arc::from);
            balancer.choose(tags.iter(), || 0)
        }
        Pick::NeedsIp => Some("ip?".into()),
        Pick::Default => None,
    };
    tag.as_deref().unwrap_or("-").to_owned()
}

fn facts(source: Source, to: &Destination) -> RouteInput<'_> {
    RouteInput {
        inbound: None,
        source,
        network: Network::Tcp,
        to,
        named: None,
        user: None,
        protocol: None,
        attributes: None,
    }
}
