//! A plain request on its way through: to a session of its own, and the response back.

use std::sync::Arc;

use http::header::{TE, TRAILER, UPGRADE};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode, Version};
use http_body_util::BodyExt;
use hyper::body::{Body as _, Incoming};
use hyper::client::conn::http1::Builder;
use hyper::upgrade;
use hyper_util::rt::TokioIo;
use tokio::sync::{mpsc, oneshot};
use tracing::debug;

use super::inbound::{Body, MAX_HEADERS, Then, refusal};
use super::{expected, head, page};
use crate::address::Destination;
use crate::http::head::has_token;
use crate::io::{Link, pipe};
use crate::protocol::Accepted;
use crate::seam::Reply;
use crate::session::User;

/// Bytes on their way between hyper and a session, in each direction.
const PIPE: usize = 64 * 1024;

/// The most that the head of a response may take.
const MAX_HEAD: usize = 256 * 1024;

/// Who asks, as far as the answer depends on it.
pub(super) struct Client {
    version: Version,
    is_head: bool,
    /// Whether it takes headers behind a body.
    trailers: bool,
    /// Whether it is told why there is no response, and if so, whether by a page.
    page: Option<bool>,
}

impl Client {
    pub(super) fn of(request: &Parts, is_told: bool) -> Self {
        Self {
            version: request.version,
            is_head: request.method == Method::HEAD,
            trailers: has_token(&request.headers, &TE, "trailers"),
            page: is_told.then(|| page::wants_html(&request.headers)),
        }
    }
}

/// Sends `request` through a new session to `to`. Bodies stream both ways.
pub(super) async fn forward(
    request: Request<Incoming>,
    user: Option<Arc<User>>,
    to: Destination,
    sessions: &mpsc::Sender<Accepted>,
    client: Client,
) -> (Response<Body>, Option<Then>) {
    let upgrades = request.headers().contains_key(UPGRADE);
    let (page, why) = oneshot::channel();
    let reply = client.page.map(|is_html| -> Box<dyn Reply> {
        Box::new(page::ToRequest {
            to: to.clone(),
            is_html,
            page,
        })
    });
    match send(request, user, to.clone(), sessions, reply).await {
        Some(mut response) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
            if !upgrades {
                return (refusal(StatusCode::BAD_GATEWAY, "unasked upgrade"), None);
            }
            let server = upgrade::on(&mut response);
            let (mut head, body) = response.into_parts();
            head::strip(&mut head.headers);
            head.version = Version::HTTP_11;
            let response = Response::from_parts(head, body.boxed_unsync());
            (response, Some(Then::Splice(server)))
        }
        Some(response) if !head::is_in_chunks_alone(response.headers()) => {
            let text = format!("{to} answered in a coding that is not understood");
            (refusal(StatusCode::SERVICE_UNAVAILABLE, &text), None)
        }
        Some(response) => (answer(response, &client), None),
        // V2Ray's answer; the reason is in our log, where the session ended.
        None => {
            if let Ok(page) = why.await {
                return (page.response(), None);
            }
            let text = format!("no answer from {to}");
            (refusal(StatusCode::SERVICE_UNAVAILABLE, &text), None)
        }
    }
}

async fn send(
    request: Request<Incoming>,
    user: Option<Arc<User>>,
    to: Destination,
    sessions: &mpsc::Sender<Accepted>,
    reply: Option<Box<dyn Reply>>,
) -> Option<Response<Incoming>> {
    let (near, far) = pipe(PIPE);
    let asked = Accepted::Request {
        user,
        to,
        link: Link::other(far),
        attributes: head::attributes(&request),
        reply,
    };
    sessions.send(asked).await.ok()?;
    let (mut sender, connection) = Builder::new()
        .preserve_header_case(true)
        .max_buf_size(MAX_HEAD)
        .max_headers(MAX_HEADERS)
        // As Go reads them.
        .ignore_invalid_headers_in_responses(true)
        .allow_obsolete_multiline_headers_in_responses(true)
        .handshake(TokioIo::new(near))
        .await
        .ok()?;
    // It ends with the response, or when the client goes away and drops the body.
    crate::io::spawn(connection.with_upgrades());
    sender
        .send_request(expected::held_back(request))
        .await
        .inspect_err(|e| debug!(error = %e, "no response to a plain request"))
        .ok()
}

/// The server's response as the client gets it.
fn answer(response: Response<Incoming>, client: &Client) -> Response<Body> {
    let (mut head, body) = response.into_parts();
    let length = body.size_hint().exact();
    head::forward_response(&mut head, length, client.is_head);
    if !client.trailers {
        head.headers.remove(TRAILER);
    }
    if length.is_none() && client.version == Version::HTTP_10 {
        // Only the end of the connection tells such a client where the body ends, and hyper ends it behind a
        // response of its version.
        head.version = Version::HTTP_10;
    }
    Response::from_parts(head, body.boxed_unsync())
}
