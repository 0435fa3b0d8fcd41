//! `ss://`: SIP002, and the older form that is base64 as a whole.
//!
//! ```text
//! ss://BASE64URL(METHOD:PASSWORD)@HOST:PORT/?plugin=NAME%3BOPTIONS#NAME
//! ss://METHOD:PASSWORD@HOST:PORT#NAME        percent-encoded, as SIP022 wants it for its keys
//! ss://BASE64(METHOD:PASSWORD@HOST:PORT)#NAME
//! ```
//!
//! SIP002 knows no transports but plugins. `v2ray-plugin` is Shadowsocks over WebSocket, with connections that are shared unless it says
//! `mux=0`, so it is read and written for that; for others there are the parameters of `vless://`, which panels write here, too.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use percent_encoding::percent_decode_str;

use super::accounts::{each, one, tunnel, write_tunnel};
use super::params::{Param, Params};
use super::said::Said;
use super::security::{Unsaid, default_alpn, server_name};
use super::uri::{self, Uri};
use super::{carrier, subscription};
use crate::address::{Destination, Host};
use crate::config::Outbound;
use crate::mux;
use crate::protocol::OutboundSettings;
use crate::protocol::shadowsocks::{
    AccountSecret, AccountSettings, AeadPassword, Blake3Key, Cipher, Key, Method,
    OutboundSettings as Settings,
};
use crate::transport::{ClientCarrier, ClientSettings, tls};

/// Reads what stands behind `ss://`.
pub(super) fn read(rest: &str, said: &mut Said) -> Option<Outbound> {
    let uri = Uri::split(rest);
    let mut params = Params::of_query(uri.query, said);
    let (secret, to) = match uri.userinfo {
        Some(userinfo) => (credentials(userinfo, said), uri.server(said)),
        None => whole(uri.place, said)?,
    };
    if let Some(uot) = params.first(&["uot", "udp-over-tcp"])
        && uot.switch(said)
    {
        said.error(&uot.label, "UDP over TCP is not built: take it out");
    }
    let (transport, plugin_mux) = match params.take("plugin") {
        Some(plugin) => {
            // What panels write beside it.
            params.first(&["group", "type", "security"]);
            params.finish(said);
            of_plugin(&plugin, said)?
        }
        None => {
            params.take("group");
            (tunnel(params, Unsaid::None, said)?.0, None)
        }
    };
    let account = AccountSettings {
        at: Default::default(),
        secret: secret?,
        level: 0,
    };
    let protocol = OutboundSettings::Shadowsocks(Settings {
        servers: one(to?, account),
    });
    let outbound = super::outbound(uri.name(), transport, protocol, None);
    Some(Outbound {
        plugin_mux,
        ..outbound
    })
}

/// The older form.
fn whole(place: &str, said: &mut Said) -> Option<(Option<AccountSecret>, Option<Destination>)> {
    let bytes = subscription::decode(place);
    let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
    let parts = text.as_deref().and_then(|text| text.rsplit_once('@'));
    let Some((secret, server)) = parts else {
        said.error(
            "link",
            "expected `METHOD:PASSWORD` in front of `@HOST:PORT`, or all of it in base64: was it cut off?",
        );
        return None;
    };
    Some((self::secret(secret, said), uri::server(server, said)))
}

/// `METHOD:PASSWORD`, percent-encoded or in base64.
fn credentials(userinfo: &str, said: &mut Said) -> Option<AccountSecret> {
    let Ok(plain) = percent_decode_str(userinfo).decode_utf8() else {
        said.error("userinfo", "it is not UTF-8 text, percent-encoded");
        return None;
    };
    // No base64 has a colon in it.
    let text = match plain.contains(':') {
        true => Some(plain),
        false => {
            let bytes = subscription::decode(&plain);
            bytes
                .and_then(|bytes| String::from_utf8(bytes).ok())
                .map(Cow::Owned)
        }
    };
    let Some(text) = text else {
        said.error(
            "userinfo",
            "expected `METHOD:PASSWORD`, percent-encoded or in base64",
        );
        return None;
    };
    secret(&text, said)
}

