//! Binding what an inbound asks for.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::net::UdpSocket;

use super::{Inbound, StartError};
use crate::cause::system_words;
use crate::config::{ApiListen, Listen};
use crate::transport::tcp::{self, Bind, SockOpt};

/// Listens where a service of this process is asked.
///
/// # Errors
///
/// What the system says against it, with the place.
pub fn listen_for_service(place: &ApiListen) -> io::Result<tcp::Listener> {
    let listener = match place {
        ApiListen::Tcp(address) => tcp::listen(*address, &SockOpt::default()),
        ApiListen::Unix(path) => tcp::listen_unix(path),
        ApiListen::Abstract(name) => tcp::listen_abstract(name),
    };
    listener.map_err(|e| {
        let text = format!("cannot listen on {place}: {}", system_words(&e));
        io::Error::new(e.kind(), text)
    })
}

/// One bound socket; clones are the same.
#[derive(Clone)]
pub(super) struct BoundSocket {
    place: Place,
    /// The options that it has.
    sockopt: SockOpt,
    pub(super) socket: Socket,
}

#[derive(Clone)]
pub(super) enum Socket {
    Streams(Arc<tcp::Listener>),
    Datagrams(Arc<UdpSocket>),
}

/// What a socket was asked for, as a config has it: port 0 is any.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    Tcp(SocketAddr),
    Udp(SocketAddr),
    Unix(PathBuf),
    Abstract(Vec<u8>),
    Published(Arc<str>),
}

/// Sockets that are there already, for those who would bind the same.
#[derive(Default)]
pub(super) struct Spare(pub(super) Vec<BoundSocket>);

impl Spare {
    fn take(&mut self, place: &Place, sockopt: &SockOpt) -> Option<BoundSocket> {
        let same = |spare: &BoundSocket| spare.place == *place && spare.sockopt == *sockopt;
        let index = self.0.iter().position(same)?;
        Some(self.0.remove(index))
    }

    /// The socket of this place, which is bound where there is none. What is spare will go, and keeps nobody from a place
    /// of which it has a part, or all with other options.
    fn or_bind(
        &mut self,
        place: Place,
        sockopt: &SockOpt,
        bind: impl Fn(Bind) -> io::Result<Socket>,
    ) -> io::Result<BoundSocket> {
        if let Some(spare) = self.take(&place, sockopt) {
            return Ok(spare);
        }
        let socket = match bind(Bind::Alone) {
            Err(e) if e.kind() == io::ErrorKind::AddrInUse && !self.0.is_empty() => {
                self.share(true);
                let bound = bind(Bind::Beside);
                self.share(false);
                bound
            }
            bound => bound,
        };
        Ok(BoundSocket {
            place,
            sockopt: sockopt.clone(),
            socket: socket?,
        })
    }

    fn share(&self, shares: bool) {
        for spare in &self.0 {
            // Where it cannot, the place stays taken.
            let _ = match &spare.socket {
                Socket::Streams(listener) => match &**listener {
                    tcp::Listener::Tcp(listener, ..) => tcp::share_place(&**listener, shares),
                    tcp::Listener::Unix(..) | tcp::Listener::Handed(..) => Ok(()),
                },
                Socket::Datagrams(socket) => tcp::share_place(&**socket, shares),
            };
        }
    }
}

impl Socket {
    fn streams(listener: io::Result<tcp::Listener>) -> io::Result<Self> {
        Ok(Self::Streams(Arc::new(listener?)))
    }
}

impl BoundSocket {
    /// The address, where the place has one.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        match &self.socket {
            Socket::Streams(listener) => listener.local_addr(),
            Socket::Datagrams(socket) => socket.local_addr().ok(),
        }
    }

    pub(super) fn is_datagrams(&self) -> bool {
        matches!(self.socket, Socket::Datagrams(_))
    }
}

/// Every address of an inbound, as its config has it.
pub(super) fn wanted(inbound: &Inbound) -> impl Iterator<Item = SocketAddr> {
    let ip = match &inbound.listen {
        Listen::Ip(ip) => Some(*ip),
        Listen::Unix(_) | Listen::Abstract(_) | Listen::Published => None,
    };
    let ports = inbound.ports.iter().flat_map(|range| range.iter());
    ports.filter_map(move |port| Some(SocketAddr::new(ip?, port)))
}

