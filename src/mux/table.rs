//! The sessions of one link, shared between the link's task and the ends that the sessions gave out.
//!
//! Mux.Cool has no window for each session: a receiver cannot tell the sender of one session to wait.
//! What a session is sent and its reader does not take is kept here. When there is more for a session
//! that has [`SESSION_MAX`], or for any that has something while all together have [`LINK_MAX`], the
//! whole link is read no further until it has caught up: that is what the protocol forces. A session
//! whose reader has taken everything may always have one frame more, so a link keeps at most
//! [`LINK_MAX`] and a frame for each session. Datagrams that find no room are lost, as UDP allows, and
//! never hold up the link.
//!
//! `End` says that its sender sends no more. V2Ray forgets the session as soon as it sees or sends
//! one, and answers whatever comes for it then with another `End`. Here the other direction goes on
//! until its own `End`, and a second `End` says that the peer has gone; the error bit, that it was cut
//! off. Between two such ends a half-closed session works, and V2Ray understands every frame. It takes
//! the error bit for a reason to drop what it has not passed on yet, so even a stream that is cut off
//! ends with a bare `End` first.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use bytes::{Bytes, BytesMut};
use tokio::time::Instant;

use super::codec::{Frame, FrameError};
use crate::address::Destination;
use crate::io::turns::{ROOM, Share, Turns};
use crate::io::{Backlog, Packet};

/// What one stream may have waiting before it holds up the others, four times as much as in V2Ray.
pub(super) const SESSION_MAX: usize = 2 * 1024 * 1024;

/// What all sessions of a link may have waiting together.
pub(super) const LINK_MAX: usize = 4 * 1024 * 1024;

/// Answers to frames of unknown sessions, beyond what writers may have waiting.
const ANSWERS_MAX: usize = 16 * 1024;

/// Datagrams of one session that wait to be taken.
const DATAGRAMS_MAX: usize = 128;

#[derive(Default)]
pub(super) struct Table {
    state: Mutex<State>,
}

#[derive(Default)]
pub(super) struct State {
    sessions: HashMap<u16, Session>,
    /// Frames for the link.
    out: BytesMut,
    /// Whose turn it is to put some there.
    turns: Turns<u16>,
    /// Bytes in all inboxes.
    held: usize,
    /// The session that there is more for than it has room.
    waited_for: Option<u16>,
    /// The task of the link.
    driver: Option<Waker>,
    retired: bool,
    /// When the peer was last heard.
    heard: Option<Instant>,
    /// Why there will be no more frames.
    over: Option<(io::ErrorKind, String)>,
}

struct Session {
    inbox: Inbox,
    /// The peer sends no more.
    peer_ended: bool,
    /// The peer takes no more either.
    gone: bool,
    /// Our `End` is sent.
    ended: bool,
    reader: Option<Waker>,
    /// What it has had of the room among the frames.
    share: Share,
}

impl AsMut<Share> for Session {
    fn as_mut(&mut self) -> &mut Share {
        &mut self.share
    }
}

enum Inbox {
    Stream(Backlog),
    Packets {
        /// Whom a datagram without an address belongs to.
        peer: Destination,
        waiting: VecDeque<Packet>,
    },
}

/// Our end of a session; the session is over when it is dropped.
pub(super) struct Handle {
    table: Arc<Table>,
    session_id: u16,
}

impl Table {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens a stream, or with `peer` datagrams; `None` when the sid is taken or the link is over.
    pub(super) fn open(
        self: &Arc<Self>,
        session_id: u16,
        peer: Option<Destination>,
    ) -> Option<Handle> {
        let mut state = self.lock();
        if state.over.is_some() || state.sessions.contains_key(&session_id) {
            return None;
        }
        let inbox = match peer {
            None => Inbox::Stream(Backlog::default()),
            Some(peer) => Inbox::Packets {
                peer,
                waiting: VecDeque::new(),
            },
        };
        let session = Session {
            inbox,
            peer_ended: false,
            gone: false,
            ended: false,
            reader: None,
            share: Share::default(),
        };
        state.sessions.insert(session_id, session);
        Some(Handle {
            table: self.clone(),
            session_id,
        })
    }
}

impl State {
    pub(super) fn sessions(&self) -> usize {
        self.sessions.len()
    }

    /// Those that still say something. Others wait for the server's end, which V2Ray's tells a second later.
    pub(super) fn speaking(&self) -> usize {
        let speaking = |session: &&Session| !session.ended;
        self.sessions.values().filter(speaking).count()
    }

    pub(super) fn is_over(&self) -> bool {
        self.over.is_some()
    }

    /// No session will be opened any more: the link ends with the last of those it has.
    pub(super) fn retire(&mut self) {
        self.retired = true;
    }

    pub(super) fn is_retired(&self) -> bool {
        self.retired
    }

    /// Something came from the peer.
    pub(super) fn hear(&mut self, now: Instant) {
        self.heard = Some(now);
    }

