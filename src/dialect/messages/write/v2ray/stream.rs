//! What carries an outbound's or an inbound's bytes, in V2Ray's own form.

use http::header::{HOST, HeaderName, HeaderValue};

use super::super::{Keys, stream};
use super::none;
use crate::http::EarlyDataIn;
use crate::transport::tcp::{FastOpen, SockOpt, Tproxy, UnixSocket};
use crate::transport::{ClientCarrier, ServerCarrier};
use crate::wire::common::serial::TypedMessage;
use crate::wire::transport::internet::tls::{Certificate, certificate::Usage};
use crate::wire::transport::internet::{
    SocketConfig, StreamConfig, TransportConfig, domainsocket, grpc::encoding, http as wire_http,
    tcp, tls as wire_tls, websocket,
};
use crate::wire::typed::{as_v2ray, seal};
use crate::wire::xray::transport::internet::tls as xray_tls;

pub(super) fn server(
    settings: &crate::transport::ServerSettings,
) -> Result<Option<StreamConfig>, String> {
    let accept_proxy_protocol = settings.accept_proxy_protocol;
    let carrier = match &settings.carrier {
        ServerCarrier::Raw => raw(None, accept_proxy_protocol),
        ServerCarrier::HttpHeader(header) => {
            raw(Some(stream::http_header(header)), accept_proxy_protocol)
        }
        ServerCarrier::Ws(ws) => {
            if ws.host.is_some() {
                return Err(none("`host` of a server"));
            }
            let early = ws.early_data.as_ref();
            let config = websocket::Config {
                path: ws.path.clone(),
                header: headers(&ws.headers),
                accept_proxy_protocol,
                early_data_header_name: early.map(early_name).unwrap_or_default(),
                max_early_data: i32::from(early.is_some()) * 2048,
                ..websocket::Config::default()
            };
            carrier(
                "websocket",
                seal("transport.internet.websocket.Config", &config),
            )
        }
        ServerCarrier::Mws(_) => return Err(none("`mws`")),
        ServerCarrier::HttpUpgrade(_) => return Err(none("`httpupgrade`")),
        ServerCarrier::Grpc(grpc) => calls(grpc.paths.name()),
        ServerCarrier::H2(h2) => {
            let config = wire_http::Config {
                host: h2.hosts.clone(),
                path: h2.path.clone(),
                method: String::new(),
                header: stream::lists(&h2.headers),
            };
            carrier("http", seal("transport.internet.http.Config", &config))
        }
    };
    let security = settings.security.as_ref();
    let security = security.map(|tls| tls_config(&stream::tls_server(tls, Keys::Told)));
    Ok(whole(carrier, security, &settings.sockopt))
}

pub(super) fn client(
    settings: &crate::transport::ClientSettings,
) -> Result<Option<StreamConfig>, String> {
    let carrier = match &settings.carrier {
        ClientCarrier::Raw => raw(None, false),
        ClientCarrier::Unix(socket) => carrier(
            "domainsocket",
            seal("transport.internet.domainsocket.Config", &unix(socket)),
        ),
        ClientCarrier::HttpHeader(header) => raw(Some(stream::http_header(header)), false),
        ClientCarrier::Ws(ws) | ClientCarrier::Browser(ws) => {
            let mut header = headers(&ws.headers);
            header.retain(|header| !header.key.eq_ignore_ascii_case(HOST.as_str()));
            header.extend(ws.host.as_ref().map(|host| websocket::Header {
                key: "Host".to_owned(),
                value: text(host),
            }));
            let early = ws.early_data.as_ref();
            let config = websocket::Config {
                path: ws.path.clone(),
                header,
                max_early_data: early
                    .map_or(0, |early| i32::try_from(early.max).unwrap_or(i32::MAX)),
                early_data_header_name: early
                    .map(|early| early_name(&early.carried_in))
                    .unwrap_or_default(),
                use_browser_forwarding: matches!(settings.carrier, ClientCarrier::Browser(_)),
                ..websocket::Config::default()
            };
            carrier(
                "websocket",
                seal("transport.internet.websocket.Config", &config),
            )
        }
        ClientCarrier::Mws(_) => return Err(none("`mws`")),
        ClientCarrier::HttpUpgrade(_) => return Err(none("`httpupgrade`")),
        ClientCarrier::Grpc(grpc) => calls(grpc.paths.name()),
        ClientCarrier::H2(h2) => {
            let config = wire_http::Config {
                host: h2.hosts.clone(),
                path: h2.path.clone(),
                method: h2.method.to_string(),
                header: stream::lists(&h2.headers),
            };
            carrier("http", seal("transport.internet.http.Config", &config))
        }
    };
    let security = settings.security.as_ref();
    let security = security.map(|tls| tls_config(&stream::tls_client(tls, Keys::Told)));
    Ok(whole(carrier, security, &settings.sockopt))
}

