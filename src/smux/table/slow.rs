//! Streams whose readers are slow, and what they may do to the others of their session.
//!
//! Version 1 has no window for a stream: what its reader does not take fills the session, and then nobody is read. So whoever
//! sends much says in between that it goes by windows in version 1 as well ([`WINDOWS`](codec::WINDOWS)): said in the stream
//! itself, it is known before a session can be full. Then it is told the window of every stream that has much unread.
//! From others a session that stays full is cleared: a stream whose reader has taken nothing for [`STUCK`] is ended.
//!
//! A window grows while its reader keeps up, and a reader that has kept up may stop: then all of it is unread. So all that
//! windows have grown by is half of what the session may hold, and one may have half of what the others leave of that:
//! the only one has a quarter of the session, and of several that all want more each comes to have the same.

use std::time::Duration;

use tokio::time::Instant;

use super::{State, Stream};
use crate::io::Backlog;
use crate::smux::codec::{self, Command, Version};
use crate::smux::settings::{FIRST_WINDOW, Settings};

/// How long a session may be full before it is looked at who fills it, so that one that has just become full costs nothing.
const FULL: Duration = Duration::from_secs(5);

/// How long a reader may take nothing then.
const STUCK: Duration = Duration::from_secs(10);

/// A session that has been full, and has not been half empty since.
#[derive(Clone, Copy, Debug)]
pub(super) struct Jam {
    /// When something is to be done about it.
    due: Instant,
    /// Whether the streams that nobody reads are marked.
    is_marked: bool,
    /// Whether the session was full since then.
    was_full: bool,
}

/// What a stream of version 1 may have unread before it is called slow, and its window then.
pub(super) fn threshold(settings: &Settings) -> usize {
    let whole = settings.receive_max(Version::One);
    (whole / 16).clamp(1, FIRST_WINDOW as usize)
}

/// What is sent in a session before its peer is told: little enough for any bound, and more than most sessions have.
const MUCH: usize = 16 * 1024;

impl State {
    /// What every window has, however full the session is.
    fn least(&self) -> u32 {
        match self.version {
            // It is no more than the first window.
            Some(Version::One) => self.slow as u32,
            _ => FIRST_WINDOW,
        }
    }

    /// A stream is gone, and its window with it.
    pub(super) fn forget_window(&mut self, stream: &Stream) {
        self.grown -= stream.growth(self.least());
    }

    /// The reader of a stream has taken so much, of which its sender is told now and then.
    pub(super) fn consume(&mut self, id: u32, n: usize, most: u32) {
        let (has_plenty, least) = (self.held < self.receive_max / 2, self.least());
        let Some(stream) = self.streams.get_mut(&id).filter(|s| !s.peer_wrote_all) else {
            return;
        };
        let others = self.grown - stream.growth(least);
        let left = (self.receive_max / 2).saturating_sub(others);
        // What cannot be told in four bytes is more than `most`.
        let share = least.saturating_add(u32::try_from(left / 2).unwrap_or(u32::MAX));
        stream.is_windowed |= self.version == Some(Version::Two);
        let told = stream.consume(n, has_plenty, least, most.min(share));
        self.grown = others + stream.growth(least);
        if let (Some((consumed, window)), Some(version)) = (told, self.version) {
            self.answers += codec::UPDATE;
            self.send(&codec::update(version, id, consumed, window));
        }
    }

    /// So much is about to be sent.
    pub(super) fn count(&mut self, n: usize) {
        let Some(sent) = &mut self.untold_windows else {
            return;
        };
        *sent += n;
        if *sent >= MUCH {
            self.untold_windows = None;
            if self.version == Some(Version::One) {
                self.send(&codec::frame(Version::One, Command::Windows, 0));
            }
        }
    }

    /// A stream of version 1 may have much unread: then its sender is told how much it may send.
    pub(super) fn bound_if_slow(&mut self, id: u32) {
        let window = self.least();
        if let Some(stream) = self.streams.get_mut(&id)
            && stream.inbox.len() >= self.slow
        {
            (stream.is_windowed, stream.window) = (true, window);
            let consumed = stream.consumed;
            self.answers += codec::UPDATE;
            self.send(&codec::update(Version::One, id, consumed, window));
        }
    }

    /// The peer goes by windows in version 1.
    pub(super) fn know_windows(&mut self) {
        if self.peer_knows_windows || self.version != Some(Version::One) {
            return;
        }
        self.peer_knows_windows = true;
        self.receive_max = self.receive_max_windowed;
        let streams: Vec<u32> = self.streams.keys().copied().collect();
        for id in streams {
            self.bound_if_slow(id);
        }
    }

    /// Notes that the session is full, or is so no more. Without windows whoever sends fills it anew as soon as there is room, and
    /// it has to become half empty.
    pub(super) fn watch_jam(&mut self) {
        let is_over = match self.has_windows() {
            true => !self.is_stalled,
            false => self.held < self.hold_max() / 2,
        };
        if is_over {
            self.jam = None;
        } else if self.is_stalled {
            let jam = self.jam.get_or_insert_with(|| Jam {
                due: Instant::now() + FULL,
                is_marked: false,
                was_full: true,
            });
            jam.was_full = true;
        }
    }

    /// When [`Self::clear_jam`] has something to do.
    pub(crate) fn jam_due(&self) -> Option<Instant> {
        self.jam.map(|jam| jam.due)
    }

    /// Ends streams whose readers have taken nothing while the session was full, those with the most unread first, until it is
    /// half empty; how many they are. A stream that is alone holds up nobody.
    pub(crate) fn clear_jam(&mut self, now: Instant) -> usize {
        let Some(jam) = &mut self.jam else {
            return 0;
        };
        let is_over = jam.is_marked && jam.was_full && self.streams.len() > 1;
        *jam = Jam {
            due: now + STUCK,
            is_marked: true,
            was_full: self.is_stalled,
        };
        let mut stuck: Vec<(usize, u32)> = Vec::new();
        for (id, stream) in &mut self.streams {
            if is_over && stream.is_stuck {
                stuck.push((stream.inbox.len(), *id));
            }
            stream.is_stuck = !stream.inbox.is_empty();
        }
        stuck.sort_unstable();
        let mut cut = 0;
        while self.held >= self.hold_max() / 2
            && let Some((unread, id)) = stuck.pop()
        {
            if let Some(stream) = self.streams.get_mut(&id) {
                stream.is_cut = true;
                stream.peer_wrote_all = true;
                stream.inbox = Backlog::default();
                self.woken.extend(stream.reader.take());
                self.woken.extend(stream.share.wake());
            }
            self.end(id);
            self.release(unread);
            cut += 1;
        }
        cut
    }
}
