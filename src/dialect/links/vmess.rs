//! `vmess://`, in v2rayN's form and in that of a URL.
//!
//! ```text
//! {"v": "2", "ps": NAME, "add": HOST, "port": "443", "id": ID, "aid": "0", "scy": "auto",
//!  "net": "ws", "type": "none", "host": "", "path": "/ray", "tls": "tls", "sni": "", "alpn": "", "fp": ""}
//! ```
//!
//! `type` is what a URL calls `headerType`, of gRPC `mode`; `path` is gRPC's `serviceName`, too. Numbers may be texts, and
//! the base64 of any kind; another one of Shadowrocket's is [`shadowrocket`], and another URL [`carrier_first`]. Version 1 has host and path in `host`, with a `;` between them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Number, Value, json};

use super::accounts::{each, id, one, tunnel, write_tunnel};
use super::params::Params;
use super::said::Said;
use super::security::Unsaid;
use super::uri::{self, Uri};
use super::{Form, carrier_first, shadowrocket, subscription};
use crate::config::Outbound;
use crate::dialect::surrogates::mended;
use crate::protocol::OutboundSettings;
use crate::protocol::vmess::{self, AccountSettings, Security};

/// Reads what stands behind `vmess://`.
pub(super) fn read(rest: &str, said: &mut Said) -> Option<Outbound> {
    let uri = Uri::split(rest);
    if uri.userinfo.is_some() {
        return read_url(&uri, said);
    }
    let bytes = subscription::decode(uri.place);
    if let Some(text) = bytes
        .as_deref()
        .and_then(|bytes| str::from_utf8(bytes).ok())
        && let Some((method, rest)) = shadowrocket::taken_apart(text)
    {
        return read_shadowrocket(&uri, method, rest, said);
    }
    // The name may be in another encoding.
    let text = bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let value = text.and_then(|text| serde_json::from_str(&mended(&text)).ok());
    let Some(Value::Object(map)) = value else {
        said.error(
            "link",
            "expected `ID@HOST:PORT`, or a JSON object in base64 as v2rayN writes it: was it cut off?",
        );
        return None;
    };
    read_json(&map, uri.name(), said)
}

fn read_shadowrocket(uri: &Uri, method: &str, rest: &str, said: &mut Said) -> Option<Outbound> {
    let (params, name) = shadowrocket::params(method, uri.query, said);
    let inside = Uri::split(rest);
    made(uri.name().or(name), &inside, params, said)
}

fn read_url(uri: &Uri, said: &mut Said) -> Option<Outbound> {
    let usual = uri
        .userinfo
        .and_then(|who| carrier_first::usual(who, uri.query));
    if let Some((id, query)) = usual {
        let params = Params::of_query(&query, said);
        return made(uri.name(), &uri.of_user(id), params, said);
    }
    let params = Params::of_query(uri.query, said);
    made(uri.name(), uri, params, said)
}

/// Of `ID@HOST:PORT`.
fn made(name: Option<String>, uri: &Uri, mut params: Params, said: &mut Said) -> Option<Outbound> {
    let id = uri.user("id", said).and_then(|text| id(&text, "id", said));
    let to = uri.server(said);
    let account = account(id, &mut params, said);
    let (transport, mux) = tunnel(params, Unsaid::None, said)?;
    let protocol = OutboundSettings::Vmess(vmess::OutboundSettings {
        servers: one(to?, account?),
    });
    Some(super::outbound(name, transport, protocol, mux))
}

