//! A link inside a VMess connection, for both roles.
//!
//! Half-close is an empty chunk. Where a raw body has none, the end of the link is the end of the
//! body, so our end is passed down; where it is the end of both directions, when the peer has been silent behind it
//! ([`Untold`]). A server's is passed down to whoever may be sing-box: that does not heed the empty chunk and waits for the end of the link.
//!
//! V2Ray's client heeds it, and ends the connection itself. It forgets the last of an answer that comes in one read with the end of the
//! link, as its `AuthenticationReader` does not look at what came with an `io.EOF`; and Go's `tls.Conn` makes one read of both in
//! TLS 1.2, where a close_notify that lies behind data shows. A proxy in front that has TLS makes one of our end. So behind one a client
//! that is V2Ray's for certain has time to be the one to end. (TLS of our own keeps the two apart.)
//!
//! sing-box's and mihomo's servers do not heed it either: they wait for the end of the connection, in which a
//! goodbye of WebSocket would end both directions. A proxy in between may end both all the same. So a client's
//! end is passed down when nothing has come for [`HEEDED`] after it, at once over a bare socket; and not to those
//! who are known to heed it. That shows with the response, or did with an earlier one; a server of ours that sees
//! the end of one of our clients sends the header of its response at once.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep};

use super::peer::{Known, Peer};
use super::reader::Reader;
use super::writer::Writer;
use crate::io::{self as links, CloseReason, Io, scratch};
use crate::protocol::untold::{ANSWERING, Untold};

/// How long a server may be silent behind our end mark before it is taken for one that does not heed it. V2Ray gives
/// such a session up altogether after a second.
const HEEDED: Duration = Duration::from_secs(1);

/// How long a server that is V2Ray's client may be silent once that has closed the connection behind its end mark. It
/// does so only when it has given the session up; others might half-close.
const FAREWELL: Duration = Duration::from_secs(5);

pub(super) struct VmessStream<S> {
    inner: S,
    reader: Reader,
    writer: Writer,
    role: Role,
    /// The server: the layer below has ended behind the client's end mark.
    hung_up: bool,
    /// The client: what is known of its server, by all sessions to it.
    server: Option<Arc<Known>>,
    /// The client: the response has told who the server is.
    told: bool,
    /// The client: our end mark is out, and may have to be passed down. The server: the client seems to have gone.
    timer: Option<Pin<Box<Sleep>>>,
    /// Our end, of which a raw body says nothing, has yet to be passed down.
    untold: Option<Untold>,
    /// The server: the client ends the connection itself.
    peer_ends: bool,
    /// The same, and it has been sent our end mark.
    left_to_peer: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// A flush sends the header, even if there is no payload yet.
    Client,
    /// The header waits for the first payload.
    Server,
}

impl<S> VmessStream<S> {
    pub(super) fn new(inner: S, reader: Reader, writer: Writer, role: Role) -> Self {
        Self {
            inner,
            reader,
            writer,
            role,
            hung_up: false,
            server: None,
            told: false,
            timer: None,
            untold: None,
            peer_ends: false,
            left_to_peer: false,
        }
    }

    /// A server's, and whether its client ends the connection itself and is to be left to it.
    pub(super) fn peer_ends(self, peer_ends: bool) -> Self {
        Self { peer_ends, ..self }
    }

    /// A client's, to a server of which this is known.
    pub(super) fn with_server(self, server: Arc<Known>) -> Self {
        Self {
            server: Some(server),
            ..self
        }
    }
}

impl<S: Io> VmessStream<S> {
    /// Behind its end mark a client that waits for an answer says nothing more, and nobody reads from it. One that
    /// goes away closes its WebSocket or is reset, which shows only to who reads.
    fn listen(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if self.role != Role::Server || !self.reader.has_ended() {
            return Ok(());
        }
        if self.hung_up {
            return self.take_leave(cx);
        }
        let mut scratch = scratch::take();
        let mut rest = ReadBuf::new(&mut scratch);
        if let Poll::Ready(end) = Pin::new(&mut self.inner).poll_read(cx, &mut rest) {
            end?;
            // The layer below knows what an end means, and has its own time for more of an answer.
            self.hung_up = rest.filled().is_empty();
            // The rest of it, or the timer.
            cx.waker().wake_by_ref();
        }
        Ok(())
    }

