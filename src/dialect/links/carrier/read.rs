//! From the parameters of a link to what carries its tunnel.

use http::header::{HeaderName, HeaderValue, SEC_WEBSOCKET_PROTOCOL};

use super::super::params::{Param, Params};
use super::super::said::Said;
use crate::dialect::v2ray::upgrade::client_path;
use crate::dialect::v2ray::ws::early_data_of_ed;
use crate::http::request::with_slash;
use crate::http::{EarlyData, EarlyDataIn};
use crate::transport::http_header::{Header, Request, Settings as HttpHeader};
use crate::transport::httpupgrade::{EarlyData as UpgradeEarlyData, EarlyHeader};
use crate::transport::{ClientCarrier, grpc, h2, httpupgrade, mws, ws};

/// Reads what carries the tunnel.
pub(in crate::dialect::links) fn read(
    params: &mut Params,
    said: &mut Said,
) -> Option<ClientCarrier> {
    let network = params.take("type");
    let word = network.as_ref().map_or("tcp", |param| param.text.trim());
    let word = word.to_ascii_lowercase();
    let carrier = match &*word {
        "tcp" | "raw" | "none" | "original" => read_tcp(params, said)?,
        "ws" | "websocket" => ClientCarrier::Ws(read_ws(params, said)?),
        "mws" => ClientCarrier::Mws(read_mws(params, said)?),
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
            // `host` may yet name the server in TLS.
            params.take("path");
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

/// The path without `ed=N`, and that number.
fn path(params: &mut Params) -> (String, Option<usize>) {
    let (path, ed) = client_path(params.text("path").unwrap_or_default());
    (path.trim_end().to_owned(), ed)
}

fn read_ws(params: &mut Params, said: &mut Said) -> Option<ws::ClientSettings> {
    let (path, ed) = path(params);
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

fn read_mws(params: &mut Params, said: &mut Said) -> Option<mws::ClientSettings> {
    let default = mws::ClientSettings::default();
    let path = params.take("path").map(|path| with_slash(path.text));
    let ws = ws::ClientSettings {
        path: path.unwrap_or(default.ws.path),
        host: host(params.take("host"), said)?,
        ..default.ws
    };
    Some(mws::ClientSettings { ws, ..default })
}

fn read_httpupgrade(params: &mut Params, said: &mut Said) -> Option<httpupgrade::ClientSettings> {
    let (path, ed) = path(params);
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
