//! The request of a client.
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

use super::outbound::Client;
use super::{EarlyData, EarlyDataIn, deflate};
use crate::address::{Destination, Host};
use crate::cause::UpgradeError;
use crate::http::{early_data, head};

/// Chrome of the day on the system that most people have.
pub(super) const CHROME: &str = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Safari/537.36";

impl Client {
    /// What the settings say, else the server's address, with its port if that is not the usual one.
    pub(super) fn host_header(&self, server: &Destination, tls: bool) -> HeaderValue {
        if let Some(host) = &self.settings.host {
            return host.clone();
        }
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

    /// The request as Chrome writes it.
    pub(super) fn request(&self, headers: &HeaderMap, early: &[u8]) -> Vec<u8> {
        let mut request = Vec::with_capacity(1024);
        request.extend_from_slice(b"GET ");
        request.extend_from_slice(self.path.as_bytes());
        if !early.is_empty() && self.early_header().is_none() {
            request.extend_from_slice(early_data::encode(early).as_bytes());
        }
        request.extend_from_slice(self.query.as_bytes());
        request.extend_from_slice(b" HTTP/1.1\r\n");
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

    /// What Chrome sends; the user's headers replace those of the same name.
    pub(super) fn headers(
        &self,
        host: HeaderValue,
        tls: bool,
        key: &str,
        early: &[u8],
    ) -> Result<HeaderMap, UpgradeError> {
        let scheme: &[u8] = if tls { b"https://" } else { b"http://" };
        let origin = [scheme, host.as_bytes()].concat();
        // Chrome names the newer ones only where nothing in between can read along.
        let encodings: &[u8] = match tls || is_local(&host) {
            true => b"gzip, deflate, br, zstd",
            false => b"gzip, deflate",
        };
        let defaults: [(HeaderName, &[u8]); 11] = [
            (CONNECTION, b"Upgrade"),
            (PRAGMA, b"no-cache"),
            (CACHE_CONTROL, b"no-cache"),
            (USER_AGENT, CHROME.as_bytes()),
            (UPGRADE, b"websocket"),
            (ORIGIN, &origin),
            (SEC_WEBSOCKET_VERSION, b"13"),
            (ACCEPT_ENCODING, encodings),
            (ACCEPT_LANGUAGE, b"en-US,en;q=0.9"),
            (SEC_WEBSOCKET_KEY, key.as_bytes()),
            (SEC_WEBSOCKET_EXTENSIONS, deflate::OFFER.as_bytes()),
        ];
        let mut headers = HeaderMap::with_capacity(16);
        headers.insert(HOST, host);
        for (name, value) in defaults {
            let value = HeaderValue::from_bytes(value).map_err(unwritable)?;
            headers.insert(name, value);
        }
        for (name, value) in &self.settings.headers {
            headers.insert(name, value.clone());
        }
        if let Some(name) = self.early_header()
            && !early.is_empty()
        {
            let value = HeaderValue::try_from(early_data::encode(early));
            headers.insert(name, value.map_err(unwritable)?);
        }
        Ok(headers)
    }

    /// The header that early data travels in; without one it follows the path.
    fn early_header(&self) -> Option<&HeaderName> {
        match &self.settings.early_data {
            Some(EarlyData {
                carried_in: EarlyDataIn::Header(name),
                ..
            }) => Some(name),
            _ => None,
        }
    }
}

/// What may not stand in a request line is percent-encoded, as a browser does it.
pub(super) fn encoded(path: &str) -> String {
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
pub(super) fn is_local(host: &HeaderValue) -> bool {
    let host = host.to_str().unwrap_or_default();
    let name = match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => name,
        _ => host,
    };
    let name = name.to_ascii_lowercase();
    let ip = name.trim_matches(['[', ']']).parse::<IpAddr>();
    name == "localhost" || name.ends_with(".localhost") || ip.is_ok_and(|ip| ip.is_loopback())
}

fn unwritable(e: impl ToString) -> UpgradeError {
    UpgradeError::Request(e.to_string())
}
