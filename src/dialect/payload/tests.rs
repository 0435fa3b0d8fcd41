//! Proxies as fronts, panels and Python write them.

use serde_json::{Value, json};

use super::{proxies, proxy, write};
use crate::config::Outbound;
use crate::protocol::OutboundSettings;
use crate::transport::ClientCarrier;

#[test]
fn every_way_to_write_a_proxy_is_read() {
    let vectors = include_str!("../../../testdata/vectors/miaospeed.json");
    let vectors: Value = serde_json::from_str(vectors).unwrap();
    let payloads = vectors["payloads"].as_object().unwrap();
    assert_eq!(payloads.len(), 27);
    for (case, payload) in payloads {
        let one = proxy(payload["payload"].as_str().unwrap());
        let one = one.unwrap_or_else(|e| panic!("{case}: {e}"));
        assert_eq!(one.name(), payload["name"].as_str().unwrap(), "{case}");
        assert_eq!(one.address(), "127.0.0.1:1080", "{case}");
        let read = one.read().unwrap_or_else(|e| panic!("{case}: {e:?}"));
        assert_eq!(read.outbound.protocol.name(), "socks", "{case}");
    }
}

const ID: &str = "b831381d-6324-4d53-ad4f-8cda48b30811";

/// One of each kind.
fn all() -> Vec<Value> {
    let ws = json!({"path": "/ray", "headers": {"Host": "h.example", "X-A": "1"},
                    "max-early-data": 2048, "early-data-header-name": "Sec-WebSocket-Protocol"});
    vec![
        json!({"name": "a", "type": "vmess", "server": "a.example", "port": 443, "uuid": ID, "alterId": 0, "cipher": "auto",
               "tls": true, "servername": "s.example", "network": "ws", "ws-opts": ws, "udp": true}),
        json!({"name": "b", "type": "vless", "server": "2001:db8::1", "port": 443, "uuid": ID, "tls": true,
               "servername": "s.example", "network": "grpc", "grpc-opts": {"grpc-service-name": "g"}, "udp": true,
               "packet-encoding": "xudp"}),
        json!({"name": "c", "type": "trojan", "server": "c.example", "port": 443, "password": "p", "sni": "s.example",
               "skip-cert-verify": true, "udp": true}),
        json!({"name": "d", "type": "ss", "server": "192.0.2.1", "port": 8388, "cipher": "aes-256-gcm", "password": "p:q",
               "udp": true}),
        json!({"name": "e", "type": "ss", "server": "192.0.2.1", "port": 443, "cipher": "chacha20-ietf-poly1305", "password": "p",
               "plugin": "v2ray-plugin", "udp": true,
               "plugin-opts": {"mode": "websocket", "path": "/ss", "host": "h.example", "tls": true, "mux": false}}),
        json!({"name": "f", "type": "socks5", "server": "127.0.0.1", "port": 1080, "username": "u", "password": "p", "udp": true}),
        json!({"name": "g", "type": "http", "server": "127.0.0.1", "port": 8080, "tls": true, "sni": "s.example"}),
        json!({"name": "h", "type": "vmess", "server": "h.example", "port": 443, "uuid": ID, "alterId": 0, "cipher": "none",
               "tls": true, "servername": "s.example", "network": "h2", "h2-opts": {"host": ["x.example"], "path": "/h"},
               "udp": true}),
        json!({"name": "i", "type": "vless", "server": "i.example", "port": 80, "uuid": ID, "network": "ws", "udp": true,
               "ws-opts": {"path": "/up", "headers": {"Host": "h.example"}, "v2ray-http-upgrade": true}}),
    ]
}

#[test]
fn what_is_read_is_written_again() {
    for value in all() {
        let read = proxy(&value.to_string()).unwrap().read().unwrap();
        let written = write(&read.outbound).unwrap();
        assert_eq!(Value::Object(written), value);
    }
}

#[test]
fn a_file_of_many_is_read_whatever_its_frame() {
    let list: Vec<String> = all().iter().map(|one| format!("- {one}\n")).collect();
    let list = list.concat();
    for text in [
        format!("port: 7890\nproxies:\n{list}rules:\n- MATCH,DIRECT\n"),
        format!("payload:\n{list}"),
        list.clone(),
        json!({"proxies": all()}).to_string(),
    ] {
        let read = proxies(&text).unwrap();
        assert_eq!(read.len(), all().len());
        assert!(read.iter().all(|one| one.read().is_ok()));
    }
    assert!(proxies("proxy-groups: []").is_err());
    assert!(proxies("{'name': 'x'").is_err());
}

