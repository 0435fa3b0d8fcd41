//! A body that its client holds back until the server wants it (`Expect: 100-continue`, RFC 9110, section 10.1.1).
//!
//! hyper tells the client to go on as soon as somebody asks for the body. So nobody does before the server has said so: it may
//! have an answer that needs no body.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::header::EXPECT;
use http::{Request, StatusCode, Version};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::ext::on_informational;
use tokio::sync::Notify;
use tokio::time::sleep;

/// How long a server is waited for that may know nothing of it; its client does not wait for ever either.
const PATIENCE: Duration = Duration::from_secs(1);

/// The body of a request.
pub(super) struct Expected {
    inner: Incoming,
    /// Ready when it may be asked for.
    wanted: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

/// Has the body of `request` wait for the server, if its client does.
pub(super) fn held_back(mut request: Request<Incoming>) -> Request<Expected> {
    let expects = request.headers().get(EXPECT);
    let expects =
        expects.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"));
    let wanted: Option<Pin<Box<dyn Future<Output = ()> + Send>>> =
        match expects && request.version() == Version::HTTP_11 {
            false => None,
            true => {
                let (said, heard) = (Arc::new(Notify::new()), PATIENCE);
                let told = said.clone();
                on_informational(&mut request, move |answer| {
                    if answer.status() == StatusCode::CONTINUE {
                        said.notify_one();
                    }
                });
                Some(Box::pin(async move {
                    tokio::select! {
                        () = told.notified() => {}
                        () = sleep(heard) => {}
                    }
                }))
            }
        };
    request.map(|inner| Expected { inner, wanted })
}

impl Body for Expected {
    type Data = <Incoming as Body>::Data;
    type Error = <Incoming as Body>::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        if let Some(wanted) = &mut self.wanted {
            ready!(wanted.as_mut().poll(cx));
            self.wanted = None;
        }
        Pin::new(&mut self.inner).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
