//! The server's side of the handshake.
//!
//! A visitor sees a web server that has nothing but one WebSocket. Requests are served one after
//! another on a kept-alive connection until one of them is the upgrade.

use std::borrow::Cow;
use std::sync::Once;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{Buf, Bytes, BytesMut};
use http::header::{
    CONNECTION, CONTENT_LENGTH, HOST, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, Method, Request, StatusCode, Version};
use percent_encoding::percent_decode_str;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tracing::{debug, warn};

use super::codec::Role;
use super::{EarlyDataIn, ServerSettings, WsStream, expected_close, with_slash};
use crate::http::head::{self, Unread, has_token, items};
use crate::http::responses::{self, Then};
use crate::http::{early_data, malformed};
use crate::io::{Arrival, Goodbye, Link, Prefixed, Refusal};
use crate::session::Source;
use crate::transport::linger::linger;

/// For a whole request header, and for the silence before it.
pub(in crate::transport) const HEADER_LIMIT: Duration = Duration::from_secs(4);

/// For all requests of a connection that never becomes a tunnel.
const VISIT_LIMIT: Duration = Duration::from_secs(300);

/// Request line and header, early data included.
const MAX_HEADER: usize = 32 * 1024;

/// The longest body of a refused request that is read so that another request may follow.
const MAX_BODY: u64 = 64 * 1024;

/// The server side.
#[derive(Debug)]
pub struct Inbound {
    settings: ServerSettings,
}

/// A request that opens a tunnel.
struct Tunnel {
    /// The 101.
    answer: Vec<u8>,
    early: Vec<u8>,
    source: Option<Source>,
    /// What it means if the client ends without a close frame.
    expected_close: Goodbye,
}

/// How a request is refused, and why, for the log.
type Refused = (StatusCode, String);

impl Inbound {
    /// A server of these settings.
    pub fn new(mut settings: ServerSettings) -> Self {
        settings.path = with_slash(settings.path);
        Self { settings }
    }

    /// Answers the HTTP requests of one connection up to the upgrade.
    pub async fn accept(&self, arrival: Arrival) -> Result<Arrival, Refusal> {
        let until = arrival.since + VISIT_LIMIT;
        let visit = self.visit(arrival);
        timeout_at(until, visit).await.unwrap_or_else(|_| {
            let text = format!("no upgrade within {} s", VISIT_LIMIT.as_secs());
            Err(Refusal::Done(text))
        })
    }

    /// Whether many people may come from `source`, so that it must not be counted as one of them.
    pub fn is_shared(&self, source: Source) -> bool {
        self.settings.forwarded.is_shared(source)
    }

    async fn visit(&self, arrival: Arrival) -> Result<Arrival, Refusal> {
        let peer = arrival.source;
        let mut link = arrival.link;
        let mut read = BytesMut::new();
        // Why the last request was refused.
        let mut said = String::new();
        let mut until = arrival.since + HEADER_LIMIT;
        loop {
            let reading = head::read(&mut link, &mut read, MAX_HEADER, head::request);
            let request = match timeout_at(until, reading).await {
                Ok(Ok(request)) => request,
                Ok(Err(unread)) => {
                    if let Some(status) = unread.status() {
                        let page = responses::error(status, Then::Close, true);
                        let _ = write(&mut link, &page).await;
                    }
                    linger(link).await;
                    return Err(Refusal::Done(why(unread, &read, said)));
                }
                Err(_) => {
                    linger(link).await;
                    // A visitor who was refused and left the connection open has said nothing else.
                    return Err(Refusal::Done(match said.is_empty() || !read.is_empty() {
                        true => {
                            format!("no whole HTTP request within {} s", HEADER_LIMIT.as_secs())
                        }
                        false => said,
                    }));
                }
            };
            match self.check(&request, peer) {
                Ok(tunnel) => {
                    if let Err(e) = write(&mut link, &tunnel.answer).await {
                        return Err(Refusal::Done(format!("gone before its answer: {e}")));
                    }
                    let link = Prefixed::link(read.freeze(), link);
                    let stream = WsStream::new(link, Role::Server, self.settings.heartbeat);
                    let stream = stream.with_expected_close(tunnel.expected_close);
                    return Ok(Arrival {
                        link: Prefixed::link(Bytes::from(tunnel.early), Link::other(stream)),
                        source: tunnel.source.unwrap_or(peer),
                        ..arrival
                    });
                }
                Err((status, reason)) => {
                    let path = request.uri().path().escape_debug();
                    said = format!("{} {path}: {}, {reason}", request.method(), status.as_str());
                    debug!(%peer, "{said}");
                    let body = body_to_skip(&request);
                    let then = match body {
                        Some(_) => Then::KeepAlive,
                        None => Then::Close,
                    };
                    let page = responses::error(status, then, request.method() != Method::HEAD);
                    let answered = write(&mut link, &page).await.is_ok();
                    match body {
                        Some(body) if answered && skip(&mut link, &mut read, body).await => {
                            until = Instant::now() + HEADER_LIMIT;
                        }
                        _ => {
                            linger(link).await;
                            return Err(Refusal::Done(said));
                        }
                    }
                }
            }
        }
    }

