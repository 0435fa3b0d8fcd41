//! A visitor by HTTP/2: a request of a connection that may bring tunnels, too.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use ::h2::server::SendResponse;
use ::h2::{Reason, RecvStream, SendStream};
use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, Method, Request, Response, Version};
use http_body_util::BodyExt;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::{sleep, timeout};

use super::body::Timed;
use super::{Body, Guest};
use crate::transport::http2::stream::Counted;

/// Answers a request; until then it counts as one of its connection's streams.
pub(in crate::transport) async fn answer(
    guest: Arc<Guest>,
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    _counted: Counted,
) {
    let is_head = request.method() == Method::HEAD;
    let len = len(request.headers());
    let silence = guest.silence();
    let request = request.map(|stream| {
        let stream = Some(stream);
        let body = Received { stream, len };
        Timed::new(body, silence).boxed_unsync()
    });
    let response = tokio::select! {
        response = guest.answer(request) => response,
        // The visitor has gone.
        _ = poll_fn(|cx| respond.poll_reset(cx)) => return,
    };
    let (mut parts, body) = response.into_parts();
    parts.version = Version::HTTP_2;
    let is_whole = is_head || body.is_end_stream();
    let head = Response::from_parts(parts, ());
    let Ok(mut send) = respond.send_response(head, is_whole) else {
        return;
    };
    if !is_whole && let Err(reason) = pass(body, &mut send, silence).await {
        send.send_reset(reason);
    }
}

/// Sends a body as fast as the visitor takes it.
async fn pass(
    mut body: Body,
    send: &mut SendStream<Bytes>,
    silence: Duration,
) -> Result<(), Reason> {
    let gone = |_| Reason::CANCEL;
    loop {
        let frame = tokio::select! {
            biased;
            frame = body.frame() => frame,
            // The visitor has gone.
            _ = poll_fn(|cx| send.poll_reset(cx)) => return Err(Reason::CANCEL),
        };
        let Some(frame) = frame else { break };
        let frame = frame.map_err(|_| Reason::INTERNAL_ERROR)?;
        let mut data = match frame.into_data() {
            Ok(data) => data,
            Err(frame) => match frame.into_trailers() {
                Ok(trailers) => return send.send_trailers(trailers).map_err(gone),
                Err(_) => continue,
            },
        };
        while !data.is_empty() {
            send.reserve_capacity(data.len());
            let capacity = timeout(silence, poll_fn(|cx| send.poll_capacity(cx))).await;
            let Ok(Some(Ok(capacity))) = capacity else {
                return Err(Reason::CANCEL);
            };
            let piece = data.split_to(capacity.min(data.len()));
            send.send_data(piece, false).map_err(gone)?;
        }
    }
    send.send_data(Bytes::new(), true).map_err(gone)
}

/// How long a stream whose request nobody reads on stays open: some clients that are told to stop together with the answer
/// lose the answer.
const AFTER_ANSWER: Duration = Duration::from_secs(2);

/// What a visitor sends.
struct Received {
    stream: Option<RecvStream>,
    /// What it is said to have.
    len: Option<u64>,
}

impl HttpBody for Received {
    type Data = Bytes;
    type Error = ::h2::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ::h2::Error>>> {
        let Some(stream) = &mut self.stream else {
            return Poll::Ready(None);
        };
        match ready!(stream.poll_data(cx)) {
            Some(Ok(data)) => {
                // Nothing is asked for before there is room for it. It cannot be more than what came.
                let _ = stream.flow_control().release_capacity(data.len());
                self.len = self.len.map(|len| len.saturating_sub(data.len() as u64));
                Poll::Ready(Some(Ok(Frame::data(data))))
            }
            Some(Err(e)) => Poll::Ready(Some(Err(e))),
            None => {
                let trailers: Option<HeaderMap> = ready!(stream.poll_trailers(cx))?;
                Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.stream.as_ref().is_none_or(RecvStream::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        match self.len {
            Some(len) => SizeHint::with_exact(len),
            None if self.is_end_stream() => SizeHint::with_exact(0),
            None => SizeHint::default(),
        }
    }
}

impl Drop for Received {
    fn drop(&mut self) {
        let Some(stream) = self.stream.take().filter(|stream| !stream.is_end_stream()) else {
            return;
        };
        crate::io::spawn(async move {
            sleep(AFTER_ANSWER).await;
            drop(stream);
        });
    }
}

fn len(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}
