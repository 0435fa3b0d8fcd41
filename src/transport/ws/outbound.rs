//! The client's side of the handshake.
//!
//! The request looks like a browser's (Chrome's headers, in its order), because Go's default
//! `User-Agent`, which V2Ray sends, is a well-known mark. An answer other than 101 becomes an error
//! that says what most likely causes it.

use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper::header::{
    ACCEPT_ENCODING, ACCEPT_LANGUAGE, CACHE_CONTROL, CONNECTION, HOST, HeaderMap, HeaderName,
    HeaderValue, LOCATION, PRAGMA, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION,
    SERVER, UPGRADE, USER_AGENT,
};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::codec::Role;
use super::config::{Carrier, Client, Outbound};
use super::late::Late;
use super::{WsStream, early_data, manners};
use crate::address::{Destination, Host};
use crate::io::{Link, Prefixed};

/// For the request and its answer, as in V2Ray.
const LIMIT: Duration = Duration::from_secs(8);

/// The most that an answer's header may have.
const MAX_HEADER: usize = 64 * 1024;

const CHROME: &str = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36";

impl Outbound {
    /// The client's handshake with `server`. With early data it is delayed to the first write, of
    /// which it carries the beginning.
    pub async fn dress(&self, link: Link, server: &Destination, tls: bool) -> io::Result<Link> {
        let client = Arc::clone(&self.0);
        let host = client.host_header(server, tls);
        match client.early {
            None => client.shake(link, host, &[]).await.map(Link::other),
            Some((_, max)) => Ok(Link::other(Late::new(max, move |early: Vec<u8>| {
                Box::pin(async move { client.shake(link, host, &early).await })
            }))),
        }
    }
}

