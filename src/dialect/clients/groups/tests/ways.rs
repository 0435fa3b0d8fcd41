//! Proxies that go through others, and through groups.

use super::*;

#[test]
fn what_goes_through_a_node_that_is_not_built_is_as_good_as_not_built() {
    for (group, policy) in [
        ("", "p"),
        ("{name: g, type: select, proxies: [p]}", "g"),
        ("{name: g, type: url-test, proxies: [p]}", "g"),
    ] {
        let text = format!(
            "proxies:\n- {{name: p, type: trojan, server: a.example, port: 443, password: p, dialer-proxy: h}}\n\
             - {{name: h, type: hysteria2, server: b.example, port: 443, password: p}}\n\
             - {{name: q, type: trojan, server: c.example, port: 443, password: p}}\n\
             proxy-groups: [{group}]\nrules: ['DOMAIN,a.test,DIRECT', 'MATCH,{policy}']\n"
        );
        let read = read_text(&text);
        let astray = read.astray_lines().join("\n");
        assert!(
            astray.contains("what no rule takes goes by"),
            "{group}: {astray}"
        );
    }
    let text = json!({"outbounds": [
        {"type": "trojan", "tag": "p", "server": "a.example", "server_port": 443, "password": "p", "detour": "h"},
        {"type": "direct", "tag": "d"},
        {"type": "hysteria2", "tag": "h", "server": "b.example"},
        {"type": "trojan", "tag": "q", "server": "c.example", "server_port": 443, "password": "p"},
    ], "route": {"final": "p"}});
    let astray = read_text(&text.to_string()).astray_lines().join("\n");
    assert!(
        astray.contains("everything goes by `p`, which is not carried over"),
        "{astray}"
    );
}

/// What goes through a group goes to a `loopback`, whose sessions the first rule leads to the group.
#[test]
fn a_proxy_may_go_through_a_group() {
    let landing = |through: &str| {
        format!(
            "- {{name: far, type: trojan, server: f.example, port: 443, password: p, dialer-proxy: {through}}}"
        )
    };
    let text = |through: &str, groups: &[&str], rules: &[&str]| {
        clash(groups, rules).replace(
            "proxy-groups:",
            &format!("{}\nproxy-groups:", landing(through)),
        )
    };
    let auto = "{name: auto, type: url-test, include-all: true}";
    let select = "{name: hand, type: select, proxies: [jp, auto]}";
    let all = "{name: all, type: select, proxies: [auto, far]}";
    let way = |read: &Read| {
        let of = |tag: &str| {
            let found = read
                .config
                .outbounds
                .iter()
                .find(|one| one.tag.as_deref() == Some(tag));
            found
                .unwrap_or_else(|| panic!("{tag}: {:#?}", read.config.outbounds))
                .clone()
        };
        let through = of("far")
            .through
            .expect("it goes through something")
            .tag
            .to_string();
        let inbound = of(&through)
            .protocol
            .loopback()
            .and_then(|one| one.inbound.clone());
        (through, inbound.map(|tag| tag.to_string()))
    };
    let to_auto = ("to auto".to_owned(), Some("to auto".to_owned()));
    for (groups, rules) in [
        (&[auto][..], &["MATCH,far"][..]),
        (
            &[auto],
            &["DOMAIN,a.test,DIRECT", "DOMAIN,b.test,auto", "MATCH,far"],
        ),
        (&[auto, all], &[]),
    ] {
        let read = read_text(&text("auto", groups, rules));
        assert_eq!(way(&read), to_auto);
        let balancer = only(&read);
        let mut members = balancer.selectors.value.clone();
        members.sort();
        assert_eq!(
            (&*balancer.tag, members),
            ("auto", texts(&["hk", "hk 2", "jp"])),
            "far is none of them"
        );
        let first = &read.config.routing.rules[0];
        assert_eq!(*first.target, Lead::Balancer("auto".to_owned()));
        assert_eq!(**first.conditions.inbounds, ["to auto".to_owned()]);
        assert_eq!(read.astray_lines(), [""; 0]);
        let lines = read.left_out_lines().join("\n");
        assert!(
            lines.contains("proxy-groups[0]: `auto`: `far` goes through it"),
            "{lines}"
        );
        for to in [Target::Clash, Target::SingBox, Target::Config] {
            let written = write(&read, "", to).expect("it can be written");
            let lost = written
                .left_out
                .iter()
                .find(|line| line.contains("far") || line.contains("to auto"));
            assert!(
                lost.is_none_or(|line| line.contains("none of its members")),
                "{lost:?}"
            );
            let again = read_text(&written.text);
            assert_eq!(way(&again), to_auto, "{}", written.text);
            assert_eq!(only(&again).selectors.len(), 3, "{}", written.text);
        }
    }
    // One that somebody chooses is an outbound.
    let read = read_text(&text("hand", &[select, auto], &["MATCH,far"]));
    assert_eq!(way(&read), ("jp".to_owned(), None));
    assert!(read.config.routing.balancers.is_empty());
    let read = read_text(&text("DIRECT", &[], &["MATCH,far"]));
    assert_eq!(way(&read), ("direct".to_owned(), None));
    // A group of nobody else is no way, and neither is one that is not there.
    for through in ["own", "nobody"] {
        let own = "{name: own, type: fallback, proxies: [far, hy]}";
        let read = read_text(&text(through, &[own], &["MATCH,hk"]));
        let lines = read.left_out_lines().join("\n");
        assert!(
            lines.contains(&format!(
                "it goes through `{through}`, which is not carried over"
            )) || through == "own",
            "{lines}"
        );
        let far = read
            .config
            .outbounds
            .iter()
            .any(|one| one.tag.as_deref() == Some("far"));
        assert!(!far || through == "own", "{lines}");
    }
}

