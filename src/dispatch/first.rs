//! The first bytes of a session.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::timeout;

use crate::io::{Link, scratch};

/// How long V2Ray, and so we, wait for a first payload before the header goes out alone: the
/// application may be waiting for the target to speak first.
const PAYLOAD_WAIT: Duration = Duration::from_millis(100);

/// As much as one chunk carries.
const PAYLOAD_MAX: usize = 16 * 1024;

/// What the client sends within a moment, so that it can travel with the header; empty if nothing.
pub(super) async fn payload(link: &mut Link) -> Vec<u8> {
    let read = poll_fn(|cx| {
        let mut scratch = scratch::take();
        let mut buf = ReadBuf::new(&mut scratch[..PAYLOAD_MAX]);
        // An error is met again, and dealt with, by the relay.
        let _ = ready!(Pin::new(&mut *link).poll_read(cx, &mut buf));
        Poll::Ready(buf.filled().to_vec())
    });
    timeout(PAYLOAD_WAIT, read).await.unwrap_or_default()
}