impl Client {
    /// What the settings say, else the server's address, with its port if that is not the usual one.
    fn host_header(&self, server: &Destination, tls: bool) -> HeaderValue {
        if let Some(host) = &self.host {
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

    async fn shake(
        &self,
        link: Link,
        host: HeaderValue,
        early: &[u8],
    ) -> io::Result<WsStream<Link>> {
        tokio::time::timeout(LIMIT, self.upgrade(link, host, early))
            .await
            .unwrap_or_else(|_| {
                let text = format!(
                    "no answer to the WebSocket handshake in {} s",
                    LIMIT.as_secs()
                );
                Err(io::Error::new(io::ErrorKind::TimedOut, text))
            })
    }

    async fn upgrade(
        &self,
        link: Link,
        host: HeaderValue,
        early: &[u8],
    ) -> io::Result<WsStream<Link>> {
        let key = generate_key();
        let request = self.request(host, &key, early)?;
        let (mut sender, mut connection) = http1::Builder::new()
            .title_case_headers(true)
            .max_buf_size(MAX_HEADER)
            .handshake::<_, Empty<Bytes>>(TokioIo::new(link))
            .await
            .map_err(broken)?;
        let mut over = None;
        let response = {
            let mut response = pin!(sender.send_request(request));
            poll_fn(|cx| {
                if over.is_none()
                    && let Poll::Ready(end) = connection.poll_without_shutdown(cx)
                {
                    over = Some(end);
                }
                response.as_mut().poll(cx)
            })
            .await
        };
        let response = match response {
            Ok(response) => response,
            Err(error) => {
                // How the connection ended says more than that the request was not answered.
                let end = over.and_then(Result::err);
                return Err(broken(end.unwrap_or(error)));
            }
        };
        self.verify(&response, &key)?;
        let manners = manners::of_server(response.headers());
        // The answer may be here before hyper has let go of the connection.
        let end = match over {
            Some(end) => end,
            None => poll_fn(|cx| connection.poll_without_shutdown(cx)).await,
        };
        end.map_err(broken)?;
        let parts = connection.into_parts();
        let link = Prefixed::link(parts.read_buf, parts.io.into_inner());
        let stream = WsStream::new(link, Role::Client, self.heartbeat);
        Ok(stream.with_manners(manners))
    }

    /// The request as Chrome writes it; the user's headers replace those of the same name.
    fn request(
        &self,
        host: HeaderValue,
        key: &str,
        early: &[u8],
    ) -> io::Result<Request<Empty<Bytes>>> {
        let mut target = self.path.clone();
        let mut carried = None;
        if !early.is_empty() {
            let text = early_data::encode(early);
            match &self.early {
                Some((Carrier::Header(name), _)) => carried = Some((name.clone(), text)),
                _ => target.push_str(&text),
            }
        }
        target.push_str(&self.query);
        let mut headers = HeaderMap::new();
        headers.insert(HOST, host);
        let defaults: [(HeaderName, &str); 9] = [
            (CONNECTION, "Upgrade"),
            (PRAGMA, "no-cache"),
            (CACHE_CONTROL, "no-cache"),
            (USER_AGENT, CHROME),
            (UPGRADE, "websocket"),
            (SEC_WEBSOCKET_VERSION, "13"),
            (ACCEPT_ENCODING, "gzip, deflate, br, zstd"),
            (ACCEPT_LANGUAGE, "en-US,en;q=0.9"),
            (SEC_WEBSOCKET_KEY, key),
        ];
        for (name, value) in defaults {
            headers.insert(
                name,
                HeaderValue::from_str(value).map_err(io::Error::other)?,
            );
        }
        for (name, value) in &self.headers {
            headers.insert(name, value.clone());
        }
        if let Some((name, value)) = carried {
            headers.insert(
                name,
                HeaderValue::try_from(value).map_err(io::Error::other)?,
            );
        }
        let mut request = Request::get(target)
            .body(Empty::new())
            .map_err(|error| io::Error::other(format!("the path makes no URL: {error}")))?;
        *request.headers_mut() = headers;
        Ok(request)
    }

    /// Whether the answer opens the tunnel (RFC 6455, section 4.1).
    fn verify<B>(&self, answer: &Response<B>, key: &str) -> io::Result<()> {
        let headers = answer.headers();
        if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Err(io::Error::other(self.refused(answer)));
        }
        let accept = headers.get(SEC_WEBSOCKET_ACCEPT);
        if accept.map(|v| v.as_bytes()) != Some(derive_accept_key(key.as_bytes()).as_bytes()) {
            return Err(io::Error::other(
                "101 with a wrong Sec-WebSocket-Accept: this is no WebSocket server, or a cache answers",
            ));
        }
        if headers.contains_key(hyper::header::SEC_WEBSOCKET_EXTENSIONS) {
            return Err(io::Error::other(
                "101 with a WebSocket extension that was not asked for",
            ));
        }
        Ok(())
    }

    /// The status and its likeliest cause.
    fn refused<B>(&self, answer: &Response<B>) -> String {
        let header = |name| {
            let value: &HeaderValue = answer.headers().get(name)?;
            let text = String::from_utf8_lossy(value.as_bytes());
            Some(text.escape_debug().take(200).collect::<String>())
        };
        let path = &self.path;
        let status = answer.status();
        let cause = match status.as_u16() {
            200..=299 => format!("an ordinary web page is at {path}, not a tunnel"),
            301 | 302 | 303 | 307 | 308 => match header(LOCATION) {
                Some(to) if to.starts_with("https:") => {
                    format!("redirected to {to}, is `security: tls` missing?")
                }
                Some(to) => format!("redirected to {to}"),
                None => "redirected to nowhere".to_owned(),
            },
            400 => "a proxy in between did not forward Upgrade (nginx needs `proxy_set_header Upgrade` and `Connection`), or this is an HTTPS port".to_owned(),
            401 => "the server wants a password".to_owned(),
            403 => "the server or a CDN in front forbids it".to_owned(),
            404 => format!("the server does not know path {path}"),
            405 => format!("the server takes no WebSocket at path {path}"),
            413 | 414 | 431 => {
                "the request is too large for the server, is `maxEarlyData` too large?".to_owned()
            }
            426 => "the server wants another version of WebSocket or HTTP".to_owned(),
            502..=504 => {
                "the web server in front is up, but the proxy behind it does not answer".to_owned()
            }
            520..=527 | 530 => "the CDN cannot reach the server behind it".to_owned(),
            500..=599 => "the server has an error of its own".to_owned(),
            _ => "expected 101 Switching Protocols".to_owned(),
        };
        let server = header(SERVER).map_or(String::new(), |name| format!(" (server: {name})"));
        format!("{}: {cause}{server}", status.as_str())
    }
}

/// The connection broke before there was an answer.
fn broken(error: hyper::Error) -> io::Error {
    let source = std::error::Error::source(&error).and_then(|e| e.downcast_ref::<io::Error>());
    if error.is_incomplete_message() || error.is_canceled() {
        let text = "the server closed the connection during the handshake, is this a TLS port?";
        io::Error::new(io::ErrorKind::ConnectionReset, text)
    } else if error.is_parse_too_large() {
        io::Error::other("the answer's header is too large")
    } else if error.is_parse() {
        let text = "the answer is not HTTP, is this a TLS port or another service?";
        io::Error::new(io::ErrorKind::InvalidData, text)
    } else if let Some(source) = source {
        io::Error::new(
            source.kind(),
            format!("during the WebSocket handshake: {source}"),
        )
    } else {
        io::Error::other(format!("during the WebSocket handshake: {error}"))
    }
}

#[cfg(test)]
#[path = "outbound_tests.rs"]
mod tests;
