//! What is spoken over HTTP/2: `grpc` and `http`.

use http::header::HeaderValue;
use http::{HeaderMap, Method};

use super::at::At;
use crate::dialect::v2ray::grpc::{pings, user_agent, window};
use crate::dialect::v2ray::upgrade::header_name;
use crate::http::request::with_slash;
use crate::transport::http2::Pings;
use crate::transport::{grpc, h2};
use crate::wire::transport::internet::{grpc::encoding, http as wire_http};

/// A server of gRPC.
pub(super) fn grpc_server(config: &encoding::Config) -> grpc::ServerSettings {
    grpc::ServerSettings {
        paths: grpc::Paths::new(&config.service_name),
        pings: grpc_pings(config),
        ..grpc::ServerSettings::default()
    }
}

/// A client of gRPC.
pub(super) fn grpc_client(config: &encoding::Config, at: &At) -> Option<grpc::ClientSettings> {
    let authority = Some(&config.authority).filter(|authority| !authority.is_empty());
    if let Some(authority) = authority {
        let parsed = authority.parse::<http::uri::Authority>();
        at.key("authority").ok(parsed)?;
    }
    let agent = user_agent(&config.user_agent).transpose();
    Some(grpc::ClientSettings {
        paths: grpc::Paths::new(&config.service_name),
        multi: config.multi_mode,
        authority: authority.cloned(),
        user_agent: at.key("user_agent").ok(agent)?,
        pings: grpc_pings(config),
        window: window(config.initial_windows_size.into()),
    })
}

fn grpc_pings(config: &encoding::Config) -> Option<Pings> {
    pings(
        config.idle_timeout.into(),
        config.health_check_timeout.into(),
        config.permit_without_stream,
    )
}

/// A server of HTTP/2.
pub(super) fn h2_server(config: &wire_http::Config, at: &At) -> Option<h2::ServerSettings> {
    Some(h2::ServerSettings {
        hosts: config.host.clone(),
        path: with_slash(config.path.clone()),
        headers: headers(config, at)?,
        ..h2::ServerSettings::default()
    })
}

/// A client of HTTP/2.
pub(super) fn h2_client(config: &wire_http::Config, at: &At) -> Option<h2::ClientSettings> {
    for host in &config.host {
        let parsed = host.parse::<http::uri::Authority>();
        at.key("host").ok(parsed)?;
    }
    let method = match config.method.as_str() {
        "" => Method::PUT,
        text => at.key("method").ok(text.parse())?,
    };
    Some(h2::ClientSettings {
        hosts: config.host.clone(),
        path: with_slash(config.path.clone()),
        method,
        headers: headers(config, at)?,
        pings: None,
    })
}

fn headers(config: &wire_http::Config, at: &At) -> Option<HeaderMap> {
    let mut headers = HeaderMap::new();
    for (i, header) in config.header.iter().enumerate() {
        let at = at.key("header").index(i);
        let name = at.ok(header_name(&header.name))?;
        for value in &header.value {
            headers.append(&name, at.ok(HeaderValue::try_from(value))?);
        }
    }
    Some(headers)
}
