//! One flow of datagrams: what an outbound carries for one source, to one destination or to any.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::Instant;

use super::open::Opened;
use super::waiting::Waiting;
use super::{Dispatcher, Shared};
use crate::address::Destination;
use crate::dns::Known;
use crate::io::{Packet, Packets};

pub(super) struct Flow {
    state: FlowState,
    /// The destination that was asked for, where another one took its place: answers are its own.
    asked: Option<Destination>,
    pub(super) waiting: Waiting,
    /// How long it may be silent.
    pub(super) idle: Duration,
    pub(super) active: Instant,
}

enum FlowState {
    Opening(Opening),
    Open(Box<dyn Packets>),
}

type Opening = Pin<Box<dyn Future<Output = io::Result<Opened<Box<dyn Packets>>>> + Send>>;

impl Flow {
    pub(super) fn open(
        dispatcher: &Arc<Dispatcher>,
        id: u32,
        by: Shared,
        to: Destination,
        asked: Option<Destination>,
        known: Known,
        idle: Duration,
    ) -> Self {
        let dispatcher = dispatcher.clone();
        let opening = async move { dispatcher.open_packets(&by, &to, &known, id).await };
        Self {
            state: FlowState::Opening(Box::pin(opening)),
            asked,
            waiting: Waiting::default(),
            idle,
            active: Instant::now(),
        }
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
                if let (Ok(Some(packet)), Some(asked)) = (&mut received, &self.asked) {
                    packet.peer = asked.clone();
                }
                Poll::Ready(received)
            }
        }
    }
}
