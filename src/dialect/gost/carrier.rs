//! What carries a service's or a node's bytes: the listener's and the dialer's keys.

use std::time::Duration;

use http::HeaderMap;
use http::header::{HOST, HeaderName, HeaderValue};

use super::Problems;
use super::part::Part;
use crate::dialect::tree::{Node, Value};
use crate::http::Forwarded;
use crate::http::request::whole_path;
use crate::smux::{self, KeepAlive, Version};
use crate::transport::{ClientCarrier, ServerCarrier, mws, ws};

/// What a listener or a dialer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kind {
    pub carrier: Carrier,
    pub has_tls: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Carrier {
    Tcp,
    Udp,
    Ws,
    Mws,
    /// A port of the server at the end of a chain.
    Bind {
        udp: bool,
    },
}

/// gost's others.
const NOT_BUILT: [&str; 34] = [
    "http2", "h2", "h2c", "grpc", "quic", "http3", "h3", "wt", "kcp", "ssh", "sshd", "mtls",
    "mtcp", "ohttp", "otls", "icmp", "pht", "phts", "dtls", "unix", "runix", "tun", "tap",
    "redirect", "red", "redu", "dns", "serial", "utls", "virtual", "ftcp", "masque", "direct",
    "obfs4",
];

impl Kind {
    /// `word` is a listener's or a dialer's type.
    pub(super) fn read(node: &Node, word: &str, problems: &Problems) -> Option<Self> {
        let kind = |carrier, has_tls| Some(Self { carrier, has_tls });
        match &*word.to_ascii_lowercase() {
            "tcp" | "" => kind(Carrier::Tcp, false),
            "udp" => kind(Carrier::Udp, false),
            "tls" => kind(Carrier::Tcp, true),
            "ws" => kind(Carrier::Ws, false),
            "wss" => kind(Carrier::Ws, true),
            "mws" => kind(Carrier::Mws, false),
            "mwss" => kind(Carrier::Mws, true),
            "rtcp" => kind(Carrier::Bind { udp: false }, false),
            "rudp" => kind(Carrier::Bind { udp: true }, false),
            other => {
                const BUILT: [&str; 9] = [
                    "tcp", "udp", "tls", "ws", "wss", "mws", "mwss", "rtcp", "rudp",
                ];
                let word = other.escape_debug();
                let text = match NOT_BUILT.contains(&other) {
                    true => format!(
                        "`{word}` is not built, expected {}",
                        crate::report::either(&BUILT)
                    ),
                    false => format!(
                        "there is no `{word}`, expected {}{}",
                        crate::report::either(&BUILT),
                        crate::report::did_you_mean(other, BUILT.into_iter())
                    ),
                };
                problems.error(&node.at, &text);
                None
            }
        }
    }
}

/// Keys that gost has for every carrier, and that change nothing here: buffers and limits are this program's own.
const SILENT: [&str; 12] = [
    "backlog",
    "handshaketimeout",
    "readheadertimeout",
    "readbuffersize",
    "writebuffersize",
    "enablecompression",
    "ttl",
    "keepalive.interval",
    "keepalive",
    "readtimeout",
    "readbuffer",
    "mptcp",
];

/// Reads the keys of a listener.
pub(super) fn server(kind: Kind, part: &Part, problems: &Problems) -> ServerCarrier {
    part.silent(&SILENT);
    part.refuse(
        &["proxyProtocol"],
        "PROXY headers have no key in this dialect, `acceptProxyProtocol` of a config.json has",
    );
    match kind.carrier {
        Carrier::Tcp | Carrier::Udp | Carrier::Bind { .. } => ServerCarrier::Raw,
        Carrier::Ws => ServerCarrier::Ws(server_ws(part, problems)),
        Carrier::Mws => ServerCarrier::Mws(mws::ServerSettings {
            ws: server_ws(part, problems),
            mux: mux(part, problems),
        }),
    }
}

fn server_ws(part: &Part, problems: &Problems) -> ws::ServerSettings {
    let path = path(part, problems);
    ws::ServerSettings {
        // As Go's ServeMux has it.
        below: path.ends_with('/'),
        path,
        // gost looks at no host.
        host: None,
        headers: headers(part, problems, false).0,
        early_data: None,
        heartbeat: None,
        forwarded: Forwarded::default(),
    }
}

/// Reads the keys of a dialer.
pub(super) fn client(kind: Kind, part: &Part, problems: &Problems) -> ClientCarrier {
    let keeps_alive = part.switch(&["keepalive"]).unwrap_or(false);
    let ttl = part.span(&["ttl", "keepalive.interval"]);
    part.silent(&SILENT);
    let is_ws = matches!(kind.carrier, Carrier::Ws | Carrier::Mws);
    let ws = || {
        let host = part
            .get(&["host"])
            .and_then(|node| header_value(node, problems))
            .filter(|host| !host.is_empty());
        let (headers, of_headers) = headers(part, problems, true);
        ws::ClientSettings {
            path: path(part, problems),
            host: host.or(of_headers),
            headers,
            early_data: None,
            heartbeat: keeps_alive.then(|| ttl.filter(|ttl| !ttl.is_zero()).unwrap_or(TTL)),
            ends_silently: false,
        }
    };
    match kind.carrier {
        _ if !is_ws => ClientCarrier::Raw,
        Carrier::Mws => ClientCarrier::Mws(mws::ClientSettings {
            ws: ws(),
            mux: mux(part, problems),
        }),
        _ => ClientCarrier::Ws(ws()),
    }
}

