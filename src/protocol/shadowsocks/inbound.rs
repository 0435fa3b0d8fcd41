//! The server: finds out who speaks and what is asked for.
//!
//! A first flight that is not one of ours is answered with nothing and read on, and the reason goes to the log alone.

use std::io;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use sha2::{Digest, Sha256};
use tokio::net::UdpSocket;
use tokio::time::timeout_at;

use super::codec::chunks::{Edition, Opener, Sealer};
use super::codec::head::{FIXED, Fixed, Head, RequestError, take_variable};
use super::codec::keys::Key;
use super::codec::{MAX_ADDRESS, MAX_SKEW, identity, skew};
use super::datagrams::Port;
use super::draw;
use super::reader::Reader;
use super::settings::{Access, InboundSettings};
use super::stream::{Role, SealedStream};
use super::users::{Found, Identities, Passwords, UserEntry, Users};
use super::writer::Writer;
use super::{AeadKey, UserSettings};
use crate::address::{Destination, Form};
use crate::cause::{AuthError, FlightError, ProtocolError};
use crate::io::Link;
use crate::mux;
use crate::protocol::bare::{BareStream, Payload};
use crate::protocol::replay::now;
use crate::protocol::udp_port::Sources;
use crate::protocol::{Accepted, InboundContext, UserError, other_mux};
use crate::seam::{Arrival, Refusal};
use crate::secret::Secret;

pub struct Inbound {
    users: Arc<Users>,
}

/// A request that is whole.
struct Request {
    entry: Arc<UserEntry>,
    to: Destination,
    /// What reads what comes behind it, and writes what is answered; `None` where nothing is sealed.
    halves: Option<(Reader, Writer)>,
}

/// How the wait for the first flight ended, if not with a request.
enum Flight {
    /// The peer went away.
    Gone(FlightError),
    /// It is not one of ours, or came before.
    Refused(ProtocolError),
}

impl Inbound {
    pub fn new(settings: InboundSettings) -> Self {
        Self {
            users: Arc::new(Users::new(settings.access)),
        }
    }

    /// Makes the users of `access` those that the config names.
    pub fn set_users(&self, access: Access) {
        self.users.set(access);
    }

    /// Those whom the API has added to `other` are users here, too.
    pub fn add_added(&self, other: &Self) {
        self.users.add_added(&other.users);
    }

    /// One more user with a password, from now on.
    pub fn add_user(&self, user: &UserSettings<AeadKey>) -> Result<(), UserError> {
        match &*self.users {
            Users::Passwords(passwords) => passwords.add(user),
            Users::Identities(_) => Err(UserError::OtherProtocol),
            Users::Anybody(_) | Users::OneKey(_) => Err(UserError::NoUsers),
        }
    }

    /// One more user with a key of 2022, from now on.
    pub fn add_user_2022(&self, user: UserSettings<Secret<Vec<u8>>>) -> Result<(), UserError> {
        match &*self.users {
            Users::Identities(identities) => {
                let UserSettings { key, email, level } = user;
                let key = Key::new(identities.cipher, &key).ok_or(UserError::KeyLength {
                    found: key.len(),
                    wanted: identities.cipher.key_len(),
                })?;
                identities.add(&UserSettings { key, email, level })
            }
            Users::Passwords(_) => Err(UserError::OtherProtocol),
            Users::Anybody(_) | Users::OneKey(_) => Err(UserError::NoUsers),
        }
    }

    /// Takes a user away; their running streams go on.
    pub fn remove_user(&self, email: &str) -> Result<(), UserError> {
        self.users.remove(email)
    }

    /// The users that there are, or the one with this email.
    pub fn users(&self, email: Option<&str>) -> Result<Vec<UserSettings<AeadKey>>, UserError> {
        self.users.list(email)
    }

    /// The sources of the datagrams that come to a listening socket.
    pub(in crate::protocol) fn sources(
        &self,
        socket: Arc<UdpSocket>,
        context: &InboundContext,
    ) -> Sources {
        let port = Port::new(self.users.clone(), context);
        Sources::new(socket, port, false, None)
    }

