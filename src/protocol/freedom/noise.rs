//! Xray's `noises`: datagrams that mean nothing, in front of the first one of an association.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::time::{Sleep, sleep};

use super::names::Names;
use crate::address::{Destination, reached_at};
use crate::dns::Lookup;
use crate::io::fragment::Between;
use crate::io::{Packet, Packets, random};

/// One of `noises`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Noise {
    /// `type` and `packet`.
    pub packet: Content,
    /// `delay`: milliseconds behind it.
    pub delay: Between,
    /// `applyTo`.
    pub to: Family,
}

/// What a datagram holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// `rand`: so many random bytes.
    Random(Between),
    /// `str`, `hex` or `base64`.
    Given(Bytes),
}

/// To whom it is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Family {
    /// `ip`: to everyone.
    #[default]
    Any,
    /// `ipv4`.
    V4,
    /// `ipv6`.
    V6,
}

/// How many there may be: each is a datagram of its own, and a client waits for them all.
pub const MOST_NOISES: usize = 1024;

/// The largest payload of a datagram.
pub const LARGEST_DATAGRAM: u32 = 65_507;

/// The datagrams of one association.
pub(super) struct Noisy {
    inner: Box<dyn Packets>,
    noises: Arc<[Noise]>,
    /// How many of them are over.
    done: usize,
    names: Names,
    /// On its way.
    packet: Option<Packet>,
    pause: Option<Pin<Box<Sleep>>>,
}

/// A DNS server would take them for questions.
const DNS: u16 = 53;

impl Noisy {
    pub(super) fn new(inner: Box<dyn Packets>, noises: Arc<[Noise]>, lookup: Lookup) -> Self {
        Self {
            inner,
            noises,
            done: 0,
            names: Names::new(lookup, None),
            packet: None,
            pause: None,
        }
    }

    /// Sends those that are left to `peer`.
    fn poll_noise(&mut self, cx: &mut Context<'_>, peer: &Destination) -> Poll<io::Result<()>> {
        loop {
            if let Some(packet) = &self.packet {
                let sent = ready!(self.inner.poll_send(cx, packet));
                // One that cannot be sent is not sent again in front of every other.
                self.packet = None;
                let pause = self.noises[self.done].delay.pause();
                self.pause = pause.map(|pause| Box::pin(sleep(pause)));
                self.done += 1;
                sent?;
            }
            if let Some(pause) = &mut self.pause {
                ready!(pause.as_mut().poll(cx));
                self.pause = None;
            }
            let Some(noise) = self.noises.get(self.done) else {
                return Poll::Ready(Ok(()));
            };
            let at = match noise.to {
                Family::Any => None,
                _ => ready!(self.names.poll_resolve(peer, cx)),
            };
            let is_v4 = at.map(|at| reached_at(at).is_ipv4());
            let is_meant = match noise.to {
                Family::Any => true,
                Family::V4 => is_v4 == Some(true),
                Family::V6 => is_v4 == Some(false),
            };
            if !is_meant {
                self.done += 1;
                continue;
            }
            let data = match &noise.packet {
                Content::Given(bytes) => bytes.clone(),
                Content::Random(length) => {
                    let mut bytes = vec![0; length.draw() as usize];
                    random::fill(&mut bytes);
                    bytes.into()
                }
            };
            let peer = peer.clone();
            self.packet = Some(Packet { peer, data });
        }
    }
}

impl Packets for Noisy {
    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Packet>>> {
        self.inner.poll_recv(cx)
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, packet: &Packet) -> Poll<io::Result<()>> {
        let is_over = self.done == self.noises.len() && self.pause.is_none();
        if !is_over && packet.peer.port != DNS {
            ready!(self.poll_noise(cx, &packet.peer))?;
        }
        self.inner.poll_send(cx, packet)
    }
}
