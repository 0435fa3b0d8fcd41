//! Lists that have no file around them.

use super::*;
use crate::routing;

fn config(remarks: &str, host: &str, more: Value) -> Value {
    let server = json!({"tag": "proxy", "protocol": "trojan",
        "settings": {"servers": [{"address": host, "port": 443, "password": "p"}]},
        "streamSettings": {"network": "ws", "security": "tls"}});
    let mut config = json!({"remarks": remarks,
        "inbounds": [{"protocol": "socks", "listen": "127.0.0.1", "port": 10808, "settings": {"udp": true}}],
        "outbounds": [server, {"tag": "direct", "protocol": "freedom"}],
        "routing": {"rules": [{"domain": ["full:a.test"], "outboundTag": "direct"},
                              {"network": "tcp,udp", "outboundTag": "proxy"}]}});
    for (place, value) in more.as_object().unwrap() {
        *config.pointer_mut(place).unwrap() = value.clone();
    }
    config
}

fn tags(read: &Read) -> Vec<&str> {
    let outbounds = read.config.outbounds.iter();
    outbounds.filter_map(|one| one.tag.as_deref()).collect()
}

#[test]
fn a_list_of_configs_is_the_first_with_the_servers_of_all() {
    let fragment = json!([
        {"tag": "proxy", "protocol": "vless",
         "settings": {"vnext": [{"address": "c.example", "port": 443, "users": [{"id": ID, "encryption": "none"}]}]},
         "streamSettings": {"security": "tls", "sockopt": {"dialerProxy": "fragment"}}},
        {"tag": "fragment", "protocol": "freedom", "settings": {"fragment": {"packets": "tlshello", "length": "100-200", "interval": "10-20"}}},
        {"tag": "block", "protocol": "blackhole"},
    ]);
    let vision = json!([{"tag": "proxy", "protocol": "vless", "settings": {"vnext": [{"address": "d.example", "port": 443,
        "users": [{"id": ID, "encryption": "none", "flow": "xtls-rprx-vision"}]}]}, "streamSettings": {"security": "tls"}}]);
    let text = json!([
        config("DE 1", "a.example", json!({})),
        config("FI", "b.example", json!({})),
        config("FI", "c.example", json!({"/outbounds": fragment})),
        config("SE", "d.example", json!({"/outbounds": vision})),
    ])
    .to_string();
    assert_eq!(recognise(&text).0, Form::V2rayList);
    let read = read_text(&text);
    assert_eq!(tags(&read), ["DE 1", "direct", "FI", "FI 2", "fragment"]);
    let through = read.config.outbounds[3].through.as_ref();
    assert_eq!(through.map(|one| &*one.tag), Some("fragment"));
    assert_eq!(read.config.inbounds.len(), 1);
    let told = read.left_out_lines().join("\n");
    assert!(
        told.contains("4 configs") && told.contains("vision"),
        "{told}"
    );
    // Nothing leads to what is not built.
    assert_eq!(read.astray_lines(), [""; 0]);
    let links = write(&read, &text, Target::Links).unwrap().text;
    let names: Vec<&str> = links
        .lines()
        .filter_map(|link| link.rsplit('#').next())
        .collect();
    // A link cannot say what a server is reached through.
    assert_eq!(names, ["DE%201", "FI"]);
    let config = write(&read, &text, Target::Config).unwrap().text;
    let again = super::read(&config, "c.json", Outside::NOTHING).unwrap();
    assert_eq!(again.config.outbounds.len(), 5);
    assert_eq!(again.config.routing.rules.len(), 2);
    // Rules lead to the server by its new name, and by the old one in what is written.
    assert_eq!(again.config.outbounds[0].tag.as_deref(), Some("proxy"));
    let target = |config: &Config| match &config.routing.rules[1].target.value {
        routing::Target::Outbound(tag) => tag.to_string(),
        other => panic!("{other:?}"),
    };
    assert_eq!(
        [target(&read.config), target(&again.config)],
        ["DE 1", "proxy"]
    );
    // In base64, too.
    let inner = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, &text);
    assert_eq!(recognise(&inner).0, Form::V2rayList);
}

