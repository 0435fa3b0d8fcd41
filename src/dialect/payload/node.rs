//! From a proxy of Clash to an outbound.
//!
//! What carries the tunnel has the words of a share link, and is read as that is.

use http::HeaderMap;
use http::header::{HOST, HeaderName, HeaderValue};

use super::fields::Fields;
use crate::config::Outbound;
use crate::dialect::gost::tree::Node;
use crate::dialect::links::accounts::{id, one, tunnel};
use crate::dialect::links::params::Params;
use crate::dialect::links::said::Said;
use crate::dialect::links::security::Unsaid;
use crate::dialect::links::{Read, outbound, shadowsocks as ss_link};
use crate::http::{EarlyData, EarlyDataIn};
use crate::mux;
use crate::protocol::accounts::Account;
use crate::protocol::http as http_proxy;
use crate::protocol::servers::ServerSettings;
use crate::protocol::vmess::Security;
use crate::protocol::{OutboundSettings, shadowsocks, socks, trojan, vless, vmess};
use crate::transport::http_header::Header;
use crate::transport::{ClientCarrier, ClientSettings};

/// What is named where nothing is said of the service of gRPC.
const GRPC_SERVICE: &str = "GunService";

/// Reads a proxy.
pub(super) fn read(node: &Node) -> Result<Read, Vec<String>> {
    let mut said = Said::of_proxy();
    let fields = Fields::of(node);
    let read = match &*fields.word("type", &mut said) {
        "" => {
            said.error("type", "it is missing");
            None
        }
        "vmess" => read_vmess(&fields, &mut said),
        "vless" => read_vless(&fields, &mut said),
        "trojan" => read_trojan(&fields, &mut said),
        "ss" | "shadowsocks" => read_shadowsocks(&fields, &mut said),
        "socks5" | "socks" => read_socks(&fields, &mut said),
        "http" => read_http(&fields, &mut said),
        other => {
            let other = other.escape_debug();
            let text = format!("`{other}` is not built, expected {TYPES}");
            said.error("type", text);
            None
        }
    };
    ways(&fields, &mut said);
    let read = read.map(|(protocol, mut transport, mux)| {
        sockopt(&fields, &mut transport, &mut said);
        let name = fields.text("name", &mut said).map(str::to_owned);
        Outbound {
            name: "the proxy".to_owned(),
            ..outbound(name, transport, protocol, mux)
        }
    });
    match read {
        Some(outbound) if said.errors.is_empty() => Ok(Read {
            outbound,
            left_out: said.left_out,
        }),
        _ => Err(said.errors),
    }
}

const TYPES: &str = "`vmess`, `vless`, `trojan`, `ss`, `socks5` or `http`";

type Parts = (OutboundSettings, ClientSettings, Option<mux::Settings>);

fn read_vmess(fields: &Fields, said: &mut Said) -> Option<Parts> {
    let to = fields.server(said);
    let uuid = fields.required("uuid", said);
    let uuid = uuid.and_then(|text| id(text, "uuid", said));
    if fields.number("alterId", said).is_some_and(|id| id > 0) {
        said.left_out(
            "alterId",
            "VMess without AEAD is dead: AEAD is used, as with 0, and the server must use it too",
        );
    }
    let cipher = fields.word("cipher", said);
    let security = match &*cipher {
        "" | "auto" => Security::Auto,
        "none" => Security::None,
        "zero" => Security::Zero,
        "aes-128-gcm" => Security::Aes128Gcm,
        "chacha20-poly1305" | "chacha20-ietf-poly1305" => Security::ChaCha20Poly1305,
        other => {
            let other = other.escape_debug();
            said.error(
                "cipher",
                format_args!("`{other}` is unknown, expected `auto`"),
            );
            return None;
        }
    };
    let authenticated_length = fields.switch("authenticated-length", said);
    let (transport, mux) = way(fields, Tls::Asked, said)?;
    let account = vmess::AccountSettings {
        id: uuid?.into(),
        security,
        authenticated_length,
        ..vmess::AccountSettings::default()
    };
    let settings = vmess::OutboundSettings {
        servers: one(to?, account),
    };
    Some((OutboundSettings::Vmess(settings), transport, mux))
}

