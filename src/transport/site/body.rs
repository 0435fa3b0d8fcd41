//! Bodies of requests and answers, and the patience with them.

use std::error::Error;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep};

/// The body of a request or an answer.
pub(in crate::transport) type Body = UnsyncBoxBody<Bytes, BoxError>;

pub(super) type BoxError = Box<dyn Error + Send + Sync>;

/// A body that keeps something for as long as it goes on.
pub(super) fn keeping(body: Body, kept: impl Send + 'static) -> Body {
    let keeping = move |e| {
        let _kept = &kept;
        e
    };
    body.map_err(keeping).boxed_unsync()
}

/// A body that must not be silent for longer than so.
pub(super) struct Timed<B> {
    body: B,
    silence: Duration,
    waiting: Option<Pin<Box<Sleep>>>,
    pulse: Pulse,
}

/// What is known of a body from outside.
#[derive(Clone, Debug)]
pub(super) struct Pulse(Arc<Felt>);

#[derive(Debug)]
struct Felt {
    /// When something last came of it.
    last: Mutex<Instant>,
    /// All of it has come.
    is_over: AtomicBool,
}

impl Pulse {
    pub(super) fn new() -> Self {
        Self(Arc::new(Felt {
            last: Mutex::new(Instant::now()),
            is_over: AtomicBool::new(false),
        }))
    }

    pub(super) fn beat(&self) {
        *self.0.last.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    pub(super) fn last(&self) -> Instant {
        *self.0.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nothing more comes.
    pub(super) fn end(&self) {
        self.0.is_over.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_over(&self) -> bool {
        self.0.is_over.load(Ordering::Relaxed)
    }
}

impl<B> Timed<B> {
    pub(super) fn new(body: B, silence: Duration) -> Self {
        Self::beating(body, silence, Pulse::new())
    }

    /// What comes of it is felt in `pulse`.
    pub(super) fn beating(body: B, silence: Duration, pulse: Pulse) -> Self {
        Self {
            body,
            silence,
            waiting: None,
            pulse,
        }
    }
}

impl<B> HttpBody for Timed<B>
where
    B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Unpin,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        if let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(cx) {
            this.waiting = None;
            this.pulse.beat();
            if frame.is_none() || this.body.is_end_stream() {
                this.pulse.end();
            }
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        let silence = this.silence;
        let waiting = this.waiting.get_or_insert_with(|| Box::pin(sleep(silence)));
        waiting.as_mut().poll(cx).map(|()| {
            let slow: io::Error = io::ErrorKind::TimedOut.into();
            Some(Err(slow.into()))
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
