//! What a client is told of a session that has no way: a page for people, a few lines for programs.

use bytes::Bytes;
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Response, StatusCode, Version};
use http_body_util::{BodyExt, Full};
use tokio::sync::oneshot;

use super::inbound::Body;
use crate::address::Destination;
use crate::cause::{Reach, Unreached};
use crate::seam::Reply;

/// Whether a client shows pages.
pub(super) fn wants_html(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(ACCEPT).iter();
    let mut ranges = accepted.flat_map(|value| value.as_bytes().split(|b| *b == b','));
    ranges.any(|range| {
        let range = range.split(|b| *b == b';').next().unwrap_or_default();
        range.trim_ascii().eq_ignore_ascii_case(b"text/html")
    })
}

/// What is said of a session that has no way.
pub(super) struct Page {
    pub(super) status: StatusCode,
    is_html: bool,
    text: String,
}

impl Page {
    fn new(to: &Destination, why: &Unreached<'_>, is_html: bool) -> Self {
        let status = match why.reach() {
            Reach::Forbidden => StatusCode::FORBIDDEN,
            Reach::Slow => StatusCode::GATEWAY_TIMEOUT,
            Reach::NoNetwork | Reach::NoHost | Reach::Refused | Reach::Broken => {
                StatusCode::BAD_GATEWAY
            }
        };
        let (why, code) = (why.to_string(), why.code());
        let text = match is_html {
            true => format!(
                "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>No way to {to}</title></head>\n\
                 <body><h1>No way to {to}</h1>\n<p>{why}</p>\n<p>The proxy on this machine says so (<code>{code}</code>); its log may say more.</p>\n\
                 </body></html>\n",
                to = escaped(&to.to_string()),
                why = escaped(&why),
                code = escaped(&code),
            ),
            false => format!("no way to {to}: {} [{code}]\n", plain(&why)),
        };
        Self {
            status,
            is_html,
            text,
        }
    }

    fn content_type(&self) -> &'static str {
        match self.is_html {
            true => "text/html; charset=utf-8",
            false => "text/plain; charset=utf-8",
        }
    }

    pub(super) fn response(self) -> Response<Body> {
        let kind = HeaderValue::from_static(self.content_type());
        let body = Full::from(self.text).map_err(|never| match never {});
        let mut answer = Response::new(body.boxed_unsync());
        *answer.status_mut() = self.status;
        let headers = answer.headers_mut();
        headers.insert(CONTENT_TYPE, kind);
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        // No page of the same name can look into it.
        let sandbox = HeaderValue::from_static("default-src 'none'; sandbox");
        headers.insert(CONTENT_SECURITY_POLICY, sandbox);
        answer
    }

    /// The same as bytes, where the connection is not hyper's any more.
    fn bytes(&self) -> Bytes {
        let reason = self.status.canonical_reason().unwrap_or_default();
        format!(
            "HTTP/1.1 {} {reason}\r\nContent-Type: {}\r\nCache-Control: no-store\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{}",
            self.status.as_u16(),
            self.content_type(),
            self.text.len(),
            self.text,
        )
        .into()
    }
}

/// As text of a page.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c if c.is_control() => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// As one line: a server may have put anything into its answer.
fn plain(text: &str) -> String {
    let visible = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    text.chars().map(visible).collect()
}

/// The answer to a CONNECT that waits.
pub(super) struct ToConnect {
    pub(super) to: Destination,
    pub(super) version: Version,
    pub(super) is_html: bool,
}

impl Reply for ToConnect {
    fn answer(self: Box<Self>, outcome: Result<(), &Unreached<'_>>) -> Bytes {
        match (outcome, self.version) {
            (Ok(()), Version::HTTP_10) => {
                Bytes::from_static(b"HTTP/1.0 200 Connection established\r\n\r\n")
            }
            (Ok(()), _) => Bytes::from_static(b"HTTP/1.1 200 Connection established\r\n\r\n"),
            (Err(why), _) => Page::new(&self.to, why, self.is_html).bytes(),
        }
    }
}

/// The answer to a plain request whose session fails; it goes to who waits for a response, and not in its place.
pub(super) struct ToRequest {
    pub(super) to: Destination,
    pub(super) is_html: bool,
    pub(super) page: oneshot::Sender<Page>,
}

impl Reply for ToRequest {
    fn answer(self: Box<Self>, outcome: Result<(), &Unreached<'_>>) -> Bytes {
        if let Err(why) = outcome {
            let page = Page::new(&self.to, why, self.is_html);
            let _ = self.page.send(page);
        }
        Bytes::new()
    }

    fn is_awaited(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    #[test]
    fn nothing_that_others_have_said_becomes_a_tag_or_a_header() {
        let said = "<script>alert('1')</script>\r\nSet-Cookie: a=b\r\n\r\n&";
        let error = io::Error::other(said);
        let to: Destination = "example.com:443".parse().unwrap();
        let why = Unreached::Hop {
            outbound: "\"proxy\"",
            error: &error,
        };
        let page = |is_html| Page::new(&to, &why, is_html);
        let html = page(true).text;
        assert!(
            html.contains("&quot;proxy&quot;: &lt;script&gt;alert(&#39;1&#39;)"),
            "{html}"
        );
        assert!(!html.contains("<script") && !html.contains('\r'));
        let bytes = page(false).bytes();
        let text = std::str::from_utf8(&bytes).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 502 Bad Gateway\r\n"), "{head}");
        assert!(!head.contains("Set-Cookie"), "{head}");
        assert_eq!(body.lines().count(), 1, "{body}");
    }

    #[test]
    fn browsers_have_a_page_and_programs_a_line() {
        for (accept, is_html) in [
            ("text/html,application/xhtml+xml;q=0.9,*/*;q=0.8", true),
            ("image/png, Text/HTML;q=1", true),
            ("*/*", false),
            ("application/json", false),
        ] {
            let mut headers = HeaderMap::new();
            assert!(!wants_html(&headers));
            headers.insert(ACCEPT, HeaderValue::from_static(accept));
            assert_eq!(wants_html(&headers), is_html, "{accept}");
        }
    }
}