fn read_vless(fields: &Fields, said: &mut Said) -> Option<Parts> {
    let to = fields.server(said);
    let uuid = fields.required("uuid", said);
    let uuid = uuid.and_then(|text| id(text, "uuid", said));
    no_flow(fields, said);
    let encryption = fields.word("encryption", said);
    if !matches!(&*encryption, "" | "none") {
        said.error(
            "encryption",
            "VLESS Encryption is not built, expected `none`",
        );
    }
    let (transport, mux) = way(fields, Tls::Asked, said)?;
    let account = vless::AccountSettings {
        id: uuid?.into(),
        ..vless::AccountSettings::default()
    };
    let settings = vless::OutboundSettings {
        servers: one(to?, account),
    };
    Some((OutboundSettings::Vless(settings), transport, mux))
}

fn read_trojan(fields: &Fields, said: &mut Said) -> Option<Parts> {
    let to = fields.server(said);
    let password = fields.required("password", said);
    no_flow(fields, said);
    if fields.map("ss-opts").switch("enabled", said) {
        said.error("ss-opts", "Shadowsocks inside of Trojan is not built");
    }
    let (transport, mux) = way(fields, Tls::Always, said)?;
    let account = trojan::AccountSettings {
        password: password?.to_owned().into(),
        ..trojan::AccountSettings::default()
    };
    let settings = trojan::OutboundSettings {
        servers: one(to?, account),
    };
    Some((OutboundSettings::Trojan(settings), transport, mux))
}

fn read_shadowsocks(fields: &Fields, said: &mut Said) -> Option<Parts> {
    let to = fields.server(said);
    let cipher = fields.required("cipher", said);
    let password = match cipher {
        Some("none" | "plain") => fields.text("password", said).or(Some("")),
        _ => fields.required("password", said),
    };
    if fields.switch("udp-over-tcp", said) {
        said.error("udp-over-tcp", "UDP over TCP is not built");
    }
    let transport = plugin(fields, said)?;
    let secret = format!("{}:{}", cipher?, password?);
    let account = shadowsocks::AccountSettings {
        at: Default::default(),
        secret: ss_link::secret(&secret, said)?,
        level: 0,
    };
    let settings = shadowsocks::OutboundSettings {
        servers: one(to?, account),
    };
    Some((OutboundSettings::Shadowsocks(settings), transport, None))
}

/// The transport that a plugin stands for, by the words of SIP003.
fn plugin(fields: &Fields, said: &mut Said) -> Option<ClientSettings> {
    let name = fields.word("plugin", said);
    if name.is_empty() {
        return Some(ClientSettings::default());
    }
    let opts = fields.map("plugin-opts");
    let mut text = ss_link::escaped(&name);
    let mode = opts.text("mode", said).unwrap_or("websocket");
    text += &format!(";mode={}", ss_link::escaped(mode));
    for key in ["host", "path"] {
        if let Some(value) = opts.text(key, said) {
            text += &format!(";{key}={}", ss_link::escaped(value));
        }
    }
    if opts.switch("tls", said) {
        text += ";tls";
    }
    if opts.switched("mux", said) == Some(false) {
        text += ";mux=0";
    }
    let mut params = Params::default();
    params.push("plugin", "plugin", &text, said);
    let mut transport = ss_link::of_plugin(&params.take("plugin")?, said)?;
    if let Some(tls) = &mut transport.security {
        tls.allow_insecure = opts.switch("skip-cert-verify", said);
    }
    more_headers(&opts, &mut transport.carrier, said);
    Some(transport)
}

fn read_socks(fields: &Fields, said: &mut Said) -> Option<Parts> {
    let server = proxy_server(fields, said);
    let (transport, _) = way(fields, Tls::Asked, said)?;
    let settings = socks::OutboundSettings {
        servers: vec![server?],
        ..socks::OutboundSettings::default()
    };
    Some((OutboundSettings::Socks(settings), transport, None))
}

fn read_http(fields: &Fields, said: &mut Said) -> Option<Parts> {
    let server = proxy_server(fields, said);
    let headers = headers(fields, said);
    let (transport, _) = way(fields, Tls::Asked, said)?;
    let settings = http_proxy::OutboundSettings {
        servers: vec![server?],
        headers,
        udp_tunnel: false,
    };
    Some((OutboundSettings::Http(settings), transport, None))
}

