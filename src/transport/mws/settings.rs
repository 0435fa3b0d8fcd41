//! `mwsSettings`.

#![warn(missing_docs)]

use crate::smux;
use crate::transport::ws;

/// The server side.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerSettings {
    /// `path`, `host`, `headers` and the others of a WebSocket.
    pub ws: ws::ServerSettings,
    /// `mux`: what is spoken inside; its version is the client's.
    pub mux: smux::Settings,
}

/// The client side.
#[derive(Clone, Debug, PartialEq)]
pub struct ClientSettings {
    /// `path`, `host`, `headers` and the others of a WebSocket.
    pub ws: ws::ClientSettings,
    /// `mux`: what is spoken inside.
    pub mux: smux::Settings,
}

/// `path` when nothing is said, as in gost.
pub const PATH: &str = "/ws";

/// The frames inside say that somebody is there, so the WebSocket need not.
impl Default for ServerSettings {
    fn default() -> Self {
        Self {
            ws: ws::ServerSettings {
                path: PATH.to_owned(),
                heartbeat: None,
                ..ws::ServerSettings::default()
            },
            mux: smux::Settings::default(),
        }
    }
}

/// As that of a server.
impl Default for ClientSettings {
    fn default() -> Self {
        Self {
            ws: ws::ClientSettings {
                path: PATH.to_owned(),
                heartbeat: None,
                ..ws::ClientSettings::default()
            },
            mux: smux::Settings::default(),
        }
    }
}
