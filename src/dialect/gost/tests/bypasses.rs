//! Bypasses: of services, hops and nodes.

use super::*;
use crate::matching::Name;

#[test]
fn a_bypass_is_a_list_of_rules() {
    let config = read("-L :1 -F ws://a.test:1,b.test:2?bypass=~10.0.0.0/8,.corp.test");
    // Only what is in the list goes through the chain.
    assert_eq!(targets(&config), ["[chain-0]", "[chain-0]", "direct"]);
    // One that has the target ends the chain in front of its hop.
    let config = read("-L :1 -F ws://a.test:1?bypass=.a.test -F ws://b.test:2?bypass=~10.0.0.0/8");
    let first = "chain-0/node-0";
    let last = "chain-0#0/node-0";
    assert!(
        config
            .outbounds
            .iter()
            .any(|o| o.tag.as_deref() == Some(first))
    );
    assert_eq!(targets(&config), ["direct", last, first]);
    // With `~` another one is behind it for none, and in front of it would have to be.
    let two = "-L :1 -F ws://a.test:1?bypass=~10.0.0.0/8 -F ws://b.test:2?bypass=.a.test";
    let told = errors(&load(&launch(two))).join("");
    assert!(
        told.contains("another bypass behind one with `~`"),
        "{told}"
    );
    let several = "-L :1 -F ws://a.test:1,b.test:1 -F ws://c.test:2?bypass=.a.test";
    let told = errors(&load(&launch(several))).join("");
    assert!(told.contains("behind a hop of several nodes"), "{told}");
}

/// gost takes it for no bypass at all.
#[test]
fn a_file_that_calls_a_bypass_by_another_name_is_wrong() {
    let with = |bypass: &str| {
        of_file(&format!(
            "services:\n- name: s\n  addr: :1\n  bypass: {bypass}\n  handler: {{type: socks5}}\n\
             bypasses:\n- name: inner\n  matchers: [10.0.0.0/8]\n"
        ))
    };
    for good in ["inner", "10.0.0.0/8", "a.test", "'~*.corp'"] {
        assert_eq!(errors(&with(good)), [""; 0], "{good}");
    }
    for wrong in ["iner", "[inner, iner]", "'10.0.0.0/8, iner'"] {
        let told = errors(&with(wrong)).join("");
        assert!(
            told.contains("there is no bypass `iner`"),
            "{wrong}: {told}"
        );
    }
    // On the command line it is a host.
    let config = read("-L :1 -F ws://a.test:1?bypass=localhost");
    assert_eq!(targets(&config)[0], "direct");
}

