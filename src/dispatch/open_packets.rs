//! Opens an outbound for datagrams.

use std::io;
use std::sync::Arc;

use super::allowed::{QUESTIONS, both};
use super::open::{Opened, next_hop, taken_away};
use super::single_server::{SingleServer, is_one_server};
use super::{Dispatcher, OutboundRef};
use crate::address::{Destination, Network};
use crate::dns::{self, Known, Strategy};
use crate::io::{BindUdp, Counted, Packets, Udp};
use crate::protocol::{self, Endpoint, NextHop, PacketWay, freedom, loopback, no_packets};
use crate::session::{Entry, Owner};
use crate::transport::tcp;

impl Dispatcher {
    /// Datagrams to `to` by the outbound tagged `tag`, past the rules and the access log.
    pub async fn packets_by_tag(
        self: &Arc<Self>,
        tag: &str,
        to: &Destination,
    ) -> io::Result<Box<dyn Packets>> {
        let outbound = self.outbounds.get(tag).ok_or_else(|| taken_away(tag))?;
        let (known, id) = (&Known::Unasked, self.next_id());
        let opened = self.open_packets(&outbound, to, known, id, Entry::Local);
        opened.await.map(|(packets, _)| packets)
    }

    /// Datagrams of session `id` to `to`, and to others where the outbound's flows have more than one destination.
    /// Names whose addresses are known come with them in their place already, but to a `dns` outbound.
    pub(super) async fn open_packets(
        self: &Arc<Self>,
        outbound: &OutboundRef,
        to: &Destination,
        known: &Known,
        id: u32,
        entry: Entry,
    ) -> io::Result<Opened<Box<dyn Packets>>> {
        match &outbound.protocol {
            protocol::Outbound::Endpoint(Endpoint::Loopback(loopback)) => {
                return self.packets_again(loopback, to, id, entry).await;
            }
            protocol::Outbound::Endpoint(endpoint) => {
                return self.packets_at(endpoint, outbound, to, known);
            }
            protocol::Outbound::Freedom(_) | protocol::Outbound::Proxy(_) => {}
        }
        match self.mux_packets(outbound, to, id, entry).await {
            Some(packets) => packets,
            None => self.native_packets(outbound, to, id, entry).await,
        }
    }

    /// Datagrams as the protocol itself carries them.
    pub(super) async fn native_packets(
        self: &Arc<Self>,
        outbound: &OutboundRef,
        to: &Destination,
        id: u32,
        entry: Entry,
    ) -> io::Result<Opened<Box<dyn Packets>>> {
        match &outbound.protocol {
            protocol::Outbound::Endpoint(endpoint) => {
                self.packets_at(endpoint, outbound, to, &Known::Unasked)
            }
            protocol::Outbound::Freedom(freedom) => {
                self.packets_to_target(outbound, freedom, to, id, entry)
                    .await
            }
            protocol::Outbound::Proxy(proxy) => match proxy.traits().packets {
                None => Err(no_packets()),
                Some(PacketWay::Link) => {
                    let hop = next_hop(proxy)?;
                    let limit = self.handshake(hop.level);
                    let (link, limits) = self.dial_server(outbound, &hop).await?;
                    let (bind, far) = (bind(outbound), outbound.far_end());
                    let packets = hop.packets(link, to, limit, &bind, far).await?;
                    Ok((packets, limits))
                }
                Some(PacketWay::Datagrams) => {
                    let hop = next_hop(proxy)?;
                    let (inner, limits) = self.packets_to_server(outbound, &hop, id).await?;
                    Ok((hop.packets_inside(inner)?, limits))
                }
            },
        }
    }

