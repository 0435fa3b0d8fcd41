//! The answer to a request for a stream, which waits for its outcome.

use bytes::Bytes;

use super::codec::Status;
use crate::cause::{Reach, Unreached};
use crate::seam::Reply;

/// The target of a stream is dialled before it is answered: a status other than 0 cannot be told later. That is still at
/// once, for the target need not say anything.
pub(super) enum Awaited {
    /// To where the client wants.
    AsAsked,
    /// To where the settings lead.
    Forward,
}

impl Reply for Awaited {
    fn answer(self: Box<Self>, outcome: Result<(), &Unreached<'_>>) -> Bytes {
        let status = match outcome {
            Ok(()) => Status::Ok,
            Err(why) => self.status(why.reach()),
        };
        Bytes::copy_from_slice(&status.alone())
    }
}

impl Awaited {
    /// Gost says 6 of a forwarder's target and 7 of any other that cannot be reached.
    fn status(&self, reach: Reach) -> Status {
        match (reach, self) {
            (Reach::Forbidden, _) => Status::Forbidden,
            (Reach::Slow, _) => Status::Timeout,
            (_, Self::Forward) | (Reach::NoHost, _) => Status::HostUnreachable,
            (Reach::NoNetwork | Reach::Refused | Reach::Broken, Self::AsAsked) => {
                Status::NetworkUnreachable
            }
        }
    }
}
