//! The outbounds by name, and what each of them answers.

use std::sync::Arc;

use super::proxy::{FirstPayload, Proxy};
use super::servers::ServerSettings;
use super::{
    blackhole, dns, freedom, http, in_process, loopback, relay, shadowsocks, socks, trojan, vless,
    vmess,
};
use crate::address::{Destination, Host, Network};
use crate::dns::Strategy;
use crate::report::Place;
use crate::reverse::Portal;

/// The protocol of an outbound, and its `settings`.
#[derive(Clone, Debug, PartialEq)]
pub enum OutboundSettings {
    Blackhole(blackhole::OutboundSettings),
    Dns(dns::OutboundSettings),
    Freedom(freedom::OutboundSettings),
    Http(http::OutboundSettings),
    Loopback(loopback::OutboundSettings),
    Relay(relay::OutboundSettings),
    Shadowsocks(shadowsocks::OutboundSettings),
    Socks(socks::OutboundSettings),
    Trojan(trojan::OutboundSettings),
    Vless(vless::OutboundSettings),
    Vmess(vmess::OutboundSettings),
}

impl OutboundSettings {
    /// What configs call it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Blackhole(_) => "blackhole",
            Self::Dns(_) => "dns",
            Self::Freedom(_) => "freedom",
            Self::Http(_) => "http",
            Self::Loopback(_) => "loopback",
            Self::Relay(_) => "relay",
            Self::Shadowsocks(_) => "shadowsocks",
            Self::Socks(_) => "socks",
            Self::Trojan(_) => "trojan",
            Self::Vless(_) => "vless",
            Self::Vmess(_) => "vmess",
        }
    }

    /// Its servers, if it goes to any.
    pub fn servers(&self) -> Vec<&Destination> {
        fn all<A>(servers: &[ServerSettings<A>]) -> Vec<&Destination> {
            servers.iter().map(|server| &server.to).collect()
        }
        match self {
            Self::Blackhole(_) | Self::Dns(_) | Self::Freedom(_) | Self::Loopback(_) => Vec::new(),
            Self::Http(settings) => all(&settings.servers),
            Self::Relay(settings) => all(&settings.servers),
            Self::Shadowsocks(settings) => all(&settings.servers),
            Self::Socks(settings) => all(&settings.servers),
            Self::Trojan(settings) => all(&settings.servers),
            Self::Vless(settings) => all(&settings.servers),
            Self::Vmess(settings) => all(&settings.servers),
        }
    }

    /// Leaves the first of its servers alone.
    pub fn keep_one_server(&mut self) {
        match self {
            Self::Blackhole(_) | Self::Dns(_) | Self::Freedom(_) | Self::Loopback(_) => {}
            Self::Http(settings) => settings.servers.truncate(1),
            Self::Relay(settings) => settings.servers.truncate(1),
            Self::Shadowsocks(settings) => settings.servers.truncate(1),
            Self::Socks(settings) => settings.servers.truncate(1),
            Self::Trojan(settings) => settings.servers.truncate(1),
            Self::Vless(settings) => settings.servers.truncate(1),
            Self::Vmess(settings) => settings.servers.truncate(1),
        }
    }
}

/// A protocol that carries sessions on.
pub enum Outbound {
    /// Sessions end in this process, nothing is dialled.
    Endpoint(Endpoint),
    /// Sessions go straight to their targets.
    Freedom(freedom::Outbound),
    /// Sessions go to a server, which takes them on.
    Proxy(Proxy),
}

/// What ends a session in this process.
pub enum Endpoint {
    Blackhole(blackhole::Outbound),
    Dns(dns::Outbound),
    /// Not to be had by name: other settings make it.
    InProcess(in_process::Outbound),
    Loopback(loopback::Outbound),
    /// Not to be had by name either: it stands in `reverse`.
    Portal(Arc<Portal>),
}

/// An account whose payload the protocol leaves readable.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Unsealed<'a> {
    /// Where the config says so.
    pub at: &'a Place,
    /// What it says there.
    pub says: &'static str,
    /// What could stand there instead, if the protocol has a seal of its own.
    pub instead: Option<&'static str>,
    pub server: &'a Host,
}

impl OutboundSettings {
    /// The names of those whose servers may take many sessions in one link.
    pub const WITH_MUX: [&str; 4] = ["shadowsocks", "trojan", "vless", "vmess"];

    /// Whether there is somebody who takes the sessions: of `freedom` only `redirect` can name them.
    pub fn has_mux(&self) -> bool {
        match self {
            Self::Shadowsocks(_) | Self::Trojan(_) | Self::Vless(_) | Self::Vmess(_) => true,
            Self::Freedom(settings) => settings.redirect.host.is_some(),
            _ => false,
        }
    }

    /// Accounts whose payload the protocol leaves readable.
    pub fn unsealed(&self) -> Vec<Unsealed<'_>> {
        match self {
            Self::Shadowsocks(settings) => settings.unsealed().collect(),
            Self::Trojan(settings) => settings.unsealed().collect(),
            Self::Vless(settings) => settings.unsealed().collect(),
            Self::Vmess(settings) => settings.unsealed().collect(),
            Self::Blackhole(_)
            | Self::Dns(_)
            | Self::Freedom(_)
            | Self::Http(_)
            | Self::Loopback(_)
            | Self::Relay(_)
            | Self::Socks(_) => Vec::new(),
        }
    }

    /// The servers of a protocol that is made to go through a web server.
    pub fn tunnel_servers(&self) -> Vec<&Destination> {
        match self {
            Self::Trojan(settings) => settings.servers.iter().map(|server| &server.to).collect(),
            Self::Vless(settings) => settings.servers.iter().map(|server| &server.to).collect(),
            Self::Vmess(settings) => settings.servers.iter().map(|server| &server.to).collect(),
            Self::Blackhole(_)
            | Self::Dns(_)
            | Self::Freedom(_)
            | Self::Http(_)
            | Self::Loopback(_)
            | Self::Relay(_)
            | Self::Shadowsocks(_)
            | Self::Socks(_) => Vec::new(),
        }
    }

    /// Whether datagrams go to the server as datagrams, which a transport has no part in.
    pub fn sends_datagrams(&self) -> bool {
        matches!(self, Self::Shadowsocks(_))
    }

    /// The settings of what sends sessions through the rules once more.
    pub fn loopback(&self) -> Option<&loopback::OutboundSettings> {
        match self {
            Self::Loopback(settings) => Some(settings),
            _ => None,
        }
    }
}

