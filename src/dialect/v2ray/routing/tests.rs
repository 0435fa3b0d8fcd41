//! Configs, and where they send sessions.

use std::sync::Arc;

use serde_json::{Value, json};

use super::read;
use crate::address::{Destination, Network, PortRange};
use crate::config::check::{self, Tags};
use crate::dialect::v2ray::json::{Node, Report};
use crate::matching::Geodata;
use crate::report::Path;
use crate::routing::{
    DomainStrategy, HealthTables, Pick, Program, ProgramTest, RouteInput, Router,
};
use crate::session::Source;

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
        // Two lists of V2Ray 5, and each has to hold.
        (
            json!({"domain": ["full:www.a.com", "full:b.com"], "geoDomain": [{"type": "RootDomain", "value": "a.com"}]}),
            "in 1.1.1.1:1 tcp www.a.com:80 -",
            "in 1.1.1.1:1 tcp b.com:80 -",
        ),
        (
            json!({"domain": ["full:www.a.com"], "geoDomain": [{"type": "RootDomain", "value": "a.com"}]}),
            "in 1.1.1.1:1 tcp www.a.com:80 -",
            "in 1.1.1.1:1 tcp a.com:80 -",
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
        assert_eq!(picked(&router, takes), "block", "{rule} {takes}");
        assert_eq!(picked(&router, leaves), "-", "{rule} {leaves}");
    }
}

#[test]
fn a_balancer_takes_the_outbounds_whose_tags_begin_with_a_selector() {
    let (router, report) = routing(json!({"routing": {
        "rules": [{"type": "field", "network": "tcp", "balancerTag": "all"}],
        "balancers": [{"tag": "all", "selector": ["pro", "di"], "strategy": {"type": "roundRobin"}}]
    }}));
    assert_eq!(problems(&report), [""; 0]);
    let picks = [(); 3].map(|()| picked(&router, "in 1.1.1.1:1 tcp a.com:80 -"));
    assert_eq!(picks, ["proxy", "direct", "proxy"]);

    let (router, _) = routing(json!({"router": {
        "rule": [{"networks": "tcp", "balancingTag": "all"}],
        "balancingRule": [{"tag": "all", "outboundSelector": ["none"], "fallbackTag": "block"}]
    }}));
    let pick = picked(&router, "in 1.1.1.1:1 tcp a.com:80 -");
    assert_eq!(pick, "block");
}

#[test]
fn a_word_of_v2ray_5_in_a_rule_of_v2ray_4_is_told() {
    let rule = |key: &str| json!({"type": "field", "port": "80", key: "block"});
    let (router, report) = routing(json!({"routing": {"rules": [rule("tag")]}}));
    let said = "routing.rules[0].tag: `tag` is V2Ray 5's word, in `router`: V2Ray and Xray start with `outboundTag` alone here";
    assert_eq!(problems(&report), [said]);
    assert_eq!(picked(&router, "in 1.1.1.1:1 tcp a.com:80 -"), "block");
    for config in [
        json!({"routing": {"rules": [rule("outboundTag")]}}),
        json!({"router": {"rule": [{"portList": "80", "tag": "block"}]}}),
    ] {
        assert_eq!(problems(&routing(config).1), [""; 0]);
    }
}

