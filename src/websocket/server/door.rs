//! What comes before the WebSocket: TLS, and HTTP.
//!
//! | request | answer |
//! |---|---|
//! | for a path that is not served | 404 |
//! | of a page whose origin is not taken | 403 |
//! | an upgrade | 101 |
//! | POST, where there are rooms | the first message that comes back; 503 nobody is there, 504 nobody answers |
//! | GET | 400 with `Sec-WebSocket-Version: 13` |
//! | any other | 405 |

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, ALLOW, CONNECTION, CONTENT_TYPE, HeaderValue, ORIGIN, RETRY_AFTER,
    SEC_WEBSOCKET_PROTOCOL,
};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use percent_encoding::percent_decode_str;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};
use tracing::debug;

use super::rooms::NoAnswer;
use super::{Event, Mode, Shared, member};
use crate::http::granting::{key, not_asked_for, switch};
use crate::http::head::items;
use crate::seam::Arrival;
use crate::session::Source;
use crate::websocket::MAX_MESSAGE;

/// How long a head may take to arrive, the silence before it included.
const HEAD_LIMIT: Duration = Duration::from_secs(10);

/// Bodies of calls that are read at one time, and how long one may take.
pub(super) const BODIES: usize = 8;
const BODY_LIMIT: Duration = Duration::from_secs(20);

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
    let service = service_fn(|mut request: Request<Incoming>| {
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
            Ok::<_, Infallible>(answer)
        }
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_LIMIT)
        .title_case_headers(true)
        .serve_connection(TokioIo::new(link), service)
        .with_upgrades();
    let mut stopping = shared.stopping.clone();
    tokio::select! {
        served = serving => if let Err(e) = served {
            debug!(from = %source, "a connection ended: {e}");
        },
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
        Method::GET => Found::Answer(not_asked_for()),
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
        Ok(Message::Text(text)) => whole(text.into(), "text/plain; charset=utf-8"),
        Ok(message) => whole(message.into_data(), "application/octet-stream"),
        Err((status, said)) => {
            let mut answer = text(status, said);
            let headers = answer.headers_mut();
            if status == StatusCode::TOO_MANY_REQUESTS {
                headers.insert(RETRY_AFTER, HeaderValue::from_static("10"));
            }
            // What was not read of a body is not the next request.
            if matches!(
                status,
                StatusCode::PAYLOAD_TOO_LARGE | StatusCode::REQUEST_TIMEOUT
            ) {
                headers.insert(CONNECTION, HeaderValue::from_static("close"));
            }
            answer
        }
    };
    if let Some(origin) = origin {
        answer
            .headers_mut()
            .insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    }
    answer
}

async fn answer_to(
    shared: &Shared,
    name: &str,
    request: Request<Incoming>,
) -> Result<Message, (StatusCode, &'static str)> {
    const NOBODY: (StatusCode, &str) = (StatusCode::SERVICE_UNAVAILABLE, "nobody is in this room");
    let is_bytes = request.headers().get(CONTENT_TYPE);
    let is_bytes = is_bytes.is_some_and(|kind| kind == "application/octet-stream");
    let place = shared.rooms.find(name).ok_or(NOBODY)?;
    let reading = async {
        let _turn = shared.bodies.acquire().await;
        Limited::new(request.into_body(), MAX_MESSAGE)
            .collect()
            .await
    };
    let read = timeout(BODY_LIMIT, reading).await;
    let slow = (StatusCode::REQUEST_TIMEOUT, "the body did not come in time");
    let body =
        read.map_err(|_| slow)?
            .map_err(|e| match e.is::<http_body_util::LengthLimitError>() {
                true => (
                    StatusCode::PAYLOAD_TOO_LARGE,
                    "a message has at most 16 MiB",
                ),
                false => (StatusCode::BAD_REQUEST, "the body cannot be read"),
            })?;
    let body = body.to_bytes();
    let message = match Utf8Bytes::try_from(body.clone()) {
        Ok(text) if !is_bytes => Message::Text(text),
        _ => Message::Binary(body),
    };
    let message = shared.held.hold(message).await;
    match place.room.call(&message).await {
        Ok(kept) => Ok(kept.message),
        Err(NoAnswer::Nobody) => Err(NOBODY),
        Err(NoAnswer::Silent) => Err((StatusCode::GATEWAY_TIMEOUT, "nobody answered in 10 s")),
        Err(NoAnswer::Busy) => Err((StatusCode::TOO_MANY_REQUESTS, "others call this room")),
    }
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
