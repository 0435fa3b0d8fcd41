//! Which names are resolved on the way out of an outbound, and by whom.

use std::io;
use std::net::SocketAddr;

use tracing::debug;

use super::{Dispatcher, Outbound, OutboundRef};
use crate::address::{Destination, Host};
use crate::dns::{self, Known, Lookup, Strategy};
use crate::protocol::{self, Endpoint};

impl Dispatcher {
    /// How targets are resolved that `outbound` dials itself.
    pub(super) fn lookup(&self, outbound: &Outbound) -> Lookup {
        let strategy = match outbound.strategy {
            Strategy::AsIs => outbound.protocol.strategy(),
            strategy => strategy,
        };
        let strategy = match strategy {
            Strategy::AsIs => outbound.transport.sockopt.strategy,
            strategy => strategy,
        };
        Lookup::new(&self.resolver.now(), strategy)
    }

    /// How the name of a server of `outbound` becomes an address: by the system, or by the built-in DNS where Xray's
    /// `sockopt.domainStrategy` says so. On the way to a DNS server it cannot be asked.
    pub(super) fn server_lookup(&self, outbound: &Outbound) -> Lookup {
        match dns::is_on_its_way() {
            true => Lookup::System,
            false => Lookup::new(&self.resolver.now(), outbound.transport.sockopt.strategy),
        }
    }

    /// What `outbound` asks its server for when a session wants `to`: with a `domainStrategy` an
    /// address of the name, if it has one.
    pub(super) async fn target(
        &self,
        outbound: &Outbound,
        to: Destination,
        known: &Known,
    ) -> io::Result<Destination> {
        let first = |found: Vec<SocketAddr>| found.first().copied().map(Destination::from);
        if matches!(to.host, Host::Ip(_)) {
            return Ok(to);
        }
        if let (Some(strategy), true) = (
            outbound.protocol.resolves_itself(),
            *known != Known::Unasked,
        ) {
            return Ok(first(known.choose(&to, strategy)?).unwrap_or(to));
        }
        if outbound.strategy == Strategy::AsIs || !outbound.protocol.has_server() {
            return Ok(to);
        }
        let lookup = Lookup::new(&self.resolver.now(), outbound.strategy).among(known);
        match lookup.resolve(&to).await {
            Ok(found) => Ok(first(found).unwrap_or(to)),
            Err(e) if outbound.must_resolve => Err(e),
            Err(e) => {
                debug!(%to, outbound = outbound.name, "the name is sent as it is: {e}");
                Ok(to)
            }
        }
    }

    /// The address of `to` that datagrams by `outbound` are sent to, if it is known; an error when it is
    /// known that there is none.
    pub(super) fn address(
        &self,
        outbound: &OutboundRef,
        to: &Destination,
        known: &Known,
    ) -> io::Result<Option<Destination>> {
        let is_asked = matches!(to.host, Host::Domain(_)) && *known != Known::Unasked;
        // A `dns` outbound may not need its server.
        let is_dns = matches!(
            outbound.protocol,
            protocol::Outbound::Endpoint(Endpoint::Dns(_))
        );
        match self.resolves(outbound, to).filter(|_| is_asked && !is_dns) {
            Some(lookup) => {
                let found = known.choose(to, lookup.strategy())?;
                Ok(found.first().copied().map(Destination::from))
            }
            None => Ok(None),
        }
    }

    /// How `outbound`, or one that it goes through, turns the name in `to` into an address to connect to;
    /// `None` when no name is resolved on the way, or another one.
    pub(super) fn resolves(&self, outbound: &OutboundRef, to: &Destination) -> Option<Lookup> {
        let mut outbound = outbound.clone();
        loop {
            if outbound.protocol.resolves_itself().is_some() {
                return Some(Lookup::System);
            }
            let lookup = match outbound.protocol.straight(to)? {
                target if target.host != to.host => return None,
                _ => self.lookup(&outbound),
            };
            match self.through(&outbound) {
                Ok(Some(other)) if lookup.strategy() == Strategy::AsIs => outbound = other,
                _ => return Some(lookup),
            }
        }
    }
}
