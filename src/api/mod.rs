//! V2Ray's gRPC API: what panels read counters with, and add users by.
//!
//! Rules lead an inbound to the outbound tagged `api.tag`; what arrives there is HTTP/2, and every
//! request of it names a service and a method:
//!
//! ```text
//! /v2ray.core.app.stats.command.StatsService/QueryStats
//! ```
//! V2Ray 4 and 5 use these names. Xray's begin with `xray.` where V2Ray's begin with `v2ray.core.`, and what both have
//! looks alike on the wire. `proto/v2ray` and `proto/xray` have them all.

pub mod client;
mod handler;
mod logger;
mod methods;
mod observatory;
mod raw;
mod reflection;
mod routing;
mod rules;
mod stats;
mod watch;

use std::convert::Infallible;
use std::io;
use std::pin::pin;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::select;
use tokio::sync::watch::{Receiver, Sender};
use tokio::sync::{Mutex, Semaphore, mpsc};
use tokio::task::AbortHandle;
use tokio::time::timeout;
use tonic::Status;
use tonic::body::Body;
use tracing::{debug, info};

use crate::app::{ApiLinks, App, Inbounds, listen_for_service};
use crate::config::{Api, ApiListen};
use crate::dispatch::Dispatcher;
use crate::io::Link;
use crate::io::own_listeners::Listening;
use crate::log::NOTICE;
use crate::transport::browser::Dialer;
use crate::transport::tcp;

use methods::{Family, Service};

/// The largest request; gRPC's usual bound.
const MAX_MESSAGE: usize = 4 * 1024 * 1024;

/// Requests that are read at one time; together with [`MAX_MESSAGE`] this bounds the memory of all.
const AT_ONCE: usize = 16;

/// Connections at one time.
const CONNECTIONS: usize = 64;

/// Requests of one connection at one time, streams of answers among them.
const STREAMS: u32 = 32;

/// How long a request may take to arrive and be done.
const REQUEST_LIMIT: Duration = Duration::from_secs(30);

/// Whoever says nothing for this long is asked whether they are there, and given as long to answer.
const PING_EVERY: Duration = Duration::from_secs(60);

/// What answers requests.
struct Server {
    /// Another one may come.
    config: RwLock<Arc<Api>>,
    inbounds: Arc<Inbounds>,
    dispatcher: Arc<Dispatcher>,
    browser: Option<Dialer>,
    /// When the process began, or nearly so.
    since: Instant,
    /// Held by whoever adds or removes something.
    changing: Arc<Mutex<()>>,
    at_once: Semaphore,
    /// Becomes true when connections are to end as soon as what was asked for is answered.
    ending: Sender<bool>,
}

/// An error in V2Ray's words, with the code that Go gives an error without one.
fn unknown(text: impl ToString) -> Status {
    Status::unknown(text.to_string())
}

/// The API of a running app.
pub struct Running {
    server: Arc<Server>,
    connections: Arc<Semaphore>,
    /// Where it listens by itself, and what serves that.
    listener: Option<(ApiListen, AbortHandle)>,
}

/// What another config says of the API, with its listener bound; nothing has changed yet.
pub struct Change {
    api: Option<Api>,
    listener: Option<Bound>,
}

/// Bound, but nothing is accepted yet.
struct Bound {
    place: ApiListen,
    listener: tcp::Listener,
    /// What this process remembers of it, until it is gone.
    listening: Vec<Listening>,
}

/// Serves the API of a running app, until the process ends.
pub fn start(api: Api, links: ApiLinks, app: &App) -> io::Result<Running> {
    let change = prepare(Some(api.clone()), None)?;
    let server = Arc::new(Server {
        config: RwLock::new(Arc::new(api)),
        inbounds: app.inbounds.clone(),
        dispatcher: app.dispatcher.clone(),
        browser: app.browser.clone(),
        since: Instant::now(),
        changing: app.changing.clone(),
        at_once: Semaphore::new(AT_ONCE),
        ending: Sender::new(false),
    });
    let mut service = Running {
        server,
        connections: Arc::new(Semaphore::new(CONNECTIONS)),
        listener: None,
    };
    service.change(change, Some(links));
    Ok(service)
}

/// Binds what `api` listens on, unless `service` does so already.
///
/// # Errors
///
/// When it cannot be listened on.
pub fn prepare(api: Option<Api>, service: Option<&Running>) -> io::Result<Change> {
    let wanted = api.as_ref().and_then(|api| api.listen.clone());
    let there = service.and_then(|service| service.listener.as_ref());
    let wanted = wanted.filter(|wanted| there.is_none_or(|(place, _)| place != wanted));
    let listener = wanted.map(bind).transpose()?;
    Ok(Change { api, listener })
}

