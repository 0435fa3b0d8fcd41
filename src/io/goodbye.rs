//! Whether a stream that has come to its end was ended by its peer.
//!
//! A connection whose peer was killed looks like one that was closed: there is nothing more to read. Layers with
//! a word for the end can tell, if the peer is one that says it. V2Ray and sing-box send a close frame whenever
//! they end a WebSocket; mihomo never does when it is the first to end.

use std::io;

/// What was said when reading came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goodbye {
    /// No layer has a word for it.
    HasNone,
    Said,
    /// Nothing, and nobody knows whether this peer would have said it.
    Unknown,
    /// Nothing, where V2Ray says it. Others that begin like it do not.
    OwedByV2ray,
    /// Nothing, where whoever begins like this peer says it.
    Owed,
}

/// A stream that ended without the end it should have had.
pub fn broken_off(missing: &str) -> io::Error {
    let text = format!("the stream broke off: the connection ended without {missing}");
    io::Error::new(io::ErrorKind::UnexpectedEof, text)
}
