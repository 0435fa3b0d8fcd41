//! Who is asked for the addresses of names, as other programs say it.

use super::*;
use crate::dns::Strategy;
use crate::protocol::InboundSettings;

/// `dns` of the config.json that a text becomes, and its rules; both are read again as they were meant.
fn asked(text: &str) -> (Read, Value, Vec<Value>) {
    let (read, rules) = carried(text);
    let written = write(&read, text, Target::Config).unwrap();
    let config = loaded(&written.text);
    assert_eq!(config.dns, read.config.dns, "{}", written.text);
    assert_eq!(strategies(&config), strategies(&read.config));
    let written: Value = serde_json::from_str(&written.text).unwrap();
    (read, written["dns"].clone(), rules)
}

/// How outbounds that lead straight there find addresses.
fn strategies(config: &Config) -> Vec<Strategy> {
    let outbounds = config.outbounds.iter();
    let strategies = outbounds.filter_map(|one| match &one.protocol {
        OutboundSettings::Freedom(settings) => Some(settings.strategy),
        _ => None,
    });
    strategies.collect()
}

fn way(inbound: &str, outbound: &str) -> Value {
    json!({"type": "field", "inboundTag": [inbound], "outboundTag": outbound})
}

#[test]
fn clash_asks_its_name_servers_past_its_rules() {
    let (read, dns, rules) = asked(&format!(
        "{HK}ipv6: false\ndns:\n  enable: true\n  listen: 0.0.0.0:53\n  enhanced-mode: fake-ip\n  default-nameserver: [223.5.5.5]\n\
         \x20 nameserver: [223.5.5.5, '192.0.2.53:5353', 'tcp://192.0.2.1', 'tls://dns.test:853', 'https://dns.test/dns-query', \
           system, 'quic://dns.test', '[2001:db8::1]:53', 'https://dns.test/q#hk&h3=true', 'udp://192.0.2.9#gone']\n\
         \x20 nameserver-policy: {{'+.a.test,b.test': 192.0.2.2, '.c.test': [192.0.2.3, 192.0.2.4]}}\n\
         rules: ['DOMAIN,x.test,DIRECT', 'MATCH,hk']\n"
    ));
    assert_eq!(
        dns,
        json!({
            "disableFallbackIfMatch": true,
            "queryStrategy": "UseIPv4",
            "useSystemHosts": true,
            "servers": [
                {"address": "192.0.2.2", "domains": ["domain:a.test", "full:b.test"], "skipFallback": true, "finalQuery": true, "tag": "dns"},
                {"address": "192.0.2.3", "domains": ["regexp:\\.c\\.test$"], "skipFallback": true, "tag": "dns"},
                {"address": "192.0.2.4", "domains": ["regexp:\\.c\\.test$"], "skipFallback": true, "finalQuery": true, "tag": "dns"},
                {"address": "223.5.5.5", "tag": "dns"},
                {"address": "192.0.2.53", "port": 5353, "tag": "dns"},
                "tcp+local://192.0.2.1",
                "tls+local://dns.test:853",
                "https+local://dns.test/dns-query",
                "localhost",
                {"address": "2001:db8::1", "tag": "dns"},
                {"address": "https://dns.test/q", "tag": "dns-2"},
            ],
        })
    );
    assert_eq!(rules[..2], [way("dns-2", "hk"), way("dns", "direct")]);
    assert_eq!(strategies(&read.config), [Strategy::UseIpv4]);
    let told = read.left_out_lines().join("\n");
    for part in [
        "dns.listen",
        "dns.default-nameserver: the system is asked",
        "dns.nameserver[6]: DNS over QUIC is not built",
        "dns.nameserver[8]: there is no word for `h3`",
        "dns.nameserver[9]: what its questions go by",
    ] {
        assert!(told.contains(part), "{part}\n{told}");
    }
    let astray = read.astray_lines().join("\n");
    assert!(astray.contains("dns.nameserver[9]"), "{astray}");
    assert_eq!(read.astray_lines().len(), 1, "{astray}");
}

