//! The client's side: one connection to a server carries all tunnels.

use std::io;

use http::header::{CONTENT_TYPE, HeaderValue, TE, USER_AGENT};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Method, Request, Uri};

use super::inbound::Messages;
use super::settings::ClientSettings;
use crate::address::Destination;
use crate::io::Link;
use crate::transport::http2;
use crate::transport::pool;

/// The client side.
#[derive(Debug)]
pub struct Outbound(ClientSettings);

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
        Self(settings)
    }

    /// Begins HTTP/2 on `link`, which leads to `server`; `name` is the one in TLS.
    pub(in crate::transport) async fn connect(
        &self,
        link: Link,
        server: &Destination,
        name: Option<&str>,
    ) -> io::Result<Connection> {
        let request = self.request(server, name)?;
        let keepalive = self.0.pings.map(Into::into);
        let inner = http2::Connection::new(link, self.0.window, keepalive).await?;
        Ok(Connection { inner, request })
    }

    fn request(&self, server: &Destination, name: Option<&str>) -> io::Result<Request<()>> {
        let authority = match (&self.0.authority, name) {
            (Some(authority), _) => authority.clone(),
            (None, Some(name)) => name.to_owned(),
            (None, None) => server.to_string(),
        };
        let path = match self.0.multi {
            true => &self.0.paths.tun_multi,
            false => &self.0.paths.tun,
        };
        let unfit =
            |e: &dyn std::fmt::Display| io::Error::new(io::ErrorKind::InvalidInput, e.to_string());
        let uri = Uri::builder()
            .scheme(if name.is_some() {
                Scheme::HTTPS
            } else {
                Scheme::HTTP
            })
            .authority(Authority::try_from(authority).map_err(|e| unfit(&e))?)
            .path_and_query(PathAndQuery::try_from(&**path).map_err(|e| unfit(&e))?)
            .build()
            .map_err(|e| unfit(&e))?;
        let mut request = Request::new(());
        *request.method_mut() = Method::POST;
        *request.uri_mut() = uri;
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        let agent = self.0.user_agent.clone().unwrap_or(GRPC_GO);
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
}
