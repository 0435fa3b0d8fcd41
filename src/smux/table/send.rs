//! What streams send, when it is their turn.

use std::io;
use std::task::{Context, Poll, ready};

use super::State;
use crate::io::scratch;
use crate::io::splice::Spliced;
use crate::io::turns::TURN;
use crate::smux::codec::{self, Command, HEADER, Version};

/// The most that one write takes where nobody waits: what one read of a relay brings, or it would have to keep the rest.
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
        let (is_over, room) = (stream.peer_ended, stream.room(version));
        if is_over || room == 0 {
            stream.share.wait(cx);
            if self.turns.leave(id, &mut stream.share) {
                // It makes room for the next.
                self.wake_driver();
            }
            return match is_over {
                true => Poll::Ready(Ok(None)),
                false => Poll::Pending,
            };
        }
        let taken = self.out.left();
        let most = ready!(self.turns.poll(cx, id, &mut stream.share, taken));
        Poll::Ready(Ok(Some(room.min(most).min(WRITE_MAX))))
    }

    /// How much a pipe may have in it that a stream could send soon.
    pub(super) fn room_for_pipe(&self, id: u32) -> usize {
        let stream = self.streams.get(&id).filter(|stream| !stream.peer_ended);
        match stream {
            Some(stream) if self.takes_pipes => {
                let most = match self.turns.is_free() {
                    true => WRITE_MAX,
                    false => TURN,
                };
                stream.room(self.version.unwrap_or_default()).min(most)
            }
            _ => 0,
        }
    }

    /// Whether a pipe with so much in it may be sent.
    pub(super) fn fits(&self, id: u32, n: usize) -> bool {
        let version = self.version.unwrap_or_default();
        let stream = self.streams.get(&id);
        self.takes_pipes && stream.is_some_and(|stream| n <= stream.room(version))
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
            self.turns.wrote(id, &mut stream.share, n);
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