/// Its members go through a proxy that is not built, so whoever goes through the group has no way either.
#[test]
fn a_group_that_loses_all_its_members_leaves_no_way_to_it() {
    let through = |name: &str, other: &str| {
        format!(
            "- {{name: {name}, type: trojan, server: a.example, port: 443, password: p, dialer-proxy: {other}}}\n"
        )
    };
    let proxies = [through("a", "hy"), through("b", "hy"), through("far", "g")].concat();
    let text = format!(
        "{PROXIES}{proxies}proxy-groups:\n- {{name: g, type: url-test, proxies: [a, b]}}\nrules: ['MATCH,jp']\n"
    );
    let read = read_text(&text);
    let tags: Vec<_> = read
        .config
        .outbounds
        .iter()
        .filter_map(|one| one.tag.as_deref())
        .collect();
    assert_eq!(tags, ["jp", "hk", "hk 2"]);
    assert!(
        read.config.routing.rules.is_empty(),
        "{:#?}",
        read.config.routing
    );
    assert!(read.config.routing.balancers.is_empty() && read.config.observers.is_empty());
    let lines = read.left_out_lines().join("\n");
    assert!(
        lines.contains("`far`): it goes through `g`, which is not carried over: it is left out"),
        "{lines}"
    );
}

/// A rule takes what comes out of the way to a group; nothing that comes in from outside has the same name.
#[test]
fn the_way_to_a_group_has_no_inbounds_tag() {
    let text = json!({
        "inbounds": [
            {"type": "socks", "tag": "to auto", "listen": "127.0.0.1", "listen_port": 1080},
            {"type": "http", "tag": "to auto-", "listen": "127.0.0.1", "listen_port": 1081}
        ],
        "outbounds": [
            {"type": "trojan", "tag": "far", "server": "f.example", "server_port": 443, "password": "p", "detour": "auto"},
            {"type": "trojan", "tag": "hk", "server": "a.example", "server_port": 443, "password": "p"},
            {"type": "trojan", "tag": "jp", "server": "b.example", "server_port": 443, "password": "p"},
            {"type": "urltest", "tag": "auto", "outbounds": ["hk", "jp"]}
        ],
        "route": {"final": "far"}
    });
    let read = read_text(&text.to_string());
    let inbounds: Vec<_> = read
        .config
        .inbounds
        .iter()
        .filter_map(|one| one.tag.as_deref())
        .collect();
    assert_eq!(inbounds, ["to auto", "to auto-"]);
    let [rule] = &read.config.routing.rules[..] else {
        panic!("{:#?}", read.config.routing);
    };
    assert_eq!(**rule.conditions.inbounds, ["to auto--".to_owned()]);
    let far = &read.config.outbounds[0];
    assert_eq!(far.through.as_ref().map(|one| &*one.tag), Some("to auto--"));
}
