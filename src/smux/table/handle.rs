//! Our end of a stream: reading, writing and ending it.

use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::time::Instant;

use super::{State, Table, set};
use crate::io::splice::Spliced;
use crate::io::{Pipes, Presence};
use crate::smux::codec::{self, Command};

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
            let Some(room) = ready!(state.poll_turn(self.id, cx))? else {
                return Poll::Ready(Ok(Sent::Ended));
            };
            let n = data.len().min(room);
            state.send_data(self.id, &data[..n], self.table.max_frame);
            self.tell_half_closes(state);
            Poll::Ready(Ok(Sent::Bytes(n)))
        })
    }

    /// Before the answer can end.
    fn tell_half_closes(&self, state: &mut State) {
        if self.is_ours {
            state.tell_half_closes();
        }
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

    /// What is known of the peer without reading.
    pub(crate) fn presence(&self) -> Presence {
        self.table.with(|state| match state.streams.get(&self.id) {
            Some(stream) if !stream.peer_ended && state.over.is_none() => {
                match stream.peer_wrote_all {
                    true => Presence::Done,
                    false => Presence::Here,
                }
            }
            _ => Presence::Gone,
        })
    }

    /// Whether the peer writes no more to the stream.
    pub(crate) fn has_ended(&self) -> bool {
        self.table.with(|state| {
            let stream = state.streams.get(&self.id);
            stream.is_none_or(|stream| stream.peer_wrote_all)
        })
    }
}

impl Pipes for Handle {
    fn room(&self) -> usize {
        self.table.with(|state| match self.is_open {
            true => state.room_for_pipe(self.id),
            false => 0,
        })
    }

    fn poll_put(&self, cx: &Context<'_>, pipe: &mut Spliced) -> Poll<io::Result<usize>> {
        self.table.with(|state| {
            let turn = ready!(state.poll_turn(self.id, cx))?;
            let n = pipe.left();
            // Others may have come since it was filled: it is not divided for them.
            if turn.is_none() || !state.fits(self.id, n) {
                return Poll::Ready(Ok(0));
            }
            state.send_pipe(self.id, pipe.take(), self.table.max_piped);
            self.tell_half_closes(state);
            Poll::Ready(Ok(n))
        })
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.table.with(|state| {
            if self.is_open {
                state.end(self.id);
            }
            if let Some(mut stream) = state.streams.remove(&self.id) {
                state.turns.leave(self.id, &mut stream.share);
                state.forget_window(&stream);
                state.release(stream.inbox.len());
            }
            if state.is_retired || state.are_strangers {
                state.wake_driver();
            }
        });
    }
}
