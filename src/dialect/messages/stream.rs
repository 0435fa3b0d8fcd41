//! `stream_settings`.

use std::time::Duration;

use super::at::{At, all};
use super::carriers::{Upgrade, V2RAY_UPGRADE};
use super::http_header::http_header;
use super::http2;
use crate::address::Host;
use crate::config::Listen;
use crate::dialect::v2ray::domain_socket;
use crate::transport::http_header;
use crate::transport::tcp::{FastOpen, KeepAlive, SockOpt, Tproxy, UnixSocket};
use crate::transport::tls::{self, Authorities, ClientAuth, KeyPair, Pem};
use crate::transport::{ClientCarrier, ClientSettings, ServerCarrier, ServerSettings};
use crate::wire::common::serial::TypedMessage;
use crate::wire::transport::internet::tls::certificate::Usage;
use crate::wire::transport::internet::{
    SocketConfig, StreamConfig, domainsocket, grpc::encoding, http, tcp, tls as wire_tls,
};
use crate::wire::typed;

/// The server side; absent settings are plain TCP.
pub(super) fn server(message: Option<&StreamConfig>, at: &At) -> Option<ServerSettings> {
    let Some(message) = message else {
        return Some(ServerSettings::default());
    };
    let parts = Parts::read(message, at)?;
    let own = parts.carrier.accept_proxy_protocol();
    let carrier = parts.carrier.server(at)?;
    let socket = message.socket_settings.as_ref();
    Some(ServerSettings {
        sockopt: match socket {
            Some(socket) => sockopt(socket, at)?,
            None => SockOpt::default(),
        },
        accept_proxy_protocol: own || socket.is_some_and(|socket| socket.accept_proxy_protocol),
        security: match &parts.tls {
            Some(tls) => Some(tls_server(tls, &at.key("tls"))?),
            None => None,
        },
        carrier,
        // The messages have no word for it.
        site: None,
    })
}

/// The client side; absent settings are plain TCP.
pub(super) fn client(message: Option<&StreamConfig>, at: &At) -> Option<ClientSettings> {
    let Some(message) = message else {
        return Some(ClientSettings::default());
    };
    let parts = Parts::read(message, at)?;
    let carrier = parts.carrier.client(at)?;
    let socket = message.socket_settings.as_ref();
    Some(ClientSettings {
        fragment: None,
        sockopt: match socket {
            Some(socket) => sockopt(socket, at)?,
            None => SockOpt::default(),
        },
        security: match &parts.tls {
            Some(tls) => Some(tls_client(tls, &at.key("tls"))?),
            None => None,
        },
        carrier,
    })
}

/// The messages of what is in use.
struct Parts {
    carrier: Carrier,
    tls: Option<wire_tls::Config>,
}

pub(super) enum Carrier {
    Raw(tcp::Config),
    Unix(domainsocket::Config),
    Ws(Upgrade),
    HttpUpgrade(Upgrade),
    Grpc(encoding::Config),
    H2(http::Config),
}

impl Parts {
    fn read(message: &StreamConfig, at: &At) -> Option<Self> {
        let mut parts = Self {
            carrier: Carrier::named(&message.protocol_name, message.protocol, at)?,
            tls: has_tls(&message.security_type, at)?.then(Default::default),
        };
        let settings = message.transport_settings.iter();
        for settings in settings.filter_map(|transport| transport.settings.as_ref()) {
            parts.carrier.read(settings, at)?;
        }
        for settings in &message.security_settings {
            if typed::name(settings) == "transport.internet.tls.Config" && parts.tls.is_some() {
                parts.tls = Some(at.open(settings)?);
            }
        }
        Some(parts)
    }
}

impl Carrier {
    pub(super) fn named(name: &str, number: i32, at: &At) -> Option<Self> {
        match (name, number) {
            ("tcp", _) | ("", 0) => Some(Self::Raw(tcp::Config::default())),
            ("websocket" | "ws", _) | ("", 3) => Some(Self::Ws(Upgrade::default())),
            ("httpupgrade", _) => Some(Self::HttpUpgrade(Upgrade::default())),
            ("grpc" | "gun", _) => Some(Self::Grpc(encoding::Config::default())),
            ("domainsocket" | "ds", _) | ("", 5) => {
                Some(Self::Unix(domainsocket::Config::default()))
            }
            ("http" | "h2", _) | ("", 4) => Some(Self::H2(http::Config::default())),
            ("", number) => at.not_built("the transport", &number.to_string()),
            (name, _) => at.not_built("the transport", name),
        }
    }

