//! Datagrams in a stream, each behind its length (two bytes, big endian), all to or from one destination: VLESS has them, and relay.

use std::convert::Infallible;

use bytes::{Buf, BufMut, BytesMut};

use crate::address::Destination;
use crate::io::{Packet, PacketForm};

/// All to or from one destination.
pub(super) struct OfOne {
    /// Whom the request names. Towards the client it is left out, so an answer of anyone is sent.
    pub(super) peer: Destination,
}

impl PacketForm for OfOne {
    type Error = Infallible;

    fn decode(&mut self, buf: &mut BytesMut) -> Result<Option<Packet>, Infallible> {
        let data = decode_packet(buf);
        Ok(data.map(|data| Packet {
            peer: self.peer.clone(),
            data: data.freeze(),
        }))
    }

    fn encode(&mut self, packet: &Packet, out: &mut BytesMut) {
        encode_packet(&packet.data, out);
    }
}

/// Takes one datagram off the front of `buf`; `None` asks for more bytes and takes nothing.
pub fn decode_packet(buf: &mut BytesMut) -> Option<BytesMut> {
    let len = usize::from(u16::from_be_bytes(*buf.first_chunk()?));
    if buf.len() < 2 + len {
        return None;
    }
    buf.advance(2);
    Some(buf.split_to(len))
}

/// Appends one datagram; nothing when it is too long for its length.
pub fn encode_packet(data: &[u8], out: &mut BytesMut) {
    if let Ok(len) = u16::try_from(data.len()) {
        out.put_u16(len);
        out.put_slice(data);
    }
}
