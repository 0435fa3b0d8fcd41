//! The client: a header in front of the first bytes, and bare bytes behind it.

use std::io;
use std::sync::Arc;

use bytes::BytesMut;

use super::codec::{Command, Key, Request};
use super::packets::Datagrams;
use super::settings::{AccountSettings, OutboundSettings};
use super::stream::TrojanStream;
use crate::address::Destination;
use crate::cause::Credentials;
use crate::io::{Link, PacketStream, Packets};
use crate::mux;
use crate::protocol::awaited::{Answered, Awaited};
use crate::protocol::servers::Servers;
use crate::protocol::{FirstPayload, PacketWay, ProxyTraits};
use crate::seam::FarEnd;

pub struct Outbound(Servers<Account>);

/// Who we are at one server.
pub struct Account {
    key: Key,
    level: u32,
    /// Whether the server answers it.
    answered: Arc<Answered>,
}

impl From<OutboundSettings> for Outbound {
    fn from(settings: OutboundSettings) -> Self {
        Self(Servers::new(settings.servers, Account::from))
    }
}

impl From<AccountSettings> for Account {
    fn from(settings: AccountSettings) -> Self {
        Self {
            key: Key::of(&settings.password),
            level: settings.level,
            answered: Arc::default(),
        }
    }
}

impl Outbound {
    pub const TRAITS: ProxyTraits = ProxyTraits {
        first_payload: FirstPayload::Together,
        packets: Some(PacketWay::Link),
        packets_have_one_peer: false,
    };

    /// Whose turn it is.
    pub fn next_hop(&self) -> Option<(&Destination, &Account)> {
        let (server, account) = self.0.next()?;
        Some((server, account?))
    }
}

impl Account {
    pub fn level(&self) -> u32 {
        self.level
    }

    /// A stream to `to`. Nothing is sent before the first write or flush.
    pub fn stream(&self, link: Link, to: &Destination, far: FarEnd) -> io::Result<Link> {
        self.open(link, Command::Stream(to.clone()), far)
    }

    /// A link for the frames of Mux.Cool, for which Trojan has no word but their name.
    pub fn multiplexed(&self, link: Link, far: FarEnd) -> io::Result<Link> {
        self.stream(link, &mux::destination(), far)
    }

    /// Datagrams to anyone, `to` first.
    pub fn packets(
        &self,
        link: Link,
        to: &Destination,
        far: FarEnd,
    ) -> io::Result<Box<dyn Packets>> {
        let link = self.open(link, Command::Packets(to.clone()), far)?;
        Ok(Box::new(PacketStream::new(link, Datagrams)))
    }

    fn open(&self, link: Link, command: Command, far: FarEnd) -> io::Result<Link> {
        let key = self.key;
        let mut header = BytesMut::new();
        Request { key, command }
            .encode(&mut header)
            .map_err(|e| io::Error::new(io::ErrorKind::InvalidInput, e))?;
        let awaited = Awaited::new(far, Credentials::Trojan, self.answered.clone());
        let stream = TrojanStream::client(link, header.freeze(), awaited);
        Ok(Link::other(stream))
    }
}
