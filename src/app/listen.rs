//! Binding what an inbound asks for.

use std::fmt;
use std::io;
use std::net::SocketAddr;

use tokio::net::UdpSocket;

use super::{Inbound, StartError};
use crate::config::Listen;
use crate::transport::tcp;

/// One bound socket.
pub(super) enum BoundSocket {
    Streams(tcp::Listener),
    Datagrams(UdpSocket),
}

impl BoundSocket {
    /// The address, where the place has one.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Streams(listener) => listener.local_addr(),
            Self::Datagrams(socket) => socket.local_addr().ok(),
        }
    }
}

/// Every address of an inbound, as its config has it.
pub(super) fn wanted(inbound: &Inbound) -> impl Iterator<Item = SocketAddr> {
    let ip = match &inbound.listen {
        Listen::Ip(ip) => Some(*ip),
        Listen::Unix(_) | Listen::Abstract(_) => None,
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

/// Binds every port, or the unix socket, of an inbound.
pub(super) fn bind_all(inbound: &Inbound) -> Result<Vec<BoundSocket>, StartError> {
    let sockopt = &inbound.transport.sockopt;
    let fail = |place: &dyn fmt::Display, e: io::Error| StartError::Listen {
        inbound: inbound.name.to_string(),
        place: place.to_string(),
        source: e,
    };
    let ip = match &inbound.listen {
        Listen::Ip(ip) => *ip,
        Listen::Unix(path) => {
            let listener = tcp::listen_unix(path).map_err(|e| fail(&path.display(), e))?;
            return Ok(vec![BoundSocket::Streams(listener)]);
        }
        Listen::Abstract(name) => {
            let shown = format!("@{}", String::from_utf8_lossy(name));
            let listener = tcp::listen_abstract(name).map_err(|e| fail(&shown, e))?;
            return Ok(vec![BoundSocket::Streams(listener)]);
        }
    };
    let mut places = Vec::new();
    for port in inbound.ports.iter().flat_map(|range| range.iter()) {
        let mut address = SocketAddr::new(ip, port);
        if inbound.traits.streams {
            let listener = tcp::listen(address, sockopt).map_err(|e| fail(&address, e))?;
            // With port 0 the system has chosen one; the datagrams get the same.
            address = listener.local_addr().unwrap_or(address);
            places.push(BoundSocket::Streams(listener));
        }
        if inbound.traits.datagrams {
            let socket = tcp::udp_listen(address, sockopt).map_err(|e| fail(&address, e))?;
            places.push(BoundSocket::Datagrams(socket));
        }
    }
    Ok(places)
}
