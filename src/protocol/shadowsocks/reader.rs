//! The reading half of a stream: sealed bytes from below, plain bytes to the caller.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::ReadBuf;

use super::codec::chunks::{MAX_CHUNK, Opener};
use super::codec::head::{Awaited, MAX_HEAD};
use crate::copy;
use crate::io::{Io, scratch};
use crate::protocol::replay::now;

/// Reads a stream. Between two reads it keeps the unfinished part of a chunk, and nothing else; only a caller whose
/// buffer is full leaves more behind.
pub(super) struct Reader {
    state: State,
    /// Sealed bytes that were read and not opened.
    kept: BytesMut,
    /// `kept` may begin with a whole chunk.
    ready: bool,
    /// Opened bytes of a chunk that was larger than the caller's buffer.
    plain: Bytes,
    /// What was opened before it is delivered first.
    end: Option<Result<(), (io::ErrorKind, String)>>,
}

enum State {
    /// A client's, until the head of the answer has come.
    Waiting(Box<Awaited>),
    Open(Box<Opener>),
}

impl Reader {
    /// The server's: `plain` came behind the request's address, `rest` behind the chunks that were opened.
    pub(super) fn of_request(opener: Opener, plain: Bytes, rest: BytesMut) -> Self {
        Self {
            state: State::Open(Box::new(opener)),
            ready: !rest.is_empty(),
            kept: rest,
            plain,
            end: None,
        }
    }

    /// The client's.
    pub(super) fn of_response(awaited: Awaited) -> Self {
        Self {
            state: State::Waiting(Box::new(awaited)),
            kept: BytesMut::new(),
            ready: false,
            plain: Bytes::new(),
            end: None,
        }
    }

    pub(super) fn poll_read<S: Io>(
        &mut self,
        inner: &mut S,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        // What the caller's buffer holds already is no business of ours.
        let mut own = ReadBuf::new(buf.initialize_unfilled());
        let answer = self.poll_fill(inner, cx, &mut own);
        let n = own.filled().len();
        buf.advance(n);
        answer
    }

    /// `poll_read` into an empty buffer.
    fn poll_fill<S: Io>(
        &mut self,
        inner: &mut S,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.ready && self.plain.is_empty() {
            let mut kept = std::mem::take(&mut self.kept);
            let used = self.take(&kept, buf);
            kept.advance(used);
            self.keep(kept);
        }
        if let Some(answer) = self.answer(buf) {
            return Poll::Ready(answer);
        }
        let mut scratch = scratch::take();
        let mut len = self.kept.len();
        copy::copy(&self.kept, &mut scratch[..len]);
        loop {
            // No more than the caller's buffer takes when it is open.
            let mut into = ReadBuf::new(&mut scratch[len..scratch::READ]);
            let n = match Pin::new(&mut *inner).poll_read(cx, &mut into) {
                Poll::Ready(Ok(())) => into.filled().len(),
                Poll::Ready(Err(e)) => return Poll::Ready(Err(e)),
                Poll::Pending => {
                    self.kept.extend_from_slice(&scratch[self.kept.len()..len]);
                    return Poll::Pending;
                }
            };
            let used = match n {
                0 => {
                    self.end_of_input(len);
                    len
                }
                n => {
                    len += n;
                    self.take(&scratch[..len], buf)
                }
            };
            if used > 0 || self.end.is_some() {
                self.kept = BytesMut::new();
            }
            if let Some(answer) = self.answer(buf) {
                if self.end.is_none() {
                    self.kept = BytesMut::from(&scratch[used..len]);
                }
                return Poll::Ready(answer);
            }
            if used > 0 {
                // The head of a response, with nothing whole behind it.
                scratch.copy_within(used..len, 0);
                len -= used;
            }
        }
    }

    /// What can be said to the caller without reading: what `buf` or `plain` hold, else the end.
    fn answer(&mut self, buf: &mut ReadBuf<'_>) -> Option<io::Result<()>> {
        let n = self.plain.len().min(buf.remaining());
        if n > 0 {
            copy::put(&self.plain[..n], buf);
            self.plain.advance(n);
            if self.plain.is_empty() {
                self.plain = Bytes::new();
            }
        }
        if !buf.filled().is_empty() {
            return Some(Ok(()));
        }
        let end = self.end.as_ref()?;
        Some(match end {
            Ok(()) => Ok(()),
            Err((kind, text)) => Err(io::Error::new(*kind, text.clone())),
        })
    }

    /// Opens as many chunks of `sealed` into `buf` as fit, and returns how many bytes they had.
    fn take(&mut self, sealed: &[u8], buf: &mut ReadBuf<'_>) -> usize {
        self.ready = false;
        match self.open_chunks(sealed, buf) {
            (used, Ok(())) => used,
            (used, Err(text)) => {
                self.end = Some(Err((io::ErrorKind::InvalidData, text)));
                used
            }
        }
    }

    fn open_chunks(&mut self, sealed: &[u8], buf: &mut ReadBuf<'_>) -> (usize, Result<(), String>) {
        let mut used = 0;
        if let State::Waiting(awaited) = &self.state {
            match awaited.open(sealed, now().unsigned_abs()) {
                Ok(None) => return (0, Ok(())),
                Ok(Some((opener, len))) => {
                    self.state = State::Open(Box::new(opener));
                    used = len;
                }
                Err(e) => return (0, Err(e.to_string())),
            }
        }
        let State::Open(opener) = &mut self.state else {
            return (used, Ok(()));
        };
        // What comes to stand in `plain` goes before any other chunk.
        while self.plain.is_empty() {
            let rest = &sealed[used..];
            let chunk = match opener.chunk(rest) {
                Ok(Some(chunk)) => chunk,
                Ok(None) => break,
                Err(e) => return (used, Err(e.to_string())),
            };
            let fits = chunk.plain <= buf.remaining();
            if !fits && !buf.filled().is_empty() {
                self.ready = true;
                break;
            }
            let opened = if fits {
                let opened = opener.open(chunk, rest, buf.initialize_unfilled_to(chunk.plain));
                if opened.is_ok() {
                    buf.advance(chunk.plain);
                }
                opened
            } else {
                let mut plain = vec![0; chunk.plain];
                let opened = opener.open(chunk, rest, &mut plain);
                self.plain = plain.into();
                self.ready = true;
                opened
            };
            if let Err(e) = opened {
                self.plain = Bytes::new();
                return (used, Err(e.to_string()));
            }
            used += chunk.whole();
        }
        (used, Ok(()))
    }

    /// Keeps `rest` for the next read, in no more memory than it needs.
    fn keep(&mut self, rest: BytesMut) {
        self.kept = match rest.len() {
            0 => BytesMut::new(),
            _ if self.ready => rest,
            _ => BytesMut::from(&rest[..]),
        };
    }

    /// The layer below has ended, with `left` bytes unopened. There is no mark for the end of a stream.
    fn end_of_input(&mut self, left: usize) {
        self.end = Some(match left {
            0 => Ok(()),
            _ => Err((
                io::ErrorKind::UnexpectedEof,
                format!("closed after {left} bytes of a chunk"),
            )),
        });
    }
}

// A chunk that is not yet whole always leaves room behind it to read on.
const _: () = assert!(MAX_CHUNK + MAX_HEAD < scratch::READ);
