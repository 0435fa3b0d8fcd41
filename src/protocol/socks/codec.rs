//! The messages of SOCKS 4, 4a and 5 (RFC 1928, RFC 1929) in both directions.
//!
//! ```text
//! SOCKS 5  greeting   | 05 | n | methods n |                 → | 05 | method |
//!          login      | 01 | n | user n | m | password m |   → | 01 | status |
//!          request    | 05 | command | 00 | address |        → | 05 | reply | 00 | address |
//!          datagram   | 00 00 | fragment | address | data |
//! SOCKS 4  request    | 04 | command | port 2 | ip 4 | user … 00 |  → | 00 | reply | port 2 | ip 4 |
//! SOCKS 4a with an ip of 0.0.0.x     … | domain … 00 |
//! ```

use bytes::{Buf, BufMut, Bytes, BytesMut};
use thiserror::Error;

use crate::address::{AddressError, Destination, Form, Host};

/// Neither a password nor anything else is asked for.
pub const NO_AUTH: u8 = 0x00;
/// RFC 1929.
pub const PASSWORD: u8 = 0x02;
/// "No acceptable methods".
pub const NO_METHOD: u8 = 0xff;

pub const CONNECT: u8 = 0x01;
pub const UDP_ASSOCIATE: u8 = 0x03;
/// gost's: datagrams inside the connection, as its relay protocol has them.
pub const UDP_TUNNEL: u8 = 0xf3;

/// Text in a SOCKS 4 request, a user name or a domain name; V2Ray takes as much.
const MAX_TEXT: usize = 2047;

#[derive(Debug, Error, PartialEq, Eq)]
pub enum SocksError {
    #[error("version {found:#04x} where {expected:#04x} was expected")]
    Version { found: u8, expected: u8 },
    #[error("a text of more than {MAX_TEXT} bytes in a SOCKS 4 request")]
    LongText,
    #[error(transparent)]
    Address(#[from] AddressError),
}

/// What a client says first in SOCKS 5: the ways to log in that it knows.
#[derive(Debug, PartialEq, Eq)]
pub struct Greeting(pub Bytes);

/// RFC 1929.
#[derive(PartialEq, Eq)]
pub struct Login {
    pub user: Bytes,
    pub pass: Bytes,
}

/// What a client wants, in SOCKS 4 or 5.
#[derive(Debug, PartialEq, Eq)]
pub struct Request {
    pub command: u8,
    pub to: Destination,
}

/// How a SOCKS 5 server answers a request.
#[derive(Debug, PartialEq, Eq)]
pub struct Reply {
    pub code: u8,
    pub bound: Destination,
}

impl Greeting {
    pub fn decode(buf: &mut BytesMut) -> Result<Option<Self>, SocksError> {
        version(buf, 0x05)?;
        let [_, n, rest @ ..] = &buf[..] else {
            return Ok(None);
        };
        let n = usize::from(*n);
        if rest.len() < n {
            return Ok(None);
        }
        buf.advance(2);
        Ok(Some(Self(buf.split_to(n).freeze())))
    }

    pub fn encode(&self, out: &mut BytesMut) {
        out.put_u8(0x05);
        put_short(out, &self.0);
    }
}

impl Login {
    pub fn decode(buf: &mut BytesMut) -> Result<Option<Self>, SocksError> {
        // Not as its version: some clients write that of SOCKS, and V2Ray does not look at it.
        let Some(user_len) = buf.get(1).map(|n| usize::from(*n)) else {
            return Ok(None);
        };
        let Some(pass_len) = buf.get(2 + user_len).map(|n| usize::from(*n)) else {
            return Ok(None);
        };
        if buf.len() < 3 + user_len + pass_len {
            return Ok(None);
        }
        buf.advance(2);
        let user = buf.split_to(user_len).freeze();
        buf.advance(1);
        let pass = buf.split_to(pass_len).freeze();
        Ok(Some(Self { user, pass }))
    }

    pub fn encode(&self, out: &mut BytesMut) {
        out.put_u8(0x01);
        put_short(out, &self.user);
        put_short(out, &self.pass);
    }
}

impl Request {
    /// A SOCKS 5 request.
    pub fn decode(buf: &mut BytesMut) -> Result<Option<Self>, SocksError> {
        let found = command_and_address(buf)?;
        Ok(found.map(|(command, to)| Self { command, to }))
    }

    pub fn encode(&self, out: &mut BytesMut) -> Result<(), SocksError> {
        out.put_slice(&[0x05, self.command, 0x00]);
        Ok(self.to.encode(Form::PortLast, out)?)
    }

