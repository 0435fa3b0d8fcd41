//! The header and datagrams of Trojan.
//!
//! ```text
//! request:  | hash 56 | 0d0a | command 1 | address, port 2 | 0d0a | payload
//! datagram: | address, port 2 | n 2 | 0d0a | data n |
//! ```
//! The hash is SHA-224 of the password, in hex of small letters. Addresses are SOCKS'. Behind a request for datagrams
//! come only those, in either direction; each names whom it is for, or whom it is from.

use std::fmt;

use bytes::{Buf, BufMut, BytesMut};
use sha2::{Digest, Sha224};
use thiserror::Error;

use crate::address::{AddressError, Destination, Form};

const STREAM: u8 = 1;
const PACKETS: u8 = 3;

const LINE_END: [u8; 2] = *b"\r\n";

/// The hash as it is written.
const HASH: usize = 2 * 28;

/// Hash and line end.
const SENDER: usize = HASH + 2;

/// The longest address, with its port.
const MAX_ADDRESS: usize = 1 + 1 + 255 + 2;

/// The longest request header: with the longest name.
pub const MAX_REQUEST: usize = SENDER + 1 + MAX_ADDRESS + 2;

/// The longest datagram, with what stands in front of it.
pub const MAX_PACKET: usize = MAX_ADDRESS + 2 + 2 + u16::MAX as usize;

/// SHA-224 of a password, and as good as that.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key([u8; 28]);

/// A request header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub key: Key,
    pub command: Command,
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    Stream(Destination),
    /// Datagrams to anyone; other programs write the destination of the first one here.
    Packets(Destination),
}

/// What no request of Trojan begins with: this byte is another than it should be.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("byte {0} is not Trojan's, expected 56 hex digits and a line end")]
pub struct NotTrojan(pub usize);

#[derive(Debug, Error, PartialEq, Eq)]
pub enum RequestError {
    #[error(transparent)]
    NotTrojan(#[from] NotTrojan),
    #[error("command {0} is unknown")]
    Command(u8),
    #[error(transparent)]
    Address(#[from] AddressError),
    #[error("no line end stands behind the address")]
    LineEnd,
}

#[derive(Debug, Error, PartialEq, Eq)]
pub enum PacketError {
    #[error(transparent)]
    Address(#[from] AddressError),
    #[error("no line end stands behind the length of a datagram")]
    LineEnd,
}

impl Key {
    pub fn of(password: &str) -> Self {
        Self(Sha224::digest(password).into())
    }

    /// From its hex digits.
    fn read(digits: &[u8; HASH]) -> Option<Self> {
        let mut key = [0; 28];
        for (byte, [high, low]) in key.iter_mut().zip(digits.as_chunks().0) {
            *byte = digit(*high)? << 4 | digit(*low)?;
        }
        Some(Self(key))
    }

    fn write(&self, out: &mut BytesMut) {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        for byte in self.0 {
            out.put_u8(DIGITS[usize::from(byte >> 4)]);
            out.put_u8(DIGITS[usize::from(byte & 15)]);
        }
    }
}

/// Other servers look the text up, so a large letter is another hash to them.
fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    }
}

/// Whose request begins with these bytes; `None` asks for more.
///
/// # Errors
///
/// The first byte that no request has at its place.
pub fn sender(buf: &[u8]) -> Result<Option<Key>, NotTrojan> {
    let strange = |(at, byte): (usize, &u8)| match at {
        0..HASH => digit(*byte).is_none(),
        _ => *byte != LINE_END[at - HASH],
    };
    let strange = buf.iter().take(SENDER).enumerate().position(strange);
    match strange {
        Some(at) => Err(NotTrojan(at)),
        None if buf.len() < SENDER => Ok(None),
        None => Ok(buf.first_chunk().and_then(Key::read)),
    }
}

impl Request {
    /// Takes a header off the front of `buf`; `None` asks for more bytes and takes nothing.
    pub fn decode(buf: &mut BytesMut) -> Result<Option<Self>, RequestError> {
        let Some(key) = sender(buf)? else {
            return Ok(None);
        };
        let Some((&command, rest)) = buf[SENDER..].split_first() else {
            return Ok(None);
        };
        let command = match command {
            STREAM => Command::Stream,
            PACKETS => Command::Packets,
            other => return Err(RequestError::Command(other)),
        };
        let front = &rest[..rest.len().min(MAX_ADDRESS)];
        let mut left = BytesMut::from(front);
        let Some(to) = Destination::decode(&mut left, Form::PortLast)? else {
            return Ok(None);
        };
        let address = front.len() - left.len();
        match begins_line_end(&rest[address..]) {
            Some(true) => {}
            Some(false) => return Err(RequestError::LineEnd),
            None => return Ok(None),
        }
        buf.advance(SENDER + 1 + address + LINE_END.len());
        let command = command(to);
        Ok(Some(Self { key, command }))
    }

