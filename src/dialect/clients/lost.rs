//! What the forms of other programs have in common when they are written: which words they lack, and what that means.
//!
//! What would change who can read or who is believed keeps an outbound from being written; all else is told.

use std::borrow::Cow;
use std::collections::HashSet;
use std::net::IpAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};
use serde_json::{Map, Value, json};

use crate::address::Host;
use crate::config::{Config, Inbound, Listen, LogTarget, Outbound};
use crate::dialect::links::bare;
use crate::dialect::links::said::Said;
use crate::dns::Strategy;
use crate::policy::Policy;
use crate::protocol::accounts::Account;
use crate::protocol::servers::ServerSettings;
use crate::protocol::shadowsocks::{AccountSecret, AccountSettings, Method};
use crate::protocol::{Grant, InboundSettings, freedom, vmess};
use crate::transport::tcp::{FastOpen, SockOpt};
use crate::transport::{
    ClientCarrier, ClientSettings as ClientTransport, ServerSettings as ServerTransport, tls, ws,
};

/// Adds what was said to the lines.
pub(in crate::dialect) fn take(said: Said, lines: &mut Vec<String>) {
    lines.extend(said.left_out);
    let errors = said.errors.into_iter();
    lines.extend(errors.map(|line| format!("{line}: it is left out")));
}

/// An inbound of SOCKS or HTTP, as every program has it.
pub(in crate::dialect) struct Door<'a> {
    /// Or it takes HTTP alone.
    pub(in crate::dialect) has_socks: bool,
    pub(in crate::dialect) listen: IpAddr,
    pub(in crate::dialect) port: u16,
    pub(in crate::dialect) accounts: &'a [Account],
}

impl<'a> Door<'a> {
    pub(in crate::dialect) fn of(inbound: &'a Inbound, said: &mut Said) -> Option<Self> {
        let (has_socks, accounts) = match &inbound.protocol {
            InboundSettings::Socks(settings) => {
                if !settings.udp {
                    said.left_out("settings.udp", "UDP is granted there, whatever is said");
                }
                if settings.udp_ip.is_some() {
                    said.left_out("settings.ip", NO_WORD);
                }
                level(settings.level, said);
                other(settings.transparent, &settings.grant, said);
                (true, settings.accounts.as_deref())
            }
            InboundSettings::Http(settings) => {
                level(settings.level, said);
                other(settings.transparent, &settings.grant, said);
                (false, Some(&*settings.accounts))
            }
            _ => {
                said.error(
                    "protocol",
                    "inbounds of `socks` and `http` alone are carried over",
                );
                return None;
            }
        };
        if accounts.is_some_and(<[_]>::is_empty) && has_socks {
            said.error(
                "settings.accounts",
                "there is none, and without one it would be open to everybody",
            );
        }
        let ports = &inbound.ports[..];
        let ([range], Listen::Ip(listen)) = (ports, &inbound.listen) else {
            said.error("listen", "expected one address and one port");
            return None;
        };
        if range.from != range.to {
            said.error("port", "expected one port");
        }
        if inbound.transport != ServerTransport::default() {
            let text = "what stands around it is not carried over, and without it everybody could read what passes";
            said.error("streamSettings", text);
        }
        if inbound.sniffing.is_some() {
            said.left_out("sniffing", NO_WORD);
        }
        if inbound.limits != Default::default() {
            said.left_out("limits", NO_WORD);
        }
        said.errors.is_empty().then_some(Self {
            has_socks,
            listen: *listen,
            port: range.from,
            accounts: accounts.unwrap_or_default(),
        })
    }
}

fn other(transparent: bool, grant: &Grant, said: &mut Said) {
    if transparent {
        said.left_out("settings.allowTransparent", NO_WORD);
    }
    if *grant != Grant::default() {
        said.left_out("settings.waitForConnect", NO_WORD);
    }
}

/// What a config has besides inbounds and outbounds.
pub(in crate::dialect) fn rest(config: &Config, whose: &str, lines: &mut Vec<String>) {
    rest_but_for(config, "the first outbound", whose, lines);
}

