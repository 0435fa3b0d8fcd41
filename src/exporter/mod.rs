//! What a monitoring system reads: `/metrics` in Prometheus' text form, or in OpenMetrics' for those who ask for it.
//!
//! Xray serves Go's `expvar` and `pprof` at such a place; what they tell is for Go alone.

mod numbers;
mod process;

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use bytes::Bytes;
use http::header::{ACCEPT, ALLOW, AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::encoding::{prometheus_text, text};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tracing::{debug, info};

use crate::app::{ApiLinks, App, Inbounds};
use crate::config::{ApiListen, Metrics};
use crate::dispatch::Dispatcher;
use crate::io::Link;
use crate::io::own_listeners::Listening;
use crate::log::NOTICE;
use crate::transport::tcp;

/// Connections at one time; one more waits.
const CONNECTIONS: usize = 16;

/// How long a request may take to arrive.
const HEADER_LIMIT: Duration = Duration::from_secs(10);

/// How long a connection may last: a scraper comes every few seconds, and comes again.
const CONNECTION_LIMIT: Duration = Duration::from_secs(600);

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

const PATH: &str = "/metrics";

/// What answers.
struct Exporter {
    settings: Metrics,
    inbounds: Arc<Inbounds>,
    dispatcher: Arc<Dispatcher>,
}

/// Serves the numbers of a running app, until the process ends.
///
/// # Errors
///
/// When its place cannot be listened on.
pub fn start(settings: Metrics, links: Option<ApiLinks>, app: &App) -> io::Result<()> {
    let listen = settings.listen.clone();
    let exporter = Arc::new(Exporter {
        settings,
        inbounds: app.inbounds.clone(),
        dispatcher: app.dispatcher.clone(),
    });
    let connections = Arc::new(Semaphore::new(CONNECTIONS));
    if let Some(place) = listen {
        // Before anybody can connect to it.
        let wanted = match place {
            ApiListen::Tcp(address) => Some(Listening::control(address, WHAT)),
            ApiListen::Unix(_) | ApiListen::Abstract(_) => None,
        };
        let listener = match &place {
            ApiListen::Tcp(address) => tcp::listen(*address, &tcp::SockOpt::default())?,
            ApiListen::Unix(path) => tcp::listen_unix(path)?,
            ApiListen::Abstract(name) => tcp::listen_abstract(name)?,
        };
        let at = listener.local_addr();
        let bound = at.map(|at| Listening::control(at, WHAT));
        let shown = at.map_or_else(|| "a unix socket".to_owned(), |at| at.to_string());
        info!(target: NOTICE, "metrics are served on {shown}");
        let accepting = accept(listener, exporter.clone(), connections.clone());
        crate::io::spawn(async move {
            accepting.await;
            drop((wanted, bound));
        });
    }
    if let Some(mut links) = links {
        crate::io::spawn(async move {
            while let Some(link) = links.recv().await {
                admit(link, &exporter, &connections).await;
            }
        });
    }
    Ok(())
}

/// What messages call it.
const WHAT: &str = "the metrics";

async fn accept(listener: tcp::Listener, exporter: Arc<Exporter>, connections: Arc<Semaphore>) {
    loop {
        match listener.accept().await {
            Ok(arrival) => admit(arrival.link, &exporter, &connections).await,
            Err(e) => {
                debug!("metrics: cannot accept a connection: {e}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Serves a connection in a task of its own; waits while there are too many.
async fn admit(link: Link, exporter: &Arc<Exporter>, connections: &Arc<Semaphore>) {
    let Ok(permit) = connections.clone().acquire_owned().await else {
        return;
    };
    let exporter = exporter.clone();
    crate::io::spawn(async move {
        let service = service_fn(move |request| {
            let answer = exporter.answer(&request);
            async move { Ok::<_, Infallible>(answer) }
        });
        let serving = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_LIMIT)
            .serve_connection(TokioIo::new(link), service);
        if let Ok(Err(e)) = timeout(CONNECTION_LIMIT, serving).await {
            debug!("a connection for metrics ended: {e}");
        }
        drop(permit);
    });
}

impl Exporter {
    fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        if !self.may_ask(request.headers()) {
            return respond(
                StatusCode::UNAUTHORIZED,
                "expected the token as `Authorization: Bearer TOKEN`\n",
            )
            .header(WWW_AUTHENTICATE, "Bearer")
            .finish();
        }
        if request.uri().path() != PATH {
            return respond(StatusCode::NOT_FOUND, "it is at /metrics\n").finish();
        }
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return respond(StatusCode::METHOD_NOT_ALLOWED, "expected GET\n")
                .header(ALLOW, "GET, HEAD")
                .finish();
        }
        let registry = numbers::registry(&self.settings.hidden, &self.inbounds, &self.dispatcher);
        let mut body = String::new();
        let accept = request.headers().get(ACCEPT);
        let is_open = accept.is_some_and(|accept| {
            String::from_utf8_lossy(accept.as_bytes()).contains("application/openmetrics-text")
        });
        let (written, form) = match is_open {
            true => (text::encode(&mut body, &registry), OPEN_METRICS),
            false => (
                prometheus_text::encode(&mut body, &registry),
                prometheus_text::CONTENT_TYPE,
            ),
        };
        match written {
            Ok(()) => respond(StatusCode::OK, body)
                .header(CONTENT_TYPE, form)
                .finish(),
            Err(_) => respond(StatusCode::INTERNAL_SERVER_ERROR, "it cannot be written\n").finish(),
        }
    }

    /// Whether the token is shown, where one is asked for.
    fn may_ask(&self, headers: &HeaderMap) -> bool {
        let Some(token) = &self.settings.token else {
            return true;
        };
        let shown = headers.get(AUTHORIZATION).map(|value| value.as_bytes());
        let shown = shown.and_then(|value| match value.split_at_checked(BEARER.len()) {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case(BEARER) => Some(token),
            _ => None,
        });
        // It takes as long whatever differs.
        let is = |shown: &[u8]| verify_slices_are_equal(shown, token.as_bytes()).is_ok();
        shown.is_some_and(|shown| is(shown.trim_ascii()))
    }
}

const BEARER: &[u8] = b"Bearer ";

struct Answer(Response<Full<Bytes>>);

fn respond(status: StatusCode, body: impl Into<Bytes>) -> Answer {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    Answer(response)
        .header(CONTENT_TYPE, "text/plain; charset=utf-8")
        .header(CACHE_CONTROL, "no-store")
}

impl Answer {
    fn header(mut self, name: http::HeaderName, value: &'static str) -> Self {
        let value = http::HeaderValue::from_static(value);
        self.0.headers_mut().insert(name, value);
        self
    }

    fn finish(self) -> Response<Full<Bytes>> {
        self.0
    }
}
