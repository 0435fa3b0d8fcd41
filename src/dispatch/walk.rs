//! The way to an outbound's server, one piece at a time, for whoever looks where it breaks.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use super::open::next_hop;
use super::{Dispatcher, OutboundRef};
use crate::address::Destination;
use crate::dns::{self, Known};
use crate::io::Link;
use crate::protocol::Outbound;
use crate::session::{Entry, Owner};

impl Dispatcher {
    /// The server whose turn it is; `None` for an outbound without any.
    pub fn server_of(outbound: &OutboundRef) -> Option<Destination> {
        match &outbound.protocol {
            Outbound::Proxy(proxy) => next_hop(proxy).ok().map(|hop| hop.server.clone()),
            _ => None,
        }
    }

    /// The addresses of a server of `outbound`.
    ///
    /// # Errors
    ///
    /// When its name has none.
    pub async fn addresses_of(
        &self,
        outbound: &OutboundRef,
        server: &Destination,
    ) -> io::Result<Vec<SocketAddr>> {
        let lookup = self.server_lookup(outbound);
        dns::asking(Owner::Process, lookup.resolve(server)).await
    }

    /// A bare connection to a server of `outbound`, through another outbound where the settings say so.
    ///
    /// # Errors
    ///
    /// When it cannot be reached.
    pub async fn connection_to(
        self: &Arc<Self>,
        outbound: &OutboundRef,
        server: &Destination,
    ) -> io::Result<Link> {
        let lookup = self.server_lookup(outbound);
        let connecting = async {
            match self.through(outbound)? {
                Some(other) => {
                    let opened = self.open(&other, server, &Known::Unasked, Entry::Local);
                    opened.await.map(|(link, _)| link)
                }
                None => Ok(outbound.transport.connect(server, &lookup).await?),
            }
        };
        dns::asking(Owner::Process, connecting).await
    }
}
