//! From an outbound to a proxy of Clash.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use http::header::HeaderValue;
use serde_json::{Map, Value, json};

use crate::address::{Destination, Host};
use crate::config::Outbound;
use crate::dialect::gost::tree::{Node, Value as Given};
use crate::http::EarlyDataIn;
use crate::mux::Udp;
use crate::protocol::OutboundSettings;
use crate::protocol::accounts::Account;
use crate::protocol::shadowsocks::{AccountSecret, Cipher, Method};
use crate::protocol::socks::Version;
use crate::transport::{ClientCarrier, ClientSettings, tls};

/// Writes the first server of an outbound, with its first account.
///
/// # Errors
///
/// When Clash has no word for something without which it would not work.
pub fn write(outbound: &Outbound) -> Result<Map<String, Value>, String> {
    let mut map = Map::new();
    let servers = outbound.protocol.servers();
    let to = servers.first().ok_or("it has no server")?;
    if outbound.through.is_some() {
        return Err("it goes through another outbound".to_owned());
    }
    let name = outbound
        .tag
        .as_deref()
        .map_or_else(|| to.to_string(), str::to_owned);
    map.insert("name".to_owned(), name.into());
    account(&outbound.protocol, &mut map)?;
    map.insert("server".to_owned(), bare(&to.host).into());
    map.insert("port".to_owned(), to.port.into());
    map.insert("udp".to_owned(), true.into());
    let transport = &outbound.transport;
    match &outbound.protocol {
        OutboundSettings::Shadowsocks(_) => plugin(transport, to, &mut map)?,
        protocol => {
            carrier(&transport.carrier, protocol, &mut map)?;
            seal(transport, protocol, to, &mut map)?;
        }
    }
    let udp = outbound
        .mux
        .as_ref()
        .filter(|mux| mux.concurrency.is_none());
    let encoding = match udp.map(|mux| &mux.udp) {
        Some(Udp::Xudp(_)) => Some("xudp"),
        Some(Udp::PacketAddr) => Some("packetaddr"),
        _ => None,
    };
    if let Some(encoding) = encoding {
        map.insert("packet-encoding".to_owned(), encoding.into());
    }
    Ok(map)
}

fn account(protocol: &OutboundSettings, map: &mut Map<String, Value>) -> Result<(), String> {
    let none = || "it has no account".to_owned();
    let mut put = |key: &str, value: Value| map.insert(key.to_owned(), value);
    match protocol {
        OutboundSettings::Vmess(settings) => {
            let account = settings
                .servers
                .first()
                .and_then(|one| one.accounts.first());
            let account = account.ok_or_else(none)?;
            put("type", "vmess".into());
            put("uuid", account.id.to_string().into());
            put("alterId", 0.into());
            put("cipher", account.security.name().into());
            if account.authenticated_length {
                put("authenticated-length", true.into());
            }
        }
        OutboundSettings::Vless(settings) => {
            let account = settings
                .servers
                .first()
                .and_then(|one| one.accounts.first());
            put("type", "vless".into());
            put("uuid", account.ok_or_else(none)?.id.to_string().into());
        }
        OutboundSettings::Trojan(settings) => {
            let account = settings
                .servers
                .first()
                .and_then(|one| one.accounts.first());
            put("type", "trojan".into());
            put(
                "password",
                account.ok_or_else(none)?.password.as_str().into(),
            );
        }
        OutboundSettings::Shadowsocks(settings) => {
            let account = settings
                .servers
                .first()
                .and_then(|one| one.accounts.first());
            let (cipher, password) = match &account.ok_or_else(none)?.secret {
                AccountSecret::None => ("none", String::new()),
                AccountSecret::Aead(password) => {
                    let cipher = match password.key().cipher {
                        Cipher::ChaCha20Poly1305 => "chacha20-ietf-poly1305",
                        other => Method::Aead(other).name(),
                    };
                    (cipher, password.text().to_owned())
                }
                AccountSecret::Blake3 { key, servers } => {
                    let keys = servers.iter().chain([&key.key]);
                    let keys: Vec<_> = keys.map(|key| STANDARD.encode(key.as_slice())).collect();
                    (Method::Blake3(key.cipher).name(), keys.join(":"))
                }
            };
            put("type", "ss".into());
            put("cipher", cipher.into());
            put("password", password.into());
        }
        OutboundSettings::Socks(settings) => {
            if settings.version != Version::Five {
                return Err("Clash speaks SOCKS 5 alone".to_owned());
            }
            put("type", "socks5".into());
            let account = settings
                .servers
                .first()
                .and_then(|one| one.accounts.first());
            credentials(account, map);
        }
        OutboundSettings::Http(settings) => {
            put("type", "http".into());
            if !settings.headers.is_empty() {
                put("headers", headers(&settings.headers, None));
            }
            let account = settings
                .servers
                .first()
                .and_then(|one| one.accounts.first());
            credentials(account, map);
        }
        other => return Err(format!("Clash has no `{}`", other.name())),
    }
    Ok(())
}

