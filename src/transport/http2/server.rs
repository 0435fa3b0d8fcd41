//! A server's connection.

use std::sync::Arc;
use std::time::Duration;

use ::h2::RecvStream;
use ::h2::server::{Builder, Connection as H2, SendResponse};
use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{Method, Request, Response, StatusCode};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout_at};
use tracing::debug;

use super::keepalive;
use super::stream::{Framing, Http2Stream, Plain, Streams};
use super::{
    CONNECTION_WINDOW, MAX_FRAME, MAX_HEADERS, MAX_STREAMS, Pings, SEND_BUFFER, STREAM_WINDOW,
};
use crate::cause::{AcceptError, RequestError, Unfit};
use crate::http::Forwarded;
use crate::http::tell::{Tell, shown, tell_of_passed, telling_later};
use crate::http::visit::HEADER_LIMIT;
use crate::io::Link;
use crate::seam::{Arrival, TlsFacts};
use crate::session::Source;
use crate::transport::Arrivals;
use crate::transport::site::{self, Guest};

/// What a carrier makes of requests: its settings say so.
pub(in crate::transport) trait Service: Send + Sync + 'static {
    type Framing: Framing;

    /// What `request` is answered.
    fn answer(&self, request: &Request<RecvStream>) -> Answer<Self::Framing>;

    /// Who may say for whom it comes, to the inbound of a route; `None` is that it is for nobody.
    fn forwarded(&self, route: Option<usize>) -> &Forwarded;

    /// When the peer is asked whether it is there.
    fn pings(&self) -> Option<Pings>;

    /// Whether only a tunnel asks by `method`; looked at where a site is behind the same door.
    fn is_tunnels(&self, _method: &Method, _route: usize) -> bool {
        true
    }

    /// What a connection may have at a time.
    fn bounds(&self) -> Bounds {
        Bounds {
            streams: MAX_STREAMS,
            stream_window: STREAM_WINDOW,
            connection_window: CONNECTION_WINDOW,
        }
    }
}

/// What a connection may have at a time.
pub(in crate::transport) struct Bounds {
    streams: u32,
    stream_window: u32,
    connection_window: u32,
}

/// The service of a connection that brings no tunnels: all that it asks is for a site.
#[derive(Debug, Default)]
pub(in crate::transport) struct NoTunnel {
    forwarded: Forwarded,
}

impl Service for NoTunnel {
    type Framing = Plain;

    fn answer(&self, _request: &Request<RecvStream>) -> Answer<Plain> {
        let mut head = Response::new(());
        *head.status_mut() = StatusCode::NOT_FOUND;
        let unfit = Unfit::Plain;
        Answer::Refused { head, unfit }
    }

    fn forwarded(&self, _route: Option<usize>) -> &Forwarded {
        &self.forwarded
    }

    fn pings(&self) -> Option<Pings> {
        None
    }

    /// As web servers have it.
    fn bounds(&self) -> Bounds {
        Bounds {
            streams: 128,
            stream_window: 256 * 1024,
            connection_window: 1024 * 1024,
        }
    }
}

/// The server side of a carrier.
pub struct Inbound<S>(Arc<S>);

/// What a request is answered.
pub(in crate::transport) enum Answer<F> {
    /// It is a link, of one of the inbounds that share the connection.
    Granted {
        head: Response<()>,
        framing: F,
        route: usize,
    },
    /// It is none, and why not.
    Refused { head: Response<()>, unfit: Unfit },
}

impl<F> Answer<F> {
    /// With another framing.
    pub(in crate::transport) fn map<G>(self, framed: impl FnOnce(F) -> G) -> Answer<G> {
        match self {
            Self::Granted {
                head,
                framing,
                route,
            } => Answer::Granted {
                head,
                framing: framed(framing),
                route,
            },
            Self::Refused { head, unfit } => Answer::Refused { head, unfit },
        }
    }

