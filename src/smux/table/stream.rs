//! One stream of a session: what has come for it, how far each direction is, and its windows.

use std::io;
use std::task::Waker;

use crate::io::Backlog;
use crate::io::turns::Share;
use crate::smux::codec::Version;
use crate::smux::settings::FIRST_WINDOW;

pub(super) struct Stream {
    /// What has come and was not read.
    pub(super) inbox: Backlog,
    /// The peer writes no more to it.
    pub(super) peer_wrote_all: bool,
    /// The peer is done with it.
    pub(super) peer_ended: bool,
    /// We write no more to it.
    pub(super) wrote_all: bool,
    /// We are done with it.
    pub(super) ended: bool,
    pub(super) reader: Option<Waker>,
    /// What it has had of the room among the frames.
    pub(super) share: Share,
    /// Whether there is a window for what comes, and for what is sent: always in version 2, and in version 1 where it was
    /// told.
    pub(super) is_windowed: bool,
    pub(super) peer_windows: bool,
    /// Its reader has taken nothing since it was looked at.
    pub(super) is_stuck: bool,
    /// It was ended because its reader held up the others.
    pub(super) is_cut: bool,
    /// What was sent since the beginning, modulo 2^32 as all that follows.
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
            inbox: Backlog::default(),
            peer_wrote_all: false,
            peer_ended: false,
            wrote_all: false,
            ended: false,
            reader: None,
            share: Share::default(),
            is_windowed: false,
            peer_windows: false,
            is_stuck: false,
            is_cut: false,
            sent: 0,
            peer_consumed: 0,
            peer_window: FIRST_WINDOW,
            consumed: 0,
            untold: 0,
            window: FIRST_WINDOW,
        }
    }
}

impl AsMut<Share> for Stream {
    fn as_mut(&mut self) -> &mut Share {
        &mut self.share
    }
}

impl Stream {
    /// How much may be sent.
    pub(super) fn room(&self, version: Version) -> usize {
        if version == Version::One && !self.peer_windows {
            return usize::MAX;
        }
        let on_its_way = self.sent.wrapping_sub(self.peer_consumed);
        self.peer_window.saturating_sub(on_its_way) as usize
    }

    /// By how much its window has grown beyond what every window has.
    pub(super) fn growth(&self, least: u32) -> usize {
        match self.is_windowed {
            true => self.window.saturating_sub(least) as usize,
            false => 0,
        }
    }

    /// Why nothing is read from it or written to it any more, where its reader is to blame.
    pub(super) fn cut(&self) -> Option<io::Error> {
        let text = "the stream was ended: its reader took nothing and held up the other streams of its session";
        self.is_cut
            .then(|| io::Error::new(io::ErrorKind::TimedOut, text))
    }

    /// The reader has taken so much; what the peer is told of it, if it is. A window has at least `least`, unless it began
    /// with less, and at most `most`.
    pub(super) fn consume(
        &mut self,
        n: usize,
        has_plenty: bool,
        least: u32,
        most: u32,
    ) -> Option<(u32, u32)> {
        // No read is that long.
        let n = n as u32;
        self.consumed = self.consumed.wrapping_add(n);
        if !self.is_windowed {
            return None;
        }
        self.untold = self.untold.saturating_add(n);
        if self.untold < self.window / 2 {
            return None;
        }
        self.untold = 0;
        let keeps_up = self.inbox.len() < self.window as usize / 2;
        self.window = match (has_plenty, keeps_up) {
            (true, true) => self.window.saturating_mul(2),
            (true, false) => self.window,
            (false, _) => least.min(self.window),
        }
        .clamp(1, most.max(1));
        Some((self.consumed, self.window))
    }
}