#[test]
fn clash_has_fallbacks_and_hosts() {
    let (read, dns, _) = asked(&format!(
        "{HK}dns:\n  enable: true\n  ipv6: false\n  respect-rules: true\n  use-system-hosts: false\n  nameserver: [192.0.2.1]\n\
         \x20 fallback: [192.0.2.2]\n  fallback-filter: {{geoip: false, ipcidr: [240.0.0.0/4], domain: ['+.a.test']}}\n\
         hosts: {{'+.b.test': 192.0.2.3, c.test: [192.0.2.4, '2001:db8::4'], '*.d.test': 192.0.2.5}}\n\
         rules: ['DOMAIN,x.test,DIRECT', 'MATCH,hk']\n"
    ));
    assert_eq!(
        dns,
        json!({
            "disableFallbackIfMatch": true,
            "servers": [
                {"address": "192.0.2.2", "domains": ["domain:a.test"], "skipFallback": true, "finalQuery": true},
                {"address": "192.0.2.1", "unexpectedIPs": ["240.0.0.0/4"]},
                "192.0.2.2",
            ],
            "hosts": {
                "domain:b.test": "192.0.2.3",
                "c.test": ["192.0.2.4", "2001:db8::4"],
                "regexp:^[^.]+\\.d\\.test$": "192.0.2.5",
            },
        })
    );
    assert_eq!(strategies(&read.config), [Strategy::UseIp]);
    assert!(
        read.left_out_lines()
            .join("\n")
            .contains("hosts: they count where")
    );
    // The built-in DNS is asked by nobody.
    let (read, dns, _) = asked(&format!(
        "{HK}dns: {{enable: true, nameserver: [192.0.2.1]}}\n"
    ));
    assert_eq!((dns, read.left_out_lines().len()), (Value::Null, 1));
    let off =
        format!("{HK}dns: {{enable: false, nameserver: [192.0.2.1]}}\nrules: ['MATCH,DIRECT']\n");
    let (read, dns, _) = asked(&off);
    assert_eq!(
        (dns, strategies(&read.config)),
        (Value::Null, vec![Strategy::AsIs])
    );
}

#[test]
fn sing_box_asks_its_servers_by_rules_of_their_own() {
    let (read, dns, rules) = asked(&sing_box(json!({
        "dns": {
            "servers": [
                {"type": "https", "tag": "far", "server": "192.0.2.1", "server_port": 8443, "path": "q", "detour": "hk"},
                {"type": "udp", "tag": "near", "server": "192.0.2.2"},
                {"type": "fakeip", "tag": "fake", "inet4_range": "198.18.0.0/15"},
                {"type": "h3", "tag": "new", "server": "192.0.2.3"},
                {"type": "tcp", "tag": "straight", "server": "2001:db8::1", "detour": "direct"},
            ],
            "rules": [
                {"outbound": "any", "server": "near"},
                {"clash_mode": "Direct", "server": "near"},
                {"rule_set": "own", "domain": "c.test", "server": "near"},
                {"domain_suffix": "d.test", "server": "straight"},
                {"query_type": ["A", "AAAA"], "server": "fake"},
                {"domain": "e.test", "server": "new"},
                {"query_type": "HTTPS", "action": "reject"},
                {"port": 53, "server": "near"},
                {"domain": "ads.test", "action": "reject"},
                {"domain": "f.test", "server": "gone"},
            ],
            "final": "far", "strategy": "prefer_ipv4", "client_subnet": "192.0.2.0/24",
        },
        "route": {
            "rule_set": [{"type": "inline", "tag": "own", "rules": [{"domain_suffix": ["a.test", "b.test"]}]}],
            "rules": [{"type": "logical", "mode": "or", "rules": [{"protocol": "dns"}, {"port": 853}], "action": "hijack-dns"}],
            "final": "hk", "default_domain_resolver": "near",
        },
    })));
    assert_eq!(
        dns,
        json!({
            "disableFallbackIfMatch": true,
            "clientIp": "192.0.2.0",
            "servers": [
                {"address": "192.0.2.2", "domains": ["full:c.test", "domain:a.test", "domain:b.test"], "skipFallback": true, "finalQuery": true, "tag": "dns"},
                {"address": "tcp+local://[2001:db8::1]", "domains": ["domain:d.test"], "skipFallback": true, "finalQuery": true},
                {"address": "https://192.0.2.1:8443/q", "tag": "dns-2"},
            ],
        })
    );
    assert_eq!(rules[..2], [way("dns-2", "hk"), way("dns", "direct")]);
    let hijacked = json!({"type": "field", "port": "53", "outboundTag": "dns-out"});
    assert_eq!(rules[2], hijacked, "{rules:?}");
    assert_eq!(rules[3]["port"], "853");
    assert_eq!(strategies(&read.config), [Strategy::PreferIpv4]);
    let told = read.left_out_lines().join("\n");
    for part in [
        "dns.servers[3]: DNS over HTTP/3 is not built",
        "dns.rules[7]: what asks for more than names",
        "dns.rules[8]: `action: reject` is not carried over",
        "dns: there is no server `gone`",
    ] {
        assert!(told.contains(part), "{part}\n{told}");
    }
    // Each of them has names asked of others.
    assert_eq!(read.astray_lines().len(), 4);
}

