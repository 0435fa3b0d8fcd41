//! The client's side of the handshake.
//!
//! The request looks like a browser's (Chrome's headers, in its order), because Go's default
//! `User-Agent`, which V2Ray sends, is a well-known mark. An answer other than 101 becomes an error
//! that says what most likely causes it.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use http::header::{
    ACCEPT_ENCODING, ACCEPT_LANGUAGE, CACHE_CONTROL, CONNECTION, COOKIE, HOST, HeaderMap,
    HeaderName, HeaderValue, LOCATION, ORIGIN, PRAGMA, SEC_WEBSOCKET_ACCEPT,
    SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION,
    SERVER, UPGRADE, USER_AGENT,
};
use http::{Response, StatusCode};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use tokio::io::AsyncWriteExt;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::codec::Role;
use super::deflate::{self, Inflating};
use super::lazy_handshake::LazyHandshake;
use super::{ClientSettings, EarlyData, EarlyDataIn, WsStream, expected_close, with_slash};
use crate::address::{Destination, Host};
use crate::cause::{DialError, Refused, UpgradeError};
use crate::http::early_data;
use crate::http::head::{self, Unread, has_token, items};
use crate::io::{Closing, Link, Prefixed};

/// For the request and its answer, as in V2Ray.
const LIMIT: Duration = Duration::from_secs(8);

/// The most that an answer's header may have.
const MAX_HEADER: usize = 64 * 1024;

/// Chrome of the day on the system that most people have.
const CHROME: &str = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Safari/537.36";

/// The client side.
#[derive(Clone, Debug)]
pub struct Outbound(Arc<Client>);

#[derive(Debug)]
pub(super) struct Client {
    settings: ClientSettings,
    /// Encoded as it stands in the request.
    path: String,
    /// With its `?`, or empty.
    query: String,
}