    pub async fn accept(
        &self,
        arrival: Arrival,
        context: &InboundContext,
    ) -> Result<Accepted, Refusal> {
        let mut link = arrival.link;
        let mut buf = BytesMut::new();
        // Who it is, and so which level counts, is not known yet; V2Ray takes level 0.
        let limit = context.policy.level(0).handshake;
        let mut known = None;
        let flight = self.first_flight(&mut link, &mut buf, context, &mut known);
        let flight = timeout_at(arrival.since + limit, flight).await;
        let name = known.as_ref().map(ToString::to_string);
        let Request { entry, to, halves } = match flight {
            Ok(Ok(request)) => request,
            Ok(Err(Flight::Gone(cause))) => {
                link.close().await;
                return Err(Refusal::done(cause).of(name));
            }
            Ok(Err(Flight::Refused(cause))) => {
                return Err(Refusal::silent(cause, link, buf).of(name));
            }
            Err(_) => {
                let len = buf.len();
                let cause = FlightError::Slow { len, limit };
                return Err(Refusal::silent(cause, link, buf).of(name));
            }
        };
        let link = match halves {
            None => BareStream::<Payload>::server(link, buf.freeze(), &[]),
            Some((reader, writer)) => {
                let sealed = SealedStream::new(link, reader, writer, Role::Server);
                BareStream::<Payload>::server(Link::other(sealed), Bytes::new(), &[])
            }
        };
        let accepted = mux::stream_or_packets(Some(entry.user.clone()), to, Link::other(link));
        accepted.map_err(|text| other_mux(&*entry, text))
    }

    /// Reads until the request is whole. `known` is whose it is, as soon as that shows.
    async fn first_flight(
        &self,
        link: &mut Link,
        buf: &mut BytesMut,
        context: &InboundContext,
        known: &mut Option<Arc<UserEntry>>,
    ) -> Result<Request, Flight> {
        match &*self.users {
            Users::Anybody(entry) => open_request(link, buf, entry.clone()).await,
            Users::Passwords(users) => aead_request(link, buf, users, context, known).await,
            Users::OneKey(entry) => blake3_request(link, buf, entry, 0, context, known).await,
            Users::Identities(users) => {
                let entry = identified(link, buf, users).await?;
                blake3_request(link, buf, &entry, identity::LEN, context, known).await
            }
        }
    }
}

/// A request of `none`.
async fn open_request(
    link: &mut Link,
    buf: &mut BytesMut,
    entry: Arc<UserEntry>,
) -> Result<Request, Flight> {
    loop {
        let to = Destination::decode(buf, Form::PortLast);
        if let Some(to) = to.map_err(|e| malformed(&entry, &e))? {
            let halves = None;
            return Ok(Request { entry, to, halves });
        }
        more(link, buf).await?;
    }
}

/// A request of 2017: of whoever has the key that opens it.
async fn aead_request(
    link: &mut Link,
    buf: &mut BytesMut,
    users: &Passwords,
    context: &InboundContext,
    known: &mut Option<Arc<UserEntry>>,
) -> Result<Request, Flight> {
    let mut before = 0;
    let (entry, mut opener) = loop {
        match users.find(buf, before) {
            Found::User(entry, opener) => break (entry, opener),
            Found::Nobody => return Err(Flight::Refused(AuthError::UnknownKey.into())),
            Found::NotYet => {}
        }
        before = buf.len();
        more(link, buf).await?;
    };
    let entry = known.insert(entry);
    let salt = salt(entry, buf);
    let mut sealed = buf.split_off(salt.as_slice().len());
    let mut plain = BytesMut::new();
    let to = loop {
        // Wherever its client has cut it.
        let to = Destination::decode(&mut plain, Form::PortLast);
        if let Some(to) = to.map_err(|e| malformed(entry, &e))? {
            break to;
        }
        debug_assert!(plain.len() < MAX_ADDRESS);
        match next_chunk(&mut opener, &mut sealed) {
            Ok(Some(chunk)) => plain.extend_from_slice(&chunk),
            Ok(None) => more(link, &mut sealed).await?,
            Err(text) => return Err(malformed(entry, &text)),
        }
    };
    if !context.state.salts.take(salt.as_slice()) {
        let who = entry.to_string();
        return Err(Flight::Refused(AuthError::SpentSalt { who }.into()));
    }
    let own = draw(entry.cipher).map_err(broken)?;
    let head = Head::Aead {
        salt: own,
        address: Bytes::new(),
    };
    let sealer = Sealer::new(Edition::Aead, entry.cipher, &entry.key, own.as_slice());
    let reader = Reader::of_request(opener, plain.freeze(), sealed);
    Ok(Request {
        entry: entry.clone(),
        to,
        halves: Some((reader, Writer::new(head, sealer))),
    })
}

/// Whose request of 2022 it is, by its identity header.
async fn identified(
    link: &mut Link,
    buf: &mut BytesMut,
    users: &Identities,
) -> Result<Arc<UserEntry>, Flight> {
    let salt_len = users.cipher.key_len();
    let header = loop {
        let rest = buf.get(salt_len..);
        match rest.and_then(|rest| rest.first_chunk()) {
            Some(header) => break *header,
            None => more(link, buf).await?,
        }
    };
    let hash = identity::open(users.cipher, &users.key, &buf[..salt_len], header);
    let entry = hash.and_then(|hash| users.find(&hash));
    entry.ok_or_else(|| Flight::Refused(AuthError::UnknownIdentity.into()))
}

