//! Who is in a group, and who is its first.

use super::*;

#[test]
fn members_are_known_by_the_whole_of_their_names() {
    let group = "{name: g, type: url-test, proxies: [hk, jp]}";
    let read = read_text(&clash(&[group], &["DOMAIN,a.test,hk", "MATCH,g"]));
    // `hk 2` is no member, and begins with the name of one.
    assert_eq!(*only(&read).selectors, texts(&["hk.", "jp"]));
    let tags: Vec<_> = read
        .config
        .outbounds
        .iter()
        .filter_map(|one| one.tag.as_deref())
        .collect();
    assert_eq!(tags, ["hk.", "hk 2", "jp"]);
    assert_eq!(
        *read.config.routing.rules[0].target,
        Lead::Outbound("hk.".into())
    );
    let group = "{name: g, type: fallback, proxies: [hk 2, jp, hk]}";
    let read = read_text(&clash(&[group], &["MATCH,g"]));
    assert_eq!(*only(&read).selectors, texts(&["hk 2", "jp", "hk"]));
}

#[test]
fn members_are_chosen_by_filters() {
    for (group, expected) in [
        ("include-all: true", &["hk", "hk 2", "jp"][..]),
        (
            "include-all-proxies: true, filter: '(?i)HK`^jp'",
            &["hk", "hk 2", "jp"],
        ),
        ("include-all: true, filter: hk", &["hk", "hk 2"]),
        // The order of one list is that of names, whatever the expressions are.
        ("include-all: true, filter: 'jp`hk'", &["hk", "hk 2", "jp"]),
        ("include-all: true, filter: '^(?!jp).*$'", &["hk", "hk 2"]),
        ("include-all: true, filter: '(?<=hk) 2|jp'", &["hk 2", "jp"]),
        (
            r"include-all: true, filter: '^(?!.*\b2\b).*$'",
            &["hk", "jp"],
        ),
        (
            r"include-all: true, filter: '^(?!.*(香港|\b2\b)).*\w'",
            &["hk", "jp"],
        ),
        (
            "proxies: [jp, hk], include-all: true, exclude-filter: ' 2$'",
            &["jp", "hk"],
        ),
        (
            "include-all: true, exclude-type: 'Vless|ss'",
            &["hk", "hk 2"],
        ),
        ("proxies: [jp, DIRECT, REJECT]", &["jp", "direct", "reject"]),
    ] {
        let group = format!("{{name: g, type: fallback, {group}}}");
        let read = read_text(&clash(&[&group], &["MATCH,g"]));
        let selectors: Vec<&str> = only(&read)
            .selectors
            .iter()
            .map(|tag| tag.trim_end_matches('.'))
            .collect();
        assert_eq!(selectors, expected, "{group}");
        for tag in only(&read).selectors.iter() {
            let is_there = read
                .config
                .outbounds
                .iter()
                .any(|one| one.tag.as_deref() == Some(tag));
            assert!(is_there, "{tag}");
        }
    }
}

#[test]
fn of_all_proxies_the_first_is_the_first_by_name() {
    let nodes = |names: &[&str]| {
        let node = |name: &&str| {
            format!("{{name: {name}, type: trojan, server: a.example, port: 443, password: p}}")
        };
        names.iter().map(node).collect::<Vec<_>>().join(", ")
    };
    let providers = format!(
        "proxy-providers:\n  z: {{type: inline, payload: [{}]}}\n  a: {{type: inline, payload: [{}]}}\n",
        nodes(&["zz m", "zz a"]),
        nodes(&["aa x", "aa m"])
    );
    let twice = nodes(&["c", "x c"]).replace("x c", "c");
    let providers = format!("{providers}  c: {{type: inline, payload: [{twice}]}}\n");
    let own = nodes(&["b m", "B", "c"]);
    for (group, expected) in [
        (
            "include-all: true",
            &[
                "B", "b m", "c", "aa x", "aa m", "c 2", "c 3", "zz m", "zz a",
            ][..],
        ),
        (
            "include-all: true, filter: 'm$`a'",
            &["b m", "aa m", "zz m", "aa x", "zz a"],
        ),
        ("use: [z, a]", &["zz m", "zz a", "aa x", "aa m"]),
        ("use: [z], filter: 'a$`m$'", &["zz a", "zz m"]),
        // `c` of a provider is not the file's own.
        ("use: [c]", &["c 2", "c 3"]),
    ] {
        let text = format!(
            "proxies: [{own}]\n{providers}proxy-groups: [{{name: g, type: fallback, {group}}}]\nrules: ['MATCH,g']\n"
        );
        let read = read_text(&text);
        assert_eq!(*only(&read).selectors, texts(expected), "{group}");
    }
    let chosen = |group: &str| {
        let text = format!(
            "proxies: [{own}]\nproxy-groups: [{{name: g, type: select, {group}}}]\nrules: ['MATCH,g']\n"
        );
        let read = read_text(&text);
        read.config.outbounds[0].tag.as_deref().map(str::to_owned)
    };
    assert_eq!(chosen("include-all: true").as_deref(), Some("B"));
    assert_eq!(
        chosen("proxies: [b m, c], default-selected: c").as_deref(),
        Some("c")
    );
    assert_eq!(
        chosen("proxies: [b m, c], default-selected: B").as_deref(),
        Some("b m")
    );
}

#[test]
fn groups_in_groups_give_their_members() {
    let read = read_text(&clash(
        &[
            "{name: outer, type: fallback, proxies: [inner, by hand, hk]}",
            "{name: by hand, type: select, proxies: [hk 2, jp]}",
            "{name: inner, type: url-test, proxies: [jp, hk]}",
        ],
        &["MATCH,outer"],
    ));
    assert_eq!(*only(&read).selectors, texts(&["jp", "hk", "hk 2"]));
    let lines = read.left_out_lines().join("\n");
    assert!(!lines.contains("nothing leads"), "{lines}");
    assert!(
        lines.contains("x:7:3: proxy-groups[0]: `outer`: `inner` is among its members: one choice"),
        "{lines}"
    );
    assert_eq!(read.astray_lines(), [""; 0]);
}
