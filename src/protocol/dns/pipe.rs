//! Datagrams between two tasks.

use std::io;
use std::task::{Context, Poll};

use tokio::sync::mpsc;

use crate::io::{Packet, Packets};

/// Datagrams on their way; what comes beyond is lost, as UDP may lose it.
const CAPACITY: usize = 64;

/// One of two ends.
pub(super) struct End {
    out: mpsc::Sender<Packet>,
    inside: mpsc::Receiver<Packet>,
}

pub(super) fn pair() -> (End, End) {
    let (to_right, right) = mpsc::channel(CAPACITY);
    let (to_left, left) = mpsc::channel(CAPACITY);
    let end = |out, inside| End { out, inside };
    (end(to_right, left), end(to_left, right))
}

impl Packets for End {
    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Packet>>> {
        self.inside.poll_recv(cx).map(Ok)
    }

    fn poll_send(&mut self, _cx: &mut Context<'_>, packet: &Packet) -> Poll<io::Result<()>> {
        Poll::Ready(match self.out.try_send(packet.clone()) {
            Ok(()) | Err(mpsc::error::TrySendError::Full(_)) => Ok(()),
            Err(mpsc::error::TrySendError::Closed(_)) => Err(io::ErrorKind::BrokenPipe.into()),
        })
    }
}
