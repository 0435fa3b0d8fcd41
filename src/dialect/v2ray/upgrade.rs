//! What `wsSettings` and `httpupgradeSettings` have in common.

use http::HeaderMap;
use http::header::{
    self, CONNECTION, CONTENT_LENGTH, HOST, HeaderName, HeaderValue, SEC_WEBSOCKET_PROTOCOL,
    TRANSFER_ENCODING, UPGRADE, USER_AGENT,
};
use percent_encoding::percent_decode_str;
use serde_json::Value;

use super::json::{Node, Object, StringList, found};
use crate::http::request::with_slash;
use crate::http::{EarlyDataIn, Forwarded, Net, Trusted};

/// The path that a server serves.
pub(in crate::dialect) struct ServerPath {
    pub path: String,
    /// Whether clients are told to send early data: then `Sec-WebSocket-Protocol` holds nothing else.
    pub has_ed: bool,
}

impl ServerPath {
    /// What early data travels in where no other setting says so.
    pub(in crate::dialect) fn early_data(&self) -> Option<EarlyDataIn> {
        self.has_ed
            .then_some(EarlyDataIn::Header(SEC_WEBSOCKET_PROTOCOL))
    }
}

/// `path` of a server, without what is for clients in it.
pub(super) fn read_server_path(object: &Object) -> ServerPath {
    let written = object.read_or("path", String::new());
    let query = written.split_once('?').map(|(_, query)| take_ed(query));
    if let (Some((rest, _)), Some(node)) = (query, object.get("path"))
        && !rest.is_empty()
        && ed_at(&written).is_some()
    {
        node.warn("what follows `?` is for clients, this server ignores it");
    }
    server_path(written)
}

/// `host` of a server, or of a client; an empty one is none.
pub(super) fn read_host(object: &Object) -> Option<HeaderValue> {
    let node = object.get("host")?;
    let text: String = node.read()?;
    let host = text.parse();
    if host.is_err() {
        node.dead(format!("{} cannot stand in a header", found(node.value)));
    }
    host.ok().filter(|_| !text.is_empty())
}

/// `headers` of a server: configs are often copied from the client's side, whose own headers mean nothing in an answer.
pub(super) fn read_server_headers(object: &Object) -> HeaderMap {
    let mut headers = read_headers(object);
    for name in [HOST, USER_AGENT, CONNECTION, UPGRADE] {
        headers.remove(name);
    }
    headers
}

/// Keys that mean nothing to a client.
pub(super) fn warn_of_server_keys(object: &Object) {
    for key in ["trustedProxies", "realIpHeader"] {
        if object.get(key).is_some() {
            let text = format!("`{key}` is for inbounds, it has no effect here");
            object.node.warn(text);
        }
    }
}

/// The rest of the keys.
pub(super) fn finish(object: Object) {
    if let Some(node) = object.get("path")
        && let Some(path) = node.value.as_str()
    {
        if path.contains("://") {
            node.warn("this is a whole URL, expected what follows the host in it, such as `/ray`");
        } else if path.trim() != path {
            node.warn("there is a blank at its beginning or end, which is part of the path");
        }
    }
    // One is read together with those of TCP; the other means nothing to a client.
    object.silent(&["acceptProxyProtocol", "parseXForwardedFor"]);
    object.finish();
}

/// `path` as a server has it.
pub(in crate::dialect) fn server_path(written: String) -> ServerPath {
    let mut path = with_slash(written);
    let cut = ed_at(&path);
    path.truncate(cut.unwrap_or(path.len()));
    ServerPath {
        path,
        has_ed: cut.is_some(),
    }
}

/// `path` as a server of httpupgrade has it: of what follows `?` only `ed` is for clients.
pub(in crate::dialect) fn whole_server_path(written: String) -> ServerPath {
    let has_ed = ed_at(&written).is_some();
    let (path, _) = client_path(written);
    ServerPath { path, has_ed }
}

/// The path that a client asks for, and N of its `?ed=N`.
pub(in crate::dialect) fn client_path(written: String) -> (String, Option<usize>) {
    let written = with_slash(written);
    let (path, query) = written.split_once('?').unwrap_or((&written, ""));
    let (query, ed) = take_ed(query);
    (format!("{path}{query}"), ed)
}

/// The path alone that a client of httpupgrade asks for whose own words are parts of URLs, as sing-box' and mihomo's are:
/// here a path is what it means.
pub(in crate::dialect) fn path_of_url(path: &str) -> String {
    let path = path.split('?').next().unwrap_or_default();
    percent_decode_str(path).decode_utf8_lossy().into_owned()
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

/// `maxEarlyData`; `None` when there is none.
pub(super) fn read_max_early_data(object: &Object) -> Option<usize> {
    let node = object.get("maxEarlyData")?;
    let max: i64 = node.read()?;
    let size = usize::try_from(max);
    if size.is_err() {
        node.warn(format!(
            "the number {max} is negative, there is no early data, expected a number of bytes or 0"
        ));
    }
    size.ok().filter(|max| *max > 0)
}

/// `earlyDataHeaderName`, and nothing where it is absent. `None` when it is no name: then there is no early data.
pub(super) fn read_early_data_header(object: &Object) -> Option<Option<HeaderName>> {
    let Some(node) = object.get("earlyDataHeaderName") else {
        return Some(None);
    };
    let text = node.read().unwrap_or_else(String::new);
    if text.is_empty() {
        return Some(None);
    }
    let name = HeaderName::try_from(&text).ok();
    if name.is_none() {
        let found = found(node.value);
        node.warn(format!(
            "{found} is not the name of a header, there is no early data"
        ));
    }
    name.map(Some)
}

/// V2Ray 4's map and V2Ray 5's list of `{key, value}`.
pub(super) fn read_headers(object: &Object) -> HeaderMap {
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
            if value.is_null() {
                continue;
            }
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
pub(super) fn read_forwarded(object: &Object) -> Forwarded {
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