#[test]
fn servers_of_sing_box_before_1_12_go_where_all_goes() {
    let (_, dns, rules) = asked(&sing_box(json!({
        "dns": {"servers": [{"tag": "a", "address": "192.0.2.1"}, {"tag": "b", "address": "local", "detour": "direct"}],
            "rules": [{"domain": "a.test", "server": "b"}]},
        "outbounds": [], "route": {"rules": [{"port": 25, "outbound": "direct"}]},
    })));
    let local = json!({"address": "localhost", "domains": ["full:a.test"], "skipFallback": true, "finalQuery": true});
    assert_eq!(
        dns,
        json!({"disableFallbackIfMatch": true, "tag": "dns", "servers": [local, "192.0.2.1"]})
    );
    assert_eq!(rules[0], way("dns", "hk"));
    // Without an outbound that leads straight there, one is made.
    let mut text: Value = serde_json::from_str(&sing_box(json!({
        "dns": {"servers": [{"type": "udp", "server": "192.0.2.1"}]}, "route": {"final": "hk"},
    })))
    .unwrap();
    text["outbounds"].as_array_mut().unwrap().pop();
    let (read, _, rules) = asked(&text.to_string());
    assert_eq!(rules, [way("dns", "dns-direct")]);
    assert_eq!(strategies(&read.config), [Strategy::UseIp]);
}

#[test]
fn all_may_go_straight_there_where_that_is_what_a_file_says() {
    let mixed = json!({"type": "mixed", "listen_port": 2080});
    let direct = json!([{"type": "direct"}]);
    let sing_box = json!({"inbounds": [mixed], "outbounds": direct}).to_string();
    for text in [
        &sing_box,
        "mixed-port: 7890\nproxies: []\nrules: ['MATCH,DIRECT']\n",
    ] {
        let read = read_text(text);
        assert_eq!(read.astray_lines(), [""; 0]);
        assert!(matches!(
            read.config.outbounds[0].protocol,
            OutboundSettings::Freedom(_)
        ));
    }
    // Not where servers are lost, nor where nobody could come in.
    for text in [
        "mixed-port: 7890\nproxies: [{name: h, type: hysteria2, server: a.example}]\nrules: ['MATCH,DIRECT']\n".to_owned(),
        json!({"inbounds": [], "outbounds": direct}).to_string(),
        json!({"inbounds": [{"type": "vless", "listen_port": 443}], "outbounds": direct}).to_string(),
    ] {
        let (form, inner) = recognise(&text);
        assert!(read_as(form, &inner, "x", Outside::NOTHING).is_err(), "{text}");
    }
}

#[test]
fn a_door_of_sing_box_leads_to_one_place() {
    let door = |extra: Value| {
        let mut inbound =
            json!({"type": "direct", "tag": "in", "listen": "127.0.0.1", "listen_port": 5353});
        inbound
            .as_object_mut()
            .unwrap()
            .extend(extra.as_object().unwrap().clone());
        let (read, _, _) = asked(&sing_box(
            json!({"inbounds": [inbound], "route": {"final": "hk"}}),
        ));
        read
    };
    let read =
        door(json!({"override_address": "192.0.2.1", "override_port": 53, "network": "udp"}));
    let InboundSettings::Dokodemo(settings) = &read.config.inbounds[0].protocol else {
        panic!("expected a door");
    };
    assert_eq!(settings.to, Some("192.0.2.1:53".parse().unwrap()));
    assert!(settings.udp && !settings.tcp);
    let answered = json!([{"inbound": "in", "action": "hijack-dns"}]);
    let inbound =
        json!({"type": "direct", "tag": "in", "listen": "127.0.0.1", "listen_port": 5353});
    let (read, _, rules) = asked(&sing_box(
        json!({"inbounds": [inbound], "route": {"rules": answered, "final": "hk"}}),
    ));
    assert_eq!(read.config.inbounds.len(), 1);
    assert_eq!(rules[0], way("in", "dns-out"));
    let read = door(json!({}));
    assert!(read.config.inbounds.is_empty());
    assert!(
        read.astray_lines()
            .join("\n")
            .contains("inbounds[0].override_address")
    );
}
