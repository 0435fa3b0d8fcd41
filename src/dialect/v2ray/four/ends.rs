//! Inbounds and outbounds: users, servers and accounts stand in lists of objects.

use serde_json::{Map, Value, json};

use super::{NO_WORD, stream};
use crate::dialect::v2ray::five::part::Part;

pub(super) fn inbound(inbound: Part<'_>) -> Value {
    let mut four = Map::new();
    let protocol = inbound.protocol();
    let mut own = Map::new();
    if let Some(settings) = inbound.part(&["settings"]) {
        users(&protocol, &settings, &mut own);
        settings.finish();
    }
    if protocol == "vless" {
        own.insert("decryption".to_owned(), "none".into());
    }
    four.insert("protocol".to_owned(), protocol.into());
    four.insert("settings".to_owned(), Value::Object(own));
    for key in ["tag", "listen"] {
        inbound.keep(&mut four, &[key]);
    }
    four.extend(
        inbound
            .get(&["port"])
            .map(|port| ("port".to_owned(), port.clone())),
    );
    inbound.keep(&mut four, &["sniffing"]);
    if let Some(stream) = inbound.part(&["streamSettings"]) {
        four.insert("streamSettings".to_owned(), stream::write(&stream));
        stream.finish();
    }
    inbound.finish();
    Value::Object(four)
}

fn users(protocol: &str, settings: &Part<'_>, own: &mut Map<String, Value>) {
    let key = match protocol {
        "vmess" | "vless" => "id",
        _ => "password",
    };
    let all = |keys: &[&str]| -> Vec<Value> {
        let users = settings.items(keys).into_iter();
        let users = users.map(|user| match user {
            Value::String(text) => json!({ key: text }),
            other => other.clone(),
        });
        users.collect()
    };
    match protocol {
        "vmess" | "vless" | "trojan" => {
            own.insert("clients".to_owned(), all(&["users", "clients"]).into());
            settings.silent(&["packetEncoding", "decryption"]);
        }
        "shadowsocks" => {
            for key in ["method", "password"] {
                settings.keep(own, &[key]);
            }
            settings.keep(own, &["network", "networks"]);
            settings.silent(&["packetEncoding"]);
        }
        "socks" => {
            // mobula's reader takes accounts in this form as well.
            let accounts = settings.items(&["accounts", "users"]);
            let auth = match accounts.is_empty() && settings.word(&["auth"]) != "password" {
                true => "noauth",
                false => "password",
            };
            own.insert("auth".to_owned(), auth.into());
            settings.keep(own, &["accounts", "users"]);
            own.insert(
                "udp".to_owned(),
                settings.is_on(&["udpEnabled", "udp"]).into(),
            );
            settings.keep(own, &["ip", "address"]);
            settings.silent(&["packetEncoding"]);
        }
        "dokodemo-door" => {
            for key in ["address", "port", "followRedirect"] {
                settings.keep(own, &[key]);
            }
            settings.keep(own, &["network", "networks"]);
        }
        "http" => settings.keep(own, &["accounts", "users"]),
        _ => {}
    }
}

pub(super) fn outbound(outbound: Part<'_>) -> Value {
    let mut four = Map::new();
    let mut protocol = outbound.protocol();
    let mut own = Map::new();
    let strategy = outbound.text(&["domainStrategy"]);
    if let Some(settings) = outbound.part(&["settings"]) {
        server(&mut protocol, &settings, &mut own);
        settings.finish();
    }
    if let Some(word) = strategy {
        match (&*protocol, &*word.to_ascii_lowercase().replace('_', "")) {
            (_, "asis") => {}
            ("freedom", lower) => {
                let word = match lower {
                    "useip4" | "useipv4" => "UseIPv4",
                    "useip6" | "useipv6" => "UseIPv6",
                    _ => "UseIP",
                };
                own.insert("domainStrategy".to_owned(), word.into());
            }
            _ => outbound.lost("domainStrategy", format_args!("{NO_WORD} but of `freedom`")),
        }
    }
    four.insert("protocol".to_owned(), protocol.into());
    four.insert("settings".to_owned(), Value::Object(own));
    for key in ["tag", "sendThrough", "mux", "proxySettings"] {
        outbound.keep(&mut four, &[key]);
    }
    if let Some(stream) = outbound.part(&["streamSettings"]) {
        four.insert("streamSettings".to_owned(), stream::write(&stream));
        stream.finish();
    }
    outbound.finish();
    Value::Object(four)
}

/// The only server and its only user, in a list each.
fn server(protocol: &mut String, settings: &Part<'_>, own: &mut Map<String, Value>) {
    let lists = ["vnext", "servers"];
    if let Some(list) = lists.iter().find(|list| settings.get(&[list]).is_some()) {
        settings.keep(own, &[list]);
        return;
    }
    let mut server = Map::new();
    settings.keep(&mut server, &["address"]);
    settings.keep(&mut server, &["port"]);
    match &**protocol {
        "vmess" | "vless" => {
            let mut user = Map::new();
            settings.keep(&mut user, &["id", "uuid"]);
            let (key, word) = match &**protocol {
                "vmess" => ("security", "auto"),
                _ => ("encryption", "none"),
            };
            user.insert(key.to_owned(), word.into());
            server.insert("users".to_owned(), json!([user]));
            own.insert("vnext".to_owned(), json!([server]));
        }
        "trojan" => {
            settings.keep(&mut server, &["password"]);
            own.insert("servers".to_owned(), json!([server]));
        }
        "shadowsocks" | "shadowsocks2022" => {
            settings.keep(&mut server, &["method"]);
            settings.keep(&mut server, &["password"]);
            // Those of the servers in between come first.
            let mut keys = settings.texts(&["ipsk"]);
            keys.extend(settings.text(&["psk"]));
            if !keys.is_empty() {
                server.insert("password".to_owned(), keys.join(":").into());
            }
            *protocol = "shadowsocks".to_owned();
            own.insert("servers".to_owned(), json!([server]));
        }
        "socks" | "http" => drop(own.insert("servers".to_owned(), json!([server]))),
        "freedom" => {
            let over = settings.part(&["destinationOverride"]);
            let to = over.as_ref().and_then(|over| over.part(&["server"]));
            if let Some(to) = to {
                let address = to.text(&["address"]).unwrap_or_default();
                let address = match address.contains(':') {
                    true => format!("[{address}]"),
                    false => address,
                };
                let port = to.text(&["port"]).unwrap_or_else(|| "0".to_owned());
                own.insert("redirect".to_owned(), format!("{address}:{port}").into());
            }
            settings.silent(&["protocolReplacement"]);
        }
        "loopback" => settings.keep(own, &["inboundTag"]),
        _ => own.extend(server),
    }
}
