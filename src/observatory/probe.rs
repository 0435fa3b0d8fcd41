//! One question through an outbound.

use std::io;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
pub(super) use http::Method;
use http::Request;
use http::header::{CONNECTION, HOST, HeaderValue, USER_AGENT};
use http_body_util::Empty;
use tokio::time::timeout;

use super::{ExpectedStatus, Url};
use crate::cause::DialError;
use crate::dispatch::Dispatcher;
use crate::dns::Lookup;
use crate::http::client;
use crate::io::Link;
use crate::transport::{tcp, tls};

/// How a probe travels.
#[derive(Clone, Copy)]
pub(super) enum ProbeVia<'a> {
    Outbound(&'a Arc<Dispatcher>, &'a str),
    Direct,
}

/// V2Ray's user agent.
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

/// How long it takes from dialling to the head of an answer; one of another status than is `expected` is none.
pub(super) async fn probe(
    via: ProbeVia<'_>,
    url: &Url,
    method: Method,
    limit: Duration,
    expected: &ExpectedStatus,
) -> io::Result<Duration> {
    let start = Instant::now();
    let asked = timeout(limit, async {
        let mut link = via.dial(url).await?;
        if url.tls {
            let wrapped = TLS.wrap(link, &url.to).await;
            link = wrapped.map_err(DialError::from)?;
        }
        ask(link, url, method, expected).await
    });
    let link = asked.await.unwrap_or_else(|_| {
        let text = format!("no answer from {url} within {limit:?}");
        Err(io::Error::new(io::ErrorKind::TimedOut, text))
    })?;
    let time = start.elapsed();
    crate::io::spawn(link.close());
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
async fn ask(link: Link, url: &Url, method: Method, expected: &ExpectedStatus) -> io::Result<Link> {
    let mut request = Request::new(Empty::<Bytes>::new());
    *request.method_mut() = method;
    *request.uri_mut() = url.target.clone();
    let headers = request.headers_mut();
    headers.insert(HOST, url.host.clone());
    headers.insert(USER_AGENT, GO);
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    match client::ask(link, request, MAX_HEAD).await {
        Ok((answer, link)) if expected.has(answer.status()) => Ok(link),
        Ok((answer, _)) => {
            let status = answer.status().as_u16();
            let text = format!("{url} answers {status}, expected {expected}");
            Err(io::Error::new(io::ErrorKind::InvalidData, text))
        }
        Err(e) if e.is_incomplete_message() => {
            let text = "it ended without an answer";
            Err(io::Error::new(io::ErrorKind::UnexpectedEof, text))
        }
        Err(e) => Err(io::Error::other(client::reason(&e))),
    }
}
