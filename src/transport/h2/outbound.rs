//! The client's side: one connection to a server carries all tunnels.

use std::io;

use http::header::{ACCEPT_ENCODING, HeaderValue};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Request, Uri};

use super::settings::{ClientSettings, DEFAULT_HOST};
use crate::io::{Link, random};
use crate::transport::http2::{self, Plain};
use crate::transport::pool;

/// The client side.
#[derive(Debug)]
pub struct Outbound(ClientSettings);

/// A connection to a server.
pub(in crate::transport) struct Connection {
    inner: http2::Connection,
    /// One for each `host`.
    requests: Vec<Request<()>>,
}

impl Outbound {
    /// A client of these settings.
    pub fn new(settings: ClientSettings) -> Self {
        Self(settings)
    }

    /// Begins HTTP/2 on `link`.
    pub(in crate::transport) async fn connect(&self, link: Link) -> io::Result<Connection> {
        let default = [DEFAULT_HOST.to_owned()];
        let hosts = match &self.0.hosts[..] {
            [] => &default[..],
            hosts => hosts,
        };
        let requests: io::Result<_> = hosts.iter().map(|host| self.request(host)).collect();
        let keepalive = self.0.pings.map(Into::into);
        let inner = http2::Connection::new(link, None, keepalive).await?;
        Ok(Connection {
            inner,
            requests: requests?,
        })
    }

    fn request(&self, host: &str) -> io::Result<Request<()>> {
        let unfit =
            |e: &dyn std::fmt::Display| io::Error::new(io::ErrorKind::InvalidInput, e.to_string());
        let uri = Uri::builder()
            .scheme(Scheme::HTTPS)
            .authority(Authority::try_from(host).map_err(|e| unfit(&e))?)
            .path_and_query(PathAndQuery::try_from(&*self.0.path).map_err(|e| unfit(&e))?)
            .build()
            .map_err(|e| unfit(&e))?;
        let mut request = Request::new(());
        *request.method_mut() = self.0.method.clone();
        *request.uri_mut() = uri;
        // What a proxy in between compressed, it would keep back.
        let headers = request.headers_mut();
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        for (name, value) in &self.0.headers {
            headers.append(name, value.clone());
        }
        Ok(request)
    }
}

impl pool::Connection for Connection {
    fn open(&self) -> Option<Link> {
        let mut chance = [0];
        random::fill(&mut chance);
        let turn = usize::from(chance[0]) % self.requests.len();
        self.inner.request(self.requests[turn].clone(), Plain)
    }
}
