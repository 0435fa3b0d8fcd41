//! What was wrong with a request that could not be read, for the log.
//!
//! The visitor sees 400 or 431, and httparse says no more than `invalid header name`. Whoever runs the server
//! has to know which header that was. Values are never shown: they may be somebody's cookies.

use super::head::{MAX_HEADERS, is_token};

/// What a PROXY header of version 2 begins with.
const PROXY_SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// How much of a name or a request line is shown.
const SHOWN: usize = 64;

/// Looks for the mistake in what was read of the request; `None` when there is none to be seen.
pub(crate) fn describe(read: &[u8], max: usize) -> Option<String> {
    if let Some(other) = other_protocol(read) {
        return Some(format!("this looks like {other}"));
    }
    let mut lines = read.split_inclusive(|b| *b == b'\n');
    let first = lines.next()?;
    if let Some(wrong) = whole(first).and_then(request_line) {
        return Some(wrong);
    }
    let mut count = 0;
    let mut longest = ("the request line".to_owned(), first.len());
    for line in lines {
        let whole_line = whole(line);
        if whole_line.is_some_and(<[u8]>::is_empty) {
            break;
        }
        count += 1;
        let (name, wrong) = header(line, count);
        if let Some(wrong) = wrong.filter(|_| whole_line.is_some()) {
            return Some(wrong);
        }
        if line.len() > longest.1 {
            longest = (name, line.len());
        }
    }
    if count > MAX_HEADERS {
        return Some(format!("more than {MAX_HEADERS} headers"));
    }
    if read.len() >= max {
        let (name, len) = longest;
        return Some(format!(
            "the header has more than {max} bytes, {name} alone has {len}"
        ));
    }
    None
}

/// A line that has ended, without its end.
fn whole(line: &[u8]) -> Option<&[u8]> {
    let line = line.strip_suffix(b"\n")?;
    Some(line.strip_suffix(b"\r").unwrap_or(line))
}

fn other_protocol(read: &[u8]) -> Option<&'static str> {
    match read {
        [0x16, 0x03, ..] => Some(
            "TLS: does this port need `security: tls` (`wss` in the place of `ws`), or does a proxy in front say `https://` for `http://`?",
        ),
        [0x05, ..] | [0x04, 0x01, ..] => Some("SOCKS: is the application set to this port?"),
        _ if read.starts_with(b"PRI * HTTP/2.0") => Some("HTTP/2, expected HTTP/1.1"),
        _ if read.starts_with(b"PROXY ") || read.starts_with(&PROXY_SIGNATURE) => {
            Some("a PROXY header: is `acceptProxyProtocol` missing?")
        }
        _ => None,
    }
}

fn request_line(line: &[u8]) -> Option<String> {
    let parts: Vec<_> = line.split(|b| *b == b' ').collect();
    let expected = "expected `METHOD /path HTTP/1.1`";
    let [method, target, version] = parts[..] else {
        return Some(format!("the first line is `{}`, {expected}", shown(line)));
    };
    let what = match () {
        () if !is_token(method) => ("method", method),
        () if target.is_empty() || target.iter().any(|b| !b.is_ascii_graphic()) => {
            ("target", target)
        }
        () if !matches!(version, b"HTTP/1.1" | b"HTTP/1.0") => ("version", version),
        () => return None,
    };
    Some(format!(
        "the {} in the first line is `{}`, {expected}",
        what.0,
        shown(what.1)
    ))
}

/// What a header is called, and what is wrong with it.
fn header(line: &[u8], number: usize) -> (String, Option<String>) {
    let Some(colon) = line.iter().position(|b| *b == b':') else {
        let text = format!("header line {number} has no `:`");
        return (format!("header line {number}"), Some(text));
    };
    let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
    let title = format!("`{}`", shown(name));
    let wrong = if !is_token(name) {
        Some(format!(
            "header line {number}: {title} is not a header's name"
        ))
    } else if let Some(bad) = value.iter().find(|b| b.is_ascii_control() && **b != b'\t') {
        Some(format!("the value of {title} holds the byte {bad:#04x}"))
    } else if name.eq_ignore_ascii_case(b"content-length") && !value.iter().all(u8::is_ascii_digit)
    {
        Some(format!("the value of {title} is not a number"))
    } else {
        None
    };
    (title, wrong)
}

