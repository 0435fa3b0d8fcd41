//! The inbounds by name, and what each of them answers.

use std::sync::Arc;

use tokio::net::UdpSocket;
use tokio::sync::mpsc;

use super::{Accepted, Datagrams, InboundContext, dokodemo, http, socks, unknown, vmess};
use crate::io::{Arrival, BindUdp, Refusal};
use crate::json::{Node, Object};
use crate::session::User;

pub enum Inbound {
    Dokodemo(dokodemo::Inbound),
    Http(http::Inbound),
    Socks(socks::Inbound),
    Vmess(Box<vmess::Inbound>),
}

impl Inbound {
    /// Reads `settings` as the protocol that `protocol` names.
    pub fn read(protocol: &Node, settings: &Object) -> Option<Self> {
        let name: String = protocol.read()?;
        Some(match name.to_ascii_lowercase().as_str() {
            // Xray's names for the same: `tunnel`, and `mixed`, whose SOCKS port takes HTTP as well.
            "dokodemo-door" | "tunnel" => Self::Dokodemo(dokodemo::Inbound::read(settings)?),
            "http" => Self::Http(http::Inbound::read(settings)?),
            "socks" | "mixed" => Self::Socks(socks::Inbound::read(settings)?),
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
    pub async fn accept(
        &self,
        arrival: Arrival,
        terms: &InboundContext,
    ) -> Result<Accepted, Refusal> {
        match self {
            Self::Dokodemo(inbound) => inbound.accept(arrival).await,
            Self::Http(inbound) => inbound.accept(arrival, terms).await,
            Self::Socks(inbound) => inbound.accept(arrival, terms).await,
            Self::Vmess(inbound) => inbound.accept(arrival, terms).await,
        }
    }

    /// Whether a peer must say something before anything is done for it.
    pub fn waits_for_request(&self) -> bool {
        match self {
            Self::Dokodemo(_) => false,
            Self::Http(_) | Self::Socks(_) | Self::Vmess(_) => true,
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
    pub fn requires_auth(&self) -> bool {
        match self {
            Self::Dokodemo(_) => false,
            Self::Http(inbound) => inbound.requires_auth(),
            Self::Socks(inbound) => inbound.requires_auth(),
            Self::Vmess(_) => true,
        }
    }

    /// Whether it takes whoever comes to wherever they want.
    pub fn is_proxy_for_anybody(&self) -> bool {
        !matches!(self, Self::Dokodemo(_)) && !self.requires_auth()
    }

    /// What `accounts` need to be asked for, for a message.
    pub fn how_accounts_count(&self) -> &'static str {
        match self {
            Self::Socks(_) => " with `auth: password`",
            Self::Dokodemo(_) | Self::Http(_) | Self::Vmess(_) => "",
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
