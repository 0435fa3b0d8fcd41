//! A TLS ClientHello (RFC 8446, 4.1.2), and in it the name of the server (RFC 6066, 3).
//!
//! ```text
//! record:    | 0x16 | 0x03 | 0x0? | length 2 | part of a message |
//! message:   | 0x01 | length 3 | version 2 | random 32 | n 1 ‖ session n | n 2 ‖ ciphers n
//!            | n 1 ‖ compression n | n 2 ‖ extensions n |
//! extension: | type 2 | n 2 ‖ n bytes |
//! type 0:    | n 2 | 0x00 | n 2 ‖ name n | ...
//! ```
//!
//! A message may be cut into any number of records. The name is taken as soon as it is there, whatever
//! is still to come: a hello with post-quantum keys fills more than a packet.

use super::{Found, Sniffed};
use crate::address::Host;

const HANDSHAKE: u8 = 0x16;
const CLIENT_HELLO: u8 = 0x01;
const SERVER_NAME: u16 = 0;
const HOST_NAME: u8 = 0;

/// The most that one record carries (RFC 8446, 5.1).
const MAX_RECORD: usize = 1 << 14;

pub(super) fn sniff(data: &[u8]) -> Sniffed {
    let mut message = Vec::new();
    let mut rest = data;
    loop {
        match rest {
            [HANDSHAKE, 0x03, _, a, b, after @ ..] => {
                let len = usize::from(u16::from_be_bytes([*a, *b]));
                if !(1..=MAX_RECORD).contains(&len) {
                    return Sniffed::No;
                }
                let (part, after) = after.split_at(len.min(after.len()));
                message.extend_from_slice(part);
                match client_hello(&message) {
                    Hello::NeedMore if part.len() == len => rest = after,
                    Hello::NeedMore => return Sniffed::NeedMore,
                    Hello::Whole(host) => {
                        return Sniffed::Found(Found {
                            protocol: "tls",
                            host,
                        });
                    }
                    Hello::No => return Sniffed::No,
                }
            }
            [] | [HANDSHAKE] | [HANDSHAKE, 0x03, ..] => return Sniffed::NeedMore,
            _ => return Sniffed::No,
        }
    }
}

/// What is known of a ClientHello.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Hello {
    /// The name, if there is one.
    Whole(Option<Host>),
    NeedMore,
    No,
}

/// The beginning of a message, without the records around it.
pub(super) fn client_hello(message: &[u8]) -> Hello {
    let len = match message {
        [CLIENT_HELLO, a, b, c, ..] => {
            usize::try_from(u32::from_be_bytes([0, *a, *b, *c])).unwrap_or(usize::MAX)
        }
        [] | [CLIENT_HELLO, ..] => return Hello::NeedMore,
        _ => return Hello::No,
    };
    let body = &message[4..];
    let whole = body.len() >= len;
    let mut body = Cursor(&body[..len.min(body.len())]);
    match body.server_name(whole) {
        Ok(host) => Hello::Whole(host),
        Err(Short) if whole => Hello::No,
        Err(Short) => Hello::NeedMore,
    }
}

/// What is left to read.
struct Cursor<'a>(&'a [u8]);

/// Fewer bytes are there than were announced.
struct Short;

impl<'a> Cursor<'a> {
    fn server_name(&mut self, whole: bool) -> Result<Option<Host>, Short> {
        self.take(2 + 32)?;
        self.block(1)?;
        self.block(2)?;
        self.block(1)?;
        if whole && self.0.is_empty() {
            // Old clients have no extensions.
            return Ok(None);
        }
        let announced = self.number(2)?;
        let mut left = announced;
        while left > 0 {
            let kind = self.number(2)?;
            let extension = self.block(2)?;
            if kind == usize::from(SERVER_NAME) {
                return Ok(host_name(extension));
            }
            left = left.checked_sub(4 + extension.len()).ok_or(Short)?;
        }
        Ok(None)
    }

    fn take(&mut self, n: usize) -> Result<&'a [u8], Short> {
        let (taken, rest) = self.0.split_at_checked(n).ok_or(Short)?;
        self.0 = rest;
        Ok(taken)
    }

    fn number(&mut self, bytes: usize) -> Result<usize, Short> {
        let digits = self.take(bytes)?;
        Ok(digits.iter().fold(0, |n, b| n << 8 | usize::from(*b)))
    }

    /// Bytes behind their own number.
    fn block(&mut self, bytes: usize) -> Result<&'a [u8], Short> {
        let len = self.number(bytes)?;
        self.take(len)
    }
}