/// What `METHOD:PASSWORD` means.
pub(in crate::dialect) fn secret(text: &str, said: &mut Said) -> Option<AccountSecret> {
    let Some((name, password)) = text.split_once(':') else {
        said.error("userinfo", "there is no `:` between method and password");
        return None;
    };
    match Method::named(name.trim()) {
        None => {
            // A password without a method is not to be shown.
            said.error(
                "method",
                "it is none of `aes-128-gcm`, `aes-256-gcm`, `chacha20-ietf-poly1305`, `2022-blake3-aes-128-gcm`, \
                 `2022-blake3-aes-256-gcm`, `2022-blake3-chacha20-poly1305` and `none`",
            );
            None
        }
        Some(Method::None) => Some(AccountSecret::None),
        Some(_) if password.is_empty() => {
            said.error("password", "it is empty");
            None
        }
        Some(Method::Aead(cipher)) => {
            let password = AeadPassword::new(cipher, password.to_owned());
            Some(AccountSecret::Aead(password))
        }
        Some(Method::Blake3(cipher)) => {
            let key = |text| Key::from_base64(cipher, text);
            let keys: Result<Vec<Key>, _> = password.split(':').map(key).collect();
            let mut keys = keys.map_err(|e| said.error("password", e)).ok()?;
            let key = keys.pop()?;
            if !keys.is_empty() && !cipher.is_aes() {
                said.error(
                    "password",
                    "several keys are for the methods with AES alone",
                );
                return None;
            }
            Some(AccountSecret::Blake3 {
                key: Blake3Key { cipher, key },
                servers: keys,
            })
        }
    }
}

/// The transport that `NAME;OPTIONS` of a plugin stands for.
pub(in crate::dialect) fn read_plugin(text: &str, said: &mut Said) -> Option<Plugin> {
    let mut params = Params::default();
    params.push("plugin", "plugin", text, said);
    of_plugin(&params.take("plugin")?, said)
}

/// The transport that a plugin stands for, and how it is shared.
pub(in crate::dialect) type Plugin = (ClientSettings, Option<mux::Settings>);

fn of_plugin(plugin: &Param, said: &mut Said) -> Option<Plugin> {
    let mut options = options(&plugin.text).into_iter();
    let (name, _) = options.next().unwrap_or_default();
    if !matches!(&*name, "v2ray-plugin" | "xray-plugin") {
        let name = name.escape_debug();
        said.error(
            &plugin.label,
            format_args!("the plugin `{name}` is not built, expected `v2ray-plugin`"),
        );
        return None;
    }
    let mut params = Params::default();
    let mut mux = "1".to_owned();
    params.push("type", "plugin", "ws", said);
    for (key, value) in options {
        match &*key {
            "tls" => params.push("security", "plugin", "tls", said),
            "host" => {
                params.push("host", "plugin", &value, said);
                params.push("sni", "plugin", &value, said);
            }
            "path" => params.push("path", "plugin", &value, said),
            "mux" => mux = value,
            "mode" if value.is_empty() || value == "websocket" => {}
            "mode" => {
                let value = value.escape_debug();
                said.error(
                    &plugin.label,
                    format_args!("the mode `{value}` is not built, expected `websocket`"),
                );
            }
            "loglevel" | "fastopen" | "fast-open" | "" => {}
            other => said.left_out(
                &plugin.label,
                format_args!("its option `{}` is not known", other.escape_debug()),
            ),
        }
    }
    let Ok(shares) = mux.parse::<u32>() else {
        let text = format!("`mux={}` is no number", mux.escape_debug());
        said.error(&plugin.label, text);
        return None;
    };
    let mux = (shares > 0).then(|| mux::Settings::plugin(shares));
    Some((tunnel(params, Unsaid::None, said)?.0, mux))
}

/// SIP003's options: `name;key=value;key`, with `\` in front of what is meant as it is.
fn options(text: &str) -> Vec<(String, String)> {
    let mut options = vec![(String::new(), String::new())];
    let mut in_value = false;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        let c = match c {
            ';' => {
                options.push(Default::default());
                in_value = false;
                continue;
            }
            '=' if !in_value => {
                in_value = true;
                continue;
            }
            '\\' => chars.next().unwrap_or('\\'),
            c => c,
        };
        if let Some((key, value)) = options.last_mut() {
            (if in_value { value } else { key }).push(c);
        }
    }
    options
}

/// Writes the links of a `shadowsocks` outbound.
pub(super) fn write(outbound: &Outbound, settings: &Settings, said: &mut Said) -> Vec<String> {
    each(&settings.servers, |to, account, several| {
        super::level(account.level, said);
        let user = user(&account.secret);
        let params = params(outbound, to, said);
        let name = super::name(outbound, to, several);
        uri::written("ss", &user, to, &params, &name)
    })
}

