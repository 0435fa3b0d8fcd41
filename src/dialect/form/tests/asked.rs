//! What a server is asked for: the same by every program that reads what was written.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::*;
use crate::transport::ClientCarrier;

fn vless(stream: Value) -> String {
    let users = json!([{"id": ID, "encryption": "none"}]);
    json!({"outbounds": [{
        "tag": "a", "protocol": "vless", "streamSettings": stream,
        "settings": {"vnext": [{"address": "192.0.2.1", "port": 443, "users": users}]},
    }]})
    .to_string()
}

fn written(text: &str, target: Target) -> Written {
    write(&read_text(text), text, target).unwrap()
}

fn tls(mut stream: Value) -> Value {
    stream["security"] = "tls".into();
    stream["tlsSettings"] = json!({"serverName": "a.example"});
    stream
}

#[test]
fn a_host_that_is_not_said_is_written_where_others_would_name_another() {
    for stream in [
        json!({"network": "ws", "wsSettings": {"path": "/r"}}),
        json!({"network": "httpupgrade", "httpupgradeSettings": {"path": "/r"}}),
    ] {
        let text = vless(tls(stream.clone()));
        let clash = written(&text, Target::Clash).text;
        assert!(clash.contains("Host: a.example"), "{clash}");
        let sing_box = written(&text, Target::SingBox).text;
        let host = ["\"Host\": \"a.example\"", "\"host\": \"a.example\""];
        assert!(
            host.iter().any(|host| sing_box.contains(host)),
            "{sing_box}"
        );
    }
    // mihomo's VLESS makes one up where there is no TLS.
    let text = vless(json!({"network": "ws", "wsSettings": {"path": "/r"}}));
    let clash = written(&text, Target::Clash).text;
    assert!(clash.contains("Host: \"192.0.2.1\""), "{clash}");
}

#[test]
fn a_query_that_a_program_would_take_for_a_name_is_left_out_and_told() {
    let ws = vless(json!({"network": "ws", "wsSettings": {"path": "/r?x=1"}}));
    let h2 = vless(tls(
        json!({"network": "http", "httpSettings": {"path": "/r?x=1"}}),
    ));
    for (text, target) in [
        (&ws, Target::SingBox),
        (&h2, Target::SingBox),
        (&h2, Target::Clash),
    ] {
        let there = written(text, target);
        assert!(there.left_out[0].contains("`?x=1`"), "{there:?}");
        assert!(!there.text.contains("x=1"), "{}", there.text);
    }
    let clash = written(&ws, Target::Clash);
    assert_eq!(clash.left_out, [""; 0]);
    assert!(clash.text.contains("/r?x=1"), "{}", clash.text);
    // There it is a part of the name.
    let text = sing_box_of(json!({"type": "ws", "path": "/?ed=2048"}));
    let ClientCarrier::Ws(ws) = carrier_of(&text) else {
        panic!("{text}")
    };
    assert_eq!((&*ws.path, ws.early_data), ("/%3Fed=2048", None));
}

fn carrier_of(text: &str) -> ClientCarrier {
    read_text(text).config.outbounds[0]
        .transport
        .carrier
        .clone()
}

fn sing_box_of(transport: Value) -> String {
    json!({"outbounds": [{
        "type": "vless", "tag": "a", "server": "192.0.2.1", "server_port": 443, "uuid": ID,
        "tls": {"enabled": true, "server_name": "a.example"}, "transport": transport,
    }]})
    .to_string()
}

#[test]
fn what_sing_box_asks_for_by_itself_is_asked_for() {
    let text = sing_box_of(json!({"type": "http", "path": "/h"}));
    let ClientCarrier::H2(h2) = carrier_of(&text) else {
        panic!("{text}")
    };
    assert_eq!(h2.hosts, [""; 0]);
    let text = sing_box_of(json!({"type": "httpupgrade", "path": "/h", "headers": {"Host": "b"}}));
    let ClientCarrier::HttpUpgrade(upgrade) = carrier_of(&text) else {
        panic!("{text}")
    };
    assert_eq!(upgrade.host, None);
    let text = sing_box_of(json!({"type": "grpc", "service_name": "/a/b"}));
    let errors = read(&text, "x", Outside::NOTHING).unwrap_err();
    assert!(errors[0].line.contains("service_name"), "{errors:?}");
}

