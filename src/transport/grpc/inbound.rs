//! The server's side.

use ::h2::RecvStream;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};

use super::messages::{GRPC, MESSAGE, Messages, STATUS, is_grpc};
use super::settings::ServerSettings;
use crate::cause::Unfit;
use crate::http::Forwarded;
use crate::transport::http2::server::{Answer, Service};
use crate::transport::http2::{self, Pings};

/// The server side.
pub type Inbound = http2::Inbound<ServerSettings>;

/// "The operation is not implemented".
const UNIMPLEMENTED: HeaderValue = HeaderValue::from_static("12");

/// A fault inside the server, as grpc-go has it.
const INTERNAL: HeaderValue = HeaderValue::from_static("13");

impl Service for ServerSettings {
    type Framing = Messages;

    /// A stranger sees what grpc-go answers.
    fn answer(&self, request: &Request<RecvStream>) -> Answer<Messages> {
        let refused = |status, grpc: HeaderValue, text: String, unfit| {
            let mut head = Response::new(());
            *head.status_mut() = status;
            let headers = head.headers_mut();
            headers.insert(CONTENT_TYPE, GRPC);
            headers.insert(STATUS, grpc);
            if let Ok(text) = HeaderValue::from_str(&text) {
                headers.insert(MESSAGE, text);
            }
            Answer::Refused { head, unfit }
        };
        let path = request.uri().path();
        let kind = request.headers().get(CONTENT_TYPE);
        if request.method() != Method::POST {
            let text = format!(
                "Received a HEADERS frame with :method \"{}\" which should be POST",
                request.method()
            );
            let status = StatusCode::METHOD_NOT_ALLOWED;
            return refused(status, INTERNAL, text, Unfit::NotGrpc);
        }
        if !kind.is_some_and(is_grpc) {
            let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
            let text = format!("invalid gRPC request content-type \"{kind}\"");
            let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
            return refused(status, INTERNAL, text, Unfit::NotGrpc);
        }
        if !self.paths.has(path) {
            let text = match path.trim_start_matches('/').rsplit_once('/') {
                Some((service, _)) => format!("unknown service {service}"),
                None => format!("malformed method name: \"{path}\""),
            };
            let unfit = Unfit::Path(self.paths.tun.clone());
            return refused(StatusCode::OK, UNIMPLEMENTED, text, unfit);
        }
        let mut head = Response::new(());
        head.headers_mut().insert(CONTENT_TYPE, GRPC);
        Answer::Granted {
            head,
            framing: Messages::default(),
            route: 0,
        }
    }

    fn forwarded(&self, _route: Option<usize>) -> &Forwarded {
        &self.forwarded
    }

    fn pings(&self) -> Option<Pings> {
        self.pings
    }
}
