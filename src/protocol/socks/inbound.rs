//! The server side: the first byte tells SOCKS 4 from SOCKS 5, and both from an HTTP proxy request, which
//! this port takes as Xray's does (there it is called `mixed` as well).
//!
//! A CONNECT of a program on this machine is answered when there is a way to its target. Others are granted before it is
//! dialled, as V2Ray grants all, and a target that cannot be reached shows as a closed connection ([`Grant`]).

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::AsyncWriteExt;
use tokio::net::UdpSocket;
use tokio::time::{timeout, timeout_at};

use super::associations::{Associations, Opened};
use super::codec::{
    CONNECT, Greeting, Login, NO_AUTH, NO_METHOD, PASSWORD, Reply as Message, Request,
    UDP_ASSOCIATE, UDP_TUNNEL,
};
use super::messages::Messages;
use super::packets::{Association, Remote};
use super::replies::{Awaited, GENERAL_FAILURE, GRANTED_4, REJECTED_4, SUCCEEDED};
use super::udp::Port;
use super::{InboundSettings, Taken};
use crate::address::{Destination, Host};
use crate::cause::{FlightError, ProtocolError, SocksError};
use crate::io::{PacketStream, Udp};
use crate::protocol::accounts::{Accounts, anonymous, known};
use crate::protocol::relay::packets::OfMany;
use crate::protocol::udp_port::Sources;
use crate::protocol::{Accepted, Grant, InboundContext, http};
use crate::seam::{Arrival, Refusal, Reply};
use crate::session::{Source, User};

pub struct Inbound {
    /// With `auth: password`.
    accounts: Option<Accounts>,
    /// With the same accounts.
    http: http::Inbound,
    level: u32,
    /// Who comes without an account.
    anonymous: Option<Arc<User>>,
    grant: Grant,
    udp: bool,
    udp_tunnel: bool,
    taken: Taken,
    /// The address told to UDP clients, in place of the one they are connected to.
    udp_ip: Option<Host>,
    pub(super) associations: Arc<Associations>,
}

/// SOCKS 5 replies.
const COMMAND_NOT_SUPPORTED: u8 = 0x07;
const ADDRESS_NOT_SUPPORTED: u8 = 0x08;

impl Inbound {
    pub fn new(settings: InboundSettings) -> Self {
        let level = settings.level;
        let http = http::InboundSettings {
            accounts: settings.accounts.clone().unwrap_or_default(),
            level,
            transparent: settings.transparent,
            udp_tunnel: settings.udp_tunnel,
            grant: settings.grant,
        };
        let accounts = settings.accounts;
        Self {
            accounts: accounts.map(|accounts| Accounts::new(&accounts, level)),
            http: http::Inbound::new(&http),
            level,
            anonymous: anonymous(level),
            grant: settings.grant,
            udp: settings.udp,
            udp_tunnel: settings.udp_tunnel,
            taken: settings.taken,
            udp_ip: settings.udp_ip,
            associations: Arc::default(),
        }
    }

    /// The associations of `other` go on here.
    pub fn take_associations(&mut self, other: &Self) {
        self.associations = other.associations.clone();
    }

    /// The sources of the datagrams that come to `socket`, the UDP port that clients are told from now on.
    pub fn sources(&self, socket: Arc<UdpSocket>, context: &InboundContext) -> Sources {
        let port = Port::new(
            socket.local_addr().ok(),
            self.associations.clone(),
            self.accounts.is_some() || self.udp_tunnel,
            self.anonymous.clone(),
            context.meter.clone(),
        );
        Sources::new(socket, port, false, None)
    }

    pub async fn accept(
        &self,
        arrival: Arrival,
        terms: &InboundContext,
    ) -> Result<Accepted, Refusal> {
        let limit = terms.policy.level(self.level).handshake;
        let Arrival {
            link,
            source,
            local,
            original_dst,
            tls,
            since,
        } = arrival;
        let mut messages = Messages::new(link);
        let mut who = None;
        let handshake = self.handshake(&mut messages, source, local, &mut who);
        let asked = timeout_at(since + limit, handshake).await;
        match asked {
            Ok(Ok((_, Asked::Http))) => {
                let link = messages.into_link();
                let arrival = Arrival {
                    link,
                    source,
                    local,
                    original_dst,
                    tls,
                    since,
                };
                self.http.accept(arrival, terms).await
            }
            Ok(Ok((user, Asked::Stream(to, reply)))) => Ok(Accepted::Stream {
                user,
                to,
                link: messages.into_link(),
                reply,
            }),
            Ok(Ok((user, Asked::Packets(socket, remote)))) => {
                let socket = Udp::new(socket, terms.meter.clone());
                let packets = Association::new(socket, messages.into_link(), remote);
                Ok(Accepted::Packets {
                    user,
                    packets: Box::new(packets),
                })
            }
            Ok(Ok((user, Asked::Tunnel))) => Ok(Accepted::Packets {
                user,
                packets: Box::new(PacketStream::new(messages.into_link(), OfMany)),
            }),
            Ok(Ok((user, Asked::Shared(opened)))) => {
                // V2Ray asks nobody for a password there.
                let outlives = self.accounts.is_none();
                let session = opened.session(messages.into_link(), outlives, terms.meter.clone());
                Ok(Accepted::Packets {
                    user,
                    packets: Box::new(session),
                })
            }
            Ok(Err(cause)) => {
                // The answer is on its way; closing must not overtake it.
                let _ = timeout(GOODBYE_LIMIT, messages.link.shutdown()).await;
                Err(known(
                    who.as_deref(),
                    Refusal::done(ProtocolError::from(cause).or_other(messages.unread())),
                ))
            }
            Err(_) => {
                let what = "SOCKS";
                Err(Refusal::done(FlightError::NoRequest { what, limit }))
            }
        }
    }

