//! The client's side: one connection to a server carries all tunnels.

use std::io;
use std::sync::Arc;

use http::header::{CONTENT_TYPE, HeaderValue, TE, USER_AGENT};
use http::uri::Scheme;
use http::{Method, Request};

use super::messages::{GRPC, Messages};
use super::settings::ClientSettings;
use crate::address::Destination;
use crate::io::{Link, PeerClock};
use crate::transport::http2;
use crate::transport::pool;

/// The client side.
#[derive(Debug)]
pub struct Outbound {
    settings: ClientSettings,
    /// What time it is at the server, by its answers.
    clock: Arc<PeerClock>,
}

/// A connection to a server.
pub(in crate::transport) struct Connection {
    inner: http2::Connection,
    request: Request<()>,
}

/// Which gRPC library V2Ray has, and how it calls itself.
const GRPC_GO: HeaderValue = HeaderValue::from_static("grpc-go/1.77.0");

impl Outbound {
    /// A client of these settings.
    pub fn new(settings: ClientSettings) -> Self {
        Self {
            settings,
            clock: Arc::default(),
        }
    }

    /// What time it is at the server, once it has answered.
    pub fn clock(&self) -> Arc<PeerClock> {
        self.clock.clone()
    }

    /// Begins HTTP/2 on `link`, which leads to `server`; `name` is the one in TLS.
    pub(in crate::transport) async fn connect(
        &self,
        link: Link,
        server: &Destination,
        name: Option<&str>,
    ) -> io::Result<Connection> {
        let request = self.request(server, name)?;
        let inner = http2::Connection::new(
            link,
            self.settings.window,
            self.settings.pings,
            self.clock(),
        )
        .await?;
        Ok(Connection { inner, request })
    }

    fn request(&self, server: &Destination, name: Option<&str>) -> io::Result<Request<()>> {
        let authority = match (&self.settings.authority, name) {
            (Some(authority), _) => authority.clone(),
            (None, Some(name)) => name.to_owned(),
            (None, None) => server.to_string(),
        };
        let path = match self.settings.multi {
            true => &self.settings.paths.tun_multi,
            false => &self.settings.paths.tun,
        };
        let scheme = match name {
            Some(_) => Scheme::HTTPS,
            None => Scheme::HTTP,
        };
        let mut request = http2::request(Method::POST, scheme, &authority, path)?;
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, GRPC);
        let agent = self.settings.user_agent.clone().unwrap_or(GRPC_GO);
        headers.insert(USER_AGENT, agent);
        headers.insert(TE, HeaderValue::from_static("trailers"));
        Ok(request)
    }
}

impl pool::Connection for Connection {
    fn open(&self) -> Option<Link> {
        let request = self.request.clone();
        self.inner.request(request, Messages::default())
    }

    fn fault(&self) -> Option<io::Error> {
        self.inner.fault()
    }
}
