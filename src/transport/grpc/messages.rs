//! How a link's bytes stand in a call, and how a call begins and ends.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{HeaderMap, Response, StatusCode};

use super::codec::{Decoder, message};
use crate::cause::StreamError;
use crate::transport::http2::stream::{Framing, Step};

/// How bytes stand in the messages of a call.
#[derive(Debug, Default)]
pub(in crate::transport) struct Messages(Decoder);

pub(super) const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");
pub(super) const STATUS: &str = "grpc-status";
pub(super) const MESSAGE: &str = "grpc-message";

pub(super) fn is_grpc(kind: &HeaderValue) -> bool {
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
