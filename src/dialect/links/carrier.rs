//! `type`, and what belongs to each of its values.
//!
//! | `type` | parameters |
//! |---|---|
//! | `tcp`, `raw` | `headerType=http`: `host`, `path` |
//! | `ws` | `host`, `path` with `?ed=N`; mihomo's `ed` and `eh` |
//! | `httpupgrade` | the same |
//! | `grpc` | `serviceName`, `mode` (`gun`, `multi`), `authority` |
//! | `http`, `h2` | `host`, `path` |

use http::Method;
use http::header::{HeaderName, HeaderValue, SEC_WEBSOCKET_PROTOCOL};

use super::params::{Param, Params};
use super::said::Said;
use crate::dialect::v2ray::upgrade::client_path;
use crate::dialect::v2ray::ws::early_data_of_ed;
use crate::http::request::with_slash;
use crate::http::{EarlyData, EarlyDataIn};
use crate::transport::http_header::{Header, Request, Settings as HttpHeader};
use crate::transport::httpupgrade::{EarlyData as UpgradeEarlyData, EarlyHeader};
use crate::transport::{ClientCarrier, grpc, h2, httpupgrade, ws};

/// N of `?ed=N` where a setting does not have it; the number of Xray's examples.
const ED: usize = 2560;

/// Reads what carries the tunnel.
pub(super) fn read(params: &mut Params, said: &mut Said) -> Option<ClientCarrier> {
    let network = params.take("type");
    let word = network.as_ref().map_or("tcp", |param| param.text.trim());
    let word = word.to_ascii_lowercase();
    let carrier = match &*word {
        "tcp" | "raw" => read_tcp(params, said)?,
        "ws" | "websocket" => ClientCarrier::Ws(read_ws(params, said)?),
        "httpupgrade" => ClientCarrier::HttpUpgrade(read_httpupgrade(params, said)?),
        "grpc" | "gun" => ClientCarrier::Grpc(read_grpc(params, said)?),
        "http" | "h2" => ClientCarrier::H2(read_h2(params, said)?),
        other => {
            let label = network.as_ref().map_or("type", |param| &param.label);
            let other = other.escape_debug();
            said.error(
                label,
                format_args!(
                    "`{other}` is not built, expected `tcp`, `ws`, `httpupgrade`, `grpc` or `http`"
                ),
            );
            return None;
        }
    };
    // Some write it whatever the transport is.
    if let Some(kind) = params.take("headerType")
        && !kind.text.eq_ignore_ascii_case("none")
    {
        let text = kind.text.escape_debug();
        said.left_out(
            &kind.label,
            format_args!("`{text}` has no meaning with `{word}`"),
        );
    }
    for key in ["mode", "extra", "seed", "key", "quicSecurity"] {
        if let Some(param) = params.take(key)
            && !param.text.eq_ignore_ascii_case("none")
        {
            said.left_out(
                &param.label,
                format_args!("it has no meaning with `{word}`"),
            );
        }
    }
    Some(carrier)
}

fn read_tcp(params: &mut Params, said: &mut Said) -> Option<ClientCarrier> {
    let kind = params.take("headerType");
    let word = kind.as_ref().map_or("none", |param| param.text.trim());
    match &*word.to_ascii_lowercase() {
        "none" => {
            // What forms leave in their fields.
            params.first(&["host", "path"]);
            Some(ClientCarrier::Raw)
        }
        "http" => {
            let mut request = Request::default();
            if let Some(paths) = params.take("path") {
                request.paths = paths.list().into_iter().map(with_slash).collect();
            }
            if let Some(hosts) = params.take("host") {
                let hosts = Header {
                    name: "Host".to_owned(),
                    values: hosts.list(),
                };
                request.headers.retain(|header| header.name != hosts.name);
                request.headers.push(hosts);
                // As those of a config are.
                request.headers.sort_by(|a, b| a.name.cmp(&b.name));
            }
            let values = request.headers.iter().flat_map(|header| &header.values);
            if request
                .paths
                .iter()
                .chain(values)
                .any(|text| text.contains(['\r', '\n', '\0']))
            {
                said.error("path", "there is a line break in it, or in `host`");
                return None;
            }
            Some(ClientCarrier::HttpHeader(HttpHeader {
                request,
                ..HttpHeader::default()
            }))
        }
        other => {
            let label = kind.as_ref().map_or("headerType", |param| &param.label);
            let other = other.escape_debug();
            said.error(
                label,
                format_args!("found `{other}`, expected `none` or `http`"),
            );
            None
        }
    }
}

fn read_ws(params: &mut Params, said: &mut Said) -> Option<ws::ClientSettings> {
    let (path, ed) = client_path(params.text("path").unwrap_or_default());
    let header = early_header(params, said);
    let early_data = match header {
        Some(EarlyHeader { name, max }) => Some(EarlyData {
            carried_in: EarlyDataIn::Header(name),
            max,
        }),
        None => ed.map(early_data_of_ed),
    };
    Some(ws::ClientSettings {
        path,
        host: host(params.take("host"), said)?,
        early_data,
        ..ws::ClientSettings::default()
    })
}

