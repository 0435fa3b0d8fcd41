//! Datagrams that another outbound sends on, to addresses: where `domainStrategy` says how names become some, or `finalRules` to whom
//! they may go.

use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll, ready};

use super::names::Names;
use super::rules::Gate;
use crate::address::{Destination, Host};
use crate::dns::Lookup;
use crate::io::{Packet, Packets};

/// Each datagram goes to the address of its name, not to the name: that may have another one elsewhere.
pub(super) struct Addressed {
    inner: Box<dyn Packets>,
    names: Names,
    gate: Option<Gate>,
}

impl Addressed {
    pub(super) fn new(inner: Box<dyn Packets>, lookup: Lookup, gate: Option<Gate>) -> Self {
        Self {
            inner,
            names: Names::new(lookup, None),
            gate,
        }
    }

    fn lets(&self, at: SocketAddr) -> bool {
        self.gate.as_ref().is_none_or(|gate| gate.lets(at))
    }
}

impl Packets for Addressed {
    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Packet>>> {
        loop {
            let mut received = ready!(self.inner.poll_recv(cx));
            if let Ok(Some(packet)) = &mut received
                && let Some(at) = address(&packet.peer)
            {
                if !self.lets(at) {
                    continue;
                }
                packet.peer = self.names.as_asked(at);
            }
            return Poll::Ready(received);
        }
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, packet: &Packet) -> Poll<io::Result<()>> {
        let at = ready!(self.names.poll_resolve(&packet.peer, cx));
        let Some(at) = at.filter(|at| self.lets(*at)) else {
            return Poll::Ready(Ok(()));
        };
        let packet = Packet {
            peer: at.into(),
            data: packet.data.clone(),
        };
        self.inner.poll_send(cx, &packet)
    }
}

fn address(peer: &Destination) -> Option<SocketAddr> {
    match peer.host {
        Host::Ip(ip) => Some(SocketAddr::new(ip, peer.port)),
        Host::Domain(_) => None,
    }
}
