//! The Initial packets of a QUIC client (RFC 9000, 17.2.2), and in them its TLS ClientHello.
//!
//! ```text
//! | 11TT???? | version 4 | n 1 ‖ dcid n | n 1 ‖ scid n | n var ‖ token n | length var |
//! | packet number 1-4 ‖ sealed frames ‖ tag 16 |
//! ```
//!
//! They are sealed, but with keys that anybody can make of the connection id (RFC 9001, 5.2). A hello
//! may come in pieces, in any order, in several packets of several datagrams.

mod frames;
mod keys;

use bytes::Buf;

use super::tls::{Hello, client_hello};
use super::{Found, Sniffed};
use frames::{Pieces, crypto};
use keys::{Keys, Version};

/// A client that has begun to speak.
#[derive(Default)]
pub struct Quic {
    /// Of the first packet: later ones go by the same, whatever id they name.
    keys: Option<Keys>,
    hello: Pieces,
}

/// The most that a connection id has (RFC 9000, 17.2).
const MAX_ID: usize = 20;

impl Quic {
    /// The next datagram.
    pub fn sniff(&mut self, datagram: &[u8]) -> Sniffed {
        let mut rest = datagram;
        while let Some(packet) = Initial::take(&mut rest) {
            let keys = match self.keys.take() {
                Some(keys) => Some(keys),
                None => Keys::new(packet.version, packet.id),
            };
            let Some(keys) = keys else {
                return Sniffed::No;
            };
            let opened = keys.open(packet.header_len, packet.bytes);
            self.keys = Some(keys);
            let Some(frames) = opened else { break };
            if crypto(&frames, |at, data| self.hello.put(at, data)).is_none() {
                return Sniffed::No;
            }
        }
        if self.hello.is_empty() {
            return Sniffed::No;
        }
        match client_hello(self.hello.beginning()) {
            Hello::NeedMore => Sniffed::NeedMore,
            Hello::No => Sniffed::No,
            Hello::Whole(host) => Sniffed::Found(Found {
                protocol: "quic",
                host,
            }),
        }
    }
}

/// One packet, still sealed.
struct Initial<'a> {
    version: Version,
    id: &'a [u8],
    /// Of what stands before the packet number.
    header_len: usize,
    /// The whole packet.
    bytes: &'a [u8],
}

impl<'a> Initial<'a> {
    /// Takes the first packet off the datagram; `None` when it is none of a client's first.
    fn take(datagram: &mut &'a [u8]) -> Option<Self> {
        let all = *datagram;
        let mut rest = all;
        let first = byte(&mut rest)?;
        let version = Version::of(rest.try_get_u32().ok()?)?;
        if first & 0xc0 != 0xc0 || (first >> 4) & 0b11 != version.initial() {
            return None;
        }
        let id_len = usize::from(byte(&mut rest)?);
        let id = take(&mut rest, id_len)?;
        let source_len = usize::from(byte(&mut rest)?);
        take(&mut rest, source_len)?;
        if id_len > MAX_ID || source_len > MAX_ID {
            return None;
        }
        let token_len = number(&mut rest)?;
        take(&mut rest, token_len)?;
        let len = number(&mut rest)?;
        let header_len = all.len() - rest.len();
        take(&mut rest, len)?;
        *datagram = rest;
        Some(Self {
            version,
            id,
            header_len,
            bytes: &all[..header_len + len],
        })
    }
}

fn byte(from: &mut &[u8]) -> Option<u8> {
    from.try_get_u8().ok()
}

fn take<'a>(from: &mut &'a [u8], n: usize) -> Option<&'a [u8]> {
    let (taken, rest) = from.split_at_checked(n)?;
    *from = rest;
    Some(taken)
}

/// An integer of 1, 2, 4 or 8 bytes; the first two bits say which (RFC 9000, 16).
fn number(from: &mut &[u8]) -> Option<usize> {
    let len = 1 << (from.first()? >> 6);
    let mut value = from.try_get_uint(len).ok()?;
    value &= u64::MAX >> (64 - 8 * len + 2);
    usize::try_from(value).ok()
}

/// For the fuzzer.
pub(crate) fn fuzz(data: &[u8]) {
    let mut quic = Quic::default();
    for datagram in data.chunks(100) {
        quic.sniff(datagram);
    }
    let mut pieces = Pieces::default();
    if crypto(data, |at, piece| pieces.put(at, piece)).is_some() {
        client_hello(pieces.beginning());
    }
}

#[cfg(test)]
mod tests;