    /// A SOCKS 4 or 4a request, and the user id in front of it.
    pub fn decode_4(buf: &mut BytesMut) -> Result<Option<(Bytes, Self)>, SocksError> {
        version(buf, 0x04)?;
        let [_, command, high, low, ip @ ..] = &buf[..] else {
            return Ok(None);
        };
        let (command, port) = (*command, u16::from_be_bytes([*high, *low]));
        let Some((ip, texts)) = ip.split_first_chunk::<4>() else {
            return Ok(None);
        };
        let Some(user) = text(texts)? else {
            return Ok(None);
        };
        let user = Bytes::copy_from_slice(user);
        let mut len = 8 + user.len() + 1;
        let host = match ip {
            [0, 0, 0, last] if *last != 0 => {
                let Some(name) = text(&texts[user.len() + 1..])? else {
                    return Ok(None);
                };
                len += name.len() + 1;
                let name = str::from_utf8(name).map_err(|_| AddressError::BadDomain)?;
                Host::parse(name)?
            }
            ip => Host::Ip((*ip).into()),
        };
        buf.advance(len);
        let to = Destination::new(host, port);
        Ok(Some((user, Self { command, to })))
    }

    /// A SOCKS 4a request, or a SOCKS 4 request when the host is an IPv4 address. SOCKS 4 has no
    /// IPv6: such an address travels as a name.
    pub fn encode_4(&self, user: &str, out: &mut BytesMut) {
        out.put_slice(&[0x04, self.command]);
        out.put_u16(self.to.port);
        let name = match &self.to.host {
            Host::Ip(std::net::IpAddr::V4(ip)) => {
                out.put_slice(&ip.octets());
                None
            }
            Host::Ip(std::net::IpAddr::V6(ip)) => Some(ip.to_string()),
            Host::Domain(name) => Some(name.clone()),
        };
        if name.is_some() {
            out.put_slice(&[0, 0, 0, 1]);
        }
        out.put_slice(user.as_bytes());
        out.put_u8(0);
        if let Some(name) = name {
            out.put_slice(name.as_bytes());
            out.put_u8(0);
        }
    }
}

impl Reply {
    pub fn decode(buf: &mut BytesMut) -> Result<Option<Self>, SocksError> {
        let found = command_and_address(buf)?;
        Ok(found.map(|(code, bound)| Self { code, bound }))
    }

    pub fn encode(&self, out: &mut BytesMut) -> Result<(), SocksError> {
        out.put_slice(&[0x05, self.code, 0x00]);
        Ok(self.bound.encode(Form::PortLast, out)?)
    }
}

/// Takes a two-byte answer off the front: the chosen method (`expected` 05), or whether the login
/// was right (`expected` 01).
pub fn decode_pair(buf: &mut BytesMut, expected: u8) -> Result<Option<u8>, SocksError> {
    version(buf, expected)?;
    let [_, value, ..] = buf[..] else {
        return Ok(None);
    };
    buf.advance(2);
    Ok(Some(value))
}

/// Takes a SOCKS 4 answer off the front and gives its code.
pub fn decode_reply_4(buf: &mut BytesMut) -> Result<Option<u8>, SocksError> {
    version(buf, 0x00)?;
    if buf.len() < 8 {
        return Ok(None);
    }
    let code = buf[1];
    buf.advance(8);
    Ok(Some(code))
}

/// Splits a datagram into peer and data; `None` for one that is short, a fragment, or names no
/// address: it is to be dropped.
pub fn decode_datagram(mut datagram: BytesMut) -> Option<(Destination, Bytes)> {
    let [_, _, 0x00, ..] = datagram[..] else {
        return None;
    };
    datagram.advance(3);
    let peer = Destination::decode(&mut datagram, Form::PortLast).ok()??;
    Some((peer, datagram.freeze()))
}

/// Writes a datagram with its header; only a domain that is too long cannot be written.
pub fn encode_datagram(
    peer: &Destination,
    data: &[u8],
    out: &mut BytesMut,
) -> Result<(), SocksError> {
    out.put_slice(&[0x00, 0x00, 0x00]);
    peer.encode(Form::PortLast, out)?;
    out.put_slice(data);
    Ok(())
}

/// Requests and replies of SOCKS 5 have one shape.
fn command_and_address(buf: &mut BytesMut) -> Result<Option<(u8, Destination)>, SocksError> {
    version(buf, 0x05)?;
    let [_, command, _, ..] = buf[..] else {
        return Ok(None);
    };
    let mut rest = buf.split_off(3);
    let to = Destination::decode(&mut rest, Form::PortLast);
    match to {
        Ok(Some(to)) => {
            *buf = rest;
            Ok(Some((command, to)))
        }
        other => {
            buf.unsplit(rest);
            other?;
            Ok(None)
        }
    }
}

fn version(buf: &[u8], expected: u8) -> Result<(), SocksError> {
    match buf.first() {
        Some(&found) if found != expected => Err(SocksError::Version { found, expected }),
        _ => Ok(()),
    }
}

/// What stands before the next zero; `None` when that has not come yet.
fn text(bytes: &[u8]) -> Result<Option<&[u8]>, SocksError> {
    match bytes.iter().take(MAX_TEXT + 1).position(|b| *b == 0) {
        Some(end) => Ok(Some(&bytes[..end])),
        None if bytes.len() > MAX_TEXT => Err(SocksError::LongText),
        None => Ok(None),
    }
}

/// A length byte and that many bytes; what is longer is cut (settings are checked to fit).
fn put_short(out: &mut BytesMut, text: &[u8]) {
    let text = &text[..text.len().min(255)];
    out.put_u8(text.len() as u8);
    out.put_slice(text);
}

#[cfg(test)]
mod tests {
    use super::*;
    use hex_literal::hex;

