//! The URL that is asked for.

use std::fmt;

use http::Uri;
use http::header::HeaderValue;
use thiserror::Error;

use crate::address::{Destination, Host};

/// A valid `http` or `https` URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    text: String,
    pub(super) to: Destination,
    pub(super) tls: bool,
    pub(super) host: HeaderValue,
    /// Path and query.
    pub(super) target: Uri,
}

/// Why a text is not such a URL.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("`{}` is not a URL: {why}", text.escape_debug())]
pub struct UrlError {
    text: String,
    why: String,
}

impl Url {
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        let wrong = |why: &str| UrlError {
            text: text.to_owned(),
            why: why.to_owned(),
        };
        let uri: Uri = text.parse().map_err(|e| wrong(&format!("{e}")))?;
        let tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(wrong("expected `http://` or `https://`")),
        };
        let name = uri.host().filter(|host| !host.is_empty());
        let host = Host::parse(name.ok_or_else(|| wrong("it names no host"))?);
        let host = host.map_err(|e| wrong(&e.to_string()))?;
        let port = uri.port_u16().unwrap_or(if tls { 443 } else { 80 });
        let written = match uri.port() {
            Some(port) => format!("{}:{port}", name.unwrap_or_default()),
            None => name.unwrap_or_default().to_owned(),
        };
        let target = uri.path_and_query().cloned();
        Ok(Self {
            text: text.to_owned(),
            to: Destination::new(host, port),
            tls,
            host: HeaderValue::try_from(written).map_err(|e| wrong(&e.to_string()))?,
            target: target.map_or_else(|| Uri::from_static("/"), Uri::from),
        })
    }

    /// Where it is.
    pub fn to(&self) -> &Destination {
        &self.to
    }

    /// Whether it is asked for by TLS.
    pub fn is_https(&self) -> bool {
        self.tls
    }

    /// What a request names as its host.
    pub fn host(&self) -> &HeaderValue {
        &self.host
    }

    /// User and password in front of the host, as they stand there.
    pub fn userinfo(&self) -> Option<&str> {
        let (_, rest) = self.text.split_once("://")?;
        let authority = rest.split(['/', '?', '#']).next()?;
        authority.rsplit_once('@').map(|(userinfo, _)| userinfo)
    }

    /// Path and query.
    pub fn target(&self) -> &Uri {
        &self.target
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_a_url() {
        let cases = [
            (
                "https://api.v2fly.org/checkConnection.svgz",
                "api.v2fly.org:443",
                true,
                "api.v2fly.org",
                "/checkConnection.svgz",
            ),
            (
                "http://127.0.0.1:8080",
                "127.0.0.1:8080",
                false,
                "127.0.0.1:8080",
                "/",
            ),
            ("http://[::1]/a?b=c", "[::1]:80", false, "[::1]", "/a?b=c"),
        ];
        for (text, to, tls, host, target) in cases {
            let url = Url::parse(text).unwrap();
            assert_eq!((url.to.to_string().as_str(), url.tls), (to, tls));
            assert_eq!(url.host, host);
            assert_eq!(url.target.to_string(), target);
        }
    }

    #[test]
    fn what_is_no_url_is_told() {
        for text in [
            "",
            "example.com",
            "ftp://example.com",
            "http://",
            "/path",
            "http://a b/",
        ] {
            assert!(Url::parse(text).is_err(), "{text}");
        }
        assert_eq!(
            Url::parse("example.com/x").unwrap_err().to_string(),
            "`example.com/x` is not a URL: invalid format"
        );
    }
}
