//! Datagrams to one server.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::task::{Context, Poll, ready};

use tracing::trace;

use crate::address::{Destination, Host};
use crate::io::{Packet, Packets};

/// Datagrams to one address, whatever name they give it.
pub(super) struct SingleServer {
    pub(super) inner: Box<dyn Packets>,
    pub(super) to: Destination,
    /// What others send is dropped: whoever finds the port must not answer in the server's place.
    pub(super) from: Option<Destination>,
}

/// Whether answers come from where questions go.
pub(super) fn is_one_server(to: &Destination) -> bool {
    match to.host {
        Host::Ip(ip) => {
            let is_broadcast = ip == IpAddr::V4(Ipv4Addr::BROADCAST);
            !ip.is_unspecified() && !ip.is_multicast() && !is_broadcast
        }
        Host::Domain(_) => false,
    }
}

impl Packets for SingleServer {
    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Packet>>> {
        loop {
            let received = ready!(self.inner.poll_recv(cx));
            match (&received, &self.from) {
                (Ok(Some(packet)), Some(from)) if !is_same(&packet.peer, from) => {
                    trace!(peer = %packet.peer, server = %from, "dropped: not from the server");
                }
                _ => return Poll::Ready(received),
            }
        }
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, packet: &Packet) -> Poll<io::Result<()>> {
        let packet = Packet {
            peer: self.to.clone(),
            data: packet.data.clone(),
        };
        self.inner.poll_send(cx, &packet)
    }
}

fn is_same(one: &Destination, other: &Destination) -> bool {
    let ip = |to: &Destination| match &to.host {
        Host::Ip(ip) => Some(ip.to_canonical()),
        Host::Domain(_) => None,
    };
    one.port == other.port && ip(one) == ip(other)
}
