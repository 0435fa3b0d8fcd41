//! Groups as people write them, and what they come to.

mod members;
mod ways;

use std::time::Duration;

use serde_json::{Value, json};

use crate::dialect::form::{Outside, Read, Target, read, write};
use crate::dialect::v2ray::{self, Input};
use crate::observatory::Kind;
use crate::routing::{Among, BalancerSettings, Strategy, Target as Lead};

const PROXIES: &str = "proxies:\n- {name: hk, type: trojan, server: a.example, port: 443, password: p}\n\
    - {name: hk 2, type: trojan, server: b.example, port: 443, password: p}\n\
    - {name: jp, type: vless, server: c.example, port: 443, tls: true, uuid: b831381d-6324-4d53-ad4f-8cda48b30811}\n\
    - {name: hy, type: hysteria2, server: d.example, port: 443, password: p}\n";

fn clash(groups: &[&str], rules: &[&str]) -> String {
    let groups: String = groups.iter().map(|one| format!("- {one}\n")).collect();
    let rules: String = rules.iter().map(|one| format!("- '{one}'\n")).collect();
    format!("{PROXIES}proxy-groups:\n{groups}rules:\n{rules}")
}

fn read_text(text: &str) -> Read {
    let read = read(text, "x", Outside::NOTHING);
    read.unwrap_or_else(|e| panic!("{e:#?}\n{text}"))
}

fn only(read: &Read) -> &BalancerSettings {
    let [only] = &read.config.routing.balancers[..] else {
        panic!("{:#?}\n{:#?}", read.config.routing, read.left_out_lines());
    };
    only
}

/// What is said of all but the proxy that is not built.
fn besides_hy(read: &Read) -> Vec<String> {
    let lines = read.left_out_lines().into_iter();
    lines.filter(|line| !line.contains("hysteria2")).collect()
}

/// Strategy, selectors and fallback.
fn shape(balancer: &BalancerSettings) -> (Strategy, Vec<String>, String) {
    let fallback = balancer.fallback.as_ref().expect("there is one");
    let strategy = balancer.strategy.value.clone();
    (
        strategy,
        balancer.selectors.value.clone(),
        fallback.to_string(),
    )
}

fn texts(all: &[&str]) -> Vec<String> {
    all.iter().map(|text| (*text).to_owned()).collect()
}

#[test]
fn each_kind_chooses_as_it_does_there() {
    for (group, strategy) in [
        ("type: url-test", Strategy::LEAST_PING),
        ("type: fallback", Strategy::FirstAlive),
        (
            "type: load-balance, strategy: round-robin",
            Strategy::RoundRobin(Among::Alive),
        ),
        ("type: load-balance", Strategy::FirstAlive),
        (
            "type: load-balance, strategy: sticky-sessions",
            Strategy::FirstAlive,
        ),
    ] {
        let group = format!(
            "{{name: g, {group}, proxies: [jp, hk 2], url: 'http://p.test/204', interval: 7, timeout: 900}}"
        );
        let read = read_text(&clash(&[&group], &["DOMAIN,a.test,g", "MATCH,hk"]));
        let balancer = only(&read);
        let expected = (strategy, texts(&["jp", "hk 2"]), "jp".to_owned());
        assert_eq!(shape(balancer), expected);
        let [observer] = &read.config.observers[..] else {
            panic!("{:#?}", read.config.observers);
        };
        assert_eq!(*observer.selectors, texts(&["jp", "hk 2"]));
        let Kind::Burst(probe) = &observer.kind else {
            panic!("{observer:#?}");
        };
        assert_eq!(probe.url.to_string(), "http://p.test/204");
        assert_eq!(
            (probe.interval.as_secs(), probe.timeout.as_millis()),
            (7, 900)
        );
        assert_eq!(probe.sampling, 1, "each member once in an interval");
        assert_eq!(read.astray_lines(), [""; 0]);
        let says_so = read
            .left_out_lines()
            .iter()
            .any(|line| line.contains("ends logins") || line.contains("`load-balance`"));
        assert!(!says_so || group.contains("load-balance"));
        assert_eq!(
            says_so,
            group.contains("load-balance") && !group.contains("round-robin"),
            "{:?}",
            read.left_out_lines()
        );
    }
}

