//! The outbounds that go to a server.
//!
//! [`Proxy::next_hop`] is asked once for each connection: it says which server is dialled, and holds on to who we are
//! there, so that what is said to a server is always meant for it.

use std::io;
use std::time::Duration;

use super::{http, relay, shadowsocks, socks, trojan, vless, vmess};
use crate::address::{Destination, Network};
use crate::dns::Strategy;
use crate::io::{BindUdp, Link, Packets, Step};
use crate::seam::FarEnd;

pub enum Proxy {
    Http(http::Outbound),
    Relay(relay::Outbound),
    Shadowsocks(shadowsocks::Outbound),
    Socks(socks::Outbound),
    Trojan(trojan::Outbound),
    Vless(vless::Outbound),
    Vmess(vmess::Outbound),
}

/// What dispatch must know of a proxy's protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProxyTraits {
    pub first_payload: FirstPayload,
    /// How it carries datagrams; `None`: not at all.
    pub packets: Option<PacketWay>,
    /// Whether a flow of datagrams has one destination only, or any.
    pub packets_have_one_peer: bool,
}

/// How long a request waits for the first payload, to travel with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FirstPayload {
    /// It goes ahead, and the payload comes behind the answer.
    Apart,
    /// It is on its way at once, with what is said within a few milliseconds.
    IfSoon,
    /// A moment, as V2Ray does.
    Together,
}

/// How a proxy's datagrams come to its server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PacketWay {
    /// Over a link.
    Link,
    /// As datagrams of their own, which its transport has no part in.
    Datagrams,
}

/// The server that one connection goes to, and who we are there.
pub struct NextHop<'a> {
    pub server: &'a Destination,
    /// The account's index into `policy.levels`.
    pub level: u32,
    client: Client<'a>,
}

