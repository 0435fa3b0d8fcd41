//! A link behind headers, for both roles: what VLESS and Trojan make of a connection; and without any, what
//! `dokodemo-door` and `freedom` do.
//!
//! Once the headers are out of the way the bytes pass as they are, and so does all else that can be asked of a link.
//!
//! None of them has a word for the end of one direction: the end of the link is the end of the stream. Where a link's end is
//! that of both directions, as in a WebSocket, it is passed down when the peer has been silent for a second ([`Untold`]), or has
//! ended too. A server that hears of an end sends no more of its answer; V2Ray's client, which knows no order in such
//! an end, forgets what its application has not taken yet. A client tells of its end without a goodbye, for there may
//! be an answer to come. A gost's client is told at once that there is no more answer, as a gost does it, and so is whoever
//! has a stream with one end for both directions, and no word for that of one.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::awaited::Awaited;
use super::untold::Untold;
use crate::copy;
use crate::io::{CloseReason, Goodbye, HEADROOM, Io, Link, Prefixed, Sink, forward, scratch};

pub(super) struct BareStream<A> {
    /// In front of a server's link is what came behind the request.
    inner: Prefixed<Link>,
    /// Goes out in front of the first payload; empty from then on.
    header: Bytes,
    role: Role<A>,
    /// The peer has said all it had to say.
    ended: bool,
    /// Our direction has ended, and that has yet to be passed down.
    untold: Option<Untold>,
    /// It was passed down without a goodbye.
    left_silently: bool,
}

enum Role<A> {
    /// The answer is awaited until its header is whole.
    Client(A, Option<Box<Awaited>>),
    Server,
}

/// What a server puts in front of its payload, as far as a client has read it.
pub(super) trait Answer: Default + Send + Unpin {
    /// Whether a server says goodbye that seems to be one of those who do: a gost looks like V2Ray, and only hangs up, as soon as its
    /// target has ended.
    const OWES_GOODBYE: bool = true;

    /// Whether all that comes next is payload.
    fn is_whole(&self) -> bool;

    /// How many of `bytes`, which come next, belong to it.
    fn take(&mut self, bytes: &[u8]) -> io::Result<usize>;

    /// What it means that the server ends before it is whole.
    fn broken_off(awaited: &Awaited) -> io::Result<()>;
}

/// A server's payload, in front of which nothing stands. So nothing tells a server that closes because it does not know
/// the password from a target that closes without a word.
#[derive(Default)]
pub(super) enum Payload {
    #[default]
    Awaited,
    Begun,
}

impl Answer for Payload {
    fn is_whole(&self) -> bool {
        matches!(self, Self::Begun)
    }

    fn take(&mut self, _bytes: &[u8]) -> io::Result<usize> {
        *self = Self::Begun;
        Ok(0)
    }

    fn broken_off(awaited: &Awaited) -> io::Result<()> {
        awaited.ended();
        Ok(())
    }
}

/// A link of a server with nothing in front.
pub(super) fn headless_server(link: Link) -> Link {
    headless(link, Role::Server)
}

/// A link of a client with nothing in front, or behind a handshake of its protocol.
pub(super) fn headless_client(link: Link) -> Link {
    headless(link, Role::Client(Payload::Begun, None))
}

/// Where each direction ends by itself there is nothing to do.
fn headless(link: Link, role: Role<Payload>) -> Link {
    if link.half_closes() {
        return link;
    }
    let inner = Prefixed::new(Bytes::new(), link);
    Link::other(BareStream::new(inner, Bytes::new(), role))
}

impl<A: Answer> BareStream<A> {
    /// The client's: `request` is its header.
    pub(super) fn client(inner: Link, request: Bytes, awaited: Awaited) -> Self {
        let inner = Prefixed::new(Bytes::new(), inner);
        let role = Role::Client(A::default(), Some(Box::new(awaited)));
        Self::new(inner, request, role)
    }