/// The first name of the list. One that ends with a dot must not be there, and is none to V2Ray.
fn host_name(extension: &[u8]) -> Option<Host> {
    let mut list = Cursor(Cursor(extension).block(2).ok()?);
    loop {
        let kind = list.number(1).ok()?;
        let name = list.block(2).ok()?;
        if kind == usize::from(HOST_NAME) {
            let name = str::from_utf8(name).ok().filter(|n| !n.ends_with('.'))?;
            return Host::parse(name).ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::assert_sniffs;
    use tokio_rustls::rustls::crypto::aws_lc_rs::default_provider;
    use tokio_rustls::rustls::pki_types::ServerName;
    use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore};

    #[test]
    fn the_name_is_found_in_what_rustls_sends() {
        let hello = from_rustls("www.example.com");
        assert_eq!(assert_sniffs(&hello, sniff), found("www.example.com"));
        // An address is not written down.
        let hello = from_rustls("192.0.2.1");
        assert_eq!(assert_sniffs(&hello, sniff), found(""));
    }

    #[test]
    fn a_message_may_be_cut_into_records_anywhere() {
        let hello = from_rustls("example.com");
        let message = &hello[5..];
        for at in 1..message.len() {
            let (a, b) = message.split_at(at);
            let cut = [record(a), record(b)].concat();
            assert_eq!(sniff(&cut), found("example.com"), "cut at {at}");
        }
        let bytes: Vec<u8> = message.chunks(1).flat_map(record).collect();
        assert_eq!(assert_sniffs(&bytes, sniff), found("example.com"));
    }

    #[test]
    fn the_name_is_found_before_the_whole_hello_is_there() {
        let name = extension(0, &name_list(0, b"a.example"));
        let hello = hello(&[extension(0x1a1a, b""), name, extension(51, &[7; 9000])].concat());
        assert_eq!(sniff(&record(&hello)[..200]), found("a.example"));
        assert_eq!(assert_sniffs(&record(&hello), sniff), found("a.example"));
    }

    #[test]
    fn only_a_name_that_can_be_one_is_taken() {
        let names: [(&[u8], &str); 7] = [
            (b"UPPER.example", "UPPER.example"),
            (b"192.0.2.1", "192.0.2.1"),
            (b"a_b.example", "a_b.example"),
            (b"dot.example.", ""),
            (b"", ""),
            (b"a b", ""),
            (b"\xff", ""),
        ];
        for (name, expected) in names {
            let hello = hello(&extension(0, &name_list(0, name)));
            assert_eq!(sniff(&record(&hello)), found(expected), "{name:?}");
        }
        let hello = hello(&extension(0, &name_list(1, b"other.kind")));
        assert_eq!(sniff(&record(&hello)), found(""));
    }

    #[test]
    fn a_hello_without_a_name_is_tls_all_the_same() {
        let without = hello(&extension(10, &[0, 2, 0, 29]));
        assert_eq!(assert_sniffs(&record(&without), sniff), found(""));
        let mut old = without[..4 + 34 + 1 + 4 + 2].to_vec();
        let len = u8::try_from(old.len() - 4).unwrap();
        old[3] = len;
        assert_eq!(assert_sniffs(&record(&old), sniff), found(""));
    }

    #[test]
    fn what_is_no_hello_is_told_apart_at_once() {
        let whole = record(&hello(&extension(0, &name_list(0, b"a.example"))));
        let mut too_short = whole.clone();
        too_short[8] -= 10;
        let others: [&[u8]; 6] = [
            b"\x16\x02",
            b"\x15\x03\x01\x00\x02\x02\x28",
            b"\x16\x03\x01\x00\x00",
            b"\x16\x03\x01\x40\x01",
            // A ServerHello.
            b"\x16\x03\x03\x00\x04\x02",
            &too_short,
        ];
        for other in others {
            assert_eq!(assert_sniffs(other, sniff), Sniffed::No, "{other:02x?}");
        }
        // Another kind of record in the middle of the message.
        let mut broken = record(&whole[5..20]);
        broken.extend_from_slice(b"\x17\x03");
        assert_eq!(sniff(&broken), Sniffed::No);
    }

    fn found(name: &str) -> Sniffed {
        Sniffed::Found(Found {
            protocol: "tls",
            host: Host::parse(name).ok(),
        })
    }

    fn from_rustls(name: &str) -> Vec<u8> {
        let config = ClientConfig::builder_with_provider(default_provider().into())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let mut client = ClientConnection::new(config.into(), name).unwrap();
        let mut hello = Vec::new();
        client.write_tls(&mut hello).unwrap();
        hello
    }

    fn record(part: &[u8]) -> Vec<u8> {
        let len = u16::try_from(part.len()).unwrap().to_be_bytes();
        [&[HANDSHAKE, 3, 1], &len[..], part].concat()
    }

    fn hello(extensions: &[u8]) -> Vec<u8> {
        let len = u16::try_from(extensions.len()).unwrap().to_be_bytes();
        let body = [
            &[3, 3][..],
            &[9; 32],
            &[0],
            &[0, 2, 0x13, 0x01],
            &[1, 0],
            &len,
            extensions,
        ]
        .concat();
        let len = u32::try_from(body.len()).unwrap().to_be_bytes();
        [&[CLIENT_HELLO], &len[1..], &body].concat()
    }

    fn extension(kind: u16, data: &[u8]) -> Vec<u8> {
        let len = u16::try_from(data.len()).unwrap().to_be_bytes();
        [&kind.to_be_bytes()[..], &len, data].concat()
    }

    fn name_list(kind: u8, name: &[u8]) -> Vec<u8> {
        let len = u16::try_from(name.len()).unwrap();
        let all = (len + 3).to_be_bytes();
        [&all[..], &[kind], &len.to_be_bytes(), name].concat()
    }
}
