//! Opens an outbound: dials it, or has another one dial it, and dresses the link.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use tracing::debug;

use super::limits::{QUESTIONS, both};
use super::route::Chosen;
use super::{Dispatcher, Outbound, Shared};
use crate::address::{Destination, Host};
use crate::dns::{self, Known, Lookup, Strategy};
use crate::io::{BindUdp, Counted, Link, Packets, Udp};
use crate::policy::Limits;
use crate::protocol::{self, Hop};
use crate::session::Owner;
use crate::transport::tcp;

/// A stream by an outbound, or datagrams, and the outbound's limits; none where it is watched elsewhere.
pub(super) type Opened<T> = (T, Option<Limits>);

impl Dispatcher {
    /// A stream to `to` by the outbound tagged `tag`, past the rules (which only a `loopback` asks) and
    /// the access log.
    pub async fn open_by_tag(self: &Arc<Self>, tag: &str, to: &Destination) -> io::Result<Link> {
        match self.outbounds.get(tag) {
            Some(by) => {
                let Chosen { by, known } = self.past_loopback(by, to).await?;
                self.open(&by, to, &known).await.map(|(link, _)| link)
            }
            None => Err(taken_away(tag)),
        }
    }

    /// A stream to `to` by outbound `by`; `known` are the addresses of `to` that the rules were asked about.
    pub(super) fn open<'a>(
        self: &'a Arc<Self>,
        by: &'a Shared,
        to: &'a Destination,
        known: &'a Known,
    ) -> Pin<Box<dyn Future<Output = io::Result<Opened<Link>>> + Send + 'a>> {
        Box::pin(async move {
            if let protocol::Outbound::Dns(dns) = &by.protocol {
                let upstream = self.upstream(by, to, known);
                let link = dns.stream(self.resolver.clone(), upstream, to);
                return Ok((link, self.limits(by, 0)));
            }
            let target = self.target(by, to.clone(), known).await?;
            self.open_as_is(by, &target, known).await
        })
    }

    /// As [`Dispatcher::open`], with the name in `to` as it is.
    pub(super) async fn open_as_is(
        self: &Arc<Self>,
        by: &Shared,
        to: &Destination,
        known: &Known,
    ) -> io::Result<Opened<Link>> {
        if let Some(link) = self.mux_stream(by, to) {
            return Ok((link, None));
        }
        let ((link, limits), account) = self.dial(by, to, known).await?;
        let handshake = self.handshake(by, account);
        let link = by.protocol.dress(link, to, account, handshake).await?;
        Ok((link, limits))
    }

    /// The link that outbound `by` dresses for a session to `to`, through another outbound if
    /// `proxySettings` says so.
    pub(super) async fn dial(
        self: &Arc<Self>,
        by: &Shared,
        to: &Destination,
        known: &Known,
    ) -> io::Result<(Opened<Option<Link>>, usize)> {
        let unasked = &Known::Unasked;
        let (mut server, account, lookup, known, asker) = match by.protocol.hop(to) {
            Hop::Nowhere => return Ok(((None, None), 0)),
            // Where `redirect` leads, no rule was asked about, nor need one be.
            Hop::Destination(target) if target.host != to.host => {
                (target, 0, self.lookup(by), unasked, dns::asker())
            }
            Hop::Destination(target) => {
                (target, 0, self.lookup(by).among(known), known, dns::asker())
            }
            // The name of a server is this process' own, and no user's share of questions.
            Hop::Server { to, account } => (to, account, Lookup::System, unasked, Owner::Process),
        };
        let (link, others) = match self.through(by)? {
            Some(other) => {
                if lookup.strategy() != Strategy::AsIs {
                    let found = lookup.resolve(&server).await?;
                    server = found.first().map_or(server, |addr| (*addr).into());
                }
                dns::asking(asker, self.open(&other, &server, known)).await?
            }
            None => {
                let connecting = by.transport.connect(&server, &lookup);
                (dns::asking(asker, connecting).await?, None)
            }
        };
        let link = by.transport.dress(link, &server).await?;
        let link = Counted::link(link, by.traffic().of_outbound());
        let limits = both(others, self.limits(by, account));
        Ok(((Some(link), limits), account))
    }

    /// How targets are resolved that outbound `by` dials itself.
    fn lookup(&self, by: &Outbound) -> Lookup {
        let strategy = match by.strategy {
            Strategy::AsIs => by.protocol.strategy(),
            strategy => strategy,
        };
        Lookup::new(&self.resolver, strategy)
    }

    /// What outbound `by` asks its server for when a session wants `to`: with a `domainStrategy` an
    /// address of the name, if it has one.
    pub(super) async fn target(
        &self,
        by: &Outbound,
        to: Destination,
        known: &Known,
    ) -> io::Result<Destination> {
        let first = |found: Vec<SocketAddr>| found.first().copied().map(Destination::from);
        if matches!(to.host, Host::Ip(_)) {
            return Ok(to);
        }
        if let (Some(strategy), true) = (by.protocol.resolves_itself(), *known != Known::Unasked) {
            return Ok(first(known.choose(&to, strategy)?).unwrap_or(to));
        }
        if by.strategy == Strategy::AsIs || !by.protocol.has_server() {
            return Ok(to);
        }
        let lookup = Lookup::new(&self.resolver, by.strategy).among(known);
        match lookup.resolve(&to).await {
            Ok(found) => Ok(first(found).unwrap_or(to)),
            Err(e) => {
                debug!(%to, by = by.path, "the name is sent as it is: {e}");
                Ok(to)
            }
        }
    }

    /// The address of `to` that datagrams by outbound `by` are sent to, if it is known; an error when it is
    /// known that there is none.
    pub(super) fn address(
        &self,
        by: &Shared,
        to: &Destination,
        known: &Known,
    ) -> io::Result<Option<Destination>> {
        let is_asked = matches!(to.host, Host::Domain(_)) && *known != Known::Unasked;
        // A `dns` outbound may not need its server.
        let is_dns = matches!(by.protocol, protocol::Outbound::Dns(_));
        match self.resolves(by, to).filter(|_| is_asked && !is_dns) {
            Some(lookup) => {
                let found = known.choose(to, lookup.strategy())?;
                Ok(found.first().copied().map(Destination::from))
            }
            None => Ok(None),
        }
    }

    /// How outbound `by`, or one that it goes through, turns the name in `to` into an address to connect to;
    /// `None` when no name is resolved on the way, or another one.
    pub(super) fn resolves(&self, by: &Shared, to: &Destination) -> Option<Lookup> {
        let mut by = by.clone();
        loop {
            if by.protocol.resolves_itself().is_some() {
                return Some(Lookup::System);
            }
            let lookup = match by.protocol.straight(to)? {
                target if target.host != to.host => return None,
                _ => self.lookup(&by),
            };
            match self.through(&by) {
                Ok(Some(other)) if lookup.strategy() == Strategy::AsIs => by = other,
                _ => return Some(lookup),
            }
        }
    }

    /// The outbound that `proxySettings.tag` of another one names; it may have been taken away.
    pub(super) fn through(&self, by: &Outbound) -> io::Result<Option<Shared>> {
        let Some(tag) = &by.through else {
            return Ok(None);
        };
        match self.outbounds.get(tag) {
            Some(other) if other.protocol.is_control() => {
                let text = format!("`{tag}` is the API's, connections cannot go through it");
                Err(io::Error::new(io::ErrorKind::PermissionDenied, text))
            }
            Some(other) => Ok(Some(other)),
            None => Err(taken_away(tag)),
        }
    }

    /// Datagrams of session `id` to `to`, and to others where the outbound's lane is shared. Names whose
    /// addresses are known come with them in their place already, but to a `dns` outbound.
    pub(super) async fn open_packets(
        self: &Arc<Self>,
        by: &Shared,
        to: &Destination,
        known: &Known,
        id: u32,
    ) -> io::Result<Opened<Box<dyn Packets>>> {
        if let protocol::Outbound::Dns(dns) = &by.protocol {
            let upstream = self.upstream(by, to, known);
            let packets = dns.datagrams(self.resolver.clone(), upstream, to);
            return Ok((packets, Some(QUESTIONS)));
        }
        match self.mux_packets(by, to, id).await {
            Some(packets) => packets,
            None => self.native_packets(by, to, id).await,
        }
    }

    /// As the outbound's protocol itself carries datagrams.
    pub(super) async fn native_packets(
        self: &Arc<Self>,
        by: &Shared,
        to: &Destination,
        id: u32,
    ) -> io::Result<Opened<Box<dyn Packets>>> {
        let sockopt = by.transport.sockopt.clone();
        let meter = by.traffic().of_outbound();
        // Asking for the next hop takes a server's turn, so that only `dial` does.
        let ((link, limits), account) = match (by.protocol.straight(to), self.through(by)?) {
            (None, _) if by.protocol.has_server() => self.dial(by, to, &Known::Unasked).await?,
            (Some(target), Some(other)) => {
                let opened =
                    Box::pin(self.open_packets(&other, &target, &Known::Unasked, id)).await?;
                let limits = both(opened.1, self.limits(by, 0));
                return Ok((Counted::packets(opened.0, meter), limits));
            }
            _ => ((None, self.limits(by, 0)), 0),
        };
        let bind: BindUdp = Arc::new(move |to| {
            let socket = tcp::udp_socket(to, &sockopt)?;
            Ok(Udp::new(socket, meter.clone()))
        });
        let handshake = self.handshake(by, account);
        let lookup = self.lookup(by);
        let packets = by
            .protocol
            .packets(link, to, account, handshake, &bind, lookup);
        Ok((packets.await?, limits))
    }
}

fn taken_away(tag: &str) -> io::Error {
    let text = format!("no outbound is tagged `{tag}` any more");
    io::Error::new(io::ErrorKind::NotFound, text)
}
