//! What dresses a link: VMess, SOCKS, HTTP and the rest. The table of protocols.
//!
//! A new protocol is a folder with the same doors, a variant in [`Inbound`] or [`Outbound`] and its
//! name in `read`; the compiler points at every other place.

pub mod accounts;
pub mod blackhole;
pub mod dns;
pub mod dokodemo;
pub mod freedom;
pub mod http;
pub mod local;
pub mod loopback;
pub mod servers;
pub mod socks;
pub mod vmess;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::sync::mpsc;

use crate::address::{Destination, Host};
use crate::dns::{Lookup, Strategy};
use crate::io::{Arrival, BindUdp, Link, Packets, Refusal};
use crate::json::{Node, Object, did_you_mean, either};
use crate::policy::Policy;
use crate::session::{Attributes, Source, User};
use crate::stats::Meter;

/// What every connection to an inbound is served under.
#[derive(Clone, Debug, Default)]
pub struct Terms {
    pub policy: Arc<Policy>,
    /// The inbound's counters, for what does not travel in the link.
    pub meter: Meter,
}

/// What an inbound found in a link.
pub enum Accepted {
    /// One stream to one place.
    Stream {
        user: Option<Arc<User>>,
        to: Destination,
        link: Link,
    },
    /// One plain HTTP request, by a stream of its own, and what its head says.
    Request {
        user: Option<Arc<User>>,
        to: Destination,
        link: Link,
        attributes: Attributes,
    },
    /// Datagrams; each names its own peer.
    Packets {
        user: Option<Arc<User>>,
        packets: Box<dyn Packets>,
    },
    /// Several sessions inside one link (plain HTTP requests on a kept-alive connection): each
    /// arrives here when its request does, and the link ends when the sender is dropped.
    Many(mpsc::Receiver<Self>),
}

/// Datagrams of one source on a UDP listener.
pub struct Datagrams {
    pub source: Source,
    pub packets: Box<dyn Packets>,
}

pub enum Inbound {
    Dokodemo(dokodemo::Inbound),
    Http(http::Inbound),
    Socks(socks::Inbound),
    Vmess(Box<vmess::Inbound>),
}

pub enum Outbound {
    Blackhole(blackhole::Outbound),
    Dns(dns::Outbound),
    Freedom(freedom::Outbound),
    Http(http::Outbound),
    /// Not to be had by name: other settings make it.
    Local(local::Outbound),
    Loopback(loopback::Outbound),
    Socks(socks::Outbound),
    Vmess(vmess::Outbound),
}

/// Where an outbound must be connected to before it can dress the link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hop {
    /// There is no server in between; dial this (the target, or what `redirect` says).
    Destination(Destination),
    /// A server; `account` goes back into `dress`.
    Server { to: Destination, account: usize },
    /// Nothing is dialled.
    Nowhere,
}

impl Inbound {
    /// Reads `settings` as the protocol that `protocol` names.
    pub fn read(protocol: &Node, settings: &Object) -> Option<Self> {
        let name: String = protocol.read()?;
        Some(match name.to_ascii_lowercase().as_str() {
            "dokodemo-door" => Self::Dokodemo(dokodemo::Inbound::read(settings)?),
            "http" => Self::Http(http::Inbound::read(settings)?),
            "socks" => Self::Socks(socks::Inbound::read(settings)?),
            "vmess" => Self::Vmess(Box::new(vmess::Inbound::read(settings)?)),
            _ => {
                unknown(
                    protocol,
                    &name,
                    "inbound",
                    &["dokodemo-door", "http", "socks", "vmess"],
                );
                return None;
            }
        })
    }

    /// Reads what the peer asks for. Every protocol bounds the time this takes.
    pub async fn accept(&self, arrival: Arrival, terms: &Terms) -> Result<Accepted, Refusal> {
        match self {
            Self::Dokodemo(inbound) => inbound.accept(arrival).await,
            Self::Http(inbound) => inbound.accept(arrival, terms).await,
            Self::Socks(inbound) => inbound.accept(arrival, terms).await,
            Self::Vmess(inbound) => inbound.accept(arrival, terms).await,
        }
    }

    /// The level whose `handshake` bounds the wait for a request; V2Ray takes 0 while it does not know
    /// the user.
    pub fn handshake_level(&self) -> u32 {
        match self {
            Self::Http(inbound) => inbound.level(),
            Self::Socks(inbound) => inbound.level(),
            Self::Dokodemo(_) | Self::Vmess(_) => 0,
        }
    }

