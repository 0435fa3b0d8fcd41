//! The headers of gost's relay.
//!
//! ```text
//! request:  | version 1 | command 1 | n 2 | features n |
//! response: | version 1 | status 1  | n 2 | features n |
//! feature:  | type 1 | n 2 | value n |
//!   1 user:    | n 1 | name n | n 1 | password n |
//!   2 address: | type 1 | 0x01: 4, 0x03: 1 + n, 0x04: 16 | port 2 |
//!   4 network: | 2 |
//! ```
//! Bit 0x80 of a command says the same as network 1, UDP; gost writes both.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use thiserror::Error;

use crate::address::{AddressError, Destination, Form, Host, Network};
use crate::secret::Secret;

const VERSION: u8 = 1;

/// Version, command or status, length.
const HEAD: usize = 1 + 1 + 2;

/// The longest features that are taken. All that there are, at their longest, have 805 bytes.
const MAX_FEATURES: usize = 4096;

/// The longest request.
pub const MAX_REQUEST: usize = HEAD + MAX_FEATURES;

const CONNECT: u8 = 1;
const BIND: u8 = 2;
const ASSOCIATE: u8 = 3;
const COMMANDS: u8 = 0x0f;
const UDP: u8 = 0x80;

const USER: u8 = 1;
const ADDRESS: u8 = 2;
const TUNNEL: u8 = 3;
const NETWORK: u8 = 4;

/// What a client asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub command: Command,
    pub network: Network,
    pub user: Option<Login>,
    pub address: Option<Destination>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    Connect,
    Bind,
    Associate,
}

/// A name and a password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    pub name: Bytes,
    pub password: Secret<Bytes>,
}

#[derive(Debug, Error, PartialEq, Eq)]
pub enum RequestError {
    #[error("version {0} is not relay's, expected 1")]
    Version(u8),
    #[error("features of {0} bytes, at most {MAX_FEATURES} are taken")]
    Long(usize),
    #[error("command {0} is unknown")]
    Command(u8),
    #[error("feature {0} is unknown")]
    Feature(u8),
    #[error("feature {0} is not as long as it says")]
    Length(u8),
    #[error("network {0:#06x} is not built, expected TCP or UDP")]
    Network(u16),
    #[error(transparent)]
    Address(#[from] AddressError),
}

/// What a server says to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Status {
    Ok = 0,
    BadRequest = 1,
    Unauthorized = 2,
    Forbidden = 3,
    Timeout = 4,
    Unavailable = 5,
    HostUnreachable = 6,
    NetworkUnreachable = 7,
}

/// An answer, as far as anybody is interested in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// Servers may say more than there are words for.
    pub status: u8,
    pub address: Option<Destination>,
}

impl Request {
    /// Takes a request off the front of `buf`; `None` asks for more bytes and takes nothing.
    pub fn decode(buf: &mut BytesMut) -> Result<Option<Self>, RequestError> {
        let Some((code, features)) = header(buf)? else {
            return Ok(None);
        };
        let mut request = Self {
            command: match code & COMMANDS {
                0 | CONNECT => Command::Connect,
                BIND => Command::Bind,
                ASSOCIATE => Command::Associate,
                _ => return Err(RequestError::Command(code)),
            },
            network: match code & UDP {
                0 => Network::Tcp,
                _ => Network::Udp,
            },
            user: None,
            address: None,
        };
        for feature in Features(features) {
            match feature? {
                (USER, value) => request.user = Some(Login::decode(value)?),
                (ADDRESS, value) => request.address = Some(decode_address(value)?),
                // Of gost's tunnels, which are another service.
                (TUNNEL, _) => {}
                (NETWORK, value) => match value.first_chunk().map(|n| u16::from_be_bytes(*n)) {
                    // The old form counts where the new one says nothing else.
                    Some(0) => {}
                    Some(1) => request.network = Network::Udp,
                    Some(other) => return Err(RequestError::Network(other)),
                    None => return Err(RequestError::Length(NETWORK)),
                },
                (other, _) => return Err(RequestError::Feature(other)),
            }
        }
        buf.advance(HEAD + features.len());
        Ok(Some(request))
    }

