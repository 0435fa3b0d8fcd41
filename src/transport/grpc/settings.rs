//! What the two sides of a gRPC tunnel are told: `grpcSettings`.

use http::header::HeaderValue;

use super::Paths;
use crate::http::Forwarded;
use crate::transport::http2::Pings;

/// The server side.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ServerSettings {
    /// `serviceName`.
    pub paths: Paths,
    /// `idle_timeout` and `health_check_timeout`; without the first nobody is pinged.
    pub pings: Option<Pings>,
    /// `trustedProxies` and `realIpHeader`: who may say for whom it comes.
    pub forwarded: Forwarded,
}

/// The client side.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClientSettings {
    /// `serviceName`.
    pub paths: Paths,
    /// `multiMode`: `TunMulti` is called.
    pub multi: bool,
    /// `authority`; without it the name in TLS, or the server's address, stands there.
    pub authority: Option<String>,
    /// `user_agent`; grpc-go's when nothing is said.
    pub user_agent: Option<HeaderValue>,
    /// `idle_timeout`, `health_check_timeout` and `permit_without_stream`; without the first the server is only pinged
    /// when a connection that is there is to carry one more tunnel.
    pub pings: Option<Pings>,
    /// `initial_windows_size`: what a server may send on a stream before it is read, in bytes.
    pub window: Option<u32>,
}
