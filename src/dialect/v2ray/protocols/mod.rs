//! `protocol` and its `settings`: the table of names, and what readers of several protocols share.

mod accounts;
mod blackhole;
mod clients;
pub(super) mod disguise;
mod dns;
mod dokodemo;
pub(in crate::dialect) mod fallbacks;
mod freedom;
mod http;
pub(in crate::dialect) mod ids;
mod loopback;
mod networks;
mod relay;
mod servers;
mod shadowsocks;
mod socks;
mod trojan;
mod vless;
mod vmess;

use std::sync::LazyLock;

use serde_json::{Map, Value};

use crate::address::Host;
use crate::dialect::v2ray::json::{Node, Object, did_you_mean, either, from_environment};
use crate::protocol::{InboundSettings, OutboundSettings};

/// V2Ray's name of a protocol for which Xray has a newer one; a SOCKS port takes HTTP as well, hence `mixed`.
pub(in crate::dialect::v2ray) fn v2ray_s_name(name: &str) -> &str {
    match name {
        "mixed" => "socks",
        "tunnel" => "dokodemo-door",
        "direct" => "freedom",
        "block" => "blackhole",
        other => other,
    }
}

/// Reads `protocol` and `settings` of an inbound.
pub(super) fn inbound(object: &Object) -> Option<InboundSettings> {
    with_settings(object, |name, lower, settings| {
        Some(match v2ray_s_name(lower) {
            "dokodemo-door" => InboundSettings::Dokodemo(dokodemo::inbound(settings)?),
            "http" => InboundSettings::Http(http::inbound(settings)?),
            "relay" => InboundSettings::Relay(relay::inbound(settings)?),
            "shadowsocks" => InboundSettings::Shadowsocks(shadowsocks::inbound(settings)?),
            "socks" => InboundSettings::Socks(socks::inbound(settings)?),
            "trojan" => InboundSettings::Trojan(trojan::inbound(settings)?),
            "vless" => InboundSettings::Vless(vless::inbound(settings)?),
            "vmess" => InboundSettings::Vmess(vmess::inbound(settings)?),
            _ => {
                let names = [
                    "dokodemo-door",
                    "http",
                    "relay",
                    "shadowsocks",
                    "socks",
                    "trojan",
                    "vless",
                    "vmess",
                ];
                unknown(name, "inbound", &names);
                return None;
            }
        })
    })
}

/// Reads `protocol` and `settings` of an outbound.
pub(super) fn outbound(object: &Object) -> Option<OutboundSettings> {
    with_settings(object, |name, lower, settings| {
        Some(match v2ray_s_name(lower) {
            "blackhole" => OutboundSettings::Blackhole(blackhole::outbound(settings)?),
            "dns" => OutboundSettings::Dns(dns::outbound(settings)?),
            "freedom" => OutboundSettings::Freedom(freedom::outbound(settings)?),
            "http" => OutboundSettings::Http(http::outbound(settings)?),
            "loopback" => OutboundSettings::Loopback(loopback::outbound(settings)?),
            "relay" => OutboundSettings::Relay(relay::outbound(settings)?),
            "shadowsocks" => OutboundSettings::Shadowsocks(shadowsocks::outbound(settings)?),
            "shadowsocks2022" => {
                OutboundSettings::Shadowsocks(shadowsocks::outbound_2022(settings)?)
            }
            "socks" => OutboundSettings::Socks(socks::outbound(settings)?),
            "trojan" => OutboundSettings::Trojan(trojan::outbound(settings)?),
            "vless" => OutboundSettings::Vless(vless::outbound(settings)?),
            "vmess" => OutboundSettings::Vmess(vmess::outbound(settings)?),
            _ => {
                let names = [
                    "blackhole",
                    "dns",
                    "freedom",
                    "http",
                    "loopback",
                    "relay",
                    "shadowsocks",
                    "socks",
                    "trojan",
                    "vless",
                    "vmess",
                ];
                unknown(name, "outbound", &names);
                return None;
            }
        })
    })
}

