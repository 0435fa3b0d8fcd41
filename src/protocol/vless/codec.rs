//! The headers and datagrams of VLESS.
//!
//! ```text
//! request:  | version 0 | id 16 | n 1 | addons n | command 1 | port 2, address | payload
//! response: | version 0 | n 1 | addons n | payload
//! datagram: | n 2 | data n |
//! ```
//! Addons are a protobuf message. Of command 3 no address follows. The datagrams of one connection, in either
//! direction, are all of one destination.

use bytes::{Buf, BufMut, BytesMut};
use prost::Message;
use thiserror::Error;
use uuid::Uuid;

use crate::address::{AddressError, Destination, Form};

const VERSION: u8 = 0;

const STREAM: u8 = 1;
const PACKETS: u8 = 2;
const MUX: u8 = 3;

/// Version and id.
const SENDER: usize = 1 + 16;

/// The longest request header: with all addons and the longest name.
pub const MAX_REQUEST: usize = SENDER + 1 + 255 + 1 + 2 + 1 + 1 + 255;

/// The longest datagram, with its length.
pub const MAX_PACKET: usize = 2 + u16::MAX as usize;

/// A request header, without addons.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub id: Uuid,
    pub command: Command,
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    Stream(Destination),
    Packets(Destination),
    /// A stream of sessions.
    Mux,
}

#[derive(Debug, Error, PartialEq, Eq)]
pub enum RequestError {
    #[error("version {0} is not known")]
    Version(u8),
    #[error("the addons are no protobuf message")]
    Addons,
    #[error("the flow `{0}` is not built: remove `flow` from the client")]
    Flow(String),
    #[error("command {0} is unknown")]
    Command(u8),
    #[error(transparent)]
    Address(#[from] AddressError),
}

#[derive(Clone, PartialEq, Message)]
struct Addons {
    #[prost(string, tag = "1")]
    flow: String,
    #[prost(bytes = "vec", tag = "2")]
    seed: Vec<u8>,
}

/// Whose request begins with these bytes; `None` asks for more.
///
/// # Errors
///
/// The version, if it is another.
pub fn sender(buf: &[u8]) -> Result<Option<Uuid>, u8> {
    match buf.first() {
        None | Some(&VERSION) => {}
        Some(version) => return Err(*version),
    }
    let id = buf.get(1..).and_then(|rest| rest.first_chunk());
    Ok(id.map(|id| Uuid::from_bytes(*id)))
}

impl Request {
    /// Takes a header off the front of `buf`; `None` asks for more bytes and takes nothing.
    pub fn decode(buf: &mut BytesMut) -> Result<Option<Self>, RequestError> {
        let Some(id) = sender(buf).map_err(RequestError::Version)? else {
            return Ok(None);
        };
        let Some((len, rest)) = buf[SENDER..].split_first() else {
            return Ok(None);
        };
        let len = usize::from(*len);
        let Some((addons, rest)) = rest.split_at_checked(len) else {
            return Ok(None);
        };
        let flow = Addons::decode(addons).map_err(|_| RequestError::Addons)?;
        let flow = flow.flow;
        if !flow.is_empty() {
            return Err(RequestError::Flow(flow.escape_debug().to_string()));
        }
        let Some(&command) = rest.first() else {
            return Ok(None);
        };
        let head = SENDER + 1 + len + 1;
        let command = match command {
            STREAM => Command::Stream,
            PACKETS => Command::Packets,
            MUX => {
                buf.advance(head);
                let command = Command::Mux;
                return Ok(Some(Self { id, command }));
            }
            other => return Err(RequestError::Command(other)),
        };
        let mut rest = buf.split_off(head);
        let to = Destination::decode(&mut rest, Form::PortFirst);
        if let Ok(Some(to)) = to {
            *buf = rest;
            let command = command(to);
            return Ok(Some(Self { id, command }));
        }
        // It is one buffer again, without a copy.
        buf.unsplit(rest);
        to.map(|_| None).map_err(RequestError::from)
    }

    /// Appends the header to `out`; only a name of more than 255 bytes cannot be written.
    pub fn encode(&self, out: &mut BytesMut) -> Result<(), AddressError> {
        let (command, to) = match &self.command {
            Command::Stream(to) => (STREAM, Some(to)),
            Command::Packets(to) => (PACKETS, Some(to)),
            Command::Mux => (MUX, None),
        };
        out.put_u8(VERSION);
        out.put_slice(self.id.as_bytes());
        // No addons.
        out.put_u8(0);
        out.put_u8(command);
        to.map_or(Ok(()), |to| to.encode(Form::PortFirst, out))
    }
}

/// A response header without addons.
pub const RESPONSE: [u8; 2] = [VERSION, 0];

#[derive(Debug, Error, PartialEq, Eq)]
#[error("the answer begins with version {0}, expected 0: is this a VLESS server?")]
pub struct ResponseError(u8);

/// How far a response header has been read. It is taken off the stream in whatever pieces it comes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Response {
    #[default]
    Version,
    Length,
    /// So many bytes are left.
    Addons(u8),
    Whole,
}

impl Response {
    /// How many of `bytes`, which come next, belong to the header.
    pub fn take(&mut self, bytes: &[u8]) -> Result<usize, ResponseError> {
        let mut taken = 0;
        while let Some(byte) = bytes.get(taken) {
            *self = match *self {
                Self::Version if *byte != VERSION => return Err(ResponseError(*byte)),
                Self::Version => Self::Length,
                Self::Length => Self::addons(*byte),
                Self::Addons(left) => Self::addons(left - 1),
                Self::Whole => break,
            };
            taken += 1;
        }
        Ok(taken)
    }

