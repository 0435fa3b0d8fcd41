//! The server's side of the handshake.
//!
//! A visitor sees a web server that has nothing but one WebSocket. Requests are served one after
//! another on a kept-alive connection until one of them is the upgrade.

use std::borrow::Cow;
use std::future::{poll_fn, ready};
use std::pin::pin;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hyper::header::{
    CONNECTION, HOST, HeaderName, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION,
    UPGRADE,
};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{HeaderMap, Method, Request, StatusCode, Version};
use hyper_util::rt::{TokioIo, TokioTimer};
use percent_encoding::percent_decode_str;
use tokio::time::{sleep_until, timeout_at};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tracing::debug;

use super::codec::Role;
use super::config::{Carrier, Inbound};
use super::pages::{self, Answer};
use super::{WsStream, early_data, forwarded, malformed, manners};
use crate::io::{Arrival, Goodbye, Link, Prefixed, Refusal};
use crate::session::Source;
use crate::transport::linger::linger;

/// For a whole request header, and for the silence before it.
pub(in crate::transport) const HEADER_LIMIT: Duration = Duration::from_secs(4);

/// For all requests of a connection that never becomes a tunnel.
const VISIT_LIMIT: Duration = Duration::from_secs(300);

/// Request line and header, early data included.
const MAX_HEADER: usize = 32 * 1024;

/// A request that opens a tunnel.
struct Tunnel {
    early: Vec<u8>,
    source: Option<Source>,
    /// What it means if the client ends without a close frame.
    manners: Goodbye,
}

/// The answer to a request, and what it means.
type Outcome = (Answer, Result<Tunnel, String>);

impl Inbound {
    /// Answers the HTTP requests of one connection up to the upgrade.
    pub async fn accept(&self, arrival: Arrival) -> Result<Arrival, Refusal> {
        let until = arrival.since + VISIT_LIMIT;
        timeout_at(until, self.visit(arrival))
            .await
            .unwrap_or_else(|_| {
                let text = format!("no upgrade within {} s", VISIT_LIMIT.as_secs());
                Err(Refusal::Done(text))
            })
    }