    /// RFC 6455, section 4.2.1, in the order in which a web server would notice.
    fn check(&self, request: &Request<()>, peer: Source) -> Result<Tunnel, Refused> {
        let bad = |reason: &str| (StatusCode::BAD_REQUEST, reason.to_owned());
        let headers = request.headers();
        let path = Cow::from(percent_decode_str(request.uri().path()));
        let in_path = self.early_data_in_path(&path).ok_or_else(|| {
            let text = format!("the path is not \"{}\"", self.settings.path);
            (StatusCode::NOT_FOUND, text)
        })?;
        if request.method() != Method::GET {
            let text = "only GET can open a WebSocket".to_owned();
            return Err((StatusCode::METHOD_NOT_ALLOWED, text));
        }
        let hosts = headers.get_all(HOST).iter().count();
        if hosts > 1 || (hosts == 0 && request.version() == Version::HTTP_11) {
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
        if body_len(headers) != Some(0) {
            return Err(bad("an upgrade has no body"));
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
        if request.version() == Version::HTTP_10 {
            warn_of_http_10();
        }
        let (early, protocol) = self.early_data(headers, in_path);
        let accept = derive_accept_key(key.as_bytes());
        Ok(Tunnel {
            answer: responses::switch(&accept, protocol, &self.settings.headers),
            early,
            source: self.settings.forwarded.client(headers, peer),
            expected_close: expected_close::of_client(headers),
        })
    }

    /// Compares the path as V2Ray does: decoded, and exactly, but for early data behind it. `None`
    /// when it is not ours.
    fn early_data_in_path(&self, path: &[u8]) -> Option<Vec<u8>> {
        match (
            path.strip_prefix(self.settings.path.as_bytes())?,
            &self.settings.early_data,
        ) {
            ([], _) => Some(Vec::new()),
            (suffix, Some(EarlyDataIn::Path)) => early_data::decode(suffix),
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
        let named = match &self.settings.early_data {
            Some(EarlyDataIn::Header(name)) => Some(name),
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

async fn write(link: &mut Link, bytes: &[u8]) -> std::io::Result<()> {
    link.write_all(bytes).await?;
    link.flush().await
}

impl Unread {
    /// How a web server answers; it has nothing to say to who is gone.
    fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Ended | Self::Broken(_) => None,
            Self::TooLarge => Some(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE),
            Self::Malformed(_) => Some(StatusCode::BAD_REQUEST),
        }
    }
}

/// Why no request was read, for the log; `said` is why the last one was refused.
fn why(unread: Unread, read: &[u8], said: String) -> String {
    let told = match unread {
        Unread::Ended if read.is_empty() && !said.is_empty() => return said,
        Unread::Ended if read.is_empty() => return "closed without an HTTP request".to_owned(),
        Unread::Ended => return "closed in the middle of an HTTP request".to_owned(),
        Unread::Broken(e) => return format!("gone before a whole HTTP request: {e}"),
        Unread::TooLarge => "its header is too large".to_owned(),
        Unread::Malformed(told) => told,
    };
    let what = malformed::describe(read, MAX_HEADER).unwrap_or(told);
    format!("not a proper HTTP request: {what}")
}

/// How long a request's body is; `None` for one that goes in chunks, or whose length is no number.
fn body_len(headers: &HeaderMap) -> Option<u64> {
    if headers.contains_key(TRANSFER_ENCODING) {
        return None;
    }
    let mut len = None;
    for value in headers.get_all(CONTENT_LENGTH) {
        let value = value.as_bytes();
        let is_number = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
        let this = std::str::from_utf8(value).ok()?.parse().ok()?;
        if !is_number || len.is_some_and(|len| len != this) {
            return None;
        }
        len = Some(this);
    }
    Some(len.unwrap_or(0))
}

/// What of the connection belongs to a refused request still; `None` when no other may follow it.
fn body_to_skip(request: &Request<()>) -> Option<u64> {
    let headers = request.headers();
    let keeps = match request.version() {
        Version::HTTP_11 => !has_token(headers, &CONNECTION, "close"),
        _ => has_token(headers, &CONNECTION, "keep-alive"),
    };
    body_len(headers).filter(|len| keeps && *len <= MAX_BODY)
}

/// Reads and forgets a body. `false` when it does not come.
async fn skip(link: &mut Link, read: &mut BytesMut, mut left: u64) -> bool {
    let skipping = async {
        loop {
            let here = usize::try_from(left).map_or(read.len(), |left| left.min(read.len()));
            read.advance(here);
            left -= here as u64;
            if left == 0 {
                return true;
            }
            read.reserve(1024);
            if !link.read_buf(read).await.is_ok_and(|n| n > 0) {
                return false;
            }
        }
    };
    timeout(HEADER_LIMIT, skipping).await.unwrap_or(false)
}

/// Works with V2Ray as well, so that nobody notices what is missing until another proxy is stricter.
fn warn_of_http_10() {
    static TOLD: Once = Once::new();
    TOLD.call_once(|| {
        warn!(
            "the proxy in front asks for the WebSocket as HTTP/1.0, which has no upgrade: it is answered as V2Ray does, \
             and wants HTTP/1.1 (nginx: `proxy_http_version 1.1`)"
        );
    });
}

#[cfg(test)]
#[path = "inbound_tests.rs"]
mod tests;
