//! Datagrams inside a relay connection.

use std::convert::Infallible;

use bytes::BytesMut;

use super::codec::{decode_addressed, decode_packet, encode_addressed, encode_packet};
use crate::address::{AddressError, Destination};
use crate::io::{Packet, PacketForm};

/// All to or from one destination.
pub(super) struct OfOne {
    /// Whom the request names. Towards the client it is left out, so an answer of anyone is sent.
    pub(super) peer: Destination,
}

/// Each with its peer.
pub(super) struct OfMany;

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