#[test]
fn a_bypass_of_a_node_leaves_the_others_of_its_hop() {
    let of = |bypasses: [&str; 3]| {
        let nodes = ["a", "b", "c"].iter().zip(bypasses).map(|(name, bypass)| {
            format!("    - {{name: {name}, addr: '{name}.test:1', connector: {{type: relay}}{bypass}}}\n")
        });
        let nodes: String = nodes.collect();
        of_file(&format!(
            "services:\n- name: s\n  addr: :1\n  handler: {{type: socks5, chain: c}}\n\
             bypasses:\n- name: inside\n  matchers: [10.0.0.0/8]\n\
             chains:\n- name: c\n  hops:\n  - name: h\n    nodes:\n{nodes}"
        ))
    };
    let balanced = |loaded: &Loaded, tag: &str| {
        let config = loaded.config.as_ref().unwrap();
        let balancers = &config.routing.balancers;
        let balancer = balancers.iter().find(|one| one.tag == tag).unwrap();
        let tags = config.outbounds.iter().filter_map(|o| o.tag.as_deref());
        tags.filter(|tag| balancer.selects(tag))
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let inside = ", bypass: inside";
    let loaded = of(["", inside, ""]);
    assert_eq!(errors(&loaded), [""; 0]);
    assert_eq!(targets(loaded.config.as_ref().unwrap()), ["[c!0]", "[c]"]);
    assert_eq!(balanced(&loaded, "c!0"), ["c#0/a", "c#2/c"]);
    assert_eq!(balanced(&loaded, "c").len(), 3);
    let loaded = of([inside, ", bypasses: [inside]", ""]);
    assert_eq!(targets(loaded.config.as_ref().unwrap()), ["c#2/c", "[c]"]);
    let loaded = of([inside, inside, inside]);
    assert_eq!(targets(loaded.config.as_ref().unwrap()), ["direct", "[c]"]);
    let loaded = of([inside, ", bypass: ~10.0.0.0/8", ""]);
    let told = errors(&loaded).join("");
    assert!(
        told.starts_with("gost.yml:") && told.contains("different bypasses"),
        "{told}"
    );
}

#[test]
fn a_bypass_without_a_target_is_an_error() {
    for args in [
        "-L tcp://:1 -F forward+ws://a.test:1?bypass=10.0.0.0/8",
        "-L udp://:1 -F relay+ws://a.test:1?bypass=~10.0.0.0/8",
        "-L tcp://:1?bypass=10.0.0.0/8 -F forward+ws://a.test:1",
    ] {
        let told = errors(&load(&launch(args))).join("\n");
        assert!(told.contains("needs a target"), "{args}: {told}");
    }
    read("-L tcp://:1/10.0.0.1:80 -F forward+ws://a.test:1?bypass=10.0.0.0/8");
}

/// A GOST passes over the name of a bypass that is not in its list.
#[test]
fn a_bypass_that_is_printed_has_a_name() {
    let args = "-L socks5://:1?bypass=192.0.2.1&udp=true -F ws://a.test:1?bypass=.a.test -F ws://b.test:2?bypass=~10.0.0.0/8,c.test";
    for form in [Form::Yaml, Form::Json] {
        let text = print(&launch(args), form).unwrap();
        let loaded = of_file(&text);
        assert_eq!(errors(&loaded), [""; 0], "{text}");
        assert_eq!(loaded.config.unwrap().routing, read(args).routing, "{text}");
    }
    let text = print(&launch(args), Form::Json).unwrap();
    let printed: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(printed["services"][0]["bypass"], "bypass-0");
    assert_eq!(
        printed["services"][0]["metadata"]["bypass"],
        serde_json::Value::Null
    );
    let hops = &printed["chains"][0]["hops"];
    assert_eq!(
        [&hops[0]["bypass"], &hops[1]["bypass"]],
        ["bypass-1", "bypass-2"]
    );
    assert_eq!(
        printed["bypasses"][2],
        serde_json::json!({"name": "bypass-2", "whitelist": true, "matchers": ["10.0.0.0/8", "c.test"]})
    );
    let file = "services:\n- {addr: ':1', bypasses: [inside, ~.a.test], handler: {type: socks5}}\nbypasses:\n- {name: inside, matchers: [10.0.0.0/8]}";
    let launch = Launch {
        files: vec![("gost.yml".to_owned(), file.to_owned())],
        ..Launch::default()
    };
    let text = print(&launch, Form::Json).unwrap();
    let printed: serde_json::Value = serde_json::from_str(&text).unwrap();
    let names = serde_json::json!(["inside", "bypass-0"]);
    assert_eq!(printed["services"][0]["bypasses"], names, "{text}");
    assert_eq!(
        printed["bypasses"][1]["matchers"],
        serde_json::json!([".a.test"])
    );
}

#[test]
fn ranges_and_stars_are_what_they_are_in_gost() {
    let config = read(
        "-L :1 -F ws://a.test:1?bypass=10.0.0.1-10.0.0.6,*.corp.test,a?b.test,*host,*.example.*",
    );
    let rules = &config.routing.rules;
    let takes = |ip: &str| {
        let mut networks = rules.iter().filter_map(|rule| rule.conditions.ips.as_ref());
        let ip = ip.parse().unwrap();
        networks.any(|networks| networks.inside.contains(ip))
    };
    for (ip, is_in) in [
        ("10.0.0.0", false),
        ("10.0.0.1", true),
        ("10.0.0.6", true),
        ("10.0.0.7", false),
    ] {
        assert_eq!(takes(ip), is_in, "{ip}");
    }
    let names = |name: &str| {
        let mut domains = rules
            .iter()
            .filter_map(|rule| rule.conditions.domains.as_ref());
        domains.any(|domains| domains.contains(&Name::new(name)))
    };
    for (name, is_in) in [
        ("a.corp.test", true),
        ("a.b.corp.test", true),
        ("corp.test", false),
        ("axb.test", true),
        ("ab.test", false),
        ("localhost", true),
        ("a.example.org", true),
        ("example.org", false),
    ] {
        assert_eq!(names(name), is_in, "{name}");
    }
    // What an address might be is not built, and no name that nothing has.
    for pattern in ["10.0.0.*", "*", "10.0.0.9-10.0.0.1", "*1", "fe80*"] {
        let told = errors(&load(&launch(&format!("-L :1?bypass={pattern}")))).join("");
        assert!(told.contains("is not built"), "{pattern}: {told}");
    }
}