/// A request of 2022: `identities` bytes stand between its salt and the rest.
async fn blake3_request(
    link: &mut Link,
    buf: &mut BytesMut,
    entry: &Arc<UserEntry>,
    identities: usize,
    context: &InboundContext,
    known: &mut Option<Arc<UserEntry>>,
) -> Result<Request, Flight> {
    let at = entry.cipher.key_len() + identities;
    let fixed = loop {
        match buf.get(at..).and_then(|rest| rest.first_chunk::<FIXED>()) {
            Some(fixed) => break *fixed,
            None => more(link, buf).await?,
        }
    };
    let salt = salt(entry, buf);
    let mut opener = Opener::new(Edition::Blake3, entry.cipher, &entry.key, salt.as_slice());
    let fixed = match Fixed::open(&mut opener, &fixed) {
        Err(RequestError::Sealed) => return Err(Flight::Refused(AuthError::UnknownKey.into())),
        opened => {
            *known = Some(entry.clone());
            opened.map_err(|e| malformed(entry, &e))?
        }
    };
    let (skew, behind) = skew(fixed.time, now().unsigned_abs());
    let who = || entry.to_string();
    if skew > MAX_SKEW {
        let clock = AuthError::Clock {
            who: who(),
            skew,
            behind,
            most: MAX_SKEW as i64,
        };
        return Err(Flight::Refused(clock.into()));
    }
    let mut sealed = buf.split_off(at + FIXED);
    let mut plain = loop {
        match next_chunk(&mut opener, &mut sealed) {
            Ok(Some(plain)) => break plain,
            Ok(None) => more(link, &mut sealed).await?,
            Err(text) => return Err(malformed(entry, &text)),
        }
    };
    let to = take_variable(&mut plain).map_err(|e| malformed(entry, &e))?;
    let id = spent_id(entry, &salt);
    if !context.state.replays.spend(id, fixed.time.cast_signed()) {
        let who = who();
        return Err(Flight::Refused(AuthError::SpentSalt { who }.into()));
    }
    let own = draw(entry.cipher).map_err(broken)?;
    let sealer = Sealer::new(Edition::Blake3, entry.cipher, &entry.key, own.as_slice());
    let head = Head::Response {
        salt: own,
        request: salt,
    };
    let reader = Reader::of_request(opener, plain.freeze(), sealed);
    Ok(Request {
        entry: entry.clone(),
        to,
        halves: Some((reader, Writer::new(head, sealer))),
    })
}

/// Takes one chunk off the front of `sealed`; `None` asks for more bytes.
fn next_chunk(opener: &mut Opener, sealed: &mut BytesMut) -> Result<Option<BytesMut>, String> {
    let chunk = opener.chunk(sealed).map_err(|e| e.to_string())?;
    let Some(chunk) = chunk else {
        return Ok(None);
    };
    let taken = sealed.split_to(chunk.whole());
    let mut plain = BytesMut::zeroed(chunk.plain);
    let opened = opener.open(chunk, &taken, &mut plain);
    opened.map_err(|e| e.to_string())?;
    Ok(Some(plain))
}

/// The salt in front of a flight that is long enough.
fn salt(entry: &UserEntry, flight: &[u8]) -> Key {
    let salt = &flight[..entry.cipher.key_len()];
    Key::new(entry.cipher, salt).expect("a salt is as long as a key")
}

async fn more(link: &mut Link, buf: &mut BytesMut) -> Result<(), Flight> {
    match link.read_more(buf).await {
        Ok(0) => Err(Flight::Gone(FlightError::Closed(buf.len()))),
        Ok(_) => Ok(()),
        Err(e) => Err(broken(e)),
    }
}

fn broken(e: io::Error) -> Flight {
    Flight::Gone(FlightError::Broken(e))
}

fn malformed(entry: &UserEntry, what: &dyn ToString) -> Flight {
    let (user, text) = (entry.to_string(), what.to_string());
    Flight::Refused(ProtocolError::Header { user, text })
}

/// What a request must not have in common with an earlier one. It may be written down in this form.
fn spent_id(entry: &UserEntry, salt: &Key) -> [u8; 16] {
    let hash = Sha256::new()
        .chain_update(b"mobula shadowsocks salt")
        .chain_update(entry.key.as_slice())
        .chain_update(salt.as_slice())
        .finalize();
    std::array::from_fn(|i| hash[i])
}
