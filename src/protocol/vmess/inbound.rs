//! The server: finds out who speaks and what is asked for.
//!
//! A first flight that is not one of ours is answered with nothing and read on, and the reason goes
//! to the log alone: neither bytes nor time tell a prober which byte was wrong.

use std::sync::Arc;

use bytes::BytesMut;
use sha2::{Digest, Sha256};
use tokio::time::timeout_at;

use super::codec::body::Cipher;
use super::codec::header::HeaderError;
use super::codec::header::{self, Command, Request};
use super::codec::response::{self, Keys};
use super::packets::VmessPackets;
use super::peer::Peer;
use super::reader::Reader;
use super::settings::InboundSettings;
use super::stream::{Role, VmessStream};
use super::users::{UserEntry, Users};
use super::writer::Writer;
use crate::address::is_nearby;
use crate::cause::{AuthError, FlightError, ProtocolError};
use crate::io::{Io, Link};
use crate::mux::{self, packet_addr};
use crate::protocol::replay::{ReplayMemory, now};
use crate::protocol::users::UserSettings;
use crate::protocol::{Accepted, InboundContext, UserError, other_mux};
use crate::seam::{Arrival, Refusal};

pub struct Inbound {
    users: Box<Users>,
    mux: mux::Inbound,
    sealed_only: bool,
}

/// How the wait for the first flight ended.
enum Flight {
    Whole(Arc<UserEntry>, Box<Request>),
    /// The peer went away.
    Gone(FlightError),
    /// The user is known, if it is the request that is wrong and not whoever sends it.
    Bad(Option<String>, ProtocolError),
}

impl Inbound {
    pub fn new(settings: InboundSettings) -> Self {
        Self {
            users: Box::new(Users::new(settings.users)),
            mux: mux::Inbound::default(),
            sealed_only: settings.sealed_only,
        }
    }

    /// Makes these the users that the config names.
    pub fn set_users(&self, users: Vec<UserSettings>) {
        self.users.set(users);
    }

    /// Those whom the API has added to `other` are users here, too, where they have nothing of another.
    pub fn add_added(&self, other: &Self) {
        for user in other.users.added() {
            let _ = self.users.add(user);
        }
    }

    /// One more user, from now on.
    pub fn add_user(&self, user: UserSettings) -> Result<(), UserError> {
        self.users.add(user)
    }

    /// Takes a user away; their running sessions go on.
    pub fn remove_user(&self, email: &str) -> Result<(), UserError> {
        self.users.remove(email)
    }

    /// The users that there are, or the one with this email.
    pub fn users(&self, email: Option<&str>) -> Vec<UserSettings> {
        self.users.list(email)
    }

    pub fn count_users(&self) -> usize {
        self.users.count()
    }

