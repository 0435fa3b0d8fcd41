//! The writing half of a stream: plain bytes from the caller, sealed bytes to the layer below.

use std::io;
use std::task::{Context, Poll, ready};

use super::codec::chunks::{OVERHEAD, Sealer};
use super::codec::head::{Head, MAX_HEAD};
use crate::io::{HEADROOM, Io, Unsent, random, scratch};
use crate::protocol::replay::now;

/// Writes a stream behind its head. What the layer below does not take at once is kept, and nothing new is taken until
/// it is gone: at most [`scratch::LEN`] bytes.
pub(super) struct Writer {
    /// Goes out with the first bytes of the stream.
    head: Option<Box<Head>>,
    sealer: Box<Sealer>,
    unsent: Unsent,
}

impl Writer {
    pub(super) fn new(head: Head, sealer: Sealer) -> Self {
        Self {
            head: Some(Box::new(head)),
            sealer: Box::new(sealer),
            unsent: Unsent::default(),
        }
    }

    pub(super) fn poll_write<S: Io>(
        &mut self,
        inner: &mut S,
        cx: &mut Context<'_>,
        plain: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_push(inner, cx))?;
        if plain.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let mut scratch = scratch::take();
        let (mut len, mut taken) = self.begin(plain, &mut scratch);
        while taken < plain.len() && scratch.len() - len > OVERHEAD {
            let room = scratch.len() - len - OVERHEAD;
            let n = (plain.len() - taken).min(self.sealer.max_plain()).min(room);
            len += self
                .sealer
                .seal(&plain[taken..taken + n], &mut scratch[len..]);
            taken += n;
        }
        self.unsent.hand_down(inner, cx, &mut scratch[..len])?;
        Poll::Ready(Ok(taken))
    }

    /// Hands down the head even if nothing follows it.
    pub(super) fn release_head(&mut self) {
        if self.head.is_none() {
            return;
        }
        let mut scratch = scratch::take();
        let (len, _) = self.begin(&[], &mut scratch);
        self.unsent.push(&scratch[HEADROOM..len]);
    }

    /// Ready when all that was taken has gone to the layer below.
    pub(super) fn poll_push<S: Io>(
        &mut self,
        inner: &mut S,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        self.unsent.poll_push(inner, cx)
    }

    /// Leaves [`HEADROOM`] free and puts the head behind it if it is still there; what is taken of `out` then, and
    /// what of `plain`.
    fn begin(&mut self, plain: &[u8], out: &mut [u8]) -> (usize, usize) {
        let Some(head) = self.head.take() else {
            return (HEADROOM, 0);
        };
        let plain = &plain[..plain.len().min(out.len() - HEADROOM - MAX_HEAD)];
        let time = now().unsigned_abs();
        let out = &mut out[HEADROOM..];
        let written = head.seal(&mut self.sealer, plain, time, &mut random::fill, out);
        (HEADROOM + written.len, written.payload)
    }
}
