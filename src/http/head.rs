//! The heads of the handshake's two messages: how they are read, and how names of headers are spelled.
//!
//! Both are one run of lines that an empty one ends, so they are read and written here, byte by byte as a
//! browser and a web server have them, and httparse takes them apart. An HTTP library in between chooses the
//! spelling of names and the shape of its own refusals, and these tell a visitor what it is.

use std::borrow::Cow;
use std::io;

use bytes::{BufMut, BytesMut};
use http::header::{HeaderName, HeaderValue};
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri, Version};
use httparse::{EMPTY_HEADER, Error, Header, ParserConfig, Status};
use tokio::io::AsyncReadExt;

use crate::io::Link;

/// The most headers that a request may have.
pub(crate) const MAX_HEADERS: usize = 100;

/// The most headers that an answer may have: who is asked is not who attacks.
pub(crate) const MAX_HEADERS_OF_ANSWER: usize = 256;

/// How much room there is for the first read; most heads fit in.
const ROOM: usize = 2 * 1024;

/// Why there is no head.
#[derive(Debug)]
pub(crate) enum Unread {
    /// The stream ended in the middle, or before anything came.
    Ended,
    Broken(io::Error),
    /// More bytes or headers than are taken.
    TooLarge,
    /// Not HTTP/1; the text is httparse's.
    Malformed(String),
}

/// A head, and how many bytes it has; `None` when it is not whole.
pub(crate) type Decoded<T> = Result<Option<(T, usize)>, Unread>;

/// Reads until `decode` finds a whole head at the front of `read`. It stays there, and so does what is none.
pub(crate) async fn read<T>(
    link: &mut Link,
    read: &mut BytesMut,
    max: usize,
    decode: fn(&[u8]) -> Decoded<T>,
) -> Result<(T, usize), Unread> {
    let mut looked_at = 0_usize;
    loop {
        // The first bytes are enough to see that something is no HTTP. What comes byte by byte is not
        // looked at for each of them.
        if looked_at == 0 || read.len() >= max || is_whole(&read[looked_at.saturating_sub(3)..]) {
            if let Some(head) = decode(read)? {
                return Ok(head);
            }
            if read.len() >= max {
                return Err(Unread::TooLarge);
            }
        }
        looked_at = read.len();
        let room = max.saturating_sub(read.len());
        read.reserve(room.min(ROOM));
        match link.read_buf(&mut read.limit(room)).await {
            Ok(0) => return Err(Unread::Ended),
            Ok(_) => {}
            Err(e) => return Err(Unread::Broken(e)),
        }
    }
}

/// Whether an empty line is in there.
fn is_whole(bytes: &[u8]) -> bool {
    let mut ends = (0..bytes.len()).filter(|at| bytes[*at] == b'\n');
    ends.any(|at| matches!(bytes[at + 1..], [b'\n', ..] | [b'\r', b'\n', ..]))
}

/// The head of a request at the front of `bytes`.
pub(crate) fn request(bytes: &[u8]) -> Decoded<Request<()>> {
    let mut headers = [EMPTY_HEADER; MAX_HEADERS];
    let mut parsed = httparse::Request::new(&mut headers);
    let len = match parsed.parse(bytes)? {
        Status::Complete(len) => len,
        Status::Partial => return Ok(None),
    };
    let mut request = Request::new(());
    *request.method_mut() = parse(Method::from_bytes(parsed.method.unwrap_or("").as_bytes()))?;
    *request.uri_mut() = parse(Uri::try_from(parsed.path.unwrap_or_default()))?;
    *request.version_mut() = version(parsed.version);
    *request.headers_mut() = map(parsed.headers)?;
    Ok(Some((request, len)))
}

