//! A web server behind this one, by HTTP/1.1: a connection for each request, so that a PROXY header can say whose it is.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::header::{CONNECTION, HeaderValue, UPGRADE};
use http::{Request, Response, StatusCode, Uri, Version};
use http_body_util::BodyExt;
use hyper::body::Body as _;
use hyper::client::conn::http1;
use hyper::upgrade;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt;
use tokio::time::{sleep_until, timeout};
use tracing::debug;

use super::body::{Pulse, Timed, keeping};
use super::{Body, Guest, UpstreamSettings, empty, headers, hear_out, page};
use crate::cause::{Behind, FallbackError, Lack};
use crate::http::client::reason;
use crate::io::{Link, spawn};
use crate::log;
use crate::session::Source;
use crate::transport::{proxy_protocol, tcp};

/// For a connection.
const CONNECT_LIMIT: Duration = Duration::from_secs(4);

/// The most that the head of an answer may have.
const MAX_HEAD: usize = 256 * 1024;

/// Asks for each request anew.
pub(super) struct Upstream {
    settings: UpstreamSettings,
    what: Behind,
    /// What it is called.
    name: String,
}

/// A connection that has become something else: a WebSocket of the site, as a rule. It travels with the answer.
#[derive(Clone)]
pub(super) struct Carried(Arc<Mutex<Option<Link>>>);

/// Why a visitor sees an error page of ours.
enum Down {
    /// Nobody is there.
    Connect(io::Error),
    /// What came was no answer.
    Answer(String),
    /// Nothing came.
    Slow,
    /// The visitor broke off, or what he sent is no body.
    Visitor(String),
}

impl Upstream {
    pub(super) fn new(settings: UpstreamSettings, what: Behind) -> Self {
        let name = settings.to.to_string();
        Self {
            settings,
            what,
            name,
        }
    }

    pub(super) async fn answer(&self, request: Request<Body>, guest: &Guest) -> Response<Body> {
        let visitor = guest.named(request.headers()).unwrap_or(guest.peer);
        let answered = match self.connect(visitor, guest.local).await {
            Ok(link) => self.ask(link, request, guest).await,
            Err(down) => {
                let (parts, body) = request.into_parts();
                hear_out(&parts, body).await;
                Err(down)
            }
        };
        let down = match answered {
            Ok(response) => return response,
            Err(down) => down,
        };
        let (lack, source) = match down {
            Down::Slow => {
                debug!(
                    upstream = self.name,
                    "no answer within {:?}",
                    guest.silence()
                );
                return page(StatusCode::GATEWAY_TIMEOUT);
            }
            Down::Visitor(text) => {
                debug!(upstream = self.name, "the request's body: {text}");
                return page(StatusCode::BAD_REQUEST);
            }
            Down::Connect(source) => (Lack::Connection, source),
            Down::Answer(text) => (Lack::Answer, io::Error::other(text)),
        };
        let error = FallbackError {
            lack,
            what: self.what,
            to: self.name.clone(),
            source,
        };
        let text = error.to_string();
        log::repeated_cause(&text, &text, Some(error.code()));
        page(StatusCode::BAD_GATEWAY)
    }

    async fn ask(
        &self,
        link: Link,
        request: Request<Body>,
        guest: &Guest,
    ) -> Result<Response<Body>, Down> {
        let is_http1 = request.version() == Version::HTTP_11;
        let (request, pulse, upgrade) = self.forwarded(request, guest);
        let asking = Asking::of(guest, pulse.clone());
        let broken = |e: hyper::Error| match e.is_user() {
            true => Down::Visitor(reason(&e)),
            false => Down::Answer(reason(&e)),
        };
        let (mut sender, connection) = http1::Builder::new()
            .preserve_header_case(true)
            .title_case_headers(true)
            .max_buf_size(MAX_HEAD)
            .handshake(TokioIo::new(link))
            .await
            .map_err(broken)?;
        spawn(async move {
            if let Err(e) = connection.with_upgrades().await {
                debug!("the upstream's connection ended: {}", reason(&e));
            }
        });
        let response = in_time(sender.send_request(request), guest.silence(), &pulse).await?;
        let response = response.map_err(broken)?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            let (mut parts, body) = response.into_parts();
            // HTTP/2 has no such header.
            let what = parts.headers.get(UPGRADE).filter(|_| is_http1).cloned();
            parts.headers = headers::back(&parts.headers);
            if let (StatusCode::UPGRADE_REQUIRED, Some(what)) = (parts.status, what) {
                parts.headers.insert(UPGRADE, what);
            }
            parts.version = Version::HTTP_11;
            let body = keeping(Timed::new(body, guest.silence()).boxed_unsync(), asking);
            return Ok(Response::from_parts(parts, body));
        }
        match upgrade {
            true => switched(response).await.map_err(broken),
            false => Err(Down::Answer("a 101 that nobody asked for".to_owned())),
        }
    }

    /// The request as the upstream gets it, when something last came of its body, and whether it asks for a WebSocket.
    fn forwarded(&self, request: Request<Body>, guest: &Guest) -> (Request<Body>, Pulse, bool) {
        let (mut parts, body) = request.into_parts();
        let upgrade = headers::wants_websocket(&parts);
        let (host, len) = (self.settings.host.as_ref(), body.size_hint().exact());
        let mut forwarded = headers::forward(&parts, guest, host, &self.name, len);
        if upgrade {
            forwarded.insert(CONNECTION, HeaderValue::from_static("upgrade"));
            forwarded.insert(UPGRADE, HeaderValue::from_static("websocket"));
        }
        parts.headers = forwarded;
        parts.version = Version::HTTP_11;
        if let Some(path) = parts.uri.path_and_query() {
            parts.uri = Uri::from(path.clone());
        }
        let pulse = Pulse::new();
        let body = match body.is_end_stream() {
            true => {
                pulse.end();
                empty()
            }
            false => Timed::beating(body, guest.silence(), pulse.clone()).boxed_unsync(),
        };
        (Request::from_parts(parts, body), pulse, upgrade)
    }

    /// A connection for a visitor who came to `local`.
    async fn connect(&self, visitor: Source, local: Source) -> Result<Link, Down> {
        let connecting = timeout(CONNECT_LIMIT, tcp::connect_behind(&self.settings.to)).await;
        let connected = connecting.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        let mut link = connected.map_err(Down::Connect)?;
        if let Some(version) = self.settings.proxy_header {
            let header = proxy_protocol::header(version, visitor, local);
            let written = link.write_all(&header).await;
            written.map_err(Down::Connect)?;
        }
        Ok(link)
    }
}