    fn addons(left: u8) -> Self {
        match left {
            0 => Self::Whole,
            left => Self::Addons(left),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::length_prefixed::{decode_packet, encode_packet};
    use crate::testing::{assert_decodes, assert_split_agrees, vless};
    use hex_literal::hex;

    const ID: Uuid = Uuid::from_bytes(hex!("b831381d63244d53ad4f8cda48b30811"));

    fn request(command: Command) -> Request {
        Request { id: ID, command }
    }

    fn to(text: &str) -> Destination {
        text.parse().unwrap()
    }

    /// Seen on the wire; Xray, V2Ray 4 and 5, sing-box and mihomo all write the first.
    #[test]
    fn requests_of_other_clients() {
        let cases: [(&[u8], Command); 4] = [
            (
                &hex!("00 b831381d63244d53ad4f8cda48b30811 00 01 10e1 01 7f000001"),
                Command::Stream(to("127.0.0.1:4321")),
            ),
            (
                &hex!("00 b831381d63244d53ad4f8cda48b30811 00 02 0035 02 06 612e74657374"),
                Command::Packets(to("a.test:53")),
            ),
            (
                &hex!(
                    "00 b831381d63244d53ad4f8cda48b30811 00 01 01bb 03 20010db8000000000000000000000001"
                ),
                Command::Stream(to("[2001:db8::1]:443")),
            ),
            (
                &hex!("00 b831381d63244d53ad4f8cda48b30811 00 03"),
                Command::Mux,
            ),
        ];
        for (wire, command) in cases {
            let request = request(command);
            assert_decodes(wire, &request, Request::decode);
            let mut out = BytesMut::new();
            request.encode(&mut out).unwrap();
            assert_eq!(out, wire);
            vless(wire);
        }
    }

    #[test]
    fn addons_are_passed_over() {
        // An empty flow, a seed, and a field that nobody knows.
        let addons = hex!("0a00 1203 010203 1805");
        let mut wire = hex!("00 b831381d63244d53ad4f8cda48b30811 09").to_vec();
        wire.extend(addons);
        wire.extend(hex!("01 0050 01 01020304"));
        let asked = request(Command::Stream(to("1.2.3.4:80")));
        assert_decodes(&wire, &asked, Request::decode);
    }

    #[test]
    fn the_longest_request_is_bounded() {
        let name = "a".repeat(255);
        let mut wire = hex!("00 b831381d63244d53ad4f8cda48b30811 ff 12fc01").to_vec();
        wire.extend([7; 252]);
        wire.extend(hex!("02 0050 02 ff"));
        wire.extend(name.as_bytes());
        assert_eq!(wire.len(), MAX_REQUEST);
        let asked = request(Command::Packets(to(&format!("{name}:80"))));
        assert_decodes(&wire, &asked, Request::decode);
    }

    #[test]
    fn what_is_no_request_is_refused_with_the_reason_and_left_as_it_is() {
        // With the flow as Xray, sing-box and mihomo send it.
        let vision = hex!(
            "00 b831381d63244d53ad4f8cda48b30811 12 0a1078746c732d727072782d766973696f6e 01 10e1 01 7f000001"
        );
        let cases: [(&[u8], RequestError); 6] = [
            (b"GET / HTTP/1.1\r\n\r\n", RequestError::Version(b'G')),
            (&vision, RequestError::Flow("xtls-rprx-vision".to_owned())),
            (
                &hex!("00 b831381d63244d53ad4f8cda48b30811 01 ff 01 0050 01 01020304"),
                RequestError::Addons,
            ),
            (
                &hex!("00 b831381d63244d53ad4f8cda48b30811 00 04"),
                RequestError::Command(4),
            ),
            (
                &hex!("00 b831381d63244d53ad4f8cda48b30811 00 01 0050 04"),
                RequestError::Address(AddressError::UnknownType(4)),
            ),
            (
                &hex!("00 b831381d63244d53ad4f8cda48b30811 00 02 0050 02 00"),
                RequestError::Address(AddressError::EmptyDomain),
            ),
        ];
        for (wire, error) in cases {
            let mut buf = BytesMut::from(wire);
            assert_eq!(Request::decode(&mut buf), Err(error));
            assert_eq!(buf, wire);
            assert_split_agrees(wire, Request::decode);
        }
    }

    #[test]
    fn a_response_is_taken_off_in_any_pieces() {
        let wire = hex!("00 03 010203 70617920");
        for size in 1..=wire.len() {
            let (mut response, mut plain) = (Response::default(), Vec::new());
            for piece in wire.chunks(size) {
                let n = response.take(piece).unwrap();
                plain.extend_from_slice(&piece[n..]);
            }
            assert_eq!(response, Response::Whole);
            assert_eq!(plain, b"pay ", "in pieces of {size}");
        }
        assert_eq!(Response::default().take(b"HTTP"), Err(ResponseError(b'H')));
    }

    #[test]
    fn datagrams_stand_behind_their_length() {
        let packet = BytesMut::from(&b"abc"[..]);
        let decode = |buf: &mut BytesMut| Ok::<_, ()>(decode_packet(buf));
        assert_decodes(&hex!("0003 616263"), &packet, decode);
        assert_decodes(&hex!("0000"), &BytesMut::new(), decode);
        let mut out = BytesMut::new();
        encode_packet(&[1; 0x1_0000], &mut out);
        assert!(out.is_empty(), "it has no length");
        encode_packet(&[1; 0xffff], &mut out);
        assert_eq!(out.len(), MAX_PACKET);
        assert_eq!(decode_packet(&mut out).unwrap(), &[1; 0xffff][..]);
    }
}