    async fn visit(&self, mut arrival: Arrival) -> Result<Arrival, Refusal> {
        let peer = arrival.source;
        let last = Mutex::new(Err(String::new()));
        let asked = AtomicBool::new(false);
        let serve = service_fn(|request: Request<_>| {
            asked.store(true, Ordering::Relaxed);
            let (answer, outcome) = self.answer(&request, peer);
            if let Err(reason) = &outcome {
                debug!(%peer, "{reason}");
            }
            if let Ok(mut last) = last.lock() {
                *last = outcome;
            }
            ready(Ok::<_, std::convert::Infallible>(answer))
        });
        let mut connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_LIMIT)
            .max_buf_size(MAX_HEADER)
            .title_case_headers(true)
            .half_close(false)
            .serve_connection(TokioIo::new(arrival.link), serve);
        // hyper's own limit begins when it first looks, and the first byte may have been waited for.
        let mut first = pin!(sleep_until(arrival.since + HEADER_LIMIT));
        let end = poll_fn(|cx| match connection.poll_without_shutdown(cx) {
            Poll::Pending if !asked.load(Ordering::Relaxed) => {
                first.as_mut().poll(cx).map(|()| None)
            }
            end => end.map(Some),
        });
        let end = end.await;
        let (link, unread) = {
            let parts = connection.into_parts();
            (parts.io.into_inner(), parts.read_buf)
        };
        let last = last.into_inner().unwrap_or_else(|_| Err(String::new()));
        let refusal = match (last, end) {
            (Ok(tunnel), Some(Ok(()))) => {
                let link = Prefixed::link(unread, link);
                let stream = WsStream::new(link, Role::Server, self.heartbeat);
                let stream = stream.with_manners(tunnel.manners);
                arrival.link = Prefixed::link(Bytes::from(tunnel.early), Link::other(stream));
                arrival.source = tunnel.source.unwrap_or(arrival.source);
                return Ok(arrival);
            }
            // A visitor who was refused and left the connection open has said nothing else.
            (Err(reason), Some(Err(error))) if error.is_timeout() && !reason.is_empty() => reason,
            (_, None) => too_late(),
            (_, Some(Err(error))) if error.is_timeout() => too_late(),
            (_, Some(Err(error))) => {
                let what = malformed::what(&unread, MAX_HEADER);
                let what = what.unwrap_or_else(|| error.to_string());
                format!("not a proper HTTP request: {what}")
            }
            (Err(reason), Some(Ok(()))) if reason.is_empty() => {
                "closed without an HTTP request".to_owned()
            }
            (Err(reason), Some(Ok(()))) => reason,
        };
        linger(link).await;
        Err(Refusal::Done(refusal))
    }

    fn answer<B>(&self, request: &Request<B>, peer: Source) -> Outcome {
        match self.check(request, peer) {
            Ok((answer, tunnel)) => (answer, Ok(tunnel)),
            Err((status, reason)) => {
                let text = format!(
                    "{} {}: {}, {reason}",
                    request.method(),
                    request.uri().path().escape_debug(),
                    status.as_str(),
                );
                (pages::error(status), Err(text))
            }
        }
    }

    /// RFC 6455, section 4.2.1, in the order in which a web server would notice.
    fn check<B>(
        &self,
        request: &Request<B>,
        peer: Source,
    ) -> Result<(Answer, Tunnel), (StatusCode, String)> {
        let bad = |reason: &str| (StatusCode::BAD_REQUEST, reason.to_owned());
        let headers = request.headers();
        let path = Cow::from(percent_decode_str(request.uri().path()));
        let in_path = self.early_data_in_path(&path).ok_or_else(|| {
            let text = format!("the path is not \"{}\"", self.path);
            (StatusCode::NOT_FOUND, text)
        })?;
        if request.method() != Method::GET {
            let text = "only GET can open a WebSocket".to_owned();
            return Err((StatusCode::METHOD_NOT_ALLOWED, text));
        }
        if request.version() != Version::HTTP_11 {
            return Err(bad(
                "HTTP/1.0 has no upgrade, a proxy in between needs HTTP/1.1 (nginx: `proxy_http_version 1.1`)",
            ));
        }
        if headers.get_all(HOST).iter().count() != 1 {
            return Err(bad("there must be one Host header"));
        }
        if !has_token(headers, &UPGRADE, "websocket") {
            return Err(bad(
                "no `Upgrade: websocket` header, a proxy in between did not forward it, or this is no tunnel client",
            ));
        }
        if !has_token(headers, &CONNECTION, "upgrade") {
            return Err(bad(
                "no `Connection: Upgrade` header, a proxy in between did not forward it?",
            ));
        }
        match headers.get(SEC_WEBSOCKET_VERSION).map(|v| v.as_bytes()) {
            Some(b"13") => {}
            None => return Err(bad("no Sec-WebSocket-Version header")),
            Some(other) => {
                let other = String::from_utf8_lossy(other);
                let text = format!("WebSocket version {}, expected 13", other.escape_debug());
                return Err((StatusCode::UPGRADE_REQUIRED, text));
            }
        }
        let mut keys = headers.get_all(SEC_WEBSOCKET_KEY).iter();
        let key = match (keys.next(), keys.next()) {
            (Some(key), None) if STANDARD.decode(key).is_ok_and(|k| k.len() == 16) => key,
            _ => return Err(bad("Sec-WebSocket-Key is not 16 bytes of base64")),
        };
        let (early, protocol) = self.early_data(headers, in_path);
        let accept = derive_accept_key(key.as_bytes());
        let tunnel = Tunnel {
            early,
            source: forwarded::client(headers, peer, &self.trusted),
            manners: manners::of_client(headers),
        };
        Ok((pages::switch(&accept, protocol, &self.headers), tunnel))
    }

    /// Compares the path as V2Ray does: decoded, and exactly, but for early data behind it. `None`
    /// when it is not ours.
    fn early_data_in_path(&self, path: &[u8]) -> Option<Vec<u8>> {
        match (path.strip_prefix(self.path.as_bytes())?, &self.early) {
            ([], _) => Some(Vec::new()),
            (suffix, Some(Carrier::Path)) => early_data::decode(suffix),
            _ => None,
        }
    }

    /// Early data in any of the places where the settings allow it, and the subprotocol to agree to:
    /// the one that carries it, else the first offered (a browser gives up without one of its own).
    fn early_data<'r>(
        &self,
        headers: &'r HeaderMap,
        in_path: Vec<u8>,
    ) -> (Vec<u8>, Option<&'r [u8]>) {
        let named = match &self.early {
            Some(Carrier::Header(name)) => Some(name),
            _ => None,
        };
        let decode = match named {
            Some(name) if *name == SEC_WEBSOCKET_PROTOCOL => early_data::decode,
            _ => early_data::decode_plausible,
        };
        let mut protocol = None;
        let mut early = in_path;
        for offered in items(headers, &SEC_WEBSOCKET_PROTOCOL) {
            protocol = protocol.or(Some(offered));
            if early.is_empty()
                && let Some(data) = decode(offered)
            {
                protocol = Some(offered);
                early = data;
                break;
            }
        }
        if early.is_empty()
            && let Some(value) = named.and_then(|name| headers.get(name))
        {
            early = early_data::decode(value.as_bytes().trim_ascii()).unwrap_or_default();
        }
        (early, protocol)
    }
}

fn too_late() -> String {
    format!("no whole HTTP request within {} s", HEADER_LIMIT.as_secs())
}

/// The elements of a header that is a list, in however many lines.
fn items<'h>(headers: &'h HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'h [u8]> {
    headers
        .get_all(name)
        .iter()
        .flat_map(|line| line.as_bytes().split(|b| *b == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|item| !item.is_empty())
}

fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    items(headers, name).any(|item| item.eq_ignore_ascii_case(token.as_bytes()))
}

#[cfg(test)]
#[path = "inbound_tests.rs"]
mod tests;
