//! `stream_settings`.

use std::time::Duration;

use http::header::HeaderName;

use super::{server_name, strategy};
use crate::address::Host;
use crate::dialect::messages::at::{At, all};
use crate::dialect::messages::stream::{Carrier, pem};
use crate::transport::tcp::{FastOpen, KeepAlive, Race, SockOpt, TcpOptions, Tproxy};
use crate::transport::tls::{self, Authorities, ClientAuth, KeyPair, Pem, Versions};
use crate::transport::{ClientSettings, ServerCarrier, ServerSettings};
use crate::wire::typed;
use crate::wire::xray::transport::internet::socket_config::TProxyMode;
use crate::wire::xray::transport::internet::tls::Certificate;
use crate::wire::xray::transport::internet::tls::certificate::Usage;
use crate::wire::xray::transport::internet::{
    HappyEyeballsConfig, SocketConfig, StreamConfig, tls as wire_tls,
};

/// The server side; absent settings are plain TCP.
pub(super) fn server(message: Option<&StreamConfig>, at: &At) -> Option<ServerSettings> {
    let Some(message) = message else {
        return Some(ServerSettings::default());
    };
    let parts = Parts::read(message, at)?;
    let socket = message.socket_settings.as_ref();
    let own = parts.carrier.accept_proxy_protocol();
    let mut carrier = parts.carrier.server(at)?;
    if let Some(socket) = socket {
        let marks = marks(socket, at)?;
        match &mut carrier {
            ServerCarrier::Raw | ServerCarrier::HttpHeader(_) => {}
            ServerCarrier::Ws(ws) => ws.forwarded.marks = marks,
            ServerCarrier::Mws(mws) => mws.ws.forwarded.marks = marks,
            ServerCarrier::HttpUpgrade(upgrade) => upgrade.forwarded.marks = marks,
            ServerCarrier::Grpc(grpc) => grpc.forwarded.marks = marks,
            ServerCarrier::H2(h2) => h2.forwarded.marks = marks,
        }
    }
    Some(ServerSettings {
        sockopt: sockopt(socket, at)?,
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
    Some(ClientSettings {
        fragment: None,
        sockopt: sockopt(message.socket_settings.as_ref(), at)?,
        security: match &parts.tls {
            Some(tls) => Some(tls_client(tls, &at.key("tls"))?),
            None => None,
        },
        carrier: parts.carrier.client(at)?,
    })
}

/// The messages of what is in use.
struct Parts {
    carrier: Carrier,
    tls: Option<wire_tls::Config>,
}

impl Parts {
    fn read(message: &StreamConfig, at: &At) -> Option<Self> {
        refuse(message, at)?;
        let name = match message.protocol_name.as_str() {
            "raw" => "tcp",
            name => name,
        };
        let mut parts = Self {
            carrier: Carrier::named(name, 0, at)?,
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

/// What would change where connections go, or how they look.
fn refuse(message: &StreamConfig, at: &At) -> Option<()> {
    if !message.tcpmasks.is_empty() || !message.udpmasks.is_empty() {
        let text = "disguises of the wire are not built, and a peer that has them understands nothing else";
        return at.error(text);
    }
    if message.address.is_some() || message.port != 0 {
        return at.error("an address of its own is not built, and another server would be dialled");
    }
    Some(())
}

fn has_tls(security: &str, at: &At) -> Option<bool> {
    match typed::short(security) {
        "" => Some(false),
        "transport.internet.tls.Config" => Some(true),
        other => at.not_built("the security", other),
    }
}

fn marks(socket: &SocketConfig, at: &At) -> Option<Vec<HeaderName>> {
    let at = at.key("trusted_x_forwarded_for");
    let names = socket.trusted_x_forwarded_for.iter();
    all(names.map(|name| at.ok(HeaderName::try_from(name))))
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
    let default = tls::ServerSettings::default();
    Some(tls::ServerSettings {
        certificates,
        issuers,
        client_auth: ClientAuth::None,
        reject_unknown_sni: config.reject_unknown_sni,
        alpn: alpn(config, &default.alpn),
        versions: versions(config, at)?,
        ..default
    })
}

fn tls_client(config: &wire_tls::Config, at: &At) -> Option<tls::ClientSettings> {
    let hash = |hash: &Vec<u8>, at: At| {
        let wrong = || at.error(format!("a hash has {} bytes, expected 32", hash.len()));
        <[u8; 32]>::try_from(&hash[..]).ok().or_else(wrong)
    };
    let chains = config.pinned_peer_certificate_chain_sha256.iter();
    let chains = all(chains.map(|pin| hash(pin, at.key("pinned_peer_certificate_chain_sha256"))));
    let pins = config.pinned_peer_cert_sha256.iter();
    let pins = all(pins.map(|pin| hash(pin, at.key("pinned_peer_cert_sha256"))));
    let names = config.verify_peer_cert_by_name.iter();
    let names = names.map(|name| server_name(name, &at.key("verify_peer_cert_by_name")));
    let names: Option<Vec<Host>> = all(names);
    let asked = match config.server_name.as_str() {
        "" => Some(None),
        name => server_name(name, &at.key("server_name")).map(Some),
    };
    if config.allow_insecure {
        let text = "any certificate is taken, so anyone in between can read and change what passes";
        at.key("allow_insecure").warn(text);
    }
    let certificates = own(config, Usage::Encipherment, at);
    let authorities = authorities(config, at);
    let default = tls::ClientSettings::default();
    Some(tls::ClientSettings {
        server_name: asked?,
        authorities: authorities?,
        disable_system_root: config.disable_system_root,
        allow_insecure: config.allow_insecure,
        pins: chains?,
        certificate_pins: pins?,
        verify_names: names?,
        certificate: certificates?.into_iter().next(),
        alpn: alpn(config, &default.alpn),
        versions: versions(config, at)?,
        ..tls::ClientSettings::default()
    })
}

fn alpn(config: &wire_tls::Config, default: &[String]) -> Vec<String> {
    match config.next_protocol.is_empty() {
        true => default.to_vec(),
        false => config.next_protocol.clone(),
    }
}

fn versions(config: &wire_tls::Config, at: &At) -> Option<Versions> {
    if !config.ech_server_keys.is_empty() || !config.ech_config_list.is_empty() {
        let text = "Encrypted Client Hello is not built, and without it everybody on the way could read the server's name";
        return at.error(text);
    }
    let read = |key: &str, text: &str, usual: u32| match text {
        "" => Some(usual),
        "1.0" | "1.1" | "1.2" => Some(12),
        "1.3" => Some(13),
        other => {
            let other = other.escape_debug();
            at.key(key).error(format!(
                "`{other}` is no version of TLS, expected `1.2` or `1.3`"
            ))
        }
    };
    let min = read("min_version", &config.min_version, 12)?;
    let max = read("max_version", &config.max_version, 13)?;
    match (min, max) {
        (13, 12) => at.key("max_version").error("it is below `min_version`"),
        (13, _) => Some(Versions::Only13),
        (_, 12) => Some(Versions::Only12),
        _ => Some(Versions::Both),
    }
}

/// Certificates that come with their keys.
fn own(config: &wire_tls::Config, usage: Usage, at: &At) -> Option<Vec<KeyPair>> {
    let at = at.key("certificate");
    let own = config.certificate.iter().filter(|c| c.usage() == usage);
    all(own.map(|certificate| {
        let inline = |bytes: &[u8]| pem(bytes, &at);
        let pair = match files(certificate) {
            Some(pair) => pair,
            None => KeyPair::new(inline(&certificate.certificate)?, inline(&certificate.key)?),
        };
        at.ok(pair.check())?;
        Some(pair)
    }))
}

/// The files that a certificate came from, if this machine has them as well: they are read again when they change.
fn files(certificate: &Certificate) -> Option<KeyPair> {
    let [cert, key] = [&certificate.certificate_path, &certificate.key_path];
    if cert.is_empty() || key.is_empty() || certificate.one_time_loading {
        return None;
    }
    let pair = KeyPair::new(Pem::File(cert.into()), Pem::File(key.into()));
    let usable = pair.check().is_ok();
    (usable || certificate.certificate.is_empty()).then_some(pair)
}

fn authorities(config: &wire_tls::Config, at: &At) -> Option<Authorities> {
    let at = at.key("certificate");
    let mut authorities = Authorities::default();
    let usage = Usage::AuthorityVerify;
    for certificate in config.certificate.iter().filter(|c| c.usage() == usage) {
        let pem = match certificate.certificate.is_empty() {
            true => Pem::File((&certificate.certificate_path).into()),
            false => pem(&certificate.certificate, &at)?,
        };
        authorities.0.extend(at.ok(pem.authorities())?.0);
    }
    Some(authorities)
}

fn sockopt(socket: Option<&SocketConfig>, at: &At) -> Option<SockOpt> {
    let Some(socket) = socket else {
        return Some(SockOpt::default());
    };
    if !socket.custom_sockopt.is_empty() {
        return at
            .key("customSockopt")
            .error("options by number are not built");
    }
    if socket.address_port_strategy != 0 {
        let text =
            "servers by SRV and TXT records are not built, and another server would be dialled";
        return at.key("address_port_strategy").error(text);
    }
    // Xray takes 0 and less for "as the system has it".
    let positive = |n: i32| u32::try_from(n).ok().filter(|n| *n > 0);
    let text = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
    Some(SockOpt {
        send_through: None,
        fast_open: match socket.tfo {
            0 => FastOpen::Default,
            n => positive(n).map_or(FastOpen::Off, FastOpen::On),
        },
        keep_alive: keep_alive(socket.tcp_keep_alive_idle, socket.tcp_keep_alive_interval),
        mark: Some(socket.mark as u32).filter(|mark| *mark != 0),
        device: text(&socket.interface),
        mptcp: socket.tcp_mptcp,
        every_arrival: false,
        tproxy: match socket.tproxy() {
            TProxyMode::Off => Tproxy::Off,
            TProxyMode::TProxy => Tproxy::Tproxy,
            TProxyMode::Redirect => Tproxy::Redirect,
        },
        strategy: strategy(socket.domain_strategy()),
        race: socket.happy_eyeballs.as_ref().map(race).unwrap_or_default(),
        v6_only: socket.v6only,
        tcp: TcpOptions {
            congestion: text(&socket.tcp_congestion),
            user_timeout: positive(socket.tcp_user_timeout)
                .map(|ms| Duration::from_millis(ms.into())),
            window_clamp: positive(socket.tcp_window_clamp),
            max_seg: positive(socket.tcp_max_seg),
        },
    })
}

/// As in a file: 0 is the default, less turns the probes off.
fn keep_alive(idle: i32, interval: i32) -> KeepAlive {
    let seconds = |n: i32| match u64::try_from(n) {
        Err(_) => Err(()),
        Ok(0) => Ok(None),
        Ok(n) => Ok(Some(Duration::from_secs(n.min(KeepAlive::MAX_SECS)))),
    };
    let (Ok(idle), Ok(interval)) = (seconds(idle), seconds(interval)) else {
        return KeepAlive::Off;
    };
    match KeepAlive::default() {
        KeepAlive::On {
            idle: usual_idle,
            interval: usual_interval,
        } => KeepAlive::On {
            idle: idle.or(interval).unwrap_or(usual_idle),
            interval: interval.unwrap_or(usual_interval),
        },
        KeepAlive::Off => KeepAlive::Off,
    }
}

/// Xray races only when it is asked to; without a delay it is not asked.
fn race(config: &HappyEyeballsConfig) -> Race {
    if config.try_delay_ms == 0 || config.max_concurrent_try == 0 {
        return Race::default();
    }
    Race {
        delay: Duration::from_millis(config.try_delay_ms),
        ipv6_first: Some(config.prioritize_ipv6),
        interleave: config.interleave as usize,
        at_once: config.max_concurrent_try as usize,
    }
}