    #[test]
    fn every_message_waits_for_its_last_byte_and_takes_no_more() {
        split_agrees(&hex!("05 02 00 02"), Greeting::decode);
        split_agrees(&hex!("05 00"), Greeting::decode);
        split_agrees(&hex!("01 01 61 02 6263"), |b| {
            Ok(Login::decode(b)?.map(|login| (login.user, login.pass)))
        });
        split_agrees(&hex!("05 01 00 01 7f000001 0050"), Request::decode);
        split_agrees(&hex!("05 01 00 03 01 61 0050"), Request::decode);
        split_agrees(
            &hex!("05 05 00 04 00000000000000000000000000000001 0050"),
            Reply::decode,
        );
        split_agrees(&hex!("04 01 0050 7f000001 626f62 00"), Request::decode_4);
        split_agrees(&hex!("04 01 0050 00000007 00 612e62 00"), Request::decode_4);
        split_agrees(&hex!("05 ff"), |b| decode_pair(b, 5));
        split_agrees(&hex!("00 5a 0000 00000000"), decode_reply_4);
    }

    #[test]
    fn messages_undo_their_own_encoding() {
        let mut out = BytesMut::new();
        for to in ["1.2.3.4:5", "example.com:443"] {
            let request = Request {
                command: CONNECT,
                to: to.parse().unwrap(),
            };
            request.encode(&mut out).unwrap();
            assert_eq!(Request::decode(&mut out), Ok(Some(request)));
            let request = Request {
                command: CONNECT,
                to: to.parse().unwrap(),
            };
            request.encode_4("bob", &mut out);
            let id = Bytes::from_static(b"bob");
            assert_eq!(Request::decode_4(&mut out), Ok(Some((id, request))));
            let peer = to.parse().unwrap();
            encode_datagram(&peer, b"data", &mut out).unwrap();
            let (from, data) = decode_datagram(out.split()).unwrap();
            assert_eq!((from, &data[..]), (peer, &b"data"[..]));
        }
        assert!(out.is_empty());
    }

    #[test]
    fn a_fragment_and_a_short_datagram_are_dropped() {
        for bytes in [
            &hex!("0000 01 01 7f000001 0050 61")[..],
            &hex!("0000 00 01 7f0000"),
            &hex!("0000 00 09 7f000001 0050"),
            b"",
        ] {
            assert!(decode_datagram(BytesMut::from(bytes)).is_none());
        }
        let empty = decode_datagram(BytesMut::from(&hex!("0000 00 01 7f000001 0050")[..])).unwrap();
        assert!(empty.1.is_empty());
    }

    #[test]
    fn a_socks_4_request_is_bounded() {
        let mut bytes = hex!("04 01 0050 7f000001").to_vec();
        bytes.extend([b'a'; MAX_TEXT]);
        let mut buf = BytesMut::from(&bytes[..]);
        assert_eq!(Request::decode_4(&mut buf), Ok(None));
        buf.put_u8(b'a');
        assert_eq!(Request::decode_4(&mut buf), Err(SocksError::LongText));
    }

    /// Some clients begin it as they begin everything.
    #[test]
    fn a_login_says_its_version_or_that_of_socks() {
        for version in [1, 5] {
            let mut buf = BytesMut::from(&[version, 1, b'u', 1, b'p'][..]);
            let login = Login::decode(&mut buf).unwrap().unwrap();
            assert_eq!((&login.user[..], &login.pass[..]), (&b"u"[..], &b"p"[..]));
        }
    }

    #[test]
    fn another_version_is_told_at_the_first_byte() {
        assert_eq!(
            Greeting::decode(&mut BytesMut::from(&b"G"[..]))
                .unwrap_err()
                .to_string(),
            "version 0x47 where 0x05 was expected"
        );
    }

    fn split_agrees<T: PartialEq + std::fmt::Debug>(
        bytes: &[u8],
        decode: impl Fn(&mut BytesMut) -> Result<Option<T>, SocksError>,
    ) {
        for n in 0..bytes.len() {
            let mut part = BytesMut::from(&bytes[..n]);
            assert_eq!(decode(&mut part), Ok(None));
            assert_eq!(part, bytes[..n], "nothing is taken from a short buffer");
        }
        let mut whole = BytesMut::from(bytes);
        whole.extend_from_slice(b"more");
        assert!(decode(&mut whole).unwrap().is_some());
        assert_eq!(whole, &b"more"[..]);
    }
}
