//! Datagrams that another outbound sends on, where `redirect` says to whom they go instead.

use std::io;
use std::task::{Context, Poll};

use super::Redirect;
use crate::io::{Packet, Packets};

/// Each datagram goes where the redirect has it, and answers name where they came from, as those of a socket do.
pub(super) struct Redirected {
    inner: Box<dyn Packets>,
    redirect: Redirect,
}

impl Redirected {
    pub(super) fn new(inner: Box<dyn Packets>, redirect: Redirect) -> Self {
        Self { inner, redirect }
    }
}

impl Packets for Redirected {
    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Packet>>> {
        self.inner.poll_recv(cx)
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, packet: &Packet) -> Poll<io::Result<()>> {
        let packet = Packet {
            peer: self.redirect.apply(&packet.peer),
            data: packet.data.clone(),
        };
        self.inner.poll_send(cx, &packet)
    }
}