    /// Takes the settings of a transport, if it is the one in use.
    pub(super) fn read(&mut self, settings: &TypedMessage, at: &At) -> Option<()> {
        match (typed::name(settings), self) {
            ("transport.internet.tcp.Config", Self::Raw(tcp)) => {
                *tcp = at.open(settings)?;
            }
            ("transport.internet.domainsocket.Config", Self::Unix(socket)) => {
                *socket = at.open(settings)?;
            }
            ("transport.internet.websocket.Config", Self::Ws(ws)) => {
                *ws = Upgrade::of_websocket(settings, at)?;
            }
            (
                V2RAY_UPGRADE | "transport.internet.httpupgrade.Config",
                Self::HttpUpgrade(upgrade),
            ) => {
                *upgrade = Upgrade::of_httpupgrade(settings, at)?;
            }
            ("transport.internet.grpc.encoding.Config", Self::Grpc(grpc)) => {
                *grpc = at.open(settings)?;
            }
            ("transport.internet.http.Config", Self::H2(h2)) => *h2 = at.open(settings)?,
            _ => {}
        }
        Some(())
    }

    pub(super) fn server(self, at: &At) -> Option<ServerCarrier> {
        Some(match self {
            Self::Raw(tcp) => match header(&tcp, at)? {
                Some(header) => ServerCarrier::HttpHeader(header),
                None => ServerCarrier::Raw,
            },
            // The inbound listens there.
            Self::Unix(_) => ServerCarrier::Raw,
            Self::Ws(ws) => ServerCarrier::Ws(ws.ws_server(at)?),
            Self::HttpUpgrade(upgrade) => ServerCarrier::HttpUpgrade(upgrade.server(at)?),
            Self::Grpc(grpc) => ServerCarrier::Grpc(http2::grpc_server(&grpc)),
            Self::H2(h2) => ServerCarrier::H2(http2::h2_server(&h2, at)?),
        })
    }

    pub(super) fn client(self, at: &At) -> Option<ClientCarrier> {
        Some(match self {
            Self::Raw(tcp) => match header(&tcp, at)? {
                Some(header) => ClientCarrier::HttpHeader(header),
                None => ClientCarrier::Raw,
            },
            Self::Unix(socket) => ClientCarrier::Unix(unix(&socket, at)?),
            Self::Ws(ws) if ws.use_browser_forwarding => ClientCarrier::Browser(ws.ws_client(at)?),
            Self::Ws(ws) => ClientCarrier::Ws(ws.ws_client(at)?),
            Self::HttpUpgrade(upgrade) => ClientCarrier::HttpUpgrade(upgrade.client(at)?),
            Self::Grpc(grpc) => ClientCarrier::Grpc(http2::grpc_client(&grpc, at)?),
            Self::H2(h2) => ClientCarrier::H2(http2::h2_client(&h2, at)?),
        })
    }

    pub(super) fn accept_proxy_protocol(&self) -> bool {
        match self {
            Self::Raw(tcp) => tcp.accept_proxy_protocol,
            Self::Ws(upgrade) | Self::HttpUpgrade(upgrade) => upgrade.accept_proxy_protocol,
            Self::Unix(_) | Self::Grpc(_) | Self::H2(_) => false,
        }
    }
}

/// Where an inbound listens whose transport is a unix socket; `None` inside for all others.
pub(super) fn place(message: Option<&StreamConfig>, at: &At) -> Option<Option<Listen>> {
    let Some(message) = message else {
        return Some(None);
    };
    match Parts::read(message, at)?.carrier {
        Carrier::Unix(socket) => Some(Some(domain_socket::place(unix(&socket, at)?))),
        _ => Some(None),
    }
}

