//! The server side. One connection may carry plain requests to many hosts, and end in a tunnel.
//!
//! hyper reads the requests. A CONNECT takes the connection out of its hands again: what is left is
//! the bare link and the bytes that were read ahead.

use std::convert::Infallible;
use std::future::{pending, poll_fn};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::header::PROXY_AUTHENTICATE;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body as _, Incoming};
use hyper::ext::ReasonPhrase;
use hyper::server::conn::http1::{Builder, Connection};
use hyper::service::Service;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::copy_bidirectional;
use tokio::sync::mpsc;
use tokio::time::sleep_until;
use tracing::debug;

use super::lenient::LenientHeads;
use super::{GOST_PROTOCOL, InboundSettings, head, page, plain};
use crate::address::Destination;
use crate::cause::{FlightError, HttpProxyError, ProtocolError};
use crate::io::{Link, PacketStream, Prefixed};
use crate::protocol::accounts::{Accounts, anonymous, known};
use crate::protocol::relay::packets::OfMany;
use crate::protocol::{Accepted, Grant, InboundContext};
use crate::seam::{Arrival, Refusal, Reply};
use crate::session::User;

pub struct Inbound {
    rules: Arc<Rules>,
}

/// Who may ask for what.
struct Rules {
    /// Empty: anyone.
    accounts: Accounts,
    level: u32,
    /// Who comes without an account.
    anonymous: Option<Arc<User>>,
    transparent: bool,
    udp_tunnel: bool,
    grant: Grant,
}

/// The most that the head of a request may take.
pub(super) const MAX_HEAD: usize = 256 * 1024;

/// The most headers that a head may have.
pub(super) const MAX_HEADERS: usize = 1000;

impl Inbound {
    pub fn new(settings: &InboundSettings) -> Self {
        Self {
            rules: Arc::new(Rules {
                accounts: Accounts::new(&settings.accounts, settings.level),
                level: settings.level,
                anonymous: anonymous(settings.level),
                transparent: settings.transparent,
                udp_tunnel: settings.udp_tunnel,
                grant: settings.grant,
            }),
        }
    }

    pub async fn accept(
        &self,
        arrival: Arrival,
        context: &InboundContext,
    ) -> Result<Accepted, Refusal> {
        let (sessions, asked) = mpsc::channel(1);
        let proxy = Proxy {
            rules: self.rules.clone(),
            waits: self.rules.grant.waits(arrival.source, arrival.local),
            sessions,
            next: Next::default(),
        };
        let limit = context.policy.level(self.rules.level).handshake;
        let mut served = Served::new(arrival.link, proxy, limit);
        // hyper's own limit begins when it first looks, and the first byte may have been waited for.
        let mut first = pin!(sleep_until(arrival.since + limit));
        let end = poll_fn(|cx| match served.connection.poll_without_shutdown(cx) {
            Poll::Ready(end) => Poll::Ready(Asked::End(end)),
            Poll::Pending if served.next.is_unanswered() => Poll::Ready(Asked::End(Ok(()))),
            // A plain request has come, and waits for its session.
            Poll::Pending if !asked.is_empty() => Poll::Ready(Asked::Plainly),
            Poll::Pending if served.is_unasked() => {
                first.as_mut().poll(cx).map(|()| Asked::Nothing)
            }
            Poll::Pending => Poll::Pending,
        });
        let end = match end.await {
            Asked::End(end) => end,
            Asked::Plainly => {
                // Requests pass through hyper, which needs a task; a tunnel costs none.
                crate::io::spawn(served.run());
                return Ok(Accepted::Sessions(asked));
            }
            Asked::Nothing => {
                served.into_parts().0.close().await;
                return Err(Refusal::done(FlightError::NoRequest {
                    what: "HTTP",
                    limit,
                }));
            }
        };
        match (end, served.next.take()) {
            (Ok(()), Some(Then::Tunnel { user, to, reply })) => Ok(Accepted::Stream {
                user,
                to,
                link: served.into_link(),
                reply,
            }),
            (Ok(()), Some(Then::Packets { user })) => Ok(datagrams(user, served.into_link())),
            (end, then) => {
                let (link, ahead) = served.into_parts();
                link.close().await;
                Err(match then {
                    Some(Then::End(user, refused)) => {
                        known(user.as_deref(), Refusal::done(ProtocolError::from(refused)))
                    }
                    _ => {
                        let cause = ProtocolError::from(reason(end.err(), &ahead));
                        Refusal::done(cause.or_other(&ahead))
                    }
                })
            }
        }
    }
}

/// How the wait for a request ended.
enum Asked {
    /// By a tunnel, a refusal, or because the client went away.
    End(hyper::Result<()>),
    Plainly,
    /// Nothing has come in time.
    Nothing,
}

