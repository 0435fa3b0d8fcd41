//! What a layer has made and the one below has not taken yet.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};

use super::{HEADROOM, Io};
use crate::copy;

/// Bytes that go down before anything else does.
#[derive(Debug, Default)]
pub struct Unsent(BytesMut);

impl Unsent {
    /// Puts bytes behind the others.
    pub fn push(&mut self, bytes: &[u8]) {
        copy::append(bytes, &mut self.0);
    }

    /// Ready when all of it has gone to `inner`.
    ///
    /// # Errors
    ///
    /// Those of `inner`, or when it takes nothing.
    pub fn poll_push<S: Io>(
        &mut self,
        inner: &mut S,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while !self.0.is_empty() {
            let n = ready!(Pin::new(&mut *inner).poll_write(cx, &self.0))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.0.advance(n);
            if self.0.is_empty() {
                // An idle tunnel has no use for its allocation.
                self.0 = BytesMut::new();
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Writes as much of what stands behind the [`HEADROOM`] as `inner` takes now, and keeps the rest.
    ///
    /// # Errors
    ///
    /// As [`Self::poll_push`].
    pub fn hand_down<S: Io>(
        &mut self,
        inner: &mut S,
        cx: &mut Context<'_>,
        mut bytes: &mut [u8],
    ) -> io::Result<()> {
        while bytes.len() > HEADROOM {
            match Pin::new(&mut *inner).poll_write_in_place(cx, bytes) {
                Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(n)) => bytes = &mut bytes[n..],
                Poll::Ready(Err(e)) => return Err(e),
                Poll::Pending => {
                    self.push(&bytes[HEADROOM..]);
                    break;
                }
            }
        }
        Ok(())
    }
}
