//! The server's side.
//!
//! A visitor sees a web server that has nothing but one upgrade ([`visit`](crate::http::visit)). A request may be that
//! of a whole WebSocket (a CDN may want one): it is answered as one.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use http::Request;
use http::header::SEC_WEBSOCKET_KEY;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::ServerSettings;
use super::repeated::Repeated;
use crate::cause::RequestError;
use crate::http::upgrade::Place;
use crate::http::visit::{Door, Refused, Visit};
use crate::http::{EarlyDataIn, early_data, responses};
use crate::io::{Link, Prefixed, Step};
use crate::seam::Arrival;
use crate::session::Source;

/// The server side.
#[derive(Debug)]
pub struct Inbound {
    settings: ServerSettings,
    early_data: Option<EarlyDataIn>,
}

impl Inbound {
    /// A server of these settings.
    pub fn new(settings: ServerSettings) -> Self {
        let named = settings.early_data.as_ref().map(|early| early.name.clone());
        Self {
            early_data: named.map(EarlyDataIn::Header),
            settings,
        }
    }

    /// Answers the HTTP requests of one connection up to the upgrade; what else is behind `door` has its share.
    ///
    /// # Errors
    ///
    /// When there is none; every request has been answered then.
    pub async fn accept(&self, arrival: Arrival, door: Door) -> Result<Arrival, RequestError> {
        let mut step = Step::begin("upgrade");
        let (peer, since) = (arrival.source, arrival.since);
        let visit = Visit::new(peer, arrival.link, since).at(door);
        let granted = |request: &Request<()>| self.answer(request);
        let tunnel = visit.tunnel(&self.settings.forwarded, granted).await?;
        step.done(format_args!("101 at {}", self.settings.path));
        Ok(Arrival {
            link: self.link(tunnel.found.into(), tunnel.read, tunnel.link),
            source: tunnel.client.unwrap_or(peer),
            ..arrival
        })
    }

    /// Whether a request from `source` may name somebody else as its source, and be believed.
    pub fn may_speak_for_others(&self, source: Source) -> bool {
        self.settings.forwarded.may_believe(source)
    }

    /// Whether many people may come from `source`, so that it must not be counted as one of them.
    pub fn is_shared(&self, source: Source) -> bool {
        self.settings.forwarded.is_shared(source)
    }

    /// The 101, and the early data.
    pub(in crate::transport) fn answer(
        &self,
        request: &Request<()>,
    ) -> Result<(Vec<u8>, Vec<u8>), Refused> {
        let place = Place {
            below: false,
            path: &self.settings.path,
            host: self.settings.host.as_deref(),
            early: self.early_data.as_ref(),
        };
        let headers = request.headers();
        let in_path = place.upgraded_by(request)?;
        let (early_data, _) = early_data::find(headers, in_path, place.early);
        let key = headers.get(SEC_WEBSOCKET_KEY);
        let key = key.filter(|key| STANDARD.decode(key).is_ok_and(|key| key.len() == 16));
        let accept = key.map(|key| derive_accept_key(key.as_bytes()));
        let answer = responses::switch(accept.as_deref(), None, &self.settings.headers);
        Ok((answer, early_data))
    }

    /// The connection, with what was read of the tunnel put back in front.
    pub(in crate::transport) fn link(&self, early: Bytes, read: Bytes, link: Link) -> Link {
        let max = self.settings.early_data.as_ref().map(|early| early.max);
        let (link, read) = match max.filter(|max| early.len() > *max) {
            Some(max) => {
                let behind = Prefixed::link(read, link);
                let again = early.slice(max..);
                (Link::other(Repeated::new(again, behind)), Bytes::new())
            }
            None => (link, read),
        };
        let read = match (early.is_empty(), read.is_empty()) {
            (true, _) => read,
            (_, true) => early,
            _ => {
                let mut both = BytesMut::from(&early[..]);
                both.extend_from_slice(&read);
                both.freeze()
            }
        };
        Prefixed::link(read, link)
    }
}
