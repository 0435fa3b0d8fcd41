//! Heads of requests as V2Ray takes them, made such that hyper takes them too.
//!
//! V2Ray reads with Go's library, which forgives what hyper refuses: a line that goes on in the next one, a name with a
//! space in it, letters in a URL that should be `%22`, `HTTP/1.2`, the length of a body in a CONNECT. [`LenientHeads`] stands
//! below hyper and rewrites each head, as Go would send it on. Bodies pass as they are: their lengths are followed
//! only to find the next head.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::inbound::{MAX_HEAD, Next};
use crate::http::head::is_token;
use crate::io::{Io, Link, scratch};

/// How much is read at once.
const READ: usize = 16 * 1024;

pub(crate) struct LenientHeads {
    inner: Link,
    at: At,
    /// Read and not handed on.
    read: BytesMut,
    /// How much of it holds no end of a head.
    seen: usize,
    /// The head that the reader has not taken yet.
    head: Bytes,
    /// What became of the last request.
    next: Next,
}

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Head,
    /// So many bytes of a body are to come.
    Body(u64),
    Chunked(Chunk),
    /// A CONNECT was asked for: a tunnel, unless it is refused.
    Tunnel,
    /// Nothing behind is looked at.
    Raw,
}

/// Where in a body of chunks we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Chunk {
    /// In the line of a size; whether its digits are over.
    Size(u64, bool),
    /// In the payload and the end of the line behind it.
    Data(u64),
    /// In a line of trailers that has so many bytes so far.
    Trailer(u64),
}

impl LenientHeads {
    pub(crate) fn new(inner: Link, next: Next) -> Self {
        Self {
            inner,
            at: At::Head,
            read: BytesMut::new(),
            seen: 0,
            head: Bytes::new(),
            next,
        }
    }

    /// The link, and what was read from it and not handed on.
    pub(super) fn into_parts(self) -> (Link, Bytes) {
        match self.head.is_empty() {
            true => (self.inner, self.read.freeze()),
            false => (self.inner, [&self.head[..], &self.read].concat().into()),
        }
    }

    /// How much of what was read may be handed on to who has `room`; `None` asks for more.
    fn ready(&mut self, room: usize) -> Option<usize> {
        if self.at == At::Tunnel && self.next.was_refused() {
            self.at = At::Head;
        }
        let here = self.read.len().min(room);
        let n = match self.at {
            At::Head => {
                let from = std::mem::replace(&mut self.seen, self.read.len());
                let may_be = may_be_head(&self.read);
                let Some(len) = head_len(&self.read, from).filter(|_| may_be) else {
                    if self.read.len() < MAX_HEAD && may_be {
                        return None;
                    }
                    // hyper says what is wrong with it.
                    self.at = At::Raw;
                    return Some(here);
                };
                let (head, at) = lenient(&self.read[..len]);
                self.read.advance(len);
                if at == At::Tunnel {
                    self.next.take();
                }
                (self.head, self.at, self.seen) = (head.into(), at, 0);
                return Some(0);
            }
            At::Tunnel | At::Raw => here,
            At::Body(left) => {
                let n = usize::try_from(left).map_or(here, |left| left.min(here));
                self.at = At::rest_of(left - n as u64);
                n
            }
            At::Chunked(chunk) => {
                let (n, at) = chunk.follow(&self.read[..here]);
                self.at = at;
                n
            }
        };
        (n > 0).then_some(n)
    }
}

impl At {
    fn rest_of(left: u64) -> Self {
        match left {
            0 => Self::Head,
            left => Self::Body(left),
        }
    }
}

impl Chunk {
    /// Follows a body through `bytes`: how many are its own, and where it is then.
    fn follow(mut self, bytes: &[u8]) -> (usize, At) {
        let mut n = 0;
        while n < bytes.len() {
            if let Self::Data(left) = self {
                let taken = left.min((bytes.len() - n) as u64);
                n += taken as usize;
                self = match left - taken {
                    0 => Self::Size(0, false),
                    left => Self::Data(left),
                };
                continue;
            }
            let byte = bytes[n];
            n += 1;
            self = match self {
                Self::Size(0, _) if byte == b'\n' => Self::Trailer(0),
                // Behind a payload there is the end of a line.
                Self::Size(size, _) if byte == b'\n' => Self::Data(size.saturating_add(2)),
                Self::Size(size, false) => match char::from(byte).to_digit(16) {
                    // hyper refuses such a size.
                    Some(_) if size >> 60 != 0 => return (bytes.len(), At::Raw),
                    Some(digit) => Self::Size(size << 4 | u64::from(digit), false),
                    None => Self::Size(size, true),
                },
                Self::Trailer(0) if byte == b'\n' => return (n, At::Head),
                Self::Trailer(_) if byte == b'\n' => Self::Trailer(0),
                Self::Trailer(len) if byte != b'\r' => Self::Trailer(len + 1),
                same => same,
            };
        }
        (n, At::Chunked(self))
    }
}

