//! The server's side.

use std::borrow::Cow;

use ::h2::RecvStream;
use http::header::{CACHE_CONTROL, HOST, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use percent_encoding::percent_decode_str;

use super::settings::ServerSettings;
use crate::cause::Unfit;
use crate::http::Forwarded;
use crate::transport::http2::server::{Answer, Service};
use crate::transport::http2::{self, Pings, Plain};

/// The server side.
pub type Inbound = http2::Inbound<ServerSettings>;

impl Service for ServerSettings {
    type Framing = Plain;

    fn answer(&self, request: &Request<RecvStream>) -> Answer<Plain> {
        let not_found = |unfit| {
            let mut head = Response::new(());
            *head.status_mut() = StatusCode::NOT_FOUND;
            Answer::Refused { head, unfit }
        };
        let in_header = || request.headers().get(HOST)?.to_str().ok();
        let host = request.uri().host().or_else(in_header).unwrap_or_default();
        if !self.is_ours(host) {
            return not_found(Unfit::OtherHost(self.hosts.join(", ")));
        }
        let path: Cow<'_, [u8]> = percent_decode_str(request.uri().path()).into();
        if !path.starts_with(self.path.as_bytes()) {
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
            route: 0,
        }
    }

    fn forwarded(&self, _route: Option<usize>) -> &Forwarded {
        &self.forwarded
    }

    fn pings(&self) -> Option<Pings> {
        None
    }

    fn is_tunnels(&self, method: &Method, _route: usize) -> bool {
        *method == self.method
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
