//! The client: a header in front of the first bytes, and bare bytes behind it.

use std::io;
use std::sync::Arc;

use bytes::BytesMut;

use super::codec::{Command, Request};
use super::settings::{AccountSettings, OutboundSettings};
use super::stream::VlessStream;
use crate::address::Destination;
use crate::cause::Credentials;
use crate::io::{Link, PacketStream, Packets};
use crate::protocol::awaited::{Answered, Awaited};
use crate::protocol::length_prefixed::OfOne;
use crate::protocol::servers::Servers;
use crate::protocol::{FirstPayload, PacketWay, ProxyTraits};
use crate::seam::FarEnd;

pub struct Outbound(Servers<Account>);

/// Who we are at one server.
pub struct Account {
    settings: AccountSettings,
    /// Whether the server answers it.
    answered: Arc<Answered>,
}

impl From<OutboundSettings> for Outbound {
    fn from(settings: OutboundSettings) -> Self {
        Self(Servers::new(settings.servers, Account::new))
    }
}

impl Outbound {
    pub const TRAITS: ProxyTraits = ProxyTraits {
        first_payload: FirstPayload::Together,
        packets: Some(PacketWay::Link),
        packets_have_one_peer: true,
    };

    /// Whose turn it is.
    pub fn next_hop(&self) -> Option<(&Destination, &Account)> {
        let (server, account) = self.0.next()?;
        Some((server, account?))
    }
}

impl Account {
    fn new(settings: AccountSettings) -> Self {
        Self {
            settings,
            answered: Arc::default(),
        }
    }

    pub fn level(&self) -> u32 {
        self.settings.level
    }

    /// A stream to `to`. Nothing is sent before the first write or flush.
    pub fn stream(&self, link: Link, to: &Destination, far: FarEnd) -> io::Result<Link> {
        self.open(link, Command::Stream(to.clone()), far)
    }

    /// A link for the frames of Mux.Cool.
    pub fn multiplexed(&self, link: Link, far: FarEnd) -> io::Result<Link> {
        self.open(link, Command::Mux, far)
    }

    /// Datagrams to `to`.
    pub fn packets(
        &self,
        link: Link,
        to: &Destination,
        far: FarEnd,
    ) -> io::Result<Box<dyn Packets>> {
        let peer = to.clone();
        let link = self.open(link, Command::Packets(to.clone()), far)?;
        Ok(Box::new(PacketStream::new(link, OfOne { peer })))
    }

    fn open(&self, link: Link, command: Command, far: FarEnd) -> io::Result<Link> {
        let id = *self.settings.id;
        let mut header = BytesMut::new();
        Request { id, command }
            .encode(&mut header)
            .map_err(|e| io::Error::new(io::ErrorKind::InvalidInput, e))?;
        let awaited = Awaited::new(far, Credentials::Vless, self.answered.clone());
        let stream = VlessStream::client(link, header.freeze(), awaited);
        Ok(Link::other(stream))
    }
}