/// How long a whole head is, empty lines in front included; its end is not before `from`.
fn head_len(bytes: &[u8], from: usize) -> Option<usize> {
    let begin = bytes.iter().position(|b| !matches!(b, b'\r' | b'\n'))?;
    let from = begin.max(from.saturating_sub(3));
    let mut ends = (from..bytes.len()).filter(|at| bytes[*at] == b'\n');
    ends.find_map(|at| match bytes[at + 1..] {
        [b'\n', ..] => Some(at + 2),
        [b'\r', b'\n', ..] => Some(at + 3),
        _ => None,
    })
}

/// Whether bytes look like the beginning of a request. What does not is refused at once.
fn may_be_head(bytes: &[u8]) -> bool {
    let begin = bytes.iter().position(|b| !matches!(b, b'\r' | b'\n'));
    let Some(rest) = begin.map(|at| &bytes[at..]) else {
        return bytes.len() < READ;
    };
    let line = rest.split(|b| *b == b'\n').next().unwrap_or_default();
    let is_text = line
        .iter()
        .all(|b| *b >= b' ' || matches!(b, b'\r' | b'\t'));
    let is_whole = line.len() < rest.len();
    is_text && rest[0] != b' ' && (!is_whole || line.split(|b| *b == b' ').count() >= 3)
}

/// The head as hyper takes it, and what follows it.
fn lenient(head: &[u8]) -> (Vec<u8>, At) {
    let begin = head.iter().position(|b| !matches!(b, b'\r' | b'\n'));
    let mut lines = head[begin.unwrap_or(0)..]
        .split(|b| *b == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let Some(request) = lines.next().and_then(RequestLine::read) else {
        return (head.to_vec(), At::Raw);
    };
    let is_connect = request.method == b"CONNECT";
    let is_old = request.version == b"HTTP/1.0";
    let mut headers: Vec<(&[u8], Vec<u8>)> = Vec::new();
    let mut is_dropped = true;
    for line in lines.take_while(|line| !line.is_empty()) {
        if let [b' ' | b'\t', ..] = line {
            // A line that goes on, as Go joins it.
            match headers.last_mut() {
                Some((_, value)) if !is_dropped => {
                    value.push(b' ');
                    value.extend(line.trim_ascii().iter().map(|b| printable(*b)));
                }
                _ => {}
            }
            continue;
        }
        let Some(colon) = line.iter().position(|b| *b == b':') else {
            return (head.to_vec(), At::Raw);
        };
        let name = &line[..colon];
        let is_length = is(name, b"content-length") || is(name, b"transfer-encoding");
        is_dropped = !is_token(name)
            || (is_connect && is_length)
            || (is_old && is(name, b"transfer-encoding"));
        if !is_dropped {
            let value = line[colon + 1..].trim_ascii();
            headers.push((name, value.iter().map(|b| printable(*b)).collect()));
        }
    }
    let mut out = request.written(head.len());
    for (name, value) in &headers {
        out.extend_from_slice(name);
        out.extend_from_slice(b": ");
        out.extend_from_slice(value);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"\r\n");
    let at = match (
        is_connect,
        headers.iter().any(|(name, _)| is(name, b"upgrade")),
    ) {
        (true, _) => At::Tunnel,
        (_, true) => At::Raw,
        _ => body(&headers),
    };
    (out, at)
}

/// The body behind a head; hyper refuses what is no length.
fn body(headers: &[(&[u8], Vec<u8>)]) -> At {
    let all = |wanted: &'static [u8]| {
        let of = headers.iter().filter(move |(name, _)| is(name, wanted));
        of.map(|(_, value)| value.as_slice())
    };
    if let Some(last) = all(b"transfer-encoding").next_back() {
        let coding = last.rsplit(|b| *b == b',').next().unwrap_or_default();
        return match coding.trim_ascii().eq_ignore_ascii_case(b"chunked") {
            true => At::Chunked(Chunk::Size(0, false)),
            false => At::Raw,
        };
    }
    match all(b"content-length").next().map(std::str::from_utf8) {
        None => At::Head,
        Some(text) => match text.ok().and_then(|text| text.parse().ok()) {
            None => At::Raw,
            Some(0) => At::Head,
            Some(len) => At::Body(len),
        },
    }
}

