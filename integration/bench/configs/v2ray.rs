//! V2Ray's `config.json`, for V2Ray and for mobula.

use serde_json::{Value, json};

use super::{
    EARLY_DATA, EARLY_HEADER, KEY, METHOD, NAME, PATH, Protocol, SERVICE, Shape, Transport,
};

pub(super) fn server(shape: &Shape, port: u16) -> Value {
    let clients = |one: fn(&String) -> Value| shape.known.iter().map(one).collect::<Value>();
    let settings = match shape.protocol {
        Protocol::Vmess => json!({"clients": clients(|id| json!({"id": id, "alterId": 0}))}),
        Protocol::Vless => {
            json!({"decryption": "none", "clients": clients(|id| json!({"id": id}))})
        }
        Protocol::Trojan => json!({"clients": clients(|id| json!({"password": id}))}),
        Protocol::Shadowsocks => json!({"method": METHOD, "password": KEY}),
    };
    json!({
        "log": {"loglevel": "none", "access": "none"},
        "inbounds": [{
            "listen": "0.0.0.0", "port": port, "protocol": protocol(shape),
            "settings": settings, "streamSettings": stream(shape, true),
        }],
        "outbounds": [{"protocol": "freedom"}],
    })
}

pub(super) fn client(shape: &Shape, socks: u16, server: u16) -> Value {
    let users = |one: &dyn Fn(&String) -> Value| {
        let users = shape.used.iter().map(one).collect::<Value>();
        json!({"vnext": [{"address": shape.host, "port": server, "users": users}]})
    };
    let settings = match shape.protocol {
        Protocol::Vmess => users(&|id| json!({"id": id, "alterId": 0, "security": shape.cipher})),
        Protocol::Vless => users(&|id| json!({"id": id, "encryption": "none"})),
        Protocol::Trojan => json!({"servers": [{
            "address": shape.host, "port": server, "password": shape.used[0],
        }]}),
        Protocol::Shadowsocks => json!({"servers": [{
            "address": shape.host, "port": server, "method": METHOD, "password": KEY,
        }]}),
    };
    json!({
        "log": {"loglevel": "none", "access": "none"},
        "inbounds": [{
            "listen": "127.0.0.1", "port": socks, "protocol": "socks",
            "settings": {"udp": true},
        }],
        "outbounds": [{
            "protocol": protocol(shape),
            "settings": settings, "streamSettings": stream(shape, false),
        }],
    })
}

fn protocol(shape: &Shape) -> &'static str {
    match shape.protocol {
        Protocol::Vmess => "vmess",
        Protocol::Vless => "vless",
        Protocol::Trojan => "trojan",
        Protocol::Shadowsocks => "shadowsocks",
    }
}

/// `streamSettings`.
fn stream(shape: &Shape, server: bool) -> Value {
    let mut stream = match shape.transport {
        Transport::Tcp => json!({"network": "tcp"}),
        Transport::Ws => {
            let mut ws = json!({"path": PATH});
            if shape.early_data {
                ws["maxEarlyData"] = json!(EARLY_DATA);
                ws["earlyDataHeaderName"] = json!(EARLY_HEADER);
            }
            json!({"network": "ws", "wsSettings": ws})
        }
        Transport::HttpUpgrade => {
            json!({"network": "httpupgrade", "httpupgradeSettings": {"path": PATH}})
        }
        Transport::Grpc => json!({"network": "grpc", "grpcSettings": {"serviceName": SERVICE}}),
    };
    if let Some(tls) = &shape.tls {
        stream["security"] = json!("tls");
        stream["tlsSettings"] = if server {
            json!({"certificates": [{"certificateFile": tls.certificate, "keyFile": tls.key}]})
        } else {
            json!({"serverName": NAME, "allowInsecure": true})
        };
        if shape.early_data {
            // Of mobula; V2Ray passes over it.
            stream["tlsSettings"]["earlyData"] = json!(true);
        }
    }
    stream
}
