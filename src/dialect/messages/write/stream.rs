//! `stream_settings`.

use std::fs;
use std::time::Duration;

use http::HeaderMap;
use http::header::{HOST, HeaderName, HeaderValue, SEC_WEBSOCKET_PROTOCOL};

use super::{Keys, strategy};
use crate::address::Host;
use crate::dialect::messages::http_header::http_header_message;
use crate::http::{EarlyDataIn, Forwarded};
use crate::transport::http_header;
use crate::transport::http2::Pings;
use crate::transport::httpupgrade::EarlyData;
use crate::transport::tcp::{FastOpen, KeepAlive, Race, SockOpt, Tproxy};
use crate::transport::tls::{self, Authorities, KeyPair, Pem, Versions};
use crate::transport::ws;
use crate::transport::{ClientCarrier, ClientSettings, ServerCarrier, ServerSettings};
use crate::wire::common::serial::TypedMessage;
use crate::wire::transport::internet::grpc::encoding;
use crate::wire::transport::internet::headers::http::Header;
use crate::wire::transport::internet::{TransportConfig, http as wire_http, httpupgrade, tcp};
use crate::wire::typed::seal_xray;
use crate::wire::xray::transport::internet::socket_config::TProxyMode;
use crate::wire::xray::transport::internet::tls::Certificate;
use crate::wire::xray::transport::internet::tls::certificate::Usage;
use crate::wire::xray::transport::internet::{
    HappyEyeballsConfig, SocketConfig, StreamConfig, tls as wire_tls, websocket,
};

/// Nothing for plain TCP.
pub(super) fn server(settings: &ServerSettings, keys: Keys) -> Option<StreamConfig> {
    let accept_proxy_protocol = settings.accept_proxy_protocol;
    let mut socket = sockopt(&settings.sockopt);
    let marked = |forwarded: &Forwarded| forwarded.marks.iter().map(ToString::to_string).collect();
    let (name, carrier) = match &settings.carrier {
        ServerCarrier::Raw => ("tcp", raw(accept_proxy_protocol)),
        ServerCarrier::HttpHeader(header) => ("tcp", headed(header, accept_proxy_protocol)),
        ServerCarrier::Ws(ws) => {
            let config = websocket::Config {
                accept_proxy_protocol,
                ..server_ws(ws)
            };
            socket.trusted_x_forwarded_for = marked(&ws.forwarded);
            ("websocket", websocket(&config))
        }
        // Xray knows nothing of it, and says so by this name.
        ServerCarrier::Mws(mws) => ("mws", websocket(&server_ws(&mws.ws))),
        ServerCarrier::HttpUpgrade(upgrade) => {
            let config = httpupgrade::Config {
                host: upgrade.host.clone().unwrap_or_default(),
                path: upgrade.path.clone(),
                header: pairs(&upgrade.headers),
                accept_proxy_protocol,
                ed: 0,
            };
            socket.trusted_x_forwarded_for = marked(&upgrade.forwarded);
            ("httpupgrade", upgraded(&config))
        }
        ServerCarrier::Grpc(grpc) => {
            socket.trusted_x_forwarded_for = marked(&grpc.forwarded);
            let config = encoding::Config {
                service_name: grpc.paths.name().to_owned(),
                ..pinging(grpc.pings)
            };
            ("grpc", calls(&config))
        }
        ServerCarrier::H2(h2) => {
            socket.trusted_x_forwarded_for = marked(&h2.forwarded);
            let config = wire_http::Config {
                host: h2.hosts.clone(),
                path: h2.path.clone(),
                method: String::new(),
                header: lists(&h2.headers),
            };
            ("http", requests(&config))
        }
    };
    let security = settings.security.as_ref().map(|tls| tls_server(tls, keys));
    whole(name, carrier, security, socket)
}

