//! The streams of one session, shared between the session's task and the ends that the streams gave out.
//!
//! What comes for a stream waits here until its reader takes it. Version 1 has no window for a stream, so a session whose
//! unread bytes have reached a bound is read no further until some are taken, and one slow reader holds up the others;
//! that is what the protocol forces. In version 2 a sender may have so much on its way, and no more. A window begins at
//! 256 KiB and doubles while its reader keeps up, so distance throttles nobody who reads, and who does not read
//! keeps little. The bound of the session is there in both.
//!
//! FIN ends a stream in both directions: gost forgets what comes behind one, and its own writes fail. So a stream tells
//! its end when both directions are over, and who has heard one gets little more time to write. A peer that knows more
//! ([`codec::HALF_CLOSES`]) is told of each direction by itself; it says so when it is told for the first time.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::{Buf, BytesMut};
use tokio::time::Instant;

use super::codec::{self, Command, Event, Version};
use super::settings::{FIRST_WINDOW, Settings};
use crate::copy;
use crate::io::{HEADROOM, scratch};

/// Streams of a session at a time, at either end; gost has no bound. Those that have yet to say who they are have one for
/// the whole process (`io::handshakes`).
pub const MAX_STREAMS: usize = 65_536;

/// Frames that wait for the link, before writers wait too.
const OUT_MAX: usize = 128 * 1024;

/// Frames that wait for the link because of what came by it, before it is read no further.
const ANSWERS_MAX: usize = 256 * 1024;

/// What one stream may write while others wait for the same frames to go.
const TURN: usize = 64 * 1024;

/// The most that one write takes, so that a busy stream leaves room for the others: what one read of a relay brings, or
/// it would have to keep the rest.
const WRITE_MAX: usize = scratch::READ;

pub(super) struct Table {
    state: Mutex<State>,
    max_frame: usize,
    stream_window: u32,
}

pub(super) struct State {
    streams: HashMap<u32, Stream>,
    /// What is spoken; a server knows it from the first frame on.
    version: Option<Version>,
    /// The number that was given last, or that the first one is counted from.
    last: u32,
    /// Frames for the link, behind [`HEADROOM`] if there are any.
    out: Vec<u8>,
    /// Bytes in all inboxes, and how many may be.
    held: usize,
    receive_max: usize,
    /// How many of them nobody here has written.
    answers: usize,
    /// Counts how often frames were taken away.
    round: u32,
    /// The streams that wait for room among the frames: those that had none in this round, and those that have written.
    waiting: VecDeque<u32>,
    waiting_again: VecDeque<u32>,
    /// The task of the session, and whether it waits for a reader.
    driver: Option<Waker>,
    is_stalled: bool,
    /// Since when it has not been.
    listens_since: Instant,
    /// Whom to wake when the lock is gone.
    woken: Vec<Waker>,
    /// When the peer was last heard.
    heard: Instant,
    /// Whether the peer knows of ends of one direction, and is told that we do.
    peer_half_closes: bool,
    told_half_closes: bool,
    /// Nobody opens streams here any more.
    is_retired: bool,
    /// Why there will be no more frames.
    over: Option<(io::ErrorKind, String)>,
}

struct Stream {
    /// What has come and was not read.
    inbox: BytesMut,
    /// The peer writes no more to it.
    peer_wrote_all: bool,
    /// The peer is done with it.
    peer_ended: bool,
    /// We write no more to it.
    wrote_all: bool,
    /// We are done with it.
    ended: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
    waits_for_room: bool,
    /// The round it has written in, and how much.
    round: u32,
    in_round: usize,
    /// What was sent since the beginning, modulo 2^32 as all that follows; version 2 alone looks at these.
    sent: u32,
    peer_consumed: u32,
    peer_window: u32,
    consumed: u32,
    /// What of that the peer does not know of.
    untold: u32,
    window: u32,
}

/// What a stream that has nothing takes here.
#[cfg(test)]
pub(super) const STREAM_SIZE: usize = size_of::<Stream>();

/// Our end of a stream, which is over when it is dropped.
pub(super) struct Handle {
    table: Arc<Table>,
    id: u32,
    is_open: bool,
}

