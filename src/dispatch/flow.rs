//! One flow of datagrams: what an outbound carries for one source, to one destination or to any.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::Instant;
use tracing::debug;

use super::liveness::Liveness;
use super::open::Opened;
use super::udp_quota::QuotaSlot;
use super::waiting::Waiting;
use super::{Dispatcher, OutboundRef};
use crate::address::Destination;
use crate::dns::Known;
use crate::io::{Packet, Packets};
use crate::session::Entry;

pub(super) struct Flow {
    id: u32,
    state: FlowState,
    /// The destination that was asked for, where another one took its place: answers are its own.
    asked: Option<Destination>,
    known: Known,
    entry: Entry,
    waiting: Waiting,
    /// There where a server is in between.
    liveness: Option<Liveness>,
    pub(super) slot: QuotaSlot,
    /// How long it may be silent.
    pub(super) idle: Duration,
    pub(super) active: Instant,
}

/// Where a flow goes.
pub(super) struct Target {
    /// The destination of its first datagram.
    pub(super) to: Destination,
    /// What was asked for in its place.
    pub(super) asked: Option<Destination>,
    pub(super) known: Known,
    /// How who asks has come in.
    pub(super) entry: Entry,
}

enum FlowState {
    Opening(Opening),
    Open(Box<dyn Packets>),
}

type Opening = Pin<Box<dyn Future<Output = io::Result<Opened<Box<dyn Packets>>>> + Send>>;

impl FlowState {
    fn opening(
        dispatcher: &Arc<Dispatcher>,
        id: u32,
        outbound: OutboundRef,
        to: Destination,
        known: Known,
        entry: Entry,
    ) -> Self {
        let dispatcher = dispatcher.clone();
        let opening = async move {
            dispatcher
                .open_packets(&outbound, &to, &known, id, entry)
                .await
        };
        Self::Opening(Box::pin(opening))
    }
}

impl Flow {
    pub(super) fn open(
        dispatcher: &Arc<Dispatcher>,
        id: u32,
        outbound: OutboundRef,
        target: Target,
        slot: QuotaSlot,
        idle: Duration,
    ) -> Self {
        let Target {
            to,
            asked,
            known,
            entry,
        } = target;
        Self {
            id,
            liveness: outbound.has_server().then(Liveness::new),
            state: FlowState::opening(dispatcher, id, outbound, to, known.clone(), entry),
            asked,
            known,
            entry,
            waiting: Waiting::default(),
            slot,
            idle,
            active: Instant::now(),
        }
    }

    /// Takes a datagram, over a new connection of `outbound` where the old one seems deaf. An error says
    /// so when someone should know.
    pub(super) fn push(
        &mut self,
        dispatcher: &Arc<Dispatcher>,
        outbound: &OutboundRef,
        packet: Packet,
        now: Instant,
    ) -> io::Result<()> {
        let mut result = Ok(());
        if let Some(liveness) = &mut self.liveness {
            if let FlowState::Open(packets) = &mut self.state
                && liveness.is_deaf(self.idle, now)
            {
                packets.give_up();
                debug!(to = %packet.peer, outbound = outbound.name, "a flow without answers goes on over a new connection");
                if liveness.begin_anew() {
                    result = Err(io::Error::other(
                        "datagrams get no answer any more, they go on over a new connection",
                    ));
                }
                let to = packet.peer.clone();
                let known = self.known.clone();
                let (outbound, entry) = (outbound.clone(), self.entry);
                self.state = FlowState::opening(dispatcher, self.id, outbound, to, known, entry);
            }
            liveness.sent(packet.data.len(), now);
        }
        self.touch(now);
        self.waiting.push(packet);
        result
    }

    /// A datagram went by.
    pub(super) fn touch(&mut self, now: Instant) {
        self.active = now;
        self.slot.touch(now);
    }

    /// Whom the next datagram goes to.
    pub(super) fn next_peer(&self) -> Option<&Destination> {
        self.waiting.front().map(|packet| &packet.peer)
    }

    pub(super) fn poll_send(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if let FlowState::Opening(opening) = &mut self.state {
            match opening.as_mut().poll(cx) {
                Poll::Pending => return Ok(()),
                Poll::Ready(opened) => {
                    let (packets, limits) = opened?;
                    if let Some(limits) = limits {
                        self.idle = self.idle.min(limits.idle.into());
                    }
                    self.state = FlowState::Open(packets);
                    if let Some(liveness) = &mut self.liveness {
                        liveness.opened();
                    }
                }
            }
        }
        if let FlowState::Open(packets) = &mut self.state {
            while let Some(packet) = self.waiting.front() {
                match packets.poll_send(cx, packet) {
                    Poll::Pending => break,
                    Poll::Ready(sent) => sent?,
                }
                self.waiting.pop();
            }
        }
        Ok(())
    }

    pub(super) fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Packet>>> {
        match &mut self.state {
            FlowState::Opening(_) => Poll::Pending,
            FlowState::Open(packets) => {
                let mut received = ready!(packets.poll_recv(cx));
                if let (Ok(Some(_)), Some(liveness)) = (&received, &mut self.liveness) {
                    liveness.heard();
                }
                if let (Ok(Some(packet)), Some(asked)) = (&mut received, &self.asked) {
                    packet.peer = asked.clone();
                }
                Poll::Ready(received)
            }
        }
    }
}
