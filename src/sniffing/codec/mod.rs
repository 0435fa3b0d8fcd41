//! What the first bytes of a session say about it.
//!
//! A codec gives the same answer wherever the bytes are split, and keeps no state. Only QUIC, whose hello may come in
//! several datagrams, keeps a bounded part of them.

mod bittorrent;
mod http;
mod nameless;
mod quic;
mod tls;

pub use quic::Quic;
pub(crate) use quic::fuzz as fuzz_quic;

use crate::address::Host;

/// The answer of a codec.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sniffed {
    Found(Found),
    /// More bytes could tell.
    NeedMore,
    No,
}

/// What a session turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// As V2Ray calls it: `http1`, `tls`, `quic`, `bittorrent`; as sing-box does: `ssh`, `rdp`, `stun`, `dtls`, `ntp`.
    pub protocol: &'static str,
    /// What the client calls the target, if it says so; an address when it names one.
    pub host: Option<Host>,
}

/// The beginning of a stream.
pub fn stream(data: &[u8]) -> Sniffed {
    first_of([
        http::sniff(data),
        tls::sniff(data),
        bittorrent::sniff(data),
        nameless::sniff(data),
    ])
}

/// The first datagram to a destination, and those that `quic` asks for.
pub fn datagram(quic: &mut Quic, data: &[u8]) -> Sniffed {
    first_of([
        quic.sniff(data),
        bittorrent::sniff_utp(data),
        nameless::sniff_datagram(data),
    ])
}

fn first_of<const N: usize>(answers: [Sniffed; N]) -> Sniffed {
    let more = answers.contains(&Sniffed::NeedMore);
    let found = answers.into_iter().find(|a| matches!(a, Sniffed::Found(_)));
    found.unwrap_or(if more { Sniffed::NeedMore } else { Sniffed::No })
}

/// Whether `data` begins with `prefix`; `NeedMore` while it may yet.
fn begins(data: &[u8], prefix: &[u8]) -> Result<(), Sniffed> {
    let n = data.len().min(prefix.len());
    match data[..n].eq_ignore_ascii_case(&prefix[..n]) {
        true if n == prefix.len() => Ok(()),
        true => Err(Sniffed::NeedMore),
        false => Err(Sniffed::No),
    }
}