    /// When the peer was last heard, if it is listened to: not while there is no room for what it says.
    pub(super) fn heard(&self) -> Option<Instant> {
        self.heard.filter(|_| self.waited_for.is_none())
    }

    /// Whether data of session `sid` can be kept; if not, the task in `cx` is woken when it can.
    pub(super) fn poll_room(&mut self, cx: &Context<'_>, session_id: u16) -> bool {
        let has_room = self.has_room(session_id);
        self.waited_for = (!has_room).then_some(session_id);
        if !has_room {
            set(&mut self.driver, cx);
        }
        has_room
    }

    /// What has no session, or is not a stream, is not kept or may be lost.
    fn has_room(&self, session_id: u16) -> bool {
        let Some(session) = self.sessions.get(&session_id) else {
            return true;
        };
        match &session.inbox {
            Inbox::Stream(_) if session.gone || session.peer_ended => true,
            Inbox::Stream(waiting) => {
                waiting.is_empty() || (waiting.len() < SESSION_MAX && self.held < LINK_MAX)
            }
            Inbox::Packets { .. } => true,
        }
    }

    /// Something was taken: wakes the task of the link if it waited for that.
    fn wake_waiting(&mut self) {
        if self
            .waited_for
            .is_some_and(|session_id| self.has_room(session_id))
        {
            self.waited_for = None;
            wake(&mut self.driver);
        }
    }

    /// Takes the frames that wait for the link, and wakes their writers; without any, the task in
    /// `cx` is woken when there are some.
    pub(super) fn take_out(&mut self, cx: &Context<'_>) -> BytesMut {
        set(&mut self.driver, cx);
        let mut woken = Vec::new();
        self.turns
            .make_room(!self.out.is_empty(), &mut self.sessions, &mut woken);
        woken.into_iter().for_each(Waker::wake);
        std::mem::take(&mut self.out)
    }

    /// Data of a session that was not opened by this frame.
    pub(super) fn keep(&mut self, session_id: u16, from: Option<Destination>, data: Option<Bytes>) {
        match self.sessions.get_mut(&session_id) {
            Some(session) => {
                if let Some(data) = data
                    && !session.peer_ended
                    && !session.gone
                {
                    session.put(from, &data, &mut self.held);
                }
            }
            None => self.answer(session_id, false),
        }
    }

    /// `End` of a session, which is nothing when it is unknown.
    pub(super) fn end(&mut self, session_id: u16, error: bool) {
        let Some(session) = self.sessions.get_mut(&session_id) else {
            return;
        };
        session.gone |= error || session.peer_ended;
        // What was cut off has not come to its end.
        session.peer_ended = !error;
        wake(&mut session.reader);
        session.share.wake().into_iter().for_each(Waker::wake);
    }

    /// Tells the peer that a session is unknown, or refused, here.
    pub(super) fn answer(&mut self, session_id: u16, refused: bool) {
        if self.out.len() < ROOM + ANSWERS_MAX {
            self.send(&Frame::end(session_id, refused), None);
        }
    }

    /// There will be no more frames; only the first reason counts. The task of the link ends, too.
    pub(super) fn fail(&mut self, kind: io::ErrorKind, reason: &str) {
        if self.over.is_some() {
            return;
        }
        self.over = Some((kind, reason.to_owned()));
        for session in self.sessions.values_mut() {
            session.gone = true;
            wake(&mut session.reader);
            session.share.wake().into_iter().for_each(Waker::wake);
        }
        wake(&mut self.driver);
    }

    fn send(&mut self, frame: &Frame, data: Option<&[u8]>) {
        if self.over.is_some() {
            return;
        }
        if frame.encode(data, &mut self.out).is_ok() {
            wake(&mut self.driver);
        }
    }

    /// Why there will be no more frames.
    pub(super) fn error(&self) -> Option<io::Error> {
        let (kind, reason) = self.over.as_ref()?;
        Some(io::Error::new(*kind, reason.clone()))
    }

    fn remove(&mut self, session_id: u16) {
        let Some(mut session) = self.sessions.remove(&session_id) else {
            return;
        };
        self.held -= session.inbox.len();
        self.turns.leave(session_id, &mut session.share);
        if !session.gone {
            let is_stream = matches!(session.inbox, Inbox::Stream(_));
            let cut = is_stream && !session.ended;
            if !session.ended {
                self.send(&Frame::end(session_id, false), None);
            }
            if cut || (is_stream && !session.peer_ended) {
                self.send(&Frame::end(session_id, cut), None);
            }
        }
        wake(&mut self.driver);
    }
}

impl Session {
    fn put(&mut self, from: Option<Destination>, data: &[u8], held: &mut usize) {
        match &mut self.inbox {
            Inbox::Stream(waiting) => waiting.put(data),
            Inbox::Packets { peer, waiting } => {
                if waiting.len() >= DATAGRAMS_MAX || *held >= LINK_MAX / 2 {
                    return;
                }
                waiting.push_back(Packet {
                    peer: from.unwrap_or_else(|| peer.clone()),
                    // A piece of the link's buffer would keep all of it alive.
                    data: Bytes::copy_from_slice(data),
                });
            }
        }
        *held += data.len();
        wake(&mut self.reader);
    }
}

