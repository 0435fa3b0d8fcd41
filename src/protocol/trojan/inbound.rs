//! The server: finds out who speaks and what is asked for.
//!
//! A first flight may come in pieces: it is waited for as long as it can still become one of ours. One that cannot is
//! answered with nothing and read on, and the reason goes to the log alone. The link is given back with all that was
//! read from it.

use std::sync::Arc;

use bytes::BytesMut;
use tokio::time::timeout_at;

use super::codec::{Command, NotTrojan, Request, RequestError, sender};
use super::packets::Datagrams;
use super::settings::{InboundSettings, UserSettings};
use super::stream::TrojanStream;
use crate::cause::{AuthError, FlightError, ProtocolError};
use crate::io::{Link, PacketStream};
use crate::mux::{self, packet_addr};
use crate::protocol::fallbacks::{Fallbacks, Stranger};
use crate::protocol::user_table::{UserEntry, UserTable};
use crate::protocol::{Accepted, InboundContext, UserError};
use crate::seam::{Arrival, Refusal};

pub struct Inbound {
    users: UserTable<UserSettings>,
    fallbacks: Fallbacks,
}

/// How the wait for the first flight ended, if not with a request.
enum Flight {
    /// The peer went away.
    Gone(FlightError),
    /// It is not one of ours.
    Strange(ProtocolError),
    /// A user of ours asks for what cannot be had.
    Bad(Arc<UserEntry>, RequestError),
}

impl Inbound {
    pub fn new(settings: InboundSettings) -> Self {
        Self {
            users: UserTable::of(settings.users),
            fallbacks: Fallbacks::new(settings.fallbacks),
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
        let mut link = arrival.link;
        let mut buf = BytesMut::new();
        // Who it is, and so which level counts, is not known yet; V2Ray takes level 0.
        let limit = context.policy.level(0).handshake;
        let until = arrival.since + limit;
        let mut known = None;
        let flight = self.first_flight(&mut link, &mut buf, &mut known);
        let flight = timeout_at(until, flight).await;
        let is_stranger = known.is_none();
        let stranger = |link, read| Stranger {
            link,
            read,
            tls: arrival.tls,
            until,
        };
        let (entry, command) = match flight {
            Ok(Ok(found)) => found,
            // Somebody has said something that we do not understand, and waits for the answer.
            Ok(Err(Flight::Gone(cause @ FlightError::Closed(1..)))) if is_stranger => {
                return Err(self.fallbacks.refuse(cause, stranger(link, buf)).await);
            }
            Ok(Err(Flight::Gone(cause))) => {
                link.close().await;
                return Err(Refusal::done(cause));
            }
            Ok(Err(Flight::Strange(cause))) => {
                return Err(self.fallbacks.refuse(cause, stranger(link, buf)).await);
            }
            Ok(Err(Flight::Bad(entry, error))) => {
                // Whoever knows a password learns nothing by our end, and their application need not wait.
                link.close().await;
                let (user, text) = (entry.to_string(), error.to_string());
                let cause = ProtocolError::Header { user, text };
                return Err(Refusal::done(cause).of(Some(entry.to_string())));
            }
            Err(_) => {
                let len = buf.len();
                let cause = FlightError::Slow { len, limit };
                return Err(Refusal::silent(cause, link, buf));
            }
        };
        let user = Some(entry.user.clone());
        let link = Link::other(TrojanStream::server(link, buf.freeze(), &[]));
        match command {
            Command::Stream(to) => {
                let accepted = mux::stream_or_packets(user, to, link);
                accepted.map_err(|text| {
                    let user = entry.to_string();
                    let cause = ProtocolError::OtherMux { user, text };
                    Refusal::done(cause).of(Some(entry.to_string()))
                })
            }
            Command::Packets(to) => {
                let packets = Box::new(PacketStream::new(link, Datagrams));
                Ok(Accepted::Packets {
                    user,
                    packets: packet_addr::unwrap(packets, to),
                })
            }
        }
    }

    /// Reads until the header is whole; what came behind it is left in `buf`.
    async fn first_flight(
        &self,
        link: &mut Link,
        buf: &mut BytesMut,
        user: &mut Option<Arc<UserEntry>>,
    ) -> Result<(Arc<UserEntry>, Command), Flight> {
        loop {
            let key = sender(buf)
                .map_err(|NotTrojan(at)| Flight::Strange(ProtocolError::NotTrojan(at)))?;
            if let (None, Some(key)) = (&user, key) {
                *user = self.users.find(&key);
                if user.is_none() {
                    return Err(Flight::Strange(AuthError::UnknownPassword.into()));
                }
            }
            if let Some(entry) = user {
                match Request::decode(buf) {
                    Ok(None) => {}
                    Ok(Some(request)) => return Ok((entry.clone(), request.command)),
                    Err(e) => return Err(Flight::Bad(entry.clone(), e)),
                }
            }
            let read = match user {
                Some(_) => link.read_more(buf).await.map_err(FlightError::Broken),
                None => self.fallbacks.read_more(link, buf).await,
            };
            match read {
                Ok(0) => return Err(Flight::Gone(FlightError::Closed(buf.len()))),
                Ok(_) => {}
                Err(cause @ FlightError::Slow { .. }) => {
                    return Err(Flight::Strange(cause.into()));
                }
                Err(cause) => return Err(Flight::Gone(cause)),
            }
        }
    }
}
