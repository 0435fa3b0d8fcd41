//! The URL of a WebSocket.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::percent_decode_str;
use thiserror::Error;

use crate::address::{AddressError as HostError, Destination, Host};
use crate::http::request::Target;
use crate::secret::Secret;

/// Where a WebSocket is: `ws://HOST:PORT/PATH?QUERY`, or `wss://` where there is TLS.
#[derive(Clone, Debug)]
pub struct Address {
    /// The server.
    pub to: Destination,
    /// Whether it is `wss`.
    pub tls: bool,
    /// What is asked for: path and query.
    pub target: String,
    /// The value of `Authorization`, if the URL names a user.
    pub login: Option<Secret<String>>,
}

/// Why a text is no such URL.
#[derive(Debug, PartialEq, Eq, Error)]
pub enum AddressError {
    /// There is no scheme.
    #[error("`{0}` is no URL, expected `ws://{0}` or `wss://{0}`")]
    NoScheme(String),
    /// There is another one.
    #[error("`{0}://` is not spoken here, expected `ws://` or `wss://`")]
    Scheme(String),
    /// The host is none.
    #[error("the host of the URL: {0}")]
    Host(#[from] HostError),
    /// The port is none.
    #[error("`{0}` is no port, expected 1 to 65535")]
    Port(String),
}

impl Address {
    /// Reads a URL; `http` and `https` stand for `ws` and `wss`, as browsers have it.
    ///
    /// # Errors
    ///
    /// When it is none.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let shown = |text: &str| text.escape_debug().to_string();
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err(AddressError::NoScheme(shown(text)));
        };
        let tls = match &*scheme.to_ascii_lowercase() {
            "ws" | "http" => false,
            "wss" | "https" => true,
            _ => return Err(AddressError::Scheme(shown(scheme))),
        };
        // What follows `#` never leaves a browser.
        let rest = rest.split('#').next().unwrap_or_default();
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at(end);
        let (login, server) = match authority.rsplit_once('@') {
            Some((login, server)) => (Some(login), server),
            None => (None, authority),
        };
        Ok(Self {
            to: destination(server, if tls { 443 } else { 80 })?,
            tls,
            target: Target::new(target).with(""),
            login: login.map(|login| {
                let mut bytes: Vec<u8> = percent_decode_str(login).collect();
                // A user without a password has an empty one (RFC 7617).
                if !login.contains(':') {
                    bytes.push(b':');
                }
                format!("Basic {}", STANDARD.encode(bytes)).into()
            }),
        })
    }
}

/// `HOST` or `HOST:PORT`, with brackets around an IPv6 address.
pub(super) fn destination(server: &str, usual: u16) -> Result<Destination, AddressError> {
    let (host, port) = match server.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (server, None),
    };
    let port = match port {
        None | Some("") => usual,
        Some(text) => {
            let port = text.parse().ok().filter(|port| *port > 0);
            port.ok_or_else(|| AddressError::Port(text.escape_debug().to_string()))?
        }
    };
    Ok(Destination::new(Host::parse(host)?, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_says_where_and_what() {
        for (text, to, tls, target) in [
            ("ws://a.example", "a.example:80", false, "/"),
            ("wss://a.example/", "a.example:443", true, "/"),
            (
                "WS://a.example:81/x?y=z#there",
                "a.example:81",
                false,
                "/x?y=z",
            ),
            ("https://[::1]:8443?a b", "[::1]:8443", true, "/?a%20b"),
            (
                "ws://127.1/消息",
                "127.0.0.1:80",
                false,
                "/%E6%B6%88%E6%81%AF",
            ),
            ("http://u@a.example:/", "a.example:80", false, "/"),
        ] {
            let address = Address::parse(text).unwrap();
            assert_eq!(address.to.to_string(), to, "{text}");
            assert_eq!((address.tls, &*address.target), (tls, target), "{text}");
        }
        let with_login = Address::parse("ws://a:b%40c@d.example").unwrap();
        assert_eq!(with_login.login.as_ref().unwrap().0, "Basic YTpiQGM=");
        let user = Address::parse("ws://a@d.example").unwrap();
        assert_eq!(user.login.as_ref().unwrap().0, "Basic YTo=");
        assert!(!format!("{with_login:?}").contains("YTpiQGM"));
    }

    #[test]
    fn what_is_no_url_is_told_why() {
        for (text, why) in [
            (
                "localhost:80/x",
                "`localhost:80/x` is no URL, expected `ws://localhost:80/x` or `wss://localhost:80/x`",
            ),
            (
                "ftp://a",
                "`ftp://` is not spoken here, expected `ws://` or `wss://`",
            ),
            ("ws:///x", "the host of the URL: the domain name is empty"),
            ("ws://a:b/", "`b` is no port, expected 1 to 65535"),
            ("ws://a:0/", "`0` is no port, expected 1 to 65535"),
        ] {
            assert_eq!(Address::parse(text).unwrap_err().to_string(), why, "{text}");
        }
    }
}
