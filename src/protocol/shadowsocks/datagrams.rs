//! The server's datagrams: those of one listening socket.
//!
//! A source of 2017 is an address. One of 2022 is a session that names itself, wherever it sends from: answers go to
//! where its latest datagram came from.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use tokio::sync::mpsc;
use tracing::trace;

use super::codec::keys::Key;
use super::codec::packet;
use super::codec::packet_2022::{Front, Ids, Message, Session as Codec, open_chacha};
use super::codec::window::Window;
use super::codec::{MAX_SKEW, skew};
use super::users::{UserEntry, Users};
use super::{draw, random};
use crate::address::Destination;
use crate::io::{self as links, Packet, Packets};
use crate::log;
use crate::protocol::replay::now;
use crate::protocol::udp_port::{Admitted, Datagram, QUEUED, Received, Replies, Sender, UdpPort};
use crate::protocol::{Datagrams, InboundContext, ProtocolState};
use crate::stats::Meter;

/// How long a session is remembered behind its last datagram: as long as one of its datagrams could be sent again.
const REMEMBERED: Duration = Duration::from_secs(2 * MAX_SKEW + 1);

/// Clients that are remembered at a time.
const MAX_CLIENTS: usize = 16 * 1024;

/// A UDP port of the inbound.
pub(super) struct Port {
    users: Arc<Users>,
    /// What opens the ids of a datagram of 2022.
    front: Front,
    clients: Mutex<Clients>,
    state: Arc<ProtocolState>,
    meter: Meter,
}

#[derive(Default)]
struct Clients {
    known: HashMap<Sender, Arc<Client>>,
    /// Who was last seen at an address, where there are several passwords.
    at: HashMap<SocketAddr, Arc<UserEntry>>,
    /// No session begins with a datagram of this time or before: it could be one that was forgotten.
    forgotten: u64,
}

/// Who sends, as long as it is known.
struct Client {
    entry: Arc<UserEntry>,
    /// Of 2022.
    session: Option<(u64, Codec)>,
    latest: Mutex<Latest>,
}

struct Latest {
    at: SocketAddr,
    /// Which of our addresses it came to.
    local: Option<IpAddr>,
    seen: Instant,
    /// When its sender says that it was sent.
    time: u64,
    window: Window,
}

