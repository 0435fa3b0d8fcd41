//! An established WebSocket as a stream of bytes.
//!
//! The frames are our own [`codec`](super::codec) and not tokio-tungstenite's because of what a
//! tunnel costs: its reads shrink to one frame each, and its buffers (100 KiB and more) stay with an
//! idle tunnel. Here a read goes straight into the caller's buffer and is taken apart there, and a
//! write is made a frame where it lies. An idle tunnel holds no data buffer at all.
//!
//! How it ends, and how the peer is told, is in [`ending`].
//!
//! One task drives both directions: reading answers pings, and so writes.

mod ending;

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use nix::libc;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::time::{Sleep, timeout};
use tracing::{debug, trace};

use super::codec::{
    Control, Decoder, FrameError, Header, MAX_HEADER, Opcode, Role, encode_control, mask,
};
use super::keepalive::{Due, Keepalive};
use crate::copy;
use crate::io::{CloseReason, Closing, Goodbye, HEADROOM, Io, Link, Sink, random, scratch};
use ending::{CloseFrame, Failure, NORMAL};

/// Bytes over a WebSocket; `S` is what the frames travel on.
pub struct WsStream<S: AsyncRead + AsyncWrite + Unpin = Link> {
    inner: S,
    role: Role,
    decoder: Decoder,
    /// Encoded frames that `inner` has not taken yet, from `unsent_at` on.
    unsent: Vec<u8>,
    unsent_at: usize,
    /// The last ping's payload, to be sent back.
    pong: Option<Box<[u8]>>,
    ping: bool,
    /// Something was handed down since the last flush of `inner`.
    dirty: bool,
    closing: CloseFrame,
    /// The peer's close frame has come, or its end of the stream; its code is sent back.
    ended: Option<u16>,
    /// The connection itself has ended: there is nobody to say goodbye to.
    gone: bool,
    /// What it means if the connection ends without a close frame.
    expected_close: Goodbye,
    /// It has.
    silent: bool,
    /// The peer is the page in a browser that hands on what its own peer says.
    of_page: bool,
    failure: Option<Failure>,
    /// How long a peer that broke the protocol gets to read our close frame.
    linger: Option<Pin<Box<Sleep>>>,
    /// How long after the peer's close we may stay silent.
    close_grace: Option<Pin<Box<Sleep>>>,
    /// The next frame may wait for what follows it.
    held: bool,
    /// What is still to come of the payload of a frame whose header is written; nothing else may come before.
    announced: usize,
    keepalive: Option<Keepalive>,
    /// Why it is dropped, if it is.
    why: Closing,
}

/// How long a peer gets to answer a goodbye.
const CLOSE_LIMIT: Duration = Duration::from_secs(1);

/// The most payload of one frame: header and payload fit into one scratch buffer.
const MAX_PAYLOAD: usize = scratch::LEN - HEADROOM;

const _: () = assert!(MAX_HEADER <= HEADROOM);

impl<S: AsyncRead + AsyncWrite + Unpin> WsStream<S> {
    /// A WebSocket whose handshake is done. Without `period` there is no heartbeat.
    pub fn new(inner: S, role: Role, period: Option<Duration>) -> Self {
        let peer = match role {
            Role::Client => Role::Server,
            Role::Server => Role::Client,
        };
        Self {
            inner,
            role,
            decoder: Decoder::new(peer),
            unsent: Vec::new(),
            unsent_at: 0,
            pong: None,
            ping: false,
            dirty: false,
            closing: CloseFrame::Open,
            ended: None,
            gone: false,
            expected_close: Goodbye::Unknown,
            silent: false,
            of_page: false,
            failure: None,
            linger: None,
            close_grace: None,
            held: false,
            announced: 0,
            keepalive: period.map(Keepalive::new),
            why: Closing::default(),
        }
    }

    /// What it means if the connection ends without a close frame.
    pub(super) fn with_expected_close(mut self, expected_close: Goodbye) -> Self {
        self.expected_close = expected_close;
        self
    }

