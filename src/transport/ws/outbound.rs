//! The client's side of the handshake.
//!
//! The request is [`request`](super::request)'s. An answer other than 101 becomes an error that says what most likely
//! causes it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use http::header::{
    CONNECTION, DATE, HeaderMap, HeaderValue, LOCATION, SEC_WEBSOCKET_ACCEPT,
    SEC_WEBSOCKET_PROTOCOL, SERVER, UPGRADE,
};
use http::{Response, StatusCode};
use tokio::io::AsyncWriteExt;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::codec::Role;
use super::deflate::{self, Inflating};
use super::lazy_handshake::LazyHandshake;
use super::request::encoded;
use super::{ClientSettings, EarlyData, WsStream, expected_close, with_slash};
use crate::address::Destination;
use crate::cause::{DialError, Refused, UpgradeError};
use crate::http::head::{self, Unread, has_token, items};
use crate::io::{Closing, Link, PeerClock, Prefixed, Step};

/// For the request and its answer, as in V2Ray.
const LIMIT: Duration = Duration::from_secs(8);

/// The most that an answer's header may have.
const MAX_HEADER: usize = 64 * 1024;

/// The client side.
#[derive(Clone, Debug)]
pub struct Outbound(Arc<Client>);

#[derive(Debug)]
pub(super) struct Client {
    pub(super) settings: ClientSettings,
    /// Encoded as it stands in the request.
    pub(super) path: String,
    /// With its `?`, or empty.
    pub(super) query: String,
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
    pub(super) fn new(mut settings: ClientSettings) -> Self {
        settings.path = with_slash(settings.path);
        let (path, query) = match settings.path.find('?') {
            Some(at) => settings.path.split_at(at),
            None => (&settings.path[..], ""),
        };
        let (path, query) = (encoded(path), encoded(query));
        Self {
            settings,
            path,
            query,
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
        step.done(format_args!("101 at {}", self.path));
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
        let sent = async {
            link.write_all(&request).await?;
            link.flush().await
        };
        let sent = sent.await;
        let mut read = BytesMut::new();
        let answer = loop {
            match head::read(&mut link, &mut read, MAX_HEADER, head::response).await {
                Ok((answer, len)) => {
                    read.advance(len);
                    // An answer before the answer: 103 Early Hints, for instance.
                    if !is_preliminary(answer.status()) {
                        break answer;
                    }
                }
                // A server may refuse without reading all of it, and say why.
                Err(unread) => {
                    let unsent = sent.err().map(UpgradeError::Broken);
                    return Err(unsent.unwrap_or_else(|| broken(unread)));
                }
            }
        };
        self.look_at_clock(answer.headers());
        let expected_close = expected_close::of_server(answer.headers());
        let link = match self.verify(&answer, &headers, &key)? {
            false => Prefixed::link(read.freeze(), link),
            true => Link::other(Inflating::new(link, read)),
        };
        let stream = WsStream::new(link, Role::Client, self.settings.heartbeat);
        Ok(stream.with_expected_close(expected_close))
    }

    fn look_at_clock(&self, headers: &HeaderMap) {
        let date = headers.get(DATE).and_then(|date| date.to_str().ok());
        if let Some(there) = date.and_then(|date| httpdate::parse_http_date(date).ok()) {
            self.clock.heard(there);
        }
    }

    /// Whether the answer opens the tunnel (RFC 6455, section 4.1); and whether the server compresses.
    fn verify(
        &self,
        answer: &Response<()>,
        asked: &HeaderMap,
        key: &str,
    ) -> Result<bool, UpgradeError> {
        let headers = answer.headers();
        if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Err(self.refused(answer).into());
        }
        if !has_token(headers, &UPGRADE, "websocket") {
            return Err(UpgradeError::NoUpgrade);
        }
        if !has_token(headers, &CONNECTION, "upgrade") {
            return Err(UpgradeError::NoConnection);
        }
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

    /// What an answer says that is no 101.
    fn refused(&self, answer: &Response<()>) -> Refused {
        let header = |name| {
            let value: &HeaderValue = answer.headers().get(name)?;
            let text = String::from_utf8_lossy(value.as_bytes());
            Some(text.escape_debug().take(200).collect::<String>())
        };
        Refused {
            status: answer.status().as_u16(),
            path: self.path.clone(),
            location: header(LOCATION),
            server: header(SERVER),
        }
    }
}

fn is_preliminary(status: StatusCode) -> bool {
    status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS
}

/// The connection broke before there was an answer.
fn broken(unread: Unread) -> UpgradeError {
    match unread {
        Unread::Ended => UpgradeError::Closed,
        Unread::Broken(e) => UpgradeError::Broken(e),
        Unread::TooLarge => UpgradeError::TooLarge,
        Unread::Malformed(_) => UpgradeError::NotHttp,
    }
}

#[cfg(test)]
#[path = "outbound_tests.rs"]
mod tests;