/// As [`rest`], where `first` carries everything.
pub(in crate::dialect) fn rest_but_for(
    config: &Config,
    first: &str,
    whose: &str,
    lines: &mut Vec<String>,
) {
    let default = Config::default();
    if !config.routing.rules.is_empty() {
        let n = config.routing.rules.len();
        lines.push(format!(
            "routing.rules: {n} of them are not carried over: everything goes by {first}"
        ));
    }
    let parts = [
        ("routing.balancers", !config.routing.balancers.is_empty()),
        ("reverse", config.reverse != default.reverse),
        ("observatory", !config.observers.is_empty()),
        ("dns", config.dns != default.dns),
        // None of these programs ends a session for its silence.
        (
            "policy",
            ![default.policy.clone(), Policy::patient()].contains(&config.policy),
        ),
        ("limits", config.limits != default.limits),
        ("stats", config.stats),
        ("state", config.state.is_some()),
        ("api", config.api.is_some()),
        ("metrics", config.metrics.is_some()),
        ("browserForwarder", config.browser.is_some()),
        (
            "log.access",
            !matches!(
                config.log.access,
                LogTarget::Console | LogTarget::StandardError | LogTarget::None
            ),
        ),
        ("log.error", config.log.error != default.log.error),
        ("log.format", config.log.format != default.log.format),
    ];
    for (part, _) in parts.iter().filter(|(_, is_there)| *is_there) {
        lines.push(format!("{part}: it is not carried over to {whose}"));
    }
}

/// What is written of each account at each server.
pub(in crate::dialect) fn each<A>(
    servers: &[ServerSettings<A>],
    port: &str,
    said: &mut Said,
    write: impl Fn(&A, &mut Said) -> Value,
) -> Vec<Value> {
    let mut all = Vec::new();
    for server in servers {
        for account in &server.accounts {
            let mut value = write(account, said);
            value["server"] = bare(&server.to.host).into();
            value[port] = server.to.port.into();
            all.push(value);
        }
    }
    all
}

/// The same where there need be no account.
pub(in crate::dialect) fn each_login(
    servers: &[ServerSettings<Account>],
    port: &str,
    write: impl Fn(Option<&Account>) -> Value,
) -> Vec<Value> {
    let mut all = Vec::new();
    for server in servers {
        let accounts = server.accounts.iter().map(Some);
        let nobody = server.accounts.is_empty().then_some(None);
        for account in accounts.chain(nobody) {
            let mut value = write(account);
            value["server"] = bare(&server.to.host).into();
            value[port] = server.to.port.into();
            all.push(value);
        }
    }
    all
}

/// The tag of an outbound's server, of which the first has the outbound's own.
pub(in crate::dialect) fn tag(outbound: &Outbound, n: usize) -> String {
    let tag = outbound.tag.as_deref().unwrap_or(&outbound.name);
    match n {
        0 => tag.to_owned(),
        n => format!("{tag} #{}", n + 1),
    }
}

/// Takes out what goes through something that is not there, and is none of `ways`.
pub(in crate::dialect) fn dangling(
    outbounds: &mut Vec<Value>,
    key: &str,
    tag: &str,
    ways: &HashSet<&str>,
    lines: &mut Vec<String>,
) {
    loop {
        let tags: HashSet<String> = outbounds
            .iter()
            .filter_map(|o| Some(o[tag].as_str()?.to_owned()))
            .collect();
        let lost = |outbound: &Value| {
            outbound[key]
                .as_str()
                .is_some_and(|through| !tags.contains(through) && !ways.contains(through))
        };
        let Some(n) = outbounds.iter().position(lost) else {
            return;
        };
        let gone = outbounds.remove(n);
        let text = |key: &str| {
            gone[key]
                .as_str()
                .unwrap_or_default()
                .escape_debug()
                .to_string()
        };
        lines.push(format!(
            "outbound `{}`: it goes through `{}`, which is not carried over: it is left out",
            text(tag),
            text(key)
        ));
    }
}

pub(in crate::dialect) fn level(level: u32, said: &mut Said) {
    if level != 0 {
        said.left_out("settings.level", NO_WORD);
    }
}

pub(in crate::dialect) fn freedom(settings: &freedom::OutboundSettings, said: &mut Said) {
    level(settings.level, said);
    if settings.strategy != Strategy::AsIs {
        said.left_out("settings.domainStrategy", NO_WORD);
    }
    if settings.redirect != Default::default() {
        said.error("settings.redirect", NO_WORD);
    }
    if settings.rules != Default::default() {
        said.error("settings.finalRules", NO_WORD);
    }
    if settings.fragment.is_some() {
        said.error("settings.fragment", NO_WORD);
    }
    if settings.proxy_header.is_some() {
        said.error("settings.proxyProtocol", NO_WORD);
    }
    if !settings.noises.is_empty() {
        said.error("settings.noises", NO_WORD);
    }
}

