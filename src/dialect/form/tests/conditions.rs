//! Rules that are put together from others, and lists that they name.

use std::cell::RefCell;
use std::collections::BTreeSet;

use super::*;
use crate::routing::Target as Led;
use crate::sniffing::{self, Protocol};

fn field(mut rule: Value, tag: &str) -> Value {
    rule["type"] = "field".into();
    rule["outboundTag"] = tag.into();
    rule
}

fn clash(rules: &str) -> String {
    format!("{HK}rules:\n{rules}")
}

#[test]
fn rules_of_clash_are_put_together_from_others() {
    let (read, rules) = carried(&clash(
        "- AND,((NETWORK,UDP),(DST-PORT,443)),REJECT\n\
         - OR,((DOMAIN,a.test),(DOMAIN-SUFFIX,b.test),(IP-CIDR,192.0.2.0/24,no-resolve)),hk\n\
         - NOT, ((NETWORK, tcp)), jp\n\
         - AND,((OR,((DST-PORT,80),(DST-PORT,443))),(DOMAIN-REGEX,^a{1,2}$),(NOT,((SRC-IP-CIDR,10.0.0.0/8)))),hk\n\
         - MATCH,DIRECT\n",
    ));
    assert_eq!(
        rules,
        [
            field(json!({"network": ["udp"], "port": "443"}), "reject"),
            field(json!({"domain": ["full:a.test", "domain:b.test"]}), "hk"),
            field(json!({"ip": ["192.0.2.0/24"]}), "hk"),
            field(json!({"network": ["udp"]}), "jp"),
            field(
                json!({"port": "80", "domain": ["regexp:^a{1,2}$"], "source": ["!10.0.0.0/8", "::/0"]}),
                "hk"
            ),
            field(
                json!({"port": "443", "domain": ["regexp:^a{1,2}$"], "source": ["!10.0.0.0/8", "::/0"]}),
                "hk"
            ),
        ]
    );
    assert_eq!(read.astray_lines(), [""; 0]);
    assert_eq!(
        read.config.routing.strategy,
        crate::routing::DomainStrategy::AsIs
    );
}

#[test]
fn what_cannot_be_put_together_is_named() {
    let (read, rules) = carried(&clash(
        "- AND,((DOMAIN,a.test),(DOMAIN-KEYWORD,b)),hk\n\
         - AND,((NETWORK,UDP),(UID,1000)),hk\n\
         - NOT,((DOMAIN,a.test)),hk\n\
         - AND,(NETWORK,UDP),hk\n\
         - OR,((IP-CIDR,10.0.0.0/8),(IP-CIDR,10.0.0.x)),hk\n\
         - AND,hk\n\
         - MATCH,DIRECT\n",
    ));
    assert_eq!(rules, [json!(null); 0]);
    let told = read.astray_lines().join("\n");
    for part in [
        "rules[0]: 1 rule of kind `AND` with two lists of `domain` that both have to hold",
        "rules[1]: 1 rule of kind `UID`",
        "rules[2]: 1 rule of kind `NOT` with a `domain` that must not hold",
        "rules[3]: 2 rules of kind `AND`, beginning here",
        "rules[4]: `10.0.0.x` is not an IP address",
    ] {
        assert!(told.contains(part), "{part}\n{told}");
    }
    assert_eq!(read.astray_lines().len(), 5, "{told}");
}

