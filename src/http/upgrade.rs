//! An upgrade of a connection, as far as it is the same whatever the connection becomes.
//!
//! ```text
//! GET /ray HTTP/1.1 … Connection: Upgrade, Upgrade: websocket   ──▶
//!                                                               ◀──   101 Switching Protocols
//! ```

use std::borrow::Cow;
use std::sync::Once;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use http::header::{CONNECTION, DATE, HOST, HeaderMap, HeaderValue, LOCATION, SERVER, UPGRADE};
use http::{Method, Request, Response, StatusCode, Version};
use percent_encoding::percent_decode_str;
use tokio::io::AsyncWriteExt;
use tracing::warn;

use super::early_data::{self, EarlyDataIn};
use super::head::{self, Unread, has_token};
use super::request::without_port;
use super::{body, visit};
use crate::cause::{Refused, Unfit, UpgradeError};
use crate::io::{Link, PeerClock};

/// For a client's request and its answer, as in V2Ray.
pub(crate) const LIMIT: Duration = Duration::from_secs(8);

/// The most that an answer's header may have.
pub(crate) const MAX_HEADER: usize = 64 * 1024;

/// Where a server's tunnel is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'s> {
    /// With its `/`, as it is when nothing in it is percent-encoded.
    pub(crate) path: &'s str,
    /// Whether everything below the path is ours, too.
    pub(crate) below: bool,
    /// The host that requests must name, if it matters.
    pub(crate) host: Option<&'s str>,
    /// Where early data is looked for besides `Sec-WebSocket-Protocol`.
    pub(crate) early: Option<&'s EarlyDataIn>,
}

impl Place<'_> {
    /// Whether a request asks for an upgrade here, in the order in which a web server would notice; and the early data
    /// behind its path.
    pub(crate) fn upgraded_by(&self, request: &Request<()>) -> Result<Vec<u8>, visit::Refused> {
        let refused = |status, unfit| Err(visit::Refused { status, unfit });
        let bad = |unfit| refused(StatusCode::BAD_REQUEST, unfit);
        let headers = request.headers();
        let in_path = self.asked_by(request)?;
        if request.method() != Method::GET {
            return refused(StatusCode::METHOD_NOT_ALLOWED, Unfit::Method);
        }
        let hosts = headers.get_all(HOST).iter().count();
        if hosts > 1 || (hosts == 0 && request.version() == Version::HTTP_11) {
            return bad(Unfit::Host);
        }
        if !has_token(headers, &UPGRADE, "websocket") {
            return bad(Unfit::NoUpgrade);
        }
        if !has_token(headers, &CONNECTION, "upgrade") {
            return bad(Unfit::NoConnection);
        }
        match body::len(headers) {
            Some(0) => Ok(in_path),
            _ => bad(Unfit::Body),
        }
    }

    /// Whether it asks for this host and path.
    fn asked_by(&self, request: &Request<()>) -> Result<Vec<u8>, visit::Refused> {
        let missing = |unfit| visit::Refused {
            status: StatusCode::NOT_FOUND,
            unfit,
        };
        let path = Cow::from(percent_decode_str(request.uri().path()));
        let in_path = self.early_data_in_path(&path);
        let in_path = in_path.ok_or_else(|| {
            missing(match self.is_early_data_behind(&path) {
                true => Unfit::EarlyData(self.path.to_owned()),
                false => Unfit::Path(self.path.to_owned()),
            })
        })?;
        let named = request.headers().get(HOST).map(HeaderValue::as_bytes);
        match self.host {
            Some(host) if !is_host(host, named) => Err(missing(Unfit::OtherHost(host.to_owned()))),
            _ => Ok(in_path),
        }
    }

    /// Whether a client that sends early data in the path has our path; behind `/` is every one.
    fn is_early_data_behind(&self, path: &[u8]) -> bool {
        let own = Some(self.path.as_bytes()).filter(|own| own.len() > 1);
        let behind = own.and_then(|own| path.strip_prefix(own));
        behind.is_some_and(|behind| early_data::decode_plausible(behind).is_some())
    }

    /// Compares the path as V2Ray does: decoded, and exactly, but for early data behind it. `None`
    /// when it is not ours.
    fn early_data_in_path(&self, path: &[u8]) -> Option<Vec<u8>> {
        let own = self.path.strip_prefix('/').unwrap_or(self.path);
        let behind = path.strip_prefix(b"/")?.strip_prefix(own.as_bytes())?;
        match (behind, self.early) {
            ([], _) => Some(Vec::new()),
            _ if self.below && own.is_empty() | own.ends_with('/') => Some(Vec::new()),
            (suffix, Some(EarlyDataIn::Path)) => early_data::decode(suffix),
            _ => None,
        }
    }
}