/// Nothing for plain TCP.
pub(super) fn client(settings: &ClientSettings, keys: Keys) -> Option<StreamConfig> {
    let (name, carrier) = match &settings.carrier {
        ClientCarrier::Raw => ("tcp", raw(false)),
        // Xray has it no more, and says so by this name.
        ClientCarrier::Unix(_) => ("domainsocket", raw(false)),
        ClientCarrier::HttpHeader(header) => ("tcp", headed(header, false)),
        ClientCarrier::Ws(ws) | ClientCarrier::Browser(ws) => {
            ("websocket", websocket(&client_ws(ws)))
        }
        ClientCarrier::Mws(mws) => ("mws", websocket(&client_ws(&mws.ws))),
        ClientCarrier::HttpUpgrade(upgrade) => {
            let host = upgrade.host.as_ref();
            let ahead = upgrade.early_data == Some(EarlyData::Ahead);
            let config = httpupgrade::Config {
                host: host.map(text).unwrap_or_default(),
                path: upgrade.path.clone(),
                header: pairs(&upgrade.headers),
                accept_proxy_protocol: false,
                // Any number is as good as another: the first bytes wait for nobody.
                ed: if ahead { 2048 } else { 0 },
            };
            ("httpupgrade", upgraded(&config))
        }
        ClientCarrier::Grpc(grpc) => {
            let window = grpc.window.unwrap_or_default();
            let config = encoding::Config {
                authority: grpc.authority.clone().unwrap_or_default(),
                service_name: grpc.paths.name().to_owned(),
                multi_mode: grpc.multi,
                initial_windows_size: window.try_into().unwrap_or(i32::MAX),
                user_agent: grpc.user_agent.as_ref().map(text).unwrap_or_default(),
                ..pinging(grpc.pings)
            };
            ("grpc", calls(&config))
        }
        ClientCarrier::H2(h2) => {
            let config = wire_http::Config {
                host: h2.hosts.clone(),
                path: h2.path.clone(),
                method: h2.method.to_string(),
                header: lists(&h2.headers),
            };
            ("http", requests(&config))
        }
    };
    let security = settings.security.as_ref().map(|tls| tls_client(tls, keys));
    whole(name, carrier, security, sockopt(&settings.sockopt))
}

fn whole(
    name: &str,
    carrier: Option<TypedMessage>,
    security: Option<wire_tls::Config>,
    socket: SocketConfig,
) -> Option<StreamConfig> {
    let socket = Some(socket).filter(|socket| *socket != SocketConfig::default());
    if name == "tcp" && carrier.is_none() && security.is_none() && socket.is_none() {
        return None;
    }
    let tls = "transport.internet.tls.Config";
    Some(StreamConfig {
        protocol_name: name.to_owned(),
        transport_settings: carrier
            .map(|settings| TransportConfig {
                protocol_name: name.to_owned(),
                settings: Some(settings),
                ..Default::default()
            })
            .into_iter()
            .collect(),
        security_type: match security {
            Some(_) => format!("xray.{tls}"),
            None => String::new(),
        },
        security_settings: security
            .map(|config| seal_xray(tls, &config))
            .into_iter()
            .collect(),
        socket_settings: socket,
        ..StreamConfig::default()
    })
}

fn raw(accept_proxy_protocol: bool) -> Option<TypedMessage> {
    let config = tcp::Config {
        accept_proxy_protocol,
        ..Default::default()
    };
    accept_proxy_protocol.then(|| seal_xray("transport.internet.tcp.Config", &config))
}

fn headed(header: &http_header::Settings, accept_proxy_protocol: bool) -> Option<TypedMessage> {
    let config = tcp::Config {
        header_settings: Some(http_header(header)),
        accept_proxy_protocol,
    };
    Some(seal_xray("transport.internet.tcp.Config", &config))
}

pub(super) fn http_header(header: &http_header::Settings) -> TypedMessage {
    let header = http_header_message(header);
    seal_xray("transport.internet.headers.http.Config", &header)
}

fn websocket(config: &websocket::Config) -> Option<TypedMessage> {
    Some(seal_xray("transport.internet.websocket.Config", config))
}

fn upgraded(config: &httpupgrade::Config) -> Option<TypedMessage> {
    Some(seal_xray("transport.internet.httpupgrade.Config", config))
}

fn calls(config: &encoding::Config) -> Option<TypedMessage> {
    Some(seal_xray("transport.internet.grpc.encoding.Config", config))
}