    /// Who sends the datagrams of [`Self::datagrams`].
    pub fn datagram_user(&self) -> Option<Arc<User>> {
        match self {
            Self::Dokodemo(inbound) => inbound.user(),
            Self::Http(_) | Self::Socks(_) | Self::Vmess(_) => None,
        }
    }

    /// Whether whoever comes must say who they are.
    pub fn knows_its_users(&self) -> bool {
        match self {
            Self::Dokodemo(_) => false,
            Self::Http(inbound) => inbound.knows_its_users(),
            Self::Socks(inbound) => inbound.knows_its_users(),
            Self::Vmess(_) => true,
        }
    }

    /// Whether it has a place to go to, but no port there.
    pub fn lacks_port(&self) -> bool {
        match self {
            Self::Dokodemo(inbound) => inbound.lacks_port(),
            Self::Http(_) | Self::Socks(_) | Self::Vmess(_) => false,
        }
    }

    /// Whether TCP connections are listened for.
    pub fn takes_streams(&self) -> bool {
        match self {
            Self::Dokodemo(inbound) => inbound.takes_streams(),
            Self::Http(_) | Self::Socks(_) | Self::Vmess(_) => true,
        }
    }

    /// Whether a UDP port is listened on as well.
    pub fn takes_datagrams(&self) -> bool {
        match self {
            Self::Dokodemo(inbound) => inbound.takes_datagrams(),
            Self::Http(_) | Self::Socks(_) | Self::Vmess(_) => false,
        }
    }

    /// Whether what a packet filter brings goes where it was meant to go.
    pub fn follows_redirect(&self) -> bool {
        match self {
            Self::Dokodemo(inbound) => inbound.follows_redirect(),
            Self::Http(_) | Self::Socks(_) | Self::Vmess(_) => false,
        }
    }

    /// Sorts the datagrams of a listening socket by their source; `bind` makes sockets that send as
    /// somebody else.
    pub fn datagrams(&self, socket: UdpSocket, bind: BindUdp) -> Option<mpsc::Receiver<Datagrams>> {
        match self {
            Self::Dokodemo(inbound) => Some(inbound.datagrams(socket, bind)),
            Self::Http(_) | Self::Socks(_) | Self::Vmess(_) => None,
        }
    }
}

impl Outbound {
    /// Reads `settings` as the protocol that `protocol` names.
    pub fn read(protocol: &Node, settings: &Object) -> Option<Self> {
        let name: String = protocol.read()?;
        Some(match name.to_ascii_lowercase().as_str() {
            "blackhole" => Self::Blackhole(blackhole::Outbound::read(settings)?),
            "dns" => Self::Dns(dns::Outbound::read(settings)?),
            "freedom" => Self::Freedom(freedom::Outbound::read(settings)?),
            "http" => Self::Http(http::Outbound::read(settings)?),
            "loopback" => Self::Loopback(loopback::Outbound::read(settings)?),
            "socks" => Self::Socks(socks::Outbound::read(settings)?),
            "vmess" => Self::Vmess(vmess::Outbound::read(settings)?),
            _ => {
                let names = [
                    "blackhole",
                    "dns",
                    "freedom",
                    "http",
                    "loopback",
                    "socks",
                    "vmess",
                ];
                unknown(protocol, &name, "outbound", &names);
                return None;
            }
        })
    }

    /// Where to connect to for a session to `to`.
    pub fn hop(&self, to: &Destination) -> Hop {
        match self {
            Self::Blackhole(_) | Self::Dns(_) | Self::Local(_) | Self::Loopback(_) => Hop::Nowhere,
            Self::Freedom(outbound) => Hop::Destination(outbound.target(to)),
            Self::Http(outbound) => outbound.hop(),
            Self::Socks(outbound) => outbound.hop(),
            Self::Vmess(outbound) => outbound.hop(),
        }
    }

    /// The level of the account that `hop` chose; none where V2Ray watches nothing.
    pub fn level(&self, account: usize) -> Option<u32> {
        match self {
            Self::Blackhole(_) | Self::Dns(_) | Self::Local(_) | Self::Loopback(_) => None,
            Self::Freedom(outbound) => Some(outbound.level()),
            Self::Http(outbound) => Some(outbound.level(account)),
            Self::Socks(outbound) => Some(outbound.level(account)),
            Self::Vmess(outbound) => Some(outbound.level(account)),
        }
    }

    /// Whether sessions go to a server of the user's, not straight to their targets.
    pub fn has_server(&self) -> bool {
        match self {
            Self::Blackhole(_)
            | Self::Dns(_)
            | Self::Freedom(_)
            | Self::Local(_)
            | Self::Loopback(_) => false,
            Self::Http(_) | Self::Socks(_) | Self::Vmess(_) => true,
        }
    }

