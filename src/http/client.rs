//! One request of our own, by hyper, and hyper's errors in words.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::Poll;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;

use crate::io::{Link, Prefixed};

/// Sends a request and waits for the head of its answer, which may have `max_head` bytes. The link comes back with
/// what was read behind the head: it is the tunnel's when this was a CONNECT.
///
/// # Errors
///
/// When no answer comes, or when what comes is none.
pub async fn ask(
    link: Link,
    request: Request<Empty<Bytes>>,
    max_head: usize,
) -> hyper::Result<(Response<()>, Link)> {
    let (mut sender, mut connection) = http1::Builder::new()
        .title_case_headers(true)
        .max_buf_size(max_head)
        .handshake(TokioIo::new(link))
        .await?;
    let mut over = None;
    let answered = {
        let mut answer = pin!(sender.send_request(request));
        poll_fn(|cx| {
            if over.is_none()
                && let Poll::Ready(end) = connection.poll_without_shutdown(cx)
            {
                over = Some(end);
            }
            Pin::new(&mut answer).poll(cx)
        })
        .await
    };
    match answered {
        Ok(answer) => {
            let parts = connection.into_parts();
            let link = Prefixed::link(parts.read_buf, parts.io.into_inner());
            Ok((answer.map(drop), link))
        }
        // How the connection ended says more than that the request was not answered.
        Err(error) => Err(over.and_then(Result::err).unwrap_or(error)),
    }
}

/// The reason below hyper's own words, where there is one.
pub fn reason(error: &hyper::Error) -> String {
    let source = std::error::Error::source(error);
    source.map_or_else(|| error.to_string(), ToString::to_string)
}