    /// The server's: `rest` is what came behind the request, `answer` goes in front of the first payload.
    pub(super) fn server(inner: Link, rest: Bytes, answer: &'static [u8]) -> Self {
        let inner = Prefixed::new(rest, inner);
        Self::new(inner, Bytes::from_static(answer), Role::Server)
    }

    fn new(inner: Prefixed<Link>, header: Bytes, role: Role<A>) -> Self {
        Self {
            inner,
            header,
            role,
            ended: false,
            untold: None,
            left_silently: false,
        }
    }

    /// Writes the header, and what there is room for of `payload` behind it; how much of that was taken.
    fn poll_begin(&mut self, cx: &mut Context<'_>, payload: &[u8]) -> Poll<io::Result<usize>> {
        let mut scratch = scratch::take();
        while !self.header.is_empty() {
            let start = HEADROOM + self.header.len();
            let n = payload.len().min(scratch.len() - start);
            scratch[HEADROOM..start].copy_from_slice(&self.header);
            copy::copy(&payload[..n], &mut scratch[start..start + n]);
            let both = &mut scratch[..start + n];
            let taken = ready!(Pin::new(&mut self.inner).poll_write_in_place(cx, both))?;
            if taken == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            let of_header = taken.min(self.header.len());
            self.header.advance(of_header);
            if taken > of_header {
                return Poll::Ready(Ok(taken - of_header));
            }
        }
        Poll::Ready(Ok(0))
    }

    /// Writes the header alone.
    fn poll_header(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.header.is_empty() {
            true => Poll::Ready(Ok(())),
            false => self.poll_begin(cx, &[]).map_ok(drop),
        }
    }

    /// Passes our end down when the peer has been silent for long enough.
    fn tell_end(&mut self, cx: &mut Context<'_>, moved: bool) {
        let Some(untold) = &mut self.untold else {
            return;
        };
        if self.inner.half_closes() {
            // The peer knows what it was told.
            self.untold = None;
            return;
        }
        let says_goodbye = matches!(self.role, Role::Server);
        let told = untold.poll(cx, &mut self.inner, moved, says_goodbye);
        if told.is_ready() {
            self.untold = None;
            self.left_silently = !says_goodbye;
        }
    }
}

/// Reads the header of the answer, and what comes with it.
fn poll_answer<A: Answer>(
    answer: &mut A,
    awaited: &mut Option<Box<Awaited>>,
    inner: &mut Prefixed<Link>,
    cx: &mut Context<'_>,
    buf: &mut ReadBuf<'_>,
) -> Poll<io::Result<()>> {
    let before = buf.filled().len();
    loop {
        let read = Pin::new(&mut *inner).poll_read(cx, buf);
        let read = read.map_err(|error| match awaited {
            Some(awaited) => awaited.broke(error),
            None => error,
        });
        if read?.is_pending() {
            let silence = awaited
                .as_mut()
                .and_then(|awaited| awaited.poll_silence(cx));
            return silence.map_or(Poll::Pending, |error| Poll::Ready(Err(error)));
        }
        let bytes = &mut buf.filled_mut()[before..];
        let arrived = bytes.len();
        if arrived == 0 {
            let is_over = answer.is_whole();
            let awaited = awaited.as_ref().filter(|_| !is_over);
            return Poll::Ready(awaited.map_or(Ok(()), |awaited| A::broken_off(awaited)));
        }
        let taken = answer.take(bytes)?;
        bytes.copy_within(taken.., 0);
        buf.set_filled(before + arrived - taken);
        if answer.is_whole()
            && let Some(mut awaited) = awaited.take()
        {
            awaited.came();
        }
        if arrived > taken {
            return Poll::Ready(Ok(()));
        }
    }
}

impl<A: Answer> AsyncRead for BareStream<A> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        let inner = Pin::new(&mut this.inner);
        let read = match &mut this.role {
            Role::Client(answer, awaited) if !answer.is_whole() => {
                poll_answer(answer, awaited, inner.get_mut(), cx, buf)
            }
            Role::Client(..) | Role::Server => inner.poll_read(cx, buf),
        };
        let moved = buf.filled().len() > before;
        this.ended |= read.is_ready() && !moved;
        if this.untold.is_some() {
            this.tell_end(cx, moved);
        }
        read
    }
}