#[test]
fn lists_of_clash_that_stand_in_the_file_are_read() {
    let (read, rules) = carried(&clash(
        "- RULE-SET,names,hk\n- RULE-SET,nets,jp,no-resolve\n- RULE-SET,all,hk\n\
         - AND,((RULE-SET,names),(DST-PORT,443)),jp\n- RULE-SET,gone,hk\n- RULE-SET,names,hk,src\n- RULE-SET,circle,hk\n- MATCH,DIRECT\n\
         rule-providers:\n\
         \x20 names: {type: inline, behavior: domain, payload: ['a.test', '+.b.test', '.c.test', '*.d.test']}\n\
         \x20 nets: {type: inline, behavior: ipcidr, payload: ['192.0.2.0/24', '2001:db8::/32']}\n\
         \x20 all: {type: inline, behavior: classical, payload: ['DOMAIN,a.test', 'IP-CIDR,192.0.2.0/24', 'DOMAIN,b.test']}\n\
         \x20 circle: {type: inline, behavior: classical, payload: ['RULE-SET,circle']}\n",
    ));
    let names = json!([
        "full:a.test",
        "domain:b.test",
        "regexp:\\.c\\.test$",
        "regexp:^[^.]+\\.d\\.test$"
    ]);
    let mut both = names.clone();
    let more = ["full:a.test", "full:b.test"].map(Value::from);
    both.as_array_mut().unwrap().extend(more);
    assert_eq!(
        rules,
        [
            field(json!({ "domain": both }), "hk"),
            field(
                json!({"ip": ["192.0.2.0/24", "2001:db8::/32"], "noResolve": true}),
                "jp"
            ),
            field(json!({"ip": ["192.0.2.0/24"]}), "hk"),
            field(json!({"domain": names, "port": "443"}), "jp"),
        ]
    );
    let told = read.astray_lines().join("\n");
    assert!(
        told.contains("rules[4]: 3 rules of kind `RULE-SET`"),
        "{told}"
    );
}

#[test]
fn conditions_of_sing_box_are_put_together() {
    let (read, rules) = carried(&sing_box(json!({"route": {"final": "direct",
    "rule_set": [
        {"type": "inline", "tag": "own", "rules": [
            {"domain": ["a.test"], "ip_cidr": ["192.0.2.0/24"]},
            {"type": "logical", "mode": "and", "rules": [{"domain_suffix": "b.test"}, {"port": 443}]},
        ]},
    ],
    "rules": [
        {"type": "logical", "mode": "or", "action": "reject", "method": "drop", "rules": [
            {"port": 853}, {"network": "udp", "port": 443}]},
        {"rule_set": "own", "network": "tcp", "outbound": "hk"},
        {"network": "udp", "invert": true, "outbound": "hk"},
        {"clash_mode": "Global", "invert": true, "port": 25, "outbound": "hk"},
        {"clash_mode": "Rule", "invert": true, "outbound": "hk"},
        {"type": "logical", "mode": "and", "rules": [
            {"port_range": ["1:1023"]}, {"port": [80, 443], "invert": true}], "outbound": "hk"},
    ]}})));
    assert_eq!(
        rules,
        [
            field(json!({"port": "853"}), "block"),
            field(json!({"network": ["udp"], "port": "443"}), "block"),
            field(json!({"domain": ["full:a.test"], "network": ["tcp"]}), "hk"),
            field(json!({"ip": ["192.0.2.0/24"], "network": ["tcp"]}), "hk"),
            field(
                json!({"domain": ["domain:b.test"], "port": "443", "network": ["tcp"]}),
                "hk"
            ),
            field(json!({"network": ["tcp"]}), "hk"),
            field(json!({"network": ["tcp,udp"]}), "hk"),
            field(json!({"port": "1-79,81-442,444-1023"}), "hk"),
        ]
    );
    assert_eq!(read.astray_lines(), [""; 0]);
}

#[test]
fn lists_of_well_known_collections_are_those_of_v2ray() {
    // The files are not here, and that is what is told.
    let site = "https://raw.githubusercontent.com/SagerNet/sing-geosite/rule-set/geosite-cn.srs";
    let one = sing_box(json!({"route": {
        "rule_set": [{"type": "remote", "tag": "cn", "format": "binary", "url": site}],
        "rules": [{"rule_set": "cn", "outbound": "direct"}], "final": "hk"}}));
    let site = "https://github.com/MetaCubeX/meta-rules-dat/raw/meta/geo/geosite/cn.mrs";
    let other = clash(&format!(
        "- RULE-SET,cn,DIRECT\n- MATCH,hk\nrule-providers: {{cn: {{type: http, behavior: domain, url: '{site}'}}}}\n"
    ));
    for text in [one, other] {
        let read = read_text(&text);
        let told = read.left_out_lines().join("\n");
        assert!(
            told.contains("`geosite:cn` of `geosite.dat` is taken"),
            "{told}"
        );
        let rules = read.config.routing.rules.len();
        assert!(rules == 1 || told.contains("`geosite.dat` in "), "{told}");
    }
}

