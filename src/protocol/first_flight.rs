//! The first flight of a protocol whose header stands in the open, VLESS and Trojan: who sends it, and what is asked for.
//!
//! It may come in pieces, and is waited for as long as it can still become one of ours. One that cannot goes to who stands
//! behind the protocol, or is answered with nothing and read on; the reason goes to the log alone. The link is given
//! back with all that was read from it.

use std::fmt;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio::time::timeout_at;

use super::InboundContext;
use super::fallbacks::{FallbackSettings, Fallbacks, Stranger};
use super::user_table::{UserEntry, UserTable};
use super::users::Identity;
use crate::cause::{AuthError, FlightError, ProtocolError};
use crate::io::Link;
use crate::seam::{Arrival, Refusal};
use crate::session::User;

/// A header, as its protocol reads it.
pub(super) trait Header {
    type User: Identity<Key: Copy> + Clone + PartialEq + Into<User>;
    type Command;
    type Error: fmt::Display;

    /// The key of whoever sends what begins like this; `None` asks for more bytes.
    fn sender(buf: &[u8]) -> Result<Option<<Self::User as Identity>::Key>, ProtocolError>;

    /// Nobody has the key.
    fn unknown() -> AuthError;

    /// Takes a header off the front of `buf`; `None` asks for more bytes and takes nothing.
    fn decode(buf: &mut BytesMut) -> Result<Option<Self::Command>, Self::Error>;
}

/// Whose flights are taken, and who gets the others.
pub(super) struct FirstFlight<H: Header> {
    pub(super) users: UserTable<H::User>,
    fallbacks: Fallbacks,
}

/// What a user of ours asks for, and the link behind the header.
pub(super) struct Request<C> {
    pub(super) entry: Arc<UserEntry>,
    pub(super) command: C,
    pub(super) link: Link,
    /// What was read of what comes behind the header.
    pub(super) rest: Bytes,
}

/// How the wait ended, if not with a request.
enum Failed<E> {
    /// The peer went away.
    Gone(FlightError),
    /// It is not one of ours.
    Strange(ProtocolError),
    /// A user of ours asks for what cannot be had.
    Bad(Arc<UserEntry>, E),
}

impl<H: Header> FirstFlight<H> {
    pub(super) fn new(users: Vec<H::User>, fallbacks: Vec<FallbackSettings>) -> Self {
        Self {
            users: UserTable::of(users),
            fallbacks: Fallbacks::new(fallbacks),
        }
    }

    pub(super) async fn receive(
        &self,
        arrival: Arrival,
        context: &InboundContext,
    ) -> Result<Request<H::Command>, Refusal> {
        let mut link = arrival.link;
        let mut buf = BytesMut::new();
        // Who it is, and so which level counts, is not known yet; V2Ray takes level 0.
        let limit = context.policy.level(0).handshake;
        let until = arrival.since + limit;
        let mut known = None;
        let reading = self.read(&mut link, &mut buf, &mut known);
        let read = timeout_at(until, reading).await;
        let is_stranger = known.is_none();
        let stranger = |link, read| Stranger {
            link,
            read,
            tls: arrival.tls,
            until,
        };
        match read {
            Ok(Ok((entry, command))) => Ok(Request {
                entry,
                command,
                link,
                rest: buf.freeze(),
            }),
            // Somebody has said something that we do not understand, and waits for the answer.
            Ok(Err(Failed::Gone(cause @ FlightError::Closed(1..)))) if is_stranger => {
                Err(self.fallbacks.refuse(cause, stranger(link, buf)).await)
            }
            Ok(Err(Failed::Gone(cause))) => {
                link.close().await;
                Err(Refusal::done(cause))
            }
            Ok(Err(Failed::Strange(cause))) => {
                Err(self.fallbacks.refuse(cause, stranger(link, buf)).await)
            }
            Ok(Err(Failed::Bad(entry, error))) => {
                // Whoever knows a key learns nothing by our end, and their application need not wait.
                link.close().await;
                let (user, text) = (entry.to_string(), error.to_string());
                let cause = ProtocolError::Header { user, text };
                Err(Refusal::done(cause).of(Some(entry.to_string())))
            }
            Err(_) => {
                let len = buf.len();
                let cause = FlightError::Slow { len, limit };
                Err(Refusal::silent(cause, link, buf))
            }
        }
    }

    /// Reads until the header is whole; what came behind it is left in `buf`. `user` is whose it is, as soon as that shows.
    async fn read(
        &self,
        link: &mut Link,
        buf: &mut BytesMut,
        user: &mut Option<Arc<UserEntry>>,
    ) -> Result<(Arc<UserEntry>, H::Command), Failed<H::Error>> {
        loop {
            let key = H::sender(buf).map_err(Failed::Strange)?;
            if let (None, Some(key)) = (&user, key) {
                *user = self.users.find(&key);
                if user.is_none() {
                    return Err(Failed::Strange(H::unknown().into()));
                }
            }
            if let Some(entry) = user {
                match H::decode(buf) {
                    Ok(None) => {}
                    Ok(Some(command)) => return Ok((entry.clone(), command)),
                    Err(e) => return Err(Failed::Bad(entry.clone(), e)),
                }
            }
            let read = match user {
                Some(_) => link.read_more(buf).await.map_err(FlightError::Broken),
                None => self.fallbacks.read_more(link, buf).await,
            };
            match read {
                Ok(0) => return Err(Failed::Gone(FlightError::Closed(buf.len()))),
                Ok(_) => {}
                Err(cause @ FlightError::Slow { .. }) => {
                    return Err(Failed::Strange(cause.into()));
                }
                Err(cause) => return Err(Failed::Gone(cause)),
            }
        }
    }
}
