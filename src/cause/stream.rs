//! A stream of HTTP/2 that is no tunnel.

use std::borrow::Cow;
use std::io;

use thiserror::Error;

/// Why a stream carries nothing, or no more. It travels inside an [`io::Error`].
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum StreamError {
    /// A server's answer to the request.
    #[error("{status}: {}", words(*.status))]
    Status {
        /// The number.
        status: u16,
    },
    /// A server's last word, if it is not 0.
    #[error("the server ends the stream with gRPC status {code}{}: {}", added(.message), grpc(*.code))]
    Grpc {
        /// The number.
        code: u32,
        /// What the server adds.
        message: String,
    },
    /// An answer that is none of gRPC's.
    #[error("the answer is `{0}`, not gRPC: does something else answer at this path?")]
    ContentType(String),
    /// What answers speaks another protocol.
    #[error(
        "what answers does not speak HTTP/2: is this its port, and has the server `network: grpc` or `http` as well?"
    )]
    NotHttp2,
    /// The peer resets the stream, or the connection.
    #[error("the peer resets the stream: {0}")]
    Reset(String),
    /// What came is not framed as it should be.
    #[error("what came is no message of gRPC's tunnel: {0}")]
    Malformed(&'static str),
}

impl StreamError {
    /// The cause that an error carries.
    pub fn of(error: &io::Error) -> Option<&Self> {
        super::inner(error)?.downcast_ref()
    }

    /// Stays when the sentence changes; that of a status has its number.
    pub fn code(&self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Self::Status { status } => return format!("h2-{status}").into(),
            Self::Grpc { code, .. } => return format!("grpc-{code}").into(),
            Self::ContentType(_) => "grpc-not-grpc",
            Self::NotHttp2 => "h2-not-http2",
            Self::Reset(_) => "h2-reset",
            Self::Malformed(_) => "grpc-malformed",
        })
    }

    fn kind(&self) -> io::ErrorKind {
        match self {
            Self::Status { .. } | Self::Grpc { .. } | Self::ContentType(_) => io::ErrorKind::Other,
            Self::Reset(_) => io::ErrorKind::ConnectionReset,
            Self::NotHttp2 | Self::Malformed(_) => io::ErrorKind::InvalidData,
        }
    }
}

impl From<StreamError> for io::Error {
    fn from(error: StreamError) -> Self {
        Self::new(error.kind(), error)
    }
}

fn words(status: u16) -> &'static str {
    match status {
        200..=299 => "an ordinary web page is there, not a tunnel",
        301..=308 => "the server redirects: is it the right name and path?",
        400 => "the server does not understand the request: is this its port?",
        403 => "the server or a CDN in front forbids it",
        404 => "the server knows no such path or host: compare them on both ends",
        405 => "the server does not take this method",
        413 => {
            "the server in front limits the length of requests (nginx: `client_max_body_size 0`)"
        }
        415 => "the server does not take gRPC here",
        502..=504 => "the web server in front is up, but the proxy behind it does not answer",
        520..=527 | 530 => "the CDN cannot reach the server behind it",
        500..=599 => "the server has an error of its own",
        _ => "expected 200",
    }
}

fn grpc(code: u32) -> &'static str {
    match code {
        12 => "it knows no such service: compare `serviceName` on both ends",
        14 => "what is behind it does not answer",
        16 | 7 => "it is not allowed",
        _ => "it has given the stream up",
    }
}

fn added(text: &str) -> String {
    match text {
        "" => String::new(),
        text => format!(" ({})", text.escape_debug()),
    }
}
