//! The client: a header in front of the first bytes, and bare bytes behind it.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::AsyncWriteExt;

use super::bind::answer;
use super::codec::{Command, Login, Request};
use super::packets::OfMany;
use super::settings::{OutboundSettings, Udp};
use super::stream::RelayStream;
use crate::address::{Destination, Network};
use crate::cause::Credentials;
use crate::io::{Link, PacketStream, Packets, Prefixed};
use crate::protocol::accounts::Account;
use crate::protocol::awaited::{Answered, Awaited};
use crate::protocol::length_prefixed::OfOne;
use crate::protocol::servers::Servers;
use crate::protocol::{FirstPayload, PacketWay, ProxyTraits};
use crate::seam::FarEnd;

pub struct Outbound {
    servers: Servers<Account>,
    udp: Udp,
    /// A server has answered.
    answered: Arc<Answered>,
}

/// Who we are at one server.
pub struct Client<'a> {
    account: Option<&'a Account>,
    outbound: &'a Outbound,
}

impl From<OutboundSettings> for Outbound {
    fn from(settings: OutboundSettings) -> Self {
        Self {
            servers: Servers::new(settings.servers, |account| account),
            udp: settings.udp,
            answered: Arc::default(),
        }
    }
}

impl Outbound {
    pub fn traits(&self) -> ProxyTraits {
        ProxyTraits {
            first_payload: FirstPayload::IfSoon,
            packets: Some(PacketWay::Link),
            packets_have_one_peer: self.udp == Udp::Connect,
        }
    }

    /// Whose turn it is.
    pub fn next_hop(&self) -> Option<(&Destination, Client<'_>)> {
        let (server, account) = self.servers.next()?;
        let outbound = self;
        Some((server, Client { account, outbound }))
    }
}

impl Client<'_> {
    /// The level of the account, 0 without one.
    pub fn level(&self) -> u32 {
        self.account.map_or(0, |account| account.level)
    }

    /// A stream to `to`. Nothing is sent before the first write or flush.
    pub fn stream(&self, link: Link, to: &Destination, far: FarEnd) -> io::Result<Link> {
        self.open(link, Command::Connect, Network::Tcp, to, far)
    }

    /// Datagrams: to `to`, or to anyone.
    pub fn packets(
        &self,
        link: Link,
        to: &Destination,
        far: FarEnd,
    ) -> io::Result<Box<dyn Packets>> {
        let nowhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)).into();
        Ok(match self.outbound.udp {
            Udp::Connect => {
                let link = self.open(link, Command::Connect, Network::Udp, to, far)?;
                let peer = to.clone();
                Box::new(PacketStream::new(link, OfOne { peer }))
            }
            // Gost has no other word for an association.
            Udp::Associate => {
                let link = self.open(link, Command::Bind, Network::Udp, &nowhere, far)?;
                Box::new(PacketStream::new(link, OfMany))
            }
        })
    }

    /// Has the server open a port at `at`; the link by which visitors come, and where the port is. The server has `limit`
    /// to answer.
    pub async fn open_port(
        &self,
        mut link: Link,
        at: &Destination,
        network: Network,
        limit: Duration,
    ) -> io::Result<(Link, Destination)> {
        let request = self.request(Command::Bind, network, at)?;
        link.write_all(&request).await?;
        link.flush().await?;
        let (bound, rest) = answer(&mut link, limit).await?;
        let bound = bound.unwrap_or_else(|| at.clone());
        Ok((Prefixed::link(rest, link), bound))
    }

    fn open(
        &self,
        link: Link,
        command: Command,
        network: Network,
        to: &Destination,
        far: FarEnd,
    ) -> io::Result<Link> {
        let header = self.request(command, network, to)?;
        let answered = self.outbound.answered.clone();
        let awaited = Awaited::new(far, Credentials::Relay, answered);
        Ok(Link::other(RelayStream::client(link, header, awaited)))
    }

    fn request(&self, command: Command, network: Network, to: &Destination) -> io::Result<Bytes> {
        let request = Request {
            command,
            network,
            user: self.account.map(|account| Login {
                name: Bytes::copy_from_slice(account.user.as_bytes()),
                password: Bytes::copy_from_slice(account.pass.as_bytes()).into(),
            }),
            address: Some(to.clone()),
        };
        let mut header = BytesMut::new();
        let written = request.encode(&mut header);
        written.map_err(|e| io::Error::new(io::ErrorKind::InvalidInput, e))?;
        Ok(header.freeze())
    }
}
