//! `wsSettings`.
//!
//! | key | meaning |
//! |---|---|
//! | `path` | as V2Ray: a missing `/` is added; `?ed=N` as Xray's links carry it |
//! | `headers`, v5 `header` | client: replace or join the defaults; server: joined to the 101 (V2Ray's server does nothing with them) |
//! | `host` | as Xray: the client's `Host`, before `headers.Host` |
//! | `maxEarlyData` | client: bytes of the first write that travel in the handshake; server: any number but 0 turns it on |
//! | `earlyDataHeaderName` | the header it travels in; without a name it follows the path |
//! | `heartbeatPeriod` | as Xray, seconds: silence after which we ping; 30 by default, 0 is never |
//! | `trustedProxies` | ours, server: whose word about the client counts, in `X-Forwarded-For` or a header below |
//! | `realIpHeader` | ours, server: headers that hold the client's address alone, such as `CF-Connecting-IP` |
//! | `parseXForwardedFor` | as V2Ray 5, server: `false` is that nobody's counts |

use std::time::Duration;

use http::HeaderMap;
use http::header::{
    self, CONNECTION, CONTENT_LENGTH, HOST, HeaderName, HeaderValue, SEC_WEBSOCKET_PROTOCOL,
    TRANSFER_ENCODING, UPGRADE, USER_AGENT,
};
use serde_json::Value;

use crate::dialect::v2ray::json::{Node, Object, StringList, found};
use crate::http::{Forwarded, Net, Trusted};
use crate::transport::ws::{self, ClientSettings, EarlyData, EarlyDataIn, ServerSettings};

/// Reads the settings of a server; absent ones are the defaults.
pub(super) fn server(settings: Option<&Node>) -> Option<ServerSettings> {
    let Some(node) = settings else {
        return Some(ServerSettings::default());
    };
    let object = node.object()?;
    let (path, is_cut) = server_path(object.read_or("path", String::new()));
    if let (true, Some(node)) = (is_cut, object.get("path")) {
        node.warn("what follows `?` is for clients, this server ignores it");
    }
    let mut headers = read_headers(&object);
    // Configs are often copied from the client's side: its own headers mean nothing in an answer.
    for name in [HOST, USER_AGENT, CONNECTION, UPGRADE] {
        headers.remove(name);
    }
    if let Some(host) = object.get("host") {
        host.warn("the `Host` of requests is not checked, the key has no effect");
    }
    let settings = ServerSettings {
        path,
        headers,
        early_data: read_early_data(&object).map(|early| early.carried_in),
        heartbeat: read_heartbeat(&object),
        forwarded: read_forwarded(&object),
    };
    finish(object);
    Some(settings)
}

/// Reads the settings of a client; absent ones are the defaults.
pub(super) fn client(settings: Option<&Node>) -> Option<ClientSettings> {
    let Some(node) = settings else {
        return Some(ClientSettings::default());
    };
    let object = node.object()?;
    let (path, from_path) = client_path(object.read_or("path", String::new()));
    let mut headers = read_headers(&object);
    let mut host = headers.remove(HOST);
    if let Some(node) = object.get("host")
        && let Some(text) = node.read::<String>()
        && !text.is_empty()
    {
        match text.parse() {
            Ok(value) => host = Some(value),
            Err(_) => node.dead(format!("{} cannot stand in a header", found(node.value))),
        }
    }
    let settings = ClientSettings {
        path,
        host,
        headers,
        early_data: read_early_data(&object).or(from_path),
        heartbeat: read_heartbeat(&object),
    };
    for key in ["trustedProxies", "realIpHeader"] {
        if object.get(key).is_some() {
            let text = format!("`{key}` is for inbounds, it has no effect here");
            object.node.warn(text);
        }
    }
    finish(object);
    Some(settings)
}

/// The rest of the keys.
fn finish(object: Object) {
    if let Some(node) = object.get("path")
        && let Some(path) = node.value.as_str()
    {
        if path.contains("://") {
            node.warn("this is a whole URL, expected what follows the host in it, such as `/ray`");
        } else if path.trim() != path {
            node.warn("there is a blank at its beginning or end, which is part of the path");
        }
    }
    if let Some(node) = object.get("useBrowserForwarding")
        && node.read() == Some(true)
    {
        node.warn("browser forwarding is not built yet, the key has no effect");
    }
    // One is read together with those of TCP; the other means nothing to a client.
    object.silent(&["acceptProxyProtocol", "parseXForwardedFor"]);
    object.finish();
}

/// The path that a server serves, and whether something for clients was cut off.
pub(in crate::dialect) fn server_path(written: String) -> (String, bool) {
    let mut path = ws::with_slash(written);
    let cut = ed_at(&path);
    path.truncate(cut.unwrap_or(path.len()));
    (path, cut.is_some())
}

/// The path that a client asks for, and the early data of its `?ed=`.
pub(in crate::dialect) fn client_path(written: String) -> (String, Option<EarlyData>) {
    let written = ws::with_slash(written);
    let (path, query) = written.split_once('?').unwrap_or((&written, ""));
    let (query, ed) = take_ed(query);
    let early = ed.map(|max| EarlyData {
        carried_in: EarlyDataIn::Header(SEC_WEBSOCKET_PROTOCOL),
        max,
    });
    (format!("{path}{query}"), early)
}

/// Where the query starts, if it holds `ed`.
fn ed_at(path: &str) -> Option<usize> {
    let at = path.find('?')?;
    path[at + 1..]
        .split('&')
        .any(|part| part == "ed" || part.starts_with("ed="))
        .then_some(at)
}

