//! The server's side.

use std::sync::Arc;

use ::h2::RecvStream;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{HeaderMap, Method, Request, Response, StatusCode};

use super::codec::{Decoder, message};
use super::settings::{Pings, ServerSettings};
use crate::cause::{AcceptError, StreamError, Unfit};
use crate::http::visit::Tell;
use crate::seam::Arrival;
use crate::session::Source;
use crate::transport::Arrivals;
use crate::transport::http2::keepalive::Keepalive;
use crate::transport::http2::server::{self, Answer, Service};
use crate::transport::http2::stream::{Framing, Step};

/// The server side.
pub struct Inbound(Arc<ServerSettings>);

/// How bytes stand in the messages of a call.
#[derive(Debug, Default)]
pub(in crate::transport) struct Messages(Decoder);

const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");
const STATUS: &str = "grpc-status";
const MESSAGE: &str = "grpc-message";

/// "The operation is not implemented".
const UNIMPLEMENTED: HeaderValue = HeaderValue::from_static("12");

/// A fault inside the server, as grpc-go has it.
const INTERNAL: HeaderValue = HeaderValue::from_static("13");

impl Inbound {
    /// A server of these settings.
    pub fn new(settings: ServerSettings) -> Self {
        Self(Arc::new(settings))
    }

    /// A connection, whose calls are links.
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
    type Framing = Messages;

    /// A stranger sees what grpc-go answers.
    fn answer(&self, request: &Request<RecvStream>, peer: Source) -> Answer<Messages> {
        let refused = |status, grpc: HeaderValue, text: String, unfit| {
            let mut head = Response::new(());
            *head.status_mut() = status;
            let headers = head.headers_mut();
            headers.insert(CONTENT_TYPE, GRPC);
            headers.insert(STATUS, grpc);
            if let Ok(text) = HeaderValue::from_str(&text) {
                headers.insert(MESSAGE, text);
            }
            Answer::Refused {
                head,
                unfit,
                source: self.forwarded.client(request.headers(), peer),
            }
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
            source: self.forwarded.client(request.headers(), peer),
        }
    }

    fn keepalive(&self) -> Option<Keepalive> {
        self.pings.map(Keepalive::from)
    }
}

impl From<Pings> for Keepalive {
    fn from(pings: Pings) -> Self {
        Self {
            period: pings.period,
            limit: pings.limit,
            without_stream: pings.without_stream,
        }
    }
}

fn is_grpc(kind: &HeaderValue) -> bool {
    let kind = kind.as_bytes();
    let Some(rest) = kind.strip_prefix(GRPC.as_bytes()) else {
        return false;
    };
    matches!(rest.first(), None | Some(b'+' | b';'))
}

impl Framing for Messages {
    fn encode(&self, payload: &[u8]) -> Bytes {
        message(payload)
    }

    fn decode(&mut self, sealed: &[u8], room: usize) -> Result<Step, StreamError> {
        self.0.step(sealed, room)
    }

    fn trailers(&self) -> Option<HeaderMap> {
        let mut trailers = HeaderMap::new();
        trailers.insert(STATUS, HeaderValue::from_static("0"));
        Some(trailers)
    }

    fn check(&self, answer: &Response<()>) -> Result<(), StreamError> {
        if answer.status() != StatusCode::OK {
            return Err(StreamError::Status {
                status: answer.status().as_u16(),
            });
        }
        let kind = answer.headers().get(CONTENT_TYPE);
        if !kind.is_some_and(is_grpc) {
            let kind = kind.map(|kind| String::from_utf8_lossy(kind.as_bytes()).into_owned());
            let kind = kind.unwrap_or_default().escape_debug().take(80).collect();
            return Err(StreamError::ContentType(kind));
        }
        // A refusal has its status in the head.
        self.check_trailers(answer.headers())
    }

    fn check_trailers(&self, trailers: &HeaderMap) -> Result<(), StreamError> {
        let text = |name| {
            let value = trailers.get(name)?;
            Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
        };
        match text(STATUS).and_then(|status| status.parse().ok()) {
            None | Some(0) => Ok(()),
            Some(code) => {
                let message = text(MESSAGE).unwrap_or_default();
                let message = message.chars().take(200).collect();
                Err(StreamError::Grpc { code, message })
            }
        }
    }
}