/// What is said to a server.
enum Client<'a> {
    Http(http::Client<'a>),
    Relay(relay::Client<'a>),
    Shadowsocks(&'a shadowsocks::Account),
    Socks(socks::Client<'a>),
    Trojan(&'a trojan::Account),
    Vless(&'a vless::Account),
    Vmess(&'a vmess::Account),
}

impl Proxy {
    pub fn traits(&self) -> ProxyTraits {
        match self {
            Self::Http(outbound) => outbound.traits(),
            Self::Relay(outbound) => outbound.traits(),
            Self::Shadowsocks(_) => shadowsocks::Outbound::TRAITS,
            Self::Socks(_) => socks::Outbound::TRAITS,
            Self::Trojan(_) => trojan::Outbound::TRAITS,
            Self::Vless(_) => vless::Outbound::TRAITS,
            Self::Vmess(_) => vmess::Outbound::TRAITS,
        }
    }

    /// Which addresses the protocol can write, when it can write no names and resolves them itself.
    pub(super) fn resolves_itself(&self) -> Option<Strategy> {
        match self {
            Self::Socks(outbound) => outbound.resolves_itself(),
            Self::Http(_)
            | Self::Relay(_)
            | Self::Shadowsocks(_)
            | Self::Trojan(_)
            | Self::Vless(_)
            | Self::Vmess(_) => None,
        }
    }

    /// Whose turn it is; `None` without any server.
    pub fn next_hop(&self) -> Option<NextHop<'_>> {
        let (server, level, client) = match self {
            Self::Http(outbound) => {
                let (server, client) = outbound.next_hop()?;
                (server, client.level(), Client::Http(client))
            }
            Self::Relay(outbound) => {
                let (server, client) = outbound.next_hop()?;
                (server, client.level(), Client::Relay(client))
            }
            Self::Shadowsocks(outbound) => {
                let (server, account) = outbound.next_hop()?;
                (server, account.level(), Client::Shadowsocks(account))
            }
            Self::Socks(outbound) => {
                let (server, client) = outbound.next_hop()?;
                (server, client.level(), Client::Socks(client))
            }
            Self::Trojan(outbound) => {
                let (server, account) = outbound.next_hop()?;
                (server, account.level(), Client::Trojan(account))
            }
            Self::Vless(outbound) => {
                let (server, account) = outbound.next_hop()?;
                (server, account.level(), Client::Vless(account))
            }
            Self::Vmess(outbound) => {
                let (server, account) = outbound.next_hop()?;
                (server, account.level(), Client::Vmess(account))
            }
        };
        Some(NextHop {
            server,
            level,
            client,
        })
    }
}

impl NextHop<'_> {
    /// A stream to `to` over a link to the server, whose answer is waited for as long as `limit`.
    pub async fn stream(
        self,
        link: Link,
        to: &Destination,
        limit: Duration,
        far: FarEnd,
    ) -> io::Result<Link> {
        match self.client {
            Client::Http(client) => answered(client.stream(link, to, limit)).await,
            Client::Relay(client) => client.stream(link, to, far),
            Client::Shadowsocks(account) => account.stream(link, to, far),
            Client::Socks(client) => answered(client.stream(link, to, limit)).await,
            Client::Trojan(account) => account.stream(link, to, far),
            Client::Vless(account) => account.stream(link, to, far),
            Client::Vmess(account) => account.stream(link, to, far),
        }
    }

    /// Has the server open a port at `at`; the link by which visitors come, and where the port is.
    pub async fn open_port(
        self,
        link: Link,
        at: &Destination,
        network: Network,
        limit: Duration,
    ) -> io::Result<(Link, Destination)> {
        match self.client {
            Client::Relay(client) => client.open_port(link, at, network, limit).await,
            _ => Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "only a `relay` outbound has a server that opens ports",
            )),
        }
    }

    /// A link for the frames of Mux.Cool, over a link to the server.
    pub fn multiplexed(self, link: Link, far: FarEnd) -> io::Result<Link> {
        match self.client {
            Client::Shadowsocks(account) => account.multiplexed(link, far),
            Client::Trojan(account) => account.multiplexed(link, far),
            Client::Vless(account) => account.multiplexed(link, far),
            Client::Vmess(account) => account.multiplexed(link, far),
            Client::Http(_) | Client::Relay(_) | Client::Socks(_) => Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "the protocol of this outbound carries no mux",
            )),
        }
    }

    /// Datagrams to anyone by datagrams to the server, which `inner` carries.
    pub fn packets_inside(self, inner: Box<dyn Packets>) -> io::Result<Box<dyn Packets>> {
        match self.client {
            Client::Shadowsocks(account) => account.packets(inner, self.server),
            Client::Http(_)
            | Client::Relay(_)
            | Client::Socks(_)
            | Client::Trojan(_)
            | Client::Vless(_)
            | Client::Vmess(_) => Err(no_packets()),
        }
    }

    /// Whether datagrams to the server can be read by everybody in between.
    pub fn leaves_packets_readable(&self) -> bool {
        matches!(self.client, Client::Shadowsocks(account) if account.is_open())
    }

    /// Datagrams over a link to the server: to `to` alone where a flow has one peer, else to anyone. `bind` makes
    /// UDP sockets with the outbound's socket options.
    pub async fn packets(
        self,
        link: Link,
        to: &Destination,
        limit: Duration,
        bind: &BindUdp,
        far: FarEnd,
    ) -> io::Result<Box<dyn Packets>> {
        match self.client {
            Client::Shadowsocks(_) => Err(no_packets()),
            Client::Http(client) => client.packets(link, to, limit).await,
            Client::Relay(client) => client.packets(link, to, far),
            Client::Socks(client) => client.packets(link, self.server, limit, bind).await,
            Client::Trojan(account) => account.packets(link, to, far),
            Client::Vless(account) => account.packets(link, to, far),
            Client::Vmess(account) => account.packets(link, to, far),
        }
    }
}

/// Measures how long a server takes to answer.
async fn answered(opening: impl Future<Output = io::Result<Link>>) -> io::Result<Link> {
    let mut step = Step::begin("protocol");
    let link = opening.await?;
    step.done("the server has answered");
    Ok(link)
}

/// Why datagrams go nowhere by a proxy that carries none.
pub fn no_packets() -> io::Error {
    let text = "an `http` outbound cannot carry UDP, but for gosts with `udpTunnel`";
    io::Error::new(io::ErrorKind::Unsupported, text)
}
