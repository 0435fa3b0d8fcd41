//! The server: what is made of a request.

use bytes::BytesMut;
use uuid::Uuid;

use super::codec::{self, Command, RESPONSE, RequestError, sender};
use super::id::{VlessUser, route, who};
use super::settings::InboundSettings;
use super::stream::VlessStream;
use crate::cause::{AuthError, ProtocolError};
use crate::io::{Link, PacketStream};
use crate::mux::{self, packet_addr};
use crate::protocol::first_flight::{FirstFlight, Header, Request};
use crate::protocol::length_prefixed::OfOne;
use crate::protocol::users::UserSettings;
use crate::protocol::{Accepted, InboundContext, UserError, other_mux};
use crate::seam::{Admission, Arrival, Refusal};

pub struct Inbound {
    flight: FirstFlight<VlessHeader>,
    mux: mux::Inbound,
}

/// The version and an id.
struct VlessHeader;

impl Inbound {
    pub fn new(settings: InboundSettings) -> Self {
        Self {
            flight: FirstFlight::new(known(settings.users), settings.fallbacks),
            mux: mux::Inbound::default(),
        }
    }

    /// Makes these the users that the config names.
    pub fn set_users(&self, users: Vec<UserSettings>) {
        self.flight.users.set(known(users));
    }

    /// Those whom the API has added to `other` are users here, too, where they have nothing of another.
    pub fn add_added(&self, other: &Self) {
        for user in other.flight.users.added() {
            let _ = self.flight.users.add(user);
        }
    }

    /// One more user, from now on.
    pub fn add_user(&self, user: UserSettings) -> Result<(), UserError> {
        self.flight.users.add(VlessUser(user))
    }

    /// Takes a user away; their running sessions go on.
    pub fn remove_user(&self, email: &str) -> Result<(), UserError> {
        self.flight.users.remove(email)
    }

    /// The users that there are, or the one with this email.
    pub fn users(&self, email: Option<&str>) -> Vec<UserSettings> {
        let users = self.flight.users.list(email);
        users.into_iter().map(Into::into).collect()
    }

    pub fn count_users(&self) -> usize {
        self.flight.users.count()
    }

    pub async fn accept(
        &self,
        arrival: Arrival,
        context: &InboundContext,
    ) -> Result<Admission, Refusal> {
        let Request {
            entry,
            command: codec::Request { id, command },
            link,
            rest,
        } = self.flight.receive(arrival, context).await?;
        let user = Some(entry.user.clone());
        let idle = context.policy.level(entry.user.level).limits.idle.into();
        let link = Link::other(VlessStream::server(link, rest, &RESPONSE));
        let accepted = match command {
            Command::Stream(to) => {
                let accepted = mux::stream_or_packets(user, to, link);
                accepted.map_err(|text| other_mux(&*entry, text))?
            }
            Command::Packets(to) => {
                let peer = to.clone();
                let packets = Box::new(PacketStream::new(link, OfOne { peer }));
                Accepted::Packets {
                    user,
                    packets: packet_addr::unwrap(packets, to),
                }
            }
            Command::Mux => self.mux.accept(link, user, idle),
        };
        Ok(Admission {
            accepted,
            vless_route: route(id),
        })
    }
}

fn known(users: Vec<UserSettings>) -> Vec<VlessUser> {
    users.into_iter().map(VlessUser).collect()
}

impl Header for VlessHeader {
    type User = VlessUser;
    type Command = codec::Request;
    type Error = RequestError;

    fn sender(buf: &[u8]) -> Result<Option<Uuid>, ProtocolError> {
        let id = sender(buf).map_err(ProtocolError::NotVless)?;
        Ok(id.map(who))
    }

    fn unknown() -> AuthError {
        AuthError::UnknownId
    }

    fn decode(buf: &mut BytesMut) -> Result<Option<codec::Request>, RequestError> {
        codec::Request::decode(buf)
    }
}
