//! UDP straight to the targets: one socket per address family, open to answers from anyone.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use tokio::io::ReadBuf;
use tracing::trace;

use super::names::Names;
use super::rules::Gate;
use crate::dns;
use crate::io::{BindUdp, Packet, Packets, Udp, scratch};

/// The sockets of one association. Answers come from whom was asked: from a name, where that was asked for.
pub(super) struct Sockets {
    bind: BindUdp,
    gate: Option<Gate>,
    v4: Option<Udp>,
    v6: Option<Udp>,
    /// Whose turn it is to be read first.
    v6_first: bool,
    names: Names,
    /// Who waits for a datagram while there is no socket to wait on.
    reader: Option<Waker>,
}

impl Sockets {
    /// Where `local` is given, it is the address that the sockets have.
    pub(super) fn new(
        bind: BindUdp,
        local: Option<IpAddr>,
        lookup: dns::Lookup,
        gate: Option<Gate>,
    ) -> Self {
        Self {
            bind,
            gate,
            v4: None,
            v6: None,
            v6_first: false,
            names: Names::new(lookup, local),
            reader: None,
        }
    }

    fn socket(&mut self, peer: SocketAddr) -> io::Result<&Udp> {
        let slot = if peer.is_ipv4() {
            &mut self.v4
        } else {
            &mut self.v6
        };
        match slot {
            Some(socket) => Ok(socket),
            empty => {
                let socket = (self.bind)(peer)?;
                if let Some(reader) = self.reader.take() {
                    reader.wake();
                }
                Ok(empty.insert(socket))
            }
        }
    }
}

impl Packets for Sockets {
    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Packet>>> {
        self.v6_first = !self.v6_first;
        let order = match self.v6_first {
            true => [&self.v6, &self.v4],
            false => [&self.v4, &self.v6],
        };
        for socket in order.into_iter().flatten() {
            if let Poll::Ready(packet) = poll_recv_from(socket, self.gate.as_ref(), cx) {
                let (peer, data) = packet?;
                let peer = self.names.as_asked(peer);
                return Poll::Ready(Ok(Some(Packet { peer, data })));
            }
        }
        if self.v4.is_none() || self.v6.is_none() {
            self.reader = Some(cx.waker().clone());
        }
        Poll::Pending
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, packet: &Packet) -> Poll<io::Result<()>> {
        let Some(peer) = ready!(self.names.poll_resolve(&packet.peer, cx)) else {
            return Poll::Ready(Ok(()));
        };
        if self.gate.as_ref().is_some_and(|gate| !gate.lets(peer)) {
            return Poll::Ready(Ok(()));
        }
        let socket = match self.socket(peer) {
            Ok(socket) => socket,
            Err(e) => {
                trace!(%peer, error = %e, "no socket for a datagram");
                return Poll::Ready(Ok(()));
            }
        };
        if let Err(e) = ready!(socket.poll_send_to(cx, &packet.data, peer)) {
            trace!(%peer, error = %e, "datagram not sent");
        }
        Poll::Ready(Ok(()))
    }
}

