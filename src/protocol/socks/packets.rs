//! A UDP association with a socket of its own, seen from either end: datagrams with a SOCKS header, alive as long as
//! the connection that asked for it.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use tokio::io::{AsyncRead, ReadBuf};
use tracing::trace;

use super::codec::{decode_datagram, encode_datagram};
use crate::io::{Link, Packet, Packets, Udp, scratch};

pub(super) struct Association {
    socket: Udp,
    /// An IPv6 socket wants IPv4 addresses mapped.
    v6: bool,
    control: Link,
    remote: Remote,
    /// A datagram with its header, while it is written.
    out: BytesMut,
}

/// Who is at the other end; datagrams from anyone else are dropped.
#[derive(Clone, Copy)]
pub(super) enum Remote {
    At(SocketAddr),
    /// A client says its port with the first datagram.
    FirstFrom(IpAddr),
}

impl Association {
    pub(super) fn new(socket: Udp, control: Link, remote: Remote) -> Self {
        Self {
            v6: socket.local_addr().is_ok_and(|addr| addr.is_ipv6()),
            socket,
            control,
            remote,
            out: BytesMut::new(),
        }
    }

    fn is_remote(&mut self, from: SocketAddr) -> bool {
        let from = SocketAddr::new(from.ip().to_canonical(), from.port());
        match self.remote {
            Remote::At(addr) => addr == from,
            Remote::FirstFrom(ip) if ip == from.ip() => {
                self.remote = Remote::At(from);
                true
            }
            Remote::FirstFrom(_) => false,
        }
    }
}

impl Packets for Association {
    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Packet>>> {
        if poll_end(&mut self.control, cx).is_ready() {
            return Poll::Ready(Ok(None));
        }
        let mut scratch = scratch::take();
        loop {
            let mut buf = ReadBuf::new(&mut scratch);
            match ready!(self.socket.poll_recv_from(cx, &mut buf)) {
                Ok(from) if !self.is_remote(from) => {
                    trace!(%from, "datagram of a stranger to this association");
                }
                Ok(_) => {
                    if let Some((peer, data)) = decode_datagram(BytesMut::from(buf.filled())) {
                        return Poll::Ready(Ok(Some(Packet { peer, data })));
                    }
                }
                // An earlier datagram was refused: its receiver may not be there yet.
                Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => {}
                Err(e) => return Poll::Ready(Err(e)),
            }
        }
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, packet: &Packet) -> Poll<io::Result<()>> {
        let Remote::At(to) = self.remote else {
            return Poll::Ready(Ok(()));
        };
        self.out.clear();
        if encode_datagram(&packet.peer, &packet.data, &mut self.out).is_err() {
            return Poll::Ready(Ok(()));
        }
        let to = match self.v6 {
            true => SocketAddr::new(mapped(to.ip()), to.port()),
            false => to,
        };
        if let Err(e) = ready!(self.socket.poll_send_to(cx, &self.out, to)) {
            trace!(%to, error = %e, "datagram not sent");
        }
        Poll::Ready(Ok(()))
    }

    /// The socket, and the connection that it lives as long as.
    fn descriptors(&self) -> usize {
        2
    }
}

/// Ready when the other end of an association's connection hung up. What it says there has no meaning.
pub(super) fn poll_end(control: &mut Link, cx: &mut Context<'_>) -> Poll<()> {
    let mut bytes = [0; 256];
    loop {
        let mut buf = ReadBuf::new(&mut bytes);
        match ready!(Pin::new(&mut *control).poll_read(cx, &mut buf)) {
            Ok(()) if !buf.filled().is_empty() => {}
            Ok(()) | Err(_) => return Poll::Ready(()),
        }
    }
}

/// How an IPv6 socket names an address.
fn mapped(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().into(),
        v6 => v6,
    }
}