    pub async fn accept(
        &self,
        arrival: Arrival,
        context: &InboundContext,
    ) -> Result<Accepted, Refusal> {
        let has_no_tls = arrival.tls.is_none();
        let mut link = arrival.link;
        let mut buf = BytesMut::new();
        // Who it is, and so which level counts, is not known yet; V2Ray takes level 0.
        let limit = context.policy.level(0).handshake;
        let flight = self.first_flight(&mut link, &mut buf, &context.state.replays);
        let flight = timeout_at(arrival.since + limit, flight).await;
        let (member, request) = match flight {
            Ok(Flight::Whole(member, request)) => (member, request),
            Ok(Flight::Gone(cause)) => {
                link.close().await;
                return Err(Refusal::done(cause));
            }
            Ok(Flight::Bad(user, cause)) => {
                return Err(Refusal::silent(cause, link, buf).of(user));
            }
            Err(_) => {
                let len = buf.len();
                let cause = FlightError::Slow { len, limit };
                return Err(Refusal::silent(cause, link, buf));
            }
        };
        let keys = Keys {
            key: request.key,
            iv: request.iv,
        };
        let answer = keys.response();
        let framing = request.framing();
        let pads_randomly = member.pads_randomly(&request);
        let peer = Peer::client(&request, member.pads_zeros(&request));
        let is_v2ray = peer == Peer::V2ray && (pads_randomly || request.cipher == Cipher::None);
        let peer_ends = is_v2ray && has_no_tls && may_be_of_a_front(&link);
        let reader = Reader::of_request(framing, &keys, buf, peer);
        let sign = match request.marks_ends {
            true => response::MARKS_ENDS,
            false => 0,
        };
        let header = response::seal(&answer, request.v, sign);
        let writer = Writer::new(header, framing, &keys, &answer, true);
        let user = Some(member.user.clone());
        let stream = |link, reader, writer| {
            let stream = VmessStream::new(link, reader, writer, Role::Server);
            Link::other(stream.peer_ends(peer_ends))
        };
        let idle = context.policy.level(member.user.level).limits.idle.into();
        match request.command {
            Command::Stream(to) => {
                let link = stream(link, reader, writer);
                let accepted = mux::stream_or_packets(user, to, link);
                accepted.map_err(|text| other_mux(&*member, text))
            }
            Command::Packets(to) => {
                let packets = Box::new(VmessPackets::new(link, reader, writer, to.clone()));
                Ok(Accepted::Packets {
                    user,
                    packets: packet_addr::unwrap(packets, to),
                })
            }
            Command::Mux => Ok(self.mux.accept(stream(link, reader, writer), user, idle)),
        }
    }

    /// Reads until the header is whole; what came behind it is left in `buf`.
    async fn first_flight(
        &self,
        link: &mut Link,
        buf: &mut BytesMut,
        replays: &ReplayMemory,
    ) -> Flight {
        let mut user: Option<(Arc<UserEntry>, i64)> = None;
        loop {
            if let Some(prefix) = buf.first_chunk::<{ header::PREFIX }>() {
                let auth_id = std::array::from_fn(|i| prefix[i]);
                let (member, time) = match &user {
                    Some(user) => user,
                    None => match self.users.find(&auth_id, now(), replays) {
                        Ok(found) => user.insert(found),
                        Err(e) => return Flight::Bad(e.who().map(str::to_owned), e.into()),
                    },
                };
                let who = || member.to_string();
                match header::open(&member.key, buf) {
                    Ok(None) => {}
                    Ok(Some(request)) if self.sealed_only && request.cipher == Cipher::None => {
                        let (user, text) = (who(), HeaderError::Unsealed.to_string());
                        return Flight::Bad(Some(who()), ProtocolError::Header { user, text });
                    }
                    Ok(Some(request)) => {
                        let session = session_id(member, &request);
                        return match replays.keep(auth_id, session, *time) {
                            true => Flight::Whole(member.clone(), Box::new(request)),
                            false => {
                                Flight::Bad(Some(who()), AuthError::SpentKeys { who: who() }.into())
                            }
                        };
                    }
                    Err(e) => {
                        let (user, text) = (who(), e.to_string());
                        return Flight::Bad(Some(who()), ProtocolError::Header { user, text });
                    }
                }
            }
            match link.read_more(buf).await {
                Ok(0) => return Flight::Gone(FlightError::Closed(buf.len())),
                Ok(_) => {}
                Err(e) => return Flight::Gone(FlightError::Broken(e)),
            }
        }
    }
}

/// User's key, body key and body IV: these must not come twice, whatever the auth id says. They may be written
/// down in this form.
fn session_id(member: &UserEntry, request: &Request) -> [u8; 16] {
    let hash = Sha256::new()
        .chain_update(b"mobula session id")
        .chain_update(member.key.0)
        .chain_update(request.key)
        .chain_update(request.iv)
        .finalize();
    std::array::from_fn(|i| hash[i])
}

/// Whether a proxy that has TLS may stand in front: it is of this machine or of its network, and of a unix socket nothing is known.
fn may_be_of_a_front(link: &Link) -> bool {
    let peer = link.socket().and_then(|socket| socket.peer_addr().ok());
    peer.is_none_or(|peer| is_nearby(peer.ip()))
}