/// Both programs and V2Ray's form say it again.
#[test]
fn tolerance_status_and_failures_are_carried_over() {
    let probe = |read: &Read| {
        let Kind::Burst(probe) = &read.config.observers[0].kind else {
            panic!("{:#?}", read.config.observers);
        };
        let max = probe.max_failed.map(|max| max.get());
        (probe.expected.to_string(), max)
    };
    let tolerance = |read: &Read| match &*only(read).strategy {
        Strategy::LeastPing { keep_within } => keep_within.as_millis(),
        other => panic!("{other:?}"),
    };
    for (keys, status, failed, kept) in [
        ("", "*", 5, 0),
        (
            "tolerance: 80, expected-status: '*', max-failed-times: 0",
            "*",
            5,
            80,
        ),
        ("tolerance: 1, expected-status: 204", "204", 5, 1),
        (
            "expected-status: '200-299, 301', max-failed-times: 2",
            "200-299/301",
            2,
            0,
        ),
    ] {
        let text = clash(
            &[&format!(
                "{{name: g, type: url-test, proxies: [hk 2, jp], {keys}}}"
            )],
            &["MATCH,g"],
        );
        let read = read_text(&text);
        assert_eq!(besides_hy(&read), [""; 0]);
        assert_eq!(probe(&read), (status.to_owned(), Some(failed)), "{keys}");
        assert_eq!(tolerance(&read), kept, "{keys}");
        for to in [Target::Config, Target::Clash] {
            let written = write(&read, &text, to).expect("it can be written");
            let lines: Vec<&String> = written
                .left_out
                .iter()
                .filter(|line| !line.contains("hysteria2"))
                .collect();
            assert_eq!(lines, [""; 0]);
            let again = read_text(&written.text);
            assert_eq!(probe(&again), probe(&read), "{}", written.text);
            assert_eq!(tolerance(&again), kept, "{}", written.text);
        }
        let written = write(&read, &text, Target::SingBox).expect("it can be written");
        let says_so = |line: &String| line.contains("`expectedStatus`");
        assert_eq!(written.left_out.iter().any(says_so), status != "*");
        // 1 is the least that there is.
        let expected = if kept == 1 { 0 } else { kept };
        assert_eq!(
            tolerance(&read_text(&written.text)),
            expected,
            "{}",
            written.text
        );
    }
    // sing-box's own is 50 ms, also where it is said to be none.
    for (said, kept) in [
        (json!(null), 50),
        (json!(0), 50),
        (json!(1), 0),
        (json!(200), 200),
    ] {
        let group = json!([{"type": "urltest", "tag": "auto", "outbounds": ["jp", "hk"], "tolerance": said}]);
        let read = sing_box(group, json!({"final": "auto"}));
        assert_eq!(tolerance(&read), kept, "{said}");
        assert_eq!(probe(&read), ("*".to_owned(), None));
    }
}

#[test]
fn what_no_rule_takes_may_go_by_a_group() {
    let auto = "{name: auto, type: url-test, proxies: [jp, hk]}";
    let select = "{name: PROXY, type: select, proxies: [auto, DIRECT]}";
    let text = clash(&[select, auto], &["DOMAIN,a.test,DIRECT", "MATCH,PROXY"]);
    let read = read_text(&text);
    assert_eq!(only(&read).tag, "auto");
    assert_eq!(
        read.config.routing.default_balancer().map(|one| &*one.tag),
        Some("auto")
    );
    assert_eq!(read.config.outbounds[0].tag.as_deref(), Some("jp"));
    assert_eq!(besides_hy(&read), [""; 0]);
    // What is written of it is the same to V2Ray's reader.
    let written = write(&read, &text, Target::Config).expect("it can be written");
    let input = Input::Text {
        name: "c".to_owned(),
        text: written.text.clone(),
    };
    let loaded = v2ray::load(&[input], v2ray::Options::default());
    let config = loaded
        .config
        .unwrap_or_else(|| panic!("{:?}", loaded.errors));
    assert_eq!(config.routing, read.config.routing, "{}", written.text);
    assert_eq!(config.observers, read.config.observers, "{}", written.text);
    assert!(
        written.text.contains("burstObservatory"),
        "Xray knows it there alone"
    );
}

