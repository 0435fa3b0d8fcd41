//! `transport`: `ws`, `httpupgrade`, `grpc` and `http`.

use std::time::Duration;

use http::Method;

use crate::dialect::clients::lost::spelled;
use crate::dialect::clients::nodes::{header, headers};
use crate::dialect::tree::keys::Keys;
use crate::dialect::v2ray::grpc::pings as of_numbers;
use crate::dialect::v2ray::upgrade::path_of_url;
use crate::http::request::{whole_path, with_slash};
use crate::http::{EarlyData, EarlyDataIn};
use crate::transport::http_header::{self, Header};
use crate::transport::http2::Pings;
use crate::transport::{ClientCarrier, grpc, h2, httpupgrade, ws};

/// Reads what carries the tunnel; without it that is the connection itself.
pub(super) fn read(keys: &Keys) -> Option<ClientCarrier> {
    let has_tls = keys.enabled("tls", "enabled").is_some();
    let Some(transport) = keys.map("transport") else {
        return Some(ClientCarrier::Raw);
    };
    let path = transport.text("path").unwrap_or_default().to_owned();
    let carrier = match transport.word("type").as_deref() {
        None => ClientCarrier::Raw,
        Some("ws") => {
            let (host, headers) = headers(&transport);
            let max = transport.number("max_early_data").filter(|max| *max > 0);
            let name = header(&transport, "early_data_header_name");
            let carried_in = name.map_or(EarlyDataIn::Path, EarlyDataIn::Header);
            ClientCarrier::Ws(ws::ClientSettings {
                path: whole_path(path),
                host,
                headers,
                early_data: max.map(|max| EarlyData { carried_in, max }),
                ..ws::ClientSettings::default()
            })
        }
        Some("httpupgrade") => {
            // A `Host` among them is not sent.
            let (_, headers) = headers(&transport);
            let host = transport.text("host").map(str::parse);
            if matches!(host, Some(Err(_))) {
                transport.error("host", "this cannot stand in a header");
            }
            ClientCarrier::HttpUpgrade(httpupgrade::ClientSettings {
                path: path_of_url(&with_slash(path)),
                host: host.and_then(Result::ok),
                headers,
                early_data: None,
            })
        }
        Some("grpc")
            if transport
                .text("service_name")
                .is_some_and(|name| name.starts_with('/')) =>
        {
            let text = "with a slash in front this is a name there, and a path in a `config.json`";
            transport.error("service_name", text);
            return None;
        }
        Some("grpc") => ClientCarrier::Grpc(grpc::ClientSettings {
            paths: grpc::Paths::new(transport.text("service_name").unwrap_or_default()),
            pings: pings(&transport),
            ..grpc::ClientSettings::default()
        }),
        // HTTP/1.1: a head of a request, and what is carried behind it, as V2Ray's `header` has it.
        Some("http") if !has_tls => {
            ClientCarrier::HttpHeader(head(&transport, &path, keys.text("server")))
        }
        Some("http") => {
            let hosts = transport.list("host");
            let hosts: Vec<String> = hosts.into_iter().map(|(_, host)| host.to_owned()).collect();
            let bad = hosts
                .iter()
                .any(|host| host.parse::<http::uri::Authority>().is_err());
            if bad {
                transport.error(
                    "host",
                    "there is one among them that is no name of a server",
                );
                return None;
            }
            let method = transport
                .text("method")
                .map(|text| Method::from_bytes(text.as_bytes()));
            if matches!(method, Some(Err(_))) {
                transport.error("method", "this is no method of HTTP");
            }
            let (_, headers) = headers(&transport);
            ClientCarrier::H2(h2::ClientSettings {
                hosts,
                path: whole_path(path),
                method: method.and_then(Result::ok).unwrap_or(Method::PUT),
                headers,
                pings: pings(&transport),
            })
        }
        Some(other) => {
            let text = format!(
                "`{}` is not built, expected `ws`, `httpupgrade`, `grpc` or `http`",
                other.escape_debug()
            );
            transport.error("type", text);
            return None;
        }
    };
    transport.finish();
    Some(carrier)
}

fn head(transport: &Keys, path: &str, server: Option<&str>) -> http_header::Settings {
    let hosts: Vec<String> = transport
        .list("host")
        .into_iter()
        .map(|(_, host)| host.to_owned())
        .collect();
    let (host, others) = headers(transport);
    let hosts = match hosts.is_empty() {
        true => {
            let host = host.as_ref().and_then(|host| host.to_str().ok());
            host.or(server).into_iter().map(str::to_owned).collect()
        }
        false => hosts,
    };
    let mut headers = vec![Header {
        name: "Host".to_owned(),
        values: hosts,
    }];
    for name in others.keys() {
        let values = others.get_all(name).iter();
        headers.push(Header {
            name: spelled(name),
            values: values
                .filter_map(|value| Some(value.to_str().ok()?.to_owned()))
                .collect(),
        });
    }
    headers.sort_by(|a, b| a.name.cmp(&b.name));
    let method = transport.text("method").unwrap_or("PUT");
    if Method::from_bytes(method.as_bytes()).is_err() {
        transport.error("method", "this is no method of HTTP");
    }
    let path = whole_path(path.to_owned());
    let mut hosts = headers.iter().flat_map(|header| &header.values);
    if path.contains(['\r', '\n', '\0', ' ']) || hosts.any(|text| text.contains(['\r', '\n', '\0']))
    {
        transport.error(
            "path",
            "there is a blank or a line break in it, or in `host`",
        );
    }
    transport.silent(&["idle_timeout", "ping_timeout", "permit_without_stream"]);
    http_header::Settings {
        request: http_header::Request {
            method: method.to_owned(),
            paths: vec![path],
            headers,
            ..http_header::Request::default()
        },
        ..http_header::Settings::default()
    }
}

fn pings(transport: &Keys) -> Option<Pings> {
    let secs = Duration::from_secs(1);
    let period = transport.span("idle_timeout", secs);
    let limit = transport.span("ping_timeout", secs);
    let without_stream = transport.switch("permit_without_stream");
    // sing-box's default.
    let limit = limit.unwrap_or(Duration::from_secs(15));
    let secs = |time: Duration| i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    of_numbers(secs(period?), secs(limit), without_stream)
}
