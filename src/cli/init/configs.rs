//! The two configs, and the links.

use serde_json::{Value, json};

use super::args::{Protocol, Tls};
use super::plan::{Plan, User};
use crate::address::Host;
use crate::dialect::links::{self, Form};
use crate::dialect::v2ray::{self, Input};

/// What travels with the upgrade; it fits everywhere.
const MAX_EARLY_DATA: u32 = 2048;
/// The header that every client knows for it.
const EARLY_HEADER: &str = "Sec-WebSocket-Protocol";
/// Seconds of silence before a ping: less than what Nginx (60) and CDNs (100) allow.
const HEARTBEAT: u32 = 30;

pub(super) fn server(plan: &Plan) -> Value {
    let users: Vec<Value> = plan
        .users
        .iter()
        .map(|User { name, secret }| match plan.protocol {
            Protocol::Vmess | Protocol::Vless => json!({"id": secret, "email": name}),
            Protocol::Trojan => json!({"password": secret, "email": name}),
        })
        .collect();
    let mut settings = json!({"clients": users});
    if plan.protocol == Protocol::Vless {
        settings["decryption"] = json!("none");
    }
    let mut stream = stream(plan);
    if plan.ends_tls() {
        stream["security"] = json!("tls");
        stream["tlsSettings"] = match &plan.files {
            Some(files) => {
                json!({"certificates": [{"certificateFile": files.cert, "keyFile": files.key}]})
            }
            None => {
                json!({"acme": {"domains": [plan.domain.to_string()], "folder": plan.at("acme")}})
            }
        };
    }
    json!({
        "log": {"loglevel": "warning"},
        "inbounds": [{
            "tag": "tunnel",
            "listen": plan.listen.ip().to_string(),
            "port": plan.listen.port(),
            "protocol": plan.protocol.to_string(),
            "settings": settings,
            "streamSettings": stream,
        }],
        "outbounds": [{
            "tag": "direct",
            "protocol": "freedom",
            "settings": {"finalRules": [{"action": "block", "ip": ["geoip:private"]}, {"action": "allow"}]},
        }],
    })
}

/// The client of the first user.
pub(super) fn client(plan: &Plan, certificate: Option<&str>) -> Value {
    let mut outbound = outbound(plan, &plan.users[0]);
    outbound["tag"] = json!("proxy");
    if let Some(pem) = certificate.filter(|_| plan.tls == Tls::SelfSigned) {
        let lines: Vec<&str> = pem.lines().collect();
        outbound["streamSettings"]["tlsSettings"]["certificates"] =
            json!([{"usage": "verify", "certificate": lines}]);
    }
    json!({
        "log": {"loglevel": "warning"},
        "inbounds": [
            {"tag": "socks", "listen": "127.0.0.1", "port": 1080, "protocol": "socks", "settings": {"udp": true}},
            {"tag": "http", "listen": "127.0.0.1", "port": 1081, "protocol": "http"},
        ],
        "outbounds": [outbound],
    })
}

/// A link for each user, in their order.
///
/// # Errors
///
/// When there is none, which would be a mistake of ours.
pub(super) fn links(plan: &Plan, pin: Option<&str>) -> Result<Vec<String>, String> {
    let mut all = Vec::new();
    for user in &plan.users {
        let mut outbound = outbound(plan, user);
        outbound["tag"] = json!(format!("{}-{}", plan.domain, user.name));
        if let Some(pin) = pin.filter(|_| plan.tls == Tls::SelfSigned) {
            outbound["streamSettings"]["tlsSettings"]["pinnedPeerCertSha256"] = json!(pin);
        }
        let input = Input::Text {
            name: "client".to_owned(),
            text: json!({"outbounds": [outbound]}).to_string(),
        };
        let loaded = v2ray::load(&[input], v2ray::Options::default());
        let config = loaded.config.ok_or_else(|| {
            loaded
                .errors
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join("; ")
        })?;
        let one = config.outbounds.first().ok_or("there is no outbound")?;
        // Of v2rayN's form mihomo reads no pin, and would take no certificate at all.
        let form = match plan.tls {
            Tls::SelfSigned => Form::Url,
            _ => Form::Json,
        };
        let written = links::write(one, form)?;
        all.extend(written.links.into_iter().take(1));
    }
    Ok(all)
}

fn outbound(plan: &Plan, user: &User) -> Value {
    let (address, port, secret) = (host(plan), plan.port, &user.secret);
    let settings = match plan.protocol {
        Protocol::Vmess => {
            json!({"vnext": [{"address": address, "port": port, "users": [{"id": secret, "security": "auto"}]}]})
        }
        Protocol::Vless => {
            json!({"vnext": [{"address": address, "port": port, "users": [{"id": secret, "encryption": "none"}]}]})
        }
        Protocol::Trojan => {
            json!({"servers": [{"address": address, "port": port, "password": secret}]})
        }
    };
    let mut stream = stream(plan);
    if plan.tls != Tls::None {
        stream["security"] = json!("tls");
        stream["tlsSettings"] = json!({"serverName": address});
    }
    json!({"protocol": plan.protocol.to_string(), "settings": settings, "streamSettings": stream})
}

/// The same at both ends.
fn stream(plan: &Plan) -> Value {
    json!({"network": "ws", "wsSettings": {
        "path": plan.path, "maxEarlyData": MAX_EARLY_DATA, "earlyDataHeaderName": EARLY_HEADER,
        "heartbeatPeriod": HEARTBEAT,
    }})
}

fn host(plan: &Plan) -> String {
    match &plan.domain {
        Host::Domain(name) => name.clone(),
        Host::Ip(ip) => ip.to_string(),
    }
}
