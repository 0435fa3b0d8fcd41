//! `streamSettings`.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::HeaderValue;
use http::{HeaderMap, Method};
use serde_json::{Map, Value, json};

use super::server;
use crate::address::Host;
use crate::http::EarlyDataIn;
use crate::smux;
use crate::transport::http_header::{Header, Request, Response, Settings as HttpHeader};
use crate::transport::http2::Pings;
use crate::transport::httpupgrade::EarlyData;
use crate::transport::tcp::UnixSocket;
use crate::transport::tls::{self, Pem, Versions};
use crate::transport::{ClientCarrier, ClientSettings, grpc, h2, httpupgrade, mws, ws};

/// What stands for a number that means nothing but "yes" in `?ed=`; that of Xray's examples.
const ED: usize = 2560;

pub(super) fn client(transport: &ClientSettings) -> Value {
    let (network, key, own) = match &transport.carrier {
        ClientCarrier::Raw => ("tcp", "", Map::new()),
        ClientCarrier::Unix(socket) => ("domainsocket", "dsSettings", unix(socket)),
        ClientCarrier::HttpHeader(header) => ("tcp", "tcpSettings", tcp(header)),
        ClientCarrier::Ws(ws) => ("ws", "wsSettings", self::ws(ws)),
        ClientCarrier::Mws(mws) => ("mws", "mwsSettings", self::mws(mws)),
        ClientCarrier::Browser(ws) => {
            let mut map = self::ws(ws);
            map.insert("useBrowserForwarding".to_owned(), true.into());
            ("ws", "wsSettings", map)
        }
        ClientCarrier::HttpUpgrade(upgrade) => {
            ("httpupgrade", "httpupgradeSettings", httpupgrade(upgrade))
        }
        ClientCarrier::Grpc(grpc) => ("grpc", "grpcSettings", self::grpc(grpc)),
        ClientCarrier::H2(h2) => ("http", "httpSettings", self::h2(h2)),
    };
    let mut stream = json!({"network": network, "security": "none"});
    if !key.is_empty() {
        stream[key] = Value::Object(own);
    }
    if let Some(tls) = &transport.security {
        let is_upgrade = matches!(network, "ws" | "mws" | "httpupgrade");
        stream["security"] = "tls".into();
        stream["tlsSettings"] = Value::Object(self::tls(tls, is_upgrade));
    }
    if let Some(fragment) = &transport.fragment {
        stream["finalmask"] = super::disguise::of_mask(fragment);
    }
    stream
}

fn unix(socket: &UnixSocket) -> Map<String, Value> {
    let mut map = Map::new();
    match socket {
        UnixSocket::Path(path) => {
            map.insert("path".to_owned(), path.to_string_lossy().into());
        }
        UnixSocket::Abstract(name) => {
            let name = String::from_utf8_lossy(name);
            let padded = name.strip_prefix('@');
            map.insert("path".to_owned(), padded.unwrap_or(&name).into());
            map.insert("abstract".to_owned(), true.into());
            if padded.is_some() {
                map.insert("padding".to_owned(), true.into());
            }
        }
    }
    map
}

fn ws(ws: &ws::ClientSettings) -> Map<String, Value> {
    let mut map = Map::new();
    map.insert("path".to_owned(), ws.path.clone().into());
    let mut headers = headers(&ws.headers);
    if let Some(host) = &ws.host {
        // V2Ray has no other place for it.
        headers.insert("Host".to_owned(), text(host).into());
    }
    put_headers(&mut map, headers);
    if let Some(early) = &ws.early_data {
        map.insert("maxEarlyData".to_owned(), early.max.into());
        if let EarlyDataIn::Header(name) = &early.carried_in {
            let name = header_name(name.as_str());
            map.insert("earlyDataHeaderName".to_owned(), name.into());
        }
    }
    if ws.heartbeat != ws::ClientSettings::default().heartbeat {
        map.insert("heartbeatPeriod".to_owned(), secs(ws.heartbeat));
    }
    if ws.ends_silently {
        map.insert("endsSilently".to_owned(), true.into());
    }
    map
}

fn mws(mws: &mws::ClientSettings) -> Map<String, Value> {
    let mut map = ws(&mws.ws);
    if mws.ws.heartbeat.is_none() {
        map.remove("heartbeatPeriod");
    }
    let own = mux(&mws.mux);
    if !own.is_empty() {
        map.insert("mux".to_owned(), Value::Object(own));
    }
    map
}

