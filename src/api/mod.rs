//! V2Ray's gRPC API: what panels read counters with, and add users by.
//!
//! Rules lead an inbound to the outbound tagged `api.tag`; what arrives there is HTTP/2, and every
//! request of it names a service and a method:
//!
//! ```text
//! /v2ray.core.app.stats.command.StatsService/QueryStats
//! ```
//! V2Ray 4 and 5 use these names. Xray's begin with `xray.` where V2Ray's begin with `v2ray.core.`; its
//! messages for counters, users and routes are the same. `proto/v2ray` has them all.

pub mod client;
mod handler;
mod logger;
mod routing;
mod stats;
mod watch;

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{Request, Response, Uri};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::sync::{Mutex, Semaphore, mpsc};
use tokio::time::timeout;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::Service;
use tracing::{debug, info};

use crate::app::{ApiLinks, App, Inbounds};
use crate::config::{Api, Services};
use crate::dispatch::Dispatcher;
use crate::io::Link;
use crate::io::own_listeners::Listening;
use crate::log::NOTICE;
use crate::transport::tcp;

use crate::wire::app::log::command::logger_service_server::LoggerServiceServer;
use crate::wire::app::proxyman::command::handler_service_server::HandlerServiceServer;
use crate::wire::app::router::command::routing_service_server::RoutingServiceServer;
use crate::wire::app::stats::command::stats_service_server::StatsServiceServer;

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
    services: Services,
    inbounds: Arc<Inbounds>,
    dispatcher: Arc<Dispatcher>,
    /// When the process began, or nearly so.
    since: Instant,
    /// Held by whoever adds something: that a tag is free must still be true a moment later.
    changing: Mutex<()>,
    at_once: Semaphore,
}

/// An error in V2Ray's words, with the code that Go gives an error without one.
fn unknown(text: impl ToString) -> Status {
    Status::unknown(text.to_string())
}

/// Serves the API of a running app, until the process ends.
pub fn start(api: Api, links: ApiLinks, app: &App) -> io::Result<()> {
    let Api {
        services, listen, ..
    } = api;
    let server = Arc::new(Server {
        services,
        inbounds: app.inbounds.clone(),
        dispatcher: app.dispatcher.clone(),
        since: Instant::now(),
        changing: Mutex::default(),
        at_once: Semaphore::new(AT_ONCE),
    });
    let connections = Arc::new(Semaphore::new(CONNECTIONS));
    if let Some(address) = listen {
        // Before anybody can connect to it.
        let wanted = Listening::control(address, "the API");
        let listener = tcp::listen(address, &tcp::SockOpt::default())?;
        let at = listener.local_addr().unwrap_or(address);
        let listening = [wanted, Listening::control(at, "the API")];
        info!(target: NOTICE, "the API listens on {at}");
        let accepting = accept(listener, server.clone(), connections.clone());
        crate::io::spawn(async move {
            accepting.await;
            drop(listening);
        });
    }
    crate::io::spawn(hand_over(links, server, connections));
    Ok(())
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

async fn accept(listener: tcp::Listener, server: Arc<Server>, connections: Arc<Semaphore>) {
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

async fn serve(link: Link, server: Arc<Server>) {
    let service = service_fn(move |request| {
        let server = server.clone();
        async move { Ok::<_, Infallible>(server.answer(request).await) }
    });
    let served = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_EVERY)
        .max_concurrent_streams(STREAMS)
        .serve_connection(TokioIo::new(link), service)
        .await;
    if let Err(e) = served {
        debug!("a connection to the API ended: {e}");
    }
}

impl Server {
    async fn answer(self: Arc<Self>, mut request: Request<Incoming>) -> Response<Body> {
        let Ok(_permit) = self.at_once.acquire().await else {
            return Status::unavailable("the API is closed").into_http();
        };
        let path = v2ray_path(request.uri().path());
        debug!(path, "API request");
        if let Ok(uri) = path.parse::<Uri>() {
            *request.uri_mut() = uri;
        }
        // The permit is given back when the request is read and understood; a stream of answers has
        // little to remember.
        match timeout(REQUEST_LIMIT, self.clone().call(&path, request)).await {
            Ok(response) => response,
            Err(_) => Status::deadline_exceeded("the request took too long").into_http(),
        }
    }

    async fn call(self: Arc<Self>, path: &str, request: Request<Incoming>) -> Response<Body> {
        let services = self.services;
        let service = path.split('/').nth(1).unwrap_or_default();
        macro_rules! answer {
            ($server:ident) => {{
                let mut service = $server::from_arc(self).max_decoding_message_size(MAX_MESSAGE);
                let Ok(response) = service.call(request).await;
                response
            }};
        }
        match service {
            STATS if services.stats => answer!(StatsServiceServer),
            HANDLER if services.handler => answer!(HandlerServiceServer),
            LOGGER if services.logger => answer!(LoggerServiceServer),
            ROUTING if services.routing => answer!(RoutingServiceServer),
            STATS | HANDLER | LOGGER | ROUTING => {
                let name = service.rsplit('.').next().unwrap_or_default();
                // gRPC's own words, for those who look for them.
                let text = format!("unknown service {service}: `{name}` is not in `api.services`");
                Status::unimplemented(text).into_http()
            }
            _ => Status::unimplemented(format!("unknown service {service}")).into_http(),
        }
    }
}

const STATS: &str = "v2ray.core.app.stats.command.StatsService";
const HANDLER: &str = "v2ray.core.app.proxyman.command.HandlerService";
const LOGGER: &str = "v2ray.core.app.log.command.LoggerService";
const ROUTING: &str = "v2ray.core.app.router.command.RoutingService";

/// Xray's name of a method as V2Ray has it.
fn v2ray_path(path: &str) -> String {
    match path.strip_prefix("/xray.") {
        Some(rest) => format!("/v2ray.core.{rest}"),
        None => path.to_owned(),
    }
}