fn bind(place: ApiListen) -> io::Result<Bound> {
    // Before anybody can connect to it.
    let wanted = match place {
        ApiListen::Tcp(address) => Some(Listening::control(address, "the API")),
        ApiListen::Unix(_) | ApiListen::Abstract(_) => None,
    };
    let listener = listen_for_service(&place)?;
    let bound = listener.local_addr();
    let bound = bound.map(|at| Listening::control(at, "the API"));
    Ok(Bound {
        place,
        listener,
        listening: wanted.into_iter().chain(bound).collect(),
    })
}

impl Running {
    /// Accepts nothing more, and ends connections when they have their answers.
    pub fn stop(self) {
        if let Some((_, task)) = &self.listener {
            task.abort();
        }
        self.server.ending.send_replace(true);
    }

    /// Serves by another config from here on; `links` are the sessions that rules lead here, if they come another way.
    /// Connections go on.
    pub fn change(&mut self, change: Change, links: Option<ApiLinks>) {
        let Change { api, listener } = change;
        let wanted = api.as_ref().and_then(|api| api.listen.as_ref());
        if let Some((place, task)) = &self.listener
            && wanted != Some(place)
        {
            task.abort();
            self.listener = None;
        }
        if let Some(bound) = listener {
            let shown = bound.listener.local_addr();
            let shown = shown.map_or_else(|| "a unix socket".to_owned(), |at| at.to_string());
            info!(target: NOTICE, "the API listens on {shown}");
            let place = bound.place.clone();
            let accepting = accept(bound, self.server.clone(), self.connections.clone());
            self.listener = Some((place, crate::io::spawn(accepting).abort_handle()));
        }
        if let Some(api) = api {
            let config = self.server.config.write();
            *config.unwrap_or_else(PoisonError::into_inner) = Arc::new(api);
        }
        if let Some(links) = links {
            let (server, connections) = (self.server.clone(), self.connections.clone());
            crate::io::spawn(hand_over(links, server, connections));
        }
    }
}

async fn hand_over(
    mut links: mpsc::Receiver<Link>,
    server: Arc<Server>,
    connections: Arc<Semaphore>,
) {
    while let Some(link) = links.recv().await {
        admit(link, &server, &connections).await;
    }
}

async fn accept(bound: Bound, server: Arc<Server>, connections: Arc<Semaphore>) {
    let Bound {
        listener,
        listening: _listening,
        ..
    } = bound;
    loop {
        match listener.accept().await {
            Ok(arrival) => admit(arrival.link, &server, &connections).await,
            Err(e) => {
                debug!("the API cannot accept a connection: {e}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Serves a connection in a task of its own; waits while there are too many.
async fn admit(link: Link, server: &Arc<Server>, connections: &Arc<Semaphore>) {
    let Ok(permit) = connections.clone().acquire_owned().await else {
        return;
    };
    let server = server.clone();
    crate::io::spawn(async move {
        serve(link, server).await;
        drop(permit);
    });
}

/// Waits until connections are to end.
async fn ended(ending: &mut Receiver<bool>) {
    // The sender is the server's, which this connection holds.
    let _ = ending.wait_for(|ending| *ending).await;
}

async fn serve(link: Link, server: Arc<Server>) {
    let mut ending = server.ending.subscribe();
    let service = service_fn(move |request| {
        let server = server.clone();
        async move { Ok::<_, Infallible>(server.answer(request).await) }
    });
    let connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_EVERY)
        .max_concurrent_streams(STREAMS)
        .serve_connection(TokioIo::new(link), service);
    let mut connection = pin!(connection);
    let served = select! {
        served = &mut connection => served,
        () = ended(&mut ending) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(e) = served {
        debug!("a connection to the API ended: {e}");
    }
}

impl Server {
    fn config(&self) -> Arc<Api> {
        self.config
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Response<Body> {
        let Ok(_permit) = self.at_once.acquire().await else {
            return Status::unavailable("the API is closed").into_http();
        };
        debug!(path = request.uri().path(), "API request");
        // The permit is given back when the request is read and understood; a stream of answers has
        // little to remember.
        match timeout(REQUEST_LIMIT, self.clone().call(request)).await {
            Ok(response) => response,
            Err(_) => Status::deadline_exceeded("the request took too long").into_http(),
        }
    }

    async fn call(self: Arc<Self>, request: Request<Incoming>) -> Response<Body> {
        let path = request.uri().path().trim_start_matches('/');
        let (name, method) = path.rsplit_once('/').unwrap_or((path, ""));
        // gRPC's own words, for those who look for them.
        let Some((family, service)) = Service::find(name) else {
            let text = format!("unknown service {name}");
            return Status::unimplemented(text).into_http();
        };
        if !service.is_in(self.config().services) {
            let text = format!(
                "unknown service {name}: `{}` is not in `api.services`",
                service.name()
            );
            return Status::unimplemented(text).into_http();
        }
        let method = method.to_owned();
        methods::call(self, family, service, method, request).await
    }
}