    /// Appends the header to `out`; only a name of more than 255 bytes cannot be written.
    pub fn encode(&self, out: &mut BytesMut) -> Result<(), AddressError> {
        let (command, to) = match &self.command {
            Command::Stream(to) => (STREAM, to),
            Command::Packets(to) => (PACKETS, to),
        };
        self.key.write(out);
        out.put_slice(&LINE_END);
        out.put_u8(command);
        to.encode(Form::PortLast, out)?;
        out.put_slice(&LINE_END);
        Ok(())
    }
}

/// Whether a line end comes next; `None` if that is not told yet.
fn begins_line_end(bytes: &[u8]) -> Option<bool> {
    let n = bytes.len().min(LINE_END.len());
    match bytes[..n] == LINE_END[..n] {
        false => Some(false),
        true => (n == LINE_END.len()).then_some(true),
    }
}

/// Takes one datagram off the front of `buf`, with whom it is for or from; `None` asks for more bytes and takes nothing.
pub fn decode_packet(buf: &mut BytesMut) -> Result<Option<(Destination, BytesMut)>, PacketError> {
    let address = match buf[..] {
        // The host, and its kind and port.
        [0x01, ..] => 4 + 3,
        [0x03, n, ..] => 1 + usize::from(n) + 3,
        [0x04, ..] => 16 + 3,
        [] | [0x03] => return Ok(None),
        [other, ..] => return Err(AddressError::UnknownType(other).into()),
    };
    let Some(len) = buf.get(address..).and_then(|rest| rest.first_chunk()) else {
        return Ok(None);
    };
    let len = usize::from(u16::from_be_bytes(*len));
    let front = address + 2 + LINE_END.len();
    match begins_line_end(&buf[address + 2..]) {
        Some(true) if buf.len() >= front + len => {}
        Some(false) => return Err(PacketError::LineEnd),
        Some(true) | None => return Ok(None),
    }
    let Some(peer) = Destination::decode(buf, Form::PortLast)? else {
        return Ok(None);
    };
    buf.advance(front - address);
    Ok(Some((peer, buf.split_to(len))))
}

/// Appends one datagram; nothing when it is too long for its length, or its peer's name for its own.
pub fn encode_packet(peer: &Destination, data: &[u8], out: &mut BytesMut) {
    if let Ok(len) = u16::try_from(data.len())
        && peer.encode(Form::PortLast, out).is_ok()
    {
        out.put_u16(len);
        out.put_slice(&LINE_END);
        out.put_slice(data);
    }
}

/// What it is the hash of is not shown, and nor is it.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_decodes, assert_split_agrees, trojan};
    use hex_literal::hex;
    use serde_json::Value;

    fn vectors() -> Value {
        serde_json::from_str(include_str!("../../../testdata/vectors/trojan.json")).unwrap()
    }

    fn to(text: &str) -> Destination {
        text.parse().unwrap()
    }

    fn request(command: Command) -> Request {
        let key = Key::of("a");
        Request { key, command }
    }

    /// Of the password `a`.
    const SHOWN: &[u8] = b"abd37534c7d9a2efb9465de931cd7055ffdb8879563ae98078d6d6d5\r\n";

    fn flight(rest: &[u8]) -> Vec<u8> {
        [SHOWN, rest].concat()
    }

    #[test]
    fn passwords_have_the_hashes_that_others_give_them() {
        for case in vectors()["hashes"].as_array().unwrap() {
            let password = case["password"].as_str().unwrap();
            let mut out = BytesMut::new();
            Key::of(password).write(&mut out);
            assert_eq!(out, case["hash"].as_str().unwrap());
            out.put_slice(&LINE_END);
            assert_eq!(sender(&out), Ok(Some(Key::of(password))));
        }
    }

    /// Seen on the wire: Xray, V2Ray 4 and 5 and sing-box all write it.
    #[test]
    fn a_request_of_other_clients() {
        let case = &vectors()["request"];
        let digits = case["bytes"].as_str().unwrap().as_bytes().chunks(2);
        let byte = |two| u8::from_str_radix(str::from_utf8(two).unwrap(), 16).unwrap();
        let flight: Vec<u8> = digits.map(byte).collect();
        let header = flight.strip_suffix(b"GET / HTTP/1.0\r\n\r\n").unwrap();
        let request = Request {
            key: Key::of(case["password"].as_str().unwrap()),
            command: Command::Stream(to("127.0.0.1:4321")),
        };
        assert_decodes(header, &request, Request::decode);
        let mut out = BytesMut::new();
        request.encode(&mut out).unwrap();
        assert_eq!(out, header);
        trojan(&flight);
    }

