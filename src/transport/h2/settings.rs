//! What the two sides of an HTTP/2 tunnel are told: `httpSettings`.

use http::{HeaderMap, Method};

use crate::http::Forwarded;
use crate::transport::http2::Pings;

/// The `host` that V2Ray's client asks for when nothing is said.
pub const DEFAULT_HOST: &str = "www.example.com";

/// The server side.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerSettings {
    /// `host`: the names that requests may be for; any when there is none.
    pub hosts: Vec<String>,
    /// `path`: what the path of a request must begin with, decoded.
    pub path: String,
    /// `method`: what tunnels ask by, where a site is on the same port; `PUT` when nothing is said. Without a site any
    /// is taken, as in V2Ray.
    pub method: Method,
    /// `headers`: put on the answer.
    pub headers: HeaderMap,
    /// `trustedProxies` and `realIpHeader`: who may say for whom it comes.
    pub forwarded: Forwarded,
}

/// The client side.
#[derive(Clone, Debug, PartialEq)]
pub struct ClientSettings {
    /// `host`: the names that requests are for, by chance one of them; [`DEFAULT_HOST`] when there is none.
    pub hosts: Vec<String>,
    /// `path`, before it is percent-encoded.
    pub path: String,
    /// `method`; `PUT` when nothing is said.
    pub method: Method,
    /// `headers`.
    pub headers: HeaderMap,
    /// `read_idle_timeout` and `health_check_timeout`, as those of gRPC.
    pub pings: Option<Pings>,
}

impl Default for ServerSettings {
    fn default() -> Self {
        Self {
            hosts: Vec::new(),
            path: "/".to_owned(),
            method: Method::PUT,
            headers: HeaderMap::new(),
            forwarded: Forwarded::default(),
        }
    }
}

impl Default for ClientSettings {
    fn default() -> Self {
        Self {
            hosts: Vec::new(),
            path: "/".to_owned(),
            method: Method::PUT,
            headers: HeaderMap::new(),
            pings: None,
        }
    }
}