fn user(secret: &AccountSecret) -> String {
    match secret {
        AccountSecret::None => URL_SAFE_NO_PAD.encode("none:none"),
        AccountSecret::Aead(password) => {
            let method = method(Method::Aead(password.key().cipher));
            URL_SAFE_NO_PAD.encode(format!("{method}:{}", password.text()))
        }
        // SIP022 forbids base64 around its keys.
        AccountSecret::Blake3 { key, servers } => {
            let method = method(Method::Blake3(key.cipher));
            let keys = servers.iter().chain([&key.key]);
            let keys: Vec<String> = keys.map(|key| STANDARD.encode(key.as_slice())).collect();
            format!("{method}:{}", uri::encoded(&keys.join(":")))
        }
    }
}

/// The name that most readers know; they have `ietf` in that of ChaCha20.
fn method(method: Method) -> &'static str {
    match method {
        Method::Aead(Cipher::ChaCha20Poly1305) => "chacha20-ietf-poly1305",
        other => other.name(),
    }
}

/// Nothing for plain TCP, the plugin for WebSocket, and for others what panels write.
fn params(outbound: &Outbound, to: &Destination, said: &mut Said) -> Vec<(&'static str, String)> {
    let transport = &outbound.transport;
    match (&transport.carrier, &transport.security) {
        (ClientCarrier::Raw, None) => {
            if outbound.mux.is_some() {
                said.left_out("mux", super::NO_WORD);
            }
            return Vec::new();
        }
        (ClientCarrier::Ws(_), tls) => {
            let plugin = (transport, outbound.plugin_mux.as_ref());
            if let Some(plugin) = write_plugin(plugin, tls.as_ref(), to, said) {
                if outbound.mux.is_some() {
                    said.left_out("mux", super::NO_WORD);
                }
                return vec![("plugin", plugin)];
            }
        }
        _ => {}
    }
    if outbound.plugin_mux.is_some() {
        said.left_out(
            "plugin",
            "the link has no word for connections that share others, and the server waits for these: it does not work",
        );
    }
    let params = write_tunnel(outbound, to, Vec::new(), said);
    said.left_out(
        "streamSettings",
        "SIP002 has no word for this transport: the link has the parameters of `vless://`, which few clients read here",
    );
    params
}

/// `v2ray-plugin` and its options, where they can say it: the name in TLS and in the request are one there.
pub(in crate::dialect) fn write_plugin(
    (transport, mux): (&ClientSettings, Option<&mux::Settings>),
    tls: Option<&tls::ClientSettings>,
    to: &Destination,
    said: &mut Said,
) -> Option<String> {
    let ClientCarrier::Ws(ws) = &transport.carrier else {
        return None;
    };
    let host = ws.host.as_ref();
    let host = host.map(|host| String::from_utf8_lossy(host.as_bytes()).into_owned());
    let shares = mux.and_then(|mux| mux.concurrency).unwrap_or(0);
    let mut plugin = format!("v2ray-plugin;mode=websocket;mux={shares}");
    if let Some(tls) = tls {
        let plain = tls::ClientSettings {
            server_name: tls.server_name.clone(),
            alpn: default_alpn(&transport.carrier),
            ..tls::ClientSettings::default()
        };
        let name = server_name(transport, tls, to);
        if *tls != plain
            || host
                .as_ref()
                .is_some_and(|host| Some(host) != name.as_ref())
        {
            return None;
        }
        plugin.push_str(";tls");
        let host = name.unwrap_or_else(|| super::security::bare(&to.host));
        plugin.push_str(&format!(";host={}", escaped(&host)));
    } else {
        // The plugin's own default is somebody else's name.
        let host = host.unwrap_or_else(|| match &to.host {
            Host::Ip(ip) => ip.to_string(),
            Host::Domain(name) => name.clone(),
        });
        plugin.push_str(&format!(";host={}", escaped(&host)));
    }
    plugin.push_str(&format!(";path={}", escaped(&ws.path)));
    let mut rest = Vec::new();
    carrier::write(&transport.carrier, &mut rest, said);
    if ws.early_data.is_some() {
        said.left_out(
            "streamSettings.wsSettings.maxEarlyData",
            "`v2ray-plugin` has no early data",
        );
    }
    Some(plugin)
}

/// As SIP003 has it.
pub(in crate::dialect) fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for c in text.chars() {
        if matches!(c, '\\' | ';' | '=' | ',') {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}