fn read_json(map: &Map<String, Value>, name: Option<String>, said: &mut Said) -> Option<Outbound> {
    let text = |key: &str, said: &mut Said| text(map, key, said);
    let name = name.or_else(|| text("ps", said));
    let host = text("add", said);
    let port = text("port", said);
    let own_id = text("id", said);
    let missing = "it is missing";
    let host = match host {
        Some(host) => uri::address(&host, said),
        None => {
            said.error("add", missing);
            None
        }
    };
    let port = match port {
        Some(port) => uri::port(&port, said),
        None => {
            said.error("port", "it is missing, expected 1 to 65535");
            None
        }
    };
    let id = match own_id {
        Some(text) => id(&text, "id", said),
        None => {
            said.error("id", missing);
            None
        }
    };
    let mut params = params_of_json(map, said);
    let account = account(id, &mut params, said);
    let (transport, mux) = tunnel(params, Unsaid::None, said)?;
    let to = crate::address::Destination::new(host?, port?);
    let protocol = OutboundSettings::Vmess(vmess::OutboundSettings {
        servers: one(to, account?),
    });
    Some(super::outbound(name, transport, protocol, mux))
}

/// The keys of the object, by the names of a URL.
fn params_of_json(map: &Map<String, Value>, said: &mut Said) -> Params {
    let mut params = Params::default();
    let net = text(map, "net", said)
        .unwrap_or_default()
        .to_ascii_lowercase();
    let is_grpc = net == "grpc" || net == "gun";
    let is_first_version = text(map, "v", said).is_none_or(|v| v.trim() == "1");
    // v2rayN reads gRPC's mode from `type` alone; others write `mode`, and `none` there.
    let has_mode =
        is_grpc && text(map, "type", said).is_some_and(|text| !text.eq_ignore_ascii_case("none"));
    for (key, value) in map {
        let is_known = KNOWN.iter().any(|known| key.eq_ignore_ascii_case(known));
        if value.is_object() && !is_known {
            said.left_out(key, "it is not known, it has no effect");
            continue;
        }
        let Some(value) = text(map, key, said) else {
            continue;
        };
        let name = match &*key.to_ascii_lowercase() {
            "v" | "ps" | "add" | "port" | "id" => continue,
            "net" => "type",
            "type" if is_grpc && !has_mode => continue,
            "mode" if has_mode => continue,
            "type" if is_grpc => "mode",
            "type" => "headerType",
            "path" if is_grpc => "serviceName",
            "host" if is_grpc => "authority",
            "tls" => "security",
            "aid" => "alterId",
            "scy" | "security" | "cipher" => "encryption",
            "host" if is_first_version && value.contains(';') => {
                // v2rayN's own order is the other one.
                let (host, path) = match value.split_once(';').unwrap_or_default() {
                    (path, host) if path.starts_with('/') => (host, path),
                    parts => parts,
                };
                params.push("host", key, host, said);
                params.push("path", key, path, said);
                continue;
            }
            _ => key,
        };
        params.push(name, key, &value, said);
    }
    params
}

/// A text, or what may be written as one; an empty one is not there.
fn text(map: &Map<String, Value>, key: &str, said: &mut Said) -> Option<String> {
    let text = match map.get(key)? {
        Value::String(text) => text.trim().to_owned(),
        Value::Number(number) => whole(number),
        Value::Bool(bool) => bool.to_string(),
        Value::Null => String::new(),
        // Some clients make a list of `alpn`.
        Value::Array(list) if list.iter().all(Value::is_string) => {
            let texts: Vec<&str> = list.iter().filter_map(Value::as_str).collect();
            texts.join(",")
        }
        Value::Array(_) | Value::Object(_) => {
            said.error(key, "expected a text or a number");
            String::new()
        }
    };
    (!text.is_empty()).then_some(text)
}

/// A number, `443.0` as `443`.
fn whole(number: &Number) -> String {
    let text = number.to_string();
    match text.strip_suffix(".0") {
        Some(whole) => whole.to_owned(),
        None => text,
    }
}

/// Keys of v2rayN's, which have texts.
const KNOWN: [&str; 13] = [
    "v", "ps", "add", "port", "id", "aid", "scy", "net", "type", "host", "path", "tls", "sni",
];

