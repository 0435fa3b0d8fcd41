//! One question through an outbound.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::{Arc, LazyLock};
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Empty;
pub(super) use hyper::Method;
use hyper::Request;
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, HOST, HeaderValue, USER_AGENT};
use hyper_util::rt::TokioIo;
use tokio::time::timeout;

use super::url::Url;
use crate::dispatch::Dispatcher;
use crate::dns::Lookup;
use crate::io::Link;
use crate::transport::{tcp, tls};

/// How a probe travels.
#[derive(Clone, Copy)]
pub(super) enum ProbeVia<'a> {
    Outbound(&'a Arc<Dispatcher>, &'a str),
    Direct,
}

/// As V2Ray introduces itself.
const GO: HeaderValue = HeaderValue::from_static("Go-http-client/1.1");

/// The most that the head of an answer may have.
const MAX_HEAD: usize = 64 * 1024;

/// TLS with the authorities of the system, and HTTP/1.1 in it.
static TLS: LazyLock<tls::Outbound> = LazyLock::new(|| {
    let settings = tls::ClientSettings {
        alpn: vec!["http/1.1".to_owned()],
        ..tls::ClientSettings::default()
    };
    tls::Outbound::new(&settings).expect("the defaults need no files")
});

/// How long the head of an answer takes, from the dial on; whatever it says.
pub(super) async fn probe(
    way: ProbeVia<'_>,
    url: &Url,
    method: Method,
    limit: Duration,
) -> io::Result<Duration> {
    let start = Instant::now();
    let asked = timeout(limit, async {
        let mut link = way.dial(url).await?;
        if url.tls {
            link = TLS.wrap(link, &url.to).await?;
        }
        ask(link, url, method).await
    });
    let link = asked.await.unwrap_or_else(|_| {
        let text = format!("no answer from {url} within {limit:?}");
        Err(io::Error::new(io::ErrorKind::TimedOut, text))
    })?;
    let time = start.elapsed();
    tokio::spawn(link.close());
    Ok(time)
}

impl ProbeVia<'_> {
    async fn dial(self, url: &Url) -> io::Result<Link> {
        match self {
            Self::Outbound(dispatcher, tag) => dispatcher.open_by_tag(tag, &url.to).await,
            Self::Direct => {
                let sockopt = tcp::SockOpt::default();
                let stream = tcp::connect(&url.to, &Lookup::System, &sockopt).await?;
                Ok(Link::Tcp(stream))
            }
        }
    }
}

/// Sends the request and waits for the head of the answer; gives the link back.
async fn ask(link: Link, url: &Url, method: Method) -> io::Result<Link> {
    let mut request = Request::new(Empty::<Bytes>::new());
    *request.method_mut() = method;
    *request.uri_mut() = url.target.clone();
    let headers = request.headers_mut();
    headers.insert(HOST, url.host.clone());
    headers.insert(USER_AGENT, GO);
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    let (mut sender, mut connection) = http1::Builder::new()
        .title_case_headers(true)
        .max_buf_size(MAX_HEAD)
        .handshake(TokioIo::new(link))
        .await
        .map_err(broken)?;
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
        Ok(_) => Ok(connection.into_parts().io.into_inner()),
        Err(error) => {
            // How the connection ended says more than that the request was not answered.
            let end = over.and_then(Result::err);
            Err(broken(end.unwrap_or(error)))
        }
    }
}

/// The reason below hyper's own words, where there is one.
fn broken(error: hyper::Error) -> io::Error {
    if error.is_incomplete_message() {
        return io::Error::new(io::ErrorKind::UnexpectedEof, "it ended without an answer");
    }
    let source = std::error::Error::source(&error).map(ToString::to_string);
    io::Error::other(source.unwrap_or_else(|| error.to_string()))
}