    fn route(&self) -> Option<usize> {
        match self {
            Self::Granted { route, .. } => Some(*route),
            Self::Refused { .. } => None,
        }
    }
}

/// A connection without streams is let go after this.
const IDLE: Duration = Duration::from_secs(300);

/// How often that is looked at.
const LOOK: Duration = Duration::from_secs(60);

#[expect(
    private_bounds,
    reason = "the settings of the two carriers are the only ones"
)]
impl<S: Service> Inbound<S> {
    /// A server of these settings.
    pub fn new(settings: S) -> Self {
        Self(Arc::new(settings))
    }

    /// Waits for the beginning of HTTP/2; the links of its streams come from what is given back. Requests that are none
    /// go to the site that `guest` visits; without one they are refused, and `tell` is told.
    ///
    /// # Errors
    ///
    /// When something else comes.
    pub async fn accept(
        &self,
        arrival: Arrival,
        tell: &Tell,
        guest: Option<Arc<Guest>>,
    ) -> Result<Arrivals, AcceptError> {
        accept(self.0.clone(), arrival, tell.clone(), guest).await
    }

    /// Whether a request from `source` may name somebody else as its source, and be believed.
    pub fn may_speak_for_others(&self, source: Source) -> bool {
        self.0.forwarded(None).may_believe(source)
    }

    /// Whether many people may come from `source`, so that it must not be counted as one of them.
    pub fn is_shared(&self, source: Source) -> bool {
        self.0.forwarded(None).is_shared(source)
    }
}

async fn accept<S: Service>(
    service: Arc<S>,
    mut arrival: Arrival,
    tell: Tell,
    guest: Option<Arc<Guest>>,
) -> Result<Arrivals, AcceptError> {
    let bounds = service.bounds();
    let mut builder = Builder::new();
    builder
        .initial_window_size(bounds.stream_window)
        .initial_connection_window_size(bounds.connection_window)
        .max_frame_size(MAX_FRAME)
        .max_header_list_size(MAX_HEADERS)
        .max_concurrent_streams(bounds.streams)
        .max_send_buffer_size(SEND_BUFFER);
    arrival.link.share();
    let shaking = builder.handshake::<_, Bytes>(arrival.link);
    let connection = match timeout_at(arrival.since + HEADER_LIMIT, shaking).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(e)) => return Err(not_http2(e).into()),
        Err(_) => return Err(RequestError::Slow(HEADER_LIMIT).into()),
    };
    let (links, due) = mpsc::channel(1);
    let origin = Origin {
        source: arrival.source,
        local: arrival.local,
        tls: arrival.tls,
        tell,
        guest,
    };
    let driver = drive(connection, service, origin, links);
    Ok(Arrivals::new(driver, due))
}

/// Where the connection came from, and who is told of requests that are no links.
struct Origin {
    source: Source,
    local: Source,
    tls: Option<Arc<TlsFacts>>,
    tell: Tell,
    guest: Option<Arc<Guest>>,
}

/// Reads the connection until it ends, and sends each new link.
async fn drive<S: Service>(
    mut connection: H2<Link, Bytes>,
    service: Arc<S>,
    origin: Origin,
    links: mpsc::Sender<(usize, Arrival)>,
) {
    let streams = Streams::default();
    let pings = connection.ping_pong();
    let mut watch = std::pin::pin!(keepalive::watch(pings, service.pings(), streams.clone()));
    let mut look = std::pin::pin!(sleep(LOOK));
    let mut used = Instant::now();
    let mut is_let_go = false;
    loop {
        tokio::select! {
            biased;
            request = connection.accept() => match request {
                Some(Ok((request, respond))) => {
                    let link = open(&*service, request, respond, &origin, &streams);
                    if let Some(link) = link && links.send(link).await.is_err() {
                        return;
                    }
                }
                Some(Err(e)) => {
                    debug!("HTTP/2 connection: {e}");
                    return;
                }
                None => return,
            },
            () = &mut watch => {
                debug!("HTTP/2 connection: no answer to a ping");
                return;
            }
            () = &mut look => {
                let now = Instant::now();
                if streams.count() > 0 {
                    used = now;
                } else if is_let_go {
                    debug!("HTTP/2 connection: it was let go and stays");
                    return;
                } else if now >= used + IDLE {
                    is_let_go = true;
                    connection.graceful_shutdown();
                }
                look.as_mut().reset(now + LOOK);
            }
        }
    }
}