#[test]
fn a_protocol_that_nothing_is_found_to_be_is_told() {
    let rules = json!([
        {"type": "field", "protocol": ["bittorrent", "http"], "outboundTag": "block"},
        {"type": "field", "protocol": "TLS,smtp", "outboundTag": "direct"},
    ]);
    let (_, report) = routing(json!({"routing": {"rules": rules}}));
    // As in V2Ray, which tells small letters from capitals here.
    assert_eq!(
        problems(&report),
        [
            "routing.rules[1].protocol: no session is ever found to be `TLS`, did you mean `tls`?",
            "routing.rules[1].protocol: no session is ever found to be `smtp`"
        ]
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
            {"type": "field", "inboundTag": "in", "outboundTag": "api"},
            {"type": "field", "inboundTag": ["api", "inn"], "outboundTag": "direct"}
        ],
        "balancers": [{"tag": "x", "selector": ["nobody"], "strategy": {"type": "roundrobbin"}}]
    }}));
    let expected = [
        "routing.balancers[0].strategy.type: `roundrobbin` is unknown, expected `random`, `roundRobin`, `leastPing`, `leastLoad` or `firstAlive`, did you mean `roundRobin`?",
        "routing.rules[0].ip[0]: `10.0.0.0/40` is not a network, expected 0 to 32 behind the `/`",
        "routing.rules[0].ip[1]: `10.0.0.x` is not an IP address, expected such as `10.0.0.0/8`, `geoip:cn`, `geoip:!cn` or `ext:FILE:CATEGORY`",
        "routing.rules[0].ip[2]: no category is named behind the `:`",
        "routing.rules[1].type: `chinaip` is not a kind of rule, expected `field` (with `ip`: `geoip:cn`)",
        "routing.rules[1].port: `99999` is not a port, expected 0 to 65535, a range such as `1000-1010` or `env:NAME`",
        "routing.rules[2].domain[0]: `(`: unclosed group",
        "routing.rules[2].domain[1]: `dotless:a.b` has a dot, expected a part of a name without dots",
        "routing.rules[2].domain[2]: `ext:x` is not of the form `ext:FILE:CATEGORY`",
        "routing.rules[3]: the rule asks for nothing, expected `domain`, `ip`, `port`, `network`, `source`, `user`, `inboundTag`, `protocol` or `attrs`",
        "routing.rules[4]: the rule leads nowhere, expected `outboundTag` or `balancerTag`",
        "routing.rules[4].attrs: at character 18: `=`, expected an operator or the end",
        "routing.rules[2].balancerTag: no balancer is tagged `b`, did you mean `x`?",
        "routing.domainStrategy: `IPIfNoneMatch` is not `AsIs`, `IPIfNonMatch` or `IPOnDemand`, `AsIs` is used as in V2Ray, did you mean `IPIfNonMatch`?",
        "routing.rules[2].domain[3]: `domian` is no kind of pattern, this takes no name, did you mean `domain`?",
        "routing.rules[4].network: `icmp` is not a network and is passed over, expected `tcp`, `udp` or `tcp,udp`",
        "routing.rules[5].outboundTag: what is tagged `api` is not built, and what the rule takes is blocked",
        "routing.balancers[0].selector: no outbound has a tag that begins like this, the first outbound carries everything, as in V2Ray",
        "routing.rules[0].outboundTag: no outbound is tagged `blok`, so the first one carries what the rule takes, as in V2Ray (Xray would end it), did you mean `block`?",
        "routing.rules[6].inboundTag: no inbound is tagged `inn`, did you mean `in`?",
    ];
    assert_eq!(problems(&report), expected);
}