/// A server that may ask for a name and a password.
fn proxy_server(fields: &Fields, said: &mut Said) -> Option<ServerSettings<Account>> {
    let to = fields.server(said);
    let user = fields.text("username", said);
    let account = user.map(|user| Account {
        user: user.to_owned(),
        pass: fields
            .text("password", said)
            .unwrap_or_default()
            .to_owned()
            .into(),
        level: 0,
    });
    let accounts = account.into_iter().collect();
    Some(ServerSettings { to: to?, accounts })
}

/// Whether TLS has to be asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tls {
    Asked,
    Always,
}

/// What carries the tunnel, in the words of a link.
fn way(
    fields: &Fields,
    tls: Tls,
    said: &mut Said,
) -> Option<(ClientSettings, Option<mux::Settings>)> {
    let mut params = Params::default();
    let network = fields.word("network", said);
    let mut early_max = None;
    let opts = match &*network {
        "" | "tcp" => {
            params.push("type", "network", "tcp", said);
            fields.map("tcp-opts")
        }
        "ws" | "websocket" => {
            let opts = fields.map("ws-opts");
            let upgrade = opts.switch("v2ray-http-upgrade", said);
            let word = if upgrade { "httpupgrade" } else { "ws" };
            params.push("type", "network", word, said);
            push(&mut params, "path", &opts, "path", said);
            if upgrade && opts.switch("v2ray-http-upgrade-fast-open", said) {
                params.push("ed", "ws-opts.v2ray-http-upgrade-fast-open", "2048", said);
            } else if let Some(max) = opts.number("max-early-data", said).filter(|max| *max > 0) {
                match opts.text("early-data-header-name", said) {
                    Some(name) => {
                        params.push("eh", "ws-opts.early-data-header-name", name, said);
                        params.push("ed", "ws-opts.max-early-data", &max.to_string(), said);
                    }
                    None => early_max = Some(max as usize),
                }
            }
            opts
        }
        "grpc" => {
            let opts = fields.map("grpc-opts");
            params.push("type", "network", "grpc", said);
            let name = opts.text("grpc-service-name", said).unwrap_or(GRPC_SERVICE);
            params.push("serviceName", "grpc-opts.grpc-service-name", name, said);
            opts
        }
        "h2" => {
            let opts = fields.map("h2-opts");
            params.push("type", "network", "http", said);
            push(&mut params, "path", &opts, "path", said);
            let hosts = opts.list("host", said).join(",");
            params.push("host", "h2-opts.host", &hosts, said);
            opts
        }
        "http" => {
            let opts = fields.map("http-opts");
            params.push("type", "network", "tcp", said);
            params.push("headerType", "network", "http", said);
            let paths = opts.list("path", said).join(",");
            params.push("path", "http-opts.path", &paths, said);
            opts
        }
        other => {
            let other = other.escape_debug();
            let text =
                format!("`{other}` is not built, expected `tcp`, `ws`, `grpc`, `h2` or `http`");
            said.error("network", text);
            return None;
        }
    };
    let host = host_header(&opts, said);
    if let Some(host) = host.filter(|_| &*network != "grpc") {
        params.push("host", "Host", host, said);
    }
    let has_tls = fields.switch("tls", said) || tls == Tls::Always || &*network == "h2";
    seal(fields, has_tls, &mut params, host, said);
    datagrams(fields, &mut params, said);
    let (mut transport, mux) = tunnel(params, Unsaid::None, said)?;
    if let (ClientCarrier::Ws(ws), Some(max)) = (&mut transport.carrier, early_max) {
        let carried_in = EarlyDataIn::Path;
        ws.early_data = Some(EarlyData { carried_in, max });
    }
    more_headers(&opts, &mut transport.carrier, said);
    if let ClientCarrier::HttpHeader(header) = &mut transport.carrier
        && let Some(method) = opts.text("method", said)
    {
        header.request.method = method.to_owned();
    }
    Some((transport, mux))
}

fn push(params: &mut Params, name: &str, opts: &Fields, key: &str, said: &mut Said) {
    if let Some(text) = opts.text(key, said) {
        params.push(name, &opts.label(key), text, said);
    }
}

