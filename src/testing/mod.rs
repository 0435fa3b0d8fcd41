//! What tests share: the laws every codec obeys, and one entry function per fuzz target.
//!
//! The laws: (1) what is encoded decodes to itself; (2) the answer does not depend on where the bytes
//! were split; (3) `None` leaves the buffer as it was; (4) no input panics; (5) memory is bounded by a
//! named constant. Fuzz targets call the functions of [`targets`], which hold laws 2 to 5 against
//! whatever they are given.

mod finder;
#[cfg(test)]
pub(crate) mod links;
mod pieces;
#[cfg(test)]
pub(crate) mod settings;
mod targets;

pub use finder::{Finder, flight, trojan_users, vless_users};
pub use targets::*;

use std::fmt::Debug;

use bytes::BytesMut;

use crate::sniffing::codec::Sniffed;

/// Laws 1 to 3: `bytes` decode to `value`, all of them are taken, and every shorter beginning asks
/// for more and is left alone.
pub fn assert_decodes<T: Debug + PartialEq, E: Debug + PartialEq>(
    bytes: &[u8],
    value: &T,
    mut decode: impl FnMut(&mut BytesMut) -> Result<Option<T>, E>,
) {
    for n in 0..bytes.len() {
        let mut part = BytesMut::from(&bytes[..n]);
        assert_eq!(decode(&mut part), Ok(None), "{n} of {} bytes", bytes.len());
        assert_eq!(part, bytes[..n], "nothing is taken from a short buffer");
    }
    let mut whole = BytesMut::from(bytes);
    let decoded = decode(&mut whole).expect("the bytes are right");
    assert_eq!(decoded.as_ref(), Some(value));
    assert!(whole.is_empty(), "{} bytes are left", whole.len());
}

/// Laws 2 and 3 for any bytes: once a beginning decodes or is refused, more bytes behind it change
/// nothing; until then nothing is taken.
pub fn assert_split_agrees<T: Debug + PartialEq, E: Debug + PartialEq>(
    bytes: &[u8],
    mut decode: impl FnMut(&mut BytesMut) -> Result<Option<T>, E>,
) {
    let mut whole = BytesMut::from(bytes);
    let expected = decode(&mut whole);
    let used = bytes.len() - whole.len();
    for n in 0..bytes.len() {
        let mut part = BytesMut::from(&bytes[..n]);
        match decode(&mut part) {
            Ok(None) => assert_eq!(part, bytes[..n], "nothing is taken from a short buffer"),
            early => {
                assert_eq!(early, expected, "{n} of {} bytes", bytes.len());
                assert!(early.is_err() || n - part.len() == used);
            }
        }
    }
}

/// Law 2 for a codec that takes nothing: once a beginning is judged, more bytes behind it change nothing.
pub fn assert_sniffs(data: &[u8], sniff: impl Fn(&[u8]) -> Sniffed) -> Sniffed {
    let expected = sniff(data);
    for n in 0..data.len() {
        let early = sniff(&data[..n]);
        assert!(
            early == Sniffed::NeedMore || early == expected,
            "{n} of {} bytes: {early:?}, all: {expected:?}",
            data.len()
        );
    }
    expected
}

/// The two ends of a connection.
#[cfg(test)]
pub(crate) async fn tcp_pair() -> (tokio::net::TcpStream, tokio::net::TcpStream) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let there = tokio::net::TcpStream::connect(listener.local_addr().unwrap());
    let (here, there) = tokio::join!(listener.accept(), there);
    let there = there.unwrap();
    there.set_nodelay(true).unwrap();
    (here.unwrap().0, there)
}