fn read_httpupgrade(params: &mut Params, said: &mut Said) -> Option<httpupgrade::ClientSettings> {
    let (path, ed) = client_path(params.text("path").unwrap_or_default());
    let named = params.take("eh");
    let number = params.take("ed");
    let early_data = match (named, number) {
        (Some(name), Some(number)) => Some(UpgradeEarlyData::Header(read_early_header(
            &name, &number, said,
        )?)),
        (_, number) => (number.is_some() || ed.is_some()).then_some(UpgradeEarlyData::Ahead),
    };
    Some(httpupgrade::ClientSettings {
        path,
        host: host(params.take("host"), said)?,
        early_data,
        ..httpupgrade::ClientSettings::default()
    })
}

/// `ed` and `eh` of mihomo's links.
fn early_header(params: &mut Params, said: &mut Said) -> Option<EarlyHeader> {
    let name = params.take("eh");
    let number = params.take("ed")?;
    match name {
        Some(name) => read_early_header(&name, &number, said),
        None => Some(EarlyHeader {
            name: SEC_WEBSOCKET_PROTOCOL,
            max: early_max(&number, said)?,
        }),
    }
}

fn read_early_header(name: &Param, number: &Param, said: &mut Said) -> Option<EarlyHeader> {
    let max = early_max(number, said);
    let header = HeaderName::try_from(name.text.trim());
    if header.is_err() {
        let text = name.text.escape_debug();
        said.error(
            &name.label,
            format_args!("`{text}` is not the name of a header"),
        );
    }
    Some(EarlyHeader {
        name: header.ok()?,
        max: max?,
    })
}

fn early_max(number: &Param, said: &mut Said) -> Option<usize> {
    let max: Option<u32> = number.text.trim().parse().ok();
    if max.is_none() {
        let text = number.text.escape_debug();
        said.error(
            &number.label,
            format_args!("found `{text}`, expected a number of bytes"),
        );
    }
    max.map(|max| max as usize)
}

fn read_grpc(params: &mut Params, said: &mut Said) -> Option<grpc::ClientSettings> {
    let mode = params.take("mode");
    let multi = match mode.as_ref().map_or("gun", |mode| mode.text.trim()) {
        "gun" | "none" | "guna" => false,
        "multi" => true,
        other => {
            let label = mode.as_ref().map_or("mode", |mode| &mode.label);
            let other = other.escape_debug();
            said.error(
                label,
                format_args!("found `{other}`, expected `gun` or `multi`"),
            );
            return None;
        }
    };
    let authority = params.take("authority");
    if let Some(authority) = &authority
        && authority.text.parse::<http::uri::Authority>().is_err()
    {
        let text = authority.text.escape_debug();
        said.error(
            &authority.label,
            format_args!("`{text}` is no name of a server"),
        );
        return None;
    }
    Some(grpc::ClientSettings {
        paths: grpc::Paths::new(&params.text("serviceName").unwrap_or_default()),
        multi,
        authority: authority.map(|authority| authority.text),
        ..grpc::ClientSettings::default()
    })
}

fn read_h2(params: &mut Params, said: &mut Said) -> Option<h2::ClientSettings> {
    let hosts = params.take("host");
    let names = hosts.as_ref().map(Param::list).unwrap_or_default();
    for name in &names {
        if name.parse::<http::uri::Authority>().is_err() {
            let name = name.escape_debug();
            said.error("host", format_args!("`{name}` is no name of a server"));
            return None;
        }
    }
    Some(h2::ClientSettings {
        hosts: names,
        path: with_slash(params.text("path").unwrap_or_default()),
        ..h2::ClientSettings::default()
    })
}

fn host(param: Option<Param>, said: &mut Said) -> Option<Option<HeaderValue>> {
    let Some(param) = param else {
        return Some(None);
    };
    let host = param.text.trim().parse();
    if host.is_err() {
        let text = param.text.escape_debug();
        said.error(
            &param.label,
            format_args!("`{text}` cannot stand in a header"),
        );
    }
    host.ok().map(Some)
}

/// Writes what carries the tunnel.
pub(super) fn write(
    carrier: &ClientCarrier,
    params: &mut Vec<(&'static str, String)>,
    said: &mut Said,
) {
    match carrier {
        ClientCarrier::Raw => params.push(("type", "tcp".to_owned())),
        ClientCarrier::HttpHeader(header) => write_header(header, params, said),
        ClientCarrier::Ws(ws) | ClientCarrier::Browser(ws) => {
            params.push(("type", "ws".to_owned()));
            if matches!(carrier, ClientCarrier::Browser(_)) {
                let part = "streamSettings.wsSettings.useBrowserForwarding";
                said.left_out(part, super::NO_WORD);
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
                said.left_out(part, super::NO_WORD);
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
                        super::NO_WORD,
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
                        super::NO_WORD,
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
