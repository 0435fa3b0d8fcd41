//! What a monitoring system reads: `/metrics` in Prometheus' text form, or in OpenMetrics' for those who ask for it. And
//! what people read: a status page at `/`, which shows what `/status.json` says.
//!
//! Xray serves Go's `expvar` and `pprof` at such a place; `/debug/vars` is here as well, as far as it is not about Go.

mod counters;
mod door;
mod numbers;
mod page;
mod process;
mod status;
mod vars;

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{
    ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue,
    REFERRER_POLICY, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::encoding::{prometheus_text, text};
use tokio::sync::Semaphore;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tracing::{debug, info};

use crate::app::{ApiLinks, App, Inbounds, listen_for_service};
use crate::config::{ApiListen, Metrics};
use crate::dispatch::Dispatcher;
use crate::io::Link;
use crate::io::own_listeners::Listening;
use crate::log::{NOTICE, recent};
use crate::metrics::live::TICK;
use crate::transport::tcp;

use door::{Came, Unfit};

/// Connections at one time; one more waits.
const CONNECTIONS: usize = 16;

/// How long a request may take to arrive.
const HEADER_LIMIT: Duration = Duration::from_secs(10);

/// How long a connection may last: a scraper comes every few seconds, and comes again.
const CONNECTION_LIMIT: Duration = Duration::from_secs(600);

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

const HTML: &str = "text/html; charset=utf-8";

/// How long rates are measured where nobody has asked for a while.
const MEASURING: Duration = Duration::from_millis(500);

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
    recent::keep();
    if let Some(metrics) = &app.dispatcher.metrics {
        let live = metrics.live.clone();
        crate::io::spawn(async move {
            let mut ticks = interval(TICK);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                live.tick(Instant::now());
            }
        });
    }
    let connections = Arc::new(Semaphore::new(CONNECTIONS));
    if let Some(place) = listen {
        // Before anybody can connect to it.
        let wanted = match place {
            ApiListen::Tcp(address) => Some(Listening::control(address, WHAT)),
            ApiListen::Unix(_) | ApiListen::Abstract(_) => None,
        };
        let listener = listen_for_service(&place)?;
        let at = listener.local_addr();
        let bound = at.map(|at| Listening::control(at, WHAT));
        let shown = at.map_or_else(|| "a unix socket".to_owned(), |at| at.to_string());
        info!(target: NOTICE, "metrics are served on {shown}");
        let came = match place {
            ApiListen::Tcp(_) => Came::Network,
            ApiListen::Unix(_) | ApiListen::Abstract(_) => Came::Unix,
        };
        let accepting = accept(listener, came, exporter.clone(), connections.clone());
        crate::io::spawn(async move {
            accepting.await;
            drop((wanted, bound));
        });
    }
    if let Some(mut links) = links {
        crate::io::spawn(async move {
            while let Some(link) = links.recv().await {
                admit(link, Came::Network, &exporter, &connections).await;
            }
        });
    }
    Ok(())
}

/// What messages call it.
const WHAT: &str = "the metrics";

async fn accept(
    listener: tcp::Listener,
    came: Came,
    exporter: Arc<Exporter>,
    connections: Arc<Semaphore>,
) {
    loop {
        match listener.accept().await {
            Ok(arrival) => admit(arrival.link, came, &exporter, &connections).await,
            Err(e) => {
                debug!("metrics: cannot accept a connection: {e}");
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Serves a connection in a task of its own; waits while there are too many.
async fn admit(link: Link, came: Came, exporter: &Arc<Exporter>, connections: &Arc<Semaphore>) {
    let Ok(permit) = connections.clone().acquire_owned().await else {
        return;
    };
    let exporter = exporter.clone();
    crate::io::spawn(async move {
        let service = service_fn(move |request| {
            let exporter = exporter.clone();
            async move { Ok::<_, Infallible>(exporter.answer(came, &request).await) }
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
    async fn answer(&self, came: Came, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        let path = request.uri().path();
        match door::check(&self.settings, came, request.headers()) {
            Ok(()) => {}
            Err(Unfit::Named(name)) => {
                let text = format!(
                    "`{}` is a name, expected an address or `localhost`: a stranger's page may have a name that leads here; \
                     `metrics.hosts` has those that are yours, and with a `metrics.token` any will do\n",
                    name.escape_debug()
                );
                return respond(StatusCode::MISDIRECTED_REQUEST, text).finish();
            }
            // There is nothing in the page but where to write the token.
            Err(Unfit::Token) if path == "/" => {
                return page(StatusCode::UNAUTHORIZED)
                    .header(WWW_AUTHENTICATE, "Bearer")
                    .finish();
            }
            Err(Unfit::Token) => {
                let text = "expected the token as `Authorization: Bearer TOKEN`\n";
                return respond(StatusCode::UNAUTHORIZED, text)
                    .header(WWW_AUTHENTICATE, "Bearer")
                    .finish();
            }
        }
        if !matches!(path, "/" | "/status.json" | "/metrics" | "/debug/vars") {
            let text = "there are /metrics, /status.json, /debug/vars and a page at /\n";
            return respond(StatusCode::NOT_FOUND, text).finish();
        }
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return respond(StatusCode::METHOD_NOT_ALLOWED, "expected GET\n")
                .header(ALLOW, "GET, HEAD")
                .finish();
        }
        match path {
            "/" => page(StatusCode::OK).finish(),
            "/status.json" => self.status(request).await,
            "/debug/vars" => {
                let vars = vars::vars(&self.settings.hidden, &self.dispatcher);
                respond(StatusCode::OK, vars.to_string())
                    .header(CONTENT_TYPE, "application/json; charset=utf-8")
                    .finish()
            }
            _ => self.numbers(request),
        }
    }

    async fn status(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        if let Some(metrics) = &self.dispatcher.metrics
            && !metrics.live.measure(Instant::now())
        {
            sleep(MEASURING).await;
            metrics.live.measure(Instant::now());
        }
        let tunnels = status::wanted(request.uri().query());
        let (hidden, inbounds) = (&self.settings.hidden, &self.inbounds);
        let status = status::status(hidden, inbounds, &self.dispatcher, tunnels);
        respond(StatusCode::OK, status.to_string())
            .header(CONTENT_TYPE, "application/json")
            .finish()
    }

    fn numbers(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
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
}

struct Answer(Response<Full<Bytes>>);

fn page(status: StatusCode) -> Answer {
    let mut answer = respond(status, page::PAGE).header(CONTENT_TYPE, HTML);
    let headers = answer.0.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, page::POLICY.clone());
    answer
}

/// No other page may look into an answer, have it in a frame or keep it.
fn respond(status: StatusCode, body: impl Into<Bytes>) -> Answer {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    Answer(response)
        .header(CONTENT_TYPE, "text/plain; charset=utf-8")
        .header(CACHE_CONTROL, "no-store")
        .header(
            CONTENT_SECURITY_POLICY,
            "default-src 'none'; frame-ancestors 'none'",
        )
        .header(X_FRAME_OPTIONS, "DENY")
        .header(X_CONTENT_TYPE_OPTIONS, "nosniff")
        .header(REFERRER_POLICY, "no-referrer")
        .header(OF_ITS_OWN, "same-origin")
}

const OF_ITS_OWN: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

impl Answer {
    fn header(mut self, name: HeaderName, value: &'static str) -> Self {
        let value = HeaderValue::from_static(value);
        self.0.headers_mut().insert(name, value);
        self
    }

    fn finish(self) -> Response<Full<Bytes>> {
        self.0
    }
}
