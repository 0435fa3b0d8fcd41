//! An inbound, whose settings have users by their keys alone.

use serde_json::{Map, Value};

use super::part::{NO_WORD, Part};
use super::stream;
use crate::dialect::v2ray::protocols::ids;

/// Writes an inbound; `None`, with a line, of one that cannot be said.
pub(super) fn write(inbound: Part<'_>) -> Option<Value> {
    let written = read(&inbound);
    match written {
        Ok(five) => {
            inbound.finish();
            Some(Value::Object(five))
        }
        Err(why) => {
            inbound.gone(why);
            None
        }
    }
}

fn read(inbound: &Part<'_>) -> Result<Map<String, Value>, String> {
    let mut five = Map::new();
    let protocol = inbound.protocol();
    let settings = inbound.part(&["settings"]);
    let mut own = Map::new();
    if let Some(settings) = &settings {
        protocol_settings(&protocol, settings, &mut own)?;
    }
    known(&protocol)?;
    if let Some(settings) = settings {
        settings.finish();
    }
    five.insert("protocol".to_owned(), protocol.into());
    five.insert("settings".to_owned(), Value::Object(own));
    for key in ["tag", "listen"] {
        inbound.keep(&mut five, &[key]);
    }
    // Zero is a port, one that the system chooses.
    if let Some(port) = inbound.get(&["port"]) {
        five.insert("port".to_owned(), port.clone());
    }
    if let Some(sniffing) = inbound.part(&["sniffing"]) {
        let mut kept = Map::new();
        for key in ["enabled", "destOverride", "metadataOnly"] {
            sniffing.keep(&mut kept, &[key]);
        }
        if !sniffing.is_on(&["enabled"]) {
            sniffing.silent(&["routeOnly", "noResolve", "domainsExcluded"]);
        }
        sniffing.finish();
        if !kept.is_empty() {
            five.insert("sniffing".to_owned(), Value::Object(kept));
        }
    }
    if let Some(stream) = inbound.part(&["streamSettings"]) {
        let written = stream::write(&stream)?;
        if stream
            .part(&["tlsSettings", "securitySettings"])
            .is_some_and(|tls| tls.is_on(&["selfSigned"]) || tls.get(&["acme"]).is_some())
            && written["security"] == "tls"
        {
            return Err("a certificate that is made or issued here has no word, and without one nobody can connect".to_owned());
        }
        stream.finish();
        five.insert("streamSettings".to_owned(), written);
    }
    Ok(five)
}

fn known(protocol: &str) -> Result<(), String> {
    match protocol {
        "vmess" | "vless" | "trojan" | "shadowsocks" | "socks" | "http" | "dokodemo-door" => Ok(()),
        other => Err(format!(
            "V2Ray 5's form has no inbound `{}`",
            other.escape_debug()
        )),
    }
}

fn protocol_settings(
    protocol: &str,
    settings: &Part<'_>,
    own: &mut Map<String, Value>,
) -> Result<(), String> {
    match protocol {
        "vmess" | "vless" => {
            let keys = users(settings, &["id", "uuid"], |id| {
                ids::parse(id).ok().map(|id| id.to_string())
            });
            own.insert("users".to_owned(), keys.into());
            settings.silent(&["decryption", "disableInsecureEncryption"]);
        }
        "trojan" => {
            let keys = users(settings, &["password"], |key| Some(key.to_owned()));
            own.insert("users".to_owned(), keys.into());
            settings.keep(own, &["packetEncoding"]);
        }
        "shadowsocks" => {
            let method = settings.word(&["method"]);
            if method.starts_with("2022-") || !settings.items(&["clients", "users"]).is_empty() {
                return Err(
                    "V2Ray 5 has no inbound for Shadowsocks 2022 or for several users".to_owned(),
                );
            }
            for key in ["method", "password", "packetEncoding"] {
                settings.keep(own, &[key]);
            }
            networks(settings, own);
            settings.no_word(&["email"]);
        }
        "socks" => {
            let needs_account = settings.word(&["auth"]) == "password";
            open_to_nobody(settings, needs_account)?;
            settings.keep(own, &["address", "ip"]);
            settings.keep(own, &["udpEnabled", "udp"]);
            settings.keep(own, &["packetEncoding"]);
        }
        "http" => {
            open_to_nobody(settings, false)?;
            settings.silent(&["timeout"]);
        }
        "dokodemo-door" => {
            if settings
                .get(&["portMap"])
                .is_some_and(|value| !super::is_nothing(value))
            {
                return Err(format!("{}: {NO_WORD}", settings.at("portMap")));
            }
            target(settings, own)?;
            settings.keep(own, &["followRedirect"]);
            networks(settings, own);
            settings.no_word(&["promptEnd"]);
            settings.silent(&["timeout"]);
        }
        _ => {}
    }
    settings.no_word(&["userLevel"]);
    Ok(())
}

