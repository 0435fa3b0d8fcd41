//! The client side: CONNECT through a proxy.
//!
//! ```text
//! CONNECT host:port HTTP/1.1              →
//! Host, Proxy-Authorization, `headers`    →
//!                                         ←  HTTP/1.1 200 …
//! ```

use std::io;
use std::time::Duration;

use bytes::Bytes;
use http::header::{HOST, PROXY_AUTHORIZATION};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::Empty;
use tokio::time::timeout;

use super::{GOST_PROTOCOL, OutboundSettings, head};
use crate::address::Destination;
use crate::cause::TargetRefused;
use crate::http::client;
use crate::io::{Link, PacketStream, Packets};
use crate::protocol::accounts::Account;
use crate::protocol::bare::headless_client;
use crate::protocol::relay::packets::OfMany;
use crate::protocol::servers::Servers;
use crate::protocol::{FirstPayload, PacketWay, ProxyTraits};

pub struct Outbound {
    servers: Servers<Account>,
    headers: HeaderMap,
    udp_tunnel: bool,
}

/// Who we are at one server.
pub struct Client<'a> {
    account: Option<&'a Account>,
    headers: &'a HeaderMap,
}

/// The most that the head of the answer may take.
const MAX_HEAD: usize = 64 * 1024;

impl From<OutboundSettings> for Outbound {
    fn from(settings: OutboundSettings) -> Self {
        Self {
            servers: Servers::new(settings.servers, |account| account),
            headers: settings.headers,
            udp_tunnel: settings.udp_tunnel,
        }
    }
}

impl Outbound {
    pub fn traits(&self) -> ProxyTraits {
        ProxyTraits {
            first_payload: FirstPayload::Apart,
            packets: self.udp_tunnel.then_some(PacketWay::Link),
            packets_have_one_peer: false,
        }
    }

    /// Whose turn it is.
    pub fn next_hop(&self) -> Option<(&Destination, Client<'_>)> {
        let (server, account) = self.servers.next()?;
        let headers = &self.headers;
        Some((server, Client { account, headers }))
    }
}

impl Client<'_> {
    /// The level of the account, 0 without one.
    pub fn level(&self) -> u32 {
        self.account.map_or(0, |account| account.level)
    }

    /// A stream to `to` through the server at the other end of `link`; `limit` is the time for the
    /// answer to CONNECT, the server's dialling included.
    pub async fn stream(&self, link: Link, to: &Destination, limit: Duration) -> io::Result<Link> {
        let request = self.request(to).map_err(io::Error::other)?;
        answered(link, request, limit).await
    }

    /// Datagrams to anyone inside a CONNECT, whose target has no meaning.
    pub async fn packets(
        &self,
        link: Link,
        to: &Destination,
        limit: Duration,
    ) -> io::Result<Box<dyn Packets>> {
        let mut request = self.request(to).map_err(io::Error::other)?;
        let udp = HeaderValue::from_static("udp");
        request.headers_mut().insert(GOST_PROTOCOL, udp);
        let link = answered(link, request, limit).await?;
        Ok(Box::new(PacketStream::new(link, OfMany)))
    }

    fn request(&self, to: &Destination) -> Result<Request<Empty<Bytes>>, http::Error> {
        let authority = to.to_string();
        let mut request = Request::new(Empty::new());
        *request.method_mut() = Method::CONNECT;
        *request.uri_mut() = Uri::try_from(&authority)?;
        let headers = request.headers_mut();
        headers.insert(HOST, HeaderValue::try_from(&authority)?);
        if let Some(account) = self.account {
            let mut value = HeaderValue::try_from(head::credentials(account))?;
            value.set_sensitive(true);
            headers.insert(PROXY_AUTHORIZATION, value);
        }
        for name in self.headers.keys() {
            headers.remove(name);
            for value in self.headers.get_all(name) {
                headers.append(name, value.clone());
            }
        }
        Ok(request)
    }
}

async fn answered(link: Link, request: Request<Empty<Bytes>>, limit: Duration) -> io::Result<Link> {
    timeout(limit, connect(link, request)).await.map_err(|_| {
        let text = format!("the HTTP proxy did not answer within {} s", limit.as_secs());
        io::Error::new(io::ErrorKind::TimedOut, text)
    })?
}

async fn connect(link: Link, request: Request<Empty<Bytes>>) -> io::Result<Link> {
    let asked = client::ask(link, request, MAX_HEAD).await;
    let (answer, link) = asked.map_err(|e| {
        let text = format!("the HTTP proxy: {}", client::reason(&e));
        io::Error::other(text)
    })?;
    match answer.status() {
        status if status.is_success() => Ok(headless_client(link)),
        status => Err(refused(status)),
    }
}

fn refused(status: StatusCode) -> io::Error {
    let cause = match status.as_u16() {
        400 => "the proxy does not understand CONNECT",
        401 | 407 => "the proxy wants other credentials",
        403 => "the proxy does not allow this target",
        404 | 405 | 501 => "this is a web server that does not proxy CONNECT",
        502..=504 => "the proxy cannot reach the target",
        _ => "the proxy refuses",
    };
    let kind = match status.as_u16() {
        403 => io::ErrorKind::PermissionDenied,
        502 | 503 => io::ErrorKind::HostUnreachable,
        504 => io::ErrorKind::TimedOut,
        _ => io::ErrorKind::Other,
    };
    let text = format!("{}: {cause}", status.as_u16());
    match status.as_u16() {
        403 | 502..=504 => TargetRefused(text).of_kind(kind),
        _ => io::Error::new(kind, text),
    }
}
