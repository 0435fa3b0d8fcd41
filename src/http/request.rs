//! The request with which a client asks for an upgrade.
//!
//! It looks like a browser's (Chrome's headers, in its order), because Go's default `User-Agent`, which V2Ray sends, is
//! a well-known mark.

use std::net::IpAddr;

use http::header::{
    ACCEPT_ENCODING, ACCEPT_LANGUAGE, CACHE_CONTROL, CONNECTION, COOKIE, HOST, HeaderMap,
    HeaderName, HeaderValue, ORIGIN, PRAGMA, SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE, USER_AGENT,
};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use super::head;
use crate::address::{Destination, Host};
use crate::cause::UpgradeError;

/// Chrome of the day on the system that most people have.
pub(crate) const CHROME: &str = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Safari/537.36";

/// What is asked for, as it stands in the request line.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) path: String,
    /// With its `?`, or empty.
    query: String,
}

impl Target {
    /// A path without its `/` gets one, as in V2Ray.
    pub(crate) fn new(written: &str) -> Self {
        let written = with_slash(written.to_owned());
        let (path, query) = match written.find('?') {
            Some(at) => written.split_at(at),
            None => (&written[..], ""),
        };
        Self {
            path: encoded(path),
            query: encoded(query),
        }
    }

    /// Path and query, with `behind` added to the path.
    pub(crate) fn with(&self, behind: &str) -> String {
        [&self.path, behind, &self.query].concat()
    }

    /// The head of a GET for it, with `behind` added to its path.
    pub(crate) fn get(&self, behind: &str, headers: &HeaderMap) -> Vec<u8> {
        let mut request = Vec::with_capacity(1024);
        for part in ["GET ", &self.with(behind), " HTTP/1.1\r\n"] {
            request.extend_from_slice(part.as_bytes());
        }
        for name in &ORDER {
            for value in headers.get_all(name) {
                head::line(&mut request, name, value.as_bytes());
            }
        }
        for (name, value) in headers {
            if !ORDER.contains(name) {
                head::line(&mut request, name, value.as_bytes());
            }
        }
        request.extend_from_slice(b"\r\n");
        request
    }
}

/// A path without its `/` gets one, as in V2Ray.
pub(crate) fn with_slash(path: String) -> String {
    match path.starts_with('/') {
        true => path,
        false => format!("/{path}"),
    }
}

/// The same of a text that is the path alone: what would begin a query is a part of it.
#[cfg(feature = "app")]
pub(crate) fn whole_path(path: String) -> String {
    with_slash(path).replace('?', "%3F")
}

/// What names a server as a host, with its port if that is not the usual one.
pub(crate) fn host_of(server: &Destination, tls: bool) -> HeaderValue {
    let host = match &server.host {
        Host::Ip(ip) if ip.is_ipv6() => format!("[{ip}]"),
        Host::Ip(ip) => ip.to_string(),
        Host::Domain(name) => name.clone(),
    };
    let usual = if tls { 443 } else { 80 };
    let text = match server.port {
        port if port == usual => host,
        port => format!("{host}:{port}"),
    };
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static("localhost"))
}

/// What Chrome sends when it asks `host` for an upgrade, whatever is to follow.
pub(crate) fn of_chrome(host: HeaderValue, tls: bool) -> Result<HeaderMap, UpgradeError> {
    let scheme: &[u8] = if tls { b"https://" } else { b"http://" };
    let origin = value_of(&[scheme, host.as_bytes()].concat())?;
    // Chrome names the newer ones only where nothing in between can read along.
    let encodings = match tls || is_local(&host) {
        true => "gzip, deflate, br, zstd",
        false => "gzip, deflate",
    };
    let same = [
        (CONNECTION, "Upgrade"),
        (PRAGMA, "no-cache"),
        (CACHE_CONTROL, "no-cache"),
        (USER_AGENT, CHROME),
        (UPGRADE, "websocket"),
        (ACCEPT_ENCODING, encodings),
        (ACCEPT_LANGUAGE, "en-US,en;q=0.9"),
    ];
    let mut headers = HeaderMap::with_capacity(16);
    headers.insert(HOST, host);
    headers.insert(ORIGIN, origin);
    for (name, value) in same {
        headers.insert(name, HeaderValue::from_static(value));
    }
    Ok(headers)
}

/// The value of a header.
pub(crate) fn value_of(value: &[u8]) -> Result<HeaderValue, UpgradeError> {
    HeaderValue::from_bytes(value).map_err(|e| UpgradeError::Request(e.to_string()))
}

/// What may not stand in a request line is percent-encoded, as a browser does it.
pub(crate) fn encoded(path: &str) -> String {
    const OUTSIDE: AsciiSet = CONTROLS
        .add(b' ')
        .add(b'"')
        .add(b'#')
        .add(b'<')
        .add(b'>')
        .add(b'`')
        .add(b'{')
        .add(b'}')
        .add(b'|')
        .add(b'\\')
        .add(b'^');
    utf8_percent_encode(path, &OUTSIDE).to_string()
}

/// The order of Chrome's headers; what it has no place for comes behind.
const ORDER: [HeaderName; 14] = [
    HOST,
    CONNECTION,
    PRAGMA,
    CACHE_CONTROL,
    USER_AGENT,
    UPGRADE,
    ORIGIN,
    SEC_WEBSOCKET_VERSION,
    ACCEPT_ENCODING,
    ACCEPT_LANGUAGE,
    COOKIE,
    SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_EXTENSIONS,
    SEC_WEBSOCKET_PROTOCOL,
];

/// Whether a browser takes a host, as it is in the Host header, for its own machine.
fn is_local(host: &HeaderValue) -> bool {
    let host = host.to_str().unwrap_or_default();
    let name = without_port(host).to_ascii_lowercase();
    let ip = name.trim_matches(['[', ']']).parse::<IpAddr>();
    name == "localhost" || name.ends_with(".localhost") || ip.is_ok_and(|ip| ip.is_loopback())
}

/// The host of a Host header.
pub(crate) fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_browser_trusts_the_line_to_its_own_machine() {
        for (host, local) in [
            ("localhost", true),
            ("LOCALHOST:80", true),
            ("a.localhost:8080", true),
            ("127.0.0.9:1", true),
            ("[::1]", true),
            ("[::1]:81", true),
            ("192.0.2.1:80", false),
            ("[2001:db8::1]", false),
            ("localhost.example", false),
            ("a.example:8080", false),
        ] {
            assert_eq!(is_local(&HeaderValue::from_static(host)), local, "{host}");
        }
    }
}