/// Takes `ed=N` out of a query; what is left has its `?` in front.
fn take_ed(query: &str) -> (String, Option<usize>) {
    let mut ed = None;
    let mut rest = String::new();
    for part in query.split('&').filter(|part| !part.is_empty()) {
        if let Some(max) = part.strip_prefix("ed=").and_then(|n| n.parse().ok()) {
            ed = Some(max).filter(|max| *max > 0);
        } else {
            rest.push(if rest.is_empty() { '?' } else { '&' });
            rest.push_str(part);
        }
    }
    (rest, ed)
}

fn read_early_data(object: &Object) -> Option<EarlyData> {
    let max = object.get("maxEarlyData").and_then(|node| {
        let max: i64 = node.read()?;
        let size = usize::try_from(max);
        if size.is_err() {
            node.warn(format!(
                "the number {max} is negative, there is no early data, expected a number of bytes or 0"
            ));
        }
        size.ok()
    });
    let mut unnamed = false;
    let name = object.get("earlyDataHeaderName").and_then(|node| {
        let text: String = node.read()?;
        if text.is_empty() {
            return None;
        }
        let name = HeaderName::try_from(&text).ok();
        if name.is_none() {
            let found = found(node.value);
            node.warn(format!(
                "{found} is not the name of a header, there is no early data"
            ));
            unnamed = true;
        }
        name
    });
    let max = max.filter(|max| *max > 0 && !unnamed)?;
    let carried_in = name.map_or(EarlyDataIn::Path, EarlyDataIn::Header);
    Some(EarlyData { carried_in, max })
}

fn read_heartbeat(object: &Object) -> Option<Duration> {
    match object.read::<u32>("heartbeatPeriod") {
        None => Some(ws::HEARTBEAT),
        Some(0) => None,
        Some(secs) => Some(Duration::from_secs(secs.into())),
    }
}

/// V2Ray 4's map and V2Ray 5's list of `{key, value}`.
fn read_headers(object: &Object) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let mut put = |key: &Node, name: &str, value: &Node| {
        let Some(text) = value.read::<String>() else {
            return;
        };
        let name = match header_name(name) {
            Ok(name) => name,
            Err(text) => return key.warn(format!("{text}, the header is left out")),
        };
        let Ok(text) = HeaderValue::try_from(text) else {
            return value.dead(format!("{} cannot stand in a header", found(value.value)));
        };
        headers.insert(name, text);
    };
    if let Some(node) = object.get("headers")
        && let Some(map) = node.object()
        && let Value::Object(names) = node.value
    {
        for (name, value) in names {
            let value = Node::at(map.node.path.key(name), value, node.report());
            put(&value, name, &value);
        }
    }
    for item in object.array("header") {
        let Some(pair) = item.object() else { continue };
        let key = pair.require_node("key");
        let value = pair.require_node("value");
        if let (Some(key), Some(value)) = (key, value)
            && let Some(name) = key.read::<String>()
        {
            put(&key, &name, &value);
        }
        pair.finish();
    }
    headers
}

/// The name of a header that the user may choose.
pub(in crate::dialect) fn header_name(name: &str) -> Result<HeaderName, String> {
    let Ok(name) = HeaderName::try_from(name) else {
        return Err(format!(
            "`{}` is not the name of a header",
            name.escape_debug()
        ));
    };
    match HANDSHAKE.contains(&name) {
        true => Err(format!(
            "`{name}` belongs to the handshake and cannot be set"
        )),
        false => Ok(name),
    }
}

/// Headers that are not the user's to choose.
const HANDSHAKE: [HeaderName; 8] = [
    CONNECTION,
    UPGRADE,
    CONTENT_LENGTH,
    TRANSFER_ENCODING,
    header::SEC_WEBSOCKET_ACCEPT,
    header::SEC_WEBSOCKET_EXTENSIONS,
    header::SEC_WEBSOCKET_KEY,
    header::SEC_WEBSOCKET_VERSION,
];

/// `trustedProxies` and `realIpHeader`; V2Ray 5's `parseXForwardedFor: false` believes nobody.
fn read_forwarded(object: &Object) -> Forwarded {
    let parse = object.read_or("parseXForwardedFor", true);
    let listed = object.get("trustedProxies").map(|node| read_nets(&node));
    let headers = object.get("realIpHeader").map(|node| read_names(&node));
    Forwarded {
        trusted: match (parse, listed) {
            (false, _) => Trusted::Listed(Vec::new()),
            (true, Some(nets)) => Trusted::Listed(nets),
            (true, None) => Trusted::Nearby,
        },
        headers: headers.unwrap_or_default(),
        marks: Vec::new(),
    }
}

fn read_nets(node: &Node) -> Vec<Net> {
    let list: StringList = node.read().unwrap_or_default();
    let mut nets = Vec::new();
    for text in &list.0 {
        match Net::read(text) {
            Some(named) => nets.extend(named),
            None => node.error(format!(
                "`{}` is not an IP address, a network such as `10.0.0.0/8` or one of the names {}",
                text.escape_debug(),
                Net::NAMES.map(|name| format!("`{name}`")).join(", ")
            )),
        }
    }
    nets
}

pub(super) fn read_names(node: &Node) -> Vec<HeaderName> {
    let list: StringList = node.read().unwrap_or_default();
    let mut names = Vec::new();
    for text in &list.0 {
        match HeaderName::try_from(text) {
            Ok(name) => names.push(name),
            Err(_) => node.error(format!(
                "`{}` is not the name of a header",
                text.escape_debug()
            )),
        }
    }
    names
}

#[cfg(test)]
mod tests;