/// The head of an answer at the front of `bytes`.
pub(crate) fn response(bytes: &[u8]) -> Decoded<Response<()>> {
    let mut headers = [EMPTY_HEADER; MAX_HEADERS_OF_ANSWER];
    let mut parsed = httparse::Response::new(&mut headers);
    // What Go takes of a server, and so what V2Ray does: blanks around a status and behind a name, and lines that are folded.
    let len = match ParserConfig::default()
        .allow_multiple_spaces_in_response_status_delimiters(true)
        .allow_spaces_after_header_name_in_responses(true)
        .allow_obsolete_multiline_headers_in_responses(true)
        .parse_response(&mut parsed, bytes)?
    {
        Status::Complete(len) => len,
        Status::Partial => return Ok(None),
    };
    let mut response = Response::new(());
    *response.status_mut() = parse(StatusCode::from_u16(parsed.code.unwrap_or_default()))?;
    *response.version_mut() = version(parsed.version);
    *response.headers_mut() = map(parsed.headers)?;
    Ok(Some((response, len)))
}

fn version(minor: Option<u8>) -> Version {
    match minor {
        Some(1) => Version::HTTP_11,
        _ => Version::HTTP_10,
    }
}

fn map(headers: &[Header<'_>]) -> Result<HeaderMap, Unread> {
    let mut map = HeaderMap::with_capacity(headers.len());
    for header in headers {
        let name = parse(HeaderName::from_bytes(header.name.as_bytes()))?;
        map.append(
            name,
            parse(HeaderValue::from_bytes(&unfolded(header.value)))?,
        );
    }
    Ok(map)
}

/// A value as one line.
fn unfolded(value: &[u8]) -> Cow<'_, [u8]> {
    let ends = |b: &u8| matches!(b, b'\r' | b'\n');
    match value.iter().any(ends) {
        false => value.into(),
        true => value.split(ends).collect::<Vec<_>>().concat().into(),
    }
}

fn parse<T, E: ToString>(value: Result<T, E>) -> Result<T, Unread> {
    value.map_err(|e| Unread::Malformed(e.to_string()))
}

impl From<Error> for Unread {
    fn from(error: Error) -> Self {
        match error {
            Error::TooManyHeaders => Self::TooLarge,
            other => Self::Malformed(other.to_string()),
        }
    }
}

/// The elements of a header that is a list, in however many lines.
pub(crate) fn items<'h>(
    headers: &'h HeaderMap,
    name: &HeaderName,
) -> impl Iterator<Item = &'h [u8]> {
    headers
        .get_all(name)
        .iter()
        .flat_map(|line| line.as_bytes().split(|b| *b == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|item| !item.is_empty())
}

pub(crate) fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    items(headers, name).any(|item| item.eq_ignore_ascii_case(token.as_bytes()))
}

/// Whether this may be a header's name, or a method (RFC 9110, section 5.6.2).
pub(crate) fn is_token(name: &[u8]) -> bool {
    let allowed = |b: &u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(b);
    !name.is_empty() && name.iter().all(allowed)
}

