//! One request of our own, by hyper, and hyper's errors in words.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::Poll;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;

use super::head::MAX_HEADERS_OF_ANSWER;
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
        .max_headers(MAX_HEADERS_OF_ANSWER)
        .allow_spaces_after_header_name_in_responses(true)
        .allow_obsolete_multiline_headers_in_responses(true)
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

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    /// Proxies that nobody has looked after for long are taken by V2Ray, too.
    #[tokio::test]
    async fn a_proxy_may_answer_as_go_takes_it() {
        let many = "A: b\r\n".repeat(200);
        for answer in [
            "HTTP/1.1 200 fine\r\nA : b\r\n\r\nbehind".to_owned(),
            "HTTP/1.1 200 fine\r\nA: b\r\n c\r\n\r\nbehind".to_owned(),
            format!("HTTP/1.1 200 fine\r\n{many}\r\nbehind"),
        ] {
            let (near, mut far) = duplex(64 * 1024);
            let request = Request::connect("a.test:80").body(Empty::new()).unwrap();
            let answered = async {
                assert!(far.read(&mut [0; 512]).await.unwrap() > 0);
                far.write_all(answer.as_bytes()).await.unwrap();
            };
            let asked = ask(Link::other(near), request, 64 * 1024);
            let (asked, ()) = tokio::join!(asked, answered);
            let (head, mut link) = asked.unwrap_or_else(|e| panic!("{answer}: {e}"));
            assert_eq!(head.status(), 200);
            let mut behind = [0; 6];
            link.read_exact(&mut behind).await.unwrap();
            assert_eq!(&behind, b"behind");
        }
    }
}