/// What is spoken inside of `mws`.
pub(super) fn mux(mux: &smux::Settings) -> Map<String, Value> {
    let default = smux::Settings::default();
    let mut own = Map::new();
    if mux.version != default.version {
        own.insert("version".to_owned(), (mux.version as u8).into());
    }
    match mux.keepalive {
        None => drop(own.insert("keepaliveDisabled".to_owned(), true.into())),
        Some(alive) if mux.keepalive != default.keepalive => {
            for (key, time) in [
                ("keepaliveInterval", alive.interval),
                ("keepaliveTimeout", alive.timeout),
            ] {
                own.insert(key.to_owned(), format!("{}s", time.as_secs_f64()).into());
            }
        }
        Some(_) => {}
    }
    if let Some(max_frame) = mux.max_frame {
        own.insert("maxFrameSize".to_owned(), max_frame.into());
    }
    if let Some(bytes) = mux.receive_buffer {
        own.insert("maxReceiveBuffer".to_owned(), bytes.into());
    }
    if mux.stream_window != default.stream_window {
        own.insert("maxStreamBuffer".to_owned(), mux.stream_window.into());
    }
    own
}

fn httpupgrade(upgrade: &httpupgrade::ClientSettings) -> Map<String, Value> {
    let mut map = Map::new();
    let mut path = upgrade.path.clone();
    match &upgrade.early_data {
        None => {}
        Some(EarlyData::Ahead) => {
            path.push(if path.contains('?') { '&' } else { '?' });
            path.push_str(&format!("ed={ED}"));
        }
        Some(EarlyData::Header(header)) => {
            map.insert("maxEarlyData".to_owned(), header.max.into());
            let name = header_name(header.name.as_str());
            map.insert("earlyDataHeaderName".to_owned(), name.into());
        }
    }
    map.insert("path".to_owned(), path.into());
    if let Some(host) = &upgrade.host {
        map.insert("host".to_owned(), text(host).into());
    }
    put_headers(&mut map, headers(&upgrade.headers));
    map
}

fn grpc(grpc: &grpc::ClientSettings) -> Map<String, Value> {
    let mut map = Map::new();
    map.insert("serviceName".to_owned(), grpc.paths.name().into());
    if grpc.multi {
        map.insert("multiMode".to_owned(), true.into());
    }
    if let Some(authority) = &grpc.authority {
        map.insert("authority".to_owned(), authority.clone().into());
    }
    if let Some(agent) = &grpc.user_agent {
        map.insert("user_agent".to_owned(), text(agent).into());
    }
    if let Some(window) = grpc.window {
        map.insert("initial_windows_size".to_owned(), window.into());
    }
    put_pings(&mut map, "idle_timeout", grpc.pings);
    map
}

fn h2(h2: &h2::ClientSettings) -> Map<String, Value> {
    let mut map = Map::new();
    map.insert("path".to_owned(), h2.path.clone().into());
    if !h2.hosts.is_empty() {
        map.insert("host".to_owned(), h2.hosts.clone().into());
    }
    if h2.method != Method::PUT {
        map.insert("method".to_owned(), h2.method.as_str().into());
    }
    let mut own = Map::new();
    for name in h2.headers.keys() {
        let values = h2.headers.get_all(name).iter().map(text);
        own.insert(name.to_string(), values.collect());
    }
    put_headers(&mut map, own);
    put_pings(&mut map, "read_idle_timeout", h2.pings);
    map
}

fn tcp(header: &HttpHeader) -> Map<String, Value> {
    let (request, default) = (&header.request, Request::default());
    let mut own = json!({"path": request.paths});
    if request.version != default.version {
        own["version"] = request.version.clone().into();
    }
    if request.method != default.method {
        own["method"] = request.method.clone().into();
    }
    if request.headers != default.headers {
        own["headers"] = lists(&request.headers);
    }
    let mut value = json!({"type": "http", "request": own});
    let (response, default) = (&header.response, Response::default());
    if *response != default {
        value["response"] = json!({
            "version": response.version, "status": response.status, "reason": response.reason,
            "headers": lists(&response.headers),
        });
    }
    let mut map = Map::new();
    map.insert("header".to_owned(), value);
    map
}