#[test]
fn one_list_that_many_rules_name_does_not_grow_without_bound() {
    let list: Vec<String> = (0..2_000).map(|n| format!("a{n}.test")).collect();
    let rules: Vec<Value> = (0..2_000)
        .map(|n| json!({"rule_set": ["own"], "port": n, "outbound": "hk"}))
        .collect();
    let text = sing_box(json!({"route": {"rules": rules,
        "rule_set": [{"type": "inline", "tag": "own", "rules": [{"domain": list}]}]}}));
    let read = read_text(&text);
    assert_eq!(read.config.routing.rules.len(), 500);
    assert!(read.astray_lines().join("").contains("1500 rules"));
}

#[test]
fn proxies_of_a_provider_that_stands_in_the_file_are_read() {
    let (read, rules) = carried(&format!(
        "{HK}proxy-providers:\n\
         \x20 own: {{type: inline, payload: [{{name: us, type: trojan, server: c.example, port: 443, password: p}}]}}\n\
         \x20 far: {{type: http, url: 'https://a.example/x', interval: 3600}}\n\
         proxy-groups:\n\
         - {{name: a, type: select, use: [own]}}\n\
         - {{name: b, type: select, include-all-providers: true, filter: us}}\n\
         - {{name: c, type: url-test, use: [far, own], proxies: [hk]}}\n\
         rules: ['DOMAIN,a.test,a', 'DOMAIN,b.test,b', 'DOMAIN,c.test,c', 'MATCH,jp']\n"
    ));
    assert_eq!(
        rules[..1],
        [field(
            json!({"domain": ["full:a.test", "full:b.test"]}),
            "us"
        )]
    );
    assert_eq!(rules[1]["balancerTag"], "c");
    let told = read.left_out_lines().join("\n");
    assert!(
        told.contains("proxy-providers.far.url: nothing is fetched"),
        "{told}"
    );
    assert!(!told.contains("own"), "{told}");
}

#[test]
fn who_may_come_in_is_said_only_where_it_is_not_everybody() {
    for (text, is_astray) in [
        ("lan-allowed-ips: ['0.0.0.0/0', '::/0']", false),
        ("lan-allowed-ips: ['0.0.0.0/0']", true),
        ("skip-auth-prefixes: [127.0.0.1/8]", false),
        (
            "skip-auth-prefixes: [127.0.0.1/8]\nauthentication: ['a:b']",
            true,
        ),
    ] {
        let read = read_text(&format!("{HK}{text}\n"));
        assert_eq!(!read.astray_lines().is_empty(), is_astray, "{text}");
    }
}

#[test]
fn programs_are_asked_for_in_the_words_of_xray() {
    let (read, rules) = carried(&clash(
        "- PROCESS-NAME,curl,hk\n\
         - PROCESS-PATH,/usr/bin/wget,DIRECT\n\
         - MATCH,DIRECT\n",
    ));
    assert_eq!(read.astray_lines(), [""; 0]);
    assert_eq!(rules[0]["process"], json!(["curl"]));
    assert_eq!(rules[1]["process"], json!(["/usr/bin/wget"]));
    let (read, rules) = carried(&sing_box(json!({"route": {"rules": [
        {"process_name": ["curl", "wget"], "outbound": "hk"},
        {"process_path": "/usr/bin/wget", "port": 80, "outbound": "direct"},
        {"process_name": "curl", "process_path": "/usr/bin/curl", "outbound": "hk"},
    ]}})));
    assert_eq!(rules[0]["process"], json!(["curl", "wget"]));
    assert_eq!(rules[1]["process"], json!(["/usr/bin/wget"]));
    // Both would have to hold.
    let told = read.astray_lines();
    assert!(
        told[0].contains("`process_path` is not carried over"),
        "{told:?}"
    );
}

