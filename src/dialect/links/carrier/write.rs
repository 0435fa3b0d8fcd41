//! From what carries a tunnel to the parameters of a link.

use http::Method;
use http::header::{HeaderName, HeaderValue, SEC_WEBSOCKET_PROTOCOL};

use super::super::said::Said;
use crate::http::EarlyDataIn;
use crate::transport::http_header::{Request, Settings as HttpHeader};
use crate::transport::httpupgrade::EarlyData as UpgradeEarlyData;
use crate::transport::{ClientCarrier, mws, ws};

/// N of `?ed=N` where a setting does not have it; the number of Xray's examples.
const ED: usize = 2560;

/// Writes what carries the tunnel.
pub(in crate::dialect::links) fn write(
    carrier: &ClientCarrier,
    params: &mut Vec<(&'static str, String)>,
    said: &mut Said,
) {
    match carrier {
        ClientCarrier::Raw => params.push(("type", "tcp".to_owned())),
        ClientCarrier::Unix(_) => said.error("streamSettings.network", super::super::NO_WORD),
        ClientCarrier::HttpHeader(header) => write_header(header, params, said),
        ClientCarrier::Ws(ws) | ClientCarrier::Browser(ws) => {
            params.push(("type", "ws".to_owned()));
            if matches!(carrier, ClientCarrier::Browser(_)) {
                let part = "streamSettings.wsSettings.useBrowserForwarding";
                said.left_out(part, super::super::NO_WORD);
            }
            let early = ws.early_data.as_ref();
            let early = early.and_then(|early| match &early.carried_in {
                EarlyDataIn::Header(name) => Some((name, early.max)),
                EarlyDataIn::Path => {
                    said.left_out(
                        "streamSettings.wsSettings.maxEarlyData",
                        "no link has a word for early data behind the path",
                    );
                    None
                }
            });
            let (path, own) = with_early_data(&ws.path, early);
            params.push(("path", path));
            params.extend(own);
            write_host(ws.host.as_ref(), params);
            if !ws.headers.is_empty() {
                said.left_out("streamSettings.wsSettings.headers", NO_HEADERS);
            }
            if ws.heartbeat != ws::ClientSettings::default().heartbeat {
                let part = "streamSettings.wsSettings.heartbeatPeriod";
                said.left_out(part, super::super::NO_WORD);
            }
        }
        ClientCarrier::Mws(mws) => {
            params.push(("type", "mws".to_owned()));
            params.push(("path", mws.ws.path.clone()));
            write_host(mws.ws.host.as_ref(), params);
            let plain = mws::ClientSettings {
                ws: ws::ClientSettings {
                    path: mws.ws.path.clone(),
                    host: mws.ws.host.clone(),
                    ..mws::ClientSettings::default().ws
                },
                ..mws::ClientSettings::default()
            };
            if *mws != plain {
                let part = "streamSettings.mwsSettings";
                said.left_out(part, "a link has its `path` and `host` alone");
            }
        }
        ClientCarrier::HttpUpgrade(upgrade) => {
            params.push(("type", "httpupgrade".to_owned()));
            let early = match &upgrade.early_data {
                None => None,
                Some(UpgradeEarlyData::Ahead) => Some((&SEC_WEBSOCKET_PROTOCOL, ED)),
                Some(UpgradeEarlyData::Header(header)) => Some((&header.name, header.max)),
            };
            // In a path the number says that nothing is waited for, whatever the header.
            let (path, own) = match &upgrade.early_data {
                Some(UpgradeEarlyData::Header(header)) => (
                    upgrade.path.clone(),
                    vec![
                        ("ed", header.max.to_string()),
                        ("eh", header.name.to_string()),
                    ],
                ),
                _ => with_early_data(&upgrade.path, early),
            };
            params.push(("path", path));
            params.extend(own);
            write_host(upgrade.host.as_ref(), params);
            if !upgrade.headers.is_empty() {
                said.left_out("streamSettings.httpupgradeSettings.headers", NO_HEADERS);
            }
        }
        ClientCarrier::Grpc(grpc) => {
            params.push(("type", "grpc".to_owned()));
            params.push(("serviceName", grpc.paths.name().to_owned()));
            let mode = if grpc.multi { "multi" } else { "gun" };
            params.push(("mode", mode.to_owned()));
            if let Some(authority) = &grpc.authority {
                params.push(("authority", authority.clone()));
            }
            let others = [
                ("user_agent", grpc.user_agent.is_some()),
                ("idle_timeout", grpc.pings.is_some()),
                ("initial_windows_size", grpc.window.is_some()),
            ];
            for (key, is_there) in others {
                if is_there {
                    said.left_out(
                        &format!("streamSettings.grpcSettings.{key}"),
                        super::super::NO_WORD,
                    );
                }
            }
        }
        ClientCarrier::H2(h2) => {
            params.push(("type", "http".to_owned()));
            params.push(("path", h2.path.clone()));
            if !h2.hosts.is_empty() {
                params.push(("host", h2.hosts.join(",")));
            }
            let others = [
                ("method", h2.method != Method::PUT),
                ("headers", !h2.headers.is_empty()),
                ("read_idle_timeout", h2.pings.is_some()),
            ];
            for (key, is_there) in others {
                if is_there {
                    said.left_out(
                        &format!("streamSettings.httpSettings.{key}"),
                        super::super::NO_WORD,
                    );
                }
            }
        }
    }
}

fn write_header(header: &HttpHeader, params: &mut Vec<(&'static str, String)>, said: &mut Said) {
    params.push(("type", "tcp".to_owned()));
    params.push(("headerType", "http".to_owned()));
    let default = Request::default();
    let of = |request: &Request| {
        let hosts = request
            .headers
            .iter()
            .find(|header| header.name.eq_ignore_ascii_case("host"));
        hosts
            .map(|header| header.values.clone())
            .unwrap_or_default()
    };
    let request = &header.request;
    if request.paths != default.paths {
        params.push(("path", request.paths.join(",")));
    }
    let hosts = of(request);
    if hosts != of(&default) {
        params.push(("host", hosts.join(",")));
    }
    // What a reader of the link makes of it.
    let mut again = default.clone();
    again.paths.clone_from(&request.paths);
    let rest = |request: &Request| {
        let headers = request.headers.iter();
        let mut headers: Vec<_> = headers
            .filter(|header| !header.name.eq_ignore_ascii_case("host"))
            .cloned()
            .collect();
        headers.sort_by(|a, b| a.name.cmp(&b.name));
        (request.version.clone(), request.method.clone(), headers)
    };
    if rest(request) != rest(&again) || header.response != Default::default() {
        said.left_out(
            "streamSettings.tcpSettings.header",
            "a link has words for its paths and for `Host` alone",
        );
    }
}

/// The path with `ed` in it, and parameters of their own where the header is another than everybody's.
fn with_early_data(
    path: &str,
    early: Option<(&HeaderName, usize)>,
) -> (String, Vec<(&'static str, String)>) {
    match early {
        None => (path.to_owned(), Vec::new()),
        Some((name, max)) if *name == SEC_WEBSOCKET_PROTOCOL => {
            let mark = if path.contains('?') { '&' } else { '?' };
            (format!("{path}{mark}ed={max}"), Vec::new())
        }
        Some((name, max)) => {
            let own = vec![("ed", max.to_string()), ("eh", name.to_string())];
            (path.to_owned(), own)
        }
    }
}

fn write_host(host: Option<&HeaderValue>, params: &mut Vec<(&'static str, String)>) {
    if let Some(host) = host {
        let host = String::from_utf8_lossy(host.as_bytes()).into_owned();
        params.push(("host", host));
    }
}

const NO_HEADERS: &str = "a link has a word for `Host` alone";
