//! The client's datagrams, to and from anyone, each sealed to the server.

use std::collections::VecDeque;
use std::io;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use tracing::trace;

use super::codec::method::Cipher;
use super::codec::packet;
use super::codec::packet_2022::{Front, Ids, Message, Session, open_chacha};
use super::codec::window::Window;
use super::codec::{MAX_SKEW, skew};
use super::settings::{AccountSecret, AeadKey, Blake3Key};
use super::{draw, random};
use crate::address::Destination;
use crate::io::{self as links, Packet, Packets};
use crate::log;
use crate::protocol::replay::now;

pub(super) struct ClientPackets {
    inner: Box<dyn Packets>,
    server: Destination,
    seal: Seal,
    plain: BytesMut,
    sealed: BytesMut,
}

enum Seal {
    None,
    Aead(AeadKey),
    Blake3(Box<Client>),
}

/// A session of ours, and those of the server that answer it.
struct Client {
    key: Blake3Key,
    front: Front,
    /// What opens the ids of the server's.
    answers: Front,
    ids: Ids,
    session: Session,
    /// The latest first. A server that was started anew has another one, while datagrams of the old are on their way.
    servers: VecDeque<Server>,
}

struct Server {
    id: u64,
    session: Session,
    window: Window,
}

/// Sessions of a server that are known at a time: SIP022's number.
const SERVERS: usize = 2;

impl ClientPackets {
    pub(super) fn new(
        inner: Box<dyn Packets>,
        server: Destination,
        secret: &AccountSecret,
    ) -> io::Result<Self> {
        let seal = match secret {
            AccountSecret::None => Seal::None,
            AccountSecret::Aead(password) => Seal::Aead(password.key()),
            AccountSecret::Blake3 { key, servers } => {
                let Blake3Key { cipher, key: own } = *key;
                let mut id = [0; 8];
                random(&mut id)?;
                let id = u64::from_be_bytes(id);
                Seal::Blake3(Box::new(Client {
                    key: *key,
                    front: Front::of_client(cipher, servers, &own),
                    answers: Front::of_server(cipher, &own),
                    ids: Ids {
                        session: id,
                        packet: 0,
                    },
                    session: Session::new(cipher, &own, id),
                    servers: VecDeque::new(),
                }))
            }
        };
        Ok(Self {
            inner,
            server,
            seal,
            plain: BytesMut::new(),
            sealed: BytesMut::new(),
        })
    }

    fn seal(&mut self, packet: &Packet) -> Option<Bytes> {
        let (plain, sealed) = (&mut self.plain, &mut self.sealed);
        plain.clear();
        match &mut self.seal {
            Seal::None => {
                packet::join(&packet.peer, &packet.data, plain)?;
                return Some(plain.split().freeze());
            }
            Seal::Aead(AeadKey { cipher, key }) => {
                packet::join(&packet.peer, &packet.data, plain)?;
                let salt = draw(*cipher).ok()?;
                packet::seal(*cipher, key, &salt, plain, sealed);
            }
            Seal::Blake3(client) => {
                let message = Message {
                    time: now().unsigned_abs(),
                    client: None,
                    address: packet.peer.clone(),
                    data: packet.data.clone(),
                };
                message.encode(plain)?;
                let Client {
                    front,
                    ids,
                    session,
                    ..
                } = &mut **client;
                session.seal(*ids, front, plain, &mut links::random::fill, sealed);
                ids.packet += 1;
            }
        }
        Some(sealed.split().freeze())
    }

    fn open(&mut self, sealed: &[u8]) -> Option<Packet> {
        let (peer, data) = match &mut self.seal {
            Seal::None => packet::split(BytesMut::from(sealed))?,
            Seal::Aead(AeadKey { cipher, key }) => {
                packet::split(packet::open(*cipher, key, sealed)?)?
            }
            Seal::Blake3(client) => client.open(sealed)?,
        };
        Some(Packet { peer, data })
    }
}

impl Client {
    fn open(&mut self, datagram: &[u8]) -> Option<(Destination, Bytes)> {
        let Blake3Key { cipher, key } = &self.key;
        let (ids, known, plain) = if cipher.is_aes() {
            let (ids, sealed) = self.answers.open_ids(datagram)?;
            match self
                .servers
                .iter()
                .position(|server| server.id == ids.session)
            {
                Some(at) => (ids, Ok(at), self.servers[at].session.open(ids, sealed)?),
                None => {
                    let session = Session::new(*cipher, key, ids.session);
                    let plain = session.open(ids, sealed)?;
                    (ids, Err(session), plain)
                }
            }
        } else {
            let (ids, plain) = open_chacha(key, datagram)?;
            let known = self
                .servers
                .iter()
                .position(|server| server.id == ids.session);
            let known =
                known.ok_or_else(|| Session::new(Cipher::ChaCha20Poly1305, key, ids.session));
            (ids, known, plain)
        };
        let message = Message::decode(plain, true)?;
        if message.client != Some(self.ids.session) {
            return None;
        }
        let (skew, behind) = skew(message.time, now().unsigned_abs());
        if skew > MAX_SKEW {
            let side = if behind { "behind" } else { "ahead of" };
            log::repeated(&format!(
                "datagrams are dropped: the server's clock is {skew} s {side} ours, at most {MAX_SKEW} s is allowed [clock-skew]"
            ));
            return None;
        }
        let server = match known {
            Ok(at) => &mut self.servers[at],
            Err(session) => {
                self.servers.truncate(SERVERS - 1);
                self.servers.push_front(Server {
                    id: ids.session,
                    session,
                    window: Window::default(),
                });
                &mut self.servers[0]
            }
        };
        server
            .window
            .take(ids.packet)
            .then_some((message.address, message.data))
    }
}

impl Packets for ClientPackets {
    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Packet>>> {
        loop {
            let Some(packet) = ready!(self.inner.poll_recv(cx))? else {
                return Poll::Ready(Ok(None));
            };
            match self.open(&packet.data) {
                Some(packet) => return Poll::Ready(Ok(Some(packet))),
                None => {
                    trace!(server = %self.server, "dropped: not an answer of the server, or one that came before")
                }
            }
        }
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, packet: &Packet) -> Poll<io::Result<()>> {
        let Some(data) = self.seal(packet) else {
            return Poll::Ready(Ok(()));
        };
        let peer = self.server.clone();
        self.inner.poll_send(cx, &Packet { peer, data })
    }

    fn give_up(&mut self) {
        self.inner.give_up();
    }

    fn descriptors(&self) -> usize {
        self.inner.descriptors()
    }
}