    /// What sends sessions through the rules once more.
    pub fn loopback(&self) -> Option<&loopback::Outbound> {
        match self {
            Self::Loopback(outbound) => Some(outbound),
            _ => None,
        }
    }

    /// Whether the first payload can travel with the protocol's header, and is worth a short wait.
    pub fn wants_first_payload(&self) -> bool {
        matches!(self, Self::Vmess(_))
    }

    /// How names are resolved when the hop is dialled.
    pub fn strategy(&self) -> Strategy {
        match self {
            Self::Freedom(outbound) => outbound.strategy(),
            _ => Strategy::AsIs,
        }
    }

    /// A stream to `to` over a link to the hop, whose answer is waited for as long as `handshake`. With
    /// [`Hop::Nowhere`] the link is made here.
    pub async fn dress(
        &self,
        link: Option<Link>,
        to: &Destination,
        account: usize,
        handshake: Duration,
    ) -> io::Result<Link> {
        let dialled =
            || link.ok_or_else(|| io::Error::other("nothing was dialled for this outbound"));
        match self {
            Self::Blackhole(outbound) => Ok(outbound.link()),
            Self::Dns(_) => Err(dns::not_dialled()),
            Self::Freedom(_) => dialled(),
            Self::Http(outbound) => outbound.dress(dialled()?, to, account, handshake).await,
            Self::Local(outbound) => outbound.link(),
            Self::Loopback(_) => Err(loopback::carries_nothing()),
            Self::Socks(outbound) => outbound.dress(dialled()?, to, account, handshake).await,
            Self::Vmess(outbound) => outbound.dress(dialled()?, to, account),
        }
    }

    /// Whether the protocol can ask for many sessions inside one link.
    pub fn has_mux(&self) -> bool {
        matches!(self, Self::Vmess(_))
    }

    /// A link for the frames of mux, over a link to the hop.
    pub fn dress_mux(&self, link: Option<Link>, account: usize) -> io::Result<Link> {
        match (self, link) {
            (Self::Vmess(outbound), Some(link)) => outbound.dress_mux(link, account),
            _ => Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "only a `vmess` outbound carries mux",
            )),
        }
    }

    /// Datagrams: to `to` alone when [`Self::packets_have_one_peer`], else to anyone. `link` is there
    /// when the hop is a server; `bind` makes UDP sockets with the outbound's socket options, `lookup`
    /// resolves the names they are to send to.
    pub async fn packets(
        &self,
        link: Option<Link>,
        to: &Destination,
        account: usize,
        handshake: Duration,
        bind: &BindUdp,
        lookup: Lookup,
    ) -> io::Result<Box<dyn Packets>> {
        let dialled =
            || link.ok_or_else(|| io::Error::other("nothing was dialled for this outbound"));
        match self {
            Self::Blackhole(outbound) => Ok(outbound.packets()),
            Self::Dns(_) => Err(dns::not_dialled()),
            Self::Freedom(outbound) => Ok(outbound.packets(bind.clone(), lookup)),
            Self::Http(_) => Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "an `http` outbound cannot carry UDP",
            )),
            Self::Local(_) => Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "what serves this outbound takes no UDP",
            )),
            Self::Loopback(_) => Err(loopback::carries_nothing()),
            Self::Socks(outbound) => outbound.packets(dialled()?, account, handshake, bind).await,
            Self::Vmess(outbound) => outbound.packets(dialled()?, to, account),
        }
    }

    /// Whether `packets` gives datagrams to one destination only (VMess), or to any.
    pub fn packets_have_one_peer(&self) -> bool {
        matches!(self, Self::Dns(_) | Self::Vmess(_))
    }
}

/// The value of an `address` key; a mistake is reported. Like V2Ray, it forgives space around.
fn read_host(node: Node) -> Option<Host> {
    let text: String = node.read()?;
    Host::parse(text.trim())
        .map_err(|e| node.error(format!("`{}` is not an address: {e}", text.escape_debug())))
        .ok()
}

fn unknown(node: &Node, name: &str, side: &str, names: &[&str]) {
    const OTHERS: [&str; 6] = [
        "shadowsocks",
        "trojan",
        "vless",
        "wireguard",
        "hysteria2",
        "mtproto",
    ];
    if OTHERS.iter().any(|o| o.eq_ignore_ascii_case(name)) {
        node.error(format!(
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
