//! A client's request for a tunnel that was not granted.

use std::borrow::Cow;
use std::io;
use std::time::Duration;

use thiserror::Error;

/// Why a server opened no tunnel by HTTP.
#[derive(Debug, Error)]
pub enum UpgradeError {
    /// The request cannot be written.
    #[error("the request cannot be made: {0}")]
    Request(String),
    /// The server answers something else than 101.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// 101, to something else.
    #[error("101 without `Upgrade: websocket`: this is no tunnel server")]
    NoUpgrade,
    /// 101, but the connection does not change.
    #[error("101 without `Connection: Upgrade`: a proxy in between took it out")]
    NoConnection,
    /// 101 for another request.
    #[error(
        "101 with a wrong Sec-WebSocket-Accept: this is no WebSocket server, or a cache answers"
    )]
    Accept,
    /// 101 for a protocol that was not asked for.
    #[error("101 with a Sec-WebSocket-Protocol that was not offered")]
    Protocol,
    /// What is wrong with the answer to what was offered.
    #[error("101 with Sec-WebSocket-Extensions: {0}")]
    Extensions(String),
    /// Nothing came, and then the end.
    #[error("the server closed the connection during the handshake, is this a TLS port?")]
    Closed,
    /// The connection failed.
    #[error("during the upgrade: {0}")]
    Broken(#[source] io::Error),
    /// Its header has no end.
    #[error("the answer's header is too large")]
    TooLarge,
    /// Something else came.
    #[error("the answer is not HTTP, is this a TLS port or another service?")]
    NotHttp,
    /// Nothing came in this time.
    #[error("no answer to the upgrade in {} s", .0.as_secs())]
    Slow(Duration),
}

/// A status that opens no tunnel, and what it may come from.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{status}: {}{}", cause(*.status, .path, .location.as_deref()), named(.server.as_deref()))]
pub struct Refused {
    /// The status.
    pub status: u16,
    /// What was asked for.
    pub path: String,
    /// Where the server says it is.
    pub location: Option<String>,
    /// What the server calls itself.
    pub server: Option<String>,
}

impl UpgradeError {
    /// Stays when the sentence changes; that of a status has its number.
    pub fn code(&self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Self::Refused(refused) => return format!("ws-{}", refused.status).into(),
            Self::Request(_) => "ws-request",
            Self::NoUpgrade | Self::NoConnection | Self::Accept => "ws-upgrade",
            Self::Protocol | Self::Extensions(_) => "ws-not-offered",
            Self::Closed => "ws-closed",
            Self::Broken(_) => "ws-broken",
            Self::TooLarge | Self::NotHttp => "ws-not-http",
            Self::Slow(_) => "ws-timeout",
        })
    }

    pub(super) fn kind(&self) -> io::ErrorKind {
        match self {
            Self::Closed => io::ErrorKind::ConnectionReset,
            Self::Broken(e) => e.kind(),
            Self::NotHttp => io::ErrorKind::InvalidData,
            Self::Slow(_) => io::ErrorKind::TimedOut,
            _ => io::ErrorKind::Other,
        }
    }
}

/// The likeliest cause of a status.
fn cause(status: u16, path: &str, location: Option<&str>) -> String {
    let text = match status {
        200..=299 => return format!("an ordinary web page is at {path}, not a tunnel"),
        301 | 302 | 303 | 307 | 308 => {
            return match location {
                Some(to) if to.starts_with("https:") => {
                    format!("redirected to {to}, is `security: tls` missing?")
                }
                Some(to) => format!("redirected to {to}"),
                None => "redirected to nowhere".to_owned(),
            };
        }
        400 => {
            "a proxy in between did not forward Upgrade (nginx needs `proxy_set_header Upgrade` and `Connection`), or this is an HTTPS port"
        }
        401 => "the server wants a password",
        403 => "the server or a CDN in front forbids it",
        407 => "a proxy on the way wants a password",
        421 => "what answers serves another name",
        429 => "too many requests for the web server or the CDN in front",
        511 => "the network that this machine is in wants a login",
        404 => return format!("the server does not know path {path}"),
        405 => return format!("the server takes no tunnel at path {path}"),
        413 | 414 | 431 => "the request is too large for the server, is `maxEarlyData` too large?",
        426 => {
            "a proxy in between did not forward Upgrade (nginx needs `proxy_set_header Upgrade` and `Connection`), or the server wants another version of WebSocket or HTTP"
        }
        502..=504 => "the web server in front is up, but the proxy behind it does not answer",
        520 => {
            "the server behind the CDN answers no HTTP, are its port and the CDN's TLS mode right?"
        }
        521 => {
            "the server behind the CDN refuses connections, does it listen, does a firewall keep the CDN out?"
        }
        525 => "the CDN finds no TLS at the server behind it",
        526 => "the CDN does not believe the certificate of the server behind it",
        522..=524 | 527 | 530 => "the CDN cannot reach the server behind it",
        500..=599 => "the server has an error of its own",
        _ => "expected 101 Switching Protocols",
    };
    text.to_owned()
}

fn named(server: Option<&str>) -> String {
    server.map_or(String::new(), |name| format!(" (server: {name})"))
}
