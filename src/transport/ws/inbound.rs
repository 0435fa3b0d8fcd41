//! The server's side of the handshake.
//!
//! A visitor sees a web server that has nothing but one WebSocket ([`visit`](crate::http::visit)).

use std::borrow::Cow;
use std::sync::Once;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{
    CONNECTION, HOST, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{HeaderMap, Method, Request, StatusCode, Version};
use percent_encoding::percent_decode_str;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tracing::warn;

use super::codec::Role;
use super::{EarlyDataIn, ServerSettings, WsStream, expected_close};
use crate::cause::{RequestError, Unfit};
use crate::http::head::{has_token, items};
use crate::http::visit::{Refused, Tell, Visit, body_len};
use crate::http::{early_data, responses};
use crate::io::{Closing, Goodbye, Link, Prefixed, Step};
use crate::seam::Arrival;
use crate::session::Source;

/// The server side.
#[derive(Debug)]
pub struct Inbound {
    settings: ServerSettings,
}

/// A WebSocket that was asked for.
pub(super) struct Tunnel {
    /// What asked for it.
    pub(super) request: Request<()>,
    pub(super) early_data: Vec<u8>,
    /// For whom the peer comes, if it is one to say so.
    source: Option<Source>,
}

/// The answer to a request, and what follows from it.
struct Answer {
    /// The 101.
    head: Vec<u8>,
    early_data: Vec<u8>,
    source: Option<Source>,
    /// What it means if the client ends without a close frame.
    expected_close: Goodbye,
}

impl Inbound {
    /// A server of these settings.
    pub fn new(settings: ServerSettings) -> Self {
        Self { settings }
    }

    /// Answers the HTTP requests of one connection up to the upgrade.
    ///
    /// # Errors
    ///
    /// When there is none; every request has been answered then. Of those before the last, `tell` is told.
    pub async fn accept(
        &self,
        arrival: Arrival,
        closing: &Closing,
        tell: &Tell,
    ) -> Result<Arrival, RequestError> {
        let (peer, since) = (arrival.source, arrival.since);
        let mut step = Step::begin("upgrade");
        let visit = Visit::new(peer, arrival.link, since).telling(tell.clone());
        let opening = Tunnel::open(&self.settings, visit);
        let (tunnel, stream) = Visit::within(since, opening).await?;
        step.done(format_args!("101 at {}", self.settings.path));
        let link = Link::other(stream.with_closing(closing.clone()));
        Ok(Arrival {
            link: Prefixed::link(Bytes::from(tunnel.early_data), link),
            source: tunnel.source.unwrap_or(peer),
            ..arrival
        })
    }

    /// Whether many people may come from `source`, so that it must not be counted as one of them.
    pub fn is_shared(&self, source: Source) -> bool {
        self.settings.forwarded.is_shared(source)
    }
}

impl Tunnel {
    /// Answers requests until one of them opens a WebSocket.
    pub(super) async fn open(
        settings: &ServerSettings,
        mut visit: Visit,
    ) -> Result<(Self, WsStream), RequestError> {
        loop {
            let (request, here) = visit.request().await?;
            let answer = match settings.answer(&request, here.peer()) {
                Ok(answer) => answer,
                Err(mut refused) => {
                    let forwarded = &settings.forwarded;
                    refused.client = forwarded.client(request.headers(), here.peer());
                    visit = here.refuse(&request, refused).await?;
                    continue;
                }
            };
            let (link, read) = here.switch(&answer.head).await?;
            let link = Prefixed::link(read, link);
            let stream = WsStream::new(link, Role::Server, settings.heartbeat);
            let tunnel = Self {
                request,
                early_data: answer.early_data,
                source: answer.source,
            };
            return Ok((tunnel, stream.with_expected_close(answer.expected_close)));
        }
    }
}

impl ServerSettings {
    /// RFC 6455, section 4.2.1, in the order in which a web server would notice.
    fn answer(&self, request: &Request<()>, peer: Source) -> Result<Answer, Refused> {
        let refused = |status, unfit| {
            Err(Refused {
                status,
                unfit,
                client: None,
            })
        };
        let bad = |unfit| refused(StatusCode::BAD_REQUEST, unfit);
        let headers = request.headers();
        let path = Cow::from(percent_decode_str(request.uri().path()));
        let Some(in_path) = self.early_data_in_path(&path) else {
            let unfit = Unfit::Path(self.path.clone());
            return refused(StatusCode::NOT_FOUND, unfit);
        };
        if request.method() != Method::GET {
            return refused(StatusCode::METHOD_NOT_ALLOWED, Unfit::Method);
        }
        let hosts = headers.get_all(HOST).iter().count();
        if hosts > 1 || (hosts == 0 && request.version() == Version::HTTP_11) {
            return bad(Unfit::Host);
        }
        if !has_token(headers, &UPGRADE, "websocket") {
            return bad(Unfit::NoUpgrade);
        }
        if !has_token(headers, &CONNECTION, "upgrade") {
            return bad(Unfit::NoConnection);
        }
        if body_len(headers) != Some(0) {
            return bad(Unfit::Body);
        }
        match headers.get(SEC_WEBSOCKET_VERSION).map(|v| v.as_bytes()) {
            Some(b"13") => {}
            None => return bad(Unfit::NoVersion),
            Some(other) => {
                let other = String::from_utf8_lossy(other).escape_debug().to_string();
                return refused(StatusCode::UPGRADE_REQUIRED, Unfit::Version(other));
            }
        }
        let mut keys = headers.get_all(SEC_WEBSOCKET_KEY).iter();
        let key = match (keys.next(), keys.next()) {
            (Some(key), None) if STANDARD.decode(key).is_ok_and(|k| k.len() == 16) => key,
            _ => return bad(Unfit::Key),
        };
        if request.version() == Version::HTTP_10 {
            warn_of_http_10();
        }
        let (early, protocol) = self.early_data(headers, in_path);
        let accept = derive_accept_key(key.as_bytes());
        Ok(Answer {
            head: responses::switch(&accept, protocol, &self.headers),
            early_data: early,
            source: self.forwarded.client(headers, peer),
            expected_close: expected_close::of_client(headers),
        })
    }

    /// Compares the path as V2Ray does: decoded, and exactly, but for early data behind it. `None`
    /// when it is not ours.
    fn early_data_in_path(&self, path: &[u8]) -> Option<Vec<u8>> {
        let own = self.path.strip_prefix('/').unwrap_or(&self.path);
        let behind = path.strip_prefix(b"/")?.strip_prefix(own.as_bytes())?;
        match (behind, &self.early_data) {
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
        let named = match &self.early_data {
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