fn requests(config: &wire_http::Config) -> Option<TypedMessage> {
    Some(seal_xray("transport.internet.http.Config", config))
}

fn pinging(pings: Option<Pings>) -> encoding::Config {
    let Some(pings) = pings else {
        return encoding::Config::default();
    };
    let secs = |span: Duration| i32::try_from(span.as_secs()).unwrap_or(i32::MAX);
    encoding::Config {
        idle_timeout: secs(pings.period),
        health_check_timeout: secs(pings.limit),
        permit_without_stream: pings.without_stream,
        ..encoding::Config::default()
    }
}

pub(super) fn lists(headers: &HeaderMap) -> Vec<Header> {
    let list = |name: &HeaderName| Header {
        name: name.to_string(),
        value: headers.get_all(name).iter().map(text).collect(),
    };
    headers.keys().map(list).collect()
}

fn text(value: &HeaderValue) -> String {
    String::from_utf8_lossy(value.as_bytes()).into_owned()
}

fn pairs(headers: &HeaderMap) -> Vec<httpupgrade::Header> {
    let pair = |(key, value): (&HeaderName, &HeaderValue)| httpupgrade::Header {
        key: key.to_string(),
        value: text(value),
    };
    headers.iter().map(pair).collect()
}

fn server_ws(ws: &ws::ServerSettings) -> websocket::Config {
    websocket::Config {
        host: ws.host.clone().unwrap_or_default(),
        path: ws.path.clone(),
        header: headers(&ws.headers),
        heartbeat_period: ws.heartbeat.map_or(0, |period| period.as_secs() as u32),
        ..websocket::Config::default()
    }
}

fn client_ws(ws: &ws::ClientSettings) -> websocket::Config {
    let host = ws.host.as_ref();
    let mut header = headers(&ws.headers);
    header.remove(HOST.as_str());
    let early = ws.early_data.as_ref();
    let early =
        early.filter(|early| early.carried_in == EarlyDataIn::Header(SEC_WEBSOCKET_PROTOCOL));
    websocket::Config {
        host: host.map(text).unwrap_or_default(),
        path: ws.path.clone(),
        header,
        ed: early.map_or(0, |early| early.max as u32),
        heartbeat_period: ws.heartbeat.map_or(0, |period| period.as_secs() as u32),
        ..websocket::Config::default()
    }
}

fn headers(headers: &HeaderMap) -> std::collections::HashMap<String, String> {
    let pair = |(name, value): (&HeaderName, &HeaderValue)| (name.to_string(), text(value));
    headers.iter().map(pair).collect()
}

pub(super) fn tls_server(tls: &tls::ServerSettings, keys: Keys) -> wire_tls::Config {
    let own = tls.certificates.iter().map(|c| (c, Usage::Encipherment));
    let issuers = tls.issuers.iter().map(|c| (c, Usage::AuthorityIssue));
    let certificates = own.chain(issuers);
    let (min_version, max_version) = versions(tls.versions);
    wire_tls::Config {
        certificate: certificates
            .map(|(pair, usage)| certificate(pair, usage, keys))
            .collect(),
        next_protocol: tls.alpn.clone(),
        reject_unknown_sni: tls.reject_unknown_sni,
        min_version,
        max_version,
        ..wire_tls::Config::default()
    }
}

pub(super) fn tls_client(tls: &tls::ClientSettings, keys: Keys) -> wire_tls::Config {
    let own = tls.certificate.iter();
    let own = own.map(|pair| certificate(pair, Usage::Encipherment, keys));
    let (min_version, max_version) = versions(tls.versions);
    let name = |host: &Host| match host {
        Host::Ip(ip) => ip.to_string(),
        Host::Domain(name) => name.clone(),
    };
    wire_tls::Config {
        allow_insecure: tls.allow_insecure,
        certificate: authorities(&tls.authorities).chain(own).collect(),
        server_name: tls.server_name.as_ref().map(name).unwrap_or_default(),
        next_protocol: tls.alpn.clone(),
        disable_system_root: tls.disable_system_root,
        min_version,
        max_version,
        pinned_peer_certificate_chain_sha256: tls.pins.iter().map(|pin| pin.to_vec()).collect(),
        pinned_peer_cert_sha256: tls.certificate_pins.iter().map(|p| p.to_vec()).collect(),
        verify_peer_cert_by_name: tls.verify_names.iter().map(name).collect(),
        ..wire_tls::Config::default()
    }
}