    /// Appends the request to `out`, with its features in gost's order. Only a name of more than 255 bytes cannot be
    /// written.
    pub fn encode(&self, out: &mut BytesMut) -> Result<(), AddressError> {
        let mut user = BytesMut::new();
        if let Some(login) = &self.user {
            let mut value = BytesMut::new();
            login.encode(&mut value);
            put_feature(USER, &value, &mut user);
        }
        let is_udp = self.network == Network::Udp;
        let mut network = BytesMut::new();
        put_feature(NETWORK, &u16::from(is_udp).to_be_bytes(), &mut network);
        let mut features = match (self.command, is_udp) {
            (Command::Connect, false) => user,
            (Command::Connect, true) => BytesMut::from(&[network, user].concat()[..]),
            (Command::Bind | Command::Associate, _) => {
                BytesMut::from(&[user, network].concat()[..])
            }
        };
        if let Some(address) = &self.address {
            put_address(address, &mut features)?;
        }
        let command = match self.command {
            Command::Connect => CONNECT,
            Command::Bind => BIND,
            Command::Associate => ASSOCIATE,
        };
        out.put_u8(VERSION);
        out.put_u8(command | if is_udp { UDP } else { 0 });
        out.put_u16(u16::try_from(features.len()).unwrap_or(u16::MAX));
        out.put_slice(&features);
        Ok(())
    }
}

impl Login {
    fn decode(value: &[u8]) -> Result<Self, RequestError> {
        let one = |value: &[u8]| {
            let (n, rest) = value.split_first()?;
            let (text, rest) = rest.split_at_checked(usize::from(*n))?;
            Some((Bytes::copy_from_slice(text), rest.to_vec()))
        };
        let read = || {
            let (name, rest) = one(value)?;
            let (password, _) = one(&rest)?;
            let password = Secret(password);
            Some(Self { name, password })
        };
        read().ok_or(RequestError::Length(USER))
    }

    /// What is longer than 255 bytes is cut, which no server takes for the whole.
    fn encode(&self, out: &mut BytesMut) {
        for text in [&self.name, &*self.password] {
            let text = &text[..text.len().min(255)];
            out.put_u8(text.len() as u8);
            out.put_slice(text);
        }
    }
}

impl Response {
    /// Takes a response off the front of `buf`; `None` asks for more bytes and takes nothing.
    pub fn decode(buf: &mut BytesMut) -> Result<Option<Self>, RequestError> {
        let Some((status, features)) = header(buf)? else {
            return Ok(None);
        };
        let mut address = None;
        for feature in Features(features) {
            if let (ADDRESS, value) = feature? {
                address = Some(decode_address(value)?);
            }
        }
        buf.advance(HEAD + features.len());
        Ok(Some(Self { status, address }))
    }

    /// Appends the response to `out`; only a name of more than 255 bytes cannot be written.
    pub fn encode(&self, out: &mut BytesMut) -> Result<(), AddressError> {
        let mut features = BytesMut::new();
        if let Some(address) = &self.address {
            put_address(address, &mut features)?;
        }
        out.put_u8(VERSION);
        out.put_u8(self.status);
        out.put_u16(u16::try_from(features.len()).unwrap_or(u16::MAX));
        out.put_slice(&features);
        Ok(())
    }
}

impl Status {
    /// A response that says nothing more.
    pub const fn alone(self) -> [u8; HEAD] {
        [VERSION, self as u8, 0, 0]
    }
}

/// How far a response has been read by whoever wants to know of it only that it is well. It is taken off the stream in
/// whatever pieces it comes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Answer {
    #[default]
    Version,
    Status,
    Length(u8),
    Length2(u8, u8),
    /// So many bytes are left.
    Features(u16),
    Whole,
}

#[derive(Debug, Error, PartialEq, Eq)]
pub enum AnswerError {
    #[error("the answer begins with version {0}, expected 1: is this a relay server?")]
    Version(u8),
    #[error("status {0}")]
    Status(u8),
}

impl Answer {
    /// How many of `bytes`, which come next, belong to it.
    pub fn take(&mut self, bytes: &[u8]) -> Result<usize, AnswerError> {
        let mut taken = 0;
        while *self != Self::Whole
            && let Some(&byte) = bytes.get(taken)
        {
            *self = match *self {
                Self::Version if byte != VERSION => return Err(AnswerError::Version(byte)),
                Self::Version => Self::Status,
                Self::Status => Self::Length(byte),
                Self::Length(status) => Self::Length2(status, byte),
                Self::Length2(0, high) => Self::features(u16::from_be_bytes([high, byte])),
                Self::Length2(status, _) => return Err(AnswerError::Status(status)),
                Self::Features(left) => Self::features(left - 1),
                Self::Whole => break,
            };
            taken += 1;
        }
        Ok(taken)
    }

    fn features(left: u16) -> Self {
        match left {
            0 => Self::Whole,
            left => Self::Features(left),
        }
    }
}