pub(in crate::dialect) fn vmess(account: &vmess::AccountSettings, said: &mut Said) {
    level(account.level, said);
    if account.no_end_mark {
        said.left_out(
            "settings.experiments",
            "there is no word for `NoTerminationSignal`",
        );
    }
}

/// Method and password of a Shadowsocks account.
pub(in crate::dialect) fn secret(account: &AccountSettings) -> (Method, String) {
    match &account.secret {
        // Xray takes none that is empty, and nobody looks at it.
        AccountSecret::None => (Method::None, "none".to_owned()),
        AccountSecret::Aead(password) => (
            Method::Aead(password.key().cipher),
            password.text().to_owned(),
        ),
        AccountSecret::Blake3 { key, servers } => {
            let keys = servers.iter().chain([&key.key]);
            let keys: Vec<String> = keys.map(|key| STANDARD.encode(key.as_slice())).collect();
            (Method::Blake3(key.cipher), keys.join(":"))
        }
    }
}

/// A method by the name that most programs know: V2Ray's own is known to fewer.
pub(in crate::dialect) fn method(method: Method) -> &'static str {
    match method.name() {
        "chacha20-poly1305" => "chacha20-ietf-poly1305",
        name => name,
    }
}

/// Tells of what TLS was told and the other program cannot be.
pub(in crate::dialect) fn tls(
    tls: &tls::ClientSettings,
    whose: &str,
    has_authorities: bool,
    has_pin: bool,
    said: &mut Said,
) {
    let part = |key: &str| format!("streamSettings.tlsSettings.{key}");
    let lost_pins = !tls.pins.is_empty() || !tls.certificate_pins.is_empty() && !has_pin;
    if lost_pins && tls.allow_insecure {
        let text = format!(
            "a pin alone says who the server is here, and {whose} has no word for it: with `allowInsecure` it would believe anybody"
        );
        said.error(&part("allowInsecure"), text);
    } else if lost_pins {
        let key = match tls.pins.is_empty() {
            true => "pinnedPeerCertSha256",
            false => "pinnedPeerCertificateChainSha256",
        };
        said.left_out(
            &part(key),
            "there is no word for it: a certificate that nobody else vouches for is not believed",
        );
    }
    if tls.disable_system_root && !has_authorities {
        said.error(
            &part("disableSystemRoot"),
            format_args!("{whose} would believe the authorities of the system"),
        );
    }
    if !tls.verify_names.is_empty() {
        said.left_out(
            &part("verifyPeerCertByName"),
            "there is no word for it: the name that is asked for must be in the certificate",
        );
    }
    if tls.early_data {
        let text = "there is no word for it: a connection takes a round trip more";
        said.left_out(&part("earlyData"), text);
    }
    if tls.certificate.is_some() {
        said.error(
            &part("certificates"),
            "certificates of clients are not carried over, and the server asks for one",
        );
    }
}

/// Tells of what carries the tunnel and has no word in most programs.
pub(in crate::dialect) fn carrier(carrier: &ClientCarrier, whose: &str, said: &mut Said) {
    match carrier {
        ClientCarrier::Ws(ws) | ClientCarrier::Browser(ws) => {
            if ws.heartbeat != ws::ClientSettings::default().heartbeat {
                let text = format!("{whose} has no word for it, and sends no pings");
                said.left_out("streamSettings.wsSettings.heartbeatPeriod", text);
            }
            if matches!(carrier, ClientCarrier::Browser(_)) {
                said.left_out("streamSettings.wsSettings.useBrowserForwarding", NO_WORD);
            }
        }
        ClientCarrier::Grpc(grpc) => {
            let others = [
                ("multiMode", grpc.multi),
                ("user_agent", grpc.user_agent.is_some()),
                ("initial_windows_size", grpc.window.is_some()),
            ];
            for (key, _) in others.iter().filter(|(_, is_there)| *is_there) {
                said.left_out(&format!("streamSettings.grpcSettings.{key}"), NO_WORD);
            }
        }
        _ => {}
    }
}

pub(in crate::dialect) fn strategy(outbound: &Outbound, said: &mut Said) {
    if outbound.strategy != Strategy::AsIs {
        said.left_out("targetStrategy", NO_WORD);
    }
}