impl Port {
    pub(super) fn new(users: Arc<Users>, context: &InboundContext) -> Self {
        let front = match &*users {
            Users::Anybody(_) | Users::Passwords(_) => Front::default(),
            Users::OneKey(entry) => Front::of_server(entry.cipher, &entry.key),
            Users::Identities(users) => Front::of_server(users.cipher, &users.key),
        };
        Self {
            users,
            front,
            clients: Mutex::default(),
            state: context.state.clone(),
            meter: context.meter.clone(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Clients> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A datagram of 2017, or of none.
    fn open(&self, datagram: &Datagram) -> Option<(Sender, Packet)> {
        let data = &datagram.data;
        let (entry, plain) = match &*self.users {
            Users::Anybody(entry) => (entry.clone(), BytesMut::from(&data[..])),
            Users::Passwords(users) => {
                let first = self.lock().at.get(&datagram.source).cloned();
                let (entry, plain) = users.open(data, first.as_ref())?;
                if !self
                    .state
                    .salts
                    .take_datagram(&data[..entry.cipher.key_len()])
                {
                    trace!(user = %entry, "dropped: a datagram that came before");
                    return None;
                }
                if !first.is_some_and(|first| Arc::ptr_eq(&first, &entry)) {
                    let mut clients = self.lock();
                    if clients.at.len() >= MAX_CLIENTS {
                        clients.at.clear();
                    }
                    clients.at.insert(datagram.source, entry.clone());
                }
                (entry, plain)
            }
            Users::OneKey(_) | Users::Identities(_) => return None,
        };
        let (peer, data) = packet::split(plain)?;
        let sender = Sender::User {
            at: datagram.source,
            user: entry.number,
        };
        let mut clients = self.lock();
        let known = clients.known.get(&sender).cloned();
        let client = known.unwrap_or_else(|| Arc::new(Client::new(entry, None, datagram, 0)));
        client.lock().move_to(datagram, 0);
        clients.keep(sender, client);
        Some((sender, Packet { peer, data }))
    }

    /// A datagram of 2022.
    fn open_2022(&self, datagram: &Datagram) -> Option<(Sender, Packet)> {
        let (entry, ids, message) = match &*self.users {
            Users::Anybody(_) | Users::Passwords(_) => return None,
            Users::OneKey(entry) if !entry.cipher.is_aes() => {
                let (ids, plain) = open_chacha(&entry.key, &datagram.data)?;
                (entry.clone(), ids, Piece::Plain(plain))
            }
            Users::OneKey(entry) => {
                let (ids, sealed) = self.front.open_ids(&datagram.data)?;
                (entry.clone(), ids, Piece::Sealed(sealed))
            }
            Users::Identities(users) => {
                let (ids, rest) = self.front.open_ids(&datagram.data)?;
                let (hash, sealed) = self.front.open_identity(ids, rest)?;
                (users.find(&hash)?, ids, Piece::Sealed(sealed))
            }
        };
        let sender = Sender::Session {
            user: entry.number,
            id: ids.session,
        };
        let known = self.lock().known.get(&sender).cloned();
        let is_known = known.is_some();
        let client = known.unwrap_or_else(|| {
            let codec = Codec::new(entry.cipher, &entry.key, ids.session);
            let session = Some((ids.session, codec));
            Arc::new(Client::new(entry.clone(), session, datagram, 0))
        });
        let plain = match message {
            Piece::Plain(plain) => plain,
            Piece::Sealed(sealed) => {
                let (_, codec) = client.session.as_ref()?;
                codec.open(ids, sealed)?
            }
        };
        let Message {
            time,
            address: peer,
            data,
            ..
        } = Message::decode(plain, false)?;
        let (skew, behind) = skew(time, now().unsigned_abs());
        if skew > MAX_SKEW {
            let side = if behind { "behind" } else { "ahead of" };
            log::repeated(&format!(
                "datagrams are dropped: {entry}'s clock is {skew} s {side} ours, at most {MAX_SKEW} s is allowed [clock-skew]"
            ));
            return None;
        }
        let mut clients = self.lock();
        if !is_known && time <= clients.forgotten {
            return None;
        }
        let mut latest = client.lock();
        if !latest.window.take(ids.packet) {
            trace!(user = %entry, "dropped: a datagram that came before");
            return None;
        }
        latest.move_to(datagram, time);
        drop(latest);
        clients.keep(sender, client);
        Some((sender, Packet { peer, data }))
    }
}

/// What stands behind the ids.
enum Piece<'a> {
    Plain(BytesMut),
    Sealed(&'a [u8]),
}

impl Clients {
    fn keep(&mut self, sender: Sender, client: Arc<Client>) {
        if self.known.contains_key(&sender) {
            return;
        }
        if self.known.len() >= MAX_CLIENTS {
            self.forget_silent();
        }
        // A whole quarter goes at a time, so that a flood of clients costs little for each.
        if self.known.len() >= MAX_CLIENTS {
            let mut seen: Vec<Instant> = self.known.values().map(|c| c.lock().seen).collect();
            let (_, last, _) = seen.select_nth_unstable(MAX_CLIENTS / 4);
            let last = *last;
            let forgotten = &mut self.forgotten;
            self.known.retain(|_, client| {
                let latest = client.lock();
                let stays = latest.seen > last;
                if !stays && client.session.is_some() {
                    *forgotten = (*forgotten).max(latest.time);
                }
                stays
            });
        }
        self.known.insert(sender, client);
    }

    /// Forgets those of whom nothing can come again, unless they are served.
    fn forget_silent(&mut self) {
        let now = Instant::now();
        self.known.retain(|_, client| {
            let silent = now.duration_since(client.lock().seen) > REMEMBERED;
            Arc::strong_count(client) > 1 || !silent
        });
    }
}

impl Client {
    fn new(
        entry: Arc<UserEntry>,
        session: Option<(u64, Codec)>,
        datagram: &Datagram,
        time: u64,
    ) -> Self {
        Self {
            entry,
            session,
            latest: Mutex::new(Latest {
                at: datagram.source,
                local: datagram.local,
                seen: Instant::now(),
                time,
                window: Window::default(),
            }),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Latest> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Latest {
    fn move_to(&mut self, datagram: &Datagram, time: u64) {
        self.at = datagram.source;
        self.local = datagram.local;
        self.seen = Instant::now();
        self.time = self.time.max(time);
    }
}

impl UdpPort for Port {
    fn read(&self, datagram: Datagram) -> Option<Received> {
        let len = datagram.data.len();
        let (sender, packet) = match &*self.users {
            Users::Anybody(_) | Users::Passwords(_) => self.open(&datagram)?,
            Users::OneKey(_) | Users::Identities(_) => self.open_2022(&datagram)?,
        };
        Some(Received {
            sender,
            packet,
            local: datagram.local,
            original_dst: None,
            len,
        })
    }

    fn admit(&self, source: SocketAddr, sender: Sender, replies: &Replies) -> Option<Admitted> {
        let client = self.lock().known.get(&sender).cloned()?;
        let (queue, data) = mpsc::channel(QUEUED);
        let user = Some(client.entry.user.clone());
        let session = Session {
            seal: Seal::new(&client)?,
            client,
            replies: replies.clone(),
            data,
            plain: BytesMut::new(),
            sealed: BytesMut::new(),
            meter: self.meter.clone(),
        };
        Some(Admitted {
            queue,
            permit: None,
            session: Some(Datagrams {
                source: source.into(),
                user,
                packets: Box::new(session),
            }),
        })
    }

    fn tidy_up(&self) {
        self.lock().forget_silent();
    }
}

/// The datagrams of one client.
struct Session {
    client: Arc<Client>,
    seal: Seal,
    replies: Replies,
    data: mpsc::Receiver<Received>,
    /// An answer before and after it is sealed.
    plain: BytesMut,
    sealed: BytesMut,
    meter: Meter,
}

/// How answers are sealed.
enum Seal {
    None,
    Aead(Key),
    Blake3 {
        /// The session that is answered.
        client: u64,
        front: Front,
        ids: Ids,
        codec: Box<Codec>,
    },
}

impl Seal {
    fn new(client: &Client) -> Option<Self> {
        let UserEntry {
            cipher, key, user, ..
        } = &*client.entry;
        let Some((id, _)) = client.session else {
            return Some(match user.anonymous {
                true => Self::None,
                false => Self::Aead(*key),
            });
        };
        let mut own = [0; 8];
        random(&mut own).ok()?;
        let own = u64::from_be_bytes(own);
        Some(Self::Blake3 {
            client: id,
            front: Front::of_server(*cipher, key),
            ids: Ids {
                session: own,
                packet: 0,
            },
            codec: Box::new(Codec::new(*cipher, key, own)),
        })
    }
}

impl Session {
    /// `packet` as it goes out; `None` where it cannot be written.
    fn seal(&mut self, packet: &Packet) -> Option<&[u8]> {
        let cipher = self.client.entry.cipher;
        let (plain, sealed) = (&mut self.plain, &mut self.sealed);
        plain.clear();
        match &mut self.seal {
            Seal::None => {
                packet::join(&packet.peer, &packet.data, plain)?;
                return Some(plain);
            }
            Seal::Aead(key) => {
                packet::join(&packet.peer, &packet.data, plain)?;
                let salt = draw(cipher).ok()?;
                packet::seal(cipher, key, &salt, plain, sealed);
            }
            Seal::Blake3 {
                client,
                front,
                ids,
                codec,
            } => {
                let message = Message {
                    time: now().unsigned_abs(),
                    client: Some(*client),
                    address: Destination::clone(&packet.peer),
                    data: packet.data.clone(),
                };
                message.encode(plain)?;
                codec.seal(*ids, front, plain, &mut links::random::fill, sealed);
                ids.packet += 1;
            }
        }
        Some(sealed)
    }
}

impl Packets for Session {
    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Packet>>> {
        let received = ready!(self.data.poll_recv(cx));
        Poll::Ready(Ok(received.map(|received| {
            self.meter.add_read(received.len);
            received.packet
        })))
    }

    fn poll_send(&mut self, _cx: &mut Context<'_>, packet: &Packet) -> Poll<io::Result<()>> {
        let (replies, meter) = (self.replies.clone(), self.meter.clone());
        let (at, local) = {
            let latest = self.client.lock();
            (latest.at, latest.local)
        };
        let Some(sealed) = self.seal(packet) else {
            return Poll::Ready(Ok(()));
        };
        match replies.send(sealed, at, local) {
            Ok(()) => meter.add_written(sealed.len()),
            Err(e) => trace!(to = %at, error = %e, "datagram not sent"),
        }
        Poll::Ready(Ok(()))
    }

    fn is_connectionless(&self) -> bool {
        true
    }
}