impl Table {
    /// The streams of a session; `version` is `None` where the peer says it. Numbers are counted from `first`.
    pub(super) fn new(settings: &Settings, version: Option<Version>, first: u32) -> Arc<Self> {
        let state = State {
            streams: HashMap::new(),
            version,
            last: first,
            out: Vec::new(),
            held: 0,
            receive_max: settings.receive_max(version.unwrap_or_default()),
            answers: 0,
            round: 0,
            waiting: VecDeque::new(),
            waiting_again: VecDeque::new(),
            driver: None,
            is_stalled: false,
            listens_since: Instant::now(),
            woken: Vec::new(),
            heard: Instant::now(),
            peer_half_closes: false,
            told_half_closes: false,
            is_retired: false,
            over: None,
        };
        Arc::new(Self {
            state: Mutex::new(state),
            max_frame: usize::from(settings.max_frame.max(1)),
            stream_window: settings.stream_window.max(1),
        })
    }

    /// Does something with the streams, and wakes whomever it concerns when it is done.
    pub(super) fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.lock();
        let done = act(&mut state);
        let woken = std::mem::take(&mut state.woken);
        drop(state);
        for waker in woken {
            waker.wake();
        }
        done
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A stream with the next number, of which the peer hears with the first frame; `None` when the session is over, or its
    /// numbers are, or it has as many as it may.
    pub(super) fn open(self: &Arc<Self>) -> Option<Handle> {
        let mut state = self.lock();
        if state.over.is_some() || state.streams.len() >= MAX_STREAMS {
            return None;
        }
        let id = state.last.checked_add(2)?;
        if id == codec::HALF_CLOSES {
            return None;
        }
        state.last = id;
        state.streams.insert(id, Stream::default());
        Some(Handle {
            table: self.clone(),
            id,
            is_open: false,
        })
    }

    /// Our end of a stream that the peer has opened.
    pub(super) fn opened(self: &Arc<Self>, id: u32) -> Handle {
        Handle {
            table: self.clone(),
            id,
            is_open: true,
        }
    }
}

impl State {
    pub(super) fn streams(&self) -> usize {
        self.streams.len()
    }

    pub(super) fn is_over(&self) -> bool {
        self.over.is_some()
    }

    /// No stream will be opened from here any more: the session ends with the last of those it has.
    pub(super) fn retire(&mut self) {
        self.is_retired = true;
        self.wake_driver();
    }

    pub(super) fn is_retired(&self) -> bool {
        self.is_retired
    }

    pub(super) fn hear(&mut self, now: Instant) {
        self.heard = now;
    }

    /// When the peer was last heard, where it is listened to.
    pub(super) fn heard(&self) -> Option<Instant> {
        (!self.is_stalled).then_some(self.heard)
    }

    /// What the peer's first frame has said.
    pub(super) fn speak(&mut self, version: Version, settings: &Settings) {
        if self.version.is_none() {
            self.version = Some(version);
            self.receive_max = settings.receive_max(version);
        }
    }

    /// Whether more may be read; if not, the task in `cx` is woken when it may.
    pub(super) fn poll_room(&mut self, cx: &Context<'_>) -> Poll<()> {
        let is_stalled = self.held >= self.receive_max;
        if self.is_stalled && !is_stalled {
            // A silence that nobody listened to is none of the peer's.
            self.heard = Instant::now();
            self.listens_since = self.heard;
        }
        self.is_stalled = is_stalled;
        if is_stalled || self.answers >= ANSWERS_MAX {
            set(&mut self.driver, cx);
            return Poll::Pending;
        }
        Poll::Ready(())
    }

