//! The client's side of the handshake.
//!
//! The request is [`request`](super::request)'s. An answer other than 101 becomes an error that says what most likely
//! causes it.

use std::borrow::Cow;
use std::io;
use std::sync::Arc;

use bytes::BytesMut;
use http::Response;
use http::header::{HeaderMap, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_PROTOCOL};
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::codec::Role;
use super::deflate::{self, Inflating};
use super::{ClientSettings, EarlyData, EarlyDataIn, WsStream, expected_close};
use crate::address::Destination;
use crate::cause::{DialError, UpgradeError};
use crate::http::head::items;
use crate::http::lazy_handshake::LazyHandshake;
use crate::http::request::Target;
use crate::http::upgrade::{self, LIMIT};
use crate::io::{Closing, Goodbye, Link, PeerClock, Prefixed, Step};

/// The client side.
#[derive(Clone, Debug)]
pub struct Outbound(Arc<Client>);

#[derive(Debug)]
pub(super) struct Client {
    pub(super) settings: ClientSettings,
    pub(super) target: Target,
    /// What time it is at the server, by its answers.
    clock: Arc<PeerClock>,
}

impl Outbound {
    /// A client of these settings.
    pub fn new(settings: ClientSettings) -> Self {
        Self(Arc::new(Client::new(settings)))
    }

    /// What time it is at the server, once it has answered.
    pub fn clock(&self) -> Arc<PeerClock> {
        self.0.clock.clone()
    }

    /// The client's handshake with `server`. With early data it is delayed to the first write, of
    /// which it carries the beginning.
    pub async fn wrap(
        &self,
        link: Link,
        server: &Destination,
        tls: bool,
        closing: Closing,
    ) -> io::Result<Link> {
        let client = Arc::clone(&self.0);
        let host = client.host_header(server, tls);
        match client.settings.early_data {
            None => {
                let shaken = client.handshake(link, host, tls, &[]).await;
                let stream = shaken.map_err(DialError::from)?;
                Ok(Link::other(stream.with_closing(closing)))
            }
            Some(EarlyData { max, .. }) => Ok(Link::other(LazyHandshake::new(
                max,
                move |early: Vec<u8>| {
                    Box::pin(async move {
                        let shaken = client.handshake(link, host, tls, &early).await;
                        let stream = shaken.map_err(DialError::from)?;
                        Ok(stream.with_closing(closing))
                    })
                },
            ))),
        }
    }
}

impl Client {
    pub(super) fn new(settings: ClientSettings) -> Self {
        Self {
            target: Target::new(&settings.path),
            settings,
            clock: Arc::default(),
        }
    }

    pub(super) async fn handshake(
        &self,
        link: Link,
        host: HeaderValue,
        tls: bool,
        early: &[u8],
    ) -> Result<WsStream, UpgradeError> {
        let mut step = Step::begin("upgrade");
        let upgrade = self.upgrade(link, host, tls, early);
        let upgraded = tokio::time::timeout(LIMIT, upgrade).await;
        let stream = upgraded.unwrap_or(Err(UpgradeError::Slow(LIMIT)))?;
        step.done(format_args!("101 at {}", self.target.path));
        Ok(stream)
    }

    async fn upgrade(
        &self,
        mut link: Link,
        host: HeaderValue,
        tls: bool,
        early: &[u8],
    ) -> Result<WsStream, UpgradeError> {
        let key = generate_key();
        let headers = self.headers(host, tls, &key, early)?;
        let request = self.request(&headers, early);
        let asked = upgrade::ask(&mut link, &request, &self.clock).await;
        let (answer, read): (_, BytesMut) = asked?;
        let expected_close = match self.settings.ends_silently {
            true => Goodbye::Unknown,
            false => expected_close::of_server(answer.headers()),
        };
        let link = match self.verify(&answer, &headers, &key, early)? {
            false => Prefixed::link(read.freeze(), link),
            true => Link::other(Inflating::new(link, read)),
        };
        let stream = WsStream::new(link, Role::Client, self.settings.heartbeat);
        Ok(stream.with_expected_close(expected_close))
    }

    /// Whether the answer opens the tunnel (RFC 6455, section 4.1); and whether the server compresses.
    fn verify(
        &self,
        answer: &Response<()>,
        asked: &HeaderMap,
        key: &str,
        early: &[u8],
    ) -> Result<bool, UpgradeError> {
        let headers = answer.headers();
        // A web server in front may know the path, and not what stands behind it.
        let mut path = Cow::from(&*self.target.path);
        let carried_in = self
            .settings
            .early_data
            .as_ref()
            .map(|early| &early.carried_in);
        if carried_in == Some(&EarlyDataIn::Path) && !early.is_empty() {
            path += " with early data behind it";
        }
        upgrade::granted(answer, &path)?;
        let accept = derive_accept_key(key.as_bytes());
        let mut accepts = headers.get_all(SEC_WEBSOCKET_ACCEPT).iter();
        if accepts.next().map(|v| v.as_bytes()) != Some(accept.as_bytes())
            || accepts.next().is_some()
        {
            return Err(UpgradeError::Accept);
        }
        let mut agreed = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter();
        if let Some(protocol) = agreed.next() {
            let mut offered = items(asked, &SEC_WEBSOCKET_PROTOCOL);
            if agreed.next().is_some() || !offered.any(|offered| offered == protocol.as_bytes()) {
                return Err(UpgradeError::Protocol);
            }
        }
        deflate::agreed(headers).map_err(UpgradeError::Extensions)
    }
}

#[cfg(test)]
#[path = "outbound_tests.rs"]
mod tests;