#[test]
fn several_urls_have_several_observers() {
    let read = read_text(&clash(
        &[
            "{name: a, type: url-test, proxies: [jp, hk], url: 'http://a.test/'}",
            "{name: b, type: fallback, proxies: [hk 2, jp], url: 'http://b.test/'}",
            "{name: c, type: fallback, proxies: [hk, jp], url: 'http://a.test/'}",
        ],
        &[
            "DOMAIN,a.test,a",
            "DOMAIN,b.test,b",
            "DOMAIN,d.test,c",
            "MATCH,hk",
        ],
    ));
    let observers: Vec<&str> = read.config.observers.iter().map(|one| &*one.tag).collect();
    assert_eq!(observers, ["a", "b"]);
    let asked: Vec<&str> = read
        .config
        .routing
        .balancers
        .iter()
        .map(|one| one.observer.as_str())
        .collect();
    assert_eq!(asked, ["a", "b", "a"]);
}

/// What has no right way is told with its place, and is an error to `mobula run` where sessions would go another way.
#[test]
fn what_is_no_group_is_told() {
    for (groups, rule, expected, is_astray) in [
        (
            &["{name: g, type: relay, proxies: [hk, jp]}"][..],
            "MATCH,g",
            "proxy-groups[0].type: chains are not built as groups",
            true,
        ),
        (
            &["{name: g, type: smart, proxies: [hk, jp]}"],
            "MATCH,g",
            "groups of type `smart` are not built",
            true,
        ),
        (
            &["{name: g, type: url-test, use: [p]}"],
            "MATCH,g",
            "what no rule takes goes by `g`",
            true,
        ),
        (
            &["{name: g, type: url-test, use: [p], proxies: [hk, jp]}"],
            "MATCH,g",
            "proxy-groups[0].use: there are no proxies of it",
            false,
        ),
        (
            &["{name: g, type: url-test}"],
            "DOMAIN,a.test,g",
            "1 rule to `g`",
            true,
        ),
        (
            &["{name: g, type: url-test}"],
            "MATCH,hk",
            "`g`: there is nothing in it",
            false,
        ),
        (
            &["{name: g, type: url-test, proxies: [hy]}"],
            "MATCH,g",
            "`g`: none of its members is carried over",
            false,
        ),
        (
            &["{name: g, type: url-test, proxies: [hy, nobody, hk, jp]}"],
            "MATCH,g",
            "`g`: `hy`, `nobody` are not carried over",
            false,
        ),
        (
            &[
                "{name: g, type: select, proxies: [h, hk]}",
                "{name: h, type: url-test, proxies: [g, hk]}",
            ],
            "MATCH,hk",
            "`h`: it is among its own members",
            true,
        ),
        (
            &["{name: g, type: url-test, proxies: [g, hk]}"],
            "MATCH,g",
            "`g`: it is among its own members",
            true,
        ),
        (
            &[
                "{name: g, type: url-test, proxies: [hk, jp]}",
                "{name: g, type: select, proxies: [jp]}",
            ],
            "MATCH,g",
            "proxy-groups[1]: `g`: there is a group of this name already",
            true,
        ),
        (
            &["{name: hk, type: select, proxies: [jp]}"],
            "MATCH,hk",
            "`hk`: an outbound has this name as well",
            true,
        ),
        (
            &["{name: g, type: url-test, include-all: true, filter: '^(jp'}"],
            "MATCH,g",
            "proxy-groups[0].filter: the expression `^(jp` cannot be read here",
            true,
        ),
        (
            &["{name: g, type: url-test, proxies: [hk, jp], expected-status: 2xx}"],
            "MATCH,g",
            "proxy-groups[0].expected-status: `2xx` is not a status",
            false,
        ),
        (
            &["{name: g, type: url-test, proxies: [hk, jp], url: 'nowhere'}"],
            "MATCH,g",
            "proxy-groups[0].url: `nowhere` is not a URL",
            false,
        ),
        (
            &["{name: g, type: url-test, proxies: [hk, jp]}"],
            "MATCH,hk",
            "proxy-groups[0]: `url-test`: nothing leads to `g` here",
            false,
        ),
        (
            &["{name: g, type: select, proxies: [hy, jp]}"],
            "MATCH,g",
            "`jp` takes the place of `g`",
            false,
        ),
    ] {
        let read = read_text(&clash(groups, &[rule]));
        let lines = if is_astray {
            &read.astray_lines()
        } else {
            &read.left_out_lines()
        };
        assert!(
            lines.iter().any(|line| line.contains(expected)),
            "{expected}\n{lines:#?}\n{:#?}",
            read.left_out_lines()
        );
    }
    // One that has but one member does not choose.
    let read = read_text(&clash(
        &["{name: g, type: fallback, proxies: [jp]}"],
        &["MATCH,g"],
    ));
    assert!(
        read.config.routing.balancers.is_empty() && besides_hy(&read).is_empty(),
        "{:?}",
        read.left_out_lines()
    );
    assert_eq!(read.config.outbounds[0].tag.as_deref(), Some("jp"));
}

