//! The reading half of a body: sealed bytes from below, plain bytes to the caller.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::ReadBuf;

use super::codec::body::{Framing, MAX_CHUNK, Opener};
use super::codec::response::{self, Keys};
use super::peer::Peer;
use crate::cause::AnswerError;
use crate::copy;
use crate::io::{Goodbye, Io, broken_off, scratch};
use crate::protocol::awaited::Awaited;

/// Reads a body. Between two reads it keeps the unfinished part of a chunk, and nothing else; only a
/// caller whose buffer is full leaves more behind.
pub(super) struct Reader {
    /// Set until the server's response header has come.
    response: Option<Box<Response>>,
    /// `None`: the body is raw.
    opener: Option<Box<Opener>>,
    /// Sealed bytes that were read and not opened.
    kept: BytesMut,
    /// `kept` may begin with a whole chunk.
    ready: bool,
    /// Opened bytes of a chunk that was larger than the caller's buffer.
    plain: Bytes,
    end: End,
    peer: Peer,
    /// The peer has sent an end mark, or did in an earlier stream.
    marks: bool,
}

/// What a client needs to know a response by.
struct Response {
    keys: Keys,
    v: u8,
    /// The request's options, if a server is to be known by its own.
    asked: Option<u8>,
    awaited: Awaited,
}

enum End {
    NotYet,
    Clean,
    /// What was opened before it is delivered first.
    Failed(io::ErrorKind, String),
    /// The server has not answered.
    Unanswered(AnswerError),
}

impl Reader {
    /// The server's: `rest` is what came behind the request header.
    pub(super) fn of_request(framing: Framing, request: &Keys, rest: BytesMut, peer: Peer) -> Self {
        Self {
            response: None,
            opener: opener(framing, request, request),
            ready: !rest.is_empty(),
            kept: rest,
            plain: Bytes::new(),
            end: End::NotYet,
            peer,
            marks: false,
        }
    }

    /// The client's; with `stream` it counts how the response ends, and `marks` says that the server has sent end marks.
    pub(super) fn of_response(
        framing: Framing,
        request: &Keys,
        v: u8,
        stream: bool,
        marks: bool,
        awaited: Awaited,
    ) -> Self {
        let keys = request.response();
        let asked = stream.then_some(framing.options);
        Self {
            response: Some(Box::new(Response {
                keys,
                v,
                asked,
                awaited,
            })),
            opener: opener(framing, request, &keys),
            kept: BytesMut::new(),
            ready: false,
            plain: Bytes::new(),
            end: End::NotYet,
            peer: Peer::Other,
            marks,
        }
    }

    /// How the peer ends, as far as it is known; a server is known by its response.
    pub(super) fn peer(&self) -> Peer {
        self.peer
    }

    /// Whether an end mark has come.
    pub(super) fn has_mark(&self) -> bool {
        self.marks && self.has_ended()
    }

    /// Whether the server has not answered yet.
    pub(super) fn is_waiting(&self) -> bool {
        self.response.is_some()
    }