fn versions(versions: Versions) -> (String, String) {
    let (min, max) = match versions {
        Versions::Both => ("", ""),
        Versions::Only12 => ("1.2", "1.2"),
        Versions::Only13 => ("1.3", "1.3"),
    };
    (min.to_owned(), max.to_owned())
}

/// The text itself goes along with the name of its file, as Xray's does: the server may stand elsewhere.
fn certificate(pair: &KeyPair, usage: Usage, keys: Keys) -> Certificate {
    let path = |pem: &Pem| match pem {
        Pem::File(path) => path.to_string_lossy().into_owned(),
        Pem::Inline(_) => String::new(),
    };
    let text = |pem: &Pem| match pem {
        Pem::File(path) => fs::read(path).unwrap_or_default(),
        Pem::Inline(text) => text.clone().into_bytes(),
    };
    let told = keys == Keys::Told;
    Certificate {
        certificate: match told {
            true => text(&pair.certificate),
            false => match &pair.certificate {
                Pem::Inline(text) => text.clone().into_bytes(),
                Pem::File(_) => Vec::new(),
            },
        },
        key: match told {
            true => text(&pair.key),
            false => Vec::new(),
        },
        usage: usage.into(),
        certificate_path: path(&pair.certificate),
        key_path: path(&pair.key),
        ..Certificate::default()
    }
}

fn authorities(authorities: &Authorities) -> impl Iterator<Item = Certificate> {
    let pem = authorities.to_pem();
    let some = !authorities.0.is_empty();
    some.then(|| Certificate {
        certificate: pem.into_bytes(),
        usage: Usage::AuthorityVerify.into(),
        ..Certificate::default()
    })
    .into_iter()
}

fn sockopt(sockopt: &SockOpt) -> SocketConfig {
    let number = |n: u32| i32::try_from(n).unwrap_or(i32::MAX);
    let (idle, interval) = match sockopt.keep_alive {
        KeepAlive::Off => (-1, -1),
        on if on == KeepAlive::default() => (0, 0),
        KeepAlive::On { idle, interval } => (idle.as_secs() as i32, interval.as_secs() as i32),
    };
    let timeout = sockopt.tcp.user_timeout;
    SocketConfig {
        mark: sockopt.mark.unwrap_or_default() as i32,
        tfo: match sockopt.fast_open {
            FastOpen::Default => 0,
            FastOpen::Off => -1,
            FastOpen::On(queue) => number(queue),
        },
        tproxy: match sockopt.tproxy {
            Tproxy::Off => TProxyMode::Off,
            Tproxy::Redirect => TProxyMode::Redirect,
            Tproxy::Tproxy => TProxyMode::TProxy,
        }
        .into(),
        domain_strategy: strategy(sockopt.strategy).into(),
        tcp_keep_alive_idle: idle,
        tcp_keep_alive_interval: interval,
        tcp_congestion: sockopt.tcp.congestion.clone().unwrap_or_default(),
        interface: sockopt.device.clone().unwrap_or_default(),
        v6only: sockopt.v6_only,
        tcp_window_clamp: sockopt.tcp.window_clamp.map_or(0, number),
        tcp_user_timeout: timeout.map_or(0, |time| time.as_millis() as i32),
        tcp_max_seg: sockopt.tcp.max_seg.map_or(0, number),
        tcp_mptcp: sockopt.mptcp,
        happy_eyeballs: race(&sockopt.race),
        ..SocketConfig::default()
    }
}

fn race(race: &Race) -> Option<HappyEyeballsConfig> {
    (*race != Race::default()).then(|| HappyEyeballsConfig {
        prioritize_ipv6: race.ipv6_first.unwrap_or_default(),
        interleave: race.interleave as u32,
        try_delay_ms: race.delay.as_millis() as u64,
        max_concurrent_try: race.at_once as u32,
    })
}
