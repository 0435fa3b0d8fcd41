//! An outbound, which has one server and one user there.

use serde_json::{Map, Value, json};

use super::part::{NO_WORD, Part};
use super::stream;
use crate::dialect::v2ray::protocols::ids;

/// Writes an outbound; one that cannot be said is one that blocks, by its tag.
pub(super) fn write(outbound: Part<'_>) -> Value {
    match read(&outbound) {
        Ok(five) => {
            outbound.finish();
            Value::Object(five)
        }
        Err(why) => {
            outbound.lines.push(format!(
                "{}: {why}: it is left out, what is meant for it is blocked",
                outbound.path
            ));
            match outbound.text(&["tag"]) {
                Some(tag) => stand_in(tag),
                None => json!({"protocol": "blackhole", "settings": {}}),
            }
        }
    }
}

/// What takes the place of an outbound that is not there.
pub(super) fn stand_in(tag: String) -> Value {
    json!({"protocol": "blackhole", "settings": {}, "tag": tag})
}

fn read(outbound: &Part<'_>) -> Result<Map<String, Value>, String> {
    let mut five = Map::new();
    let mut protocol = outbound.protocol();
    let settings = outbound.part(&["settings"]);
    let mut own = Map::new();
    let empty = Value::Object(Map::new());
    let at = outbound.at("settings");
    let none = Part::of(&empty, at, outbound.lines);
    if let Some(settings) = settings.or(none) {
        protocol_settings(&mut protocol, &settings, &mut own, &mut five)?;
        settings.finish();
    }
    five.insert("protocol".to_owned(), protocol.into());
    five.insert("settings".to_owned(), Value::Object(own));
    for key in ["tag", "sendThrough"] {
        outbound.keep(&mut five, &[key]);
    }
    let mut through = None;
    if let Some(stream) = outbound.part(&["streamSettings"]) {
        through = outbound.get(&["streamSettings"]).and_then(stream::dialer);
        let written = stream::write(&stream)?;
        stream.finish();
        five.insert("streamSettings".to_owned(), written);
    }
    if let Some(proxy) = outbound.part(&["proxySettings"]) {
        through = through.or_else(|| proxy.text(&["tag"]));
        proxy.silent(&["tag", "transportLayer", "transportLayerProxy"]);
        proxy.finish();
    }
    if let Some(tag) = through {
        let proxy = json!({"tag": tag, "transportLayer": true});
        five.insert("proxySettings".to_owned(), proxy);
    }
    if let Some(mux) = outbound.part(&["mux"])
        && mux.is_on(&["enabled"])
    {
        let mut kept = Map::new();
        mux.keep(&mut kept, &["enabled"]);
        mux.keep(&mut kept, &["concurrency"]);
        mux.finish();
        five.insert("mux".to_owned(), Value::Object(kept));
    }
    if let Some(strategy) = outbound.text(&["domainStrategy", "targetStrategy"]) {
        put_strategy(outbound, &strategy, &mut five);
    }
    Ok(five)
}

/// Names are resolved here before they are sent on.
fn put_strategy(part: &Part<'_>, text: &str, five: &mut Map<String, Value>) {
    let lower: String = text.to_ascii_lowercase().replace(['_', '-'], "");
    let word = match &*lower {
        "" | "asis" => return,
        "useip" => "UseIP",
        "useipv4" | "useip4" => "UseIP4",
        "useipv6" | "useip6" => "UseIP6",
        other => {
            let word = if other.contains('4') {
                "UseIP4"
            } else {
                "UseIP"
            };
            let text = format!("{NO_WORD}, `{word}` takes its place");
            part.lost("domainStrategy", text);
            word
        }
    };
    five.insert("domainStrategy".to_owned(), word.into());
}

