//! Opens an outbound: dials it, or has another one dial it, and dresses the link.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use tracing::debug;

use super::limits::{QUESTIONS, both};
use super::route::Chosen;
use super::{Dispatcher, Outbound, OutboundRef};
use crate::address::{Destination, Host};
use crate::dns::{self, Known, Lookup, Strategy};
use crate::io::{BindUdp, Counted, Link, Packets, Udp};
use crate::policy::Limits;
use crate::protocol::{self, NextHop};
use crate::session::Owner;
use crate::transport::tcp;

/// A stream by an outbound, or datagrams, and the outbound's limits; none where it is watched elsewhere.
pub(super) type Opened<T> = (T, Option<Limits>);

impl Dispatcher {
    /// A stream to `to` by the outbound tagged `tag`, past the rules (which only a `loopback` asks) and
    /// the access log.
    pub async fn open_by_tag(self: &Arc<Self>, tag: &str, to: &Destination) -> io::Result<Link> {
        match self.outbounds.get(tag) {
            Some(outbound) => {
                let Chosen { outbound, known } = self.past_loopback(outbound, to).await?;
                self.open(&outbound, to, &known).await.map(|(link, _)| link)
            }
            None => Err(taken_away(tag)),
        }
    }

    /// A stream to `to` by outbound `by`; `known` are the addresses of `to` that the rules were asked about.
    pub(super) fn open<'a>(
        self: &'a Arc<Self>,
        outbound: &'a OutboundRef,
        to: &'a Destination,
        known: &'a Known,
    ) -> Pin<Box<dyn Future<Output = io::Result<Opened<Link>>> + Send + 'a>> {
        Box::pin(async move {
            if let protocol::Outbound::Dns(dns) = &outbound.protocol {
                let upstream = self.upstream(outbound, to, known);
                let link = dns.stream(self.resolver.clone(), upstream, to);
                return Ok((link, self.limits(outbound, 0)));
            }
            let target = self.target(outbound, to.clone(), known).await?;
            self.open_as_is(outbound, &target, known).await
        })
    }

    /// As [`Dispatcher::open`], with the name in `to` as it is.
    pub(super) async fn open_as_is(
        self: &Arc<Self>,
        outbound: &OutboundRef,
        to: &Destination,
        known: &Known,
    ) -> io::Result<Opened<Link>> {
        if let Some(link) = self.mux_stream(outbound, to) {
            return Ok((link, None));
        }
        let ((link, limits), account) = self.dial(outbound, to, known).await?;
        let handshake = self.handshake(outbound, account);
        let link = outbound.protocol.wrap(link, to, account, handshake).await?;
        Ok((link, limits))
    }

    /// The link that outbound `by` dresses for a session to `to`, through another outbound if
    /// `proxySettings` says so.
    pub(super) async fn dial(
        self: &Arc<Self>,
        outbound: &OutboundRef,
        to: &Destination,
        known: &Known,
    ) -> io::Result<(Opened<Option<Link>>, usize)> {
        let unasked = &Known::Unasked;
        let (mut server, account, lookup, known, asker) = match outbound.protocol.hop(to) {
            NextHop::Nowhere => return Ok(((None, None), 0)),
            // Where `redirect` leads, no rule was asked about, nor need one be.
            NextHop::Destination(target) if target.host != to.host => {
                (target, 0, self.lookup(outbound), unasked, dns::asker())
            }
            NextHop::Destination(target) => (
                target,
                0,
                self.lookup(outbound).among(known),
                known,
                dns::asker(),
            ),
            // The name of a server is this process' own, and no user's share of questions.
            NextHop::Server { to, account } => {
                (to, account, Lookup::System, unasked, Owner::Process)
            }
        };
        let (link, others) = match self.through(outbound)? {
            Some(other) => {
                if lookup.strategy() != Strategy::AsIs {
                    let found = lookup.resolve(&server).await?;
                    server = found.first().map_or(server, |addr| (*addr).into());
                }
                dns::asking(asker, self.open(&other, &server, known)).await?
            }
            None => {
                let connecting = outbound.transport.connect(&server, &lookup);
                (dns::asking(asker, connecting).await?, None)
            }
        };
        let link = outbound.transport.wrap(link, &server).await?;
        let link = Counted::link(link, outbound.traffic().of_outbound());
        let limits = both(others, self.limits(outbound, account));
        Ok(((Some(link), limits), account))
    }

    /// How targets are resolved that outbound `by` dials itself.
    fn lookup(&self, outbound: &Outbound) -> Lookup {
        let strategy = match outbound.strategy {
            Strategy::AsIs => outbound.protocol.strategy(),
            strategy => strategy,
        };
        Lookup::new(&self.resolver, strategy)
    }

    /// What outbound `by` asks its server for when a session wants `to`: with a `domainStrategy` an
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
        let lookup = Lookup::new(&self.resolver, outbound.strategy).among(known);
        match lookup.resolve(&to).await {
            Ok(found) => Ok(first(found).unwrap_or(to)),
            Err(e) => {
                debug!(%to, outbound = outbound.path, "the name is sent as it is: {e}");
                Ok(to)
            }
        }
    }

    /// The address of `to` that datagrams by outbound `by` are sent to, if it is known; an error when it is
    /// known that there is none.
    pub(super) fn address(
        &self,
        outbound: &OutboundRef,
        to: &Destination,
        known: &Known,
    ) -> io::Result<Option<Destination>> {
        let is_asked = matches!(to.host, Host::Domain(_)) && *known != Known::Unasked;
        // A `dns` outbound may not need its server.
        let is_dns = matches!(outbound.protocol, protocol::Outbound::Dns(_));
        match self.resolves(outbound, to).filter(|_| is_asked && !is_dns) {
            Some(lookup) => {
                let found = known.choose(to, lookup.strategy())?;
                Ok(found.first().copied().map(Destination::from))
            }
            None => Ok(None),
        }
    }

    /// How outbound `by`, or one that it goes through, turns the name in `to` into an address to connect to;
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

    /// The outbound that `proxySettings.tag` of another one names; it may have been taken away.
    pub(super) fn through(&self, outbound: &Outbound) -> io::Result<Option<OutboundRef>> {
        let Some(tag) = &outbound.through else {
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
        outbound: &OutboundRef,
        to: &Destination,
        known: &Known,
        id: u32,
    ) -> io::Result<Opened<Box<dyn Packets>>> {
        if let protocol::Outbound::Dns(dns) = &outbound.protocol {
            let upstream = self.upstream(outbound, to, known);
            let packets = dns.datagrams(self.resolver.clone(), upstream, to);
            return Ok((packets, Some(QUESTIONS)));
        }
        match self.mux_packets(outbound, to, id).await {
            Some(packets) => packets,
            None => self.native_packets(outbound, to, id).await,
        }
    }

    /// As the outbound's protocol itself carries datagrams.
    pub(super) async fn native_packets(
        self: &Arc<Self>,
        outbound: &OutboundRef,
        to: &Destination,
        id: u32,
    ) -> io::Result<Opened<Box<dyn Packets>>> {
        let sockopt = outbound.transport.sockopt.clone();
        let meter = outbound.traffic().of_outbound();
        // PendingRoute for the next hop takes a server's turn, so that only `dial` does.
        let ((link, limits), account) =
            match (outbound.protocol.straight(to), self.through(outbound)?) {
                (None, _) if outbound.protocol.has_server() => {
                    self.dial(outbound, to, &Known::Unasked).await?
                }
                (Some(target), Some(other)) => {
                    let opened =
                        Box::pin(self.open_packets(&other, &target, &Known::Unasked, id)).await?;
                    let limits = both(opened.1, self.limits(outbound, 0));
                    return Ok((Counted::packets(opened.0, meter), limits));
                }
                _ => ((None, self.limits(outbound, 0)), 0),
            };
        let bind: BindUdp = Arc::new(move |to| {
            let socket = tcp::udp_socket(to, &sockopt)?;
            Ok(Udp::new(socket, meter.clone()))
        });
        let handshake = self.handshake(outbound, account);
        let lookup = self.lookup(outbound);
        let packets = outbound
            .protocol
            .packets(link, to, account, handshake, &bind, lookup);
        Ok((packets.await?, limits))
    }
}

fn taken_away(tag: &str) -> io::Error {
    let text = format!("no outbound is tagged `{tag}` any more");
    io::Error::new(io::ErrorKind::NotFound, text)
}
