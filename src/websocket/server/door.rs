//! What comes before the WebSocket: TLS, and HTTP.
//!
//! | request | answer |
//! |---|---|
//! | for a path that is not served | 404 |
//! | of a page whose origin is not taken | 403 |
//! | an upgrade | 101 |
//! | POST, where there are rooms | the first message that comes back; 503 nobody is there, 504 nobody answers, 429 too many call |
//! | OPTIONS of a page, where there are rooms | 204: it may POST |
//! | GET | 400, or 426 of another version, with `Sec-WebSocket-Version: 13` |
//! | any other | 405 |

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, ALLOW,
    CONNECTION, CONTENT_TYPE, HeaderValue, ORIGIN, RETRY_AFTER, SEC_WEBSOCKET_PROTOCOL, VARY,
};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use percent_encoding::percent_decode_str;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit, watch};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};
use tracing::debug;

use super::held::Kept;
use super::rooms::{NoAnswer, TURN};
use super::{Event, Mode, Shared, member};
use crate::http::granting::{key, not_asked_for, switch};
use crate::http::head::items;
use crate::seam::Arrival;
use crate::session::Source;
use crate::websocket::MAX_MESSAGE;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// How long a head may take to arrive, the silence before it included.
const HEAD_LIMIT: Duration = Duration::from_secs(10);

/// The most that is kept of a head.
const MAX_HEAD: usize = 16 * 1024;

/// Long bodies of calls that are read at one time, what is long, and how long any may take.
pub(super) const BODIES: usize = 8;
const LONG_BODY: usize = 64 * 1024;
const BODY_LIMIT: Duration = Duration::from_secs(20);

/// How long an answer may take to be read.
const ANSWER_LIMIT: Duration = Duration::from_secs(120);

