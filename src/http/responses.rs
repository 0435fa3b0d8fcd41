//! What a visitor sees who is not a tunnel: the short error pages of an ordinary web server.
//!
//! ```text
//! HTTP/1.1 404 Not Found
//! Date: Thu, 26 Nov 2026 01:20:00 GMT
//! Content-Type: text/html
//! Content-Length: 114
//! Connection: keep-alive          or close
//! ```
//!
//! Every refusal has this one shape, whatever was wrong and however little of it was HTTP: a page that
//! differs in more than its status tells a prober which program read the request, and how far. It names no
//! product. Only a wrong version of WebSocket adds the two headers with which RFC 6455 answers it.

use std::time::SystemTime;

use http::header::{
    CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, DATE, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{HeaderMap, StatusCode};

use super::head::line;

/// What follows an error page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    /// Another request may come.
    KeepAlive,
    Close,
}

/// The page of an error; `with_page` is false in the answer to HEAD.
pub(crate) fn error(status: StatusCode, then: Then, with_page: bool) -> Vec<u8> {
    let (title, page) = (title(status), page(status));
    let upgrade = status == StatusCode::UPGRADE_REQUIRED;
    let connection = match (then, upgrade) {
        (Then::KeepAlive, false) => "keep-alive",
        (Then::KeepAlive, true) => "keep-alive, Upgrade",
        (Then::Close, false) => "close",
        (Then::Close, true) => "close, Upgrade",
    };
    let date = httpdate::fmt_http_date(SystemTime::now());
    let mut out = status_line(&title);
    line(&mut out, &DATE, date.as_bytes());
    line(&mut out, &CONTENT_TYPE, b"text/html");
    line(&mut out, &CONTENT_LENGTH, page.len().to_string().as_bytes());
    line(&mut out, &CONNECTION, connection.as_bytes());
    if upgrade {
        line(&mut out, &UPGRADE, b"websocket");
        line(&mut out, &SEC_WEBSOCKET_VERSION, b"13");
    }
    out.extend_from_slice(b"\r\n");
    if with_page {
        out.extend_from_slice(page.as_bytes());
    }
    out
}

/// The text of an error page.
pub(crate) fn page(status: StatusCode) -> String {
    let title = title(status);
    format!(
        "<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n\
         <center><h1>{title}</h1></center>\r\n</body>\r\n</html>\r\n"
    )
}

/// The answer that opens a tunnel, with the headers of V2Ray's in its order; the first two are a WebSocket's.
pub(crate) fn switch(accept: Option<&str>, protocol: Option<&[u8]>, more: &HeaderMap) -> Vec<u8> {
    let mut out = status_line(&title(StatusCode::SWITCHING_PROTOCOLS));
    line(&mut out, &UPGRADE, b"websocket");
    line(&mut out, &CONNECTION, b"Upgrade");
    if let Some(accept) = accept {
        line(&mut out, &SEC_WEBSOCKET_ACCEPT, accept.as_bytes());
    }
    if let Some(protocol) = protocol {
        line(&mut out, &SEC_WEBSOCKET_PROTOCOL, protocol);
    }
    // What was agreed on is said once.
    for (name, value) in more
        .iter()
        .filter(|(name, _)| *name != SEC_WEBSOCKET_PROTOCOL)
    {
        line(&mut out, name, value.as_bytes());
    }
    out.extend_from_slice(b"\r\n");
    out
}

fn title(status: StatusCode) -> String {
    let reason = status.canonical_reason().unwrap_or_default();
    format!("{} {reason}", status.as_str())
}

fn status_line(title: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(512);
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(title.as_bytes());
    out.extend_from_slice(b"\r\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Configs are copied from the client's side.
    #[test]
    fn what_was_agreed_on_is_said_once() {
        let more = HeaderMap::from_iter([(
            SEC_WEBSOCKET_PROTOCOL,
            http::HeaderValue::from_static("abc"),
        )]);
        let answer = String::from_utf8(switch(Some("x"), Some(b"abc"), &more)).unwrap();
        assert_eq!(
            answer.matches("Sec-WebSocket-Protocol: abc\r\n").count(),
            1,
            "{answer}"
        );
    }
}
