//! How many connections come from where.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::session::Source;

/// A table in pieces, so that those who look into it seldom meet.
const PIECES: usize = 16;

/// Only those are in it from which something comes.
#[derive(Debug, Default)]
pub(super) struct Sources {
    /// Whoever comes chooses the address, and must not know in which piece it is.
    hasher: RandomState,
    pieces: [Mutex<HashMap<IpAddr, u32>>; PIECES],
}

/// Whom a connection is counted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Whose {
    /// Of IPv6 without the half that a host chooses for itself.
    pub(super) network: IpAddr,
    /// This machine's own address: a proxy may stand there.
    pub(super) may_be_anybodys: bool,
}

impl Whose {
    /// Nobody's when it comes by a unix socket.
    pub(super) fn of(source: Source) -> Option<Self> {
        let Source::Ip(addr) = source else {
            return None;
        };
        let ip = addr.ip().to_canonical();
        Some(Self {
            may_be_anybodys: ip.is_loopback(),
            network: match ip {
                IpAddr::V4(_) => ip,
                IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64).into(),
            },
        })
    }
}

impl Sources {
    /// One more, unless there are `max` of them.
    pub(super) fn add(&self, network: IpAddr, max: u32) -> bool {
        let mut piece = self.piece(network);
        let there = piece.entry(network).or_insert(0);
        if *there >= max {
            return false;
        }
        *there += 1;
        true
    }

    pub(super) fn remove(&self, network: IpAddr) {
        let mut piece = self.piece(network);
        if let Some(there) = piece.get_mut(&network) {
            *there -= 1;
            if *there == 0 {
                piece.remove(&network);
            }
        }
        if piece.is_empty() && piece.capacity() > KEPT {
            piece.shrink_to(KEPT);
        }
    }

    fn piece(&self, network: IpAddr) -> MutexGuard<'_, HashMap<IpAddr, u32>> {
        let at = self.hasher.hash_one(network) as usize % PIECES;
        self.pieces[at]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Room that an empty piece keeps.
const KEPT: usize = 64;
