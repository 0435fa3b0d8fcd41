//! Our end of a stream: reading, writing and ending it.

use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::time::Instant;

use super::{State, Table, set};
use crate::io::scratch;
use crate::smux::codec::{self, Command};

/// Frames that wait for the link, before writers wait too.
const OUT_MAX: usize = 128 * 1024;

/// What one stream may write while others wait for the same frames to go.
const TURN: usize = 64 * 1024;

/// The most that one write takes, so that a busy stream leaves room for the others: what one read of a relay brings, or
/// it would have to keep the rest.
const WRITE_MAX: usize = scratch::READ;

/// Our end of a stream, which is over when it is dropped.
pub(crate) struct Handle {
    table: Arc<Table>,
    id: u32,
    is_open: bool,
    /// We have opened it.
    is_ours: bool,
}

/// What became of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    Bytes(usize),
    /// Nobody takes anything any more.
    Ended,
}

impl Handle {
    pub(super) fn new(table: Arc<Table>, id: u32, is_open: bool) -> Self {
        Self {
            table,
            id,
            is_open,
            is_ours: !is_open,
        }
    }

    /// Tells the peer of the stream, unless that was done.
    pub(crate) fn begin(&mut self) {
        if !self.is_open {
            self.open();
            self.table.with(State::tell_half_closes);
        }
    }

    fn open(&mut self) {
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
    pub(crate) fn listens_since(&self) -> Option<Instant> {
        let since = |state: &mut State| (!state.is_stalled).then_some(state.listens_since);
        self.table.with(since)
    }

    /// Moves what has come into `out`; nothing is the end of the stream.
    pub(crate) fn poll_read(
        &self,
        cx: &Context<'_>,
        room: usize,
        out: impl FnMut(&[u8]),
    ) -> Poll<io::Result<()>> {
        self.table.with(|state| {
            let Some(stream) = state.streams.get_mut(&self.id) else {
                return Poll::Ready(Ok(()));
            };
            if let Some(error) = stream.cut() {
                return Poll::Ready(Err(error));
            }
            stream.is_stuck = false;
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
            let n = stream.inbox.take(room, out);
            state.consume(self.id, n, self.table.stream_window);
            state.release(n);
            Poll::Ready(Ok(()))
        })
    }

    /// Takes some of `data`; [`Sent::Ended`] when the peer is done with the stream.
    pub(crate) fn poll_send(&mut self, cx: &Context<'_>, data: &[u8]) -> Poll<io::Result<Sent>> {
        self.open();
        self.table.with(|state| {
            let version = state.version.unwrap_or_default();
            let Some(stream) = state.streams.get_mut(&self.id) else {
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            };
            if let Some((kind, reason)) = &state.over {
                return Poll::Ready(Err(io::Error::new(*kind, reason.clone())));
            }
            if let Some(error) = stream.cut() {
                return Poll::Ready(Err(error));
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
            state.count(n);
            state.reserve(n + n.div_ceil(self.table.max_frame) * codec::HEADER);
            for piece in data[..n].chunks(self.table.max_frame) {
                let command = Command::Data(piece.len() as u16);
                state.send(&codec::frame(version, command, self.id));
                state.send(piece);
            }
            // Before the answer can end.
            if self.is_ours {
                state.tell_half_closes();
            }
            Poll::Ready(Ok(Sent::Bytes(n)))
        })
    }

    /// We are done with the stream.
    pub(crate) fn end(&mut self) {
        self.begin();
        self.table.with(|state| state.end(self.id));
    }

    /// We write no more to the stream, which is all that a peer hears who knows of that; whether it does.
    pub(crate) fn end_writing(&mut self) -> bool {
        self.begin();
        self.table.with(|state| state.end_writing(self.id))
    }

    /// Whether something has come that nobody has read.
    pub(crate) fn has_unread(&self) -> bool {
        self.table.with(|state| {
            let stream = state.streams.get(&self.id);
            stream.is_some_and(|stream| !stream.inbox.is_empty())
        })
    }

    /// Whether each stream of the session has a window.
    pub(crate) fn has_windows(&self) -> bool {
        self.table.with(|state| state.has_windows())
    }

    /// Whether the peer knows of ends of one direction.
    pub(crate) fn half_closes(&self) -> bool {
        self.table.with(|state| state.peer_half_closes)
    }

    /// Whether the peer writes no more to the stream.
    pub(crate) fn has_ended(&self) -> bool {
        self.table.with(|state| {
            let stream = state.streams.get(&self.id);
            stream.is_none_or(|stream| stream.peer_wrote_all)
        })
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.table.with(|state| {
            if self.is_open {
                state.end(self.id);
            }
            if let Some(stream) = state.streams.remove(&self.id) {
                state.forget_window(&stream);
                state.release(stream.inbox.len());
            }
            if state.is_retired {
                state.wake_driver();
            }
        });
    }
}