/// `read` gets the protocol's name as it is written and in small letters, and the settings, which may be left out.
fn with_settings<T>(
    object: &Object,
    read: impl FnOnce(&Node, &str, &Object) -> Option<T>,
) -> Option<T> {
    static EMPTY: LazyLock<Value> = LazyLock::new(|| Value::Object(Map::new()));
    let name = object.require_node("protocol");
    let settings = object.get("settings").unwrap_or_else(|| {
        let path = object.node.path.key("settings");
        Node::at(path, &EMPTY, object.node.report())
    });
    let (name, settings) = (name?, settings.object()?);
    let word: String = name.read()?;
    let protocol = read(&name, &word.to_ascii_lowercase(), &settings);
    // When the protocol is unknown, none of its settings can be known.
    if protocol.is_some() {
        settings.finish();
    }
    protocol
}

/// Whether `protocol` names one that others have.
pub(super) fn is_unbuilt(node: &Node) -> bool {
    const OTHERS: [&str; 9] = [
        "shadowsocks2022",
        "shadowsocks-2022",
        "vlite",
        "wireguard",
        "hysteria",
        "hysteria2",
        "mtproto",
        "tun",
        "snell",
    ];
    let name = node.value.as_str().unwrap_or_default();
    OTHERS.iter().any(|o| o.eq_ignore_ascii_case(name))
}

fn unknown(node: &Node, side: &str, names: &[&str]) {
    let name = node.value.as_str().unwrap_or_default();
    if is_unbuilt(node) {
        node.unbuilt(format!(
            "the {side} protocol `{name}` is not built, expected {}",
            either(names)
        ));
    } else {
        node.error(format!(
            "no {side} protocol is called `{}`, expected {}{}",
            name.escape_debug(),
            either(names),
            did_you_mean(name, names.iter().copied())
        ));
    }
}

/// The value of an `address` key. Like V2Ray, it forgives space around, and starts with what can never be reached.
fn host(node: Node) -> Option<Host> {
    let text: String = node.read()?;
    let text = from_environment(&text).map_err(|e| node.dead(e)).ok()?;
    let host = Host::parse(text.trim());
    if let Err(e) = &host {
        let shown = text.escape_debug();
        match parts_of_address(text.trim()) {
            _ if text.trim().is_empty() => {
                node.dead("there is no address, nothing can be reached");
            }
            Some(parts) => node.dead(format!("`{shown}` is not an address: {parts}")),
            None => node.dead(format!("`{shown}` is not an address: {e}")),
        }
    }
    host.ok()
}

/// Where the parts of `text` belong, which has more in it than an address.
pub(in crate::dialect::v2ray) fn parts_of_address(text: &str) -> Option<String> {
    let (scheme, rest) = match text.split_once("://") {
        Some((scheme, rest)) => (Some(scheme), rest),
        None => (None, text),
    };
    let (authority, path) = match rest.find(['/', '?']) {
        Some(at) => (&rest[..at], Some(&rest[at..]).filter(|path| *path != "/")),
        None => (rest, None),
    };
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if port.parse::<u16>().is_ok() && Host::parse(host).is_ok() => {
            (host, Some(port))
        }
        _ => (authority, None),
    };
    if Host::parse(host).is_err() || (host == text) {
        return None;
    }
    let scheme = scheme.map(|scheme| match scheme.to_ascii_lowercase().as_str() {
        "https" | "wss" | "tls" => format!("`{scheme}://` is `security: tls`"),
        "ws" => "`ws://` is `network: ws`".to_owned(),
        _ => format!("`{scheme}://` has no place here"),
    });
    let port = port.map(|port| format!("{port} goes into `port`"));
    let path = path.map(|path| format!("`{path}` goes into `wsSettings.path`"));
    let others: Vec<String> = [scheme, port, path].into_iter().flatten().collect();
    let rest = match others.is_empty() {
        true => String::new(),
        false => format!(", {}", others.join(", ")),
    };
    Some(format!("write `{host}` alone{rest}"))
}
