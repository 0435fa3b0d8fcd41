//! Datagrams inside a Trojan connection, each with its peer.

use bytes::BytesMut;

use super::codec::{PacketError, decode_packet, encode_packet};
use crate::io::{Packet, PacketForm};

pub(super) struct Datagrams;

impl PacketForm for Datagrams {
    type Error = PacketError;

    fn decode(&mut self, buf: &mut BytesMut) -> Result<Option<Packet>, PacketError> {
        let packet = decode_packet(buf)?;
        Ok(packet.map(|(peer, data)| Packet {
            peer,
            data: data.freeze(),
        }))
    }

    fn encode(&mut self, packet: &Packet, out: &mut BytesMut) {
        encode_packet(&packet.peer, &packet.data, out);
    }
}
