//! The server's side of the handshake.
//!
//! A visitor sees a web server that has nothing but one WebSocket ([`visit`](crate::http::visit)).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION};
use http::{Request, StatusCode};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::codec::Role;
use super::{ServerSettings, WsStream, expected_close};
use crate::cause::{RequestError, Unfit};
use crate::http::upgrade::Place;
use crate::http::visit::{Door, Refused, Visit};
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
}

/// What follows from a request that is granted.
pub(in crate::transport) struct Found {
    early_data: Vec<u8>,
    /// What it means if the client ends without a close frame.
    expected_close: Goodbye,
}

impl Inbound {
    /// A server of these settings.
    pub fn new(settings: ServerSettings) -> Self {
        Self { settings }
    }

    /// Answers the HTTP requests of one connection up to the upgrade; what else is behind `door` has its share.
    ///
    /// # Errors
    ///
    /// When there is none; every request has been answered then.
    pub async fn accept(
        &self,
        arrival: Arrival,
        closing: &Closing,
        door: Door,
    ) -> Result<Arrival, RequestError> {
        let (peer, since) = (arrival.source, arrival.since);
        let mut step = Step::begin("upgrade");
        let visit = Visit::new(peer, arrival.link, since).at(door);
        let granted = |request: &Request<()>| self.answer(request);
        let tunnel = visit.tunnel(&self.settings.forwarded, granted).await?;
        step.done(format_args!("101 at {}", self.settings.path));
        Ok(Arrival {
            link: self.link(tunnel.found, tunnel.read, tunnel.link, closing),
            source: tunnel.client.unwrap_or(peer),
            ..arrival
        })
    }

    /// Whether a request from `source` may name somebody else as its source, and be believed.
    pub fn may_speak_for_others(&self, source: Source) -> bool {
        self.settings.forwarded.may_believe(source)
    }

    /// The 101, and what follows from it.
    pub(in crate::transport) fn answer(
        &self,
        request: &Request<()>,
    ) -> Result<(Vec<u8>, Found), Refused> {
        self.settings.answer(request)
    }

    /// What a granted request has made of its connection, behind which this was `read`.
    pub(in crate::transport) fn link(
        &self,
        found: Found,
        read: Bytes,
        link: Link,
        closing: &Closing,
    ) -> Link {
        let (early_data, stream) = found.stream(&self.settings, read, link);
        let link = Link::other(stream.with_closing(closing.clone()));
        Prefixed::link(Bytes::from(early_data), link)
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
        visit: Visit,
    ) -> Result<(Self, WsStream), RequestError> {
        let granted = |request: &Request<()>| settings.answer(request);
        let tunnel = visit.tunnel(&settings.forwarded, granted).await?;
        let (early_data, stream) = tunnel.found.stream(settings, tunnel.read, tunnel.link);
        let opened = Self {
            request: tunnel.request,
            early_data,
        };
        Ok((opened, stream))
    }
}

impl Found {
    /// The early data, and the WebSocket.
    fn stream(self, settings: &ServerSettings, read: Bytes, link: Link) -> (Vec<u8>, WsStream) {
        let link = Prefixed::link(read, link);
        let stream = WsStream::new(link, Role::Server, settings.heartbeat);
        let stream = stream.with_expected_close(self.expected_close);
        (self.early_data, stream)
    }
}

impl ServerSettings {
    /// RFC 6455, section 4.2.1: the 101, and what follows from it.
    pub(in crate::transport) fn answer(
        &self,
        request: &Request<()>,
    ) -> Result<(Vec<u8>, Found), Refused> {
        let place = Place {
            path: &self.path,
            below: self.below,
            host: self.host.as_deref(),
            early: self.early_data.as_ref(),
        };
        let refused = |status, unfit| Err(Refused { status, unfit });
        let bad = |unfit| refused(StatusCode::BAD_REQUEST, unfit);
        let headers = request.headers();
        let in_path = place.upgraded_by(request)?;
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
        let (early_data, protocol) = early_data::find(headers, in_path, place.early);
        let accept = derive_accept_key(key.as_bytes());
        let found = Found {
            early_data,
            expected_close: expected_close::of_client(headers),
        };
        let accept = Some(accept.as_str());
        Ok((responses::switch(accept, protocol, &self.headers), found))
    }
}

#[cfg(test)]
#[path = "inbound_tests.rs"]
mod tests;
