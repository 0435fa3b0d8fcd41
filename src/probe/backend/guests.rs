//! Those who have not shown a right signature, and what is kept for them.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;

/// So many may be here at one time; one more, and the oldest one goes.
const MAX_GUESTS: usize = 64;

/// So many bytes are kept of all of them; beyond that only of short messages.
const MAX_KEPT: usize = 24 << 20;

/// What is short.
const SHORT: usize = 64 * 1024;

/// All guests.
#[derive(Default)]
pub(super) struct Guests {
    /// In the order in which they came.
    here: Mutex<VecDeque<(u64, Arc<Notify>)>>,
    next: AtomicU64,
    kept: AtomicUsize,
}

/// A connection that is, or was, a guest's.
pub(super) struct Guest {
    guests: Arc<Guests>,
    id: u64,
    turned_out: Arc<Notify>,
    proven: AtomicBool,
    /// Bytes of the message that is coming.
    kept: AtomicUsize,
}

impl Guests {
    /// One more.
    pub(super) fn enter(self: &Arc<Self>) -> Arc<Guest> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let turned_out = Arc::new(Notify::new());
        let mut here = self.lock();
        here.push_back((id, turned_out.clone()));
        if here.len() > MAX_GUESTS
            && let Some((_, oldest)) = here.pop_front()
        {
            oldest.notify_one();
        }
        drop(here);
        Arc::new(Guest {
            guests: self.clone(),
            id,
            turned_out,
            proven: AtomicBool::new(false),
            kept: AtomicUsize::new(0),
        })
    }

    fn leave(&self, id: u64) {
        self.lock().retain(|(other, _)| *other != id);
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<(u64, Arc<Notify>)>> {
        self.here.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Guest {
    /// Ready when others need the place.
    pub(super) async fn turned_out(&self) {
        self.turned_out.notified().await;
    }

    /// It has shown a right signature, and is a guest no more.
    pub(super) fn prove(&self) {
        self.message_is_gone();
        if !self.proven.swap(true, Ordering::Relaxed) {
            self.guests.leave(self.id);
        }
    }

    pub(super) fn is_proven(&self) -> bool {
        self.proven.load(Ordering::Relaxed)
    }

    /// What was kept of its message is not kept any more.
    pub(super) fn message_is_gone(&self) {
        let kept = self.kept.swap(0, Ordering::Relaxed);
        self.guests.kept.fetch_sub(kept, Ordering::Relaxed);
    }

    /// Whether so many bytes more may be kept.
    fn keep(&self, bytes: usize) -> bool {
        if self.is_proven() {
            return true;
        }
        let own = self.kept.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let all = self.guests.kept.fetch_add(bytes, Ordering::Relaxed) + bytes;
        own <= SHORT || all <= MAX_KEPT
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.message_is_gone();
        self.guests.leave(self.id);
    }
}

/// A stream whose bytes are counted as long as a guest sends them.
pub(super) struct Counted<S> {
    pub(super) inner: S,
    pub(super) guest: Arc<Guest>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Counted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(cx, buf))?;
        if self.guest.keep(buf.filled().len() - before) {
            return Poll::Ready(Ok(()));
        }
        // An error comes with no bytes.
        buf.set_filled(before);
        Poll::Ready(Err(io::Error::other("too much is kept for strangers")))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counted<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    #[tokio::test]
    async fn one_guest_too_many_turns_out_the_oldest_and_no_one_who_is_proven() {
        let guests = Arc::<Guests>::default();
        let first = guests.enter();
        first.prove();
        let mut others: Vec<_> = (0..MAX_GUESTS).map(|_| guests.enter()).collect();
        others.remove(1);
        let _more = [guests.enter(), guests.enter()];
        others[0].turned_out().await;
        assert_eq!(guests.lock().len(), MAX_GUESTS);
    }

    #[tokio::test]
    async fn strangers_fill_no_more_than_their_part_together() {
        let guests = Arc::<Guests>::default();
        let take = |guest: &Arc<Guest>, bytes: usize| {
            let guest = guest.clone();
            async move {
                let (mut near, inner) = duplex(bytes);
                near.write_all(&vec![0; bytes]).await.unwrap();
                drop(near);
                let mut counted = Counted { inner, guest };
                counted.read_to_end(&mut Vec::new()).await
            }
        };
        let (a, b) = (guests.enter(), guests.enter());
        take(&a, MAX_KEPT - 1000).await.unwrap();
        take(&b, SHORT).await.unwrap();
        assert!(take(&b, SHORT).await.is_err());
        b.message_is_gone();
        let proven = guests.enter();
        proven.prove();
        take(&proven, MAX_KEPT).await.unwrap();
        drop(a);
        assert_eq!(guests.kept.load(Ordering::Relaxed), 0);
    }
}