/// Each was asked of Xray 26, V2Ray 5 and V2Ray 4, for the programs that write an empty text into what is not filled in.
#[test]
fn a_condition_that_is_an_empty_text_is_never_met() {
    for (condition, value) in [
        ("port", json!("")),
        ("sourcePort", json!("")),
        ("network", json!("")),
        ("user", json!("")),
        ("user", json!([""])),
        ("inboundTag", json!([""])),
        ("inboundTag", json!("")),
        ("protocol", json!("")),
        ("protocol", json!(["", ""])),
    ] {
        let other = match condition {
            "network" => json!({"port": 80}),
            _ => json!({"network": "tcp"}),
        };
        let mut rule = other.clone();
        rule[condition] = value;
        rule["outboundTag"] = "block".into();
        let (router, report) = routing(json!({"routing": {"rules": [rule]}}));
        assert_eq!(picked(&router, "in 1.1.1.1:1 tcp a.com:80 u@x"), "-");
        let said = problems(&report);
        let [said] = &said[..] else {
            panic!("{condition}: {said:?}");
        };
        let place =
            format!("routing.rules[0].{condition}: this is empty, so the rule takes nothing");
        assert!(said.starts_with(&place), "{said}");
    }
    // A list of nothing is no condition.
    let rule = json!({"user": [], "inboundTag": [], "protocol": [], "ip": [], "domain": [], "network": "tcp", "outboundTag": "block"});
    let (router, report) = routing(json!({"routing": {"rules": [rule]}}));
    assert_eq!(picked(&router, "in 1.1.1.1:1 tcp a.com:80 -"), "block");
    assert_eq!(problems(&report), [""; 0]);
    // It is in every name.
    for domain in [
        json!([""]),
        json!(["b.com", ""]),
        json!("b.com,"),
        json!(",b.com"),
        json!(["", "full:b.com"]),
    ] {
        let rule = json!({"domain": domain, "outboundTag": "block"});
        let (router, report) = routing(json!({"routing": {"rules": [rule]}}));
        assert_eq!(picked(&router, "in 1.1.1.1:1 tcp a.com:80 -"), "block");
        assert_eq!(picked(&router, "in 1.1.1.1:1 tcp 1.2.3.4:80 -"), "-");
        let said = "routing.rules[0].domain: an empty text is in every name, so any name is taken, as in V2Ray";
        assert_eq!(problems(&report), [said]);
    }
    let rule = json!({"domain": ["domain:."], "outboundTag": "block"});
    let (router, _) = routing(json!({"routing": {"rules": [rule]}}));
    assert_eq!(picked(&router, "in 1.1.1.1:1 tcp a.com:80 -"), "-");
    // And no address.
    for key in ["ip", "source", "sourceIP"] {
        let rule = json!({key: "", "network": "tcp", "outboundTag": "block"});
        let (_, report) = routing(json!({"routing": {"rules": [rule]}}));
        assert!(report.has_errors(), "{key}");
    }
}

#[test]
fn words_of_v2ray_for_a_strategy_may_have_marks_between() {
    for (word, expected) in [
        ("ip_if_non_match", DomainStrategy::IpIfNonMatch),
        ("IP-On-Demand", DomainStrategy::IpOnDemand),
        ("as_is", DomainStrategy::AsIs),
    ] {
        let report = Report::default();
        let value = json!(word);
        let node = Node::at(Path::default(), &value, &report);
        assert_eq!(super::domain_strategy(&node), expected);
        assert!(report.warnings().is_empty(), "{word}");
    }
}

#[test]
fn several_networks_with_a_mark_in_front_are_all_left_out_as_in_xray() {
    let outcome = |ips: Value| {
        let rule = json!({"ip": ips, "outboundTag": "block"});
        let (router, report) = routing(json!({"routing": {"rules": [rule]}}));
        let picked = ["1.2.3.4", "10.0.0.1", "8.8.8.8"]
            .map(|ip| picked(&router, &format!("in 1.1.1.1:1 tcp {ip}:80 -")) == "block");
        (picked, problems(&report).len())
    };
    assert_eq!(
        outcome(json!(["!1.2.3.0/24", "!10.0.0.0/8"])),
        ([false, false, true], 1)
    );
    assert_eq!(outcome(json!(["!1.2.3.0/24"])), ([false, true, true], 0));
    assert_eq!(
        outcome(json!(["!1.2.3.0/24", "1.2.3.4"])),
        ([true, true, true], 0)
    );
    // What is none of a family has none of it.
    let of_other = |ips: Value, ip: &str| {
        let rule = json!({"ip": ips, "outboundTag": "block"});
        let (router, _) = routing(json!({"routing": {"rules": [rule]}}));
        picked(&router, &format!("in 1.1.1.1:1 tcp {ip}:80 -")) == "block"
    };
    assert!(!of_other(json!(["!10.0.0.0/8"]), "[::1]"));
    assert!(!of_other(json!(["!2001:db8::/32"]), "8.8.8.8"));
    assert!(of_other(json!(["!2001:db8::/32"]), "[::1]"));
    // Of Xray's two kinds each is by itself.
    assert_eq!(
        outcome(json!(["!1.2.3.0/24", "geoip:!private"])),
        ([true, true, true], 0)
    );
    assert_eq!(
        outcome(json!([" 10.0.0.0/8\n", "1.2.3.4 "])),
        ([true, true, false], 0)
    );
}