/// `address` and `port` of a door. V2Ray 5 has no default for either, and would lead to port 0.
fn target(settings: &Part<'_>, own: &mut Map<String, Value>) -> Result<(), String> {
    settings.keep(own, &["address", "rewriteAddress"]);
    // In Xray `rewritePort` counts where `port` is 0.
    for key in ["rewritePort", "port"] {
        if let Some(port) = settings.get(&[key]).filter(|port| !super::is_nothing(port)) {
            own.insert("port".to_owned(), port.clone());
        }
    }
    let is_xrays = [
        "rewriteAddress",
        "rewritePort",
        "allowedNetwork",
        "portMap",
        "port",
    ];
    let is_xrays = is_xrays.iter().any(|key| match settings.get(&[*key]) {
        Some(port) if *key == "port" => super::is_nothing(port),
        value => value.is_some(),
    });
    let no_word = |key| Err(format!("{}: without it, {NO_WORD}", settings.at(key)));
    match (own.contains_key("address"), own.contains_key("port")) {
        (false, _) if !settings.is_on(&["followRedirect"]) => no_word("address"),
        (true, false) if is_xrays => no_word("port"),
        _ => Ok(()),
    }
}

/// Without its accounts it would be anybody's.
fn open_to_nobody(settings: &Part<'_>, needs_account: bool) -> Result<(), String> {
    let accounts = settings.items(&["accounts", "users"]);
    match needs_account || !accounts.is_empty() {
        true => Err(
            "V2Ray 5's form has no accounts for it, and without them anybody could use it"
                .to_owned(),
        ),
        false => {
            settings.silent(&["auth"]);
            Ok(())
        }
    }
}

/// V2Ray 4 takes TCP where nothing is said; V2Ray 5 takes nothing, or does not start.
fn networks(settings: &Part<'_>, own: &mut Map<String, Value>) {
    let names = settings.texts(&["networks", "network", "allowedNetwork"]);
    let names = match names.is_empty() {
        true => "tcp".to_owned(),
        false => names.join(","),
    };
    own.insert("networks".to_owned(), names.into());
}

/// The keys of users; what else is said of them is told of once.
fn users(settings: &Part<'_>, keys: &[&str], read: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let mut all = Vec::new();
    let mut lost: Vec<(&str, usize)> = Vec::new();
    for user in settings.items(&["clients", "users"]) {
        let Value::Object(map) = user else {
            all.extend(user.as_str().and_then(&read));
            continue;
        };
        for (name, value) in map {
            let lower = name.to_ascii_lowercase();
            if keys.contains(&&*lower) {
                all.extend(value.as_str().and_then(&read));
            } else if !super::is_nothing(value) && !matches!(&*lower, "security" | "encryption") {
                match lost
                    .iter_mut()
                    .find(|(key, _)| key.eq_ignore_ascii_case(name))
                {
                    Some((_, n)) => *n += 1,
                    None => lost.push((name, 1)),
                }
            }
        }
    }
    for (key, n) in lost {
        settings.lost("users", format_args!("`{key}` of {n}: {NO_WORD}"));
    }
    all
}
