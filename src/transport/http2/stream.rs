//! A stream of HTTP/2 as a link.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use ::h2::client::ResponseFuture;
use ::h2::{Reason, RecvStream, SendStream};
use bytes::{Buf, Bytes};
use http::{HeaderMap, Response, StatusCode};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::cause::StreamError;
use crate::copy;
use crate::http::upgrade::look_at_clock;
use crate::io::{Goodbye, Io, PeerClock};

/// How bytes stand in DATA frames.
pub(in crate::transport) trait Framing: Send + Unpin + 'static {
    /// `payload` as it is sent.
    fn encode(&self, payload: &[u8]) -> Bytes;

    /// Looks at what has come: how many bytes of it are of no account, and how many behind those are payload, of which there
    /// is room for `room`.
    ///
    /// # Errors
    ///
    /// When the bytes are none of this framing.
    fn decode(&mut self, sealed: &[u8], room: usize) -> Result<Step, StreamError>;

    /// What a server says behind the last byte.
    fn trailers(&self) -> Option<HeaderMap> {
        None
    }

    /// What a server's answer means.
    ///
    /// # Errors
    ///
    /// When it is a refusal.
    fn check(&self, answer: &Response<()>) -> Result<(), StreamError> {
        match answer.status() {
            StatusCode::OK => Ok(()),
            status => Err(StreamError::Status {
                status: status.as_u16(),
            }),
        }
    }

    /// What a server's last words mean.
    ///
    /// # Errors
    ///
    /// When they tell of a fault.
    fn check_trailers(&self, _trailers: &HeaderMap) -> Result<(), StreamError> {
        Ok(())
    }
}

/// What can be taken of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::transport) struct Step {
    pub skip: usize,
    pub take: usize,
}

/// The bytes are the payload.
#[derive(Debug)]
pub(in crate::transport) struct Plain;

impl Framing for Plain {
    fn encode(&self, payload: &[u8]) -> Bytes {
        Bytes::copy_from_slice(payload)
    }

    fn decode(&mut self, sealed: &[u8], room: usize) -> Result<Step, StreamError> {
        let take = sealed.len().min(room);
        Ok(Step { skip: 0, take })
    }
}

/// What may be written to a peer that has gone; from then on it is an error.
const UNHEARD: usize = 1024 * 1024;

/// The most payload of one write.
const MAX_PAYLOAD: usize = 64 * 1024;

pub(in crate::transport) struct Http2Stream<F> {
    framing: F,
    role: Role,
    send: SendStream<Bytes>,
    /// Our direction has ended.
    shut: bool,
    /// Bytes that were written when the peer had gone.
    unheard: usize,
    receive: Receive,
    /// What came and was not read.
    chunk: Bytes,
    _counted: Counted,
}

/// How many streams a connection has.
#[derive(Clone, Debug, Default)]
pub(in crate::transport) struct Streams(Arc<AtomicUsize>);

/// One of them, until it is dropped.
pub(in crate::transport) struct Counted(Streams);

impl Streams {
    pub(super) fn one(&self) -> Counted {
        self.0.fetch_add(1, Ordering::Relaxed);
        Counted(self.clone())
    }

    pub(super) fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let Streams(count) = &self.0;
        count.fetch_sub(1, Ordering::Relaxed);
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Client,
    Server,
}

enum Receive {
    /// The server has not answered.
    Answer(ResponseFuture, Arc<PeerClock>),
    Body(RecvStream),
    /// The body is over, trailers may follow.
    Trailers(RecvStream),
    Ended,
}

impl<F: Framing> Http2Stream<F> {
    /// A server's, whose answer is sent.
    pub(super) fn server(
        framing: F,
        send: SendStream<Bytes>,
        body: RecvStream,
        counted: Counted,
    ) -> Self {
        Self::new(framing, Role::Server, send, Receive::Body(body), counted)
    }

    /// A client's, whose request is sent.
    pub(super) fn client(
        framing: F,
        send: SendStream<Bytes>,
        answer: ResponseFuture,
        clock: Arc<PeerClock>,
        counted: Counted,
    ) -> Self {
        let receive = Receive::Answer(answer, clock);
        Self::new(framing, Role::Client, send, receive, counted)
    }

