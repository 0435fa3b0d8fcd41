//! The client's side: one connection to a server carries all tunnels.

use std::io;
use std::sync::Arc;

use http::Request;
use http::header::{ACCEPT_ENCODING, HeaderValue};
use http::uri::Scheme;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::settings::{ClientSettings, DEFAULT_HOST};
use crate::io::{Link, PeerClock, random};
use crate::transport::http2::{self, Plain};
use crate::transport::pool;

/// What Go encodes of a path, and so V2Ray of `path`: a `?` in it begins no query.
const PATH: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~')
    .remove(b'$')
    .remove(b'&')
    .remove(b'+')
    .remove(b',')
    .remove(b'/')
    .remove(b':')
    .remove(b';')
    .remove(b'=')
    .remove(b'@');

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
    /// One for each `host`.
    requests: Vec<Request<()>>,
}

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

    /// Begins HTTP/2 on `link`.
    pub(in crate::transport) async fn connect(&self, link: Link) -> io::Result<Connection> {
        let default = [DEFAULT_HOST.to_owned()];
        let hosts = match &self.settings.hosts[..] {
            [] => &default[..],
            hosts => hosts,
        };
        let requests: io::Result<_> = hosts.iter().map(|host| self.request(host)).collect();
        let inner = http2::Connection::new(link, None, self.settings.pings, self.clock()).await?;
        Ok(Connection {
            inner,
            requests: requests?,
        })
    }

    fn request(&self, host: &str) -> io::Result<Request<()>> {
        let method = self.settings.method.clone();
        let path = utf8_percent_encode(&self.settings.path, PATH).to_string();
        let mut request = http2::request(method, Scheme::HTTPS, host, &path)?;
        // What a proxy in between compressed, it would keep back.
        let headers = request.headers_mut();
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        for (name, value) in &self.settings.headers {
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

    fn fault(&self) -> Option<io::Error> {
        self.inner.fault()
    }
}
