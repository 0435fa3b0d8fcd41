//! The outbounds by name, and what each of them answers.

use std::io;
use std::time::Duration;

use super::{blackhole, dns, freedom, http, in_process, loopback, socks, unknown, vmess};
use crate::address::{Destination, Host, Network};
use crate::dns::{Lookup, Strategy};
use crate::io::{BindUdp, Link, Packets};
use crate::json::{Node, Object, Path};

pub enum Outbound {
    Blackhole(blackhole::Outbound),
    Dns(dns::Outbound),
    Freedom(freedom::Outbound),
    Http(http::Outbound),
    /// Not to be had by name: other settings make it.
    InProcess(in_process::Outbound),
    Loopback(loopback::Outbound),
    Socks(socks::Outbound),
    Vmess(vmess::Outbound),
}

/// Where an outbound must be connected to before it can wrap the link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NextHop {
    /// There is no server in between; dial this (the target, or what `redirect` says).
    Destination(Destination),
    /// A server; `account` goes back into `wrap`.
    Server { to: Destination, account: usize },
    /// Nothing is dialled.
    Nowhere,
}

impl Outbound {
    /// Reads `settings` as the protocol that `protocol` names.
    pub fn read(protocol: &Node, settings: &Object) -> Option<Self> {
        let name: String = protocol.read()?;
        Some(match name.to_ascii_lowercase().as_str() {
            // `block` and `direct` are Xray's names for the same.
            "blackhole" | "block" => Self::Blackhole(blackhole::Outbound::read(settings)?),
            "dns" => Self::Dns(dns::Outbound::read(settings)?),
            "freedom" | "direct" => Self::Freedom(freedom::Outbound::read(settings)?),
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

    /// Where to connect to for a session to `to`; of several servers it is the next one's turn, so it is asked once
    /// for a connection.
    pub fn hop(&self, to: &Destination) -> NextHop {
        match self {
            Self::Blackhole(_) | Self::Dns(_) | Self::InProcess(_) | Self::Loopback(_) => {
                NextHop::Nowhere
            }
            Self::Freedom(outbound) => NextHop::Destination(outbound.target(to)),
            Self::Http(outbound) => outbound.hop(),
            Self::Socks(outbound) => outbound.hop(),
            Self::Vmess(outbound) => outbound.hop(),
        }
    }

    /// Where a session to `to` is connected to by an outbound that has no server; `None` for all others.
    pub fn straight(&self, to: &Destination) -> Option<Destination> {
        match self {
            Self::Dns(outbound) => Some(outbound.server(Network::Tcp, to).1),
            Self::Freedom(outbound) => Some(outbound.target(to)),
            Self::Blackhole(_)
            | Self::Http(_)
            | Self::InProcess(_)
            | Self::Loopback(_)
            | Self::Socks(_)
            | Self::Vmess(_) => None,
        }
    }

    /// Which addresses the protocol can write, when it can write no names and resolves them itself.
    pub fn resolves_itself(&self) -> Option<Strategy> {
        match self {
            Self::Socks(outbound) => outbound.resolves_itself(),
            _ => None,
        }
    }

    /// Whether sessions end in this process, at what its operator steers it by.
    pub fn is_control(&self) -> bool {
        matches!(self, Self::InProcess(_))
    }

    /// The level of the account that `hop` chose; none where V2Ray watches nothing.
    pub fn level(&self, account: usize) -> Option<u32> {
        match self {
            Self::Blackhole(_) | Self::Dns(_) | Self::InProcess(_) | Self::Loopback(_) => None,
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
            | Self::InProcess(_)
            | Self::Loopback(_) => false,
            Self::Http(_) | Self::Socks(_) | Self::Vmess(_) => true,
        }
    }

    /// Users whose payload the protocol leaves readable: where the config says so, what it says, and the server.
    pub fn unsealed(&self) -> impl Iterator<Item = (&Path, &str, &Host)> {
        let vmess = match self {
            Self::Vmess(outbound) => Some(outbound),
            _ => None,
        };
        vmess.into_iter().flat_map(vmess::Outbound::unsealed)
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
    /// [`NextHop::Nowhere`] the link is made here.
    pub async fn wrap(
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
            Self::Http(outbound) => outbound.wrap(dialled()?, to, account, handshake).await,
            Self::InProcess(outbound) => outbound.link(),
            Self::Loopback(_) => Err(loopback::carries_nothing()),
            Self::Socks(outbound) => outbound.wrap(dialled()?, to, account, handshake).await,
            Self::Vmess(outbound) => outbound.wrap(dialled()?, to, account),
        }
    }

    /// Whether the protocol can ask for many sessions inside one link.
    pub fn has_mux(&self) -> bool {
        matches!(self, Self::Vmess(_))
    }

    /// A link for the frames of mux, over a link to the hop.
    pub fn wrap_mux(&self, link: Option<Link>, account: usize) -> io::Result<Link> {
        match (self, link) {
            (Self::Vmess(outbound), Some(link)) => outbound.wrap_mux(link, account),
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
            Self::InProcess(_) => Err(io::Error::new(
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