    /// Whether the peer has said that no more will come.
    pub(super) fn has_ended(&self) -> bool {
        !matches!(self.end, End::NotYet)
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
        if self.response.is_none() && self.opener.is_none() {
            return self.poll_read_raw(inner, cx, buf);
        }
        let mut scratch = scratch::take();
        let mut len = self.kept.len();
        copy::copy(&self.kept, &mut scratch[..len]);
        loop {
            // No more than the caller's buffer takes when it is open.
            let mut into = ReadBuf::new(&mut scratch[len..scratch::READ]);
            let n = match Pin::new(&mut *inner).poll_read(cx, &mut into) {
                Poll::Ready(Ok(())) => into.filled().len(),
                Poll::Ready(Err(e)) => return Poll::Ready(Err(self.broke(e))),
                Poll::Pending => {
                    self.kept.extend_from_slice(&scratch[self.kept.len()..len]);
                    return self.poll_silence(cx);
                }
            };
            let used = match n {
                0 => {
                    self.end_of_input(len, inner.goodbye());
                    len
                }
                n => {
                    len += n;
                    self.take(&scratch[..len], buf)
                }
            };
            if used > 0 || self.has_ended() {
                self.kept = BytesMut::new();
            }
            if let Some(answer) = self.answer(buf) {
                if !self.has_ended() {
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

    /// The next chunk as a datagram. A raw body has no bounds: what one read gives is one datagram.
    pub(super) fn poll_chunk<S: Io>(
        &mut self,
        inner: &mut S,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<Option<Bytes>>> {
        loop {
            if self.ready {
                let mut kept = std::mem::take(&mut self.kept);
                let used = self.take_one(&kept);
                kept.advance(used);
                self.keep(kept);
            }
            if !self.plain.is_empty() {
                return Poll::Ready(Ok(Some(std::mem::take(&mut self.plain))));
            }
            match &self.end {
                End::NotYet if self.ready => continue,
                End::NotYet => {}
                End::Clean => return Poll::Ready(Ok(None)),
                End::Failed(kind, text) => {
                    return Poll::Ready(Err(io::Error::new(*kind, text.clone())));
                }
                End::Unanswered(error) => return Poll::Ready(Err((*error).into())),
            }
            let mut scratch = scratch::take();
            let mut into = ReadBuf::new(&mut scratch);
            let read = Pin::new(&mut *inner).poll_read(cx, &mut into);
            if read.map_err(|e| self.broke(e))?.is_pending() {
                return self.poll_silence(cx).map_ok(|()| None);
            }
            if into.filled().is_empty() {
                self.end_of_input(self.kept.len(), inner.goodbye());
            } else {
                copy::append(into.filled(), &mut self.kept);
                self.ready = true;
            }
        }
    }

    /// The layer below has broken.
    fn broke(&self, error: io::Error) -> io::Error {
        match &self.response {
            Some(response) => response.awaited.broke(error),
            None => error,
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
        match &self.end {
            End::NotYet => None,
            End::Clean => Some(Ok(())),
            End::Failed(kind, text) => Some(Err(io::Error::new(*kind, text.clone()))),
            End::Unanswered(error) => Some(Err((*error).into())),
        }
    }

    /// Nothing more has come for now; an error when nothing will.
    fn poll_silence(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let response = self.response.as_mut();
        match response.and_then(|response| response.awaited.poll_silence(cx)) {
            Some(error) => Poll::Ready(Err(error)),
            None => Poll::Pending,
        }
    }

    fn poll_read_raw<S: Io>(
        &mut self,
        inner: &mut S,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut *inner).poll_read(cx, buf))?;
        if buf.filled().len() == before {
            self.end_of_input(0, inner.goodbye());
        }
        Poll::Ready(self.answer(buf).unwrap_or(Ok(())))
    }

    /// Opens as many chunks of `sealed` into `buf` as fit, and returns how many bytes they had.
    fn take(&mut self, sealed: &[u8], buf: &mut ReadBuf<'_>) -> usize {
        self.ready = false;
        let mut used = self.take_response(sealed);
        if self.response.is_some() || self.has_ended() {
            return used;
        }
        let Some(opener) = &mut self.opener else {
            let n = buf.remaining().min(sealed.len() - used);
            copy::put(&sealed[used..used + n], buf);
            self.ready = used + n < sealed.len();
            return used + n;
        };
        // What comes to stand in `plain` goes before any other chunk.
        while self.plain.is_empty() {
            let rest = &sealed[used..];
            let opened = opener.chunk(rest).and_then(|chunk| {
                let Some(chunk) = chunk else { return Ok(None) };
                let fits = chunk.plain <= buf.remaining();
                if !fits && !buf.filled().is_empty() {
                    self.ready = true;
                    return Ok(None);
                }
                if fits {
                    opener.open(chunk, rest, buf.initialize_unfilled_to(chunk.plain))?;
                    buf.advance(chunk.plain);
                } else {
                    let mut plain = vec![0; chunk.plain];
                    opener.open(chunk, rest, &mut plain)?;
                    self.plain = plain.into();
                    self.ready = true;
                }
                Ok(Some(chunk))
            });
            match opened {
                Ok(Some(chunk)) => {
                    used += chunk.len;
                    if chunk.plain == 0 {
                        (self.end, self.marks) = (End::Clean, true);
                        break;
                    }
                }
                Ok(None) => break,
                Err(e) => {
                    self.end = End::Failed(io::ErrorKind::InvalidData, e.to_string());
                    break;
                }
            }
        }
        used
    }

    /// Opens one chunk of `sealed` into `plain`, and returns how many bytes it had.
    fn take_one(&mut self, sealed: &[u8]) -> usize {
        self.ready = false;
        let used = self.take_response(sealed);
        if self.response.is_some() || self.has_ended() {
            return used;
        }
        let rest = &sealed[used..];
        let Some(opener) = &mut self.opener else {
            self.plain = Bytes::copy_from_slice(rest);
            return sealed.len();
        };
        let mut plain = Vec::new();
        let opened = opener.chunk(rest).and_then(|chunk| {
            let Some(chunk) = chunk else { return Ok(None) };
            plain.resize(chunk.plain, 0);
            opener.open(chunk, rest, &mut plain)?;
            Ok(Some(chunk))
        });
        match opened {
            Ok(None) => used,
            Ok(Some(chunk)) => {
                if chunk.plain == 0 {
                    self.end = End::Clean;
                }
                self.plain = plain.into();
                self.ready = used + chunk.len < sealed.len();
                used + chunk.len
            }
            Err(e) => {
                self.end = End::Failed(io::ErrorKind::InvalidData, e.to_string());
                used
            }
        }
    }

    /// Opens the response header if it is awaited, and returns how many bytes it had.
    fn take_response(&mut self, sealed: &[u8]) -> usize {
        let Some(response) = &mut self.response else {
            return 0;
        };
        let mut header = BytesMut::from(&sealed[..sealed.len().min(MAX_RESPONSE)]);
        let before = header.len();
        match response::open(&response.keys, response.v, &mut header) {
            Ok(None) => {}
            Ok(Some(options)) => {
                response.awaited.came();
                if let Some(asked) = response.asked {
                    self.peer = Peer::server(asked, options);
                }
                self.response = None;
            }
            Err(e) => self.end = End::Failed(io::ErrorKind::InvalidData, e.to_string()),
        }
        before - header.len()
    }

    /// Keeps `rest` for the next read, in no more memory than it needs.
    fn keep(&mut self, rest: BytesMut) {
        self.kept = match rest.len() {
            0 => BytesMut::new(),
            _ if self.ready => rest,
            _ => BytesMut::from(&rest[..]),
        };
    }

    /// The layer below has ended, with `left` bytes unopened and this goodbye. Between two chunks that is a clean
    /// end for a peer who ends like that.
    fn end_of_input(&mut self, left: usize, goodbye: Goodbye) {
        self.end = if left == 0 && self.response.is_none() {
            match self
                .peer
                .missing(self.opener.is_none(), self.marks, goodbye)
            {
                None => End::Clean,
                Some(missing) => {
                    let error = broken_off(missing);
                    End::Failed(error.kind(), error.to_string())
                }
            }
        } else if let Some(response) = &self.response {
            End::Unanswered(response.awaited.never_came())
        } else {
            let text = format!("closed after {left} bytes of a chunk");
            End::Failed(io::ErrorKind::UnexpectedEof, text)
        };
    }
}

fn opener(framing: Framing, request: &Keys, own: &Keys) -> Option<Box<Opener>> {
    (!framing.is_raw()).then(|| Box::new(Opener::new(framing, request, own)))
}

/// The longest response header.
const MAX_RESPONSE: usize = 18 + 4 + 255 + 16;

// A chunk that is not yet whole always leaves room behind it to read on.
const _: () = assert!(MAX_CHUNK + MAX_RESPONSE < scratch::READ);
