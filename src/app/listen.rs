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

/// Binds every port, or the unix socket, of an inbound.
pub(super) fn bind_all(inbound: &Inbound) -> Result<Vec<BoundSocket>, StartError> {
    let sockopt = &inbound.transport.sockopt;
    let fail = |place: &dyn fmt::Display, e: io::Error| StartError::Listen {
        inbound: inbound.name.clone(),
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
