//! Whose turn it is to put frames among those that wait for the link, and how many.

use std::io;
use std::task::{Context, Poll};

use super::{State, set};
use crate::io::scratch;
use crate::io::splice::Spliced;
use crate::smux::codec::{self, Command, HEADER, Version};

/// Frames that wait for the link, before writers wait too.
const OUT_MAX: usize = 128 * 1024;

/// What one stream may write while others wait for the same frames to go.
const TURN: usize = 64 * 1024;

/// The most that one write takes, so that a busy stream leaves room for the others: what one read of a relay brings, or
/// it would have to keep the rest.
const WRITE_MAX: usize = scratch::READ;

impl State {
    /// How much a stream may write now; `None` when its peer is done with it.
    pub(super) fn poll_turn(
        &mut self,
        id: u32,
        cx: &Context<'_>,
    ) -> Poll<io::Result<Option<usize>>> {
        let version = self.version.unwrap_or_default();
        let Some(stream) = self.streams.get_mut(&id) else {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        };
        if let Some((kind, reason)) = &self.over {
            return Poll::Ready(Err(io::Error::new(*kind, reason.clone())));
        }
        if let Some(error) = stream.cut() {
            return Poll::Ready(Err(error));
        }
        if stream.ended || stream.wrote_all {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if stream.peer_ended {
            return Poll::Ready(Ok(None));
        }
        let room = stream.room(version);
        if stream.round != self.round {
            (stream.round, stream.in_round) = (self.round, 0);
        }
        let has_had_a_turn = stream.in_round >= TURN && !self.out.is_empty();
        let is_full = self.out.left() >= OUT_MAX;
        if room == 0 || is_full || has_had_a_turn {
            set(&mut stream.writer, cx);
            if room > 0 && !stream.waits_for_room {
                stream.waits_for_room = true;
                match stream.in_round > 0 {
                    true => self.waiting_again.push_back(id),
                    false => self.waiting.push_back(id),
                }
            }
            return Poll::Pending;
        }
        Poll::Ready(Ok(Some(room.min(WRITE_MAX))))
    }

    /// How much a pipe may have in it that a stream could send soon.
    pub(super) fn room_for_pipe(&self, id: u32) -> usize {
        let stream = self.streams.get(&id).filter(|stream| !stream.peer_ended);
        match stream {
            Some(stream) if self.takes_pipes => {
                let version = self.version.unwrap_or_default();
                stream.room(version).min(WRITE_MAX)
            }
            _ => 0,
        }
    }

    /// Sends `data` of a stream, in frames with so much of it at most.
    pub(super) fn send_data(&mut self, id: u32, data: &[u8], max_frame: usize) {
        self.begin_data(id, data.len());
        self.out
            .reserve(data.len() + data.len().div_ceil(max_frame) * HEADER);
        let version = self.version.unwrap_or_default();
        for piece in data.chunks(max_frame) {
            self.send(&data_header(version, id, piece.len()));
            self.send(piece);
        }
    }

    /// As [`Self::send_data`], of what is in a pipe.
    pub(super) fn send_pipe(&mut self, id: u32, pipe: Spliced, max_frame: usize) {
        self.begin_data(id, pipe.left());
        if self.out.is_empty() {
            self.wake_driver();
        }
        let version = self.version.unwrap_or_default();
        let header = |len| data_header(version, id, len);
        self.out.put_pipe(pipe, max_frame, header);
    }

    fn begin_data(&mut self, id: u32, n: usize) {
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.in_round += n;
            // No write is that long.
            stream.sent = stream.sent.wrapping_add(n as u32);
        }
        self.count(n);
    }
}

/// What stands in front of `len` bytes, which no frame has more of than can be told.
fn data_header(version: Version, id: u32, len: usize) -> [u8; HEADER] {
    codec::frame(version, Command::Data(len as u16), id)
}