    /// What came; the number of a stream that it opens.
    pub(super) fn take(&mut self, event: Event<'_>) -> Option<u32> {
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
                    copy::append(data, &mut stream.inbox);
                    self.held += data.len();
                    self.woken.extend(stream.reader.take());
                }
            }
            Event::End(id) => {
                if let Some(stream) = self.streams.get_mut(&id) {
                    stream.peer_wrote_all = true;
                    stream.peer_ended = true;
                    self.woken.extend(stream.reader.take());
                    self.woken.extend(stream.writer.take());
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
            Event::KeepAlive => {}
            Event::Update {
                stream: id,
                consumed,
                window,
            } => {
                if let Some(stream) = self.streams.get_mut(&id) {
                    stream.peer_consumed = consumed;
                    stream.peer_window = window;
                    if !stream.waits_for_room {
                        self.woken.extend(stream.writer.take());
                    }
                }
            }
        }
        None
    }

    /// Moves the frames that wait for the link into `out`, which is empty, and wakes who waits for room; without any, the
    /// task in `cx` is woken when there are some.
    pub(super) fn take_out(&mut self, cx: &Context<'_>, out: &mut Vec<u8>) {
        set(&mut self.driver, cx);
        std::mem::swap(&mut self.out, out);
        if out.is_empty() {
            // An idle session holds no buffer.
            (self.out, *out) = (Vec::new(), Vec::new());
        }
        self.answers = 0;
        self.round = self.round.wrapping_add(1);
        // Tasks run in the order in which they are woken, so those that had no room are the first.
        let mut waiting = std::mem::take(&mut self.waiting);
        waiting.append(&mut self.waiting_again);
        for id in waiting {
            if let Some(stream) = self.streams.get_mut(&id) {
                stream.waits_for_room = false;
                self.woken.extend(stream.writer.take());
            }
        }
    }

    /// Says that we are there, where no frame waits that says so; not before it is known what is spoken.
    pub(super) fn keep_alive(&mut self) {
        if let Some(version) = self.version
            && self.out.is_empty()
        {
            self.send(&codec::frame(version, Command::KeepAlive, 0));
        }
    }

    /// There will be no more frames; only the first reason counts. The task of the session ends, too.
    pub(super) fn fail(&mut self, kind: io::ErrorKind, reason: &str) {
        if self.over.is_some() {
            return;
        }
        self.over = Some((kind, reason.to_owned()));
        for stream in self.streams.values_mut() {
            self.woken.extend(stream.reader.take());
            self.woken.extend(stream.writer.take());
        }
        self.wake_driver();
    }

    /// Why there will be no more frames.
    pub(super) fn error(&self) -> Option<io::Error> {
        let (kind, reason) = self.over.as_ref()?;
        Some(io::Error::new(*kind, reason.clone()))
    }

    fn send(&mut self, bytes: &[u8]) {
        if self.over.is_some() {
            return;
        }
        if self.out.is_empty() {
            self.out.resize(HEADROOM, 0);
            self.wake_driver();
        }
        copy::append(bytes, &mut self.out);
    }

    fn wake_driver(&mut self) {
        self.woken.extend(self.driver.take());
    }
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
    fn room(&self, version: Version) -> usize {
        match version {
            Version::One => usize::MAX,
            Version::Two => {
                let on_its_way = self.sent.wrapping_sub(self.peer_consumed);
                self.peer_window.saturating_sub(on_its_way) as usize
            }
        }
    }

    /// The reader has taken so much; what the peer is told of it, if it is.
    fn consume(&mut self, n: usize, has_plenty: bool, most: u32) -> Option<(u32, u32)> {
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

impl Handle {
    /// Tells the peer of the stream, unless that was done.
    pub(super) fn begin(&mut self) {
        if self.is_open {
            return;
        }
        self.is_open = true;
        let id = self.id;
        self.table.with(|state| {
            let version = state.version.unwrap_or_default();
            state.send(&codec::frame(version, Command::Open, id));
        });
    }

    /// Since when the peer has been listened to, where it is.
    pub(super) fn listens_since(&self) -> Option<Instant> {
        let since = |state: &mut State| (!state.is_stalled).then_some(state.listens_since);
        self.table.with(since)
    }

    /// Moves what has come into `out`; nothing is the end of the stream.
    pub(super) fn poll_read(
        &self,
        cx: &Context<'_>,
        room: usize,
        out: impl FnOnce(&[u8]),
    ) -> Poll<io::Result<()>> {
        self.table.with(|state| {
            let Some(stream) = state.streams.get_mut(&self.id) else {
                return Poll::Ready(Ok(()));
            };
            if stream.inbox.is_empty() {
                if stream.peer_wrote_all {
                    return Poll::Ready(Ok(()));
                }
                if let Some((kind, reason)) = &state.over {
                    return Poll::Ready(Err(io::Error::new(*kind, reason.clone())));
                }
                set(&mut stream.reader, cx);
                return Poll::Pending;
            }
            let n = room.min(stream.inbox.len());
            out(&stream.inbox[..n]);
            stream.inbox.advance(n);
            if stream.inbox.is_empty() {
                // An idle stream holds no buffer.
                stream.inbox = BytesMut::new();
            }
            let (id, most) = (self.id, self.table.stream_window);
            let told = match state.version {
                Some(Version::Two) if !stream.peer_wrote_all => {
                    stream.consume(n, state.held < state.receive_max / 2, most)
                }
                _ => None,
            };
            if let Some((consumed, window)) = told {
                state.answers += codec::UPDATE;
                state.send(&codec::update(id, consumed, window));
            }
            state.release(n);
            Poll::Ready(Ok(()))
        })
    }

    /// Takes some of `data`; [`Sent::Ended`] when the peer is done with the stream.
    pub(super) fn poll_send(&mut self, cx: &Context<'_>, data: &[u8]) -> Poll<io::Result<Sent>> {
        self.begin();
        self.table.with(|state| {
            let version = state.version.unwrap_or_default();
            let Some(stream) = state.streams.get_mut(&self.id) else {
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            };
            if let Some((kind, reason)) = &state.over {
                return Poll::Ready(Err(io::Error::new(*kind, reason.clone())));
            }
            if stream.ended || stream.wrote_all {
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            }
            if stream.peer_ended {
                return Poll::Ready(Ok(Sent::Ended));
            }
            let room = stream.room(version);
            if stream.round != state.round {
                (stream.round, stream.in_round) = (state.round, 0);
            }
            let has_had_a_turn = stream.in_round >= TURN && !state.out.is_empty();
            let is_full = state.out.len() >= OUT_MAX;
            if room == 0 || is_full || has_had_a_turn {
                set(&mut stream.writer, cx);
                if room > 0 && !stream.waits_for_room {
                    stream.waits_for_room = true;
                    match stream.in_round > 0 {
                        true => state.waiting_again.push_back(self.id),
                        false => state.waiting.push_back(self.id),
                    }
                }
                return Poll::Pending;
            }
            let n = data.len().min(room).min(WRITE_MAX);
            stream.in_round += n;
            stream.sent = stream.sent.wrapping_add(n as u32);
            for piece in data[..n].chunks(self.table.max_frame) {
                let command = Command::Data(piece.len() as u16);
                state.send(&codec::frame(version, command, self.id));
                state.send(piece);
            }
            Poll::Ready(Ok(Sent::Bytes(n)))
        })
    }

    /// We are done with the stream.
    pub(super) fn end(&mut self) {
        self.begin();
        self.table.with(|state| state.end(self.id));
    }

    /// We write no more to the stream, which is all that a peer hears who knows of that; whether it does.
    pub(super) fn end_writing(&mut self) -> bool {
        self.begin();
        self.table.with(|state| state.end_writing(self.id))
    }

    /// Whether the peer knows of ends of one direction.
    pub(super) fn half_closes(&self) -> bool {
        self.table.with(|state| state.peer_half_closes)
    }

    /// Whether the peer writes no more to the stream.
    pub(super) fn has_ended(&self) -> bool {
        self.table.with(|state| {
            let stream = state.streams.get(&self.id);
            stream.is_none_or(|stream| stream.peer_wrote_all)
        })
    }
}

/// What became of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    Bytes(usize),
    /// Nobody takes anything any more.
    Ended,
}

