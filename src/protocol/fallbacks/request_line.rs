//! The target in the first line of an HTTP/1 request.
//!
//! ```text
//! | method 3 to 7 | space | / target | space | HTTP/1.1 | line end
//! ```

/// What the first bytes of a link are, as far as the path of a request goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RequestLine<'a> {
    /// Path and query.
    Target(&'a str),
    /// It may become a request with a path.
    Unfinished,
    /// No request with a path; HTTP/2 begins with none either.
    Other,
}

/// Of a longer line no path is read.
const MAX: usize = 8 * 1024;

impl<'a> RequestLine<'a> {
    pub(super) fn of(bytes: &'a [u8]) -> Self {
        let bytes = &bytes[..bytes.len().min(MAX)];
        let method = bytes.iter().take(8);
        let method = method.take_while(|byte| byte.is_ascii_uppercase()).count();
        match (bytes.get(method), bytes.get(method + 1)) {
            (None, _) if method <= 7 => return Self::Unfinished,
            (Some(b' '), None) if (3..=7).contains(&method) => return Self::Unfinished,
            (Some(b' '), Some(b'/')) if (3..=7).contains(&method) => {}
            _ => return Self::Other,
        }
        let target = &bytes[method + 1..];
        let end = target.iter().position(u8::is_ascii_whitespace);
        match end.map(|end| (target[end], str::from_utf8(&target[..end]))) {
            Some((b' ', Ok(target))) => Self::Target(target),
            None if bytes.len() < MAX => Self::Unfinished,
            _ => Self::Other,
        }
    }
}

/// Any bytes: no panic, and what is known of a beginning is not taken back.
pub fn fuzz(data: &[u8]) {
    let whole = RequestLine::of(data);
    for n in 0..data.len() {
        match RequestLine::of(&data[..n]) {
            RequestLine::Unfinished => {}
            known => assert_eq!(known, whole),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_read_as_soon_as_it_is_whole() {
        let line = b"GET /ws?ed=2048 HTTP/1.1\r\nHost: a\r\n\r\n";
        for n in 0..line.len() {
            let expected = match n {
                0..16 => RequestLine::Unfinished,
                _ => RequestLine::Target("/ws?ed=2048"),
            };
            assert_eq!(RequestLine::of(&line[..n]), expected, "{n} bytes");
        }
        for (line, target) in [
            ("PUT / HTTP/1.0", "/"),
            ("OPTIONS /a/b%20c x", "/a/b%20c"),
            ("POST /\u{e9} x", "/\u{e9}"),
        ] {
            assert_eq!(
                RequestLine::of(line.as_bytes()),
                RequestLine::Target(target)
            );
        }
    }

    #[test]
    fn what_has_no_path_is_known_at_once() {
        for other in [
            &b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..],
            b"OPTIONS * HTTP/1.1\r\n",
            b"CONNECTS /",
            b"GO /",
            b"get / HTTP/1.1",
            b"\x16\x03\x01",
            b"SSH-2.0-x",
            b"GET  / HTTP/1.1",
            b"GET /\r\n",
            b"GET /\xff HTTP/1.1",
            b"GET http://a/ HTTP/1.1",
        ] {
            assert_eq!(RequestLine::of(other), RequestLine::Other, "{other:?}");
            fuzz(other);
        }
        let long = [b"GET /".to_vec(), vec![b'a'; MAX]].concat();
        assert_eq!(RequestLine::of(&long), RequestLine::Other);
    }
}