fn account(
    id: Option<uuid::Uuid>,
    params: &mut Params,
    said: &mut Said,
) -> Option<AccountSettings> {
    if let Some(param) = params.take("alterId") {
        match param.text.trim().parse::<u32>() {
            Ok(0) => {}
            Ok(_) => said.left_out(
                &param.label,
                "VMess without AEAD is dead: AEAD is used, as with 0, and the server must use it too",
            ),
            Err(_) => {
                let text = param.text.escape_debug();
                said.error(&param.label, format_args!("found `{text}`, expected 0"));
            }
        }
    }
    let security = match params.take("encryption") {
        None => Security::Auto,
        Some(param) => {
            let word = param.text.trim().to_ascii_lowercase();
            let all = [
                Security::Auto,
                Security::Aes128Gcm,
                Security::ChaCha20Poly1305,
                Security::None,
                Security::Zero,
            ];
            let found = all.into_iter().find(|security| security.name() == word);
            found.unwrap_or_else(|| {
                let word = word.escape_debug();
                said.left_out(
                    &param.label,
                    format_args!("`{word}` is unknown, `auto` takes its place as in V2Ray"),
                );
                Security::Auto
            })
        }
    };
    Some(AccountSettings {
        id: id?.into(),
        security,
        ..AccountSettings::default()
    })
}

/// Writes the links of a `vmess` outbound.
pub(super) fn write(
    outbound: &Outbound,
    settings: &vmess::OutboundSettings,
    form: Form,
    said: &mut Said,
) -> Vec<String> {
    each(&settings.servers, |to, account, several| {
        super::level(account.level, said);
        if account.authenticated_length || account.no_end_mark {
            said.left_out("settings", "a link has no word for `experiments`");
        }
        let id = account.id.to_string();
        let name = super::name(outbound, to, several);
        let own = vec![("encryption", account.security.name().to_owned())];
        let params = write_tunnel(outbound, to, own, said);
        match form {
            Form::Url => uri::written("vmess", &id, to, &params, &name),
            Form::Json => {
                let host = super::security::bare(&to.host);
                let map = json_of_params(&params, said);
                let own = json!({
                    "v": "2", "ps": name, "add": host, "port": to.port.to_string(), "id": id, "aid": "0",
                });
                let mut all = own.as_object().cloned().unwrap_or_default();
                all.extend(map);
                format!(
                    "vmess://{}",
                    STANDARD.encode(Value::Object(all).to_string())
                )
            }
        }
    })
}

/// The parameters of a URL, by the keys of the object. Those of v2rayN's wiki are always there; of an empty `alpn`
/// mihomo makes a protocol without a name, which its TLS refuses.
fn json_of_params(params: &[(&'static str, String)], said: &mut Said) -> Map<String, Value> {
    let mut map = Map::new();
    for key in ["host", "path", "tls"] {
        map.insert(key.to_owned(), "".into());
    }
    map.insert("type".to_owned(), "none".into());
    for (name, value) in params {
        let (key, value) = match (*name, &**value) {
            ("encryption", _) => ("scy", value.clone()),
            ("type", "http") => ("net", "h2".to_owned()),
            ("type", _) => ("net", value.clone()),
            ("headerType" | "mode", _) => ("type", value.clone()),
            ("serviceName", _) => ("path", value.clone()),
            ("security", "none") => continue,
            ("security", _) => ("tls", value.clone()),
            ("authority", _) => {
                // One of the two is read by each.
                map.insert("host".to_owned(), value.clone().into());
                ("authority", value.clone())
            }
            ("allowInsecure", _) => continue,
            ("ed" | "eh", _) => {
                said.left_out(
                    "streamSettings",
                    "v2rayN's form has no word for early data in a header of its own",
                );
                continue;
            }
            ("packetEncoding", _) => {
                said.left_out("mux", super::NO_WORD);
                continue;
            }
            (name, _) => (name, value.clone()),
        };
        map.insert(key.to_owned(), value.into());
    }
    map
}
