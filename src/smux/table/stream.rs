//! One stream of a session: what has come for it, how far each direction is, and its windows.

use std::task::Waker;

use bytes::BytesMut;

use crate::smux::codec::Version;
use crate::smux::settings::FIRST_WINDOW;

pub(super) struct Stream {
    /// What has come and was not read.
    pub(super) inbox: BytesMut,
    /// The peer writes no more to it.
    pub(super) peer_wrote_all: bool,
    /// The peer is done with it.
    pub(super) peer_ended: bool,
    /// We write no more to it.
    pub(super) wrote_all: bool,
    /// We are done with it.
    pub(super) ended: bool,
    pub(super) reader: Option<Waker>,
    pub(super) writer: Option<Waker>,
    pub(super) waits_for_room: bool,
    /// The round it has written in, and how much.
    pub(super) round: u32,
    pub(super) in_round: usize,
    /// What was sent since the beginning, modulo 2^32 as all that follows; version 2 alone looks at these.
    pub(super) sent: u32,
    pub(super) peer_consumed: u32,
    pub(super) peer_window: u32,
    pub(super) consumed: u32,
    /// What of that the peer does not know of.
    pub(super) untold: u32,
    pub(super) window: u32,
}

impl Default for Stream {
    fn default() -> Self {
        Self {
            inbox: BytesMut::new(),
            peer_wrote_all: false,
            peer_ended: false,
            wrote_all: false,
            ended: false,
            reader: None,
            writer: None,
            waits_for_room: false,
            round: 0,
            in_round: 0,
            sent: 0,
            peer_consumed: 0,
            peer_window: FIRST_WINDOW,
            consumed: 0,
            untold: 0,
            window: FIRST_WINDOW,
        }
    }
}

impl Stream {
    /// How much may be sent.
    pub(super) fn room(&self, version: Version) -> usize {
        match version {
            Version::One => usize::MAX,
            Version::Two => {
                let on_its_way = self.sent.wrapping_sub(self.peer_consumed);
                self.peer_window.saturating_sub(on_its_way) as usize
            }
        }
    }

    /// The reader has taken so much; what the peer is told of it, if it is.
    pub(super) fn consume(&mut self, n: usize, has_plenty: bool, most: u32) -> Option<(u32, u32)> {
        // No inbox is longer than a window.
        let n = n as u32;
        self.consumed = self.consumed.wrapping_add(n);
        self.untold = self.untold.saturating_add(n);
        if self.untold < self.window / 2 {
            return None;
        }
        self.untold = 0;
        let keeps_up = self.inbox.len() < self.window as usize / 2;
        self.window = match (has_plenty, keeps_up) {
            (true, true) => self.window.saturating_mul(2),
            (true, false) => self.window,
            (false, _) => FIRST_WINDOW,
        }
        .min(most);
        Some((self.consumed, self.window))
    }
}