impl Outbound {
    pub fn new(settings: OutboundSettings) -> Self {
        match settings {
            OutboundSettings::Blackhole(settings) => Endpoint::Blackhole(settings.into()).into(),
            OutboundSettings::Dns(settings) => Endpoint::Dns(settings.into()).into(),
            OutboundSettings::Freedom(settings) => Self::Freedom(settings.into()),
            OutboundSettings::Http(settings) => Proxy::Http(settings.into()).into(),
            OutboundSettings::Loopback(settings) => Endpoint::Loopback(settings.into()).into(),
            OutboundSettings::Relay(settings) => Proxy::Relay(settings.into()).into(),
            OutboundSettings::Shadowsocks(settings) => Proxy::Shadowsocks(settings.into()).into(),
            OutboundSettings::Socks(settings) => Proxy::Socks(settings.into()).into(),
            OutboundSettings::Trojan(settings) => Proxy::Trojan(settings.into()).into(),
            OutboundSettings::Vless(settings) => Proxy::Vless(settings.into()).into(),
            OutboundSettings::Vmess(settings) => Proxy::Vmess(settings.into()).into(),
        }
    }

    /// Where a session to `to` is connected to by an outbound that has no server; `None` for all others.
    pub fn straight(&self, to: &Destination) -> Option<Destination> {
        match self {
            Self::Endpoint(Endpoint::Dns(outbound)) => Some(outbound.server(Network::Tcp, to).1),
            Self::Freedom(outbound) => Some(outbound.target(to)),
            Self::Endpoint(_) | Self::Proxy(_) => None,
        }
    }

    /// Which addresses the protocol can write, when it can write no names and resolves them itself.
    pub fn resolves_itself(&self) -> Option<Strategy> {
        match self {
            Self::Proxy(proxy) => proxy.resolves_itself(),
            Self::Endpoint(_) | Self::Freedom(_) => None,
        }
    }

    /// Whether sessions end at what the operator of this process steers it by.
    pub fn is_control(&self) -> bool {
        matches!(self, Self::Endpoint(Endpoint::InProcess(_)))
    }

    /// Whether it takes the place of an outbound that carries nothing.
    pub fn stands_in(&self) -> bool {
        match self {
            Self::Endpoint(Endpoint::Blackhole(outbound)) => outbound.stands_in(),
            _ => false,
        }
    }

    /// Whether sessions go to a server of the user's, not straight to their targets.
    pub fn has_server(&self) -> bool {
        matches!(self, Self::Proxy(_))
    }

    /// What sends sessions through the rules once more.
    pub fn loopback(&self) -> Option<&loopback::Outbound> {
        match self {
            Self::Endpoint(Endpoint::Loopback(outbound)) => Some(outbound),
            _ => None,
        }
    }

    /// What sends sessions through the bridges that are connected to it.
    pub fn portal(&self) -> Option<&Arc<Portal>> {
        match self {
            Self::Endpoint(Endpoint::Portal(portal)) => Some(portal),
            _ => None,
        }
    }

    /// Whether the first payload travels with the protocol's header.
    pub fn first_payload(&self) -> FirstPayload {
        match self {
            Self::Endpoint(Endpoint::Portal(_)) => FirstPayload::Together,
            Self::Endpoint(_) | Self::Freedom(_) => FirstPayload::Apart,
            Self::Proxy(proxy) => proxy.traits().first_payload,
        }
    }

    /// Whether whoever asks is best told so at once: nothing goes anywhere, and nothing is answered there.
    pub fn refuses(&self) -> bool {
        matches!(self, Self::Endpoint(Endpoint::Blackhole(blackhole)) if !blackhole.answers())
    }

    /// Whether nothing goes anywhere.
    pub fn is_blackhole(&self) -> bool {
        matches!(self, Self::Endpoint(Endpoint::Blackhole(_)))
    }

    /// How names are resolved when they are dialled.
    pub fn strategy(&self) -> Strategy {
        match self {
            Self::Freedom(outbound) => outbound.strategy(),
            Self::Endpoint(_) | Self::Proxy(_) => Strategy::AsIs,
        }
    }

    /// Whether a flow of datagrams has one destination only, or any.
    pub fn packets_have_one_peer(&self) -> bool {
        match self {
            Self::Endpoint(endpoint) => {
                matches!(endpoint, Endpoint::Dns(_) | Endpoint::Portal(_))
            }
            Self::Freedom(_) => false,
            Self::Proxy(proxy) => proxy.traits().packets_have_one_peer,
        }
    }
}

impl From<Endpoint> for Outbound {
    fn from(endpoint: Endpoint) -> Self {
        Self::Endpoint(endpoint)
    }
}

impl From<Proxy> for Outbound {
    fn from(proxy: Proxy) -> Self {
        Self::Proxy(proxy)
    }
}
