//! The client: an address in front of the first bytes, sealed like all that follows.

use std::io;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::codec::chunks::{Edition, Sealer};
use super::codec::head::{Awaited as AwaitedHead, Head};
use super::codec::keys::Key;
use super::codec::{MAX_SKEW, identity};
use super::draw;
use super::packets::ClientPackets;
use super::reader::Reader;
use super::settings::{AccountSecret, AccountSettings, Blake3Key, OutboundSettings};
use super::stream::{Role, SealedStream};
use super::writer::Writer;
use crate::address::{Destination, Form};
use crate::cause::Credentials;
use crate::io::{Link, Packets};
use crate::mux;
use crate::protocol::awaited::{Answered, Awaited};
use crate::protocol::bare::{BareStream, Payload};
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
        Self(Servers::new(settings.servers, Account::from))
    }
}

impl From<AccountSettings> for Account {
    fn from(settings: AccountSettings) -> Self {
        Self {
            settings,
            answered: Arc::default(),
        }
    }
}

impl Outbound {
    pub const TRAITS: ProxyTraits = ProxyTraits {
        first_payload: FirstPayload::Together,
        packets: Some(PacketWay::Datagrams),
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
        self.settings.level
    }

    /// Whether what it sends can be read by everybody, unless something else seals it.
    pub fn is_open(&self) -> bool {
        self.settings.secret == AccountSecret::None
    }

    /// A stream to `to`. Nothing is sent before the first write or flush.
    pub fn stream(&self, link: Link, to: &Destination, far: FarEnd) -> io::Result<Link> {
        let mut address = BytesMut::new();
        to.encode(Form::PortLast, &mut address)
            .map_err(|e| io::Error::new(io::ErrorKind::InvalidInput, e))?;
        let address = address.freeze();
        let (edition, key, servers) = match &self.settings.secret {
            AccountSecret::None => {
                let awaited = Awaited::new(far, Credentials::Shadowsocks, self.answered.clone());
                let stream = BareStream::<Payload>::client(link, address, awaited);
                return Ok(Link::other(stream));
            }
            AccountSecret::Aead(password) => {
                let key = password.key();
                (Edition::Aead, (key.cipher, key.key), &[][..])
            }
            AccountSecret::Blake3 {
                key: Blake3Key { cipher, key },
                servers,
            } => (Edition::Blake3, (*cipher, *key), &servers[..]),
        };
        let credentials = match edition {
            Edition::Aead => Credentials::Shadowsocks,
            Edition::Blake3 => Credentials::Shadowsocks2022 { most: MAX_SKEW },
        };
        let awaited = Awaited::new(far, credentials, self.answered.clone());
        let (reader, writer) = halves(edition, (key.0, &key.1), servers, address)?;
        let sealed = Link::other(SealedStream::new(link, reader, writer, Role::Client));
        let stream = BareStream::<Payload>::client(sealed, Bytes::new(), awaited);
        Ok(Link::other(stream))
    }

    /// A link for the frames of Mux.Cool.
    pub fn multiplexed(&self, link: Link, far: FarEnd) -> io::Result<Link> {
        self.stream(link, &mux::destination(), far)
    }

    /// Datagrams to anyone, over `inner`, whose peer is `server`.
    pub fn packets(
        &self,
        inner: Box<dyn Packets>,
        server: &Destination,
    ) -> io::Result<Box<dyn Packets>> {
        let packets = ClientPackets::new(inner, server.clone(), &self.settings.secret)?;
        Ok(Box::new(packets))
    }
}

/// Both halves of a connection, its head waiting in the writer.
fn halves(
    edition: Edition,
    (cipher, key): (super::Cipher, &Key),
    servers: &[Key],
    address: Bytes,
) -> io::Result<(Reader, Writer)> {
    let salt = draw(cipher)?;
    let head = match edition {
        Edition::Aead => Head::Aead { salt, address },
        Edition::Blake3 => Head::Request {
            salt,
            identities: identity::headers(cipher, servers, key, salt.as_slice()),
            address,
        },
    };
    let sealer = Sealer::new(edition, cipher, key, salt.as_slice());
    let awaited = AwaitedHead {
        edition,
        cipher,
        key: *key,
        salt,
    };
    Ok((Reader::of_response(awaited), Writer::new(head, sealer)))
}
