//! What the streams of a session share: what comes for them, the frames that wait for the link, and who waits for either.

use std::collections::HashMap;
use std::io;
use std::task::{Context, Poll, Waker};

use tokio::time::Instant;

use super::slow::{self, Jam};
use super::{MAX_STREAMS, Stream, set};
use crate::io::turns::Turns;
use crate::smux::codec::{self, Command, Event, Version};
use crate::smux::frames::Frames;
use crate::smux::settings::Settings;

/// Frames that wait for the link because of what came by it, before it is read no further.
const ANSWERS_MAX: usize = 256 * 1024;

pub(crate) struct State {
    pub(super) streams: HashMap<u32, Stream>,
    /// What is spoken; a server knows it from the first frame on.
    pub(super) version: Option<Version>,
    /// The number that was given last, or that the first one is counted from.
    pub(super) last: u32,
    /// Frames for the link.
    pub(super) out: Frames,
    /// The link has taken pipes among them, or would have.
    pub(super) takes_pipes: bool,
    /// Bytes in all inboxes, and how many may be.
    pub(super) held: usize,
    pub(super) receive_max: usize,
    /// How many may be where streams have windows, and before nothing more is read then.
    pub(super) receive_max_windowed: usize,
    pub(super) hold_max_windowed: usize,
    /// By how much windows have grown, all together.
    pub(super) grown: usize,
    /// What a stream of version 1 has unread before it is called slow.
    pub(super) slow: usize,
    /// Since when, and how far, a session that was full has been looked at for who fills it.
    pub(super) jam: Option<Jam>,
    /// How many of them nobody here has written.
    pub(super) answers: usize,
    /// Whose turn it is to put frames there.
    pub(super) turns: Turns<u32>,
    /// The task of the session, and whether it waits for a reader.
    pub(super) driver: Option<Waker>,
    pub(super) is_stalled: bool,
    /// Since when it has not been.
    pub(super) listens_since: Instant,
    /// Whom to wake when the lock is gone.
    pub(super) woken: Vec<Waker>,
    /// When the peer was last heard.
    pub(super) heard: Instant,
    /// Whether the peer knows of ends of one direction, and is told that we do.
    pub(super) peer_half_closes: bool,
    pub(super) told_half_closes: bool,
    /// Whether the peer goes by windows in version 1, and how much of ours was sent before it is told that we do.
    pub(super) peer_knows_windows: bool,
    pub(super) untold_windows: Option<usize>,
    /// Nobody opens streams here any more.
    pub(super) is_retired: bool,
    /// Nobody of those who came has said who they are.
    pub(super) are_strangers: bool,
    /// Why there will be no more frames.
    pub(super) over: Option<(io::ErrorKind, String)>,
}

impl State {
    pub(super) fn new(settings: &Settings, version: Option<Version>, first: u32) -> Self {
        Self {
            streams: HashMap::new(),
            version,
            last: first,
            out: Frames::default(),
            takes_pipes: false,
            held: 0,
            receive_max: settings.receive_max(version.unwrap_or_default()),
            receive_max_windowed: settings.receive_max(Version::Two),
            hold_max_windowed: settings.hold_max(),
            grown: 0,
            slow: slow::threshold(settings),
            jam: None,
            answers: 0,
            turns: Turns::default(),
            driver: None,
            is_stalled: false,
            listens_since: Instant::now(),
            woken: Vec::new(),
            heard: Instant::now(),
            peer_half_closes: false,
            told_half_closes: false,
            peer_knows_windows: false,
            untold_windows: Some(0),
            is_retired: false,
            are_strangers: false,
            over: None,
        }
    }

    /// The number of a new stream of ours, if there may be one.
    pub(super) fn open(&mut self) -> Option<u32> {
        if self.over.is_some() || self.streams.len() >= MAX_STREAMS {
            return None;
        }
        let id = self.last.checked_add(2)?;
        if id >= codec::WINDOWS {
            return None;
        }
        self.last = id;
        self.streams.insert(id, Stream::default());
        Some(id)
    }