impl Outbound {
    /// A client of these settings.
    pub fn new(settings: ClientSettings) -> Self {
        Self(Arc::new(Client::new(settings)))
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
        }
    }

    /// What the settings say, else the server's address, with its port if that is not the usual one.
    pub(super) fn host_header(&self, server: &Destination, tls: bool) -> HeaderValue {
        if let Some(host) = &self.settings.host {
            return host.clone();
        }
        let host = match &server.host {
            Host::Ip(ip) if ip.is_ipv6() => format!("[{ip}]"),
            Host::Ip(ip) => ip.to_string(),
            Host::Domain(name) => name.clone(),
        };
        let usual = if tls { 443 } else { 80 };
        let text = match server.port {
            port if port == usual => host,
            port => format!("{host}:{port}"),
        };
        HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static("localhost"))
    }

    pub(super) async fn handshake(
        &self,
        link: Link,
        host: HeaderValue,
        tls: bool,
        early: &[u8],
    ) -> Result<WsStream, UpgradeError> {
        let upgrade = self.upgrade(link, host, tls, early);
        let upgraded = tokio::time::timeout(LIMIT, upgrade).await;
        upgraded.unwrap_or(Err(UpgradeError::Slow(LIMIT)))
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
        let expected_close = expected_close::of_server(answer.headers());
        let link = match self.verify(&answer, &headers, &key)? {
            false => Prefixed::link(read.freeze(), link),
            true => Link::other(Inflating::new(link, read)),
        };
        let stream = WsStream::new(link, Role::Client, self.settings.heartbeat);
        Ok(stream.with_expected_close(expected_close))
    }

    /// The request as Chrome writes it.
    fn request(&self, headers: &HeaderMap, early: &[u8]) -> Vec<u8> {
        let mut request = Vec::with_capacity(1024);
        request.extend_from_slice(b"GET ");
        request.extend_from_slice(self.path.as_bytes());
        if !early.is_empty() && self.early_header().is_none() {
            request.extend_from_slice(early_data::encode(early).as_bytes());
        }
        request.extend_from_slice(self.query.as_bytes());
        request.extend_from_slice(b" HTTP/1.1\r\n");
        for name in &ORDER {
            for value in headers.get_all(name) {
                head::line(&mut request, name, value.as_bytes());
            }
        }
        for (name, value) in headers {
            if !ORDER.contains(name) {
                head::line(&mut request, name, value.as_bytes());
            }
        }
        request.extend_from_slice(b"\r\n");
        request
    }

    /// What Chrome sends; the user's headers replace those of the same name.
    fn headers(
        &self,
        host: HeaderValue,
        tls: bool,
        key: &str,
        early: &[u8],
    ) -> Result<HeaderMap, UpgradeError> {
        let scheme: &[u8] = if tls { b"https://" } else { b"http://" };
        let origin = [scheme, host.as_bytes()].concat();
        // Chrome names the newer ones only where nothing in between can read along.
        let encodings: &[u8] = match tls || is_local(&host) {
            true => b"gzip, deflate, br, zstd",
            false => b"gzip, deflate",
        };
        let defaults: [(HeaderName, &[u8]); 11] = [
            (CONNECTION, b"Upgrade"),
            (PRAGMA, b"no-cache"),
            (CACHE_CONTROL, b"no-cache"),
            (USER_AGENT, CHROME.as_bytes()),
            (UPGRADE, b"websocket"),
            (ORIGIN, &origin),
            (SEC_WEBSOCKET_VERSION, b"13"),
            (ACCEPT_ENCODING, encodings),
            (ACCEPT_LANGUAGE, b"en-US,en;q=0.9"),
            (SEC_WEBSOCKET_KEY, key.as_bytes()),
            (SEC_WEBSOCKET_EXTENSIONS, deflate::OFFER.as_bytes()),
        ];
        let mut headers = HeaderMap::with_capacity(16);
        headers.insert(HOST, host);
        for (name, value) in defaults {
            let value = HeaderValue::from_bytes(value).map_err(unwritable)?;
            headers.insert(name, value);
        }
        for (name, value) in &self.settings.headers {
            headers.insert(name, value.clone());
        }
        if let Some(name) = self.early_header()
            && !early.is_empty()
        {
            let value = HeaderValue::try_from(early_data::encode(early));
            headers.insert(name, value.map_err(unwritable)?);
        }
        Ok(headers)
    }

    /// The header that early data travels in; without one it follows the path.
    fn early_header(&self) -> Option<&HeaderName> {
        match &self.settings.early_data {
            Some(EarlyData {
                carried_in: EarlyDataIn::Header(name),
                ..
            }) => Some(name),
            _ => None,
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

/// What may not stand in a request line is percent-encoded, as a browser does it.
fn encoded(path: &str) -> String {
    const OUTSIDE: AsciiSet = CONTROLS
        .add(b' ')
        .add(b'"')
        .add(b'#')
        .add(b'<')
        .add(b'>')
        .add(b'`')
        .add(b'{')
        .add(b'}')
        .add(b'|')
        .add(b'\\')
        .add(b'^');
    utf8_percent_encode(path, &OUTSIDE).to_string()
}

/// The order of Chrome's headers; what it has no place for comes behind.
const ORDER: [HeaderName; 14] = [
    HOST,
    CONNECTION,
    PRAGMA,
    CACHE_CONTROL,
    USER_AGENT,
    UPGRADE,
    ORIGIN,
    SEC_WEBSOCKET_VERSION,
    ACCEPT_ENCODING,
    ACCEPT_LANGUAGE,
    COOKIE,
    SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_EXTENSIONS,
    SEC_WEBSOCKET_PROTOCOL,
];

/// Whether a browser takes a host, as it is in the Host header, for its own machine.
fn is_local(host: &HeaderValue) -> bool {
    let host = host.to_str().unwrap_or_default();
    let name = match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => name,
        _ => host,
    };
    let name = name.to_ascii_lowercase();
    let ip = name.trim_matches(['[', ']']).parse::<IpAddr>();
    name == "localhost" || name.ends_with(".localhost") || ip.is_ok_and(|ip| ip.is_loopback())
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

fn unwritable(e: impl ToString) -> UpgradeError {
    UpgradeError::Request(e.to_string())
}

#[cfg(test)]
#[path = "outbound_tests.rs"]
mod tests;