/// A link to serve, or what is to be said of a request that is none.
fn open<S: Service>(
    service: &S,
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    origin: &Origin,
    streams: &Streams,
) -> Option<(usize, Arrival)> {
    let mut answer = service.answer(&request);
    let forwarded = service.forwarded(answer.route());
    let named = forwarded.client(request.headers(), origin.source);
    let source = named.unwrap_or(origin.source);
    if let Some(guest) = &origin.guest {
        let (unfit, granted) = match answer {
            Answer::Granted { route, .. } if is_plain(service, &request, route) => {
                (Some(Unfit::Plain), None)
            }
            Answer::Refused { unfit, .. } => (Some(unfit), None),
            granted => (None, Some(granted)),
        };
        // Where enough come from there, the site says so, whatever the request would have been.
        let is_admitted = origin.tell.admit(source).is_ok();
        let (unfit, granted) = (
            unfit.filter(|_| is_admitted),
            granted.filter(|_| is_admitted),
        );
        let Some(granted) = granted else {
            let mut passed = unfit.map(|unfit| RequestError::ToSite {
                method: request.method().to_string(),
                path: shown(request.uri().path()),
                unfit,
                client: source,
            });
            let answering = site::http2::answer(guest.clone(), request, respond, streams.one());
            let tell = origin.tell.clone();
            crate::io::spawn(telling_later(answering, move || {
                if let Some(passed) = passed.take() {
                    tell_of_passed(&tell, passed);
                }
            }));
            return None;
        };
        answer = granted;
    } else if matches!(answer, Answer::Granted { .. })
        && let Err(full) = origin.tell.admit(source)
    {
        let mut head = Response::new(());
        *head.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        let _ = respond.send_response(head, true);
        origin.tell.tell(full);
        return None;
    }
    match answer {
        Answer::Granted {
            head,
            framing,
            route,
        } => {
            // Who is gone has reset the stream.
            let send = respond.send_response(head, false).ok()?;
            let body = request.into_body();
            let stream = Http2Stream::server(framing, send, body, streams.one());
            let arrival = Arrival {
                link: Link::other(stream),
                source,
                local: origin.local,
                original_dst: None,
                tls: origin.tls.clone(),
                since: Instant::now(),
            };
            Some((route, arrival))
        }
        Answer::Refused { head, unfit } => {
            let said = RequestError::Refused {
                method: request.method().to_string(),
                path: request.uri().path().escape_debug().to_string(),
                status: head.status().as_u16(),
                unfit,
                client: source,
            };
            let _ = respond.send_response(head, true);
            origin.tell.tell(said);
            None
        }
    }
}

/// Whether a request for the tunnel's own place is one as anybody sends them: a tunnel has a body, and nobody knows how
/// long it will be.
fn is_plain<S: Service>(service: &S, request: &Request<RecvStream>, route: usize) -> bool {
    let is_bounded = request.headers().contains_key(CONTENT_LENGTH);
    is_bounded || request.body().is_end_stream() || !service.is_tunnels(request.method(), route)
}

fn not_http2(error: ::h2::Error) -> RequestError {
    if !error.is_io() {
        return RequestError::Malformed("this is no HTTP/2".to_owned());
    }
    match error.into_io() {
        Some(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => RequestError::Closed,
        Some(e) => RequestError::Broken(e),
        None => RequestError::Closed,
    }
}