    /// The room that frames have.
    #[cfg(test)]
    pub(crate) fn room(&self) -> usize {
        self.out.capacity()
    }

    /// Bytes that nobody has read.
    #[cfg(test)]
    pub(crate) fn held(&self) -> usize {
        self.held
    }

    pub(crate) fn streams(&self) -> usize {
        self.streams.len()
    }

    pub(crate) fn is_over(&self) -> bool {
        self.over.is_some()
    }

    /// No stream will be opened from here any more: the session ends with the last of those it has.
    pub(crate) fn retire(&mut self) {
        self.is_retired = true;
        self.wake_driver();
    }

    pub(crate) fn is_retired(&self) -> bool {
        self.is_retired
    }

    pub(crate) fn hear(&mut self, now: Instant) {
        self.heard = now;
    }

    /// When the peer was last heard, where it is listened to.
    pub(crate) fn heard(&self) -> Option<Instant> {
        (!self.is_stalled).then_some(self.heard)
    }

    /// What the peer's first frame has said.
    pub(crate) fn speak(&mut self, version: Version, settings: &Settings) {
        if self.version.is_none() {
            self.version = Some(version);
            self.receive_max = settings.receive_max(version);
        }
    }

    /// Whether each stream has a window.
    pub(super) fn has_windows(&self) -> bool {
        self.version == Some(Version::Two) || self.peer_knows_windows
    }

    /// Bytes that may lie unread before nothing more is read.
    pub(super) fn hold_max(&self) -> usize {
        let most = match self.has_windows() {
            true => self.hold_max_windowed,
            false => self.receive_max,
        };
        self.bound_held(most)
    }

    /// Whether more may be read; if not, the task in `cx` is woken when it may.
    pub(crate) fn poll_room(&mut self, cx: &Context<'_>) -> Poll<()> {
        let is_stalled = self.held >= self.hold_max() || self.is_crowded();
        if self.is_stalled && !is_stalled {
            // A silence that nobody listened to is none of the peer's.
            self.heard = Instant::now();
            self.listens_since = self.heard;
        }
        self.is_stalled = is_stalled;
        self.watch_jam();
        if is_stalled || self.answers >= ANSWERS_MAX {
            set(&mut self.driver, cx);
            return Poll::Pending;
        }
        Poll::Ready(())
    }

    /// What came; the number of a stream that it opens.
    pub(crate) fn take(&mut self, event: Event<'_>) -> Option<u32> {
        match event {
            Event::Open(id) => {
                if self.streams.contains_key(&id) {
                    return None;
                }
                self.streams.insert(id, Stream::default());
                return Some(id);
            }
            Event::Data(id, data) => {
                // What comes for a stream that is over is nobody's.
                if let Some(stream) = self.streams.get_mut(&id)
                    && !stream.peer_wrote_all
                {
                    stream.inbox.put(data);
                    self.held += data.len();
                    self.woken.extend(stream.reader.take());
                    let is_slow = stream.inbox.len() >= self.slow && !stream.is_windowed;
                    if self.peer_knows_windows && is_slow {
                        self.bound_if_slow(id);
                    }
                }
            }
            Event::End(id) => {
                if let Some(stream) = self.streams.get_mut(&id) {
                    stream.peer_wrote_all = true;
                    stream.peer_ended = true;
                    self.woken.extend(stream.reader.take());
                    self.woken.extend(stream.share.wake());
                }
            }
            Event::WriteEnd(id) => {
                if self.peer_half_closes
                    && let Some(stream) = self.streams.get_mut(&id)
                {
                    stream.peer_wrote_all = true;
                    self.woken.extend(stream.reader.take());
                }
            }
            Event::HalfCloses if self.peer_half_closes => {}
            Event::HalfCloses => {
                self.peer_half_closes = true;
                self.tell_half_closes();
                // Who waits until it may say its end may do so now.
                for stream in self.streams.values_mut() {
                    self.woken.extend(stream.reader.take());
                }
            }
            Event::Windows => self.know_windows(),
            Event::KeepAlive => {}
            Event::Update {
                stream: id,
                consumed,
                window,
            } => {
                if let Some(stream) = self.streams.get_mut(&id) {
                    stream.peer_consumed = consumed;
                    stream.peer_window = window;
                    stream.peer_windows = true;
                    self.woken.extend(stream.share.wake());
                }
            }
        }
        None
    }

