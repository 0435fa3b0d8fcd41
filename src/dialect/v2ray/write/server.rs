//! `streamSettings` of an inbound, as far as other dialects can be read as one.

use serde_json::{Map, Value, json};

use super::stream::{headers, mux, pem, put_headers, secs};
use crate::http::Forwarded;
use crate::transport::tls::{ClientAuth, KeyPair, SelfSigned, ServerSettings as Tls, Versions};
use crate::transport::{ServerCarrier, ServerSettings, ws};

/// `None` of what has more to say than is written here.
pub(super) fn server(transport: &ServerSettings) -> Option<Value> {
    if *transport == ServerSettings::default() {
        return Some(Value::Null);
    }
    let kept = ServerSettings {
        carrier: transport.carrier.clone(),
        security: transport.security.clone(),
        ..ServerSettings::default()
    };
    if *transport != kept {
        return None;
    }
    let mut stream = match &transport.carrier {
        ServerCarrier::Raw => json!({"network": "tcp"}),
        ServerCarrier::Ws(ws) => json!({"network": "ws", "wsSettings": websocket(ws)?}),
        ServerCarrier::Mws(mws) => {
            let mut own = websocket(&mws.ws)?;
            if mws.ws.heartbeat.is_none() {
                own.remove("heartbeatPeriod");
            }
            let mux = mux(&mws.mux);
            if !mux.is_empty() {
                own.insert("mux".to_owned(), Value::Object(mux));
            }
            json!({"network": "mws", "mwsSettings": own})
        }
        _ => return None,
    };
    if let Some(tls) = &transport.security {
        stream["security"] = "tls".into();
        stream["tlsSettings"] = Value::Object(security(tls)?);
    }
    Some(stream)
}

fn websocket(ws: &ws::ServerSettings) -> Option<Map<String, Value>> {
    if ws.early_data.is_some() || ws.forwarded != Forwarded::default() {
        return None;
    }
    let mut map = Map::new();
    map.insert("path".to_owned(), ws.path.clone().into());
    if let Some(host) = &ws.host {
        map.insert("host".to_owned(), host.clone().into());
    }
    put_headers(&mut map, headers(&ws.headers));
    if ws.heartbeat != ws::ServerSettings::default().heartbeat {
        map.insert("heartbeatPeriod".to_owned(), secs(ws.heartbeat));
    }
    Some(map)
}

fn security(tls: &Tls) -> Option<Map<String, Value>> {
    if !tls.issuers.is_empty() || !tls.acme.is_empty() || tls.reject_unknown_sni {
        return None;
    }
    let mut map = Map::new();
    let mut certificates: Vec<Value> = tls.certificates.iter().map(pair).collect();
    if let ClientAuth::Required(authorities) = &tls.client_auth {
        let pem = authorities.to_pem();
        let lines: Vec<&str> = pem.lines().collect();
        certificates.push(json!({"usage": "verifyclient", "certificate": lines}));
        map.insert("verifyClientCertificate".to_owned(), true.into());
    }
    if !certificates.is_empty() {
        map.insert("certificates".to_owned(), certificates.into());
    }
    if let Some(made) = &tls.self_signed {
        map.insert("selfSigned".to_owned(), true.into());
        // Those that every such certificate has are not said.
        let usual = SelfSigned::new(None).names;
        let own = made.names.iter().find(|name| !usual.contains(name));
        if let Some(name) = own {
            map.insert("serverName".to_owned(), name.clone().into());
        }
    }
    match tls.versions {
        Versions::Both => {}
        Versions::Only12 => drop(map.insert("maxVersion".to_owned(), "1.2".into())),
        Versions::Only13 => drop(map.insert("minVersion".to_owned(), "1.3".into())),
    }
    Some(map)
}

/// A certificate with its key.
pub(super) fn pair(own: &KeyPair) -> Value {
    let mut value = json!({"usage": "encipherment"});
    for (name, text) in [("certificate", &own.certificate), ("key", &own.key.0)] {
        pem(&mut value, name, text);
    }
    value
}
