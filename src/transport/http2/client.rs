//! A client's connection.

use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use ::h2::client::{Builder, SendRequest};
use bytes::Bytes;
use http::uri::Scheme;
use http::{Method, Request, Uri};
use tokio::sync::Notify;
use tracing::debug;

use super::keepalive;
use super::stream::{Framing, Http2Stream, Streams, broken};
use super::{CONNECTION_WINDOW, MAX_FRAME, MAX_HEADERS, Pings, SEND_BUFFER, STREAM_WINDOW};
use crate::io::{Link, PeerClock};

/// A connection to a server, on which requests are made.
pub(in crate::transport) struct Connection {
    requests: SendRequest<Bytes>,
    doubted: Arc<Notify>,
    streams: Streams,
    clock: Arc<PeerClock>,
}

impl Connection {
    /// Says the beginning of HTTP/2 on `link`; `window`, if there is one, is that of a stream. `clock` hears what time it
    /// is at the server.
    ///
    /// # Errors
    ///
    /// When the link fails.
    pub(in crate::transport) async fn new(
        mut link: Link,
        window: Option<u32>,
        settings: Option<Pings>,
        clock: Arc<PeerClock>,
    ) -> io::Result<Self> {
        link.share();
        let mut builder = Builder::new();
        builder
            .initial_window_size(window.unwrap_or(STREAM_WINDOW))
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_frame_size(MAX_FRAME)
            .max_header_list_size(MAX_HEADERS)
            .max_send_buffer_size(SEND_BUFFER)
            .enable_push(false);
        let shaken = builder.handshake(link).await;
        let (requests, mut connection) = shaken.map_err(io::Error::other)?;
        let (doubted, streams) = (Arc::<Notify>::default(), Streams::default());
        let pings = connection.ping_pong();
        let watch = keepalive::watch_doubts(pings, settings, streams.clone(), doubted.clone());
        crate::io::spawn(async move {
            tokio::select! {
                ended = connection => if let Err(e) = ended {
                    debug!("HTTP/2 connection: {e}");
                },
                () = watch => debug!("HTTP/2 connection: no answer to a ping"),
            }
        });
        Ok(Self {
            requests,
            doubted,
            streams,
            clock,
        })
    }

    /// One more stream; `None` when the connection takes no more, or is over.
    pub(in crate::transport) fn request<F: Framing>(
        &self,
        request: Request<()>,
        framing: F,
    ) -> Option<Link> {
        let mut requests = self.requests.clone();
        // Where the server allows no more, the library would have one wait.
        if self.streams.count() >= requests.current_max_send_streams() {
            return None;
        }
        let mut cx = Context::from_waker(Waker::noop());
        if !matches!(requests.poll_ready(&mut cx), Poll::Ready(Ok(()))) {
            return None;
        }
        let (answer, send) = requests.send_request(request, false).ok()?;
        self.doubted.notify_one();
        let (clock, counted) = (self.clock.clone(), self.streams.one());
        let stream = Http2Stream::client(framing, send, answer, clock, counted);
        Some(Link::other(stream))
    }
}

impl Connection {
    /// By what it is over, if it is.
    pub(in crate::transport) fn fault(&self) -> Option<io::Error> {
        let mut cx = Context::from_waker(Waker::noop());
        match self.requests.clone().poll_ready(&mut cx) {
            Poll::Ready(Err(e)) => Some(broken(e)),
            _ => None,
        }
    }
}

/// The head of a request, without headers.
///
/// # Errors
///
/// When `authority` or `path` cannot stand in one.
pub(in crate::transport) fn request(
    method: Method,
    scheme: Scheme,
    authority: &str,
    path: &str,
) -> io::Result<Request<()>> {
    let head = Uri::builder()
        .scheme(scheme)
        .authority(authority)
        .path_and_query(path)
        .build()
        .and_then(|uri| Request::builder().method(method).uri(uri).body(()));
    head.map_err(|e| io::Error::new(io::ErrorKind::InvalidInput, e))
}