    /// The peer is a page of ours, whose browser always says when a WebSocket ends; its codes are those of the peer that it
    /// stands for.
    #[cfg_attr(
        not(feature = "app"),
        expect(dead_code, reason = "for the browser dialer")
    )]
    pub(in crate::transport) fn of_page(mut self) -> Self {
        self.of_page = true;
        self.expected_close = Goodbye::Owed;
        self
    }

    /// Ends the WebSocket, and waits a second at most for the peer's answer. One that is dropped instead, is cut off
    /// ([`CloseReason::CutOff`]).
    ///
    /// # Errors
    ///
    /// When the connection has failed, or the peer does not answer.
    pub async fn close(mut self, reason: CloseReason) -> io::Result<()>
    where
        S: Io,
    {
        self.close_for(reason);
        let closing = poll_fn(|cx| Pin::new(&mut self).poll_close(cx));
        timeout(CLOSE_LIMIT, closing).await?
    }

    /// What tells why it is dropped, if it is before it was closed.
    pub(in crate::transport) fn with_closing(mut self, closing: Closing) -> Self {
        self.why = closing;
        self
    }

    /// Asks for an answer with the next read or write.
    #[cfg(test)]
    pub(crate) fn ping_now(&mut self) {
        self.ping = true;
    }

    fn key(&self) -> Option<[u8; 4]> {
        (self.role == Role::Client).then(mask_key)
    }

    fn owes(&self) -> bool {
        !self.unsent.is_empty()
            || self.pong.is_some()
            || self.ping
            || matches!(self.closing, CloseFrame::Due(_))
    }

    /// Hands down what is unsent and the control frames that are due.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            // Behind what the peer does not take there is no more than one of each kind.
            if self.unsent.is_empty() || self.held {
                self.encode_controls();
            }
            if self.unsent.is_empty() {
                return Poll::Ready(Ok(()));
            }
            self.held = false;
            while self.unsent_at < self.unsent.len() {
                let rest = &self.unsent[self.unsent_at..];
                match ready!(Pin::new(&mut self.inner).poll_write(cx, rest)) {
                    Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                    Ok(n) => self.unsent_at += n,
                    Err(e) => {
                        // Whoever asks again learns it again.
                        self.gone = true;
                        return Poll::Ready(Err(e));
                    }
                }
                self.dirty = true;
            }
            self.unsent = Vec::new();
            self.unsent_at = 0;
        }
    }

    /// Puts the control frames that are due behind what is unsent; there are none after a close.
    fn encode_controls(&mut self) {
        if self.announced > 0 {
            return;
        }
        let (pong, ping) = (self.pong.take(), std::mem::take(&mut self.ping));
        if self.closing == CloseFrame::Sent {
            return;
        }
        if let Some(payload) = pong {
            encode_control(Opcode::Pong, &payload, self.key(), &mut self.unsent);
        }
        if ping {
            encode_control(Opcode::Ping, &[], self.key(), &mut self.unsent);
        }
        if let CloseFrame::Due(code) = self.closing {
            let code = code.to_be_bytes();
            encode_control(Opcode::Close, &code, self.key(), &mut self.unsent);
            self.closing = CloseFrame::Sent;
        }
    }

    fn poll_send_and_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_send(cx))?;
        if self.dirty {
            ready!(Pin::new(&mut self.inner).poll_flush(cx))?;
            self.dirty = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Answers and pings while reading. A peer that does not take them now gets them later, and an
    /// error of the writing side does not hide what can still be read.
    fn serve(&mut self, cx: &mut Context<'_>) {
        if self.owes() {
            let _ = self.poll_send_and_flush(cx);
        }
    }

    /// Does what the heartbeat asks for.
    fn beat(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let stuck = !self.unsent.is_empty() || self.announced > 0;
        while let Some(beat) = self
            .keepalive
            .as_mut()
            .and_then(|keepalive| keepalive.poll(cx, stuck))
        {
            match beat {
                Due::Ping => {
                    trace!("ping after silence");
                    self.ping = self.closing == CloseFrame::Open;
                    self.serve(cx);
                }
                Due::Dead(silence) => {
                    self.keepalive = None;
                    return Err(self.fail(Failure::Silent(silence)));
                }
            }
        }
        Ok(())
    }

    /// Takes what was read into `buf` behind `before` apart, in place.
    fn open(&mut self, buf: &mut ReadBuf<'_>, before: usize) -> Result<(), FrameError> {
        let Self { decoder, pong, .. } = self;
        let mut closed = None;
        let read = &mut buf.filled_mut()[before..];
        let (plain, result) = decoder.open(read, |control| match control {
            Control::Ping(payload) => *pong = Some(payload.into()),
            Control::Pong => trace!("pong"),
            Control::Close(code, reason) => {
                debug!(close = code, reason = %String::from_utf8_lossy(reason).escape_debug(), "peer closed");
                closed = Some(code.unwrap_or(NORMAL));
            }
        });
        buf.set_filled(before + plain);
        if let Some(code) = closed {
            self.closed_with(code);
        }
        result
    }

    /// Ready when a frame may be sent.
    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(failure) = ready!(self.poll_failure(cx)) {
            return Poll::Ready(Err(failure.into()));
        }
        if self.closing != CloseFrame::Open {
            let text = "the WebSocket is closed for writing";
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::BrokenPipe, text)));
        }
        self.beat(cx)?;
        self.poll_send(cx)
    }

    /// A frame has been sent, or its header.
    fn sent(&mut self) {
        if let Some(keepalive) = &mut self.keepalive {
            keepalive.sent();
        }
        self.close_grace = None;
    }

    /// Takes what stands behind the [`HEADROOM`] of `buf`, or as much of it as a frame may carry.
    fn poll_take(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        debug_assert_eq!(self.announced, 0, "a frame has its payload still to come");
        let n = (buf.len() - HEADROOM).min(MAX_PAYLOAD);
        if n == 0 {
            return Poll::Ready(Ok(0));
        }
        ready!(self.poll_turn(cx))?;
        self.send_frame(cx, &mut buf[..HEADROOM + n])?;
        self.sent();
        Poll::Ready(Ok(n))
    }

    /// One frame, made in place; what of it is not taken at once is kept.
    fn send_frame(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> io::Result<()> {
        let header = Header {
            fin: true,
            opcode: Opcode::Binary,
            mask: self.key(),
            len: (buf.len() - HEADROOM) as u64,
        };
        if let Some(mut key) = header.mask {
            mask(&mut buf[HEADROOM..], &mut key);
        }
        let mut front = [0; MAX_HEADER];
        let n = header.encode(&mut front);
        let frame = &mut buf[HEADROOM - n..];
        frame[..n].copy_from_slice(&front[..n]);
        let taken = match self.held {
            true => 0,
            false => match Pin::new(&mut self.inner).poll_write(cx, frame) {
                Poll::Ready(taken) => taken?,
                Poll::Pending => 0,
            },
        };
        self.dirty |= taken > 0;
        if taken < frame.len() {
            self.unsent = frame[taken..].to_vec();
        }
        Ok(())
    }
}

