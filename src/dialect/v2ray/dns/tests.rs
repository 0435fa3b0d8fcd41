//! Sections of either version, and what they mean.

use std::time::Duration;

use serde_json::{Value, json};

use super::read;
use crate::dialect::v2ray::json::{Node, Report};
use crate::dns::{
    FakePool, Fallback, Families, HostEntry, HostNames, HostValue, Server, Settings, Upstream, Via,
};
use crate::matching::{Domains, Geodata, Networks, Pattern, parse_network};

#[test]
fn servers_of_v2ray_4() {
    let settings = settings(json!({
        "tag": "dns-in",
        "clientIp": "192.0.2.1",
        "servers": [
            "1.1.1.1",
            "tcp://[2001:db8::1]",
            "tcp+local://2.2.2.2:5353",
            "https://a.example/dns-query",
            "localhost",
            {
                "address": "3.3.3.3", "port": 5353, "clientIp": "192.0.2.3", "tag": "own",
                "domains": ["domain:b.com", "keyword:key"], "expectIPs": ["10.0.0.0/8"],
                "skipFallback": true, "queryStrategy": "UseIPv4", "cacheStrategy": "Disabled",
                "timeoutMs": 500,
            },
        ],
    }));
    let server = |name, upstream| Server {
        via: via("dns-in"),
        client_ip: "192.0.2.1".parse().ok(),
        ..Server::new(name, upstream)
    };
    let https = Upstream::Https {
        url: "https://a.example/dns-query".parse().unwrap(),
        to: "a.example:443".parse().unwrap(),
    };
    let patterns = [
        Pattern::Domain("b.com".into()),
        Pattern::Keyword("key".into()),
    ];
    let expected = [
        server("1.1.1.1", Upstream::Udp("1.1.1.1:53".parse().unwrap())),
        server(
            "tcp://[2001:db8::1]",
            Upstream::Tcp("[2001:db8::1]:53".parse().unwrap()),
        ),
        Server {
            via: Via::Direct,
            ..server(
                "tcp+local://2.2.2.2:5353",
                Upstream::Tcp("2.2.2.2:5353".parse().unwrap()),
            )
        },
        server("https://a.example/dns-query", https),
        server("localhost", Upstream::System),
        Server {
            name: "3.3.3.3:5353".to_owned(),
            upstream: Upstream::Udp("3.3.3.3:5353".parse().unwrap()),
            via: via("own"),
            client_ip: "192.0.2.3".parse().ok(),
            domains: Some(Domains::ranked(patterns).unwrap()),
            expected: Some(inside("10.0.0.0/8")),
            prefers_expected: false,
            unexpected: None,
            prefers_others: false,
            skip_fallback: true,
            fallback: None,
            is_last: false,
            families: Families::V4,
            caches: false,
            patience: Duration::from_millis(500),
            fakes: Vec::new(),
        },
    ];
    assert_eq!(settings.servers, expected);
    let tags: Vec<&str> = settings.inbounds().map(|tag| &**tag).collect();
    assert_eq!(tags, ["dns-in", "dns-in", "dns-in", "dns-in", "own"]);
}

#[test]
fn made_up_addresses_are_out_of_the_pools_of_a_server_of_all_or_the_usual_ones() {
    let networks = |dns: Value| -> Vec<Vec<String>> {
        let shown = |pool: &FakePool| format!("{} {}", pool.network(), pool.names());
        let servers = settings(dns).servers;
        servers
            .iter()
            .map(|s| s.fakes.iter().map(shown).collect())
            .collect()
    };
    let both = json!({"servers": ["FakeDNS", "1.1.1.1", {"address": "fakedns", "queryStrategy": "UseIPv6"}]});
    assert_eq!(
        networks(both),
        [
            vec!["198.18.0.0/15 32768", "fc00::/18 32768"],
            vec![],
            vec!["fc00::/18 65535"]
        ]
    );
    let own = json!({
        "fakeDns": {"pools": [{"ipPool": "10.0.0.0/8", "lruSize": 5}]},
        "servers": [
            "fakedns",
            {"address": "1.1.1.1", "fakedns": true},
            {"address": "1.1.1.1", "fakedns": false},
            {"address": "1.1.1.1", "fakedns": ["192.0.2.0/24", "198.18.0.0/15"]},
            {"address": "1.1.1.1", "fakedns": {"ipPool": "fc00::1/18", "poolSize": 7}},
        ],
    });
    assert_eq!(
        networks(own),
        [
            vec!["10.0.0.0/8 5"],
            vec!["10.0.0.0/8 5"],
            vec![],
            vec!["192.0.2.0/24 255", "198.18.0.0/15 65535"],
            vec!["fc00::1/18 7"]
        ]
    );
}