#[test]
fn the_newer_of_two_words_counts_as_in_xray() {
    for (rule, takes, not) in [
        (
            json!({"domains": ["a.com"], "domain": ["b.com"]}),
            "in 1.1.1.1:1 tcp a.com:80 -",
            "in 1.1.1.1:1 tcp b.com:80 -",
        ),
        (
            json!({"sourceIP": ["1.1.1.1"], "source": ["2.2.2.2"]}),
            "in 1.1.1.1:1 tcp a.com:80 -",
            "in 2.2.2.2:1 tcp a.com:80 -",
        ),
    ] {
        let mut rule = rule;
        rule["outboundTag"] = "block".into();
        let (router, report) = routing(json!({"routing": {"rules": [rule]}}));
        assert_eq!(picked(&router, takes), "block");
        assert_eq!(picked(&router, not), "-");
        assert_eq!(problems(&report).len(), 1, "{:?}", problems(&report));
    }
}

#[test]
fn conditions_of_xray_alone_hold_as_there() {
    let rule = json!({
        "localIP": ["10.0.0.0/8"], "localPort": "80-90", "vlessRoute": 7, "process": ["curl", ""],
        "localOS": ["windows", "Linux"], "outboundTag": "block",
    });
    let report = Report::default();
    let value = json!({"routing": {"rules": [rule]}});
    let root = Node::root(&value, &report).object().unwrap();
    let conditions = read(&root, &[], &Geodata::default())
        .rules
        .remove(0)
        .conditions;
    assert!(conditions.locals.is_some());
    assert_eq!(conditions.local_ports, [PortRange { from: 80, to: 90 }]);
    assert_eq!(conditions.vless_routes, [PortRange::from(7)]);
    assert_eq!(conditions.programs, [ProgramTest::Name("curl".to_owned())]);
    // A rule for another system is none, and one for this system alone takes everything.
    let by = |system: &str| {
        let rule = json!({"localOS": system, "outboundTag": "block"});
        let (router, report) = routing(json!({"routing": {"rules": [rule]}}));
        assert!(problems(&report).is_empty(), "{:?}", problems(&report));
        picked(&router, "in 1.1.1.1:1 tcp a.com:80 -")
    };
    assert_eq!([by("linux"), by("darwin")], ["block", "-"]);
}

fn routing(value: Value) -> (Router, Report) {
    let report = Report::default();
    let root = Node::root(&value, &report).object().unwrap();
    let tags = Tags {
        inbounds: ["in", "other", "third", "api"].map(str::to_owned).to_vec(),
        outbounds: OUTBOUNDS
            .into_iter()
            .chain(["api"])
            .map(str::to_owned)
            .collect(),
        sniffs: true,
    };
    let settings = read(&root, &["api".to_owned()], &Geodata::default());
    root.finish();
    check::routing(&settings, &[], &tags, &report);
    (Router::new(settings, &HealthTables::default()), report)
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

/// The tag of the outbound; `-` without one. `session` is written as in the table above.
fn picked(router: &Router, session: &str) -> String {
    let [inbound, source, network, to, user] = session.split(' ').collect::<Vec<_>>()[..] else {
        panic!("{session}");
    };
    let to: Destination = to.parse().unwrap();
    let facts = RouteInput {
        inbound: Some(inbound),
        source: Source::Ip(source.parse().unwrap()),
        local: Source::Unix,
        vless_route: 0,
        program: Program::Unasked,
        network: if network == "tcp" {
            Network::Tcp
        } else {
            Network::Udp
        },
        to: &to,
        named: None,
        resolves_named: false,
        user: (user != "-").then_some(user),
        protocol: None,
        attributes: None,
    };
    let tag = match router.pick(&facts, None) {
        Pick::Outbound(tag) => Some(tag.clone()),
        Pick::Balancer(balancer) => {
            let tags = OUTBOUNDS.map(Arc::from);
            balancer.choose(tags.iter(), || 0)
        }
        Pick::NeedsIp | Pick::NeedsProgram | Pick::Default => None,
    };
    tag.as_deref().unwrap_or("-").to_owned()
}