/// What mihomo asks for, seen at a web server.
#[test]
fn a_service_of_grpc_is_what_mihomo_asks_for() {
    for (name, path) in [
        ("abc", "/abc/Tun"),
        ("a%2Fb", "/a%2Fb/Tun"),
        ("a/b", "/a/b/Tun"),
        ("//Tun", "//Tun"),
        ("", "/GunService/Tun"),
        ("/x/y", "/x/y"),
    ] {
        let text = format!(
            "proxies:\n- {{name: a, type: vless, server: a.example, port: 443, uuid: {ID}, \
             network: grpc, grpc-opts: {{grpc-service-name: \"{name}\"}}}}\n"
        );
        let read = read_text(&text);
        let transport = &read.config.outbounds[0].transport;
        assert_eq!(transport.security, None);
        let ClientCarrier::Grpc(grpc) = &transport.carrier else {
            panic!("{text}")
        };
        assert_eq!(grpc.paths.all()[0], path, "{name}");
        // And so it is written.
        let again = write(&read, &text, Target::Clash).unwrap();
        assert_eq!(again.left_out, [""; 0]);
        assert_eq!(carrier_of(&again.text), transport.carrier, "{}", again.text);
    }
    let text = "proxies:\n- {name: a, type: vless, server: a.example, port: 443, uuid: x, \
                network: grpc, grpc-opts: {grpc-service-name: /x}}\n";
    let errors = read(text, "x", Outside::NOTHING).unwrap_err();
    let line = errors.iter().find(|error| error.line.contains("`/x`"));
    assert!(line.is_some(), "{errors:?}");
}

#[test]
fn names_that_are_mihomo_s_own_are_given_to_nobody_else() {
    let text = json!({"outbounds": [
        {"protocol": "trojan", "tag": "REJECT", "proxySettings": {"tag": "DIRECT"},
         "settings": {"servers": [{"address": "a.example", "port": 443, "password": "p"}]},
         "streamSettings": {"security": "tls"}},
        {"protocol": "freedom", "tag": "DIRECT"},
    ]})
    .to_string();
    let there = written(&text, Target::Clash);
    assert_eq!(there.left_out.len(), 2, "{there:?}");
    for line in [
        "name: \"REJECT 2\"",
        "name: \"DIRECT 2\"",
        "dialer-proxy: \"DIRECT 2\"",
        "- \"REJECT 2\"",
    ] {
        assert!(there.text.contains(line), "{line}: {}", there.text);
    }
}

#[test]
fn what_xray_refuses_is_not_written() {
    let text = json!({"outbounds": [
        {"protocol": "shadowsocks", "settings": {"servers": [
            {"address": "a.example", "port": 1, "method": "none", "password": ""}]}},
        {"protocol": "http", "settings": {"servers": [{"address": "a.example", "port": 1}],
            "headers": {"X-A": "1"}}},
    ]});
    let read = read_text(&text.to_string());
    let again = Read {
        form: Form::Clash,
        ..read
    };
    let there = write(&again, "", Target::Config).unwrap();
    let value: Value = serde_json::from_str(&there.text).unwrap();
    let settings = |n: usize| &value["outbounds"][n]["settings"];
    assert_eq!(settings(0)["servers"][0]["password"], "none");
    assert_eq!(settings(1)["headers"], json!({"X-A": "1"}));
}

#[test]
fn a_name_in_another_encoding_spoils_nothing_else() {
    let mut links =
        b"trojan://p@a.example:443#\xcf\xe3\ntrojan://p@b.example:443#b\nvmess://".to_vec();
    let vmess = format!("{{\"add\": \"c.example\", \"port\": 1, \"id\": \"{ID}\", \"ps\": \"");
    let vmess = [vmess.as_bytes(), b"\xcf\xe3\"}"].concat();
    links.extend(STANDARD.encode(vmess).bytes());
    let read = read_text(&STANDARD.encode(links));
    assert_eq!(read.config.outbounds.len(), 3);
}

#[test]
fn an_answer_that_is_no_config_is_told() {
    for text in ["{\"message\": \"token is error\"}", "{}"] {
        let errors = read(text, "x", Outside::NOTHING).unwrap_err();
        let line = &errors.last().unwrap().line;
        assert!(line.contains("nothing of a config"), "{line}");
    }
}
