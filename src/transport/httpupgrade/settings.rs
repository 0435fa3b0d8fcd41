//! What the two sides of an upgrade are told.

use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};

use crate::http::Forwarded;

/// The server side.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerSettings {
    /// `path`, as it is when nothing in it is percent-encoded: what requests must ask for, to the letter. `/` is
    /// the default.
    pub path: String,
    /// `host`: what requests must name as their host, in any case and with any port; `None` is that it does not matter.
    pub host: Option<String>,
    /// `headers`: put on the 101.
    pub headers: HeaderMap,
    /// `maxEarlyData` and `earlyDataHeaderName`: where early data is looked for besides `Sec-WebSocket-Protocol`.
    pub early_data: Option<EarlyHeader>,
    /// `trustedProxies` and `realIpHeader`: who may say for whom it comes.
    pub forwarded: Forwarded,
}

/// The client side.
#[derive(Clone, Debug, PartialEq)]
pub struct ClientSettings {
    /// `path`; a `?` in it begins no query. What may not stand in a request is percent-encoded there. `/` is the
    /// default.
    pub path: String,
    /// `host`; without it the name that TLS asks for, or the server's address, stands there.
    pub host: Option<HeaderValue>,
    /// `headers`: in place of those of the same name, or beside them.
    pub headers: HeaderMap,
    /// Whether the tunnel's first bytes wait for the answer.
    pub early_data: Option<EarlyData>,
}

/// How a client's first bytes travel before there is an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EarlyData {
    /// `?ed=`, Xray's: behind the request, as they are.
    Ahead,
    /// `maxEarlyData` and `earlyDataHeaderName`, V2Ray 5's: in a header of the request.
    Header(EarlyHeader),
}

/// A header with early data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EarlyHeader {
    /// `earlyDataHeaderName`.
    pub name: HeaderName,
    /// `maxEarlyData`: bytes of the first write.
    pub max: usize,
}

impl Default for ServerSettings {
    fn default() -> Self {
        Self {
            path: "/".to_owned(),
            host: None,
            headers: HeaderMap::new(),
            early_data: None,
            forwarded: Forwarded::default(),
        }
    }
}

impl ClientSettings {
    /// `path` as a part of a URL: Go's clients ask for `/a%3Fb` where `/a?b` is written, and their servers compare what
    /// that means.
    pub fn path_in_url(&self) -> String {
        self.path.replace('%', "%25").replace('?', "%3F")
    }
}

impl Default for ClientSettings {
    fn default() -> Self {
        Self {
            path: "/".to_owned(),
            host: None,
            headers: HeaderMap::new(),
            early_data: None,
        }
    }
}
