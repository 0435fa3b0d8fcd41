//! Binary lists of rules, packed by the programs they are for: they mean here what the text does that they were made from.

use std::process::Command;

use serde_json::{Value, json};

use crate::peers::{Stage, fetched, mobula};

/// The rules of `file`, as a config of V2Ray has them; lists of names and networks in order.
fn rules(stage: &Stage, file: &str, config: &str) -> Value {
    stage.write(file, config);
    let mut command = mobula();
    command.args(["convert", file, "--to", "config"]);
    let output = command.current_dir(stage.path("")).output();
    let output = output.expect("mobula runs");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    assert!(!told.contains("not carried over"), "{told}");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut config: Value = serde_json::from_str(&text).expect("it is JSON");
    let mut rules = config["routing"]["rules"].take();
    for rule in rules.as_array_mut().expect("there are rules") {
        for key in ["domain", "ip", "source"] {
            if let Some(list) = rule[key].as_array_mut() {
                list.sort_by_key(|text| text.as_str().map(str::to_owned));
            } else if let Some(rule) = rule.as_object_mut() {
                rule.remove(key);
            }
        }
    }
    rules
}

fn packs(stage: &Stage, program: &str, args: &[&str]) {
    let mut command = Command::new(fetched(program));
    let output = command.args(args).current_dir(stage.path("")).output();
    let output = output.expect("it runs");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {args:?}: {told}");
}

#[test]
fn sing_box_packs_what_its_rules_say() {
    let list = json!([
        {"domain": ["a.test", "b.b.test", "münchen.test"], "domain_suffix": ["c.test", ".d.test"],
         "domain_keyword": ["word"], "domain_regex": ["^x[0-9]+\\.test$"],
         "ip_cidr": ["192.0.2.0/24", "198.51.100.7/32", "2001:db8::/33"],
         "port": [80, 443], "port_range": ["1000:2000"], "network": ["tcp"]},
        {"type": "logical", "mode": "and",
         "rules": [{"domain_suffix": ["e.test"]}, {"source_ip_cidr": ["10.0.0.0/9"], "source_port": [53]}]},
        {"type": "logical", "mode": "or", "rules": [{"domain": ["f.test"]}, {"network": ["udp"], "invert": true}]},
        {"process_name": ["curl"]},
    ]);
    let stage = Stage::new();
    let config = |set: Value| {
        let route = json!({"final": "far", "rule_set": [set], "rules": [{"rule_set": "list", "outbound": "near"}]});
        let far = json!({"type": "trojan", "tag": "far", "server": "a.example", "server_port": 443, "password": "p"});
        json!({"outbounds": [far, {"type": "direct", "tag": "near"}], "route": route}).to_string()
    };
    let inline = json!({"type": "inline", "tag": "list", "rules": list});
    let expected = rules(&stage, "inline.json", &config(inline));
    assert!(expected.as_array().is_some_and(|rules| rules.len() > 5));
    for version in [1, 2, 3] {
        let source = json!({"version": version, "rules": list});
        stage.write("list.json", source.to_string());
        packs(
            &stage,
            "sing-box",
            &["rule-set", "compile", "list.json", "-o", "list.srs"],
        );
        for set in [
            json!({"type": "local", "tag": "list", "format": "binary", "path": "list.srs"}),
            json!({"type": "local", "tag": "list", "path": "list.srs"}),
        ] {
            let packed = rules(&stage, "packed.json", &config(set));
            assert_eq!(packed, expected, "version {version}");
        }
    }
    let adguard = "||ads.test^\n|exact.test^\nends.test^\n||goes.test\n||w*.x.test^\n";
    stage.write("list.txt", adguard);
    packs(
        &stage,
        "sing-box",
        &[
            "rule-set", "convert", "--type", "adguard", "list.txt", "-o", "ads.srs",
        ],
    );
    let set = json!({"type": "local", "tag": "list", "format": "binary", "path": "ads.srs"});
    let packed = rules(&stage, "packed.json", &config(set));
    assert_eq!(
        packed[0]["domain"],
        json!([
            "domain:ads.test",
            "regexp:(^|\\.)goes\\.test(\\.|$)",
            "regexp:(^|\\.)w[^.]*\\.x\\.test$",
            "regexp:^exact\\.test$",
            "regexp:ends\\.test$",
        ])
    );
}

#[test]
fn mihomo_packs_names_and_networks() {
    let stage = Stage::new();
    for (behavior, list) in [
        (
            "domain",
            "a.test\n+.b.test\n.c.test\n*.d.test\nm.*.e.test\n+.f.test\nf.g.test\n",
        ),
        (
            "ipcidr",
            "192.0.2.0/24\n198.51.100.7/32\n2001:db8::/33\n10.0.0.0/9\n",
        ),
    ] {
        stage.write("list.txt", list);
        let config = |format: &str, path: &str| {
            format!(
                "proxies: [{{name: far, type: trojan, server: a.example, port: 443, password: p}}]\n\
                 rule-providers: {{list: {{type: file, behavior: {behavior}, format: {format}, path: ./{path}}}}}\n\
                 rules: ['RULE-SET,list,DIRECT,no-resolve', 'MATCH,far']\n"
            )
        };
        let expected = rules(&stage, "text.yaml", &config("text", "list.txt"));
        packs(
            &stage,
            "mihomo",
            &["convert-ruleset", behavior, "text", "list.txt", "list.mrs"],
        );
        let packed = rules(&stage, "packed.yaml", &config("mrs", "list.mrs"));
        assert_eq!(packed, expected);
    }
}
