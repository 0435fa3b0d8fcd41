//! A plain request on its way through: to a session of its own, and the response back.

use std::sync::Arc;

use http::header::UPGRADE;
use http::{Request, Response, StatusCode, Version};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::client::conn::http1::Builder;
use hyper::upgrade;
use hyper_util::rt::TokioIo;
use tokio::sync::mpsc;
use tracing::debug;

use super::head;
use super::inbound::{Body, Then, refusal};
use crate::address::Destination;
use crate::io::{Link, pipe};
use crate::protocol::Accepted;
use crate::session::User;

/// Bytes on their way between hyper and a session, in each direction.
const PIPE: usize = 64 * 1024;

/// The most that the head of a response may take.
const MAX_HEAD: usize = 256 * 1024;

/// Sends `request` through a new session to `to`. Bodies stream both ways.
pub(super) async fn forward(
    request: Request<Incoming>,
    user: Option<Arc<User>>,
    to: Destination,
    sessions: &mpsc::Sender<Accepted>,
) -> (Response<Body>, Option<Then>) {
    let upgrades = request.headers().contains_key(UPGRADE);
    match send(request, user, to.clone(), sessions).await {
        Some(mut response) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
            if !upgrades {
                return (refusal(StatusCode::BAD_GATEWAY, "unasked upgrade"), None);
            }
            let server = upgrade::on(&mut response);
            (answer(response), Some(Then::Splice(server)))
        }
        Some(response) => (answer(response), None),
        // V2Ray's answer; the reason is in our log, where the session ended.
        None => {
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
) -> Option<Response<Incoming>> {
    let (near, far) = pipe(PIPE);
    let asked = Accepted::Request {
        user,
        to,
        link: Link::other(far),
        attributes: head::attributes(&request),
    };
    sessions.send(asked).await.ok()?;
    let (mut sender, connection) = Builder::new()
        .preserve_header_case(true)
        .max_buf_size(MAX_HEAD)
        .handshake(TokioIo::new(near))
        .await
        .ok()?;
    // It ends with the response, or when the client goes away and drops the body.
    tokio::spawn(connection.with_upgrades());
    sender
        .send_request(request)
        .await
        .inspect_err(|e| debug!(error = %e, "no response to a plain request"))
        .ok()
}

/// The server's response as the client gets it.
fn answer(response: Response<Incoming>) -> Response<Body> {
    let (mut head, body) = response.into_parts();
    head::strip(&mut head.headers);
    head.version = Version::HTTP_11;
    Response::from_parts(head, body.boxed_unsync())
}