/// The second byte of a whole header, and its features.
fn header(buf: &[u8]) -> Result<Option<(u8, &[u8])>, RequestError> {
    if let Some(version) = buf.first().filter(|version| **version != VERSION) {
        return Err(RequestError::Version(*version));
    }
    let Some(&[_, code, high, low]) = buf.first_chunk::<HEAD>() else {
        return Ok(None);
    };
    let len = usize::from(u16::from_be_bytes([high, low]));
    if len > MAX_FEATURES {
        return Err(RequestError::Long(len));
    }
    Ok(buf.get(HEAD..HEAD + len).map(|features| (code, features)))
}

/// Type and value of each.
struct Features<'a>(&'a [u8]);

impl<'a> Iterator for Features<'a> {
    type Item = Result<(u8, &'a [u8]), RequestError>;

    fn next(&mut self) -> Option<Self::Item> {
        let &kind = self.0.first()?;
        let rest = std::mem::take(&mut self.0);
        let cut = || {
            let len = usize::from(u16::from_be_bytes(*rest.get(1..)?.first_chunk()?));
            rest[3..].split_at_checked(len)
        };
        Some(match cut() {
            Some((value, rest)) => {
                self.0 = rest;
                Ok((kind, value))
            }
            None => Err(RequestError::Length(kind)),
        })
    }
}

fn put_feature(kind: u8, value: &[u8], out: &mut BytesMut) {
    out.put_u8(kind);
    out.put_u16(u16::try_from(value.len()).unwrap_or(u16::MAX));
    out.put_slice(value);
}

fn put_address(address: &Destination, out: &mut BytesMut) -> Result<(), AddressError> {
    let mut value = BytesMut::new();
    address.encode(Form::PortLast, &mut value)?;
    put_feature(ADDRESS, &value, out);
    Ok(())
}

fn decode_address(value: &[u8]) -> Result<Destination, RequestError> {
    if let [3, n, rest @ ..] = value
        && let Some((name, port)) = rest.split_at_checked(usize::from(*n))
        && let Some(to) = odd_address(name, port)
    {
        return Ok(to);
    }
    let mut value = BytesMut::from(value);
    match Destination::decode(&mut value, Form::PortLast)? {
        Some(to) if value.is_empty() => Ok(to),
        _ => Err(RequestError::Length(ADDRESS)),
    }
}

/// What gost's clients make of an address without a host: no name at all, or `0.0.0.0::PORT` with port 0.
fn odd_address(name: &[u8], port: &[u8]) -> Option<Destination> {
    let port = u16::from_be_bytes(*port.first_chunk()?);
    let name = str::from_utf8(name).ok()?;
    let (name, port) = match name.rsplit_once(':') {
        Some((host, digits)) if port == 0 => (host.trim_end_matches(':'), digits.parse().ok()?),
        _ => (name, port),
    };
    let name = if name.is_empty() { "0.0.0.0" } else { name };
    let host = Host::parse(name).ok()?;
    matches!(host, Host::Ip(_)).then_some(Destination { host, port })
}

/// What stands in front of the address of a datagram of an association: the length, where SOCKS has nothing, and the
/// byte of fragments, which means nothing here.
const IN_FRONT: usize = 2 + 1;
const NO_FRAGMENT: u8 = 0xff;

/// Takes a datagram of an association and its peer off the front of `buf`; `None` asks for more bytes and takes nothing.
pub fn decode_addressed(
    buf: &mut BytesMut,
) -> Result<Option<(Destination, BytesMut)>, AddressError> {
    let Some(len) = buf.first_chunk().map(|len| u16::from_be_bytes(*len)) else {
        return Ok(None);
    };
    let Some(rest) = buf.get(IN_FRONT..) else {
        return Ok(None);
    };
    // The longest address has 259 bytes.
    let mut address = BytesMut::from(&rest[..rest.len().min(260)]);
    let before = address.len();
    let Some(peer) = Destination::decode(&mut address, Form::PortLast)? else {
        return Ok(None);
    };
    let head = IN_FRONT + before - address.len();
    if buf.len() < head + usize::from(len) {
        return Ok(None);
    }
    buf.advance(head);
    Ok(Some((peer, buf.split_to(usize::from(len)))))
}

/// Appends a datagram and its peer; nothing when there is no way to write it. A gost takes an empty one for the beginning
/// of something else, so it is left out.
pub fn encode_addressed(peer: &Destination, data: &[u8], out: &mut BytesMut) {
    let Ok(len @ 1..) = u16::try_from(data.len()) else {
        return;
    };
    let begin = out.len();
    out.put_u16(len);
    out.put_u8(NO_FRAGMENT);
    match peer.encode(Form::PortLast, out) {
        Ok(()) => out.put_slice(data),
        Err(_) => out.truncate(begin),
    }
}

#[cfg(test)]
#[path = "codec_tests.rs"]
mod tests;
