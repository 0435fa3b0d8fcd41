//! packetaddr's form for streams: the same datagrams in a TCP session, each behind its length.
//!
//! ```text
//! | length 2 | type 1 | address 4 or 16 | port 2 | datagram | length 2 | …
//! ```
//! The session goes to `st.packet-addr.v2fly.arpa`. It carries long datagrams whole, where a session
//! for datagrams has only as much room as a buffer of V2Ray's.

use bytes::{Buf, BufMut, BytesMut};
use thiserror::Error;

use super::packet_addr;
use crate::address::{Destination, Host};
use crate::io::{Link, Packet, PacketForm, PacketStream, Packets};

const NAME: &str = "st.packet-addr.v2fly.arpa";

/// The most that a decoder asks for before it gives a datagram.
pub const MAX_SEGMENT: usize = 2 + u16::MAX as usize;

#[derive(Debug, Error, PartialEq, Eq)]
#[error("packetaddr: {0} bytes are no datagram with an address")]
pub struct SegmentError(usize);

/// Whether a stream to `to` is one of datagrams.
pub fn is_meant(to: &Destination) -> bool {
    matches!(&to.host, Host::Domain(name) if name.eq_ignore_ascii_case(NAME))
}

/// The destination of such a stream.
pub fn destination() -> Destination {
    Destination::new(Host::Domain(NAME.to_owned()), 0)
}

/// Takes one datagram off the front of `buf`.
pub fn decode(buf: &mut BytesMut) -> Result<Option<Packet>, SegmentError> {
    let Some(len) = buf.first_chunk() else {
        return Ok(None);
    };
    let len = usize::from(u16::from_be_bytes(*len));
    if len == 0 {
        return Err(SegmentError(0));
    }
    if buf.len() < 2 + len {
        return Ok(None);
    }
    buf.advance(2);
    let segment = buf.split_to(len).freeze();
    packet_addr::decode(segment)
        .map(Some)
        .ok_or(SegmentError(len))
}

/// Appends one datagram; nothing when it is too long, or for a name.
pub fn encode(packet: &Packet, out: &mut BytesMut) {
    let Some(segment) = packet_addr::encode(packet) else {
        return;
    };
    if let Ok(len) = u16::try_from(segment.len()) {
        out.put_u16(len);
        out.put_slice(&segment);
    }
}

/// The datagrams of such a stream.
pub fn packets(link: Link) -> Box<dyn Packets> {
    Box::new(PacketStream::new(link, Segments))
}

struct Segments;

impl PacketForm for Segments {
    type Error = SegmentError;

    fn decode(&mut self, buf: &mut BytesMut) -> Result<Option<Packet>, SegmentError> {
        decode(buf)
    }

    fn encode(&mut self, packet: &Packet, out: &mut BytesMut) {
        encode(packet, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_decodes, packet_stream};
    use bytes::Bytes;
    use hex_literal::hex;

    #[test]
    fn datagrams_as_v2ray_writes_them() {
        let cases: [(&[u8], &str); 2] = [
            (&hex!("0008 01 01010101 0035 71"), "1.1.1.1:53"),
            (
                &hex!("0014 02 00000000000000000000000000000001 0035 71"),
                "[::1]:53",
            ),
        ];
        for (wire, peer) in cases {
            let packet = packet(peer, b"q");
            assert_decodes(wire, &packet, decode);
            let mut out = BytesMut::new();
            encode(&packet, &mut out);
            assert_eq!(out, wire);
            packet_stream(wire);
        }
    }

    #[test]
    fn what_is_no_datagram_ends_the_stream() {
        for wire in [&hex!("0000")[..], &hex!("0001 01"), &hex!("0003 030101")] {
            assert!(decode(&mut BytesMut::from(wire)).is_err());
        }
    }

    #[test]
    fn what_cannot_be_written_leaves_nothing_behind() {
        let mut out = BytesMut::new();
        encode(&packet("example.com:53", b"q"), &mut out);
        encode(&packet("1.1.1.1:53", &[0; 65_529]), &mut out);
        assert!(out.is_empty());
        encode(&packet("1.1.1.1:53", &[0; 65_528]), &mut out);
        assert_eq!(out.len(), MAX_SEGMENT);
    }

    fn packet(peer: &str, data: &[u8]) -> Packet {
        Packet {
            peer: peer.parse().unwrap(),
            data: Bytes::copy_from_slice(data),
        }
    }
}
