//! Datagrams inside a link, one a frame.

use std::io;
use std::task::{Context, Poll, ready};

use tracing::trace;

use super::codec::{Frame, GlobalId, Kind};
use super::table::Handle;
use crate::io::{Packet, Packets};

/// The most that a frame carries.
const DATAGRAM_MAX: usize = u16::MAX as usize;

/// V2Ray's buffer: a longer datagram makes it give up the whole link, with all sessions in it.
const V2RAY_DATAGRAM_MAX: usize = 2048;

pub(super) struct MuxPackets {
    handle: Handle,
    /// Whether datagrams carry addresses: XUDP.
    addressed: bool,
    /// The frame that opens the session waits for the first datagram.
    opening: Option<Option<GlobalId>>,
}

impl MuxPackets {
    /// A session that the peer has opened.
    pub(super) fn opened(handle: Handle, addressed: bool) -> Self {
        Self {
            handle,
            addressed,
            opening: None,
        }
    }

    /// A session for the destination of the first datagram, or if `addressed` for any.
    pub(super) fn open(handle: Handle, addressed: bool, global_id: Option<GlobalId>) -> Self {
        Self {
            handle,
            addressed,
            opening: Some(global_id),
        }
    }
}

impl Packets for MuxPackets {
    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Packet>>> {
        self.handle.poll_recv(cx)
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, packet: &Packet) -> Poll<io::Result<()>> {
        let max = if self.addressed {
            DATAGRAM_MAX
        } else {
            V2RAY_DATAGRAM_MAX
        };
        if packet.data.len() > max {
            trace!(len = packet.data.len(), "datagram is too long for mux");
            return Poll::Ready(Ok(()));
        }
        let kind = match self.opening {
            Some(global_id) => Kind::Packets {
                to: packet.peer.clone(),
                global_id,
            },
            None => Kind::Keep(self.addressed.then(|| packet.peer.clone())),
        };
        let frame = Frame {
            session_id: self.handle.session_id(),
            kind,
            error: false,
        };
        ready!(
            self.handle
                .poll_send(cx, |out| frame.encode(Some(&packet.data), out))
        )?;
        self.opening = None;
        Poll::Ready(Ok(()))
    }

    fn give_up(&mut self) {
        self.handle.retire_link();
    }
}