/// What mihomo passes over in silence.
#[test]
fn a_carrier_that_a_proxy_cannot_have_is_told_of() {
    for (kind, network, told) in [
        ("socks5", "ws", true),
        ("http", "grpc", true),
        ("socks5", "tcp", false),
        ("http", "TCP", false),
    ] {
        let text = format!(
            "proxies:\n- {{name: a, type: {kind}, server: a.example, port: 443, network: {network}}}\n"
        );
        let read = read_text(&text);
        let line = format!("proxies[0].network: `{kind}` has no carriers there: it is plain TCP");
        assert_eq!(
            read.left_out_lines().iter().any(|one| one.contains(&line)),
            told,
            "{:?}",
            read.left_out_lines()
        );
    }
}

#[test]
fn many_groups_of_a_stranger_are_bounded() {
    let groups: String = (0..3000)
        .map(|n| {
            format!(
                "- {{name: g{n}, type: url-test, include-all: true, proxies: [g{}]}}\n",
                n + 1
            )
        })
        .collect();
    let proxies: String = (0..300)
        .map(|n| {
            format!("- {{name: p{n}, type: trojan, server: a.example, port: 443, password: p}}\n")
        })
        .collect();
    let text = format!("proxies:\n{proxies}proxy-groups:\n{groups}rules: ['MATCH,g0']\n");
    let read = read_text(&text);
    assert!(
        read.astray_lines()
            .iter()
            .any(|line| line.contains("200000 proxies by now")),
        "{:?}",
        read.astray_lines().first()
    );
}

fn sing_box(outbounds: Value, route: Value) -> Read {
    let mut all = json!([
        {"type": "trojan", "tag": "hk", "server": "a.example", "server_port": 443, "password": "p"},
        {"type": "trojan", "tag": "jp", "server": "b.example", "server_port": 443, "password": "p"},
        {"type": "direct", "tag": "direct"},
    ]);
    if let (Some(all), Some(more)) = (all.as_array_mut(), outbounds.as_array()) {
        all.extend(more.iter().cloned());
    }
    read_text(&json!({"outbounds": all, "route": route}).to_string())
}

#[test]
fn urltest_of_sing_box_is_the_one_that_answers_soonest() {
    let groups = json!([
        {"type": "selector", "tag": "s", "outbounds": ["hk", "auto"], "default": "auto"},
        {"type": "urltest", "tag": "auto", "outbounds": ["jp", "hk"], "url": "http://p.test/", "interval": "1m"},
    ]);
    let read = sing_box(groups.clone(), json!({"final": "s"}));
    // Its own tolerance.
    let keep_within = Duration::from_millis(50);
    let strategy = Strategy::LeastPing { keep_within };
    let expected = (strategy, texts(&["jp", "hk"]), "jp".to_owned());
    assert_eq!(shape(only(&read)), expected);
    assert_eq!(read.config.outbounds[0].tag.as_deref(), Some("jp"));
    assert_eq!(read.astray_lines(), [""; 0]);
    let rules = json!({"rules": [{"domain": ["a.test"], "outbound": "auto"}], "final": "direct"});
    let read = sing_box(groups, rules);
    assert_eq!(
        *read.config.routing.rules[0].target,
        Lead::Balancer("auto".to_owned())
    );
    assert_eq!(read.config.outbounds[0].tag.as_deref(), Some("direct"));
}