    async fn handshake(
        &self,
        messages: &mut Messages,
        source: Source,
        local: Source,
        who: &mut Option<Arc<User>>,
    ) -> Result<(Option<Arc<User>>, Asked), SocksError> {
        match messages.peek().await? {
            first if !self.taken.has(first) => Err(SocksError::NotTaken(first)),
            0x04 => {
                let waits = self.grant.waits(source, local);
                let (user, to) = self.socks_4(messages, waits).await?;
                let reply: Option<Box<dyn Reply>> = match waits {
                    true => Some(Box::new(Awaited::Four)),
                    false => None,
                };
                Ok((user, Asked::Stream(to, reply)))
            }
            0x05 => {
                let user = self.log_in(messages).await?;
                who.clone_from(&user);
                let asked = self.socks_5(messages, source, local, user.as_ref());
                Ok((user.clone(), asked.await?))
            }
            // The methods of HTTP are words in capitals.
            b'A'..=b'Z' => Ok((None, Asked::Http)),
            other => Err(SocksError::Version(other)),
        }
    }

    async fn socks_4(
        &self,
        messages: &mut Messages,
        waits: bool,
    ) -> Result<(Option<Arc<User>>, Destination), SocksError> {
        let request = match messages.next(Request::decode_4).await {
            Ok((id, request)) => match self.of_id(&id) {
                Err(e) => Err(e),
                Ok(user) if request.command == CONNECT => Ok((user, request.to)),
                Ok(_) => Err(unsupported(request.command)),
            },
            Err(e) => Err(e.into()),
        };
        let answer = match request {
            Ok(granted) if waits => return Ok(granted),
            Ok(_) => GRANTED_4,
            Err(_) => REJECTED_4,
        };
        let sent = messages.send(&answer).await;
        let granted = request?;
        sent?;
        Ok(granted)
    }

    /// Who comes by the user id of SOCKS 4, which stands for an account without a password.
    fn of_id(&self, id: &[u8]) -> Result<Option<Arc<User>>, SocksError> {
        let Some(accounts) = &self.accounts else {
            return Ok(self.anonymous.clone());
        };
        let user = accounts.find(id, b"");
        user.map(Some).ok_or(SocksError::NoPasswords)
    }

    /// Agrees on a way to log in, and goes it.
    async fn log_in(&self, messages: &mut Messages) -> Result<Option<Arc<User>>, SocksError> {
        let Greeting(methods) = messages.next(Greeting::decode).await?;
        let method = match self.accounts {
            Some(_) => PASSWORD,
            None => NO_AUTH,
        };
        if !methods.contains(&method) {
            messages.send(&[0x05, NO_METHOD]).await?;
            return Err(match self.accounts {
                Some(_) => SocksError::NotOffered,
                None => SocksError::OnlyWithPassword,
            });
        }
        messages.send(&[0x05, method]).await?;
        let Some(accounts) = &self.accounts else {
            return Ok(self.anonymous.clone());
        };
        let login = messages.next(Login::decode).await?;
        let user = accounts.find(&login.user, &login.pass);
        let status = if user.is_some() { 0x00 } else { 0xff };
        messages.send(&[0x01, status]).await?;
        match user {
            Some(user) => Ok(Some(user)),
            None => Err(SocksError::WrongPassword),
        }
    }