impl<A: Answer> AsyncWrite for BareStream<A> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if !this.header.is_empty() && !buf.is_empty() {
            let n = ready!(this.poll_begin(cx, buf))?;
            if n > 0 {
                return Poll::Ready(Ok(n));
            }
        }
        Pin::new(&mut this.inner).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.header.is_empty() {
            return Pin::new(&mut self.get_mut().inner).poll_write_vectored(cx, bufs);
        }
        let first = bufs.iter().find(|buf| !buf.is_empty());
        self.poll_write(cx, first.map_or(&[], |buf| buf))
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        // A target may be the one to speak first. The header of an answer waits for it.
        if let Role::Client(..) = this.role {
            ready!(this.poll_header(cx))?;
        }
        Pin::new(&mut this.inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.header.is_empty() {
            // It goes out together with what the layer below says.
            this.inner.cork();
            ready!(this.poll_header(cx))?;
        }
        if this.ended || this.inner.half_closes() {
            return Pin::new(&mut this.inner).poll_shutdown(cx);
        }
        ready!(Pin::new(&mut this.inner).poll_flush(cx))?;
        let is_of_gost = !A::OWES_GOODBYE || this.inner.end_cuts_off();
        if is_of_gost && matches!(this.role, Role::Server) {
            return Pin::new(&mut this.inner).poll_shutdown(cx);
        }
        this.inner.say_end();
        this.untold = Some(Untold::new(cx));
        Poll::Ready(Ok(()))
    }
}

/// The socket below is not shown, so nobody is reset: V2Ray leaves its other end open for ever after that, and who the
/// peer is cannot be known.
impl<A: Answer> Io for BareStream<A> {
    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_close(cx)
    }

    fn end_cuts_off(&self) -> bool {
        self.inner.end_cuts_off()
    }

    fn say_end(&mut self) {
        self.inner.say_end();
    }

    fn holds_up_others(&self) -> bool {
        self.inner.holds_up_others()
    }

    fn poll_end(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_header(cx))?;
        Pin::new(&mut this.inner).poll_end(cx)
    }

    fn poll_write_in_place(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        match this.header.is_empty() {
            true => Pin::new(&mut this.inner).poll_write_in_place(cx, buf),
            false => Pin::new(this).poll_write(cx, &buf[HEADROOM..]),
        }
    }

    fn cork(&mut self) {
        self.inner.cork();
    }

    /// Who was not told goodbye owes none.
    fn goodbye(&self) -> Goodbye {
        match self.inner.goodbye() {
            Goodbye::Owed | Goodbye::OwedByV2ray if self.left_silently || !A::OWES_GOODBYE => {
                Goodbye::Unknown
            }
            goodbye => goodbye,
        }
    }

    fn set_close_reason(&mut self, reason: CloseReason) {
        self.inner.set_close_reason(reason);
    }

    fn set_low_water(&mut self, bytes: usize) {
        self.inner.set_low_water(bytes);
    }

    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.inner.poll_gone(cx)
    }

    fn bound_unsent(&mut self, bytes: u32) {
        self.inner.bound_unsent(bytes);
    }

    fn source(&self) -> Option<&TcpStream> {
        let is_payload = match &self.role {
            Role::Client(answer, awaited) => answer.is_whole() && awaited.is_none(),
            Role::Server => true,
        };
        let source = self.inner.source();
        source.filter(|_| is_payload && self.untold.is_none())
    }

    fn sink(&self) -> Option<Sink<'_>> {
        self.inner.sink().filter(|_| self.header.is_empty())
    }

    forward!(inner: presence took poll_announce gave);
}

#[cfg(test)]
#[path = "bare_tests.rs"]
mod tests;