#[test]
fn what_cannot_be_carried_over_is_an_error_with_its_key_and_without_secrets() {
    let node = |more: Value| {
        let mut node = json!({"name": "a", "type": "vless", "server": "a.example", "port": 443, "uuid": ID, "tls": true});
        for (key, value) in more.as_object().unwrap() {
            node[key] = value.clone();
        }
        proxy(&node.to_string())
            .unwrap()
            .read()
            .unwrap_err()
            .join("; ")
    };
    for (more, expected) in [
        (
            json!({"type": "hysteria2"}),
            "type: `hysteria2` is not built",
        ),
        (json!({"uuid": "b831381d-63"}), "uuid: it is not a UUID"),
        (json!({"port": 70000}), "port: found 70000"),
        (json!({"port": null}), "port: it is missing"),
        (json!({"server": ""}), "server: it is missing"),
        (
            json!({"tls": "maybe"}),
            "tls: a text or a number is here that cannot be used, expected `true` or `false`",
        ),
        (json!({"flow": "xtls-rprx-direct"}), "flow: this flow"),
        (
            json!({"reality-opts": {"public-key": "x"}}),
            "reality-opts: REALITY",
        ),
        (json!({"network": "quic"}), "network: `quic` is not built"),
        (json!({"dialer-proxy": "b"}), "dialer-proxy: "),
        (
            json!({"type": "direct"}),
            "type: there is no server to test",
        ),
    ] {
        let text = node(more);
        assert!(text.starts_with(expected), "{text}");
        assert!(!text.contains("b831381d"), "{text}");
    }
}

/// Fronts take words that Clash does not; underscores are Clash's own.
#[test]
fn words_of_fronts_mean_what_they_seem_to() {
    let read = |text: &str| proxy(text).unwrap().read().unwrap().outbound;
    let server = "server: a.example, port: '1.0'";
    let vmess = read(&format!(
        "{{name: a, type: VMess, {server}, uuid: {ID}, network: websocket, tls: 1.0, sni: s.example, skip_cert_verify: y, \
         reality-opts: {{public-key: ''}}, ech-opts: {{enable: false, config: x}}}}"
    ));
    assert!(matches!(vmess.transport.carrier, ClientCarrier::Ws(_)));
    let tls = vmess.transport.security.unwrap();
    assert_eq!(tls.server_name.unwrap().to_string(), "s.example");
    assert!(tls.allow_insecure);
    let trojan = read(&format!(
        "{{name: a, type: trojan, {server}, password: p, servername: s.example}}"
    ));
    let name = trojan.transport.security.unwrap().server_name;
    assert_eq!(name.unwrap().to_string(), "s.example");
    // What converters write for nothing is nothing, and a list may be one text.
    let vless = read(&format!(
        "{{name: a, type: vless, {server}, uuid: {ID}, network: ws, tls: true, alpn: 'http/1.1, ', udp-over-tcp: 'False', \
         ws-opts: {{path: /p, headers: {{Host: ''}}}}, grpc-opts: []}}"
    ));
    let ClientCarrier::Ws(ws) = &vless.transport.carrier else {
        panic!("{vless:?}");
    };
    assert_eq!(ws.host, None);
    let trojan = read(&format!(
        "{{name: a, type: trojan, {server}, password: p, alpn: ['h2,http/1.1', '']}}"
    ));
    let offered = trojan.transport.security.unwrap().alpn;
    assert_eq!(offered, ["h2", "http/1.1"]);
    for (kind, name) in [("shadowsocks", "shadowsocks"), ("socks", "socks")] {
        let text = format!("{{name: a, type: {kind}, {server}, cipher: aes-128-gcm, password: p}}");
        assert_eq!(read(&text).protocol.name(), name);
    }
}

/// What `v2ray-plugin` has no words for, Clash has.
#[test]
fn a_plugin_s_headers_and_belief_are_read_and_written() {
    let value = json!({"name": "e", "type": "ss", "server": "192.0.2.1", "port": 443, "cipher": "aes-128-gcm", "password": "p",
        "plugin": "v2ray-plugin", "udp": true, "plugin-opts": {"mode": "websocket", "path": "/ss", "host": "h.example",
        "tls": true, "mux": false, "skip-cert-verify": true, "headers": {"X-A": "1"}}});
    let outbound = proxy(&value.to_string()).unwrap().read().unwrap().outbound;
    assert!(
        outbound
            .transport
            .security
            .as_ref()
            .is_some_and(|tls| tls.allow_insecure)
    );
    assert_eq!(Value::Object(write(&outbound).unwrap()), value);
}

#[test]
fn what_clash_leaves_unsaid_is_what_it_means() {
    let read = |text: &str| -> Outbound { proxy(text).unwrap().read().unwrap().outbound };
    let vmess = format!(
        "{{name: a, type: vmess, server: a.example, port: 1, uuid: {ID}, network: ws, tls: true, \
                         ws-opts: {{path: '/ray?ed=2048', headers: {{host: h.example}}}}}}"
    );
    let outbound = read(&vmess);
    let ClientCarrier::Ws(ws) = &outbound.transport.carrier else {
        panic!("{outbound:?}");
    };
    assert_eq!(
        (&*ws.path, ws.early_data.as_ref().map(|early| early.max)),
        ("/ray", Some(2048))
    );
    let tls = outbound.transport.security.unwrap();
    assert_eq!(tls.server_name.unwrap().to_string(), "h.example");
    let trojan = read("{name: a, type: trojan, server: a.example, port: 1, password: 12}");
    assert!(trojan.transport.security.is_some());
    let OutboundSettings::Trojan(settings) = &trojan.protocol else {
        panic!("{trojan:?}");
    };
    assert_eq!(**settings.servers[0].accounts[0].password, *"12");
}
