//! Opens an outbound for a stream: dials its server or the target, or has another outbound dial it.

use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::allowed::both;
use super::{Dispatcher, Outbound, OutboundRef};
use crate::address::{Destination, Host, Network};
use crate::cause::DialError;
use crate::dns::{self, Known, Lookup, Strategy};
use crate::io::{Counted, Io, Link};
use crate::policy::Limits;
use crate::protocol::{self, Endpoint, NextHop, Proxy, freedom, loopback};
use crate::session::{Comer, Entry, Owner, Source};
use crate::transport::proxy_protocol;

/// A stream by an outbound, or datagrams, and the outbound's limits; none where it is watched elsewhere.
pub(super) type Opened<T> = (T, Option<Limits>);

impl Dispatcher {
    /// A stream to `to` by the outbound tagged `tag`, past the rules (which only a `loopback` asks) and
    /// the access log.
    pub async fn open_by_tag(self: &Arc<Self>, tag: &str, to: &Destination) -> io::Result<Link> {
        match self.outbounds.get(tag) {
            Some(outbound) => {
                let opened = self.open(&outbound, to, &Known::Unasked, OWN);
                opened.await.map(|(link, _)| link)
            }
            None => Err(taken_away(tag)),
        }
    }

    /// A stream to `to`; `known` are the addresses of `to` that the rules were asked about, `comer` who asks.
    pub(super) fn open<'a>(
        self: &'a Arc<Self>,
        outbound: &'a OutboundRef,
        to: &'a Destination,
        known: &'a Known,
        comer: impl Into<Comer>,
    ) -> Pin<Box<dyn Future<Output = io::Result<Opened<Link>>> + Send + 'a>> {
        let comer = comer.into();
        Box::pin(async move {
            let target = match &outbound.protocol {
                protocol::Outbound::Endpoint(Endpoint::Loopback(loopback)) => {
                    return self.stream_again(loopback, to, comer).await;
                }
                protocol::Outbound::Endpoint(endpoint) => {
                    return self.stream_at(endpoint, outbound, to, known);
                }
                protocol::Outbound::Freedom(_) | protocol::Outbound::Proxy(_) => {
                    self.target(outbound, to.clone(), known).await?
                }
            };
            self.open_as_is(outbound, &target, known, comer).await
        })
    }

    /// `opening`, and how it fares is counted where somebody asks for that.
    pub(super) fn watched<'a>(
        &'a self,
        outbound: &'a OutboundRef,
        opening: Pin<Box<dyn Future<Output = io::Result<Opened<Link>>> + Send + 'a>>,
    ) -> Pin<Box<dyn Future<Output = io::Result<Opened<Link>>> + Send + 'a>> {
        let Some(metrics) = &self.metrics else {
            return opening;
        };
        Box::pin(async move {
            let began = Instant::now();
            let opened = opening.await;
            (outbound.numbers(metrics)).connected(opened.is_ok(), began.elapsed());
            opened
        })
    }

    /// As [`Dispatcher::open`], with the name in `to` as it is.
    pub(super) async fn open_as_is(
        self: &Arc<Self>,
        outbound: &OutboundRef,
        to: &Destination,
        known: &Known,
        comer: Comer,
    ) -> io::Result<Opened<Link>> {
        if let Some(link) = self.mux_stream(outbound, to) {
            return Ok((link, None));
        }
        match &outbound.protocol {
            protocol::Outbound::Endpoint(endpoint) => self.stream_at(endpoint, outbound, to, known),
            protocol::Outbound::Freedom(freedom) => {
                let dialling = self.dial_target(outbound, freedom, to, known, comer);
                let (link, limits) = dialling.await?;
                Ok((freedom.stream(link), limits))
            }
            protocol::Outbound::Proxy(proxy) => {
                let hop = next_hop(proxy)?;
                let limit = self.handshake(hop.level);
                let (link, limits) = self.dial_server(outbound, &hop).await?;
                Ok((
                    hop.stream(link, to, limit, outbound.far_end()).await?,
                    limits,
                ))
            }
        }
    }

    /// A stream that ends in this process.
    fn stream_at(
        self: &Arc<Self>,
        endpoint: &Endpoint,
        outbound: &OutboundRef,
        to: &Destination,
        known: &Known,
    ) -> io::Result<Opened<Link>> {
        let link = match endpoint {
            Endpoint::Blackhole(blackhole) => blackhole.link(),
            Endpoint::Dns(dns) => {
                let upstream = self.upstream(outbound, to, known);
                dns.stream(self.resolver.now(), upstream, to)
            }
            Endpoint::InProcess(service) => service.link()?,
            Endpoint::Loopback(_) => return Err(loopback::carries_nothing()),
            Endpoint::Portal(portal) => return self.stream_at_portal(portal, outbound, to),
        };
        Ok((link, None))
    }

    /// A link to the target itself.
    pub(super) async fn dial_target(
        self: &Arc<Self>,
        outbound: &OutboundRef,
        freedom: &freedom::Outbound,
        to: &Destination,
        known: &Known,
        comer: Comer,
    ) -> io::Result<Opened<Link>> {
        let mut target = freedom.target(to);
        let mut lookup = self.lookup(outbound);
        // Where `redirect` leads, no rule was asked about, nor need one be.
        let mut known = match target.host == to.host {
            true => known.clone(),
            false => Known::Unasked,
        };
        lookup = lookup.among(&known);
        if let Some(gate) = freedom.gate(Network::Tcp, comer.entry, outbound.label()) {
            let found = lookup.resolve(&target).await.map_err(DialError::Name)?;
            let allowed = gate.admit(&target, found).map_err(DialError::Tcp)?;
            if self.through(outbound)?.is_some()
                && let Some(first) = allowed.first()
            {
                target = (*first).into();
            }
            // What has passed is connected to, whatever the name says a moment later.
            known = Known::new(Ok(allowed));
            lookup = Lookup::System.among(&known);
        }
        let told = freedom
            .proxy_header()
            .map(|version| (version, target.clone()));
        let connecting = self.connect(outbound, target, &lookup, &known, comer);
        let (mut link, others) = connecting.await?;
        if let Some((version, reached)) = told {
            // Another outbound's socket leads to that one's server.
            let socket = link.tcp().filter(|_| outbound.through.is_none());
            let local = far_address(socket, &reached, comer);
            let source = comer.source.unwrap_or(Source::Unix);
            let header = proxy_protocol::header(version, source, local);
            link.write_all(&header).await?;
            link.flush().await?;
        }
        let limits = self.limits(freedom.level());
        Ok((link, both(others, Some(limits))))
    }

    /// A link to the server whose turn it is.
    pub(super) async fn dial_server(
        self: &Arc<Self>,
        outbound: &OutboundRef,
        hop: &NextHop<'_>,
    ) -> io::Result<Opened<Link>> {
        let (server, unasked) = (hop.server.clone(), &Known::Unasked);
        let lookup = self.server_lookup(outbound);
        let connecting = self.connect(outbound, server, &lookup, unasked, OWN);
        // The name of a server is this process' own, and no user's share of questions.
        let (link, others) = dns::asking(Owner::Process, connecting).await?;
        Ok((link, both(others, Some(self.limits(hop.level)))))
    }

    /// Connects an outbound's transport to `to`, through another outbound if `proxySettings` says so; with the limits
    /// of that one.
    async fn connect(
        self: &Arc<Self>,
        outbound: &OutboundRef,
        mut to: Destination,
        lookup: &Lookup,
        known: &Known,
        comer: Comer,
    ) -> io::Result<Opened<Link>> {
        if let Some(plugin) = &outbound.plugin {
            let (link, others) = self.open(plugin, &to, known, comer).await?;
            let link = Counted::link(link, outbound.traffic().of_outbound());
            return Ok((link, others));
        }
        let through = self.through(outbound)?;
        if through.is_some() && lookup.strategy() != Strategy::AsIs {
            let found = lookup.resolve(&to).await?;
            to = found.first().map_or(to, |addr| (*addr).into());
        }
        let dial = async || {
            match &through {
                Some(other) => {
                    let opened = self.open(other, &to, known, comer).await;
                    // That it is reached makes up for no failure of those who go through it.
                    if let Err(e) = &opened {
                        self.note(other, &opened);
                        self.note_unreached(outbound, e);
                    }
                    opened
                }
                None => Ok((outbound.transport.connect(&to, lookup).await?, None)),
            }
        };
        let opening = outbound.transport.open(&to, &self.closing, dial);
        let (link, others) = opening.await?;
        let link = Counted::link(link, outbound.traffic().of_outbound());
        Ok((link, others))
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
}

