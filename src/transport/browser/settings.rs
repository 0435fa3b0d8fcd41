//! What the browser dialer is told.

#![warn(missing_docs)]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::report::Place;

/// The page, and whose WebSockets it opens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// What it is called in messages: `browserForwarder`, or the variable of the environment.
    pub name: String,
    /// Where it stands.
    pub at: Place,
    /// `listenAddr` and `listenPort`: where the page is served.
    pub listen: SocketAddr,
    /// Which outbounds go through it.
    pub takes: Takes,
}

/// Which of the outbounds over WebSocket go through the browser.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    /// V2Ray's way: those with `useBrowserForwarding`.
    Asked,
    /// Xray's way: all.
    All,
}

/// What a browser is to call the server, which is also where it goes and whose certificate it wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Naming {
    /// V2Ray's way: by the server's address.
    ByAddress,
    /// Xray's way: by `host`, else by `serverName`, else by the address.
    ByHost,
}

impl Settings {
    /// What a person opens, when the port is `port`.
    pub fn url(&self, port: u16) -> String {
        let ip = match self.listen.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
            ip => ip,
        };
        format!("http://{}/", SocketAddr::new(ip, port))
    }
}