fn unix(socket: &UnixSocket) -> domainsocket::Config {
    match socket {
        UnixSocket::Path(path) => domainsocket::Config {
            path: path.to_string_lossy().into_owned(),
            ..Default::default()
        },
        UnixSocket::Abstract(name) => {
            let name = String::from_utf8_lossy(name);
            let padded = name.strip_prefix('@');
            domainsocket::Config {
                path: padded.unwrap_or(&name).to_owned(),
                r#abstract: true,
                padding: padded.is_some(),
            }
        }
    }
}

fn early_name(carried_in: &EarlyDataIn) -> String {
    match carried_in {
        EarlyDataIn::Path => String::new(),
        EarlyDataIn::Header(name) => name.to_string(),
    }
}

fn text(value: &HeaderValue) -> String {
    String::from_utf8_lossy(value.as_bytes()).into_owned()
}

fn headers(headers: &http::HeaderMap) -> Vec<websocket::Header> {
    let pair = |(key, value): (&HeaderName, &HeaderValue)| websocket::Header {
        key: key.to_string(),
        value: text(value),
    };
    headers.iter().map(pair).collect()
}

fn carrier(name: &'static str, settings: TypedMessage) -> (&'static str, Option<TypedMessage>) {
    (name, Some(settings))
}

fn raw(
    header: Option<TypedMessage>,
    accept_proxy_protocol: bool,
) -> (&'static str, Option<TypedMessage>) {
    let config = tcp::Config {
        header_settings: header.map(as_v2ray),
        accept_proxy_protocol,
    };
    let says = config != tcp::Config::default();
    (
        "tcp",
        says.then(|| seal("transport.internet.tcp.Config", &config)),
    )
}

fn calls(service_name: &str) -> (&'static str, Option<TypedMessage>) {
    let config = encoding::Config {
        service_name: service_name.to_owned(),
        ..encoding::Config::default()
    };
    // V2Ray's name of the transport is that of its first client.
    carrier(
        "gun",
        seal("transport.internet.grpc.encoding.Config", &config),
    )
}

fn tls_config(config: &xray_tls::Config) -> wire_tls::Config {
    let certificates = config.certificate.iter().map(|certificate| Certificate {
        certificate: certificate.certificate.clone(),
        key: certificate.key.clone(),
        usage: match certificate.usage() {
            xray_tls::certificate::Usage::Encipherment => Usage::Encipherment,
            xray_tls::certificate::Usage::AuthorityVerify => Usage::AuthorityVerify,
            xray_tls::certificate::Usage::AuthorityIssue => Usage::AuthorityIssue,
        }
        .into(),
    });
    wire_tls::Config {
        allow_insecure: config.allow_insecure,
        certificate: certificates.collect(),
        server_name: config.server_name.clone(),
        next_protocol: config.next_protocol.clone(),
        disable_system_root: config.disable_system_root,
        pinned_peer_certificate_chain_sha256: config.pinned_peer_certificate_chain_sha256.clone(),
        ..wire_tls::Config::default()
    }
}

/// Nothing for plain TCP.
fn whole(
    (name, settings): (&'static str, Option<TypedMessage>),
    security: Option<wire_tls::Config>,
    sockopt: &SockOpt,
) -> Option<StreamConfig> {
    let socket = SocketConfig {
        mark: sockopt.mark.unwrap_or_default(),
        tfo: match sockopt.fast_open {
            FastOpen::Default => 0,
            FastOpen::On(_) => 1,
            FastOpen::Off => 2,
        },
        tproxy: match sockopt.tproxy {
            Tproxy::Off => 0,
            Tproxy::Tproxy => 1,
            Tproxy::Redirect => 2,
        },
        ..SocketConfig::default()
    };
    let socket = Some(socket).filter(|socket| *socket != SocketConfig::default());
    if name == "tcp" && settings.is_none() && security.is_none() && socket.is_none() {
        return None;
    }
    let tls = "transport.internet.tls.Config";
    let transport = TransportConfig {
        protocol_name: name.to_owned(),
        settings,
        ..Default::default()
    };
    Some(StreamConfig {
        protocol_name: name.to_owned(),
        transport_settings: [transport]
            .into_iter()
            .filter(|t| t.settings.is_some())
            .collect(),
        security_type: security
            .as_ref()
            .map_or_else(String::new, |_| format!("v2ray.core.{tls}")),
        security_settings: security
            .map(|config| seal(tls, &config))
            .into_iter()
            .collect(),
        socket_settings: socket,
        ..StreamConfig::default()
    })
}