#[test]
fn what_others_look_for_in_sessions_is_looked_for_here() {
    let sniffing_of = |text: &str| {
        let (read, _) = carried(text);
        assert_eq!(read.astray_lines(), [""; 0], "{text}");
        let written = write(&read, text, Target::Config).unwrap();
        let config = loaded(&written.text);
        let of = |config: &Config| config.inbounds[0].sniffing.clone();
        assert_eq!(of(&config), of(&read.config), "{}", written.text);
        of(&read.config)
    };
    let all = vec![Protocol::Http, Protocol::Tls, Protocol::Quic];
    let by_name = |overriding: Vec<Protocol>, route_only| {
        Some(sniffing::Settings {
            overriding,
            route_only,
            ..sniffing::Settings::default()
        })
    };
    let inbound = json!([{"type": "mixed", "tag": "in", "listen_port": 1080}]);
    let of_sing_box = |rules: Value| {
        let route = json!({"rules": rules});
        sniffing_of(&sing_box(json!({"inbounds": inbound, "route": route})))
    };
    let bittorrent = json!({"protocol": ["bittorrent", "quic"], "outbound": "direct"});
    assert_eq!(
        of_sing_box(json!([{"action": "sniff"}, bittorrent])),
        by_name(all.clone(), true)
    );
    assert_eq!(
        of_sing_box(json!([{"action": "sniff", "inbound": "in", "sniffer": ["tls", "dns"]}])),
        by_name(vec![Protocol::Tls], true)
    );
    assert_eq!(
        of_sing_box(json!([{"action": "sniff", "inbound": ["tun"]}])),
        None
    );
    assert_eq!(of_sing_box(json!([{"port": 1, "outbound": "hk"}])), None);
    let mut older = inbound.clone();
    older[0]["sniff"] = true.into();
    older[0]["sniff_override_destination"] = true.into();
    let older = sing_box(json!({"inbounds": older}));
    assert_eq!(sniffing_of(&older), by_name(all.clone(), false));

    let of_clash = |sniffer: &str| {
        let text = format!("mixed-port: 1080\n{HK}sniffer:\n{sniffer}");
        sniffing_of(&text)
    };
    assert_eq!(
        of_clash("  enable: true\n  sniff:\n    HTTP: {ports: [80]}\n    TLS: {ports: [443]}\n"),
        by_name(vec![Protocol::Http, Protocol::Tls], false)
    );
    assert_eq!(
        of_clash("  enable: true\n  override-destination: false\n  sniffing: [tls]\n"),
        by_name(vec![Protocol::Tls], true)
    );
    assert_eq!(of_clash("  enable: false\n  sniff: {TLS: {}}\n"), None);
    // What is never found here is asked for in vain.
    let (read, _) = carried(&sing_box(json!({"route": {"rules": [
        {"protocol": ["dns", "tls"], "outbound": "direct"},
    ]}})));
    assert!(read.astray_lines()[0].contains("`protocol` is not carried over"));
}

#[test]
fn what_never_holds_here_or_leaves_it_to_the_next_rule_is_no_rule() {
    let (read, rules) = carried(&clash(
        "- DOMAIN,a.test,PASS\n\
         - DOMAIN-WILDCARD,*.b.test,hk\n\
         - IN-NAME,one/two,hk\n\
         - IN-PORT,7891/7892,hk\n\
         - MATCH,DIRECT\n",
    ));
    assert_eq!(read.astray_lines(), [""; 0]);
    assert_eq!(rules[0]["domain"], json!(["regexp:^.*\\.b\\.test$"]));
    assert_eq!(rules[1]["inboundTag"], json!(["one", "two"]));
    assert_eq!(rules[2]["localPort"], "7891,7892");
    assert_eq!(rules.len(), 3);
    let (read, rules) = carried(&sing_box(json!({"route": {"final": "direct", "rules": [
        {"package_name": ["com.example"], "outbound": "hk"},
        {"domain": "a.test", "outbound": "hk", "udp_timeout": "1m", "udp_connect": false},
        {"ip_version": 6, "action": "reject"},
    ]}})));
    assert_eq!(read.astray_lines(), [""; 0]);
    assert_eq!(rules[0]["domain"], json!(["full:a.test"]));
    assert_eq!(rules[1]["ip"], json!(["::/0"]));
    assert_eq!(rules.len(), 2);
}