#[test]
fn servers_of_v2ray_5() {
    let settings = settings(json!({"nameServer": [
        {
            "address": {"network": "udp", "address": "1.1.1.1", "port": 53},
            "prioritizedDomain": [{"type": "Subdomain", "domain": "b.com"}],
            "expectIPs": [{"cidr": [{"ipAddr": "10.0.0.0", "prefix": 8}]}],
            "skipFallback": true,
        },
        {"address": {"network": "tcp", "address": "2.2.2.2"}, "tag": "own"},
    ]}));
    let first = Server {
        domains: Some(Domains::ranked([Pattern::Domain("b.com".into())]).unwrap()),
        expected: Some(inside("10.0.0.0/8")),
        skip_fallback: true,
        ..Server::new("1.1.1.1:53", Upstream::Udp("1.1.1.1:53".parse().unwrap()))
    };
    let to = "2.2.2.2:53".parse().unwrap();
    let second = Server {
        via: via("own"),
        ..Server::new("tcp://2.2.2.2:53", Upstream::Tcp(to))
    };
    assert_eq!(settings.servers, [first, second]);
}

#[test]
fn servers_and_hosts_of_xray() {
    let settings = settings(json!({
        "hosts": {"geosite.example": "#3"}, "queryStrategy": "UseSystem",
        "servers": [
            "h2c://1.1.1.1:80/dns-query",
            {"address": "2.2.2.2", "expectedIPs": ["*", "10.0.0.0/8"], "unexpectedIPs": ["11.0.0.0/8"], "finalQuery": true, "disableCache": true,
             "fallbackStrategy": "DisabledIfAnyMatch"},
        ],
    }));
    let first = Server::new(
        "h2c://1.1.1.1:80/dns-query",
        Upstream::Https {
            url: "http://1.1.1.1:80/dns-query".parse().unwrap(),
            to: "1.1.1.1:80".parse().unwrap(),
        },
    );
    let second = Server {
        expected: Some(inside("10.0.0.0/8")),
        prefers_expected: true,
        unexpected: Some(inside("11.0.0.0/8")),
        is_last: true,
        caches: false,
        fallback: Some(Fallback::WithoutMatch),
        ..Server::new("2.2.2.2", Upstream::Udp("2.2.2.2:53".parse().unwrap()))
    };
    assert_eq!(settings.servers, [first, second]);
    assert_eq!(settings.hosts[0].values, [HostValue::Code(3)]);
    assert_eq!(settings.families, Families::BOTH);
}

#[test]
fn hosts_of_either_version() {
    let settings = settings(json!({
        "hosts": {
            "alias.com": "real.com",
            "domain:many.com": ["1.2.3.4", "::1"],
            "dotless:": "127.0.0.1",
        },
        "staticHosts": [
            {"type": "Subdomain", "domain": "five.com", "ip": ["5.5.5.5"]},
            {"domain": "other.com", "proxiedDomain": "real.com"},
        ],
    }));
    let name = || vec![HostValue::Name("real.com".to_owned())];
    let ip = |ip: &str| HostValue::Ip(ip.parse().unwrap());
    let entry = |names, values| HostEntry { names, values };
    let dotless = HostNames::new(vec![Pattern::Regex("^[^.]*[^.]*$".to_owned())]);
    let mut expected = vec![
        entry(HostNames::Full("alias.com".to_owned()), name()),
        entry(
            HostNames::Domain("many.com".to_owned()),
            vec![ip("1.2.3.4"), ip("::1")],
        ),
        entry(dotless.unwrap(), vec![ip("127.0.0.1")]),
    ];
    expected.extend([
        entry(
            HostNames::Domain("five.com".to_owned()),
            vec![ip("5.5.5.5")],
        ),
        entry(HostNames::Full("other.com".to_owned()), name()),
    ]);
    assert_eq!(settings.hosts, expected);
}

#[test]
fn strategies_have_several_spellings() {
    for (section, fallback) in [
        (json!({}), Fallback::Always),
        (json!({"disableFallback": true}), Fallback::Never),
        (
            json!({"disableFallbackIfMatch": true}),
            Fallback::WithoutMatch,
        ),
        (
            json!({"fallbackStrategy": "disabled_if-any_match"}),
            Fallback::WithoutMatch,
        ),
    ] {
        let shown = section.to_string();
        assert_eq!(settings(section).fallback, fallback, "{shown}");
    }
    for (word, families) in [
        ("UseIP", Families::BOTH),
        ("USE_IP4", Families::V4),
        ("UseIPv6", Families::V6),
    ] {
        let section = json!({"queryStrategy": word});
        assert_eq!(settings(section).families, families, "{word}");
    }
    let section = json!({"disableCache": true, "servers": ["1.1.1.1"]});
    assert!(!settings(section).servers[0].caches);
}

fn settings(section: Value) -> Settings {
    let report = Report::default();
    let object = Node::root(&section, &report).object().unwrap();
    let settings = read(&object, None, &Geodata::new(Vec::new()));
    object.finish();
    assert!(
        !report.has_errors() && report.warnings().is_empty(),
        "{report:?}"
    );
    settings
}

fn via(tag: &str) -> Via {
    Via::Routed(Some(tag.into()))
}

fn inside(network: &str) -> Networks {
    Networks {
        inside: [parse_network(network).unwrap()].into_iter().collect(),
        ..Networks::default()
    }
}
