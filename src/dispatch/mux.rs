//! Sessions that share a connection, where an outbound has `mux` switched on.

use std::io;
use std::sync::Arc;

use super::again::counted_on;
use super::open::{Opened, next_hop};
use super::{Dispatcher, OutboundRef};
use crate::address::Destination;
use crate::dns::Known;
use crate::io::{Link, Packets};
use crate::mux::{self, DialFuture, UdpMode, packet_addr, packet_stream};
use crate::protocol;
use crate::session::Entry;

/// Whether a source's datagrams to one destination may share a flow with others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FlowScope {
    Own,
    Shared,
    /// They are not carried at all.
    Closed,
}

impl Dispatcher {
    /// A stream to `to` inside a link of an outbound; `None` without mux.
    pub(super) fn mux_stream(
        self: &Arc<Self>,
        outbound: &OutboundRef,
        to: &Destination,
    ) -> Option<Link> {
        let mux = outbound.mux.as_ref()?;
        mux.stream(to, || self.mux_link(outbound))
    }

    /// Datagrams of association `id` as mux carries them; `None` when the protocol itself does.
    pub(super) async fn mux_packets(
        self: &Arc<Self>,
        outbound: &OutboundRef,
        to: &Destination,
        id: u32,
        entry: Entry,
    ) -> Option<io::Result<Opened<Box<dyn Packets>>>> {
        let mux = outbound.mux.as_ref()?;
        match mux.way(to) {
            UdpMode::Native => None,
            UdpMode::Session | UdpMode::Xudp => {
                let packets = mux.packets(to, id, || self.mux_link(outbound));
                Some(packets.map(|packets| (packets, None)))
            }
            UdpMode::PacketAddr => {
                let name = packet_addr::destination();
                let inner = self.native_packets(outbound, &name, id, entry).await;
                Some(inner.map(|(inner, limits)| (packet_addr::unwrap(inner, name), limits)))
            }
            UdpMode::PacketStream => {
                let inner = self
                    .open(
                        outbound,
                        &packet_stream::destination(),
                        &Known::Unasked,
                        entry,
                    )
                    .await;
                Some(inner.map(|(link, limits)| (packet_stream::packets(link), limits)))
            }
            UdpMode::Dropped => {
                let text = "mux.xudpProxyUDP443 has datagrams to port 443 dropped";
                Some(Err(io::Error::other(text)))
            }
        }
    }

    /// How a source's datagrams to `to` travel by an outbound.
    pub(super) fn flow_scope(&self, outbound: &OutboundRef, to: &Destination) -> FlowScope {
        match (&outbound.mux, self.through(outbound)) {
            (Some(mux), _) => match mux.way(to) {
                UdpMode::Native | UdpMode::Session => FlowScope::Own,
                UdpMode::Xudp | UdpMode::PacketAddr | UdpMode::PacketStream => FlowScope::Shared,
                UdpMode::Dropped => FlowScope::Closed,
            },
            _ if outbound.protocol.packets_have_one_peer() => FlowScope::Own,
            // The rules say for each destination which way it goes.
            _ if outbound.protocol.loopback().is_some() => FlowScope::Own,
            (None, Ok(Some(other))) if !outbound.protocol.has_server() => {
                self.flow_scope(&other, to)
            }
            _ => FlowScope::Shared,
        }
    }

    /// Dials the server of an outbound for frames.
    fn mux_link(self: &Arc<Self>, outbound: &OutboundRef) -> DialFuture {
        let (dispatcher, outbound) = (self.clone(), outbound.clone());
        Box::pin(counted_on(async move {
            let proxy = match &outbound.protocol {
                protocol::Outbound::Proxy(proxy) => proxy,
                protocol::Outbound::Freedom(freedom) => {
                    // The server that `redirect` names, for whoever comes.
                    let (to, comer) = (mux::destination(), Entry::Local.into());
                    let dialling =
                        dispatcher.dial_target(&outbound, freedom, &to, &Known::Unasked, comer);
                    let (link, limits) = dialling.await?;
                    let link = freedom.cut(link);
                    return Ok((link, limits.unwrap_or_default().idle.into()));
                }
                protocol::Outbound::Endpoint(_) => {
                    let text = "only an outbound with a server carries mux";
                    return Err(io::Error::new(io::ErrorKind::Unsupported, text));
                }
            };
            let hop = next_hop(proxy)?;
            let (link, limits) = dispatcher.dial_server(&outbound, &hop).await?;
            let link = hop.multiplexed(link, outbound.far_end())?;
            Ok((link, limits.unwrap_or_default().idle.into()))
        }))
    }
}