/// Appends one line. A value of a `HeaderValue` has no end of a line in it.
pub(crate) fn line(out: &mut Vec<u8>, name: &HeaderName, value: &[u8]) {
    spell(out, name.as_str());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Appends a name as browsers and servers spell it: `User-Agent`, `Sec-WebSocket-Key`, `DNT`, and
/// Chrome's hints about itself (`sec-ch-ua`) in small letters.
fn spell(out: &mut Vec<u8>, name: &str) {
    if name == "dnt" {
        return out.extend_from_slice(b"DNT");
    }
    if name.starts_with("sec-ch-") {
        return out.extend_from_slice(name.as_bytes());
    }
    for (n, part) in name.split('-').enumerate() {
        if n > 0 {
            out.push(b'-');
        }
        if part == "websocket" {
            out.extend_from_slice(b"WebSocket");
        } else if let [first, rest @ ..] = part.as_bytes() {
            out.push(first.to_ascii_uppercase());
            out.extend_from_slice(rest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Buf;
    use tokio::io::{AsyncWriteExt, duplex};

    #[test]
    fn names_are_spelled_as_everyone_spells_them() {
        for (name, spelled) in [
            ("host", "Host"),
            ("user-agent", "User-Agent"),
            ("sec-websocket-key", "Sec-WebSocket-Key"),
            ("sec-websocket-extensions", "Sec-WebSocket-Extensions"),
            ("x-a--b-", "X-A--B-"),
            ("dnt", "DNT"),
            ("sec-ch-ua", "sec-ch-ua"),
            ("sec-fetch-mode", "Sec-Fetch-Mode"),
        ] {
            let mut out = Vec::new();
            spell(&mut out, name);
            assert_eq!(String::from_utf8(out).unwrap(), spelled);
        }
    }

    /// Of proxies and servers that nobody has looked after for long.
    #[test]
    fn an_answer_may_be_written_as_go_takes_it() {
        for text in [
            "HTTP/1.1  200 fine\r\nA: b\r\n\r\n",
            "HTTP/1.1 200 fine\r\nA : b\r\n\r\n",
            "HTTP/1.1 200\r\nA: b\r\n c\r\n\td\r\n\r\n",
        ] {
            let (answer, len) = response(text.as_bytes()).unwrap().unwrap();
            assert_eq!((answer.status(), len), (StatusCode::OK, text.len()));
            let value = answer.headers()["a"].to_str().unwrap();
            assert!(
                value.starts_with('b') && !value.contains(['\r', '\n']),
                "{value:?}"
            );
        }
        let many = "A: b\r\n".repeat(200);
        let text = format!("HTTP/1.1 200 fine\r\n{many}\r\n");
        assert_eq!(
            response(text.as_bytes())
                .unwrap()
                .unwrap()
                .0
                .headers()
                .len(),
            200
        );
    }

    #[test]
    fn an_empty_line_is_found_wherever_it_is() {
        for (text, whole) in [
            ("", false),
            ("a\r\n", false),
            ("a\r\n\r", false),
            ("\r\n\r\n", true),
            ("\n\r\n", true),
            ("a\n\nb", true),
            ("a\r\nb\r\n\r\nrest", true),
            ("\r\n", false),
        ] {
            assert_eq!(is_whole(text.as_bytes()), whole, "{text:?}");
        }
    }

    /// However a head is cut into reads, it is the same one, and what stands behind it is left.
    #[tokio::test]
    async fn a_head_is_read_alike_wherever_it_is_split() {
        let text = b"GET /a HTTP/1.1\r\nHost: a\r\nX: b, c\r\nX: d\r\n\r\n\x82\x00";
        for at in 0..text.len() - 2 {
            let (mut theirs, ours) = duplex(1024);
            let mut link = Link::other(ours);
            let mut buf = BytesMut::new();
            let reading = read(&mut link, &mut buf, 1024, request);
            let writing = async {
                theirs.write_all(&text[..at]).await.unwrap();
                tokio::task::yield_now().await;
                theirs.write_all(&text[at..]).await.unwrap();
            };
            let (head, ()) = tokio::join!(reading, writing);
            let (head, len) = head.unwrap();
            buf.advance(len);
            assert_eq!((head.uri().path(), head.headers().len()), ("/a", 3));
            let name = HeaderName::from_static("x");
            let list: Vec<&[u8]> = items(head.headers(), &name).collect();
            assert_eq!(list, [b"b", b"c", b"d"]);
            while buf.len() < 2 {
                link.read_buf(&mut buf).await.unwrap();
            }
            assert_eq!(&buf[..], b"\x82\x00", "split at {at}");
        }
    }

    #[tokio::test]
    async fn a_head_has_bounds() {
        for (text, max) in [
            (format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(2000)), 1000),
            (
                format!("GET / HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(101)),
                10_000,
            ),
        ] {
            let (mut theirs, ours) = duplex(16 * 1024);
            theirs.write_all(text.as_bytes()).await.unwrap();
            let mut buf = BytesMut::new();
            let end = read(&mut Link::other(ours), &mut buf, max, request).await;
            assert!(matches!(end, Err(Unread::TooLarge)), "{end:?}");
            assert!(buf.len() <= max && buf.capacity() <= 2 * max.max(ROOM));
        }
    }
}
