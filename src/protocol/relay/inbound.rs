//! The server: what is made of a request.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::AsyncWriteExt;
use tokio::time::{timeout, timeout_at};

use super::codec::{Command, Login, Request, RequestError, Response, Status};
use super::packets::OfMany;
use super::replies::Awaited;
use super::settings::{InboundSettings, Service};
use super::stream::RelayStream;
use crate::address::{Destination, Network};
use crate::cause::{FlightError, ProtocolError, RelayError};
use crate::io::{Link, PacketForm, PacketStream, Prefixed, linger};
use crate::protocol::accounts::{Accounts, anonymous, known};
use crate::protocol::length_prefixed::OfOne;
use crate::protocol::{Accepted, InboundContext};
use crate::seam::{Arrival, Fallback, Refusal};
use crate::session::{Source, User};
use crate::smux;

/// How long gost waits for a request. Its clients hold theirs back until an application says something.
const PATIENCE: Duration = Duration::from_secs(15);

/// A few bytes fit, unless the peer is gone.
const ANSWER_LIMIT: Duration = Duration::from_secs(4);

pub struct Inbound {
    accounts: Accounts,
    /// Who comes without an account, where nobody needs one.
    anonymous: Option<Arc<User>>,
    level: u32,
    service: Service,
    hidden: bool,
    stranger: Option<Arc<Fallback>>,
    /// Whose turn it is among the targets of a forwarder.
    turn: AtomicUsize,
}

/// Why nothing is done for a client, and what it is told.
type Refused = (Status, RelayError);

impl Inbound {
    pub fn new(settings: InboundSettings) -> Self {
        Self {
            accounts: Accounts::new(&settings.accounts, settings.level),
            anonymous: anonymous(settings.level),
            level: settings.level,
            service: settings.service,
            hidden: settings.hidden,
            stranger: settings.stranger,
            turn: AtomicUsize::new(0),
        }
    }

    pub async fn accept(
        &self,
        arrival: Arrival,
        context: &InboundContext,
    ) -> Result<Accepted, Refusal> {
        let limit = PATIENCE.min(context.policy.level(self.level).handshake);
        let Arrival {
            mut link,
            local,
            since,
            ..
        } = arrival;
        let mut buf = BytesMut::new();
        let mut opening = Opening::default();
        let reading = read(&mut link, &mut buf, &mut opening);
        let request = match timeout_at(since + limit, reading).await {
            Ok(Ok(request)) => request,
            Ok(Err(cause @ ProtocolError::Relay(RelayError::Version(_))))
                if self.stranger.is_some() =>
            {
                return Err(Refusal::silent(cause, link, buf).hand_to(self.stranger.clone()));
            }
            Ok(Err(cause)) => {
                // Who speaks something else, or another version, would not understand an answer.
                link.close().await;
                return Err(Refusal::done(cause.or_other(&opening)));
            }
            Err(_) => {
                link.close().await;
                let len = buf.len();
                return Err(Refusal::done(FlightError::Slow { len, limit }));
            }
        };
        let user = match self.find(request.user.as_ref()) {
            Ok(user) => user,
            Err((_, cause)) if self.hidden => {
                link.close().await;
                let cause = ProtocolError::from(cause).or_other(&opening);
                return Err(Refusal::done(cause));
            }
            Err(refused) => return Err(refuse(link, None, refused, &opening).await),
        };
        let accepted = self.serve(link, buf.freeze(), request, local, user.clone());
        match accepted.await {
            Ok(accepted) => Ok(accepted),
            Err((link, refused)) => Err(refuse(link, user, refused, &opening).await),
        }
    }

    fn find(&self, login: Option<&Login>) -> Result<Option<Arc<User>>, Refused> {
        if self.accounts.is_empty() {
            return Ok(self.anonymous.clone());
        }
        let found = login.and_then(|login| self.accounts.find(&login.name, &login.password));
        match found {
            Some(user) => Ok(Some(user)),
            None => Err((Status::Unauthorized, RelayError::Credentials)),
        }
    }