fn credentials(account: Option<&Account>, map: &mut Map<String, Value>) {
    if let Some(account) = account {
        map.insert("username".to_owned(), (&*account.user).into());
        map.insert("password".to_owned(), account.pass.as_str().into());
    }
}

fn carrier(
    carrier: &ClientCarrier,
    protocol: &OutboundSettings,
    map: &mut Map<String, Value>,
) -> Result<(), String> {
    if matches!(
        protocol,
        OutboundSettings::Socks(_) | OutboundSettings::Http(_)
    ) {
        return match carrier {
            ClientCarrier::Raw => Ok(()),
            _ => Err(format!(
                "Clash has no `{}` over this transport",
                protocol.name()
            )),
        };
    }
    let (network, opts) = match carrier {
        ClientCarrier::Raw => return Ok(()),
        ClientCarrier::Ws(ws) => {
            let mut opts =
                json!({"path": ws.path, "headers": headers(&ws.headers, ws.host.as_ref())});
            if let Some(early) = &ws.early_data {
                opts["max-early-data"] = early.max.into();
                if let EarlyDataIn::Header(name) = &early.carried_in {
                    // Canonical, as Go's programs compare it.
                    opts["early-data-header-name"] = canonical(name.as_str()).into();
                }
            }
            ("ws", opts)
        }
        ClientCarrier::HttpUpgrade(upgrade) => {
            let mut opts = json!({
                "path": upgrade.path, "headers": headers(&upgrade.headers, upgrade.host.as_ref()),
                "v2ray-http-upgrade": true,
            });
            if upgrade.early_data.is_some() {
                opts["v2ray-http-upgrade-fast-open"] = true.into();
            }
            ("ws", opts)
        }
        ClientCarrier::Grpc(grpc) if !grpc.multi => {
            ("grpc", json!({"grpc-service-name": grpc.paths.name()}))
        }
        ClientCarrier::H2(h2) => ("h2", json!({"host": h2.hosts, "path": h2.path})),
        ClientCarrier::HttpHeader(header) => {
            let all = header.request.headers.iter();
            let all: Map<String, Value> = all
                .map(|h| (h.name.clone(), h.values.clone().into()))
                .collect();
            let request = &header.request;
            (
                "http",
                json!({"method": request.method, "path": request.paths, "headers": all}),
            )
        }
        ClientCarrier::Grpc(_) => return Err("Clash has no `multiMode` of gRPC".to_owned()),
        ClientCarrier::Mws(_) => return Err("Clash has no `mws`".to_owned()),
        ClientCarrier::Browser(_) => return Err("Clash has no browser to dial with".to_owned()),
    };
    map.insert("network".to_owned(), network.into());
    map.insert(format!("{network}-opts"), opts);
    Ok(())
}

fn seal(
    transport: &ClientSettings,
    protocol: &OutboundSettings,
    to: &Destination,
    map: &mut Map<String, Value>,
) -> Result<(), String> {
    let is_trojan = matches!(protocol, OutboundSettings::Trojan(_));
    let Some(tls) = &transport.security else {
        return match is_trojan {
            true => Err("Clash speaks Trojan by TLS alone".to_owned()),
            false => Ok(()),
        };
    };
    known(tls)?;
    if !is_trojan {
        map.insert("tls".to_owned(), true.into());
    }
    let name = tls.server_name.as_ref().unwrap_or(&to.host);
    let key = match protocol {
        OutboundSettings::Trojan(_) | OutboundSettings::Http(_) => "sni",
        _ => "servername",
    };
    map.insert(key.to_owned(), bare(name).into());
    if tls.allow_insecure {
        map.insert("skip-cert-verify".to_owned(), true.into());
    }
    if let [pin] = &tls.certificate_pins[..] {
        let hex: String = pin.iter().map(|byte| format!("{byte:02x}")).collect();
        map.insert("fingerprint".to_owned(), hex.into());
    }
    if transport.carrier.alpn().is_none() && tls.alpn != tls::ClientSettings::default().alpn {
        map.insert("alpn".to_owned(), tls.alpn.clone().into());
    }
    Ok(())
}

