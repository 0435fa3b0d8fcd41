//! Whose way of ending a stream the peer has, and whether a stream has ended in that way.
//!
//! ```text
//!            end mark   Close of a WebSocket
//! mobula     always     always
//! V2Ray      usually    always
//! sing-box   never      always
//! mihomo     never      not if it is the first to end
//! ```
//! Two mobulas know each other by a sign inside the sealed headers. V2Ray is known by the form of its headers: its
//! server leaves the options of a response empty, which sing-vmess (sing-box, mihomo) copies from the request; its
//! client asks for global padding, or for chunks without a seal, which sing-vmess does on demand, and never.
//! An end mark is demanded only of a V2Ray server that has sent one before, as its experiment `NoTerminationSignal`
//! leaves it out. Without one V2Ray has given a session up, its goodbye notwithstanding.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use super::codec::body::Cipher;
use super::codec::header::{Command, Request, option};
use super::codec::response;
use crate::io::Goodbye;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Peer {
    Mobula,
    V2ray,
    Other,
}

/// What earlier responses have told of a server.
#[derive(Debug, Default)]
pub(super) struct Known {
    peer: AtomicU8,
    marks: AtomicBool,
}

impl Known {
    pub(super) fn set(&self, peer: Peer) {
        self.peer.store(1 + peer as u8, Ordering::Relaxed);
    }

    /// Who the last one was; `None` before the first one.
    pub(super) fn get(&self) -> Option<Peer> {
        let peers = [Peer::Mobula, Peer::V2ray, Peer::Other];
        let known = self.peer.load(Ordering::Relaxed);
        peers.into_iter().find(|peer| 1 + *peer as u8 == known)
    }

    /// It has sent an end mark.
    pub(super) fn has_marked(&self) {
        self.marks.store(true, Ordering::Relaxed);
    }

    pub(super) fn marks(&self) -> bool {
        self.marks.load(Ordering::Relaxed)
    }
}

impl Peer {
    /// The client that made this request. `pads_zeros`: the user has been seen with padding of zeros, which
    /// is sing-vmess's.
    pub(super) fn client(request: &Request, pads_zeros: bool) -> Self {
        if !matches!(request.command, Command::Stream(_)) {
            return Self::Other;
        }
        let asked = |bit| request.options & bit != 0;
        let v2ray = match request.cipher {
            Cipher::None => asked(option::CHUNKS),
            _ => asked(option::PADDING) && !pads_zeros,
        };
        match (request.marks_ends, v2ray) {
            (true, _) => Self::Mobula,
            (false, true) => Self::V2ray,
            (false, false) => Self::Other,
        }
    }

    /// The server whose response has `options`, to a request that had `asked`.
    pub(super) fn server(asked: u8, options: u8) -> Self {
        match options {
            _ if options & response::MARKS_ENDS != 0 => Self::Mobula,
            0 if asked != 0 => Self::V2ray,
            _ => Self::Other,
        }
    }

    /// What is missing, if it is, from an end between two chunks and without an end mark. `raw`: there could
    /// be none. `marks`: the peer has sent one before.
    pub(super) fn missing(self, raw: bool, marks: bool, goodbye: Goodbye) -> Option<&'static str> {
        let broken = match (self, goodbye) {
            (Self::Mobula, _) if !raw => return Some("an end mark"),
            (Self::V2ray, _) if !raw && marks => return Some("an end mark"),
            (Self::Mobula, Goodbye::HasNone | Goodbye::Said) => false,
            (Self::Mobula, _) | (_, Goodbye::Owed) => true,
            (Self::V2ray, Goodbye::OwedByV2ray) => true,
            _ => false,
        };
        broken.then_some("a goodbye")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::vmess::codec::header::Padding;

    #[test]
    fn only_who_would_have_said_goodbye_is_missed() {
        use Goodbye::{HasNone, Owed, OwedByV2ray, Said, Unknown};
        for (peer, raw, broken) in [
            (Peer::Mobula, false, &[HasNone, Said, Unknown, Owed][..]),
            (Peer::Mobula, true, &[Unknown, OwedByV2ray, Owed]),
            (Peer::V2ray, false, &[OwedByV2ray, Owed]),
            (Peer::Other, false, &[Owed]),
        ] {
            for goodbye in [HasNone, Said, Unknown, OwedByV2ray, Owed] {
                if (peer, raw, goodbye) == (Peer::Mobula, false, OwedByV2ray) {
                    continue;
                }
                let missed = peer.missing(raw, false, goodbye).is_some();
                assert_eq!(missed, broken.contains(&goodbye), "{peer:?} {goodbye:?}");
            }
        }
    }

    #[test]
    fn a_v2ray_that_sends_end_marks_is_not_believed_without_one() {
        let said = |peer: Peer, raw, marks| peer.missing(raw, marks, Goodbye::Said);
        assert_eq!(said(Peer::V2ray, false, true), Some("an end mark"));
        assert_eq!(said(Peer::V2ray, false, false), None);
        assert_eq!(said(Peer::V2ray, true, true), None);
        assert_eq!(said(Peer::Other, false, true), None);
    }

    #[test]
    fn clients_are_known_by_their_headers() {
        let of = |cipher, options, command, marks_ends, pads_zeros| {
            let request = Request {
                iv: [0; 16],
                key: [0; 16],
                v: 0,
                options,
                cipher,
                marks_ends,
                padding: Padding::Unknown,
                command,
            };
            Peer::client(&request, pads_zeros)
        };
        let to = || Command::Stream("a:1".parse().unwrap());
        let (aes, none) = (Cipher::Aes128Gcm, Cipher::None);
        assert_eq!(of(aes, 0x0d, to(), false, false), Peer::V2ray);
        assert_eq!(of(aes, 0x0d, to(), true, false), Peer::Mobula);
        assert_eq!(of(aes, 0x0d, to(), false, true), Peer::Other);
        assert_eq!(of(aes, 0x05, to(), false, false), Peer::Other);
        assert_eq!(of(none, 0x05, to(), false, false), Peer::V2ray);
        assert_eq!(of(none, 0, to(), false, false), Peer::Other);
        assert_eq!(of(aes, 0x0d, Command::Mux, true, false), Peer::Other);
    }

    #[test]
    fn servers_are_known_by_what_they_copy() {
        assert_eq!(Peer::server(0x0d, response::MARKS_ENDS), Peer::Mobula);
        assert_eq!(Peer::server(0x0d, 0), Peer::V2ray);
        assert_eq!(Peer::server(0x0d, 0x0d), Peer::Other);
        assert_eq!(Peer::server(0, 0), Peer::Other);
    }
}