/// Until it is dropped a request is not answered.
struct Asking(Arc<Mutex<Option<Pulse>>>);

impl Asking {
    fn of(guest: &Guest, body: Pulse) -> Self {
        let asking = Self(guest.asking.clone());
        asking.set(Some(body));
        asking
    }

    fn set(&self, body: Option<Pulse>) {
        let mut asking = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *asking = body;
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        self.set(None);
    }
}

impl Carried {
    pub(super) fn take(&self) -> Option<Link> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Upstream").field(&self.name).finish()
    }
}

/// Waits for an answer; the time for it begins anew with whatever comes of the request's body.
async fn in_time<T>(
    answer: impl Future<Output = T>,
    silence: Duration,
    pulse: &Pulse,
) -> Result<T, Down> {
    let mut answer = pin!(answer);
    loop {
        let until = pulse.last() + silence;
        tokio::select! {
            answer = &mut answer => return Ok(answer),
            () = sleep_until(until) => {
                if pulse.last() + silence <= until {
                    return Err(Down::Slow);
                }
            }
        }
    }
}

/// A 101, with what the connection has become.
async fn switched(mut response: Response<hyper::body::Incoming>) -> hyper::Result<Response<Body>> {
    let upgraded = upgrade::on(&mut response).await?;
    let link = Link::foreign(TokioIo::new(upgraded));
    let (mut parts, _) = response.into_parts();
    let what = parts.headers.get(UPGRADE).cloned();
    parts.headers = headers::back(&parts.headers);
    parts
        .headers
        .insert(CONNECTION, HeaderValue::from_static("upgrade"));
    parts.headers.extend(what.map(|what| (UPGRADE, what)));
    parts
        .extensions
        .insert(Carried(Arc::new(Mutex::new(Some(link)))));
    parts.version = Version::HTTP_11;
    Ok(Response::from_parts(parts, empty()))
}

#[cfg(test)]
mod tests {
    use tokio::net::UnixListener;
    use tokio::time::Instant;

    use super::super::{Patience, Settings, Site, empty};
    use super::*;
    use crate::http::Forwarded;
    use crate::http::tell::Tell;
    use crate::seam::FallbackTarget;

    fn guest(site: Site) -> Guest {
        Guest {
            site: Arc::new(site),
            peer: Source::Unix,
            local: Source::Unix,
            over_tls: false,
            tell: Tell::default(),
            asking: Default::default(),
        }
    }

    /// One that takes a request and says nothing; over a socket that connects at once, whatever the clock does.
    #[tokio::test(start_paused = true)]
    async fn an_upstream_that_says_nothing_is_a_504() {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path().join("site.sock");
        let _listener = UnixListener::bind(&at).unwrap();
        let settings = Settings::Upstream(UpstreamSettings {
            to: FallbackTarget::Unix(at),
            proxy_header: None,
            host: None,
        });
        let guest = guest(Site::new(settings, Forwarded::default()));
        let request = Request::get("/").header("Host", "a").body(empty()).unwrap();
        let (begin, silence) = (Instant::now(), guest.silence());
        let response = guest.answer(request).await;
        assert_eq!(response.status(), StatusCode::GATEWAY_TIMEOUT);
        let waited = begin.elapsed();
        assert!(
            waited >= silence && waited < silence + CONNECT_LIMIT,
            "{waited:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_may_wait_for_a_day_does() {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path().join("service.sock");
        let _listener = UnixListener::bind(&at).unwrap();
        let settings = UpstreamSettings {
            to: FallbackTarget::Unix(at),
            proxy_header: None,
            host: None,
        };
        let site = Site::new(
            Settings::Hosts(vec![(Vec::new(), settings)]),
            Forwarded::default(),
        );
        let day = Duration::from_secs(24 * 60 * 60);
        let guest = guest(site.patient(Patience {
            silence: day,
            ..Patience::default()
        }));
        let request = Request::get("/").header("Host", "a").body(empty()).unwrap();
        let begin = Instant::now();
        let response = guest.answer(request).await;
        assert_eq!(response.status(), StatusCode::GATEWAY_TIMEOUT);
        assert!(begin.elapsed() >= day, "{:?}", begin.elapsed());
    }

    /// An upload that goes on is no silence.
    #[tokio::test(start_paused = true)]
    async fn what_comes_of_a_request_begins_the_wait_anew() {
        const SILENCE: Duration = Duration::from_secs(60);
        let pulse = Pulse::new();
        let begin = Instant::now();
        let beats = async {
            for _ in 0..3 {
                tokio::time::sleep(SILENCE / 2).await;
                pulse.beat();
            }
            std::future::pending::<()>().await
        };
        assert!(matches!(
            in_time(beats, SILENCE, &pulse).await,
            Err(Down::Slow)
        ));
        assert_eq!(begin.elapsed(), SILENCE / 2 * 3 + SILENCE);
    }
}
