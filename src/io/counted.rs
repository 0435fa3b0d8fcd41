//! Links and sockets whose bytes are counted as they pass.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UdpSocket;

use super::{Io, Link, Packet, Packets, forward};
use crate::stats::Meter;

/// A link, or a source of datagrams, with its counters.
pub struct Counted<S> {
    inner: S,
    meter: Meter,
}

impl Counted<Link> {
    /// The link as it is when nothing is counted.
    pub fn link(inner: Link, meter: Meter) -> Link {
        if meter.is_off() {
            inner
        } else {
            Link::other(Self { inner, meter })
        }
    }
}

impl Counted<Box<dyn Packets>> {
    /// As [`Counted::link`]; the payloads alone are counted.
    pub fn packets(inner: Box<dyn Packets>, meter: Meter) -> Box<dyn Packets> {
        if meter.is_off() {
            inner
        } else {
            Box::new(Self { inner, meter })
        }
    }
}

impl AsyncRead for Counted<Link> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(cx, buf))?;
        self.meter.add_read(buf.filled().len() - before);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Counted<Link> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let n = ready!(Pin::new(&mut self.inner).poll_write(cx, buf))?;
        self.meter.add_written(n);
        Poll::Ready(Ok(n))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let n = ready!(Pin::new(&mut self.inner).poll_write_vectored(cx, bufs))?;
        self.meter.add_written(n);
        Poll::Ready(Ok(n))
    }

    forward!(inner: is_write_vectored poll_flush poll_shutdown);
}

impl Io for Counted<Link> {
    forward!(inner: poll_close poll_end end_cuts_off say_end holds_up_others half_closes is_left_to_peer cork set_close_reason goodbye tcp socket presence set_low_water poll_gone bound_unsent);
    forward!(inner: source sink poll_announce);

    fn took(&mut self, bytes: usize) {
        self.meter.add_read(bytes);
        self.inner.took(bytes);
    }

    fn gave(&mut self, bytes: usize) {
        self.meter.add_written(bytes);
        self.inner.gave(bytes);
    }

    fn poll_write_in_place(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let n = ready!(Pin::new(&mut self.inner).poll_write_in_place(cx, buf))?;
        self.meter.add_written(n);
        Poll::Ready(Ok(n))
    }
}

impl Packets for Counted<Box<dyn Packets>> {
    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Packet>>> {
        let packet = ready!(self.inner.poll_recv(cx))?;
        if let Some(packet) = &packet {
            self.meter.add_read(packet.data.len());
        }
        Poll::Ready(Ok(packet))
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, packet: &Packet) -> Poll<io::Result<()>> {
        ready!(self.inner.poll_send(cx, packet))?;
        self.meter.add_written(packet.data.len());
        Poll::Ready(Ok(()))
    }

    fn give_up(&mut self) {
        self.inner.give_up();
    }

    fn descriptors(&self) -> usize {
        self.inner.descriptors()
    }

    fn is_connectionless(&self) -> bool {
        self.inner.is_connectionless()
    }
}

/// A UDP socket with its counters.
pub struct Udp {
    socket: UdpSocket,
    meter: Meter,
}

impl Udp {
    pub fn new(socket: UdpSocket, meter: Meter) -> Self {
        Self { socket, meter }
    }

    /// The bare socket.
    pub fn into_inner(self) -> UdpSocket {
        self.socket
    }

    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    pub fn poll_recv_from(
        &self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<SocketAddr>> {
        let before = buf.filled().len();
        let from = ready!(self.socket.poll_recv_from(cx, buf))?;
        self.meter.add_read(buf.filled().len() - before);
        Poll::Ready(Ok(from))
    }

    pub fn poll_send_to(
        &self,
        cx: &mut Context<'_>,
        buf: &[u8],
        to: SocketAddr,
    ) -> Poll<io::Result<usize>> {
        let n = ready!(self.socket.poll_send_to(cx, buf, to))?;
        self.meter.add_written(n);
        Poll::Ready(Ok(n))
    }
}

impl From<UdpSocket> for Udp {
    /// Nothing is counted.
    fn from(socket: UdpSocket) -> Self {
        Self::new(socket, Meter::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::{Counter, Traffic};
    use std::sync::Arc;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
    use tokio::net::TcpStream;

    #[tokio::test]
    async fn both_directions_are_counted_while_they_pass() {
        let traffic = Traffic {
            uplink: Some(Arc::default()),
            downlink: Some(Arc::default()),
        };
        let counts = |traffic: &Traffic| {
            let get = |counter: &Option<Arc<Counter>>| counter.as_ref().unwrap().get();
            (get(&traffic.uplink), get(&traffic.downlink))
        };
        let (mut peer, near) = duplex(64);
        let mut link = Counted::link(Link::other(near), traffic.clone().of_inbound());
        peer.write_all(b"question").await.unwrap();
        link.read_exact(&mut [0; 5]).await.unwrap();
        assert_eq!(counts(&traffic), (5, 0));
        link.write_all(b"ok").await.unwrap();
        assert_eq!(counts(&traffic), (5, 2));
        let (_peer, near) = duplex(64);
        let mut link = Counted::link(Link::other(near), traffic.clone().of_outbound());
        link.write_all(b"up").await.unwrap();
        assert_eq!(counts(&traffic), (7, 2));
    }

    #[tokio::test]
    async fn who_is_not_counted_keeps_a_bare_link() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let stream = TcpStream::connect(at).await.unwrap();
        let link = Counted::link(Link::Tcp(stream), Meter::default());
        assert!(matches!(link, Link::Tcp(_)));
    }
}