impl<S: Io> WsStream<S> {
    /// The header of a frame whose payload comes by another way. It waits in the socket for it, to be one packet with it.
    fn send_header(&mut self, bytes: usize) -> io::Result<()> {
        let header = Header {
            fin: true,
            opcode: Opcode::Binary,
            mask: None,
            len: bytes as u64,
        };
        let mut front = [0; MAX_HEADER];
        let n = header.encode(&mut front);
        let front = &front[..n];
        let sink = self.inner.sink().and_then(Sink::socket);
        let sink = sink.ok_or(io::ErrorKind::Unsupported)?;
        let sending = || SockRef::from(sink).send_with_flags(front, libc::MSG_MORE);
        let taken = match sink.try_io(Interest::WRITABLE, sending) {
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => 0,
            taken => taken?,
        };
        self.unsent = front[taken..].to_vec();
        self.announced = bytes;
        Ok(())
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for WsStream<S> {
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
            this.serve(cx);
            if let Some(failure) = ready!(this.poll_failure(cx)) {
                return Poll::Ready(Err(failure.into()));
            }
            if let Some(code) = this.ended {
                return Poll::Ready(this.clean(code));
            }
            let before = buf.filled().len();
            match Pin::new(&mut this.inner).poll_read(cx, buf) {
                Poll::Ready(result) => result?,
                Poll::Pending => {
                    if let Some(keepalive) = &mut this.keepalive {
                        keepalive.listening();
                        this.beat(cx)?;
                    }
                    return Poll::Pending;
                }
            }
            if buf.filled().len() == before {
                this.ended = Some(NORMAL);
                this.gone = true;
                this.silent = true;
                // There will be no pongs from who only speaks no more.
                this.keepalive = None;
                if this.decoder.is_inside_frame() {
                    let text = "the connection ended inside a WebSocket frame";
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::UnexpectedEof, text)));
                }
                return Poll::Ready(Ok(()));
            }
            if let Some(keepalive) = &mut this.keepalive {
                keepalive.heard();
            }
            if let Err(error) = this.open(buf, before) {
                this.fail(Failure::Frame(error));
            }
            if buf.filled().len() > before {
                this.serve(cx);
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for WsStream<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let n = buf.len().min(MAX_PAYLOAD);
        let mut scratch = scratch::take();
        let over = &mut scratch[..HEADROOM + n];
        copy::copy(&buf[..n], &mut over[HEADROOM..]);
        self.get_mut().poll_take(cx, over)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.beat(cx)?;
        ready!(this.poll_send_and_flush(cx))?;
        Poll::Ready(this.poll_farewell(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.goodbye();
        ready!(this.poll_send_and_flush(cx))?;
        if this.ended.is_some() && this.role == Role::Server {
            // Both have said goodbye; the server is the one to end the connection (section 7.1.1).
            return Pin::new(&mut this.inner).poll_shutdown(cx);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: Io> Io for WsStream<S> {
    fn set_close_reason(&mut self, reason: CloseReason) {
        self.close_for(reason);
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.goodbye();
        let failure = ready!(this.poll_failure(cx));
        ready!(this.poll_send_and_flush(cx))?;
        let mut rest = scratch::take();
        if failure.is_none() {
            while this.ended.is_none() {
                let mut buf = ReadBuf::new(&mut rest);
                match ready!(Pin::new(&mut *this).poll_read(cx, &mut buf)) {
                    Ok(()) if buf.filled().is_empty() => break,
                    Ok(()) => {}
                    Err(_) => break,
                }
            }
        }
        Pin::new(&mut this.inner).poll_close(cx)
    }

    fn poll_end(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_send_and_flush(cx))?;
        Pin::new(&mut this.inner).poll_shutdown(cx)
    }

    fn poll_write_in_place(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().poll_take(cx, buf)
    }

    /// Most peers take a Close for the end of both directions.
    fn half_closes(&self) -> bool {
        false
    }

    fn goodbye(&self) -> Goodbye {
        match self.silent {
            true => self.expected_close,
            false => Goodbye::Said,
        }
    }

    fn cork(&mut self) {
        self.held = true;
    }

    fn set_low_water(&mut self, bytes: usize) {
        self.inner.set_low_water(bytes);
    }

    fn bound_unsent(&mut self, bytes: u32) {
        self.inner.bound_unsent(bytes);
    }

    /// A client's payload is masked, so it is nobody's as it is.
    fn sink(&self) -> Option<Sink<'_>> {
        let is_open = self.closing == CloseFrame::Open && self.failure.is_none();
        let is_free = self.unsent.is_empty() && !self.held;
        let is_plain = self.role == Role::Server;
        let sink = self.inner.sink().filter(|_| is_open && is_free && is_plain);
        sink.filter(|sink| sink.socket().is_some())
    }

    fn poll_announce(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: usize,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.announced == 0 {
            ready!(this.poll_turn(cx))?;
            this.send_header(bytes)?;
            this.sent();
        }
        this.poll_send(cx)
    }

    fn gave(&mut self, bytes: usize) {
        self.announced = self.announced.saturating_sub(bytes);
        self.dirty = true;
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> fmt::Debug for WsStream<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("WsStream");
        shown.field("role", &self.role).finish_non_exhaustive()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Drop for WsStream<S> {
    fn drop(&mut self) {
        if self.gone {
            return;
        }
        self.close_for(self.why.reason());
        self.serve(&mut Context::from_waker(Waker::noop()));
    }
}

/// Four unpredictable bytes (section 5.3).
fn mask_key() -> [u8; 4] {
    let mut key = [0; 4];
    random::fill(&mut key);
    key
}

#[cfg(test)]
#[path = "stream_tests.rs"]
mod tests;