/// Takes a connection as far as it goes. `place` is one among all connections.
pub(super) async fn receive(
    shared: Arc<Shared>,
    arrival: Arrival,
    place: Arc<OwnedSemaphorePermit>,
) {
    let Arrival {
        mut link,
        source,
        since,
        ..
    } = arrival;
    if let Some(tls) = &shared.tls {
        match tls.accept(link, since).await {
            Ok((sealed, _)) => link = sealed,
            Err(e) => return debug!(from = %source, "no TLS: {e}"),
        }
    }
    // Until when the answer that was given last is to be read.
    let (until, mut until_then) = watch::channel(None::<Instant>);
    let service = service_fn(|mut request: Request<Incoming>| {
        let until = &until;
        until.send_replace(None);
        let (shared, place) = (shared.clone(), place.clone());
        async move {
            let target = request
                .uri()
                .path_and_query()
                .map_or("/", |all| all.as_str());
            let line = format!("{} {target}", request.method());
            (shared.tell)(Event::Asked(source, &line, request.headers()));
            let name = percent_decode_str(request.uri().path());
            let name = name.decode_utf8_lossy().into_owned();
            let answer = match look(&shared, source, &name, &request) {
                Found::Answer(answer) => answer,
                Found::Call => call(&shared, &name, request).await,
                Found::Upgrade(answer) => {
                    let upgraded = hyper::upgrade::on(&mut request);
                    let shared = shared.clone();
                    crate::io::spawn(async move {
                        if let Ok(upgraded) = upgraded.await {
                            let io = TokioIo::new(upgraded);
                            member::serve(&shared, io, source, &name).await;
                        }
                        drop(place);
                    });
                    answer
                }
            };
            (shared.tell)(Event::Answered(
                source,
                answer.status().as_u16(),
                answer.headers(),
            ));
            until.send_replace(Some(Instant::now() + ANSWER_LIMIT));
            Ok::<_, Infallible>(answer)
        }
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_LIMIT)
        .max_buf_size(MAX_HEAD)
        .title_case_headers(true)
        .serve_connection(TokioIo::new(link), service)
        .with_upgrades();
    let unread = async {
        loop {
            let at = *until_then.borrow_and_update();
            tokio::select! {
                _ = until_then.changed() => {}
                () = sleep_until(at.unwrap_or_else(Instant::now)), if at.is_some() => return,
            }
        }
    };
    let mut stopping = shared.stopping.clone();
    tokio::select! {
        served = serving => if let Err(e) = served {
            debug!(from = %source, "a connection ended: {e}");
        },
        () = unread => debug!(from = %source, "an answer was not read in time"),
        _ = stopping.changed() => {}
    }
}

/// What a request comes to.
enum Found {
    Answer(Response<Full<Bytes>>),
    Upgrade(Response<Full<Bytes>>),
    Call,
}

fn look(shared: &Shared, source: Source, name: &str, request: &Request<Incoming>) -> Found {
    let settings = &shared.settings;
    let is_served = settings.path.as_deref().is_none_or(|path| {
        let own = percent_decode_str(path).decode_utf8_lossy();
        let behind = name.strip_prefix(own.trim_end_matches('/'));
        name == own
            || (settings.mode == Mode::Hub && behind.is_some_and(|rest| rest.starts_with('/')))
    });
    if !is_served {
        return Found::Answer(text(StatusCode::NOT_FOUND, "nothing is at this path"));
    }
    if let Some(origin) = request.headers().get(ORIGIN) {
        let origin = String::from_utf8_lossy(origin.as_bytes());
        if settings
            .origins
            .as_ref()
            .is_some_and(|origins| !origins.take(&origin))
        {
            (shared.tell)(Event::Foreign(source, &origin));
            let said = "pages of this origin are not taken";
            return Found::Answer(text(StatusCode::FORBIDDEN, said));
        }
    }
    if let Some(key) = key(request) {
        let protocol = agreed(request.headers(), &settings.protocols);
        return Found::Upgrade(switch(key, protocol));
    }
    match *request.method() {
        Method::POST if settings.mode == Mode::Hub => Found::Call,
        Method::OPTIONS if settings.mode == Mode::Hub && request.headers().contains_key(ORIGIN) => {
            Found::Answer(may_post(request.headers()))
        }
        Method::GET => Found::Answer(not_asked_for(request)),
        _ => {
            let mut answer = text(
                StatusCode::METHOD_NOT_ALLOWED,
                "a WebSocket is opened by GET",
            );
            let allowed = match settings.mode {
                Mode::Hub => "GET, POST",
                _ => "GET",
            };
            let headers = answer.headers_mut();
            headers.insert(ALLOW, HeaderValue::from_static(allowed));
            Found::Answer(answer)
        }
    }
}

/// The subprotocol: the first of ours that is offered, or where nothing is said the first that is.
fn agreed(asked: &HeaderMap, ours: &[HeaderValue]) -> Option<HeaderValue> {
    let mut offered = items(asked, &SEC_WEBSOCKET_PROTOCOL);
    if ours.is_empty() {
        return HeaderValue::from_bytes(offered.next()?).ok();
    }
    let offered: Vec<&[u8]> = offered.collect();
    let find = |one: &&HeaderValue| offered.contains(&one.as_bytes());
    ours.iter().find(find).cloned()
}

/// Says a body in a room, and answers with what comes back.
async fn call(shared: &Shared, name: &str, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let origin = request.headers().get(ORIGIN).cloned();
    let mut answer = match answer_to(shared, name, request).await {
        Ok(kept) => {
            let (body, kind) = counted(kept);
            whole(body, kind)
        }
        Err((status, said)) => {
            let mut answer = text(status, said);
            let headers = answer.headers_mut();
            if status == StatusCode::TOO_MANY_REQUESTS {
                headers.insert(RETRY_AFTER, HeaderValue::from_static("10"));
            }
            // What was not read of a body is not the next request.
            if matches!(
                status,
                StatusCode::PAYLOAD_TOO_LARGE
                    | StatusCode::REQUEST_TIMEOUT
                    | StatusCode::TOO_MANY_REQUESTS
            ) {
                headers.insert(CONNECTION, HeaderValue::from_static("close"));
            }
            answer
        }
    };
    let_in(&mut answer, origin);
    answer
}

/// What a browser asks before a page of another origin may say bytes.
fn may_post(asked: &HeaderMap) -> Response<Full<Bytes>> {
    let mut answer = Response::new(Full::default());
    *answer.status_mut() = StatusCode::NO_CONTENT;
    let_in(&mut answer, asked.get(ORIGIN).cloned());
    let headers = answer.headers_mut();
    let methods = HeaderValue::from_static("POST");
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, methods);
    let names = HeaderValue::from_static("Content-Type");
    headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, names);
    answer
}

