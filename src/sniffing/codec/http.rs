//! An HTTP/1 request: `METHOD target version`, and lines of headers with the one named Host (RFC 9112).

use super::{Found, Sniffed, begins};
use crate::address::Host;

/// The methods that V2Ray knows, in any case of letters.
const METHODS: [&[u8]; 7] = [
    b"GET ",
    b"POST ",
    b"HEAD ",
    b"PUT ",
    b"DELETE ",
    b"OPTIONS ",
    b"CONNECT ",
];

pub(super) fn sniff(data: &[u8]) -> Sniffed {
    let answers = METHODS.map(|method| begins(data, method));
    if !answers.contains(&Ok(())) {
        let more = answers.contains(&Err(Sniffed::NeedMore));
        return if more { Sniffed::NeedMore } else { Sniffed::No };
    }
    for line in data.split_inclusive(|b| *b == b'\n').skip(1) {
        let Some(line) = line.strip_suffix(b"\n") else {
            break;
        };
        if line.trim_ascii().is_empty() {
            return found(None);
        }
        if let Some(colon) = line.iter().position(|b| *b == b':')
            && line[..colon].eq_ignore_ascii_case(b"host")
        {
            return found(host(&line[colon + 1..]));
        }
    }
    Sniffed::NeedMore
}

fn found(host: Option<Host>) -> Sniffed {
    Sniffed::Found(Found {
        protocol: "http1",
        host,
    })
}

/// The value of a Host header without its port; `None` when no destination could be written so.
fn host(value: &[u8]) -> Option<Host> {
    let value = str::from_utf8(value).ok()?.trim().to_ascii_lowercase();
    let (host, port) = match value.strip_prefix('[').and_then(|v| v.split_once(']')) {
        Some((ip, "")) => (ip, ""),
        Some((ip, rest)) => (ip, rest.strip_prefix(':')?),
        None => value.split_once(':').unwrap_or((&value, "")),
    };
    let is_port = port.bytes().all(|b| b.is_ascii_digit());
    Host::parse(host).ok().filter(|_| is_port)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::assert_sniffs;

    #[test]
    fn the_host_is_what_the_client_calls_the_target() {
        let names = [
            ("Host: Example.COM", Some("example.com")),
            ("host:example.com:8080", Some("example.com")),
            ("HOST: \t example.com.\t", Some("example.com.")),
            ("Host: 192.0.2.1:80", Some("192.0.2.1")),
            ("Host: [2001:db8::1]:80", Some("[2001:db8::1]")),
            ("Host: [2001:db8::1]", Some("[2001:db8::1]")),
            ("Host: example.com:http", None),
            ("Host: ex ample.com", None),
            ("Host:", None),
            ("X-Host: example.com", None),
        ];
        for (header, name) in names {
            let request = format!("GET /a?b HTTP/1.1\r\nAccept: */*\r\n{header}\r\n\r\n");
            let Sniffed::Found(found) = assert_sniffs(request.as_bytes(), sniff) else {
                panic!("{header}");
            };
            assert_eq!(found.protocol, "http1");
            assert_eq!(
                found.host.map(|h| h.to_string()).as_deref(),
                name,
                "{header}"
            );
        }
    }

    #[test]
    fn the_methods_are_those_of_v2ray() {
        for method in ["GET", "post", "Head", "PUT", "DELETE", "OPTIONS", "CONNECT"] {
            let request = format!("{method} / HTTP/1.0\n\n");
            assert_eq!(
                assert_sniffs(request.as_bytes(), sniff),
                found(None),
                "{method}"
            );
        }
        for other in [
            "PRI * HTTP/2.0\r\n",
            "GETS / HTTP/1.1\r\n",
            "SSH-2.0-x\r\n",
            "\x16",
        ] {
            assert_eq!(
                assert_sniffs(other.as_bytes(), sniff),
                Sniffed::No,
                "{other}"
            );
        }
    }

    #[test]
    fn a_head_that_is_not_whole_is_waited_for() {
        for part in [
            "",
            "G",
            "GET",
            "GET / HTTP/1.1",
            "GET / HTTP/1.1\r\nHost: a.b",
            "OPT",
        ] {
            assert_eq!(sniff(part.as_bytes()), Sniffed::NeedMore, "{part}");
        }
    }

    #[test]
    fn a_body_has_no_headers() {
        let request = b"POST / HTTP/1.1\r\n\r\nHost: example.com\r\n\r\n";
        assert_eq!(sniff(request), found(None));
    }
}
