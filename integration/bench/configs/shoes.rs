//! The file of shoes, which takes part where VMess goes over WebSocket.

use serde_json::{Value, json};

use super::{NAME, PATH, Shape};

pub(super) fn server(shape: &Shape, port: u16) -> Value {
    let ws = json!({
        "type": "ws",
        "targets": [{
            "matching_path": PATH,
            "protocol": {"type": "vmess", "cipher": "any", "user_id": shape.known[0]},
        }],
    });
    let protocol = match &shape.tls {
        None => ws,
        Some(tls) => json!({
            "type": "tls",
            "sni_targets": {
                NAME: {"cert": tls.certificate, "key": tls.key, "protocol": ws},
            },
        }),
    };
    json!([{"address": format!("0.0.0.0:{port}"), "protocol": protocol}])
}

pub(super) fn client(shape: &Shape, socks: u16, server: u16) -> Value {
    let ws = json!({
        "type": "ws", "matching_path": PATH,
        // By itself it says no host, and Go's servers refuse that.
        "matching_headers": {"Host": NAME},
        "protocol": {"type": "vmess", "cipher": shape.cipher, "user_id": shape.used[0]},
    });
    let protocol = match &shape.tls {
        None => ws,
        Some(_) => json!({
            "type": "tls", "verify": false, "sni_hostname": NAME, "protocol": ws,
        }),
    };
    json!([{
        "address": format!("127.0.0.1:{socks}"),
        "protocol": {"type": "socks", "udp_enabled": true},
        "rules": [{
            "masks": ["0.0.0.0/0"], "action": "allow",
            "client_chain": [{
                "address": format!("{}:{server}", shape.host), "protocol": protocol,
            }],
        }],
    }])
}