/// A page of this origin may read the answer.
fn let_in(answer: &mut Response<Full<Bytes>>, origin: Option<HeaderValue>) {
    let headers = answer.headers_mut();
    headers.insert(VARY, HeaderValue::from_static("Origin"));
    if let Some(origin) = origin {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    }
}

/// Whether a body is called bytes, whatever parameters its type has.
fn is_bytes(headers: &HeaderMap) -> bool {
    let kind = headers
        .get(CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok());
    let essence = kind.and_then(|kind| kind.split(';').next());
    essence.is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/octet-stream"))
}

/// The body of an answer, which is counted until it is sent.
struct Counted {
    bytes: Bytes,
    _kept: Kept,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

fn counted(kept: Kept) -> (Bytes, &'static str) {
    let kind = match &kept.message {
        Message::Text(_) => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    };
    let body = Counted {
        bytes: kept.message.clone().into_data(),
        _kept: kept,
    };
    (Bytes::from_owner(body), kind)
}

async fn answer_to(
    shared: &Shared,
    name: &str,
    request: Request<Incoming>,
) -> Result<Kept, (StatusCode, &'static str)> {
    const NOBODY: (StatusCode, &str) = (StatusCode::SERVICE_UNAVAILABLE, "nobody is in this room");
    const LATE: (StatusCode, &str) = (
        StatusCode::GATEWAY_TIMEOUT,
        "others call this room, and its turn has not come in 60 s",
    );
    let is_bytes = is_bytes(request.headers());
    let no_answer = |why| match why {
        NoAnswer::Nobody => NOBODY,
        NoAnswer::Silent => (StatusCode::GATEWAY_TIMEOUT, "nobody answered in 10 s"),
        NoAnswer::Late => LATE,
        NoAnswer::Busy => (
            StatusCode::TOO_MANY_REQUESTS,
            "64 others wait for their turn in this room",
        ),
    };
    let place = shared.rooms.find(name).ok_or(NOBODY)?;
    let waiting = place.room.line_up().map_err(no_answer)?;
    let reading = read(request.into_body(), &shared.bodies);
    let read = timeout(BODY_LIMIT, reading).await;
    let slow = (StatusCode::REQUEST_TIMEOUT, "the body did not come in time");
    let (body, reading) =
        read.map_err(|_| slow)?
            .map_err(|e| match e.is::<http_body_util::LengthLimitError>() {
                true => (
                    StatusCode::PAYLOAD_TOO_LARGE,
                    "a message has at most 16 MiB",
                ),
                false => (StatusCode::BAD_REQUEST, "the body cannot be read"),
            })?;
    let message = match Utf8Bytes::try_from(body.clone()) {
        Ok(text) if !is_bytes => Message::Text(text),
        _ => Message::Binary(body),
    };
    let message = timeout(TURN, shared.held.hold(message)).await;
    let message = message.map_err(|_| LATE)?;
    drop(reading);
    let answer = place.room.call(waiting, &message).await;
    answer.map_err(no_answer)
}

/// Reads a body; a long one has a place among those that are read, until it is counted elsewhere.
async fn read(
    body: Incoming,
    places: &Semaphore,
) -> Result<(Bytes, Option<SemaphorePermit<'_>>), BoxError> {
    let mut body = Limited::new(body, MAX_MESSAGE);
    let (mut bytes, mut place) = (BytesMut::new(), None);
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else {
            continue;
        };
        if place.is_none() && bytes.len() + data.len() > LONG_BODY {
            place = Some(places.acquire().await?);
        }
        bytes.extend_from_slice(&data);
    }
    Ok((bytes.freeze(), place))
}

/// An answer in one line, as whoever types `curl` wants it.
fn text(status: StatusCode, said: &str) -> Response<Full<Bytes>> {
    let mut answer = whole(format!("{said}\n").into(), "text/plain; charset=utf-8");
    *answer.status_mut() = status;
    answer
}

fn whole(body: Bytes, kind: &'static str) -> Response<Full<Bytes>> {
    let mut answer = Response::new(Full::new(body));
    let kind = HeaderValue::from_static(kind);
    answer.headers_mut().insert(CONTENT_TYPE, kind);
    answer
}
