//! What the two sides of a WebSocket are told.

#![warn(missing_docs)]

use std::time::Duration;

use http::HeaderMap;
use http::header::HeaderValue;

use crate::http::{EarlyData, EarlyDataIn, Forwarded};

/// The server side.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerSettings {
    /// `path`, as it is when nothing in it is percent-encoded: what requests must ask for, to the letter. `/` is
    /// the default.
    pub path: String,
    /// gost's: whether what is below the path, which ends in `/` then, is asked for as well.
    pub below: bool,
    /// `host`: what requests must name as their host, in any case and with any port; `None` is that it does not matter.
    pub host: Option<String>,
    /// `headers`: put on the 101.
    pub headers: HeaderMap,
    /// `maxEarlyData` and `earlyDataHeaderName`: where early data is looked for besides
    /// `Sec-WebSocket-Protocol`.
    pub early_data: Option<EarlyDataIn>,
    /// `heartbeatPeriod`: the silence after which the peer is pinged; 30 s is the default, `None` is never.
    pub heartbeat: Option<Duration>,
    /// `trustedProxies` and `realIpHeader`: who may say for whom it comes.
    pub forwarded: Forwarded,
}

/// The client side.
#[derive(Clone, Debug, PartialEq)]
pub struct ClientSettings {
    /// `path`, with its query if there is one. What may not stand in a request is percent-encoded there. `/` is the
    /// default.
    pub path: String,
    /// `host`, or `Host` of `headers`; without it the server's address stands there.
    pub host: Option<HeaderValue>,
    /// `headers`: in place of those of the same name, or beside them.
    pub headers: HeaderMap,
    /// `maxEarlyData` and `earlyDataHeaderName`, or `?ed=` of the path.
    pub early_data: Option<EarlyData>,
    /// `heartbeatPeriod`: the silence after which the peer is pinged; 30 s is the default, `None` is never.
    pub heartbeat: Option<Duration>,
    /// gost's: the server ends without a close frame.
    pub ends_silently: bool,
}

/// `heartbeatPeriod` when nothing is said.
pub const HEARTBEAT: Duration = Duration::from_secs(30);

impl Default for ServerSettings {
    fn default() -> Self {
        Self {
            path: "/".to_owned(),
            below: false,
            host: None,
            headers: HeaderMap::new(),
            early_data: None,
            heartbeat: Some(HEARTBEAT),
            forwarded: Forwarded::default(),
        }
    }
}

impl Default for ClientSettings {
    fn default() -> Self {
        Self {
            path: "/".to_owned(),
            host: None,
            headers: HeaderMap::new(),
            early_data: None,
            heartbeat: Some(HEARTBEAT),
            ends_silently: false,
        }
    }
}