    fn new(
        framing: F,
        role: Role,
        send: SendStream<Bytes>,
        receive: Receive,
        counted: Counted,
    ) -> Self {
        Self {
            framing,
            role,
            send,
            shut: false,
            unheard: 0,
            receive,
            chunk: Bytes::new(),
            _counted: counted,
        }
    }

    /// Moves payload from what has come into `buf`.
    fn take(&mut self, buf: &mut ReadBuf<'_>) -> io::Result<()> {
        while !self.chunk.is_empty() && buf.remaining() > 0 {
            let step = self.framing.decode(&self.chunk, buf.remaining())?;
            let Step { skip, take } = step;
            copy::put(&self.chunk[skip..skip + take], buf);
            self.chunk.advance(skip + take);
            if let Receive::Body(body) | Receive::Trailers(body) = &mut self.receive {
                // It cannot be more than what came.
                let _ = body.flow_control().release_capacity(skip + take);
            }
        }
        if self.chunk.is_empty() {
            self.chunk = Bytes::new();
        }
        Ok(())
    }

    /// Why nothing more can be sent: a server that refuses a request says so and reads no more of it, and the writer may
    /// be the first to notice.
    fn why(&mut self, cx: &mut Context<'_>, error: io::Error) -> io::Error {
        let Receive::Answer(..) = self.receive else {
            return error;
        };
        match self.poll_chunk(cx) {
            Poll::Ready(Err(refused)) => refused,
            _ => error,
        }
    }

    /// The next bytes of the body into `chunk`; `false` at its end.
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let came = ready!(self.poll_body(cx));
        match came {
            Err(_) if self.is_cancelled(cx) => {
                self.receive = Receive::Ended;
                Poll::Ready(Ok(false))
            }
            came => Poll::Ready(came),
        }
    }

    /// Whether a client has cancelled the stream, or ended its connection. Those of V2Ray and sing-box end every stream so, be all said
    /// or not, mihomo over `h2` closes the connection, and so does nginx in front of any of them: it tells no more than the end of a TCP
    /// connection. One that broke is another thing.
    fn is_cancelled(&mut self, cx: &mut Context<'_>) -> bool {
        if self.role == Role::Client {
            return false;
        }
        match self.send.poll_reset(cx) {
            Poll::Ready(Ok(reason)) => matches!(reason, Reason::CANCEL | Reason::NO_ERROR),
            // So the library calls an end of what it reads.
            Poll::Ready(Err(e)) => e
                .get_io()
                .is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe),
            Poll::Pending => false,
        }
    }

    /// Nobody hears what is written, and what the peer has sent before it cancelled is to be read to its end. Who only writes
    /// hears of it after a while, and at once by [`Io::poll_gone`].
    fn pass_over(&mut self, bytes: usize) -> io::Result<usize> {
        self.unheard += bytes;
        match self.unheard > UNHEARD {
            true => Err(cancelled()),
            false => Ok(bytes),
        }
    }

    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        loop {
            match &mut self.receive {
                Receive::Answer(answer, clock) => {
                    let answer = ready!(Pin::new(answer).poll(cx)).map_err(broken)?;
                    look_at_clock(answer.headers(), clock);
                    let (head, body) = answer.into_parts();
                    self.framing.check(&Response::from_parts(head, ()))?;
                    self.receive = Receive::Body(body);
                }
                Receive::Body(body) => match ready!(body.poll_data(cx)) {
                    Some(chunk) => {
                        self.chunk = chunk.map_err(broken)?;
                        return Poll::Ready(Ok(true));
                    }
                    None => {
                        let Receive::Body(body) =
                            std::mem::replace(&mut self.receive, Receive::Ended)
                        else {
                            continue;
                        };
                        self.receive = Receive::Trailers(body);
                    }
                },
                Receive::Trailers(body) => {
                    let trailers = ready!(body.poll_trailers(cx)).map_err(broken)?;
                    self.receive = Receive::Ended;
                    if let (Role::Client, Some(trailers)) = (self.role, trailers) {
                        self.framing.check_trailers(&trailers)?;
                    }
                }
                Receive::Ended => return Poll::Ready(Ok(false)),
            }
        }
    }
}