/// As Xray compares them: in any case, and whatever port the request adds.
fn is_host(host: &str, named: Option<&[u8]>) -> bool {
    let Some(named) = named.and_then(|named| std::str::from_utf8(named).ok()) else {
        return false;
    };
    let bare = without_port(named);
    let is_this = |named: &str| named.eq_ignore_ascii_case(host);
    is_this(named) || is_this(bare) || is_this(bare.trim_matches(['[', ']']))
}

/// Sends a request, and reads the answer: its head, and what came behind it. `clock` is told what time it is there.
pub(crate) async fn ask(
    link: &mut Link,
    request: &[u8],
    clock: &PeerClock,
) -> Result<(Response<()>, BytesMut), UpgradeError> {
    let sent = async {
        link.write_all(request).await?;
        link.flush().await
    };
    let sent = sent.await;
    let mut read = BytesMut::new();
    loop {
        match head::read(link, &mut read, MAX_HEADER, head::response).await {
            Ok((answer, len)) => {
                read.advance(len);
                if !is_preliminary(answer.status()) {
                    look_at_clock(answer.headers(), clock);
                    return Ok((answer, read));
                }
            }
            // A server may refuse without reading all of it, and say why.
            Err(unread) => {
                let unsent = sent.err().map(UpgradeError::Broken);
                return Err(unsent.unwrap_or_else(|| unread.into()));
            }
        }
    }
}

/// An answer says what time it is, if it has a date.
pub(crate) fn look_at_clock(headers: &HeaderMap, clock: &PeerClock) {
    let date = headers.get(DATE).and_then(|date| date.to_str().ok());
    if let Some(there) = date.and_then(|date| httpdate::parse_http_date(date).ok()) {
        clock.heard(there);
    }
}

/// Whether an answer is one before the answer: 103 Early Hints, for instance.
pub(crate) fn is_preliminary(status: StatusCode) -> bool {
    status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS
}

/// Whether the answer to a request for `path` makes the connection a tunnel.
pub(crate) fn granted(answer: &Response<()>, path: &str) -> Result<(), UpgradeError> {
    let headers = answer.headers();
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Err(refused(answer, path).into());
    }
    if !has_token(headers, &UPGRADE, "websocket") {
        return Err(UpgradeError::NoUpgrade);
    }
    if !has_token(headers, &CONNECTION, "upgrade") {
        return Err(UpgradeError::NoConnection);
    }
    Ok(())
}

/// What an answer says that is no 101.
pub(crate) fn refused(answer: &Response<()>, path: &str) -> Refused {
    let headers: &HeaderMap = answer.headers();
    let header = |name| {
        let value: &HeaderValue = headers.get(name)?;
        let text = String::from_utf8_lossy(value.as_bytes());
        Some(text.escape_debug().take(200).collect::<String>())
    };
    Refused {
        status: answer.status().as_u16(),
        path: path.to_owned(),
        location: header(LOCATION),
        server: header(SERVER),
    }
}

/// The connection broke before there was an answer.
impl From<Unread> for UpgradeError {
    fn from(unread: Unread) -> Self {
        match unread {
            Unread::Ended => Self::Closed,
            Unread::Broken(e) => Self::Broken(e),
            Unread::TooLarge => Self::TooLarge,
            Unread::Malformed(_) => Self::NotHttp,
        }
    }
}

/// HTTP/1.0 has no upgrade. It works with V2Ray as well, so that nobody notices what is missing until another proxy is
/// stricter.
pub(crate) fn warn_of_http_10(request: &Request<()>) {
    static TOLD: Once = Once::new();
    if request.version() == Version::HTTP_10 {
        TOLD.call_once(|| {
            warn!(
                "the proxy in front asks for the upgrade as HTTP/1.0, which has none: it is answered as V2Ray does, \
                 and wants HTTP/1.1 (nginx: `proxy_http_version 1.1`)"
            );
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_compared_as_xray_does() {
        for (host, named, same) in [
            ("a.example", "a.example", true),
            ("a.example", "A.Example:8443", true),
            ("A.EXAMPLE", "a.example:80", true),
            ("a.example:8443", "a.example:8443", true),
            ("a.example:8443", "a.example", false),
            ("a.example", "b.example", false),
            ("a.example", "a.example.evil", false),
            ("2001:db8::1", "[2001:db8::1]:80", true),
            ("[2001:db8::1]", "[2001:db8::1]", true),
            ("a.example", "", false),
        ] {
            assert_eq!(
                is_host(host, Some(named.as_bytes())),
                same,
                "{host} {named}"
            );
        }
        assert!(!is_host("a.example", None));
    }
}
