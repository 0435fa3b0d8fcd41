//! packetaddr: datagrams for many places inside one UDP session to a name that stands for none.
//!
//! ```text
//! | type 1 | 0x01: 4 | 0x02: 16 | port 2 | datagram |
//! ```
//! There are no names in it. The session itself goes to `sp.packet-addr.v2fly.arpa`.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::task::{Context, Poll, ready};

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::address::{Destination, Host};
use crate::io::{Packet, Packets};

const NAME: &str = "sp.packet-addr.v2fly.arpa";

/// The most that an address takes.
const MAX_ADDRESS: usize = 1 + 16 + 2;

/// Datagrams of a session to `to`: out of their wrapping, if `to` says that they are wrapped.
pub fn unwrap(packets: Box<dyn Packets>, to: Destination) -> Box<dyn Packets> {
    if is_meant(&to) {
        Box::new(PacketAddr::new(packets, to))
    } else {
        packets
    }
}

/// Whether datagrams to `to` carry addresses of their own.
fn is_meant(to: &Destination) -> bool {
    matches!(&to.host, Host::Domain(name) if name.eq_ignore_ascii_case(NAME))
}

/// The destination of such a session.
pub fn destination() -> Destination {
    Destination::new(Host::Domain(NAME.to_owned()), 0)
}

/// Takes the address off the front of a datagram; `None` when there is none.
pub fn decode(mut data: Bytes) -> Option<Packet> {
    let (ip, len): (IpAddr, _) = match data.split_first()? {
        (0x01, rest) => (Ipv4Addr::from(*rest.first_chunk::<4>()?).into(), 1 + 4),
        (0x02, rest) => (Ipv6Addr::from(*rest.first_chunk::<16>()?).into(), 1 + 16),
        _ => return None,
    };
    let port = u16::from_be_bytes(*data[len..].first_chunk()?);
    data.advance(len + 2);
    Some(Packet {
        peer: Destination::new(Host::Ip(ip.to_canonical()), port),
        data,
    })
}

/// Puts the address in front of a datagram; a name cannot be written.
pub fn encode(packet: &Packet) -> Option<Bytes> {
    let mut out = BytesMut::with_capacity(MAX_ADDRESS + packet.data.len());
    match packet.peer.host {
        Host::Ip(IpAddr::V4(ip)) => {
            out.put_u8(0x01);
            out.put_slice(&ip.octets());
        }
        Host::Ip(IpAddr::V6(ip)) => {
            out.put_u8(0x02);
            out.put_slice(&ip.octets());
        }
        Host::Domain(_) => return None,
    }
    out.put_u16(packet.peer.port);
    out.put_slice(&packet.data);
    Some(out.freeze())
}

/// Datagrams with their addresses inside; `inner` carries them to and from one place.
pub struct PacketAddr {
    inner: Box<dyn Packets>,
    /// The name that `inner` goes to.
    carrier: Destination,
}

impl PacketAddr {
    pub fn new(inner: Box<dyn Packets>, carrier: Destination) -> Self {
        Self { inner, carrier }
    }
}

impl Packets for PacketAddr {
    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Packet>>> {
        loop {
            let Some(packet) = ready!(self.inner.poll_recv(cx))? else {
                return Poll::Ready(Ok(None));
            };
            if let Some(packet) = decode(packet.data) {
                return Poll::Ready(Ok(Some(packet)));
            }
        }
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, packet: &Packet) -> Poll<io::Result<()>> {
        let Some(data) = encode(packet) else {
            return Poll::Ready(Ok(()));
        };
        let peer = self.carrier.clone();
        self.inner.poll_send(cx, &Packet { peer, data })
    }

    fn give_up(&mut self) {
        self.inner.give_up();
    }

    fn descriptors(&self) -> usize {
        self.inner.descriptors()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hex_literal::hex;

    #[test]
    fn datagrams_written_by_v2ray() {
        let cases: [(&[u8], &str); 2] = [
            (&hex!("01 01010101 0035 71"), "1.1.1.1:53"),
            (
                &hex!("02 00000000000000000000000000000001 0035 71"),
                "[::1]:53",
            ),
        ];
        for (wire, peer) in cases {
            let packet = decode(Bytes::copy_from_slice(wire)).unwrap();
            assert_eq!(packet.peer, peer.parse().unwrap());
            assert_eq!(&packet.data[..], b"q");
            assert_eq!(encode(&packet).unwrap(), wire);
            for n in 0..wire.len() - 1 {
                assert_eq!(decode(Bytes::copy_from_slice(&wire[..n])), None);
            }
        }
    }

    #[test]
    fn a_name_has_no_form() {
        let peer = "example.com:53".parse().unwrap();
        let data = Bytes::from_static(b"q");
        assert_eq!(encode(&Packet { peer, data }), None);
        assert_eq!(decode(Bytes::from_static(&[3, 1, b'a', 0, 53])), None);
    }
}