/// TLS, or none.
fn seal(fields: &Fields, has_tls: bool, params: &mut Params, host: Option<&str>, said: &mut Said) {
    if !fields
        .map("reality-opts")
        .word("public-key", said)
        .is_empty()
    {
        said.error(
            "reality-opts",
            "REALITY is not built, expected TLS with a certificate",
        );
    }
    if fields.map("ech-opts").switch("enable", said) {
        said.error(
            "ech-opts",
            "Encrypted Client Hello is not built, and without it everybody on the way could read the server's name",
        );
    }
    if !has_tls {
        return;
    }
    params.push("security", "tls", "tls", said);
    let name = match fields.text("servername", said) {
        Some(name) => Some(name),
        None => fields.text("sni", said),
    };
    // As Clash does it: the name of the request is that of TLS.
    if let Some(name) = name.or(host) {
        params.push("sni", "servername", name, said);
    }
    let alpn = fields.list("alpn", said).join(",");
    params.push("alpn", "alpn", &alpn, said);
    if fields.switch("skip-cert-verify", said) {
        params.push("allowInsecure", "skip-cert-verify", "1", said);
    }
    if let Some(hash) = fields.text("fingerprint", said) {
        params.push("pcs", "fingerprint", &hash.replace(':', ""), said);
    }
}

/// How datagrams travel.
fn datagrams(fields: &Fields, params: &mut Params, said: &mut Said) {
    let word = fields.word("packet-encoding", said);
    if !word.is_empty() {
        params.push("packetEncoding", "packet-encoding", &word, said);
    } else if fields.switch("packet-addr", said) {
        params.push("packetEncoding", "packet-addr", "packetaddr", said);
    } else if fields.switch("xudp", said) {
        params.push("packetEncoding", "xudp", "xudp", said);
    }
}

fn no_flow(fields: &Fields, said: &mut Said) {
    let flow = fields.word("flow", said);
    if !flow.is_empty() {
        let flow = flow.escape_debug();
        let text = format!("the flow `{flow}` is not built: remove it at both ends");
        said.error("flow", text);
    }
}

/// What would have connections go another way than over the usual one of this machine.
fn ways(fields: &Fields, said: &mut Said) {
    if fields.text("dialer-proxy", said).is_some() {
        said.error(
            "dialer-proxy",
            "a proxy behind another one is not read here",
        );
    }
    if fields.map("smux").switch("enabled", said) {
        said.left_out("smux", "sessions do not share connections here");
    }
}

fn sockopt(fields: &Fields, transport: &mut ClientSettings, said: &mut Said) {
    let sockopt = &mut transport.sockopt;
    sockopt.device = fields.text("interface-name", said).map(str::to_owned);
    sockopt.mark = fields
        .number("routing-mark", said)
        .filter(|mark| *mark != 0);
    sockopt.mptcp = fields.switch("mptcp", said);
}

/// The host that a request is for.
fn host_header<'a>(opts: &Fields<'a>, said: &mut Said) -> Option<&'a str> {
    let headers = opts.texts("headers", said);
    let host = headers
        .into_iter()
        .find(|(name, _)| name.eq_ignore_ascii_case("host"));
    host.and_then(|(_, values)| values.first().copied())
        .filter(|host| !host.is_empty())
}

/// The headers beside that.
fn more_headers(opts: &Fields, carrier: &mut ClientCarrier, said: &mut Said) {
    match carrier {
        ClientCarrier::Ws(ws) => ws.headers = headers(opts, said),
        ClientCarrier::HttpUpgrade(upgrade) => upgrade.headers = headers(opts, said),
        ClientCarrier::HttpHeader(header) => {
            for (name, values) in opts.texts("headers", said) {
                // The one host of a request is known already; of several it takes turns.
                if name.eq_ignore_ascii_case("host") && values.len() < 2 {
                    continue;
                }
                let values: Vec<String> = values.into_iter().map(str::to_owned).collect();
                if values.iter().any(|text| text.contains(['\r', '\n', '\0'])) {
                    said.error("http-opts.headers", "there is a line break in it");
                    return;
                }
                let named = |known: &Header| known.name.eq_ignore_ascii_case(name);
                header.request.headers.retain(|known| !named(known));
                let name = name.to_owned();
                header.request.headers.push(Header { name, values });
            }
        }
        _ => {}
    }
}

fn headers(fields: &Fields, said: &mut Said) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, values) in fields.texts("headers", said) {
        let label = format!("{}.{name}", fields.label("headers"));
        let Ok(header) = HeaderName::try_from(name) else {
            said.error(&label, "this is not the name of a header");
            continue;
        };
        if header == HOST {
            continue;
        }
        for value in values {
            match HeaderValue::try_from(value) {
                Ok(value) => {
                    map.append(&header, value);
                }
                Err(_) => said.error(&label, "it cannot stand in a header"),
            }
        }
    }
    map
}