    /// Datagrams that end in this process.
    fn packets_at(
        self: &Arc<Self>,
        endpoint: &Endpoint,
        outbound: &OutboundRef,
        to: &Destination,
        known: &Known,
    ) -> io::Result<Opened<Box<dyn Packets>>> {
        match endpoint {
            Endpoint::Blackhole(blackhole) => Ok((blackhole.packets(), None)),
            Endpoint::Dns(dns) => {
                let upstream = self.upstream(outbound, to, known);
                let packets = dns.datagrams(self.resolver.now(), upstream, to);
                Ok((packets, Some(QUESTIONS)))
            }
            Endpoint::InProcess(_) => Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "what serves this outbound takes no UDP",
            )),
            Endpoint::Loopback(_) => Err(loopback::carries_nothing()),
            Endpoint::Portal(portal) => Self::packets_at_portal(portal, outbound, to),
        }
    }

    /// Datagrams to the server whose turn it is, beside the streams that go there.
    async fn packets_to_server(
        self: &Arc<Self>,
        outbound: &OutboundRef,
        hop: &NextHop<'_>,
        id: u32,
    ) -> io::Result<Opened<Box<dyn Packets>>> {
        if hop.leaves_packets_readable() && outbound.transport.has_tls() {
            let text = "UDP is not carried: its datagrams would go beside the TLS connection, and nothing would seal them";
            return Err(io::Error::new(io::ErrorKind::Unsupported, text));
        }
        let limits = Some(self.limits(hop.level));
        let lookup = self.server_lookup(outbound);
        let through = self.through(outbound)?;
        let mut to = hop.server.clone();
        if through.is_none() || lookup.strategy() != Strategy::AsIs {
            // The name of a server is this process' own, and no user's share of questions.
            let found = dns::asking(Owner::Process, lookup.resolve(&to)).await?;
            to = found.first().map_or(to, |addr| (*addr).into());
        }
        let Some(other) = through else {
            let inner = freedom::packets(bind(outbound));
            let from = is_one_server(&to).then(|| to.clone());
            return Ok((Box::new(SingleServer { inner, to, from }), limits));
        };
        let unasked = &Known::Unasked;
        let opening = Box::pin(self.open_packets(&other, &to, unasked, id, Entry::Local));
        let (inner, others) = opening.await?;
        let inner = Counted::packets(inner, outbound.traffic().of_outbound());
        let from = None;
        Ok((
            Box::new(SingleServer { inner, to, from }),
            both(others, limits),
        ))
    }

    /// Datagrams that are sent from here, or by the outbound that this one goes through.
    async fn packets_to_target(
        self: &Arc<Self>,
        outbound: &OutboundRef,
        freedom: &freedom::Outbound,
        to: &Destination,
        id: u32,
        entry: Entry,
    ) -> io::Result<Opened<Box<dyn Packets>>> {
        let limits = Some(self.limits(freedom.level()));
        let gate = freedom.gate(Network::Udp, entry, outbound.label());
        let Some(other) = self.through(outbound)? else {
            let local = outbound.transport.sockopt.local();
            let packets = freedom.packets(bind(outbound), local, self.lookup(outbound), gate);
            return Ok((packets, limits));
        };
        let mut target = freedom.target(to);
        let lookup = self.lookup(outbound);
        if lookup.strategy() != Strategy::AsIs {
            let found = lookup.resolve(&target).await?;
            target = found.first().map_or(target, |addr| (*addr).into());
        }
        let unasked = &Known::Unasked;
        let opening = Box::pin(self.open_packets(&other, &target, unasked, id, entry));
        let (packets, others) = opening.await?;
        let packets = freedom.addressed(packets, lookup.clone(), gate);
        let packets = freedom.redirected(freedom.noisy(packets, lookup));
        let packets = Counted::packets(packets, outbound.traffic().of_outbound());
        Ok((packets, both(others, limits)))
    }
}

/// UDP sockets with the outbound's options; what they carry is counted.
fn bind(outbound: &OutboundRef) -> BindUdp {
    let sockopt = outbound.transport.sockopt.clone();
    let meter = outbound.traffic().of_outbound();
    Arc::new(move |to| {
        let socket = tcp::udp_socket(to, &sockopt)?;
        Ok(Udp::new(socket, meter.clone()))
    })
}