fn poll_recv_from(
    socket: &Udp,
    gate: Option<&Gate>,
    cx: &mut Context<'_>,
) -> Poll<io::Result<(SocketAddr, Bytes)>> {
    let mut scratch = scratch::take();
    loop {
        let mut buf = ReadBuf::new(&mut scratch);
        match ready!(socket.poll_recv_from(cx, &mut buf)) {
            // As Xray: nor is anything heard from there.
            Ok(peer) if gate.is_some_and(|gate| !gate.lets(peer)) => {}
            Ok(peer) => {
                return Poll::Ready(Ok((peer, Bytes::copy_from_slice(buf.filled()))));
            }
            // An earlier datagram was refused by its peer: not the end of the others.
            Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => {}
            Err(e) => return Poll::Ready(Err(e)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::{Destination, Host};
    use std::future::poll_fn;
    use std::sync::Arc;
    use tokio::net::UdpSocket;

    #[tokio::test]
    async fn datagrams_go_to_many_peers_of_both_families_and_answers_come_back() {
        let mut sockets = open();
        for bind in ["127.0.0.1:0", "[::1]:0"] {
            let peer = UdpSocket::bind(bind).await.unwrap();
            let at: Destination = peer.local_addr().unwrap().into();
            send(&mut sockets, &at, b"ping").await;
            let mut buf = [0; 16];
            let (n, from) = peer.recv_from(&mut buf).await.unwrap();
            assert_eq!(&buf[..n], b"ping");
            peer.send_to(b"pong", from).await.unwrap();
            let packet = poll_fn(|cx| sockets.poll_recv(cx)).await.unwrap().unwrap();
            assert_eq!((packet.peer, &packet.data[..]), (at, &b"pong"[..]));

            let stranger = UdpSocket::bind(bind).await.unwrap();
            stranger.send_to(b"hello", from).await.unwrap();
            let packet = poll_fn(|cx| sockets.poll_recv(cx)).await.unwrap().unwrap();
            assert_eq!(packet.peer, stranger.local_addr().unwrap().into());
        }
    }

    #[tokio::test]
    async fn a_reader_that_came_first_is_woken_by_the_first_socket() {
        let mut sockets = open();
        let peer = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let at: Destination = peer.local_addr().unwrap().into();
        let mut name = at.clone();
        name.host = Host::Domain("localhost".to_owned());
        // The test sits on 127.0.0.1 alone, while `localhost` may be `::1` as well.
        let ipv4 = dns::Lookup::new(&Arc::default(), dns::Strategy::UseIpv4);
        sockets.names = Names::new(ipv4, None);
        poll_fn(|cx| {
            assert!(sockets.poll_recv(cx).is_pending());
            Poll::Ready(())
        })
        .await;
        send(&mut sockets, &name, b"x").await;
        assert!(sockets.reader.is_none());
        assert!(sockets.names.know(&name));
        let (_, from) = peer.recv_from(&mut [0; 1]).await.unwrap();
        peer.send_to(b"y", from).await.unwrap();
        let packet = poll_fn(|cx| sockets.poll_recv(cx)).await.unwrap().unwrap();
        assert_eq!(packet.peer, name, "as it was asked");
        // Who asks the address itself hears that one.
        send(&mut sockets, &at, b"x").await;
        let (_, from) = peer.recv_from(&mut [0; 1]).await.unwrap();
        peer.send_to(b"z", from).await.unwrap();
        let packet = poll_fn(|cx| sockets.poll_recv(cx)).await.unwrap().unwrap();
        assert_eq!(packet.peer, at);
    }

    #[tokio::test]
    async fn losses_do_not_end_the_association() {
        let peer = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let mut sockets = open();
        let to: Destination = peer.local_addr().unwrap().into();
        send(&mut sockets, &to, &[0; 65535]).await;
        send(
            &mut sockets,
            &"no-such-name.invalid:1".parse().unwrap(),
            b"x",
        )
        .await;
        send(&mut sockets, &to, b"x").await;
        assert_eq!(peer.recv_from(&mut [0; 4]).await.unwrap().0, 1);
    }

    fn open() -> Sockets {
        let bind: BindUdp = Arc::new(|peer: SocketAddr| {
            let any = if peer.is_ipv4() {
                "0.0.0.0:0"
            } else {
                "[::]:0"
            };
            let socket = std::net::UdpSocket::bind(any)?;
            socket.set_nonblocking(true)?;
            UdpSocket::from_std(socket).map(Udp::from)
        });
        Sockets::new(bind, None, dns::Lookup::System, None)
    }

    async fn send(sockets: &mut Sockets, peer: &Destination, data: &[u8]) {
        let packet = Packet {
            peer: peer.clone(),
            data: Bytes::copy_from_slice(data),
        };
        poll_fn(|cx| sockets.poll_send(cx, &packet)).await.unwrap();
    }
}
