//! `wsSettings`.
//!
//! | key | meaning |
//! |---|---|
//! | `path` | as V2Ray: a missing `/` is added; `?ed=N` as Xray's links carry it |
//! | `headers`, v5 `header` | client: replace or join the defaults; server: joined to the 101 (V2Ray's server does nothing with them) |
//! | `host` | as Xray: the client's `Host`, before `headers.Host`; what a server insists on |
//! | `maxEarlyData` | client: bytes of the first write that travel in the handshake; server: any number but 0 turns it on |
//! | `earlyDataHeaderName` | the header it travels in; without a name it follows the path |
//! | `heartbeatPeriod` | as Xray, seconds: silence after which we ping; 30 by default, 0 is never |
//! | `useBrowserForwarding` | client: `browserForwarder` opens the WebSocket; a server takes browsers as they come |
//! | `endsSilently` | ours, client: the server ends without a close frame, as gost does |
//! | `trustedProxies` | ours, server: whose word about the client counts, in `X-Forwarded-For` or a header below |
//! | `realIpHeader` | ours, server: headers that hold the client's address alone, such as `CF-Connecting-IP` |
//! | `parseXForwardedFor` | as V2Ray 5, server: `false` is that nobody's counts |

use std::time::Duration;

use http::header::{HOST, SEC_WEBSOCKET_PROTOCOL};

use super::upgrade;
use crate::dialect::v2ray::json::{Node, Object};
use crate::http::{EarlyData, EarlyDataIn};
use crate::transport::ws::{self, ClientSettings, ServerSettings};

/// Reads the settings of a server; absent ones are the defaults.
pub(super) fn server(settings: Option<&Node>) -> Option<ServerSettings> {
    let Some(node) = settings else {
        return Some(ServerSettings::default());
    };
    let object = node.object()?;
    let settings = read_server(&object);
    if let Some(node) = object.get("useBrowserForwarding")
        && node.value == true
    {
        node.warn(
            "this is for the client, a server takes browsers as they come: the key has no effect",
        );
    }
    finish(object);
    Some(settings)
}

/// The keys of a server.
pub(super) fn read_server(object: &Object) -> ServerSettings {
    let path = upgrade::read_server_path(object);
    let early = read_early_data(object).map(|early| early.carried_in);
    if let Some(node) = object.get("endsSilently")
        && node.value == true
    {
        node.warn("this is for the client, who hears of an end: the key has no effect");
    }
    let host = upgrade::read_host(object);
    ServerSettings {
        early_data: early.or_else(|| path.early_data()),
        path: path.path,
        below: false,
        host: host.map(|host| String::from_utf8_lossy(host.as_bytes()).into_owned()),
        headers: upgrade::read_server_headers(object),
        heartbeat: read_heartbeat(object),
        forwarded: upgrade::read_forwarded(object),
    }
}

/// Reads the settings of a client; absent ones are the defaults.
pub(super) fn client(settings: Option<&Node>) -> Option<ClientSettings> {
    let Some(node) = settings else {
        return Some(ClientSettings::default());
    };
    let object = node.object()?;
    let settings = read_client(&object);
    finish(object);
    Some(settings)
}

/// The keys of a client.
pub(super) fn read_client(object: &Object) -> ClientSettings {
    let (path, ed) = upgrade::client_path(object.read_or("path", String::new()));
    let mut headers = upgrade::read_headers(object);
    let old = headers.remove(HOST);
    let settings = ClientSettings {
        path,
        host: upgrade::read_host(object).or(old),
        headers,
        early_data: read_early_data(object).or_else(|| ed.map(early_data_of_ed)),
        heartbeat: read_heartbeat(object),
        ends_silently: object.read_or("endsSilently", false),
    };
    upgrade::warn_of_server_keys(object);
    settings
}

/// What `?ed=N` means to a client.
pub(in crate::dialect) fn early_data_of_ed(max: usize) -> EarlyData {
    EarlyData {
        carried_in: EarlyDataIn::Header(SEC_WEBSOCKET_PROTOCOL),
        max,
    }
}

/// The rest of the keys.
fn finish(object: Object) {
    // Which carrier it is was asked before.
    let _: bool = object.read_or("useBrowserForwarding", false);
    upgrade::finish(object);
}

/// `useBrowserForwarding` of a client.
pub(super) fn asks_for_browser(settings: Option<&Node>) -> bool {
    let value = settings.and_then(|node| node.value.as_object());
    let mut keys = value.into_iter().flatten();
    let found = keys.find(|(key, _)| key.eq_ignore_ascii_case("useBrowserForwarding"));
    found.is_some_and(|(_, value)| value == true)
}

fn read_early_data(object: &Object) -> Option<EarlyData> {
    let max = upgrade::read_max_early_data(object);
    let name = upgrade::read_early_data_header(object)?;
    Some(EarlyData {
        carried_in: name.map_or(EarlyDataIn::Path, EarlyDataIn::Header),
        max: max?,
    })
}

fn read_heartbeat(object: &Object) -> Option<Duration> {
    match object.read::<u32>("heartbeatPeriod") {
        None => Some(ws::HEARTBEAT),
        Some(0) => None,
        Some(secs) => Some(Duration::from_secs(secs.into())),
    }
}

#[cfg(test)]
mod tests;