/// A connection that hyper serves.
struct Served {
    connection: Connection<TokioIo<LenientHeads>, Proxy>,
    sessions: mpsc::Sender<Accepted>,
    next: Next,
}

/// What becomes of a connection when hyper has written its last answer.
pub(super) enum Then {
    /// CONNECT: it is the client's, bare.
    Tunnel {
        user: Option<Arc<User>>,
        to: Destination,
        /// Where it was not answered: hyper has nothing to say any more.
        reply: Option<Box<dyn Reply>>,
    },
    /// CONNECT, for datagrams inside.
    Packets { user: Option<Arc<User>> },
    /// An upgrade by a plain request: it is joined with the connection to the server.
    Splice(OnUpgrade),
    /// The last request, of this user, was refused, for this reason; there may be another.
    End(Option<Arc<User>>, HttpProxyError),
}

/// What the answer to the last request has decided.
#[derive(Clone, Default)]
pub(crate) struct Next(Arc<Mutex<Option<Then>>>);

impl Next {
    fn set(&self, then: Option<Then>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = then;
    }

    pub(super) fn take(&self) -> Option<Then> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Whether nothing was decided yet.
    fn is_open(&self) -> bool {
        let then = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        then.is_none()
    }

    /// Whether a CONNECT waits for its outcome.
    fn is_unanswered(&self) -> bool {
        let then = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        matches!(*then, Some(Then::Tunnel { reply: Some(_), .. }))
    }

    /// Whether another request may follow the last one, though that wanted a tunnel.
    pub(super) fn was_refused(&self) -> bool {
        let then = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        matches!(*then, Some(Then::End(..)))
    }
}

impl Served {
    fn new(link: Link, proxy: Proxy, limit: Duration) -> Self {
        // A response may have no other end than the connection's.
        link.begun();
        let link = LenientHeads::new(link, proxy.next.clone());
        Self {
            sessions: proxy.sessions.clone(),
            next: proxy.next.clone(),
            connection: Builder::new()
                .timer(TokioTimer::new())
                // Between two requests as well.
                .header_read_timeout(limit)
                .max_buf_size(MAX_HEAD)
                .max_headers(MAX_HEADERS)
                .preserve_header_case(true)
                .auto_date_header(false)
                .half_close(true)
                .serve_connection(TokioIo::new(link), proxy),
        }
    }

    /// Whether no request was answered yet.
    fn is_unasked(&self) -> bool {
        self.next.is_open()
    }

    /// Serves until the client has no more to ask, or nobody takes its sessions any more.
    async fn run(mut self) {
        let sessions = self.sessions.clone();
        let end = tokio::select! {
            end = poll_fn(|cx| match self.connection.poll_without_shutdown(cx) {
                Poll::Pending if self.next.is_unanswered() => Poll::Ready(Ok(())),
                other => other,
            }) => end,
            () = sessions.closed() => return,
        };
        if let Err(e) = &end {
            debug!(error = %e, "the HTTP client's connection ended");
        }
        match self.next.take() {
            Some(Then::Tunnel { user, to, reply }) => {
                let accepted = Accepted::Stream {
                    user,
                    to,
                    link: self.into_link(),
                    reply,
                };
                let _ = sessions.send(accepted).await;
            }
            Some(Then::Packets { user }) => {
                let accepted = datagrams(user, self.into_link());
                let _ = sessions.send(accepted).await;
            }
            Some(Then::Splice(server)) => {
                let Ok(server) = server.await else { return };
                let mut client = self.into_link();
                // Idle ends are found by the session behind `server`.
                let copied = copy_bidirectional(&mut client, &mut TokioIo::new(server)).await;
                match copied {
                    Ok(_) => client.finished(),
                    Err(_) => client.abort().await,
                }
            }
            // The response broke off.
            _ if end.is_err_and(|e| e.is_user()) => self.into_parts().0.abort().await,
            Some(Then::End(..)) | None => self.into_parts().0.close().await,
        }
    }

    fn into_link(self) -> Link {
        let (link, ahead) = self.into_parts();
        Prefixed::link(ahead, link)
    }

    /// The link, and what was read from it and not understood.
    fn into_parts(self) -> (Link, Bytes) {
        let parts = self.connection.into_parts();
        let (link, behind) = parts.io.into_inner().into_parts();
        match behind.is_empty() {
            true => (link, parts.read_buf),
            false => (link, [parts.read_buf, behind].concat().into()),
        }
    }
}

/// Answers the requests of one connection.
struct Proxy {
    rules: Arc<Rules>,
    /// Whether the client hears of the outcome.
    waits: bool,
    sessions: mpsc::Sender<Accepted>,
    next: Next,
}

pub(super) type Body = UnsyncBoxBody<Bytes, hyper::Error>;

