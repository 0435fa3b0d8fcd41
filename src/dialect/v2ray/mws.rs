//! `mwsSettings`, ours: gost's `mws`.
//!
//! | key | meaning |
//! |---|---|
//! | `path`, `host`, `headers`, … | as in `wsSettings`; `path` is `/ws` by default, as in gost |
//! | `heartbeatPeriod` | as in `wsSettings`; 0 by default, since the frames inside say that somebody is there |
//! | `mux.version` | 1 (default) or 2: what a client speaks; a server goes by the first frame |
//! | `mux.keepaliveInterval`, `mux.keepaliveTimeout`, `mux.keepaliveDisabled` | 10 s, 30 s, no |
//! | `mux.maxFrameSize` | the most data of a frame that is sent: 32768 |
//! | `mux.maxReceiveBuffer` | what may lie unread in all tunnels of a connection: 4 MiB in version 1, 16 MiB in version 2 |
//! | `mux.maxStreamBuffer` | how far the window of a tunnel of version 2 may grow: 4 MiB |

use std::time::Duration;

use super::json::{Node, Object};
use super::{upgrade, ws};
use crate::smux::{self, KeepAlive, Version};
use crate::transport::mws::{ClientSettings, PATH, ServerSettings};

/// Reads the settings of a server; absent ones are the defaults.
pub(super) fn server(settings: Option<&Node>) -> Option<ServerSettings> {
    let Some(node) = settings else {
        return Some(ServerSettings::default());
    };
    let object = node.object()?;
    let mut ws = ws::read_server(&object);
    own_defaults(&object, &mut ws.path, &mut ws.heartbeat);
    let mux = read_mux(&object);
    upgrade::finish(object);
    Some(ServerSettings { ws, mux })
}

/// Reads the settings of a client; absent ones are the defaults.
pub(super) fn client(settings: Option<&Node>) -> Option<ClientSettings> {
    let Some(node) = settings else {
        return Some(ClientSettings::default());
    };
    let object = node.object()?;
    let mut ws = ws::read_client(&object);
    own_defaults(&object, &mut ws.path, &mut ws.heartbeat);
    let mux = read_mux(&object);
    upgrade::finish(object);
    Some(ClientSettings { ws, mux })
}

/// Where a config says nothing it is not as in `wsSettings`.
fn own_defaults(object: &Object, path: &mut String, heartbeat: &mut Option<Duration>) {
    if object.get("path").is_none() {
        *path = PATH.to_owned();
    }
    if object.get("heartbeatPeriod").is_none() {
        *heartbeat = None;
    }
}

/// The version of smux that is spoken, 1 without a word.
pub(super) fn version(node: &Option<Node>) -> Version {
    let number = node
        .as_ref()
        .and_then(|node| Some((node, node.read::<u32>()?)));
    match number {
        None | Some((_, 1)) => Version::One,
        Some((_, 2)) => Version::Two,
        Some((node, other)) => {
            node.error(format!(
                "there is no version {other} of smux, expected 1 or 2"
            ));
            Version::One
        }
    }
}

fn read_mux(object: &Object) -> smux::Settings {
    let default = smux::Settings::default();
    let Some(object) = object.get("mux").and_then(|node| node.object()) else {
        return default;
    };
    let version = version(&object.get("version"));
    let alive = KeepAlive::default();
    let interval = object.read_or("keepaliveInterval", alive.interval);
    let timeout = object.read_or("keepaliveTimeout", alive.timeout);
    let is_disabled = object.read_or("keepaliveDisabled", false);
    if !is_disabled && (interval < Duration::from_millis(100) || timeout <= interval) {
        object.node.error(
            "`keepaliveTimeout` must be longer than `keepaliveInterval`, which is 100 ms at least: a peer that says \
             something every 10 s is there as long as 30 s have not passed without a word",
        );
    }
    let max_frame = object.read::<u32>("maxFrameSize");
    let frame = max_frame.and_then(|n| u16::try_from(n).ok().filter(|n| *n >= 512));
    if let Some(n) = max_frame.filter(|_| frame.is_none()) {
        let text = format!("`maxFrameSize` is {n}, expected 512 to 65535");
        object.node.error(text);
    }
    let bytes = |key| object.read::<u32>(key).filter(|n| *n > 0);
    let settings = smux::Settings {
        version,
        keepalive: (!is_disabled).then_some(KeepAlive { interval, timeout }),
        max_frame: frame,
        receive_buffer: bytes("maxReceiveBuffer").map(|n| n as usize),
        stream_window: bytes("maxStreamBuffer").unwrap_or(default.stream_window),
    };
    object.finish();
    settings
}
