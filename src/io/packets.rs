//! Datagrams in both directions.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;

use super::Udp;
use crate::address::Destination;

/// One datagram. Towards the network `peer` is where it goes, back from there where it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    pub peer: Destination,
    pub data: Bytes,
}

/// A source and sink of datagrams: a SOCKS association, a VMess UDP request, a UDP socket.
pub trait Packets: Send {
    /// The next datagram; `None` when there will be no more. A bad datagram is skipped, not an error.
    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Packet>>>;

    /// Takes one datagram when ready. UDP may lose it, so what cannot be sent for a passing reason
    /// (too large, unreachable) is dropped in silence; an error means the whole association is over.
    fn poll_send(&mut self, cx: &mut Context<'_>, packet: &Packet) -> Poll<io::Result<()>>;

    /// Nothing comes back any more, so another association takes this one's place. What carries both must
    /// not be the same.
    fn give_up(&mut self) {}

    /// The descriptors of the process that are kept open for it alone.
    fn descriptors(&self) -> usize {
        0
    }

    /// Whether an end goes unnoticed by the peer: its next datagram is taken as the first of another
    /// association.
    fn is_connectionless(&self) -> bool {
        false
    }
}

/// Makes a UDP socket for datagrams to the given address, with the socket options and the local
/// address of an outbound.
pub type BindUdp = Arc<dyn Fn(SocketAddr) -> io::Result<Udp> + Send + Sync>;