impl Service<Request<Incoming>> for Proxy {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let rules = self.rules.clone();
        let sessions = self.sessions.clone();
        let last = self.next.clone();
        let waits = self.waits;
        Box::pin(async move {
            let (answer, next) = rules.answer(request, &sessions, waits).await;
            last.set(next);
            if last.is_unanswered() {
                // Whoever opens the way answers.
                pending::<()>().await;
            }
            Ok(answer)
        })
    }
}

impl Rules {
    async fn answer(
        &self,
        request: Request<Incoming>,
        sessions: &mpsc::Sender<Accepted>,
        waits: bool,
    ) -> (Response<Body>, Option<Then>) {
        let user = head::user(&self.accounts, request.headers());
        if user.is_none() && !self.accounts.is_empty() {
            let mut answer = refusal(StatusCode::PROXY_AUTHENTICATION_REQUIRED, "");
            let basic = HeaderValue::from_static(r#"Basic realm="proxy""#);
            answer.headers_mut().insert(PROXY_AUTHENTICATE, basic);
            return (answer, Some(Then::End(None, HttpProxyError::Credentials)));
        }
        let user = user.or_else(|| self.anonymous.clone());
        let (mut request, body) = request.into_parts();
        if request.method == Method::CONNECT && wants_datagrams(&request.headers) {
            return match self.udp_tunnel {
                true => (established(), Some(Then::Packets { user })),
                false => {
                    let text = "UDP inside a CONNECT is not switched on (`udpTunnel`)".to_owned();
                    let answer = refusal(StatusCode::FORBIDDEN, &text);
                    (answer, Some(Then::End(user, HttpProxyError::Target(text))))
                }
            };
        }
        if request.method == Method::CONNECT {
            let to = request.uri.authority().ok_or("no target".to_owned());
            return match to.and_then(|to| head::destination(to, 443)) {
                Ok(to) => {
                    let reply: Option<Box<dyn Reply>> = match waits {
                        true => Some(Box::new(page::ToConnect {
                            to: to.clone(),
                            version: request.version,
                            is_html: page::wants_html(&request.headers),
                        })),
                        false => None,
                    };
                    (established(), Some(Then::Tunnel { user, to, reply }))
                }
                Err(text) => (
                    refusal(StatusCode::BAD_REQUEST, &text),
                    Some(Then::End(user, HttpProxyError::Target(text))),
                ),
            };
        }
        // A body in another coding than chunks has no length that we know (RFC 9112, section 6.1).
        if !head::is_in_chunks_alone(&request.headers) {
            let answer = refusal(
                StatusCode::NOT_IMPLEMENTED,
                &HttpProxyError::Coding.to_string(),
            );
            return (answer, Some(Then::End(user, HttpProxyError::Coding)));
        }
        match head::target(&request, self.transparent) {
            Ok(to) => {
                let client = plain::Client::of(&request, waits);
                head::forward_request(&mut request, body.size_hint().exact());
                let request = Request::from_parts(request, body);
                plain::forward(request, user, to, sessions, client).await
            }
            Err(text) => (
                refusal(StatusCode::BAD_REQUEST, &text),
                Some(Then::End(user, HttpProxyError::Target(text))),
            ),
        }
    }
}

/// gost's word for it.
fn wants_datagrams(headers: &HeaderMap) -> bool {
    let asked = headers.get(GOST_PROTOCOL).map(HeaderValue::as_bytes);
    asked.is_some_and(|word| word.eq_ignore_ascii_case(b"udp"))
}

fn datagrams(user: Option<Arc<User>>, link: Link) -> Accepted {
    let packets = Box::new(PacketStream::new(link, OfMany));
    Accepted::Packets { user, packets }
}

fn established() -> Response<Body> {
    let mut answer = refusal(StatusCode::OK, "");
    let reason = ReasonPhrase::from_static(b"Connection established");
    answer.extensions_mut().insert(reason);
    answer
}

/// An answer of our own: a status and a line of text.
pub(super) fn refusal(status: StatusCode, text: &str) -> Response<Body> {
    let line = if text.is_empty() {
        String::new()
    } else {
        format!("{text}\n")
    };
    let body = Full::from(line).map_err(|never| match never {});
    let mut answer = Response::new(body.boxed_unsync());
    *answer.status_mut() = status;
    answer
}

/// Why a connection asked for nothing, for the log.
fn reason(e: Option<hyper::Error>, ahead: &[u8]) -> HttpProxyError {
    match (e, ahead.first()) {
        (Some(_), Some(0x04 | 0x05)) => HttpProxyError::Socks,
        (Some(e), _) => HttpProxyError::Malformed(e.to_string()),
        (None, _) => HttpProxyError::Nothing,
    }
}