/// `ttl` when nothing is said.
const TTL: Duration = Duration::from_secs(15);

/// `path`; what would begin a query is a part of it, as in gost.
fn path(part: &Part, problems: &Problems) -> String {
    let path = part.text(&["path"]).filter(|path| !path.is_empty());
    let Some(path) = path else {
        return mws::PATH.to_owned();
    };
    if let Some(node) = part.get(&["path"])
        && !path.starts_with('/')
    {
        problems.warn(&node.at, "a path begins with `/`, one was put in front");
    }
    whole_path(path)
}

/// `header`: a map, or lines of `Name: value`; and the `Host` among them.
pub(super) fn headers(
    part: &Part,
    problems: &Problems,
    is_client: bool,
) -> (HeaderMap, Option<HeaderValue>) {
    let mut headers = HeaderMap::new();
    let mut host = None;
    let Some(node) = part.get(&["header", "headers"]) else {
        return (headers, host);
    };
    let mut pairs: Vec<(String, Node)> = Vec::new();
    match &node.value {
        Value::Map(entries) => pairs.extend(entries.iter().cloned()),
        _ => {
            for item in node.items() {
                let text = item.as_text().unwrap_or_default();
                match text.split_once(':') {
                    Some((name, value)) => {
                        pairs.push((name.trim().to_owned(), Node::text(value.trim(), &item.at)));
                    }
                    None => problems.error(&item.at, "this is no header, expected `Name: value`"),
                }
            }
        }
    }
    for (name, value) in pairs {
        let read: Result<HeaderName, _> = name.parse();
        let Ok(read) = read else {
            let text = format!("`{}` is not the name of a header", name.escape_debug());
            problems.error(&value.at, &text);
            continue;
        };
        let is_handshakes = [
            "connection",
            "upgrade",
            "content-length",
            "transfer-encoding",
        ]
        .contains(&read.as_str())
            || read.as_str().starts_with("sec-websocket-");
        if is_handshakes {
            problems.error(
                &value.at,
                &format!("`{read}` belongs to the handshake and cannot be set"),
            );
            continue;
        }
        let Some(value) = header_value(&value, problems) else {
            continue;
        };
        match read == HOST && is_client {
            true => host = Some(value).filter(|value| !value.is_empty()),
            false => drop(headers.append(read, value)),
        }
    }
    (headers, host)
}

/// A value may be empty, which is a text too.
fn header_value(node: &Node, problems: &Problems) -> Option<HeaderValue> {
    let text = match &node.value {
        Value::Null => "",
        Value::Text(text) => text,
        Value::List(_) | Value::Map(_) => {
            problems.error(&node.at, "expected the text of a header");
            return None;
        }
    };
    let value = HeaderValue::from_str(text).ok();
    if value.is_none() {
        let text = format!("`{}` cannot stand in a header", text.escape_debug());
        problems.error(&node.at, &text);
    }
    value
}

/// `mux.*`.
pub(super) fn mux(part: &Part, problems: &Problems) -> smux::Settings {
    let default = smux::Settings::default();
    let alive = KeepAlive::default();
    if let Some(node) = part.get(&["mux.type"])
        && node.as_text() != Some("smux")
    {
        problems.error(
            &node.at,
            "only `smux` is built, and it must be the same at both ends",
        );
    }
    part.silent(&["mux.maxStreamWindow"]);
    let version = mux_version(part, problems);
    let keepalive = KeepAlive {
        interval: part
            .span(&["mux.keepaliveInterval"])
            .filter(|span| !span.is_zero())
            .unwrap_or(alive.interval),
        timeout: part
            .span(&["mux.keepaliveTimeout"])
            .filter(|span| !span.is_zero())
            .unwrap_or(alive.timeout),
    };
    let is_disabled = part.switch(&["mux.keepaliveDisabled"]).unwrap_or(false);
    if !is_disabled && (keepalive.interval.is_zero() || keepalive.timeout <= keepalive.interval) {
        problems.error(
            &part.at,
            "`mux.keepaliveTimeout` must be longer than `mux.keepaliveInterval`",
        );
    }
    let max_frame = part.number(&["mux.maxFrameSize"]).filter(|n| *n > 0);
    if let Some(n) = max_frame.filter(|n| u16::try_from(*n).is_err()) {
        let text = format!("`mux.maxFrameSize` is {n}, expected at most 65535");
        problems.error(&part.at, &text);
    }
    let receive_buffer = part.number(&["mux.maxReceiveBuffer"]).filter(|n| *n > 0);
    smux::Settings {
        version,
        keepalive: (!is_disabled).then_some(keepalive),
        max_frame: max_frame.and_then(|n| u16::try_from(n).ok()),
        receive_buffer: receive_buffer.map(|n| n as usize),
        stream_window: part
            .number(&["mux.maxStreamBuffer"])
            .filter(|n| *n > 0)
            .unwrap_or(default.stream_window),
    }
}

/// `mux.version`.
fn mux_version(part: &Part, problems: &Problems) -> Version {
    match part.number(&["mux.version"]) {
        None | Some(0 | 1) => Version::One,
        Some(2) => Version::Two,
        Some(other) => {
            let text = format!("there is no version {other} of smux, expected 1 or 2");
            problems.error(&part.at, &text);
            Version::One
        }
    }
}
