//! What is written is read as the same settings.

use serde_json::{Value, json};

use super::outbound;
use crate::config::Outbound;
use crate::dialect::v2ray::{Format, Input, load};

fn read(value: &Value) -> Outbound {
    let config = json!({
        "inbounds": [{"port": 1, "listen": "127.0.0.1", "protocol": "socks"}],
        "outbounds": [value, {"tag": "b", "protocol": "freedom"}],
    });
    let input = Input::Text {
        name: "c.json".to_owned(),
        text: config.to_string(),
    };
    let loaded = load(&[input], Format::V4);
    assert_eq!(loaded.errors, [], "{value:#}");
    loaded.config.unwrap().outbounds.swap_remove(0)
}

const ID: &str = "b831381d-6324-4d53-ad4f-8cda48b30811";
const KEY: &str = "bCPY1dHSOODxnklfEDPYLA==";

fn protocols() -> Vec<(&'static str, Value)> {
    let server = |own: Value| {
        let mut server = json!({"address": "2001:db8::1", "port": 443});
        server
            .as_object_mut()
            .unwrap()
            .extend(own.as_object().unwrap().clone());
        server
    };
    let vnext = |user: Value| json!({"vnext": [server(json!({"users": [user]}))]});
    let list = |own: Value| json!({"servers": [server(own)]});
    vec![
        ("vmess", vnext(json!({"id": ID, "security": "auto"}))),
        (
            "vmess",
            vnext(
                json!({"id": ID, "security": "zero", "level": 3, "experiments": "AuthenticatedLength|NoTerminationSignal"}),
            ),
        ),
        (
            "vless",
            vnext(json!({"id": ID, "encryption": "none", "level": 1})),
        ),
        ("trojan", list(json!({"password": "ü\"\\ x", "level": 1}))),
        (
            "shadowsocks",
            list(json!({"method": "aes-256-gcm", "password": "p:q"})),
        ),
        (
            "shadowsocks",
            list(json!({"method": "none", "password": ""})),
        ),
        (
            "shadowsocks",
            list(json!({"method": "2022-blake3-aes-128-gcm", "password": format!("{KEY}:{KEY}")})),
        ),
        (
            "shadowsocks",
            json!({"servers": [
                server(json!({"method": "chacha20-poly1305", "password": "a"})),
                server(json!({"method": "aes-128-gcm", "password": "b"})),
            ]}),
        ),
    ]
}

fn streams() -> Vec<Value> {
    let pin = "ab".repeat(32);
    let tls = |own: Value| json!({"network": "tcp", "security": "tls", "tlsSettings": own});
    vec![
        json!({"network": "tcp"}),
        json!({"network": "tcp", "tcpSettings": {"header": {"type": "http"}}}),
        json!({"network": "tcp", "tcpSettings": {"header": {
            "type": "http",
            "request": {"version": "1.0", "method": "POST", "path": ["/a", "/b"], "headers": {"Host": ["a", "b"], "X": ["1"]}},
            "response": {"status": "201", "reason": "Made", "headers": {"X": []}},
        }}}),
        json!({"network": "ws"}),
        json!({"network": "ws", "wsSettings": {"path": "/a?b=c", "headers": {"Host": "a.example", "X-A": "1"},
            "maxEarlyData": 2048, "earlyDataHeaderName": "Sec-WebSocket-Protocol", "heartbeatPeriod": 7}}),
        json!({"network": "ws", "wsSettings": {"path": "/a", "maxEarlyData": 7, "heartbeatPeriod": 0, "endsSilently": true}}),
        json!({"network": "httpupgrade", "httpupgradeSettings": {"path": "/a?ed=7", "host": "a.example", "headers": {"X-A": "1"}}}),
        json!({"network": "httpupgrade", "httpupgradeSettings": {"path": "/a?b&c", "maxEarlyData": 7, "earlyDataHeaderName": "X-E"}}),
        json!({"network": "grpc", "grpcSettings": {"serviceName": "/a/b|c", "multiMode": true, "authority": "a.example:1",
            "user_agent": "x", "idle_timeout": 60, "health_check_timeout": 5, "permit_without_stream": true, "initial_windows_size": 70000}}),
        json!({"network": "http", "httpSettings": {"host": ["a", "b"], "path": "/a", "method": "GET", "headers": {"x-a": ["1", "2"]},
            "read_idle_timeout": 60}}),
        tls(json!({})),
        tls(
            json!({"serverName": "a.example", "alpn": ["h2"], "allowInsecure": true, "disableSystemRoot": true,
            "pinnedPeerCertificateChainSha256": ["q6urq6urq6urq6urq6urq6urq6urq6urq6urq6urq6s="], "pinnedPeerCertSha256": format!("{pin},{pin}"),
            "verifyPeerCertByName": "a,b", "minVersion": "1.3",
            "certificates": [
                {"usage": "verify", "certificateFile": "testdata/certs/server.crt"},
                {"certificateFile": "testdata/certs/server.crt", "keyFile": "testdata/certs/server.key"},
            ]}),
        ),
        tls(json!({"serverName": "192.0.2.1", "maxVersion": "1.2"})),
        json!({"network": "ws", "security": "tls"}),
    ]
}