fn shown(bytes: &[u8]) -> String {
    let more = if bytes.len() > SHOWN { "…" } else { "" };
    let cut = &bytes[..bytes.len().min(SHOWN)];
    format!("{}{more}", cut.escape_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mistake_is_named_and_no_value_is_shown() {
        for (read, said) in [
            (
                "GET /ray\r\n",
                "the first line is `GET /ray`, expected `METHOD /path HTTP/1.1`",
            ),
            (
                "G(T /ray HTTP/1.1\r\n",
                "the method in the first line is `G(T`, expected `METHOD /path HTTP/1.1`",
            ),
            (
                "GET /r\u{e9}y HTTP/1.1\r\n",
                "the target in the first line is `/r\\xc3\\xa9y`, expected `METHOD /path HTTP/1.1`",
            ),
            (
                "GET /ray HTTP/3\r\n",
                "the version in the first line is `HTTP/3`, expected `METHOD /path HTTP/1.1`",
            ),
            (
                "GET / HTTP/1.1\r\nHost: a\r\nsecret\r\n\r\n",
                "header line 2 has no `:`",
            ),
            (
                "GET / HTTP/1.1\r\nX Y: secret\r\n\r\n",
                "header line 1: `X Y` is not a header's name",
            ),
            (
                "GET / HTTP/1.1\r\nCookie: sec\0ret\r\n\r\n",
                "the value of `Cookie` holds the byte 0x00",
            ),
            (
                "GET / HTTP/1.1\r\nContent-Length: +1\r\n\r\n",
                "the value of `Content-Length` is not a number",
            ),
            (
                "\u{16}\u{3}\u{1}",
                "this looks like TLS: does this port need `security: tls` (`wss` in the place of `ws`), or does a proxy in front say `https://` for `http://`?",
            ),
            (
                "PROXY TCP4 1.2.3.4 1.2.3.4 1 1\r\n",
                "this looks like a PROXY header: is `acceptProxyProtocol` missing?",
            ),
        ] {
            assert_eq!(
                describe(read.as_bytes(), 1000).as_deref(),
                Some(said),
                "{read}"
            );
        }
        let fine = "GET / HTTP/1.1\r\nHost: a\r\nCookie: \u{e9}\r\n\r\nbody";
        assert_eq!(describe(fine.as_bytes(), 1000), None);
    }

    #[test]
    fn what_is_too_long_is_named() {
        let cookie = format!("GET / HTTP/1.1\r\nHost: a\r\nCookie: {}", "c".repeat(900));
        assert_eq!(
            describe(cookie.as_bytes(), 900).unwrap(),
            "the header has more than 900 bytes, `Cookie` alone has 908"
        );
        let target = format!("GET /{}", "a".repeat(900));
        assert_eq!(
            describe(target.as_bytes(), 900).unwrap(),
            "the header has more than 900 bytes, the request line alone has 905"
        );
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(101));
        assert_eq!(
            describe(many.as_bytes(), 9000).unwrap(),
            "more than 100 headers"
        );
    }

    /// Whatever the bytes are, there is an answer and it is one short line.
    #[test]
    fn no_bytes_make_it_fall_over() {
        for n in 0..2000_u32 {
            let bytes: Vec<u8> = (0..n % 97)
                .map(|i| (i.wrapping_mul(2_654_435_761).wrapping_add(n * 40_503) >> 7) as u8)
                .map(|b| {
                    if b.is_multiple_of(5) {
                        b"\r\n: \t"[usize::from(b) % 5]
                    } else {
                        b
                    }
                })
                .collect();
            let said = describe(&bytes, 50).unwrap_or_default();
            assert!(said.len() < 600 && !said.contains('\n'), "{said}");
        }
    }
}
