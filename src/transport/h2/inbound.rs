//! The server's side.

use std::sync::Arc;

use ::h2::RecvStream;
use http::header::{CACHE_CONTROL, HOST, HeaderValue};
use http::{Request, Response, StatusCode};

use super::settings::ServerSettings;
use crate::cause::{AcceptError, Unfit};
use crate::http::visit::Tell;
use crate::seam::Arrival;
use crate::session::Source;
use crate::transport::Arrivals;
use crate::transport::http2::Plain;
use crate::transport::http2::keepalive::Keepalive;
use crate::transport::http2::server::{self, Answer, Service};

/// The server side.
pub struct Inbound(Arc<ServerSettings>);

impl Inbound {
    /// A server of these settings.
    pub fn new(settings: ServerSettings) -> Self {
        Self(Arc::new(settings))
    }

    /// A connection, whose requests are links.
    ///
    /// # Errors
    ///
    /// When it does not begin as HTTP/2.
    pub async fn accept(&self, arrival: Arrival, tell: &Tell) -> Result<Arrivals, AcceptError> {
        server::accept(self.0.clone(), arrival, tell.clone()).await
    }

    /// Whether many people may come from `source`, so that it must not be counted as one of them.
    pub fn is_shared(&self, source: Source) -> bool {
        self.0.forwarded.is_shared(source)
    }
}

impl Service for ServerSettings {
    type Framing = Plain;

    fn answer(&self, request: &Request<RecvStream>, peer: Source) -> Answer<Plain> {
        let not_found = |unfit| {
            let mut head = Response::new(());
            *head.status_mut() = StatusCode::NOT_FOUND;
            Answer::Refused {
                head,
                unfit,
                source: self.forwarded.client(request.headers(), peer),
            }
        };
        let in_header = || request.headers().get(HOST)?.to_str().ok();
        let host = request.uri().host().or_else(in_header).unwrap_or_default();
        if !self.is_ours(host) {
            return not_found(Unfit::OtherHost(self.hosts.join(", ")));
        }
        if !request.uri().path().starts_with(&self.path) {
            return not_found(Unfit::Path(self.path.clone()));
        }
        let mut head = Response::new(());
        let no_store = HeaderValue::from_static("no-store");
        head.headers_mut().insert(CACHE_CONTROL, no_store);
        for (name, value) in &self.headers {
            head.headers_mut().append(name, value.clone());
        }
        Answer::Granted {
            head,
            framing: Plain,
            source: self.forwarded.client(request.headers(), peer),
        }
    }

    fn keepalive(&self) -> Option<Keepalive> {
        None
    }
}

impl ServerSettings {
    /// Whether requests may be for `host`, with or without its port.
    fn is_ours(&self, host: &str) -> bool {
        let name = |host: &str| match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name.to_owned(),
            _ => host.to_owned(),
        };
        let asked = name(host);
        let mut hosts = self.hosts.iter();
        self.hosts.is_empty() || hosts.any(|ours| name(ours).eq_ignore_ascii_case(&asked))
    }
}
