//! A head, read as Go reads it and written as hyper takes it.

use super::READ;
use super::body::{At, Chunk};
use crate::http::head::is_token;
use crate::protocol::http::GOST_PROTOCOL;

/// How long a whole head is, empty lines in front included; its end is not before `from`.
pub(super) fn len(bytes: &[u8], from: usize) -> Option<usize> {
    let begin = bytes.iter().position(|b| !matches!(b, b'\r' | b'\n'))?;
    let from = begin.max(from.saturating_sub(3));
    let mut ends = (from..bytes.len()).filter(|at| bytes[*at] == b'\n');
    ends.find_map(|at| match bytes[at + 1..] {
        [b'\n', ..] => Some(at + 2),
        [b'\r', b'\n', ..] => Some(at + 3),
        _ => None,
    })
}

/// Whether bytes look like the beginning of a request. What does not is refused at once.
pub(super) fn may_begin(bytes: &[u8]) -> bool {
    let begin = bytes.iter().position(|b| !matches!(b, b'\r' | b'\n'));
    let Some(rest) = begin.map(|at| &bytes[at..]) else {
        return bytes.len() < READ;
    };
    let line = rest.split(|b| *b == b'\n').next().unwrap_or_default();
    let is_text = line
        .iter()
        .all(|b| *b >= b' ' || matches!(b, b'\r' | b'\t'));
    let is_whole = line.len() < rest.len();
    is_text && rest[0] != b' ' && (!is_whole || line.split(|b| *b == b' ').count() >= 3)
}

/// The head as hyper takes it, and what follows it.
pub(super) fn mend(head: &[u8]) -> (Vec<u8>, At) {
    let begin = head.iter().position(|b| !matches!(b, b'\r' | b'\n'));
    let mut lines = head[begin.unwrap_or(0)..]
        .split(|b| *b == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let Some(mut request) = lines.next().and_then(RequestLine::read) else {
        return (head.to_vec(), At::Raw);
    };
    let is_connect = request.method == b"CONNECT";
    let is_old = request.version == b"HTTP/1.0";
    let mut headers: Vec<(&[u8], Vec<u8>)> = Vec::new();
    let mut is_dropped = true;
    for line in lines.take_while(|line| !line.is_empty()) {
        if let [b' ' | b'\t', ..] = line {
            // A line that goes on, as Go joins it.
            match headers.last_mut() {
                Some((_, value)) if !is_dropped => {
                    value.push(b' ');
                    value.extend(line.trim_ascii().iter().map(|b| printable(*b)));
                }
                _ => {}
            }
            continue;
        }
        let Some(colon) = line.iter().position(|b| *b == b':') else {
            return (head.to_vec(), At::Raw);
        };
        let name = &line[..colon];
        let is_length = is(name, b"content-length") || is(name, b"transfer-encoding");
        is_dropped = !is_token(name)
            || (is_connect && is_length)
            || (is_old && is(name, b"transfer-encoding"));
        if !is_dropped {
            let value = line[colon + 1..].trim_ascii();
            headers.push((name, value.iter().map(|b| printable(*b)).collect()));
        }
    }
    let for_datagrams = |(name, value): &(&[u8], Vec<u8>)| {
        is(name, GOST_PROTOCOL.as_str().as_bytes()) && value.eq_ignore_ascii_case(b"udp")
    };
    // A gost that wants datagrams carried asks for no place.
    if is_connect && request.target.is_empty() && headers.iter().any(for_datagrams) {
        request.target = b"0.0.0.0:0";
    }
    let mut out = request.written(head.len());
    for (name, value) in &headers {
        out.extend_from_slice(name);
        out.extend_from_slice(b": ");
        out.extend_from_slice(value);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"\r\n");
    let at = match (
        is_connect,
        headers.iter().any(|(name, _)| is(name, b"upgrade")),
    ) {
        (true, _) => At::Tunnel,
        (_, true) => At::Raw,
        _ => body(&headers),
    };
    (out, at)
}

/// The body behind a head; hyper refuses what is no length.
fn body(headers: &[(&[u8], Vec<u8>)]) -> At {
    let all = |wanted: &'static [u8]| {
        let of = headers.iter().filter(move |(name, _)| is(name, wanted));
        of.map(|(_, value)| value.as_slice())
    };
    if let Some(last) = all(b"transfer-encoding").next_back() {
        let coding = last.rsplit(|b| *b == b',').next().unwrap_or_default();
        return match coding.trim_ascii().eq_ignore_ascii_case(b"chunked") {
            true => At::Chunked(Chunk::Size(0, false)),
            false => At::Raw,
        };
    }
    match all(b"content-length").next().map(std::str::from_utf8) {
        None => At::Head,
        Some(text) => match text.ok().and_then(|text| text.parse().ok()) {
            None => At::Raw,
            Some(0) => At::Head,
            Some(len) => At::Body(len),
        },
    }
}

struct RequestLine<'a> {
    method: &'a [u8],
    target: &'a [u8],
    version: &'a [u8],
}

impl<'a> RequestLine<'a> {
    fn read(line: &'a [u8]) -> Option<Self> {
        let mut parts = line.splitn(3, |b| *b == b' ');
        let (method, target, version) = (parts.next()?, parts.next()?, parts.next()?);
        // Any other version is read as the newest one that this can be, as by Go.
        let version = match version {
            b"HTTP/1.0" | b"HTTP/1.1" => version,
            [b'H', b'T', b'T', b'P', b'/', b'1'..=b'9', b'.', b'0'..=b'9'] => b"HTTP/1.1",
            _ => return None,
        };
        Some(Self {
            method,
            target,
            version,
        })
    }

    fn written(&self, room: usize) -> Vec<u8> {
        let mut out = Vec::with_capacity(room + 64);
        out.extend_from_slice(self.method);
        out.push(b' ');
        let scheme = self.target.windows(3).position(|w| w == b"://");
        let authority = scheme.map_or(0, |at| at + 3);
        let path = self.target[authority..]
            .iter()
            .position(|b| matches!(b, b'/' | b'?' | b'#'));
        let path = path.map_or(self.target.len(), |at| authority + at);
        out.extend_from_slice(&self.target[..path]);
        // `CONNECT host:port/path` names a host and a port.
        if self.method != b"CONNECT" || scheme.is_some() {
            for byte in &self.target[path..] {
                match byte {
                    b'"'
                    | b'#'
                    | b'<'
                    | b'>'
                    | b'\\'
                    | b'^'
                    | b'`'
                    | b'{'
                    | b'|'
                    | b'}'
                    | 0x80.. => {
                        out.push(b'%');
                        out.extend(
                            [byte >> 4, byte & 0xf].map(|n| b"0123456789ABCDEF"[usize::from(n)]),
                        );
                    }
                    byte => out.push(*byte),
                }
            }
        }
        out.push(b' ');
        out.extend_from_slice(self.version);
        out.extend_from_slice(b"\r\n");
        out
    }
}

fn is(name: &[u8], wanted: &[u8]) -> bool {
    name.eq_ignore_ascii_case(wanted)
}

/// Control characters in a value become spaces (RFC 9110, section 5.5).
fn printable(byte: u8) -> u8 {
    match byte {
        b'\t' => byte,
        0..=0x1f | 0x7f => b' ',
        _ => byte,
    }
}