    /// Moves the frames that wait for the link into `out`, which is empty, and wakes who waits for room; without any, the
    /// task in `cx` is woken when there are some. There may be pipes among the next ones if the link takes them.
    pub(crate) fn take_out(&mut self, cx: &Context<'_>, takes_pipes: bool, out: &mut Frames) {
        set(&mut self.driver, cx);
        self.takes_pipes |= takes_pipes;
        std::mem::swap(&mut self.out, out);
        self.answers = 0;
        self.turns
            .make_room(!out.is_empty(), &mut self.streams, &mut self.woken);
    }

    /// A session that rests holds no buffer.
    pub(crate) fn give_back(&mut self) {
        if self.out.is_empty() {
            self.out = Frames::default();
        }
        // A crowd that has gone leaves its room behind.
        const MANY: usize = 128;
        if self.streams.capacity() > MANY.max(8 * self.streams.len()) {
            self.streams.shrink_to(2 * self.streams.len());
        }
    }

    /// Says that we are there, where no frame waits that says so; not before it is known what is spoken.
    pub(crate) fn keep_alive(&mut self) {
        if let Some(version) = self.version
            && self.out.is_empty()
        {
            self.send(&codec::frame(version, Command::KeepAlive, 0));
        }
    }

    /// There will be no more frames; only the first reason counts. The task of the session ends, too.
    pub(crate) fn fail(&mut self, kind: io::ErrorKind, reason: &str) {
        if self.over.is_some() {
            return;
        }
        self.over = Some((kind, reason.to_owned()));
        for stream in self.streams.values_mut() {
            self.woken.extend(stream.reader.take());
            self.woken.extend(stream.share.wake());
        }
        self.wake_driver();
    }

    /// Why there will be no more frames.
    pub(crate) fn error(&self) -> Option<io::Error> {
        let (kind, reason) = self.over.as_ref()?;
        Some(io::Error::new(*kind, reason.clone()))
    }

    pub(super) fn send(&mut self, bytes: &[u8]) {
        if self.over.is_some() {
            return;
        }
        if self.out.is_empty() {
            self.wake_driver();
        }
        self.out.put(bytes);
    }

    pub(super) fn wake_driver(&mut self) {
        self.woken.extend(self.driver.take());
    }

    pub(super) fn end(&mut self, id: u32) {
        let version = self.version.unwrap_or_default();
        if let Some(stream) = self.streams.get_mut(&id)
            && !stream.ended
        {
            stream.ended = true;
            self.turns.leave(id, &mut stream.share);
            self.answers += codec::HEADER;
            self.send(&codec::frame(version, Command::End, id));
        }
    }

    pub(super) fn end_writing(&mut self, id: u32) -> bool {
        let version = self.version.unwrap_or_default();
        if let Some(stream) = self.streams.get_mut(&id)
            && !stream.ended
            && !stream.wrote_all
        {
            stream.wrote_all = true;
            self.turns.leave(id, &mut stream.share);
            self.tell_half_closes();
            self.answers += codec::HEADER;
            self.send(&codec::frame(version, Command::WriteEnd, id));
        }
        self.peer_half_closes
    }

    pub(super) fn tell_half_closes(&mut self) {
        if !self.told_half_closes {
            self.told_half_closes = true;
            let version = self.version.unwrap_or_default();
            self.answers += codec::HEADER;
            self.send(&codec::frame(version, Command::HalfCloses, 0));
        }
    }

    /// So many bytes were taken: the task of the session goes on if it waited for that.
    pub(super) fn release(&mut self, n: usize) {
        self.held -= n;
        if self.is_stalled && self.held < self.hold_max() {
            self.wake_driver();
        }
    }
}