fn unix(socket: &domainsocket::Config, at: &At) -> Option<UnixSocket> {
    let read = domain_socket::socket(&socket.path, socket.r#abstract, socket.padding);
    at.key("transport_settings").ok(read)
}

fn has_tls(security: &str, at: &At) -> Option<bool> {
    match security.rsplit('/').next().unwrap_or_default() {
        "" => Some(false),
        "v2ray.core.transport.internet.tls.Config" => Some(true),
        other => at.not_built("the security", other),
    }
}

/// `header_settings`; `None` inside is no header.
fn header(config: &tcp::Config, at: &At) -> Option<Option<http_header::Settings>> {
    let Some(message) = &config.header_settings else {
        return Some(None);
    };
    match typed::name(message) {
        "transport.internet.headers.noop.ConnectionConfig" => Some(None),
        "transport.internet.headers.http.Config" => {
            http_header(at.open(message)?, &at.key("header_settings")).map(Some)
        }
        _ => at.not_built("the header", &message.r#type),
    }
}

fn tls_server(config: &wire_tls::Config, at: &At) -> Option<tls::ServerSettings> {
    let certificates = own(config, Usage::Encipherment, at);
    let issuers = own(config, Usage::AuthorityIssue, at)?;
    let certificates = certificates?;
    for issuer in &issuers {
        at.key("certificate").ok(issuer.check_issuer())?;
    }
    if certificates.is_empty() && issuers.is_empty() {
        return at.key("certificate").error(tls::BuildError::NoCertificate);
    }
    let client_auth = if config.verify_client_certificate {
        let named = authorities(config, Usage::AuthorityVerifyClient, at)?;
        let any = authorities(config, Usage::AuthorityVerify, at)?;
        ClientAuth::Required(if named.0.is_empty() { any } else { named })
    } else {
        ClientAuth::None
    };
    let default = tls::ServerSettings::default();
    Some(tls::ServerSettings {
        certificates,
        issuers,
        client_auth,
        alpn: alpn(config, &default.alpn),
        ..default
    })
}

fn tls_client(config: &wire_tls::Config, at: &At) -> Option<tls::ClientSettings> {
    let pins = config.pinned_peer_certificate_chain_sha256.iter();
    let pins = all(pins.map(|pin| {
        let wrong = || {
            let text = format!("a hash has {} bytes, expected 32", pin.len());
            at.key("pinned_peer_certificate_chain_sha256").error(text)
        };
        <[u8; 32]>::try_from(&pin[..]).ok().or_else(wrong)
    }));
    let server_name = match config.server_name.as_str() {
        "" => Some(None),
        name => at.key("server_name").ok(Host::parse(name)).map(Some),
    };
    let certificates = own(config, Usage::Encipherment, at);
    let authorities = authorities(config, Usage::AuthorityVerify, at);
    let default = tls::ClientSettings::default();
    Some(tls::ClientSettings {
        server_name: server_name?,
        authorities: authorities?,
        disable_system_root: config.disable_system_root,
        allow_insecure: config.allow_insecure,
        pins: pins?,
        certificate: certificates?.into_iter().next(),
        alpn: alpn(config, &default.alpn),
        ..default
    })
}

fn alpn(config: &wire_tls::Config, default: &[String]) -> Vec<String> {
    match config.next_protocol.is_empty() {
        true => default.to_vec(),
        false => config.next_protocol.clone(),
    }
}

/// Certificates that come with their keys.
fn own(config: &wire_tls::Config, usage: Usage, at: &At) -> Option<Vec<KeyPair>> {
    let at = at.key("certificate");
    let own = config.certificate.iter().filter(|c| c.usage() == usage);
    all(own.map(|certificate| {
        let pair = KeyPair::new(
            pem(&certificate.certificate, &at)?,
            pem(&certificate.key, &at)?,
        );
        at.ok(pair.check())?;
        Some(pair)
    }))
}

fn authorities(config: &wire_tls::Config, usage: Usage, at: &At) -> Option<Authorities> {
    let at = at.key("certificate");
    let mut authorities = Authorities::default();
    for certificate in config.certificate.iter().filter(|c| c.usage() == usage) {
        let read = pem(&certificate.certificate, &at)?.authorities();
        authorities.0.extend(at.ok(read)?.0);
    }
    Some(authorities)
}

pub(super) fn pem(bytes: &[u8], at: &At) -> Option<Pem> {
    match str::from_utf8(bytes) {
        Ok(text) => Some(Pem::Inline(text.to_owned())),
        Err(_) => at.error("a certificate is not in PEM"),
    }
}

fn sockopt(socket: &SocketConfig, at: &At) -> Option<SockOpt> {
    Some(SockOpt {
        mark: Some(socket.mark).filter(|mark| *mark != 0),
        fast_open: match socket.tfo {
            1 => FastOpen::On(FastOpen::QUEUE),
            2 => FastOpen::Off,
            _ => FastOpen::Default,
        },
        tproxy: match socket.tproxy {
            1 => Tproxy::Tproxy,
            2 => Tproxy::Redirect,
            _ => Tproxy::Off,
        },
        keep_alive: keep_alive(socket.tcp_keep_alive_interval, at)?,
        ..SockOpt::default()
    })
}

/// Seconds; 0 is the default and a negative number turns the probes off.
fn keep_alive(seconds: i32, at: &At) -> Option<KeepAlive> {
    match u64::try_from(seconds) {
        Err(_) => Some(KeepAlive::Off),
        Ok(0) => Some(KeepAlive::default()),
        Ok(n @ 1..=KeepAlive::MAX_SECS) => {
            let period = Duration::from_secs(n);
            let (idle, interval) = (period, period);
            Some(KeepAlive::On { idle, interval })
        }
        Ok(n) => {
            let text = format!(
                "{n} s is too long, expected at most {}",
                KeepAlive::MAX_SECS
            );
            at.key("tcp_keep_alive_interval").error(text)
        }
    }
}