/// All that an inbound listens on, for people: `127.0.0.1:1080 (tcp and udp)`.
pub(super) fn shown(inbound: &Inbound, places: &[BoundSocket]) -> String {
    let ip = match &inbound.listen {
        Listen::Ip(ip) => *ip,
        Listen::Unix(path) => return path.display().to_string(),
        Listen::Abstract(name) => return format!("@{}", String::from_utf8_lossy(name)),
        Listen::Published => return "a published port".to_owned(),
    };
    let ports = places.iter().filter_map(BoundSocket::address);
    let mut ports: Vec<u16> = ports.map(|at| at.port()).collect();
    ports.sort_unstable();
    ports.dedup();
    let runs: Vec<&[u16]> = ports.chunk_by(|a, b| a + 1 == *b).collect();
    let mut shown: Vec<String> = runs
        .iter()
        .take(SHOWN)
        .filter_map(|run| {
            let first = SocketAddr::new(ip, *run.first()?);
            Some(match run.last()? {
                last if run.len() > 1 => format!("{first}-{last}"),
                _ => first.to_string(),
            })
        })
        .collect();
    if let Some(more) = runs.len().checked_sub(SHOWN).filter(|more| *more > 0) {
        shown.push(format!("{more} more"));
    }
    let networks = match (inbound.traits.streams, inbound.traits.datagrams) {
        (true, true) => " (tcp and udp)",
        (false, true) => " (udp)",
        _ => "",
    };
    format!("{}{networks}", shown.join(", "))
}

/// Ranges of ports that are named.
const SHOWN: usize = 8;

/// Binds every port, or the unix socket, of an inbound; what is in `spare` is bound already.
pub(super) fn bind_all(
    inbound: &Inbound,
    spare: &mut Spare,
) -> Result<Vec<BoundSocket>, StartError> {
    let sockopt = &inbound.transport.sockopt;
    let fail = |place: &dyn fmt::Display, e: io::Error| StartError::Listen {
        inbound: inbound.name().to_string(),
        place: place.to_string(),
        source: e,
    };
    let ip = match &inbound.listen {
        Listen::Ip(ip) => *ip,
        Listen::Unix(path) => {
            let bind = |_| Socket::streams(tcp::listen_unix(path));
            let bound = spare.or_bind(Place::Unix(path.clone()), sockopt, bind);
            return Ok(vec![bound.map_err(|e| fail(&path.display(), e))?]);
        }
        Listen::Abstract(name) => {
            let shown = format!("@{}", String::from_utf8_lossy(name));
            let bind = |_| Socket::streams(tcp::listen_abstract(name));
            let bound = spare.or_bind(Place::Abstract(name.clone()), sockopt, bind);
            return Ok(vec![bound.map_err(|e| fail(&shown, e))?]);
        }
        Listen::Published => {
            let tag = inbound.tag.clone().unwrap_or_default();
            let bind = |_| Socket::streams(Ok(tcp::Listener::handed()));
            let bound = spare.or_bind(Place::Published(tag.clone()), sockopt, bind);
            return Ok(vec![bound.map_err(|e| fail(&tag, e))?]);
        }
    };
    let mut places = Vec::new();
    for port in inbound.ports.iter().flat_map(|range| range.iter()) {
        let wanted = SocketAddr::new(ip, port);
        let mut address = wanted;
        if inbound.traits.streams {
            let bind = |how| Socket::streams(tcp::listen_as(wanted, sockopt, how));
            let bound = spare.or_bind(Place::Tcp(wanted), sockopt, bind);
            let bound = bound.map_err(|e| fail(&wanted, e))?;
            // With port 0 the system has chosen one; the datagrams get the same.
            address = bound.address().unwrap_or(address);
            places.push(bound);
        }
        if inbound.traits.datagrams {
            let bind = |how| {
                // With port 0 it is that of the streams.
                let socket = tcp::udp_listen_as(address, sockopt, how)?;
                Ok(Socket::Datagrams(socket))
            };
            let bound = spare.or_bind(Place::Udp(wanted), sockopt, bind);
            places.push(bound.map_err(|e| fail(&address, e))?);
        }
    }
    Ok(places)
}