struct RequestLine<'a> {
    method: &'a [u8],
    target: &'a [u8],
    version: &'a [u8],
}

impl<'a> RequestLine<'a> {
    fn read(line: &'a [u8]) -> Option<Self> {
        let mut parts = line.splitn(3, |b| *b == b' ');
        let (method, target, version) = (parts.next()?, parts.next()?, parts.next()?);
        // Any other version is read as the newest one that this can be, as by Go.
        let version = match version {
            b"HTTP/1.0" | b"HTTP/1.1" => version,
            [b'H', b'T', b'T', b'P', b'/', b'1'..=b'9', b'.', b'0'..=b'9'] => b"HTTP/1.1",
            _ => return None,
        };
        Some(Self {
            method,
            target,
            version,
        })
    }

    fn written(&self, room: usize) -> Vec<u8> {
        let mut out = Vec::with_capacity(room + 64);
        out.extend_from_slice(self.method);
        out.push(b' ');
        let scheme = self.target.windows(3).position(|w| w == b"://");
        let authority = scheme.map_or(0, |at| at + 3);
        let path = self.target[authority..]
            .iter()
            .position(|b| matches!(b, b'/' | b'?' | b'#'));
        let path = path.map_or(self.target.len(), |at| authority + at);
        out.extend_from_slice(&self.target[..path]);
        // `CONNECT host:port/path` names a host and a port.
        if self.method != b"CONNECT" || scheme.is_some() {
            for byte in &self.target[path..] {
                match byte {
                    b'"'
                    | b'#'
                    | b'<'
                    | b'>'
                    | b'\\'
                    | b'^'
                    | b'`'
                    | b'{'
                    | b'|'
                    | b'}'
                    | 0x80.. => {
                        out.push(b'%');
                        out.extend(
                            [byte >> 4, byte & 0xf].map(|n| b"0123456789ABCDEF"[usize::from(n)]),
                        );
                    }
                    byte => out.push(*byte),
                }
            }
        }
        out.push(b' ');
        out.extend_from_slice(self.version);
        out.extend_from_slice(b"\r\n");
        out
    }
}

fn is(name: &[u8], wanted: &[u8]) -> bool {
    name.eq_ignore_ascii_case(wanted)
}

/// Control characters in a value become spaces (RFC 9110, section 5.5).
fn printable(byte: u8) -> u8 {
    match byte {
        b'\t' => byte,
        0..=0x1f | 0x7f => b' ',
        _ => byte,
    }
}

impl AsyncRead for LenientHeads {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        loop {
            if !this.head.is_empty() {
                let n = this.head.len().min(buf.remaining());
                buf.put_slice(&this.head.split_to(n));
                return Poll::Ready(Ok(()));
            }
            if !this.read.is_empty()
                && let Some(n) = this.ready(buf.remaining())
            {
                buf.put_slice(&this.read[..n]);
                this.read.advance(n);
                if n > 0 {
                    return Poll::Ready(Ok(()));
                }
                continue;
            }
            let all = match this.at {
                At::Raw => Some(u64::MAX),
                At::Body(left) if left >= buf.remaining() as u64 => Some(left),
                _ => None,
            };
            if let Some(left) = all
                && this.read.is_empty()
            {
                // Whatever comes is handed on.
                let before = buf.filled().len();
                ready!(Pin::new(&mut this.inner).poll_read(cx, buf))?;
                if this.at != At::Raw {
                    this.at = At::rest_of(left - (buf.filled().len() - before) as u64);
                }
                return Poll::Ready(Ok(()));
            }
            let mut scratch = scratch::take();
            let mut read = ReadBuf::new(&mut scratch[..READ]);
            ready!(Pin::new(&mut this.inner).poll_read(cx, &mut read))?;
            if read.filled().is_empty() {
                // What is left is no head, and hyper is told so by its end.
                this.at = At::Raw;
                if this.read.is_empty() {
                    return Poll::Ready(Ok(()));
                }
                continue;
            }
            this.read.extend_from_slice(read.filled());
        }
    }
}

impl AsyncWrite for LenientHeads {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }
}

impl Io for LenientHeads {}

#[cfg(test)]
#[path = "lenient_tests.rs"]
mod tests;