    #[test]
    fn every_kind_of_address_is_read_and_written() {
        let cases: [(&[u8], Command); 3] = [
            (
                &hex!("03 03 06 612e74657374 0035 0d0a"),
                Command::Packets(to("a.test:53")),
            ),
            (
                &hex!("01 04 20010db8000000000000000000000001 01bb 0d0a"),
                Command::Stream(to("[2001:db8::1]:443")),
            ),
            (
                &hex!("03 01 01020304 0000 0d0a"),
                Command::Packets(to("1.2.3.4:0")),
            ),
        ];
        for (rest, command) in cases {
            let (wire, request) = (flight(rest), request(command));
            assert_decodes(&wire, &request, Request::decode);
            let mut out = BytesMut::new();
            request.encode(&mut out).unwrap();
            assert_eq!(out, wire);
            trojan(&wire);
        }
    }

    #[test]
    fn the_longest_request_is_bounded() {
        let name = "a".repeat(255);
        let rest = [&b"\x01\x03\xff"[..], name.as_bytes(), b"\0\x50\r\n"].concat();
        let wire = flight(&rest);
        assert_eq!(wire.len(), MAX_REQUEST);
        let asked = request(Command::Stream(to(&format!("{name}:80"))));
        assert_decodes(&wire, &asked, Request::decode);
    }

    #[test]
    fn what_is_no_request_is_refused_with_the_reason_and_left_as_it_is() {
        let large = SHOWN.to_ascii_uppercase();
        let cases: [(&[u8], RequestError); 9] = [
            (b"GET / HTTP/1.1\r\n\r\n", NotTrojan(0).into()),
            (b"abc\r\n", NotTrojan(3).into()),
            (&large, NotTrojan(0).into()),
            (&[&SHOWN[..56], b"\n"].concat(), NotTrojan(56).into()),
            (&[&SHOWN[..57], b"\r"].concat(), NotTrojan(57).into()),
            (&flight(&[2]), RequestError::Command(2)),
            (
                &flight(&[1, 2]),
                RequestError::Address(AddressError::UnknownType(2)),
            ),
            (
                &flight(&[1, 3, 0]),
                RequestError::Address(AddressError::EmptyDomain),
            ),
            (
                &flight(&hex!("01 01 01020304 0050 0a")),
                RequestError::LineEnd,
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
    fn datagrams_name_their_peer() {
        let packet = (to("1.2.3.4:53"), BytesMut::from(&b"abc"[..]));
        let wire = hex!("01 01020304 0035 0003 0d0a 616263");
        assert_decodes(&wire, &packet, decode_packet);
        let mut out = BytesMut::new();
        encode_packet(&packet.0, &packet.1, &mut out);
        assert_eq!(out, wire[..]);
        let empty = (to("a.test:1"), BytesMut::new());
        let wire = hex!("03 06 612e74657374 0001 0000 0d0a");
        assert_decodes(&wire, &empty, decode_packet);

        let cases: [(&[u8], PacketError); 3] = [
            (&hex!("02"), AddressError::UnknownType(2).into()),
            (
                &hex!("03 00 0035 0000 0d0a"),
                AddressError::EmptyDomain.into(),
            ),
            (&hex!("01 01020304 0035 0003 0a"), PacketError::LineEnd),
        ];
        for (wire, error) in cases {
            let mut buf = BytesMut::from(wire);
            assert_eq!(decode_packet(&mut buf), Err(error));
            assert_eq!(buf, wire);
            assert_split_agrees(wire, decode_packet);
        }
    }

    #[test]
    fn the_longest_datagram_is_bounded() {
        let peer = to(&format!("{}:80", "a".repeat(255)));
        let mut out = BytesMut::new();
        encode_packet(&peer, &[1; 0x1_0000], &mut out);
        assert!(out.is_empty(), "it has no length");
        encode_packet(&peer, &[1; 0xffff], &mut out);
        assert_eq!(out.len(), MAX_PACKET);
        let (from, data) = decode_packet(&mut out).unwrap().unwrap();
        assert_eq!((from, &data[..]), (peer, &[1; 0xffff][..]));
    }

    #[test]
    fn a_key_is_not_shown() {
        assert_eq!(format!("{:?}", Key::of("hidden")), "***");
    }
}
