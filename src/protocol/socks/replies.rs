//! The answers to a CONNECT that waits for its outcome.

use bytes::{Bytes, BytesMut};

use super::codec::Reply as Message;
use crate::address::Destination;
use crate::cause::{Reach, Unreached};
use crate::seam::Reply;

pub(super) const SUCCEEDED: u8 = 0x00;
pub(super) const GENERAL_FAILURE: u8 = 0x01;
const NOT_ALLOWED: u8 = 0x02;
const NETWORK_UNREACHABLE: u8 = 0x03;
const HOST_UNREACHABLE: u8 = 0x04;
const CONNECTION_REFUSED: u8 = 0x05;
const TTL_EXPIRED: u8 = 0x06;

/// SOCKS 4 replies; address and port in them mean nothing to a CONNECT.
pub(super) const GRANTED_4: [u8; 8] = [0x00, 0x5a, 0, 0, 0, 0, 0, 0];
pub(super) const REJECTED_4: [u8; 8] = [0x00, 0x5b, 0, 0, 0, 0, 0, 0];

pub(super) enum Awaited {
    Four,
    Five {
        /// The address that a grant names, and the one that nobody has.
        bound: Destination,
        nowhere: Destination,
    },
}

impl Reply for Awaited {
    fn answer(self: Box<Self>, outcome: Result<(), &Unreached<'_>>) -> Bytes {
        let (bound, nowhere) = match *self {
            Self::Four => {
                return Bytes::from_static(match outcome {
                    Ok(()) => &GRANTED_4,
                    Err(_) => &REJECTED_4,
                });
            }
            Self::Five { bound, nowhere } => (bound, nowhere),
        };
        let (code, bound) = match outcome {
            Ok(()) => (SUCCEEDED, bound),
            Err(why) => (code(why.reach()), nowhere),
        };
        let mut out = BytesMut::new();
        // Addresses always fit.
        let _ = Message { code, bound }.encode(&mut out);
        out.freeze()
    }
}

/// RFC 1928, section 6; that nobody answered in time, others say with `TTL expired` as well.
fn code(reach: Reach) -> u8 {
    match reach {
        Reach::Forbidden => NOT_ALLOWED,
        Reach::NoNetwork => NETWORK_UNREACHABLE,
        Reach::NoHost => HOST_UNREACHABLE,
        Reach::Refused => CONNECTION_REFUSED,
        Reach::Slow => TTL_EXPIRED,
        Reach::Broken => GENERAL_FAILURE,
    }
}