fn protocol_settings(
    protocol: &mut String,
    settings: &Part<'_>,
    own: &mut Map<String, Value>,
    five: &mut Map<String, Value>,
) -> Result<(), String> {
    match &**protocol {
        "vmess" | "vless" => {
            server(settings, "vnext", own, |user, own| {
                let id = user.text(&["id", "uuid"]).unwrap_or_default();
                if let Ok(id) = ids::parse(&id) {
                    own.insert("uuid".to_owned(), id.to_string().into());
                }
                if !matches!(&*user.word(&["security"]), "" | "auto") {
                    user.lost("security", format_args!("{NO_WORD}, it is as with `auto`"));
                }
                user.silent(&["encryption"]);
                Ok(())
            })?;
        }
        "trojan" => server(settings, "servers", own, |user, own| {
            user.keep(own, &["password"]);
            Ok(())
        })?,
        "shadowsocks" | "shadowsocks2022" => {
            let mut is_2022 = *protocol == "shadowsocks2022";
            server(settings, "servers", own, |user, own| {
                let method = user.word(&["method"]);
                own.insert("method".to_owned(), method.clone().into());
                if !method.starts_with("2022-") {
                    user.keep(own, &["password"]);
                    return Ok(());
                }
                if method.contains("chacha20") {
                    return Err(format!("V2Ray 5 has no `{method}`"));
                }
                is_2022 = true;
                user.keep(own, &["psk"]);
                user.keep(own, &["ipsk"]);
                let password = user.text(&["password"]).unwrap_or_default();
                let mut keys: Vec<&str> =
                    password.split(':').filter(|key| !key.is_empty()).collect();
                if let Some(key) = keys.pop() {
                    own.insert("psk".to_owned(), key.into());
                }
                if !keys.is_empty() {
                    own.insert("ipsk".to_owned(), json!(keys));
                }
                Ok(())
            })?;
            if is_2022 {
                *protocol = "shadowsocks2022".to_owned();
            }
        }
        "socks" | "http" => server(settings, "servers", own, |user, _| {
            let has_account = ["user", "username", "pass", "password"]
                .iter()
                .any(|key| user.text(&[key]).is_some());
            if has_account {
                return Err("V2Ray 5's form has no accounts for it".to_owned());
            }
            if !matches!(&*user.word(&["version"]), "" | "5") {
                return Err("V2Ray 5's form has no SOCKS 4".to_owned());
            }
            Ok(())
        })?,
        "freedom" => {
            if let Some(strategy) = settings.text(&["domainStrategy", "targetStrategy"]) {
                put_strategy(settings, &strategy, five);
            }
            if let Some(text) = settings.text(&["redirect"]) {
                let (address, port) = text
                    .rsplit_once(':')
                    .ok_or_else(|| format!("{}: no target", settings.at("redirect")))?;
                let mut server = Map::new();
                let address = address.trim_start_matches('[').trim_end_matches(']');
                if !address.is_empty() {
                    server.insert("address".to_owned(), address.into());
                }
                if let Ok(port) = port.parse::<u16>() {
                    server.insert("port".to_owned(), port.into());
                }
                own.insert("destinationOverride".to_owned(), json!({"server": server}));
            }
            settings.keep(own, &["destinationOverride"]);
            for key in [
                "finalRules",
                "ipsBlocked",
                "fragment",
                "noises",
                "proxyProtocol",
            ] {
                nothing_of(settings, key)?;
            }
            settings.silent(&["timeout"]);
        }
        "blackhole" => settings.silent(&[]),
        "loopback" => settings.keep(own, &["inboundTag"]),
        "dns" => {
            for key in ["rules", "blockTypes"] {
                nothing_of(settings, key)?;
            }
            settings.silent(&["nonIPQuery"]);
        }
        other => {
            return Err(format!(
                "V2Ray 5's form has no outbound `{}`",
                other.escape_debug()
            ));
        }
    }
    settings.no_word(&["userLevel"]);
    Ok(())
}

/// What V2Ray 5 has no word for, and would do something else without.
fn nothing_of(settings: &Part<'_>, key: &str) -> Result<(), String> {
    match settings.get(&[key]) {
        Some(value) if !super::is_nothing(value) => Err(format!("{}: {NO_WORD}", settings.at(key))),
        _ => Ok(()),
    }
}

/// Address and port of the only server, and what `account` makes of its only user; the settings themselves may be either.
fn server(
    settings: &Part<'_>,
    list: &str,
    own: &mut Map<String, Value>,
    mut account: impl FnMut(&Part<'_>, &mut Map<String, Value>) -> Result<(), String>,
) -> Result<(), String> {
    let mut servers = settings.parts(&[list]).into_iter();
    let Some(first) = servers.next() else {
        settings.keep(own, &["address"]);
        settings.keep(own, &["port"]);
        settings.no_word(&["level", "email"]);
        return account(settings, own);
    };
    if servers.next().is_some() {
        settings.lost(
            list,
            "V2Ray 5's form has one server for an outbound: the first is taken",
        );
    }
    first.keep(own, &["address"]);
    first.keep(own, &["port"]);
    let mut users = first.parts(&["users"]).into_iter();
    match users.next() {
        Some(user) => {
            if users.next().is_some() {
                first.lost(
                    "users",
                    "V2Ray 5's form has one user for an outbound: the first is taken",
                );
            }
            account(&user, own)?;
            user.finish();
        }
        None => account(&first, own)?,
    }
    first.finish();
    Ok(())
}