fn tls(tls: &tls::ClientSettings, is_upgrade: bool) -> Map<String, Value> {
    let mut map = Map::new();
    let mut put = |key: &str, value: Value| {
        map.insert(key.to_owned(), value);
    };
    if let Some(name) = &tls.server_name {
        put("serverName", bare(name).into());
    }
    let default = match is_upgrade {
        true => vec!["http/1.1".to_owned()],
        false => tls::ClientSettings::default().alpn,
    };
    if tls.alpn != default {
        put("alpn", tls.alpn.clone().into());
    }
    if tls.allow_insecure {
        put("allowInsecure", true.into());
    }
    if tls.disable_system_root {
        put("disableSystemRoot", true.into());
    }
    if !tls.pins.is_empty() {
        let pins = tls.pins.iter().map(|pin| STANDARD.encode(pin));
        put("pinnedPeerCertificateChainSha256", pins.collect());
    }
    if !tls.certificate_pins.is_empty() {
        let hex = |pin: &[u8; 32]| pin.iter().map(|byte| format!("{byte:02x}")).collect();
        let pins: Vec<String> = tls.certificate_pins.iter().map(hex).collect();
        put("pinnedPeerCertSha256", pins.join(",").into());
    }
    if let Some(fingerprint) = &tls.fingerprint {
        put("fingerprint", fingerprint.as_str().into());
    }
    if !tls.verify_names.is_empty() {
        let names: Vec<String> = tls.verify_names.iter().map(bare).collect();
        put("verifyPeerCertByName", names.join(",").into());
    }
    let mut certificates = Vec::new();
    if !tls.authorities.0.is_empty() {
        let pem = tls.authorities.to_pem();
        let lines: Vec<&str> = pem.lines().collect();
        certificates.push(json!({"usage": "verify", "certificate": lines}));
    }
    if let Some(own) = &tls.certificate {
        certificates.push(server::pair(own));
    }
    if !certificates.is_empty() {
        put("certificates", certificates.into());
    }
    match tls.versions {
        Versions::Both => {}
        Versions::Only12 => put("maxVersion", "1.2".into()),
        Versions::Only13 => put("minVersion", "1.3".into()),
    }
    if tls.early_data {
        put("earlyData", true.into());
    }
    map
}

/// A text of PEM, in a file or as it is.
pub(super) fn pem(value: &mut Value, name: &str, pem: &Pem) {
    match pem {
        Pem::File(path) => {
            value[format!("{name}File")] = path.to_string_lossy().into_owned().into();
        }
        Pem::Inline(text) => value[name] = text.lines().collect(),
    }
}

pub(super) fn put_headers(map: &mut Map<String, Value>, headers: Map<String, Value>) {
    if !headers.is_empty() {
        map.insert("headers".to_owned(), Value::Object(headers));
    }
}

fn put_pings(map: &mut Map<String, Value>, key: &str, pings: Option<Pings>) {
    let Some(pings) = pings else { return };
    map.insert(key.to_owned(), secs(Some(pings.period)));
    map.insert("health_check_timeout".to_owned(), secs(Some(pings.limit)));
    if pings.without_stream {
        map.insert("permit_without_stream".to_owned(), true.into());
    }
}

pub(super) fn headers(headers: &HeaderMap) -> Map<String, Value> {
    let pair =
        |(name, value): (&http::HeaderName, &HeaderValue)| (name.to_string(), text(value).into());
    headers.iter().map(pair).collect()
}

fn lists(headers: &[Header]) -> Value {
    let pair = |header: &Header| (header.name.clone(), json!(header.values));
    Value::Object(headers.iter().map(pair).collect())
}

fn text(value: &HeaderValue) -> String {
    String::from_utf8_lossy(value.as_bytes()).into_owned()
}

pub(super) fn secs(time: Option<Duration>) -> Value {
    time.map_or(0, |time| time.as_secs()).into()
}

/// As people spell it; case does not matter.
fn header_name(name: &str) -> &str {
    match name {
        "sec-websocket-protocol" => "Sec-WebSocket-Protocol",
        other => other,
    }
}

fn bare(host: &Host) -> String {
    match host {
        Host::Ip(ip) => ip.to_string(),
        Host::Domain(name) => name.clone(),
    }
}