impl State {
    fn end(&mut self, id: u32) {
        let version = self.version.unwrap_or_default();
        if let Some(stream) = self.streams.get_mut(&id)
            && !stream.ended
        {
            stream.ended = true;
            self.answers += codec::HEADER;
            self.send(&codec::frame(version, Command::End, id));
        }
    }

    fn end_writing(&mut self, id: u32) -> bool {
        let version = self.version.unwrap_or_default();
        if let Some(stream) = self.streams.get_mut(&id)
            && !stream.ended
            && !stream.wrote_all
        {
            stream.wrote_all = true;
            self.tell_half_closes();
            self.answers += codec::HEADER;
            self.send(&codec::frame(version, Command::WriteEnd, id));
        }
        self.peer_half_closes
    }

    fn tell_half_closes(&mut self) {
        if !self.told_half_closes {
            self.told_half_closes = true;
            let version = self.version.unwrap_or_default();
            self.answers += codec::HEADER;
            self.send(&codec::frame(version, Command::HalfCloses, 0));
        }
    }

    /// So many bytes were taken: the task of the session goes on if it waited for that.
    fn release(&mut self, n: usize) {
        self.held -= n;
        if self.is_stalled && self.held < self.receive_max {
            self.wake_driver();
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.table.with(|state| {
            if self.is_open {
                state.end(self.id);
            }
            if let Some(stream) = state.streams.remove(&self.id) {
                state.release(stream.inbox.len());
            }
            if state.is_retired {
                state.wake_driver();
            }
        });
    }
}

fn set(waker: &mut Option<Waker>, cx: &Context<'_>) {
    if waker.as_ref().is_none_or(|w| !w.will_wake(cx.waker())) {
        *waker = Some(cx.waker().clone());
    }
}