#[test]
fn what_is_wrong_in_a_list_has_its_place_there() {
    let wrong = json!([{"tag": "proxy", "protocol": "trojan", "settings": {"servers": [{"address": "a.example", "port": 70000, "password": "p"}]}}]);
    let text = json!([
        config("DE", "a.example", json!({})),
        config("FI", "b.example", json!({"/outbounds": wrong})),
        config("SE", "c.example", json!({})),
    ]);
    let read = read_text(&format!("{text:#}"));
    assert_eq!(tags(&read), ["DE", "direct", "SE"]);
    let find = |messages: &[Message], path: &str| {
        let mut messages = messages.iter();
        messages
            .find(|message| message.path.as_deref() == Some(path))
            .cloned()
    };
    let port = "outbounds[0].settings.servers[0].port";
    let told = find(&read.left_out, &format!("[1].{port}")).expect("the port is told of");
    assert!(
        told.excerpt
            .as_ref()
            .is_some_and(|text| text.contains("70000")),
        "{told:?}"
    );
    assert!(told.line.ends_with("it is left out"), "{told:?}");

    let text = json!([config("DE", "a.example", json!({"/outbounds": wrong}))]);
    let errors = super::read(&format!("{text:#}"), "x", Outside::NOTHING).unwrap_err();
    assert!(
        find(&errors, &format!("[0].{port}")).is_some(),
        "{errors:#?}"
    );
}

#[test]
fn balancers_keep_the_names_of_the_first() {
    let balanced = json!({"balancers": [{"tag": "b", "selector": ["proxy"]}], "rules": [{"network": "tcp", "balancerTag": "b"}]});
    let text = json!([
        config("DE", "a.example", json!({"/routing": balanced})),
        config("FI", "b.example", json!({})),
    ])
    .to_string();
    let read = read_text(&text);
    assert_eq!(tags(&read), ["proxy", "direct", "FI"]);
}

#[test]
fn lists_of_nodes_have_no_map_around_them() {
    let shadowsocks = json!([
        {"server": "a.example", "server_port": 8388, "method": "aes-256-gcm", "password": "p", "remarks": "a"},
        {"server": "b.example", "server_port": 8388, "method": "aes-256-gcm", "password": "p", "remarks": "b"},
    ]);
    let sing_box = json!([
        {"type": "trojan", "tag": "a", "server": "a.example", "server_port": 443, "password": "p", "tls": {"enabled": true}},
        {"type": "shadowsocks", "tag": "b", "server": "b.example", "server_port": 443, "method": "aes-256-gcm", "password": "p"},
    ]);
    let clash = "---\n# mine\n- {name: a, type: trojan, server: a.example, port: 443, password: p}\n\
                 - name: b\n  type: ss\n  server: b.example\n  port: 443\n  cipher: aes-256-gcm\n  password: p\n";
    for (text, form) in [
        (shadowsocks.to_string(), Form::Shadowsocks),
        (sing_box.to_string(), Form::SingBox),
        (clash.to_owned(), Form::Clash),
    ] {
        assert_eq!(recognise(&text).0, form, "{text}");
        let read = read_text(&text);
        assert_eq!(tags(&read), ["a", "b"], "{text}");
    }
}

#[test]
fn links_that_lead_nowhere_carry_nothing() {
    let link = |address: &str, name: &str| format!("trojan://p@{address}?security=tls#{name}\n");
    let first = |links: &[String]| {
        let read = read_text(&links.concat());
        read.config.outbounds[0].tag.as_deref().unwrap().to_owned()
    };
    let nowhere = [link("127.0.0.1:1", "10%20GB"), link("0.0.0.0:443", "July")];
    let server = [link("a.example:443", "a"), link("b.example:443", "b")];
    assert_eq!(first(&[nowhere.clone(), server.clone()].concat()), "a");
    assert_eq!(first(&[server.clone(), nowhere.clone()].concat()), "a");
    assert_eq!(first(&nowhere), "10 GB");
    let read = read_text(&[nowhere, server].concat().concat());
    let told = read.left_out_lines().join("\n");
    assert!(told.contains("takes the place of"), "{told}");
}