    fn take_leave(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if self.reader.peer() != Peer::V2ray {
            return Ok(());
        }
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(FAREWELL)));
        match timer.as_mut().poll(cx) {
            Poll::Pending => Ok(()),
            Poll::Ready(()) => {
                let text = "the client has closed the connection and hears no answer";
                Err(io::Error::new(io::ErrorKind::BrokenPipe, text))
            }
        }
    }

    /// What a client learns from the beginning of the response, or from its absence.
    fn know_server(&mut self, cx: &mut Context<'_>, moved: bool) {
        let peer = self.reader.peer();
        if !self.told && !self.reader.is_waiting() {
            self.told = true;
            if let Some(server) = &self.server {
                server.set(peer);
            }
            if !self.writer.has_ended()
                && let Some(stream) = self.tcp()
            {
                links::begun(stream);
            }
        }
        let Some(timer) = &mut self.timer else {
            return;
        };
        if peer != Peer::Other || self.reader.has_ended() {
            self.timer = None;
            return;
        }
        if moved {
            let patience = match self.inner.end_cuts_off() {
                true => ANSWERING,
                false => HEEDED,
            };
            timer.as_mut().reset(Instant::now() + patience);
        }
        let at_once = self.told && self.inner.tcp().is_some();
        if at_once || timer.as_mut().poll(cx).is_ready() {
            // A link that cannot take it now is asked again; one that broke tells its reader.
            if Pin::new(&mut self.inner).poll_end(cx).is_ready() {
                self.timer = None;
            }
        }
    }

    /// Whether our end, passed down, would be that of both directions for the peer: V2Ray's client may drop what it has not handed on
    /// then, and its server the answer. Ours know an end from the other.
    fn ends_both(&self) -> bool {
        let is_open = !self.reader.has_ended() && !self.inner.half_closes();
        let known = self.server.as_ref().and_then(|server| server.get());
        let is_ours = [Some(self.reader.peer()), known].contains(&Some(Peer::Mobula));
        self.writer.is_raw() && is_open && !is_ours
    }

    /// Whether the connection is the client's to end, when it has read our end mark.
    fn waits_for_peer(&self) -> bool {
        self.peer_ends && !self.writer.is_raw() && self.inner.half_closes()
    }

    /// Passes our end down when the peer has been silent for long enough.
    fn tell_end(&mut self, cx: &mut Context<'_>, moved: bool) {
        let Some(untold) = &mut self.untold else {
            return;
        };
        if untold.poll(cx, &mut self.inner, moved, true).is_ready() {
            self.untold = None;
        }
    }

    /// Whether the server may be one that waits for the end of the connection.
    fn is_unheeded(&self) -> bool {
        let heeds = |server: &Arc<Known>| server.get().is_some_and(|peer| peer != Peer::Other);
        match self.told {
            true => self.reader.peer() == Peer::Other,
            false => !self.server.as_ref().is_some_and(heeds),
        }
    }
}

impl<S: Io> AsyncRead for VmessStream<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let read = this.reader.poll_read(&mut this.inner, cx, buf);
        this.tell_end(cx, buf.filled().len() > before);
        if this.role == Role::Client && (!this.told || this.timer.is_some()) {
            this.know_server(cx, read.is_ready());
        }
        if let Some(server) = &this.server
            && this.reader.has_mark()
        {
            server.has_marked();
        }
        read
    }
}

impl<S: Io> AsyncWrite for VmessStream<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.hung_up {
            this.timer = None;
        }
        this.writer.poll_write(&mut this.inner, cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let awaited = this.reader.peer() == Peer::Mobula && this.reader.has_ended();
        if this.role == Role::Client || awaited {
            this.writer.release_header();
        }
        ready!(this.writer.poll_push(&mut this.inner, cx))?;
        this.listen(cx)?;
        Pin::new(&mut this.inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.writer.end();
        if this.waits_for_peer() {
            ready!(this.writer.poll_push(&mut this.inner, cx))?;
            ready!(Pin::new(&mut this.inner).poll_flush(cx))?;
            this.left_to_peer = true;
            return Poll::Ready(Ok(()));
        }
        if this.ends_both() {
            ready!(this.writer.poll_push(&mut this.inner, cx))?;
            ready!(Pin::new(&mut this.inner).poll_flush(cx))?;
            this.inner.say_end();
            this.untold = Some(Untold::new(cx));
            return Poll::Ready(Ok(()));
        }
        let last = this.writer.is_raw() || this.reader.has_ended() || this.role == Role::Server;
        if last {
            // The end mark and what the layer below says go out together.
            this.inner.cork();
        }
        ready!(this.writer.poll_push(&mut this.inner, cx))?;
        if last {
            return Pin::new(&mut this.inner).poll_shutdown(cx);
        }
        ready!(Pin::new(&mut this.inner).poll_flush(cx))?;
        if this.is_unheeded() {
            // Whoever reads looks after it.
            this.timer = Some(Box::pin(sleep(HEEDED)));
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: Io> Io for VmessStream<S> {
    /// No end mark is sent here: a stream that was given up must not look complete.
    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while this.left_to_peer {
            let mut scratch = scratch::take();
            let mut rest = ReadBuf::new(&mut scratch);
            let read = ready!(Pin::new(&mut this.inner).poll_read(cx, &mut rest));
            this.left_to_peer = read.is_ok() && !rest.filled().is_empty();
        }
        Pin::new(&mut this.inner).poll_close(cx)
    }

    fn is_left_to_peer(&self) -> bool {
        self.left_to_peer
    }

    fn poll_write_in_place(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.hung_up {
            this.timer = None;
        }
        this.writer.poll_write_in_place(&mut this.inner, cx, buf)
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

    /// Only a peer of ours is reset: V2Ray 4 leaves its other end open for ever after a reset.
    fn tcp(&self) -> Option<&TcpStream> {
        match self.reader.peer() {
            Peer::Mobula => self.inner.tcp(),
            _ => None,
        }
    }
}