/// Whom it believes must be what Clash can say, or a stranger would be believed.
fn known(tls: &tls::ClientSettings) -> Result<(), String> {
    let is_said = tls.pins.is_empty()
        && tls.verify_names.is_empty()
        && tls.certificate_pins.len() < 2
        && tls.certificate.is_none()
        && !tls.disable_system_root
        && tls.authorities.0.is_empty();
    match is_said {
        true => Ok(()),
        false => Err("Clash has no word for whose certificates it believes".to_owned()),
    }
}

/// Shadowsocks over WebSocket is `v2ray-plugin` there.
fn plugin(
    transport: &ClientSettings,
    to: &Destination,
    map: &mut Map<String, Value>,
) -> Result<(), String> {
    let ws = match (&transport.carrier, &transport.security) {
        (ClientCarrier::Raw, None) => return Ok(()),
        (ClientCarrier::Ws(ws), _) => ws,
        _ => return Err("Clash has no Shadowsocks over this transport".to_owned()),
    };
    let host = ws
        .host
        .as_ref()
        .map(|host| String::from_utf8_lossy(host.as_bytes()).into_owned());
    let mut opts = json!({"mode": "websocket", "path": ws.path, "mux": false});
    let mut name = host;
    if let Some(tls) = &transport.security {
        known(tls)?;
        opts["tls"] = true.into();
        if tls.allow_insecure {
            opts["skip-cert-verify"] = true.into();
        }
        let asked = tls.server_name.as_ref().map(bare);
        if name.is_some() && asked.is_some() && name != asked {
            return Err("`v2ray-plugin` has one name for TLS and the request".to_owned());
        }
        name = name.or(asked);
    }
    opts["host"] = name.unwrap_or_else(|| bare(&to.host)).into();
    map.insert("plugin".to_owned(), "v2ray-plugin".into());
    map.insert("plugin-opts".to_owned(), opts);
    Ok(())
}

fn headers(more: &HeaderMap, host: Option<&HeaderValue>) -> Value {
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let mut map = Map::new();
    if let Some(host) = host {
        map.insert("Host".to_owned(), text(host).into());
    }
    for (name, value) in more {
        map.insert(canonical(name.as_str()), text(value).into());
    }
    map.into()
}

/// `Sec-WebSocket-Protocol` of `sec-websocket-protocol`.
fn canonical(name: &str) -> String {
    let words = name.split('-').map(|word| match word {
        "websocket" => "WebSocket".to_owned(),
        word => {
            let mut letters = word.chars();
            let first = letters.next().map(|c| c.to_ascii_uppercase());
            first.into_iter().chain(letters).collect()
        }
    });
    words.collect::<Vec<String>>().join("-")
}

/// Without the brackets of an IPv6 address.
fn bare(host: &Host) -> String {
    match host {
        Host::Ip(ip) => ip.to_string(),
        Host::Domain(name) => name.clone(),
    }
}

/// Puts the entries of `given` where `map` has none of their names.
pub(super) fn complete(map: &mut Map<String, Value>, given: &Node) {
    let plain = |key: &str| key.to_ascii_lowercase().replace('_', "-");
    for (key, node) in given.entries() {
        let there = map
            .iter_mut()
            .find(|(known, _)| plain(known) == plain(key))
            .map(|(_, value)| value);
        match there {
            Some(Value::Object(inner)) => complete(inner, node),
            Some(_) => {}
            None => {
                map.insert(key.clone(), as_given(node));
            }
        }
    }
}

/// Numbers and switches become what they were: whoever wrote a text that looks like one meant the same.
fn as_given(node: &Node) -> Value {
    match &node.value {
        Given::Null => Value::Null,
        Given::Text(text) => match &**text {
            "true" => true.into(),
            "false" => false.into(),
            text => match text.parse::<u64>() {
                Ok(number) if number.to_string() == text => number.into(),
                _ => text.into(),
            },
        },
        Given::List(items) => items.iter().map(as_given).collect(),
        Given::Map(entries) => {
            let entries = entries.iter();
            Value::Object(
                entries
                    .map(|(key, node)| (key.clone(), as_given(node)))
                    .collect(),
            )
        }
    }
}
