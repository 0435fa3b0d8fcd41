//! Sessions that share a connection, where an outbound has `mux` switched on.

use std::io;
use std::sync::Arc;

use super::open::Opened;
use super::{Dispatcher, Shared};
use crate::address::Destination;
use crate::dns::Known;
use crate::io::{Link, Packets};
use crate::mux::packet_stream::{self, PacketStream};
use crate::mux::{Dial, Way, packet_addr};

/// Whether a source's datagrams to one destination may share a flow with others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lane {
    Own,
    Shared,
    /// They are not carried at all.
    Closed,
}

impl Dispatcher {
    /// A stream to `to` inside a link of outbound `by`; `None` without mux.
    pub(super) fn mux_stream(self: &Arc<Self>, by: &Shared, to: &Destination) -> Option<Link> {
        let mux = by.mux.as_ref()?;
        mux.stream(to, || self.mux_link(by, to))
    }

    /// Datagrams of association `id` as mux carries them; `None` when the protocol itself does.
    pub(super) async fn mux_packets(
        self: &Arc<Self>,
        by: &Shared,
        to: &Destination,
        id: u32,
    ) -> Option<io::Result<Opened<Box<dyn Packets>>>> {
        let mux = by.mux.as_ref()?;
        match mux.way(to) {
            Way::Native => None,
            Way::Session | Way::Xudp => {
                let packets = mux.packets(to, id, || self.mux_link(by, to));
                Some(packets.map(|packets| (packets, None)))
            }
            Way::PacketAddr => {
                let name = packet_addr::destination();
                let inner = self.native_packets(by, &name, id).await;
                Some(inner.map(|(inner, limits)| (packet_addr::unwrap(inner, name), limits)))
            }
            Way::PacketStream => {
                let inner = self
                    .open(by, &packet_stream::destination(), &Known::Unasked)
                    .await;
                Some(inner.map(|(link, limits)| {
                    let packets: Box<dyn Packets> = Box::new(PacketStream::new(link));
                    (packets, limits)
                }))
            }
            Way::Dropped => {
                let text = "mux.xudpProxyUDP443 has datagrams to port 443 dropped";
                Some(Err(io::Error::other(text)))
            }
        }
    }

    /// How a source's datagrams to `to` travel by outbound `by`.
    pub(super) fn lane(&self, by: &Shared, to: &Destination) -> Lane {
        match (&by.mux, self.through(by)) {
            (Some(mux), _) => match mux.way(to) {
                Way::Native | Way::Session => Lane::Own,
                Way::Xudp | Way::PacketAddr | Way::PacketStream => Lane::Shared,
                Way::Dropped => Lane::Closed,
            },
            _ if by.protocol.packets_have_one_peer() => Lane::Own,
            (None, Ok(Some(other))) if !by.protocol.has_server() => self.lane(&other, to),
            _ => Lane::Shared,
        }
    }

    /// Dials outbound `by` for frames; `to` is only for protocols whose hop depends on it.
    fn mux_link(self: &Arc<Self>, by: &Shared, to: &Destination) -> Dial {
        let (dispatcher, by, to) = (self.clone(), by.clone(), to.clone());
        Box::pin(async move {
            let ((link, limits), account) = dispatcher.dial(&by, &to, &Known::Unasked).await?;
            let link = by.protocol.dress_mux(link, account)?;
            Ok((link, limits.unwrap_or_default().idle.into()))
        })
    }
}