/// What is written of balancers is read as the same ones again, as far as the other program has them.
#[test]
fn balancers_are_groups_elsewhere() {
    let config = |strategy: &str| {
        let proxy = |tag: &str| {
            json!({"tag": tag, "protocol": "trojan", "settings": {"servers": [
            {"address": "a.example", "port": 443, "password": "p"}]}, "streamSettings": {"security": "tls"}})
        };
        json!({
            "outbounds": [proxy("way-a"), proxy("way-b"), proxy("other")],
            "routing": {
                "rules": [{"type": "field", "network": "tcp,udp", "balancerTag": "ways"}],
                "balancers": [{"tag": "ways", "selector": ["way-b", "way-a"], "fallbackTag": "way-b", "strategy": {"type": strategy}}]
            },
            "burstObservatory": {"subjectSelector": ["way-"], "pingConfig": {
                "destination": "http://p.test/204", "interval": "20s", "sampling": 1, "timeout": "2s"}}
        })
        .to_string()
    };
    for (strategy, to, again, said) in [
        ("leastPing", Target::Clash, Some(Strategy::LEAST_PING), ""),
        ("firstAlive", Target::Clash, Some(Strategy::FirstAlive), ""),
        (
            "roundRobin",
            Target::Clash,
            Some(Strategy::RoundRobin(Among::Alive)),
            "",
        ),
        (
            "random",
            Target::Clash,
            Some(Strategy::RoundRobin(Among::Alive)),
            "routing.balancers[0].strategy: there is no word for `random`: they take turns",
        ),
        (
            "leastLoad",
            Target::Clash,
            Some(Strategy::LEAST_PING),
            "no word for `leastLoad`",
        ),
        ("leastPing", Target::SingBox, Some(Strategy::LEAST_PING), ""),
        (
            "firstAlive",
            Target::SingBox,
            None,
            "no word for `firstAlive`: the first carries everything",
        ),
        ("random", Target::SingBox, None, "no word for `random`"),
    ] {
        let text = config(strategy);
        let read = read_text(&text);
        let written = write(&read, &text, to).expect("it can be written");
        let lines = written.left_out.join("\n");
        let of_strategy = |line: &&String| line.contains("strategy");
        assert_eq!(
            written.left_out.iter().any(|line| of_strategy(&line)),
            !said.is_empty(),
            "{lines}"
        );
        assert!(
            lines.contains(said) && !lines.contains("routing.rules"),
            "{lines}"
        );
        let found = read_text(&written.text);
        assert_eq!(found.astray_lines(), [""; 0]);
        match again {
            Some(strategy) => {
                let balancer = only(&found);
                assert_eq!(*balancer.strategy, strategy, "{}", written.text);
                let Kind::Burst(probe) = &found.config.observers[0].kind else {
                    panic!("{}", written.text);
                };
                assert_eq!(probe.url.to_string(), "http://p.test/204");
                assert_eq!(probe.interval.as_secs(), 20);
                let mut selectors = balancer.selectors.value.clone();
                if strategy != Strategy::FirstAlive {
                    selectors.sort();
                    assert_eq!(selectors, texts(&["way-a", "way-b"]));
                } else {
                    assert_eq!(selectors, texts(&["way-b", "way-a"]));
                }
                assert!(
                    found.config.routing.default_balancer().is_some(),
                    "{}",
                    written.text
                );
            }
            None => {
                let first = found.config.outbounds[0].tag.as_deref();
                let expected = if strategy == "firstAlive" {
                    "way-b"
                } else {
                    "way-a"
                };
                assert_eq!(first, Some(expected), "{}", written.text);
            }
        }
    }
}