/// The address that `socket` leads to, for a PROXY header. Where other outbounds are on the way it is the one that they were asked for,
/// if that is no name.
fn far_address(socket: Option<&TcpStream>, to: &Destination, comer: Comer) -> Source {
    if let Some(peer) = socket.and_then(|socket| socket.peer_addr().ok()) {
        return peer.into();
    }
    let ip = match (&to.host, comer.source) {
        (Host::Ip(ip), _) => *ip,
        (Host::Domain(_), Some(Source::Ip(source))) if source.is_ipv6() => {
            Ipv6Addr::UNSPECIFIED.into()
        }
        (Host::Domain(_), _) => Ipv4Addr::UNSPECIFIED.into(),
    };
    SocketAddr::new(ip, to.port).into()
}

/// For needs of this process.
const OWN: Comer = Comer {
    entry: Entry::Local,
    source: None,
};

/// The server whose turn it is; asked once for each connection.
pub(super) fn next_hop(proxy: &Proxy) -> io::Result<NextHop<'_>> {
    let none = || io::Error::new(io::ErrorKind::InvalidInput, "this outbound has no server");
    proxy.next_hop().ok_or_else(none)
}

/// The outbound with this tag was there, and is not any more.
pub(super) fn taken_away(tag: &str) -> io::Error {
    let text = format!("no outbound is tagged `{tag}` any more");
    io::Error::new(io::ErrorKind::NotFound, text)
}
