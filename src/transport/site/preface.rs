//! Which HTTP a connection speaks: its first bytes say so, whatever TLS has agreed on. Old WebSocket clients agree on `h2`
//! and go on in HTTP/1.1.

use bytes::BytesMut;
use tokio::time::{Instant, timeout_at};

use crate::cause::RequestError;
use crate::http::visit::HEADER_LIMIT;
use crate::io::{Link, linger};

/// What HTTP/2 begins with (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What was found at the front of a connection.
pub(in crate::transport) struct Front {
    pub(in crate::transport) link: Link,
    /// What was read to find it.
    pub(in crate::transport) read: BytesMut,
    pub(in crate::transport) is_http2: bool,
}

/// Reads until it is clear.
///
/// # Errors
///
/// When nothing comes.
pub(in crate::transport) async fn look(
    mut link: Link,
    since: Instant,
) -> Result<Front, RequestError> {
    let until = since + HEADER_LIMIT;
    let mut read = BytesMut::new();
    loop {
        if let Some(is_http2) = is_http2(&read) {
            return Ok(Front {
                link,
                read,
                is_http2,
            });
        }
        let end = match timeout_at(until, link.read_more(&mut read)).await {
            Ok(Ok(1..)) => continue,
            Ok(Ok(0)) if read.is_empty() => RequestError::Closed,
            Ok(Ok(0)) => RequestError::Unfinished,
            Ok(Err(e)) => RequestError::Broken(e),
            Err(_) => RequestError::Slow(HEADER_LIMIT),
        };
        linger(link).await;
        return Err(end);
    }
}

/// `None` when it may become either.
fn is_http2(read: &[u8]) -> Option<bool> {
    let len = read.len().min(PREFACE.len());
    match read[..len] == PREFACE[..len] {
        true if len < PREFACE.len() => None,
        is_it => Some(is_it),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_bytes_tell() {
        for (bytes, told) in [
            ("", None),
            ("P", None),
            ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r", None),
            ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0", Some(true)),
            ("POST / HTTP/1.1\r\n", Some(false)),
            ("GET / HTTP/1.1\r\n", Some(false)),
            ("PRI * HTTP/1.1\r\n\r\n", Some(false)),
        ] {
            assert_eq!(is_http2(bytes.as_bytes()), told, "{bytes:?}");
        }
    }
}