#[test]
fn what_goes_straight_there_by_what_the_file_says_does() {
    let first = |text: &str| {
        let (read, _) = carried(text);
        assert_eq!(read.astray_lines(), [""; 0], "{text}");
        read.config.outbounds[0].tag.as_deref().map(str::to_owned)
    };
    let direct = sing_box(json!({"route": {"final": "direct"}}));
    assert_eq!(first(&direct).as_deref(), Some("direct"));
    let text = format!("{}mode: direct\n", clash("- MATCH,hk\n"));
    assert_eq!(first(&text).as_deref(), Some("direct"));
}

const BESIDE: Outside<'static> = Outside {
    file: &beside,
    web: &web,
    is_for_pages: false,
};

/// Of a collection that is geodata, where this category is not.
const NOBODY_S: &str =
    "https://raw.githubusercontent.com/SagerNet/sing-geosite/rule-set/geosite-nobody-s.json";

/// Pages, and how they are asked for.
fn web(pages: Vec<Page>) -> Vec<Result<Vec<u8>, String>> {
    let one = |page: Page| {
        match page.url.as_str() {
        "https://a.example/nodes" if page.headers[0].1.contains("clash") => {
            let link = "trojan://p@e.example:443?security=tls#linked";
            Ok(link.into())
        }
        "https://a.example/own" if page.headers == [("user-agent".to_owned(), "me".to_owned())] => {
            Ok("proxies:\n- {name: far, type: trojan, server: f.example, port: 443, password: p}\n".into())
        }
        "https://a.example/names.yaml" => Ok("payload:\n- '+.n.test'\n".into()),
        "https://a.example/names.json" | NOBODY_S => {
            Ok(r#"{"version": 3, "rules": [{"domain_suffix": "n.test"}]}"#.into())
        }
        _ => Err("https://a.example/…: the server answers 404 Not Found".to_owned()),
    }
    };
    pages.into_iter().map(one).collect()
}

/// Files beside a config in `/etc/a`, and nothing else.
fn beside(path: &Path) -> Result<Vec<u8>, String> {
    let path: std::path::PathBuf = path.components().collect();
    let text = match path.to_str().unwrap() {
        "/etc/a/lists/names.yaml" => "payload:\n- '+.a.test'\n- b.test # b\n",
        "/etc/a/lists/nets.txt" => "# of nobody\n192.0.2.0/24\n",
        "/etc/a/lists/all.list" => "DOMAIN,c.test\nDST-PORT,25\n",
        "/etc/a/nodes.yaml" => {
            "proxies:\n- {name: us, type: trojan, server: c.example, port: 443, password: p}\n\
             - {name: old, type: trojan, server: d.example, port: 443, password: p}\n\
             - {name: ss, type: ss, server: d.example, port: 443, cipher: aes-128-gcm, password: p}\n"
        }
        "/etc/a/names.json" => r#"{"version": 3, "rules": [{"domain_suffix": "a.test"}]}"#,
        _ => return Err("No such file or directory".to_owned()),
    };
    Ok(text.into())
}

#[test]
fn lists_in_files_beside_a_config_are_read() {
    let text = format!(
        "{HK}proxy-providers:\n\
         \x20 own: {{type: file, path: ./nodes.yaml, exclude-filter: old, exclude-type: ss, override: {{additional-prefix: 'A ', skip-cert-verify: false, dialer-proxy: hk}}}}\n\
         rule-providers:\n\
         \x20 names: {{type: file, behavior: domain, path: ./lists/names.yaml}}\n\
         \x20 nets: {{type: http, behavior: ipcidr, format: text, url: 'https://a.example/nets', path: lists/nets.txt}}\n\
         \x20 all: {{type: file, behavior: classical, format: text, path: /etc/a/lists/all.list}}\n\
         \x20 gone: {{type: file, behavior: domain, path: gone.yaml}}\n\
         \x20 later: {{type: http, behavior: domain, url: 'https://a.example/later', path: later.yaml}}\n\
         proxy-groups:\n- {{name: a, type: select, use: [own]}}\n\
         rules: ['RULE-SET,names,a', 'RULE-SET,nets,jp,no-resolve', 'RULE-SET,all,hk', 'RULE-SET,gone,hk', 'RULE-SET,later,hk', 'MATCH,jp']\n"
    );
    let clash = read(&text, "/etc/a/config.yaml", BESIDE).unwrap();
    let written = write(&clash, &text, Target::Config).unwrap();
    let config: Value = serde_json::from_str(&written.text).unwrap();
    assert_eq!(
        config["routing"]["rules"],
        json!([
            field(json!({"domain": ["domain:a.test", "full:b.test"]}), "A us"),
            field(json!({"ip": ["192.0.2.0/24"]}), "jp"),
            field(json!({"domain": ["full:c.test"]}), "hk"),
            field(json!({"port": "25"}), "hk"),
        ])
    );
    let tags = clash.config.outbounds.iter().filter(|one| one.leads_away());
    let tags: Vec<(Option<&str>, bool)> = tags
        .map(|one| (one.tag.as_deref(), one.through.is_some()))
        .collect();
    assert_eq!(
        tags,
        [
            (Some("jp"), false),
            (Some("hk"), false),
            (Some("A us"), true)
        ]
    );
    let told = clash.left_out_lines().join("\n");
    assert!(told.contains("`gone.yaml`: No such file"), "{told}");
    assert!(!told.contains("later.yaml"), "{told}");
    let astray = clash.astray_lines().join("\n");
    assert!(astray.contains("2 rules of kind `RULE-SET`"), "{astray}");

    let text = sing_box(json!({"route": {"final": "hk",
        "rule_set": [{"type": "local", "tag": "names", "format": "source", "path": "names.json"},
                     {"type": "local", "tag": "gone", "format": "source", "path": "gone.json"}],
        "rules": [{"rule_set": "names", "outbound": "direct"}]}}));
    let sing_box = read(&text, "/etc/a/config.json", BESIDE).unwrap();
    let written = write(&sing_box, &text, Target::Config).unwrap();
    let config: Value = serde_json::from_str(&written.text).unwrap();
    assert_eq!(
        config["routing"]["rules"],
        json!([field(json!({"domain": ["domain:a.test"]}), "direct")])
    );
    let told = sing_box.left_out_lines().join("\n");
    assert!(told.contains("`gone.json`: No such file"), "{told}");
}

#[test]
fn what_a_file_names_on_the_web_is_read_as_well() {
    let text = format!(
        "{HK}proxy-providers:\n\
         \x20 links: {{type: http, url: 'https://a.example/nodes', path: ./gone.yaml}}\n\
         \x20 own: {{type: http, url: 'https://a.example/own', header: {{user-agent: [me]}}, override: {{additional-prefix: 'A '}}}}\n\
         \x20 lost: {{type: http, url: 'https://a.example/lost'}}\n\
         \x20 far: {{type: http, url: 'https://a.example/own', proxy: hk}}\n\
         rule-providers:\n\
         \x20 names: {{type: http, behavior: domain, url: 'https://a.example/names.yaml'}}\n\
         proxy-groups:\n- {{name: a, type: url-test, use: [links, own, lost]}}\n\
         rules: ['RULE-SET,names,hk', 'MATCH,a']\n"
    );
    let clash = read(&text, "/etc/a/config.yaml", BESIDE).unwrap();
    let tags = clash.config.outbounds.iter().filter(|one| one.leads_away());
    let tags: Vec<Option<&str>> = tags.map(|one| one.tag.as_deref()).collect();
    for tag in ["linked", "A far"] {
        assert!(tags.contains(&Some(tag)), "{tags:?}");
    }
    let written = write(&clash, &text, Target::Config).unwrap();
    let config: Value = serde_json::from_str(&written.text).unwrap();
    assert_eq!(
        config["routing"]["rules"][0],
        field(json!({"domain": ["domain:n.test"]}), "hk")
    );
    let told = clash.left_out_lines().join("\n");
    assert!(
        told.contains("a.example/…: the server answers 404"),
        "{told}"
    );

    let set = |url: &str, detour: Value| {
        sing_box(json!({"route": {"final": "hk",
            "rule_set": [{"type": "remote", "tag": "names", "url": url, "download_detour": detour}],
            "rules": [{"rule_set": "names", "outbound": "direct"}]}}))
    };
    let url = "https://a.example/names.json";
    for url in [url, NOBODY_S] {
        let text = set(url, json!("direct"));
        let straight = read(&text, "/etc/a/config.json", BESIDE).unwrap();
        let written = write(&straight, &text, Target::Config).unwrap();
        let config: Value = serde_json::from_str(&written.text).unwrap();
        assert_eq!(
            config["routing"]["rules"],
            json!([field(json!({"domain": ["domain:n.test"]}), "direct")])
        );
    }
}

/// Each goes its way, and a text that is read for these leads there.
#[test]
fn what_a_file_names_on_the_web_is_fetched_by_what_it_says() {
    let asked = |text: &str, is_for_pages| {
        let ways: RefCell<Vec<Way>> = RefCell::default();
        let web = |pages: Vec<Page>| {
            let later = |page: Page| {
                RefCell::borrow_mut(&ways).push(page.way);
                Err("later".to_owned())
            };
            pages.into_iter().map(later).collect()
        };
        let outside = Outside {
            web: &web,
            is_for_pages,
            ..BESIDE
        };
        let read = read(text, "x", outside).unwrap();
        let rules = read.config.routing.rules.iter().filter_map(|rule| {
            let inbound = rule.conditions.inbounds.first()?;
            let target = match &*rule.target {
                Led::Outbound(tag) => tag.to_string(),
                Led::Balancer(tag) => format!("balancer {tag}"),
            };
            Some(format!("{inbound}: {target}"))
        });
        let rules: BTreeSet<String> = rules.collect();
        (rules.into_iter().collect::<Vec<_>>(), ways.into_inner())
    };
    let clash = format!(
        "{HK}proxy-providers:\n\
         \x20 far: {{type: http, url: 'https://a.example/1', proxy: chosen}}\n\
         \x20 best: {{type: http, url: 'https://a.example/2', proxy: soonest}}\n\
         \x20 lost: {{type: http, url: 'https://a.example/3', proxy: nobody}}\n\
         \x20 near: {{type: http, url: 'https://a.example/4', proxy: DIRECT}}\n\
         rule-providers:\n\
         \x20 names: {{type: http, behavior: domain, url: 'https://a.example/5'}}\n\
         proxy-groups:\n- {{name: chosen, type: select, proxies: [hk]}}\n- {{name: soonest, type: url-test, proxies: [hk, jp]}}\n\
         rules: ['RULE-SET,names,DIRECT', 'MATCH,hk']\n"
    );
    let by = |name: &str| Way::By(name.to_owned());
    let (rules, mut ways) = asked(&clash, true);
    ways.sort_by_key(Way::inbound);
    assert_eq!(
        ways,
        [
            Way::Straight,
            Way::Rules,
            by("chosen"),
            by("nobody"),
            by("soonest")
        ]
    );
    assert_eq!(
        rules,
        ["pages by chosen: hk", "pages by soonest: balancer soonest"]
    );
    assert_eq!(asked(&clash, false).0, Vec::<String>::new());

    for (detour, end, way) in [
        (Value::Null, json!({"final": "hk"}), by("hk")),
        (Value::Null, json!({}), by("hk")),
        (Value::Null, json!({"final": "direct"}), Way::Straight),
        (json!("hk"), json!({"final": "direct"}), by("hk")),
        (json!("direct"), json!({"final": "hk"}), Way::Straight),
    ] {
        let mut route = end;
        let url = "https://a.example/names.json";
        route["rule_set"] = json!([
            {"type": "remote", "tag": "names", "url": url, "download_detour": detour}]);
        let (rules, ways) = asked(&sing_box(json!({ "route": route })), true);
        let led = way.inbound().map(|inbound| match &way {
            Way::By(name) => format!("{inbound}: {name}"),
            _ => inbound,
        });
        assert_eq!((rules, ways), (led.into_iter().collect(), vec![way]));
    }
}

/// What the next rule decides, what an own way has, and what nothing is in, as mihomo has it.
#[test]
fn groups_without_members_and_listeners_with_a_way_of_their_own() {
    let (read, rules) = carried(&format!(
        "{HK}mixed-port: 2080\nport: 2080\nredir-port: 2081\n\
         listeners:\n- {{name: own, type: mixed, port: 2082, proxy: jp}}\n- {{type: socks, port: 2083, proxy: Main}}\n\
         proxy-groups:\n\
         - {{name: Game, type: select, proxies: [PASS, jp]}}\n\
         - {{name: Games, type: select, proxies: [Game, jp]}}\n\
         - {{name: Empty, type: url-test, include-all: true, filter: XX}}\n\
         - {{name: Other, type: select, include-all: true, filter: XX, empty-fallback: REJECT}}\n\
         - {{name: Main, type: select, proxies: [Empty, jp]}}\n\
         rules: ['DOMAIN,a.test,Game', 'DOMAIN,b.test,Games', 'DOMAIN,c.test,Empty', 'DOMAIN,d.test,Main', 'DOMAIN,e.test,Other', 'MATCH,hk']\n"
    ));
    assert_eq!(
        rules,
        [
            field(json!({"inboundTag": ["own"]}), "jp"),
            field(json!({"inboundTag": ["listeners[1]"]}), "direct"),
            field(json!({"domain": ["full:c.test", "full:d.test"]}), "direct"),
            field(json!({"domain": ["full:e.test"]}), "reject"),
        ]
    );
    assert_eq!(read.astray_lines(), [""; 0]);
    let ports = read.config.inbounds.iter().map(|one| one.ports[0].from);
    assert_eq!(ports.collect::<Vec<_>>(), [2080, 2082, 2083]);
    let told = read.left_out_lines().join("\n");
    assert!(told.contains("`mixed-port` takes both"), "{told}");
    assert!(told.contains("redir-port: such inbounds"), "{told}");
    // Whoever could not be fetched would have been in it.
    let (read, _) = carried(&format!(
        "{HK}proxy-providers:\n\x20 far: {{type: http, url: 'https://a.example/lost'}}\n\
         proxy-groups:\n- {{name: a, type: select, use: [far]}}\nrules: ['DOMAIN,a.test,a', 'MATCH,hk']\n"
    ));
    let told = read.astray_lines().join("\n");
    assert!(told.contains("1 rule to `a`"), "{told}");
    // Only such ports would take nothing.
    let (read, _) = carried(&format!("{HK}redir-port: 2081\n"));
    assert!(!read.astray_lines().is_empty());
}

#[test]
fn ports_that_are_made_look_into_sessions_as_those_that_are_lost() {
    let rules = json!([{"action": "sniff"}, {"protocol": ["stun", "ssh"], "outbound": "direct"}]);
    let tun = json!([{"type": "tun", "tag": "tun-in"}]);
    let text = sing_box(json!({"inbounds": tun, "route": {"rules": rules, "final": "hk"}}));
    let read = read_text(&text).with_inbounds(PORTS);
    assert_eq!(read.config.inbounds.len(), 2);
    for inbound in &read.config.inbounds {
        assert!(inbound.sniffing.is_some(), "{}", inbound.name);
    }
    let text =
        format!("{HK}sniffer: {{enable: true, sniff: {{TLS: {{}}}}}}\nrules: ['MATCH,hk']\n");
    let read = read_text(&text).with_inbounds(PORTS);
    assert!(read.config.inbounds[0].sniffing.is_some());
    let text = sing_box(json!({"inbounds": tun}));
    let read = read_text(&text).with_inbounds(PORTS);
    assert!(read.config.inbounds[0].sniffing.is_none());
}
