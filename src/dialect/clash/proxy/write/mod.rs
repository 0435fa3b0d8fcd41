//! From an outbound to proxies.

mod stream;

use serde_json::{Value, json};

use crate::address::{Destination, Host};
use crate::config::Outbound;
use crate::dialect::clients::lost;
use crate::dialect::clients::nodes::packet_word;
use crate::dialect::links::said::Said;
use crate::dialect::links::{bare, server_name, write_plugin};
use crate::dialect::singbox::counted;
use crate::protocol::accounts::Account;
use crate::protocol::{OutboundSettings, socks};
use crate::transport::ClientCarrier;

use stream::{carrier, tls};

const PORT: &str = "port";

/// Writes a proxy for each account at each server; where something is wrong with one, that is an error in `said`.
pub(in crate::dialect) fn write(outbound: &Outbound, said: &mut Said) -> Vec<Value> {
    let mut values = match &outbound.protocol {
        OutboundSettings::Freedom(settings) => {
            lost::freedom(settings, said);
            vec![json!({"type": "direct", "udp": true})]
        }
        OutboundSettings::Blackhole(_) => vec![json!({"type": "reject"})],
        OutboundSettings::Vmess(settings) => {
            lost::each(&settings.servers, PORT, said, |account, said| {
                lost::vmess(account, said);
                let mut value = json!({
                    "type": "vmess", "uuid": account.id.to_string(), "alterId": 0, "cipher": account.security.name(), "udp": true,
                });
                if account.authenticated_length {
                    value["authenticated-length"] = true.into();
                }
                value
            })
        }
        OutboundSettings::Vless(settings) => {
            lost::each(&settings.servers, PORT, said, |account, said| {
                lost::level(account.level, said);
                json!({"type": "vless", "uuid": account.id.to_string(), "udp": true})
            })
        }
        OutboundSettings::Trojan(settings) => {
            lost::each(&settings.servers, PORT, said, |account, said| {
                lost::level(account.level, said);
                json!({"type": "trojan", "password": *account.password, "udp": true})
            })
        }
        OutboundSettings::Shadowsocks(settings) => {
            lost::each(&settings.servers, PORT, said, |account, said| {
                lost::level(account.level, said);
                let (method, password) = lost::secret(account);
                json!({"type": "ss", "cipher": lost::method(method), "password": password, "udp": true})
            })
        }
        OutboundSettings::Socks(settings) => {
            if settings.version != socks::Version::Five {
                said.error("settings.version", "there is SOCKS 5 alone");
            }
            lost::each_login(&settings.servers, PORT, |account| login("socks5", account))
        }
        OutboundSettings::Http(settings) => lost::each_login(&settings.servers, PORT, |account| {
            let mut value = login("http", account);
            if !settings.headers.is_empty() {
                value["headers"] = lost::headers(&settings.headers, None);
            }
            value
        }),
        other => {
            let name = other.name();
            said.error("protocol", format_args!("Clash has no word for `{name}`"));
            Vec::new()
        }
    };
    let several = values.len() > 1;
    for (n, value) in values.iter_mut().enumerate() {
        value["name"] = lost::tag(outbound, n).into();
        dressed(outbound, value, said);
    }
    if several {
        let text = format!(
            "its servers took turns, here they are {}",
            counted(values.len(), "proxy").replace("proxys", "proxies")
        );
        said.left_out("settings", text);
    }
    values
}

fn login(kind: &str, account: Option<&Account>) -> Value {
    let mut value = json!({"type": kind});
    if let Some(account) = account {
        value["username"] = account.user.clone().into();
        value["password"] = account.pass.to_string().into();
    }
    if kind == "socks5" {
        value["udp"] = true.into();
    }
    value
}

/// What is around the protocol.
fn dressed(outbound: &Outbound, value: &mut Value, said: &mut Said) {
    let transport = &outbound.transport;
    let kind = value["type"].as_str().unwrap_or_default().to_owned();
    let to = value["server"]
        .as_str()
        .and_then(|server| Host::parse(server).ok());
    let to = to.map(|host| Destination::new(host, 0));
    match (&*kind, &to) {
        ("ss", Some(to)) => plugin(outbound, to, value, said),
        ("socks5" | "http", Some(to)) => {
            if transport.carrier != ClientCarrier::Raw {
                said.error(
                    "streamSettings.network",
                    "Clash carries this protocol over plain TCP alone",
                );
            }
            tls(transport, to, "sni", value, said);
        }
        (_, Some(to)) if outbound.leads_away() => {
            if kind == "trojan" && !transport.has_tls() {
                said.error(
                    "streamSettings.security",
                    "Trojan is always inside TLS there",
                );
            }
            let name = if kind == "trojan" {
                "sni"
            } else {
                "servername"
            };
            let transport = lost::with_host(transport, &to.host);
            tls(&transport, to, name, value, said);
            carrier(&transport.carrier, &kind, value, said);
        }
        _ => {}
    }
    match packet_word(outbound.mux.as_ref()) {
        Ok(None) => {}
        Ok(Some(word)) if kind == "vmess" || kind == "vless" => {
            value["packet-encoding"] = word.into()
        }
        Ok(Some(_)) | Err(()) => {
            said.left_out(
                "mux",
                "mihomo has no Mux.Cool, each session has a connection: servers take either",
            );
        }
    }
    if let Some(through) = &outbound.through {
        value["dialer-proxy"] = json!(&*through.tag);
    }
    lost::strategy(outbound, said);
    lost::fragment(transport, said);
    let options = lost::sockopt(&transport.sockopt, said);
    if let Some(device) = options.device {
        value["interface-name"] = device.into();
    }
    if let Some(mark) = options.mark {
        value["routing-mark"] = mark.into();
    }
    if options.send_through.is_some() {
        said.left_out("sendThrough", lost::NO_WORD);
    }
    if options.fast_open {
        value["tfo"] = true.into();
    }
    if options.mptcp {
        value["mptcp"] = true.into();
    }
}

/// Shadowsocks knows no transports but plugins.
fn plugin(outbound: &Outbound, to: &Destination, value: &mut Value, said: &mut Said) {
    let transport = &outbound.transport;
    if transport.is_bare() {
        return;
    }
    let ClientCarrier::Ws(ws) = &transport.carrier else {
        return said.error(
            "streamSettings",
            "Clash carries Shadowsocks over plain TCP and `v2ray-plugin` alone",
        );
    };
    // What the plugin has no words for, and Clash has.
    let mut plain = transport.clone();
    if let ClientCarrier::Ws(ws) = &mut plain.carrier {
        ws.headers.clear();
    }
    if let Some(tls) = &mut plain.security {
        tls.allow_insecure = false;
    }
    let tls = plain.tls();
    if write_plugin((&plain, None), tls.as_ref(), to, said).is_none() {
        return said.error("streamSettings", "`v2ray-plugin` has no words for it");
    }
    let host = ws.host.as_ref().map(lost::text);
    let name = tls.as_ref().and_then(|tls| server_name(transport, tls, to));
    let mut options =
        json!({"mode": "websocket", "mux": outbound.plugin_mux.is_some(), "path": ws.path});
    options["host"] = name.or(host).unwrap_or_else(|| bare(&to.host)).into();
    if !ws.headers.is_empty() {
        options["headers"] = lost::headers(&ws.headers, None);
    }
    if let Some(tls) = &transport.security {
        options["tls"] = true.into();
        if tls.allow_insecure {
            options["skip-cert-verify"] = true.into();
        }
    }
    value["plugin"] = "v2ray-plugin".into();
    value["plugin-opts"] = options;
}