/// The options of sockets that most programs have.
pub(in crate::dialect) struct Options {
    pub(in crate::dialect) device: Option<String>,
    pub(in crate::dialect) mark: Option<u32>,
    pub(in crate::dialect) send_through: Option<IpAddr>,
    pub(in crate::dialect) fast_open: bool,
    pub(in crate::dialect) mptcp: bool,
}

/// That what goes over the wire is cut has no word elsewhere.
pub(in crate::dialect) fn fragment(transport: &ClientTransport, said: &mut Said) {
    if transport.fragment.is_some() {
        said.left_out("streamSettings.finalmask", NO_WORD);
    }
}

/// Tells of the others.
pub(in crate::dialect) fn sockopt(sockopt: &SockOpt, said: &mut Said) -> Options {
    let kept = SockOpt {
        device: sockopt.device.clone(),
        mark: sockopt.mark,
        send_through: sockopt.send_through,
        fast_open: sockopt.fast_open,
        mptcp: sockopt.mptcp,
        ..SockOpt::default()
    };
    if *sockopt != kept {
        said.left_out(
            "streamSettings.sockopt",
            "there are words for `mark`, `interface`, `tcpFastOpen` and `mptcp` alone",
        );
    }
    if sockopt.fast_open == FastOpen::Off {
        said.left_out(
            "streamSettings.sockopt.tcpFastOpen",
            "it is as the system has it there",
        );
    }
    Options {
        device: kept.device,
        mark: kept.mark,
        send_through: kept.send_through,
        fast_open: matches!(kept.fast_open, FastOpen::On(_)),
        mptcp: kept.mptcp,
    }
}

/// As a map, `Host` among them; a name with several values has a list.
pub(in crate::dialect) fn headers(headers: &HeaderMap, host: Option<&HeaderValue>) -> Value {
    let mut map = Map::new();
    if let Some(host) = host {
        map.insert("Host".to_owned(), text(host).into());
    }
    for name in headers.keys() {
        let values: Vec<String> = headers.get_all(name).iter().map(text).collect();
        let value = match &values[..] {
            [one] => json!(one),
            several => json!(several),
        };
        map.insert(spelled(name), value);
    }
    Value::Object(map)
}

/// The same with the host named that ours asks for where that is the name for TLS: these programs ask for the server's.
pub(in crate::dialect) fn with_host<'a>(
    transport: &'a ClientTransport,
    server: &Host,
) -> Cow<'a, ClientTransport> {
    let name = transport
        .security
        .as_ref()
        .and_then(|tls| tls.server_name.as_ref());
    let Some(Host::Domain(name)) = name else {
        return Cow::Borrowed(transport);
    };
    let mut named = transport.clone();
    let host = match &mut named.carrier {
        ClientCarrier::Ws(ws) | ClientCarrier::Browser(ws) if matches!(server, Host::Ip(_)) => {
            &mut ws.host
        }
        ClientCarrier::HttpUpgrade(upgrade) => &mut upgrade.host,
        _ => return Cow::Borrowed(transport),
    };
    if host.is_none() {
        *host = HeaderValue::try_from(name).ok();
    }
    Cow::Owned(named)
}

/// A path as a program asks for it that takes a `?` for a part of the path's last name.
pub(in crate::dialect) fn without_query<'a>(
    path: &'a str,
    whose: &str,
    said: &mut Said,
) -> &'a str {
    let Some((path, query)) = path.split_once('?') else {
        return path;
    };
    let query = query.escape_debug();
    said.left_out(
        "streamSettings",
        format_args!(
            "`?{query}` of the path: {whose} has no query there, and servers of V2Ray look at none"
        ),
    );
    path
}

/// As people spell it, and Go's programs compare it: `Sec-WebSocket-Protocol` of `sec-websocket-protocol`.
pub(in crate::dialect) fn spelled(name: &HeaderName) -> String {
    let words = name.as_str().split('-').map(|word| match word {
        "websocket" => "WebSocket".to_owned(),
        word => {
            let mut letters = word.chars();
            let first = letters.next().map(|c| c.to_ascii_uppercase());
            first.into_iter().chain(letters).collect()
        }
    });
    words.collect::<Vec<String>>().join("-")
}

pub(in crate::dialect) fn text(value: &HeaderValue) -> String {
    String::from_utf8_lossy(value.as_bytes()).into_owned()
}

pub(in crate::dialect) const NO_WORD: &str = "there is no word for it";