#[test]
fn every_protocol_and_every_transport_is_read_as_it_was() {
    for (protocol, settings) in protocols() {
        for stream in streams() {
            let value = json!({"tag": "a", "protocol": protocol, "settings": settings, "streamSettings": stream});
            let was = read(&value);
            let written = outbound(&was).unwrap();
            assert_eq!(read(&written), was, "{value:#}\n{written:#}");
        }
    }
}

#[test]
fn the_frame_is_read_as_it_was() {
    let (protocol, settings) = protocols().swap_remove(2);
    let muxes = [
        json!({"enabled": true}),
        json!({"enabled": true, "concurrency": 3, "xudpConcurrency": 16, "xudpProxyUDP443": "skip"}),
        json!({"enabled": true, "concurrency": -1, "packetEncoding": "xudp"}),
        json!({"enabled": true, "concurrency": -1, "packetEncoding": "packetaddr", "xudpProxyUDP443": "reject"}),
        json!({"enabled": true, "concurrency": 4, "packetEncoding": "stream"}),
        json!({"enabled": true, "concurrency": 4, "xudpConcurrency": -1}),
        json!({"enabled": true, "concurrency": -1}),
    ];
    let strategies = [
        "UseIP",
        "UseIPv4",
        "ForceIPv6",
        "UseIPv4v6",
        "UseIPv6v4",
        "ForceIP",
    ];
    for (mux, strategy) in muxes.iter().zip(strategies.iter().cycle()) {
        let value = json!({
            "protocol": protocol, "settings": settings, "mux": mux, "domainStrategy": strategy,
            "proxySettings": {"tag": "b"}, "sendThrough": "127.0.0.1",
        });
        let was = read(&value);
        let written = outbound(&was).unwrap();
        assert_eq!(read(&written), was, "{value:#}\n{written:#}");
        assert!(was.mux.is_some() && was.through.is_some());
    }
}

#[test]
fn the_words_are_v2ray_s() {
    let (protocol, settings) = protocols().swap_remove(0);
    let stream = json!({"network": "ws", "security": "tls", "wsSettings": {"path": "/ray", "host": "a.example"}});
    let value =
        json!({"tag": "a", "protocol": protocol, "settings": settings, "streamSettings": stream});
    assert_eq!(
        outbound(&read(&value)).unwrap(),
        json!({
            "tag": "a", "protocol": "vmess",
            "settings": {"vnext": [{"address": "2001:db8::1", "port": 443, "users": [{"id": ID, "security": "auto"}]}]},
            "streamSettings": {
                "network": "ws", "security": "tls", "tlsSettings": {},
                "wsSettings": {"path": "/ray", "headers": {"Host": "a.example"}},
            },
        })
    );
    assert!(outbound(&read(&json!({"protocol": "freedom"}))).is_none());
}

#[test]
fn fragments_and_noises_come_back() {
    let value = json!({"protocol": "freedom", "settings": {
        "fragment": {"packets": "2-3", "length": "5-9", "interval": "1-2", "maxSplit": "3-4"},
        "noises": [
            {"type": "rand", "packet": "1-5", "delay": 3, "applyTo": "ipv6"},
            {"type": "str", "packet": "hello"},
        ],
    }});
    let first = read(&value);
    let written = super::config::outbound(&first).unwrap();
    assert_eq!(read(&written).protocol, first.protocol, "{written:#}");
}