    async fn socks_5(
        &self,
        messages: &mut Messages,
        source: Source,
        local: Source,
        user: Option<&Arc<User>>,
    ) -> Result<Asked, SocksError> {
        let request = match messages.next(Request::decode).await {
            Ok(request) => request,
            Err(e) => {
                if e.kind() == io::ErrorKind::InvalidData {
                    refuse(messages, ADDRESS_NOT_SUPPORTED).await;
                }
                return Err(e.into());
            }
        };
        match request.command {
            CONNECT => {
                let bound = match local {
                    Source::Ip(addr) => addr.into(),
                    Source::Unix => NOWHERE.into(),
                };
                if self.grant.waits(source, local) {
                    let awaited = Awaited::Five {
                        bound,
                        nowhere: NOWHERE.into(),
                    };
                    return Ok(Asked::Stream(request.to, Some(Box::new(awaited))));
                }
                reply(messages, SUCCEEDED, bound).await?;
                Ok(Asked::Stream(request.to, None))
            }
            UDP_ASSOCIATE if self.udp => {
                let Some(told) = self.associations.told(local, source) else {
                    return self.associate(messages, source, local).await;
                };
                let host = address_of(source);
                // It may send as soon as it has the answer.
                let opened = self.associations.open(host, request.to.port, user.cloned());
                self.tell(messages, told.into()).await?;
                Ok(Asked::Shared(opened))
            }
            UDP_TUNNEL if self.udp_tunnel => {
                reply(messages, SUCCEEDED, NOWHERE.into()).await?;
                Ok(Asked::Tunnel)
            }
            UDP_ASSOCIATE => {
                refuse(messages, COMMAND_NOT_SUPPORTED).await;
                Err(SocksError::UdpOff)
            }
            other => {
                refuse(messages, COMMAND_NOT_SUPPORTED).await;
                Err(unsupported(other))
            }
        }
    }

    /// An association with a socket of its own, where the inbound has no UDP port.
    async fn associate(
        &self,
        messages: &mut Messages,
        source: Source,
        local: Source,
    ) -> Result<Asked, SocksError> {
        let (socket, bound) = match self.bind(local).await {
            Ok(bound) => bound,
            Err(e) => {
                refuse(messages, GENERAL_FAILURE).await;
                return Err(SocksError::NoSocket(e));
            }
        };
        self.tell(messages, bound).await?;
        Ok(Asked::Packets(
            socket,
            Remote::FirstFrom(address_of(source)),
        ))
    }

    /// Grants an association; datagrams are to be sent to `bound`.
    async fn tell(
        &self,
        messages: &mut Messages,
        mut bound: Destination,
    ) -> Result<(), SocksError> {
        if let Some(host) = &self.udp_ip {
            bound.host = host.clone();
        }
        Ok(reply(messages, SUCCEEDED, bound).await?)
    }

    /// A UDP socket where the client can reach it, and its address.
    async fn bind(&self, local: Source) -> io::Result<(UdpSocket, Destination)> {
        let ip = address_of(local);
        let told = match &self.udp_ip {
            Some(Host::Ip(told)) if *told != ip => Some(any(*told)),
            _ => None,
        };
        let bound = match told {
            // The client is sent to another address than the one it is connected to: take both.
            Some(any) => UdpSocket::bind((any, 0)).await?,
            // An address that a proxy in front reported need not be one of ours.
            None => match UdpSocket::bind((ip, 0)).await {
                Err(e) if e.kind() == io::ErrorKind::AddrNotAvailable => {
                    UdpSocket::bind((any(ip), 0)).await?
                }
                bound => bound?,
            },
        };
        let port = bound.local_addr()?.port();
        Ok((bound, SocketAddr::new(ip, port).into()))
    }
}

impl Taken {
    /// Whether what begins with this byte is among it.
    fn has(self, first: u8) -> bool {
        match self {
            Self::All => true,
            Self::Four => first == 0x04,
            Self::Five => first == 0x05,
        }
    }
}

/// What a handshake ends in.
enum Asked {
    /// With the answer that waits for its outcome.
    Stream(Destination, Option<Box<dyn Reply>>),
    Packets(UdpSocket, Remote),
    /// By the inbound's own port.
    Shared(Opened),
    /// Datagrams inside the connection.
    Tunnel,
    /// It is no SOCKS.
    Http,
}

const NOWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// How long a refused client may take to hear so.
const GOODBYE_LIMIT: Duration = Duration::from_secs(1);

async fn reply(messages: &mut Messages, code: u8, bound: Destination) -> io::Result<()> {
    let mut out = BytesMut::new();
    Message { code, bound }
        .encode(&mut out)
        .map_err(io::Error::other)?;
    messages.send(&out).await
}

/// The connection ends whether or not the client hears why.
async fn refuse(messages: &mut Messages, code: u8) {
    let _ = reply(messages, code, NOWHERE.into()).await;
}

fn unsupported(command: u8) -> SocksError {
    match command {
        0x02 => SocksError::Bind,
        0x03 => SocksError::NoUdpInFour,
        other => SocksError::Command(other),
    }
}

/// Who comes by a unix socket is on this machine.
fn address_of(end: Source) -> IpAddr {
    match end {
        Source::Ip(addr) => addr.ip(),
        Source::Unix => Ipv4Addr::LOCALHOST.into(),
    }
}

fn any(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    }
}

#[cfg(test)]
#[path = "inbound_tests.rs"]
mod tests;
