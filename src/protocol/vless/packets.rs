//! Datagrams inside a VLESS connection, all to or from one destination.

use std::convert::Infallible;

use bytes::BytesMut;

use super::codec::{decode_packet, encode_packet};
use crate::address::Destination;
use crate::io::{Packet, PacketForm};

pub(super) struct Datagrams {
    /// Whom the request names. Towards the client it is left out, so an answer of anyone is sent.
    pub(super) peer: Destination,
}

impl PacketForm for Datagrams {
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