    /// What is asked for by a user; `rest` came behind the request.
    async fn serve(
        &self,
        link: Link,
        rest: Bytes,
        request: Request,
        local: Source,
        user: Option<Arc<User>>,
    ) -> Result<Accepted, (Link, Refused)> {
        let (to, reply) = match &self.service {
            Service::Forward(targets) => {
                let turn = self.turn.fetch_add(1, Ordering::Relaxed);
                let target = targets.get(turn % targets.len().max(1)).cloned();
                (target, Awaited::Forward)
            }
            Service::AsAsked { connect, bind } => {
                let opens_port = match (request.command, request.network) {
                    (Command::Connect, _) | (Command::Associate, Network::Udp) => false,
                    // An association, in the only form that gost has for it.
                    (Command::Bind, Network::Udp) => !is_nowhere(request.address.as_ref()),
                    (Command::Bind | Command::Associate, Network::Tcp) => true,
                };
                if opens_port {
                    let Some(at) = request.address else {
                        return Err((link, (Status::BadRequest, RelayError::NoAddress)));
                    };
                    let refused = match bind {
                        None => RelayError::BindOff,
                        Some(bind) if !bind.allows(at.port) => RelayError::PortOff(at.port),
                        Some(bind) => {
                            return Ok(Accepted::Bind {
                                user,
                                at,
                                network: request.network,
                                visitors: bind.visitors,
                                windows: bind.mux == smux::Version::Two,
                                link: Prefixed::link(rest, link),
                            });
                        }
                    };
                    return Err((link, (Status::Forbidden, refused)));
                }
                if !connect {
                    return Err((link, (Status::Forbidden, RelayError::ConnectOff)));
                }
                if request.command != Command::Connect {
                    let bound = match local {
                        Source::Ip(addr) => Some(addr.into()),
                        Source::Unix => request.address,
                    };
                    let link = answered(link, rest, bound).await;
                    return Ok(packets(user, link, OfMany));
                }
                (request.address, Awaited::AsAsked)
            }
        };
        let Some(to) = to else {
            return Err((link, (Status::BadRequest, RelayError::NoAddress)));
        };
        Ok(match request.network {
            Network::Tcp => Accepted::Stream {
                user,
                to,
                link: Link::other(RelayStream::server(link, rest, &[])),
                reply: Some(Box::new(reply)),
            },
            Network::Udp => {
                let link = answered(link, rest, None).await;
                packets(user, link, OfOne { peer: to })
            }
        })
    }
}

/// Reads until the request is whole; what came behind it is left in `buf`.
/// The first bytes of a connection; what has not come is 0.
type Opening = [u8; 8];

/// A request, and what stands in front of all that came, for whoever speaks something else.
async fn read(
    link: &mut Link,
    buf: &mut BytesMut,
    opening: &mut Opening,
) -> Result<Request, ProtocolError> {
    loop {
        let known = opening.len().min(buf.len());
        opening[..known].copy_from_slice(&buf[..known]);
        match Request::decode(buf) {
            Ok(Some(request)) => return Ok(request),
            Ok(None) => {}
            Err(RequestError::Version(version)) => {
                return Err(RelayError::Version(version).into());
            }
            Err(e) => return Err(RelayError::Malformed(e.to_string()).into()),
        }
        if link.read_more(buf).await.map_err(FlightError::Broken)? == 0 {
            return Err(FlightError::Closed(buf.len()).into());
        }
    }
}

/// Whether no address is meant.
fn is_nowhere(address: Option<&Destination>) -> bool {
    address.is_none_or(|at| at.port == 0)
}

fn packets(user: Option<Arc<User>>, link: Link, form: impl PacketForm + 'static) -> Accepted {
    let packets = Box::new(PacketStream::new(link, form));
    Accepted::Packets { user, packets }
}

/// The link of a request for datagrams, whose answer is sent: of them there is no outcome to wait for, and a client may
/// wait before it sends one.
async fn answered(link: Link, rest: Bytes, address: Option<Destination>) -> Link {
    let mut link = Link::other(RelayStream::server(link, rest, &[]));
    let response = Response {
        status: Status::Ok as u8,
        address,
    };
    send(&mut link, &response).await;
    link
}

/// A link that breaks, or does not take it, is met again by whoever uses it.
pub(super) async fn send(link: &mut Link, response: &Response) {
    let mut out = BytesMut::new();
    // An address always fits.
    let _ = response.encode(&mut out);
    let sending = async {
        link.write_all(&out).await?;
        link.flush().await
    };
    let _ = timeout(ANSWER_LIMIT, sending).await;
}

async fn refuse(
    mut link: Link,
    user: Option<Arc<User>>,
    (status, cause): Refused,
    opening: &Opening,
) -> Refusal {
    let response = Response {
        status: status as u8,
        address: None,
    };
    send(&mut link, &response).await;
    linger(link).await;
    let cause = ProtocolError::from(cause).or_other(opening);
    known(user.as_deref(), Refusal::done(cause))
}
