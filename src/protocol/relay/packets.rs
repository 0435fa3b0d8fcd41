//! Datagrams inside a relay connection, each with its peer in front.

use bytes::BytesMut;

use super::codec::{decode_addressed, encode_addressed};
use crate::address::AddressError;
use crate::io::{Packet, PacketForm};

/// Each with its peer.
pub(in crate::protocol) struct OfMany;

impl PacketForm for OfMany {
    type Error = AddressError;

    fn decode(&mut self, buf: &mut BytesMut) -> Result<Option<Packet>, AddressError> {
        let packet = decode_addressed(buf)?;
        Ok(packet.map(|(peer, data)| Packet {
            peer,
            data: data.freeze(),
        }))
    }

    fn encode(&mut self, packet: &Packet, out: &mut BytesMut) {
        encode_addressed(&packet.peer, &packet.data, out);
    }
}