impl Inbox {
    fn len(&self) -> usize {
        match self {
            Self::Stream(waiting) => waiting.len(),
            Self::Packets { waiting, .. } => waiting.iter().map(|p| p.data.len()).sum(),
        }
    }
}

impl Handle {
    pub(super) fn session_id(&self) -> u16 {
        self.session_id
    }

    /// The link takes no more sessions; those that it has go on.
    pub(super) fn retire_link(&self) {
        self.table.lock().retire();
    }

    /// Puts what came with the frame that opened the session into its inbox.
    pub(super) fn begin(&self, data: Option<Bytes>) {
        self.table.lock().keep(self.session_id, None, data);
    }

    /// Moves what has come into `out`; nothing is the end of the stream.
    pub(super) fn poll_read(
        &self,
        cx: &Context<'_>,
        room: usize,
        out: impl FnMut(&[u8]),
    ) -> Poll<io::Result<()>> {
        let mut guard = self.table.lock();
        let state = &mut *guard;
        let over = state.error();
        let Some(session) = state.sessions.get_mut(&self.session_id) else {
            return Poll::Ready(Ok(()));
        };
        let Inbox::Stream(waiting) = &mut session.inbox else {
            return Poll::Ready(Ok(()));
        };
        if waiting.is_empty() {
            return session.poll_nothing(cx, over).map_ok(|_| ());
        }
        state.held -= waiting.take(room, out);
        state.wake_waiting();
        Poll::Ready(Ok(()))
    }

    /// The next datagram; `None` when there will be none.
    pub(super) fn poll_recv(&self, cx: &Context<'_>) -> Poll<io::Result<Option<Packet>>> {
        let mut guard = self.table.lock();
        let state = &mut *guard;
        let over = state.error();
        let Some(session) = state.sessions.get_mut(&self.session_id) else {
            return Poll::Ready(Ok(None));
        };
        if let Inbox::Packets { waiting, .. } = &mut session.inbox
            && let Some(packet) = waiting.pop_front()
        {
            state.held -= packet.data.len();
            state.wake_waiting();
            return Poll::Ready(Ok(Some(packet)));
        }
        session.poll_nothing(cx, over).map_ok(|_| None)
    }

    /// Ready when frames of this session may be sent; `send` gives them.
    pub(super) fn poll_send<T>(
        &self,
        cx: &Context<'_>,
        send: impl FnOnce(&mut BytesMut) -> Result<T, FrameError>,
    ) -> Poll<io::Result<T>> {
        let mut guard = self.table.lock();
        let state = &mut *guard;
        let over = state.error();
        let Some(session) = state.sessions.get_mut(&self.session_id) else {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        };
        if session.gone || session.ended {
            let error = over.unwrap_or_else(|| io::ErrorKind::BrokenPipe.into());
            return Poll::Ready(Err(error));
        }
        let turn = state
            .turns
            .poll(cx, self.session_id, &mut session.share, state.out.len());
        ready!(turn);
        let before = state.out.len();
        let sent =
            send(&mut state.out).map_err(|e| io::Error::new(io::ErrorKind::InvalidInput, e))?;
        let n = state.out.len() - before;
        state.turns.wrote(self.session_id, &mut session.share, n);
        wake(&mut state.driver);
        Poll::Ready(Ok(sent))
    }

    /// We send no more.
    pub(super) fn end(&self) {
        let mut guard = self.table.lock();
        let state = &mut *guard;
        if let Some(session) = state.sessions.get_mut(&self.session_id)
            && !session.ended
            && !session.gone
        {
            session.ended = true;
            state.turns.leave(self.session_id, &mut session.share);
            state.send(&Frame::end(self.session_id, false), None);
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.table.lock().remove(self.session_id);
    }
}

impl Session {
    /// What a reader of an empty inbox is told.
    fn poll_nothing(&mut self, cx: &Context<'_>, over: Option<io::Error>) -> Poll<io::Result<()>> {
        if self.peer_ended {
            return Poll::Ready(Ok(()));
        }
        if self.gone {
            let error = over.unwrap_or_else(|| io::ErrorKind::ConnectionReset.into());
            return Poll::Ready(Err(error));
        }
        set(&mut self.reader, cx);
        Poll::Pending
    }
}

fn set(waker: &mut Option<Waker>, cx: &Context<'_>) {
    if waker.as_ref().is_none_or(|w| !w.will_wake(cx.waker())) {
        *waker = Some(cx.waker().clone());
    }
}

fn wake(waker: &mut Option<Waker>) {
    if let Some(waker) = waker.take() {
        waker.wake();
    }
}