impl<F: Framing> AsyncRead for Http2Stream<F> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        while buf.remaining() > 0 {
            this.take(buf)?;
            if buf.remaining() == 0 {
                break;
            }
            match this.poll_chunk(cx) {
                Poll::Ready(Ok(true)) => {}
                // An error is met again by whoever reads on.
                _ if buf.filled().len() > before => break,
                Poll::Ready(Ok(false)) => break,
                Poll::Ready(Err(e)) => return Poll::Ready(Err(e)),
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<F: Framing> AsyncWrite for Http2Stream<F> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.shut {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        // An empty message would be lost on some peers, and cost others bytes.
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let wanted = buf.len().min(MAX_PAYLOAD);
        // What is left over of an earlier write is no reason for a short one.
        if this.send.capacity() < wanted {
            this.send.reserve_capacity(wanted);
        }
        let mut room = this.send.capacity();
        while room == 0 {
            match ready!(this.send.poll_capacity(cx)) {
                Some(Ok(_)) => room = this.send.capacity(),
                _ if this.is_cancelled(cx) => return Poll::Ready(this.pass_over(buf.len())),
                Some(Err(e)) => return Poll::Ready(Err(this.why(cx, broken(e)))),
                None => {
                    let error = io::ErrorKind::BrokenPipe.into();
                    return Poll::Ready(Err(this.why(cx, error)));
                }
            }
        }
        // What the framing adds to it may wait for the window in the library's buffer.
        let n = wanted.min(room);
        let data = this.framing.encode(&buf[..n]);
        match this.send.send_data(data, false) {
            Ok(()) => Poll::Ready(Ok(n)),
            Err(_) if this.is_cancelled(cx) => Poll::Ready(this.pass_over(buf.len())),
            Err(e) => Poll::Ready(Err(this.why(cx, broken(e)))),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.shut {
            this.shut = true;
            let trailers = this
                .framing
                .trailers()
                .filter(|_| this.role == Role::Server);
            let said = match trailers {
                Some(trailers) => this.send.send_trailers(trailers),
                None => this.send.send_data(Bytes::new(), true),
            };
            if let Err(e) = said
                && !this.is_cancelled(cx)
            {
                return Poll::Ready(Err(broken(e)));
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<F: Framing> Io for Http2Stream<F> {
    /// Waits for the peer's end, without which the end of the link would cancel the stream.
    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.as_mut().poll_shutdown(cx))?;
        let this = self.get_mut();
        if this.role == Role::Server {
            return Poll::Ready(Ok(()));
        }
        while ready!(this.poll_chunk(cx))? {
            let n = this.chunk.len();
            this.chunk = Bytes::new();
            if let Receive::Body(body) = &mut this.receive {
                let _ = body.flow_control().release_capacity(n);
            }
        }
        Poll::Ready(Ok(()))
    }

    /// An answer may follow a request that is over; behind the end of an answer nobody listens.
    fn half_closes(&self) -> bool {
        self.role == Role::Client
    }

    fn goodbye(&self) -> Goodbye {
        Goodbye::Said
    }

    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self.is_cancelled(cx) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }
}

/// A client that ends before both have said all does not cancel the stream, as the library would: that is how others end one in which
/// all was said. The end of our direction may be on its way behind bytes that are thrown away now.
impl<F> Drop for Http2Stream<F> {
    fn drop(&mut self) {
        let is_over = self.shut && matches!(self.receive, Receive::Ended);
        if self.role == Role::Client && !is_over {
            self.send.send_reset(Reason::INTERNAL_ERROR);
        }
    }
}

fn cancelled() -> io::Error {
    let text = "the peer has cancelled the stream";
    io::Error::new(io::ErrorKind::ConnectionReset, text)
}

/// What the library says of a stream that ends before its time.
pub(super) fn broken(error: ::h2::Error) -> io::Error {
    match error.reason() {
        // Letters in the place of a frame's length, as `HTTP/1.1 400` has them.
        Some(Reason::FRAME_SIZE_ERROR) if error.is_library() => StreamError::NotHttp2.into(),
        _ if error.is_io() => error
            .into_io()
            .unwrap_or_else(|| io::ErrorKind::ConnectionReset.into()),
        Some(Reason::CANCEL | Reason::NO_ERROR) => cancelled(),
        Some(reason) => StreamError::Reset(reason.to_string()).into(),
        None => io::Error::new(io::ErrorKind::ConnectionReset, error),
    }
}
