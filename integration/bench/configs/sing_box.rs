//! sing-box' `config.json`.

use serde_json::{Map, Value, json};

use super::{
    EARLY_DATA, EARLY_HEADER, KEY, METHOD, NAME, PATH, Protocol, SERVICE, Shape, Transport,
};

pub(super) fn server(shape: &Shape, port: u16) -> Value {
    let users = |one: fn(&String) -> Value| shape.known.iter().map(one).collect::<Value>();
    let mut inbound = json!({"listen": "0.0.0.0", "listen_port": port});
    add(
        &mut inbound,
        match shape.protocol {
            Protocol::Vmess => json!({
                "type": "vmess", "users": users(|id| json!({"uuid": id, "alterId": 0})),
            }),
            Protocol::Vless => {
                json!({"type": "vless", "users": users(|id| json!({"uuid": id}))})
            }
            Protocol::Trojan => {
                json!({"type": "trojan", "users": users(|id| json!({"password": id}))})
            }
            Protocol::Shadowsocks => {
                json!({"type": "shadowsocks", "method": METHOD, "password": KEY})
            }
        },
    );
    add(&mut inbound, transport(shape));
    if let Some(tls) = &shape.tls {
        inbound["tls"] = json!({
            "enabled": true, "certificate_path": tls.certificate, "key_path": tls.key,
        });
    }
    json!({
        "log": {"disabled": true},
        "inbounds": [inbound],
        "outbounds": [{"type": "direct"}],
    })
}

pub(super) fn client(shape: &Shape, socks: u16, server: u16) -> Value {
    let id = &shape.used[0];
    let mut outbound = json!({"server": shape.host, "server_port": server});
    add(
        &mut outbound,
        match shape.protocol {
            Protocol::Vmess => json!({"type": "vmess", "uuid": id, "security": shape.cipher}),
            Protocol::Vless => json!({"type": "vless", "uuid": id}),
            Protocol::Trojan => json!({"type": "trojan", "password": id}),
            Protocol::Shadowsocks => {
                json!({"type": "shadowsocks", "method": METHOD, "password": KEY})
            }
        },
    );
    add(&mut outbound, transport(shape));
    if shape.tls.is_some() {
        outbound["tls"] = json!({"enabled": true, "server_name": NAME, "insecure": true});
    }
    json!({
        "log": {"disabled": true},
        "inbounds": [{"type": "socks", "listen": "127.0.0.1", "listen_port": socks}],
        "outbounds": [outbound],
    })
}

/// `transport`, which TCP has none of.
fn transport(shape: &Shape) -> Value {
    let transport = match shape.transport {
        Transport::Tcp => return json!({}),
        Transport::Ws if shape.early_data => json!({
            "type": "ws", "path": PATH,
            "max_early_data": EARLY_DATA, "early_data_header_name": EARLY_HEADER,
        }),
        Transport::Ws => json!({"type": "ws", "path": PATH}),
        Transport::HttpUpgrade => json!({"type": "httpupgrade", "path": PATH}),
        Transport::Grpc => json!({"type": "grpc", "service_name": SERVICE}),
    };
    json!({"transport": transport})
}

fn add(object: &mut Value, more: Value) {
    let more: Map<String, Value> = serde_json::from_value(more).unwrap_or_default();
    if let Some(object) = object.as_object_mut() {
        object.extend(more);
    }
}
