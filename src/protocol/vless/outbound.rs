//! The client: a header in front of the first bytes, and bare bytes behind it.

use std::io;

use bytes::BytesMut;

use super::codec::{Command, Request};
use super::packets::Datagrams;
use super::settings::{AccountSettings, OutboundSettings};
use super::stream::VlessStream;
use crate::address::Destination;
use crate::io::{Link, PacketStream, Packets};
use crate::protocol::ProxyTraits;
use crate::protocol::servers::Servers;

pub struct Outbound(Servers<Account>);

/// Who we are at one server.
pub struct Account(AccountSettings);

impl From<OutboundSettings> for Outbound {
    fn from(settings: OutboundSettings) -> Self {
        Self(Servers::new(settings.servers, Account))
    }
}

impl Outbound {
    pub const TRAITS: ProxyTraits = ProxyTraits {
        wants_first_payload: true,
        carries_packets: true,
        packets_have_one_peer: true,
    };

    /// Whose turn it is.
    pub fn next_hop(&self) -> Option<(&Destination, &Account)> {
        let (server, account) = self.0.next()?;
        Some((server, account?))
    }
}

impl Account {
    pub fn level(&self) -> u32 {
        self.0.level
    }

    /// A stream to `to`. Nothing is sent before the first write or flush.
    pub fn stream(&self, link: Link, to: &Destination) -> io::Result<Link> {
        self.open(link, Command::Stream(to.clone()))
    }

    /// A link for the frames of Mux.Cool.
    pub fn multiplexed(&self, link: Link) -> io::Result<Link> {
        self.open(link, Command::Mux)
    }

    /// Datagrams to `to`.
    pub fn packets(&self, link: Link, to: &Destination) -> io::Result<Box<dyn Packets>> {
        let peer = to.clone();
        let link = self.open(link, Command::Packets(to.clone()))?;
        Ok(Box::new(PacketStream::new(link, Datagrams { peer })))
    }

    fn open(&self, link: Link, command: Command) -> io::Result<Link> {
        let id = *self.0.id;
        let mut header = BytesMut::new();
        Request { id, command }
            .encode(&mut header)
            .map_err(|e| io::Error::new(io::ErrorKind::InvalidInput, e))?;
        Ok(Link::other(VlessStream::client(link, header.freeze())))
    }
}
