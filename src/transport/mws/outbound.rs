//! The client's side: one WebSocket to a server carries all tunnels.

use std::io;
use std::sync::Arc;

use super::ClientSettings;
use crate::address::Destination;
use crate::io::{Closing, Link, PeerClock};
use crate::smux;
use crate::transport::{pool, ws};

/// The client side.
#[derive(Debug)]
pub struct Outbound {
    ws: ws::Outbound,
    mux: smux::Settings,
}

/// A session with a server.
pub struct Connection(smux::Opener);

impl Outbound {
    /// A client of these settings.
    pub fn new(settings: ClientSettings) -> Self {
        Self {
            ws: ws::Outbound::new(settings.ws),
            mux: settings.mux,
        }
    }

    /// What its tunnels are in.
    pub(in crate::transport) fn websocket(&self) -> &ws::Outbound {
        &self.ws
    }

    /// What time it is at the server, once it has answered.
    pub fn clock(&self) -> Arc<PeerClock> {
        self.ws.clock()
    }

    /// Opens a WebSocket on `link`, and begins a session in it.
    ///
    /// # Errors
    ///
    /// When the server does not open it.
    pub async fn connect(
        &self,
        link: Link,
        server: &Destination,
        tls: bool,
        closing: &Closing,
    ) -> io::Result<Connection> {
        let link = self.ws.wrap(link, server, tls, closing.clone()).await?;
        let (opener, carried) = smux::client(link, self.mux.clone());
        crate::io::spawn(carried);
        Ok(Connection(opener))
    }
}

impl pool::Connection for Connection {
    /// A session whose peer says nothing for longer than it should is given up by those who come: its own end would take
    /// them with it.
    fn open(&self) -> Option<Link> {
        self.0.open_surely()
    }
}
