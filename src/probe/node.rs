//! What is tested.

use super::codec::ProxyInfo;
use crate::config::Outbound;
use crate::dialect::links;
use crate::dialect::payload;
use crate::dns::Strategy;
use crate::protocol::{OutboundSettings, freedom};
use crate::report::Place;
use crate::transport::ClientSettings;

/// A node: what it is called, and the outbound that it is, or why it is none.
#[derive(Clone, Debug)]
pub struct Node {
    /// As fronts are told.
    pub info: ProxyInfo,
    /// What carries its sessions; else what is wrong with it.
    pub outbound: Result<Outbound, String>,
    /// How it was written, where that was Clash's form: it may have words that an outbound has none for.
    pub given: Option<payload::Proxy>,
}

impl Node {
    /// Of a proxy in Clash's form; `name` is the front's, for one that has none.
    pub fn of_payload(name: &str, payload: &str) -> Self {
        match payload::proxy(payload) {
            Ok(proxy) => Self::of_proxy(name, &proxy),
            Err(why) => Self::unread(name, why),
        }
    }

    /// Of a proxy that has been read.
    pub fn of_proxy(name: &str, proxy: &payload::Proxy) -> Self {
        let own = proxy.name();
        Self {
            info: ProxyInfo {
                name: if own.is_empty() { name } else { own }.to_owned(),
                address: proxy.address(),
                kind: kind(&proxy.kind()).to_owned(),
            },
            outbound: match proxy.read() {
                Ok(read) => Ok(read.outbound),
                Err(lines) => Err(lines.join("; ")),
            },
            given: Some(proxy.clone()),
        }
    }

    /// Of a share link.
    pub fn of_link(name: &str, link: &str) -> Self {
        match links::read(link) {
            Ok(read) => Self::of_outbound(name, read.outbound),
            Err(lines) => Self::unread(name, lines.join("; ")),
        }
    }

    /// Of an outbound; `name` is for one that has no tag.
    pub fn of_outbound(name: &str, outbound: Outbound) -> Self {
        let servers = outbound.protocol.servers();
        let address = servers.first().map(ToString::to_string).unwrap_or_default();
        Self {
            info: ProxyInfo {
                name: outbound.tag.as_deref().unwrap_or(name).to_owned(),
                address,
                kind: kind(outbound.protocol.name()).to_owned(),
            },
            outbound: Ok(outbound),
            given: None,
        }
    }

    /// The line of this machine itself.
    pub fn of_this_machine(name: &str) -> Self {
        let settings = OutboundSettings::Freedom(freedom::OutboundSettings::default());
        Self {
            info: ProxyInfo {
                name: name.to_owned(),
                ..Self::unread(name, String::new()).info
            },
            outbound: Ok(Outbound {
                at: Place::default(),
                name: String::new(),
                tag: None,
                transport: ClientSettings::default(),
                protocol: settings,
                through: None,
                strategy: Strategy::AsIs,
                must_resolve: false,
                mux: None,
                plugin_mux: None,
            }),
            given: None,
        }
    }

    /// Of something that is no node.
    pub fn unread(name: &str, why: String) -> Self {
        Self {
            info: ProxyInfo {
                name: name.to_owned(),
                address: String::new(),
                kind: INVALID.to_owned(),
            },
            outbound: Err(why),
            given: None,
        }
    }
}

const INVALID: &str = "Invalid";

/// MiaoSpeed's spelling of a protocol's name.
fn kind(name: &str) -> &'static str {
    match name {
        "vmess" => "Vmess",
        "vless" => "Vless",
        "trojan" => "Trojan",
        "ss" | "shadowsocks" => "Shadowsocks",
        "ssr" => "ShadowsocksR",
        "socks" | "socks5" => "Socks5",
        "http" => "Http",
        "relay" => "Relay",
        "snell" => "Snell",
        "hysteria" => "Hysteria",
        "hysteria2" => "Hysteria2",
        "tuic" => "TUIC",
        "wireguard" => "Wireguard",
        "ssh" => "SSH",
        "mieru" => "Mieru",
        "anytls" => "AnyTLS",
        _ => INVALID,
    }
}
