//! The first bytes of a session.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::timeout;

use crate::io::{Link, scratch};
use crate::protocol::FirstPayload;

/// How long V2Ray, and so we, wait for a first payload before the header goes out alone: the
/// application may be waiting for the target to speak first.
const PAYLOAD_WAIT: Duration = Duration::from_millis(100);

/// A client that has waited for its answer is nearby, as a rule on this machine, and ready to send. It need not be waited
/// for as long as one that has yet to hear, and a target that speaks first is kept waiting less.
const AFTER_ANSWER: Duration = Duration::from_millis(30);

/// Of a program on this machine, what belongs to its request is there by then.
const SOON: Duration = Duration::from_millis(3);

/// As much as one chunk carries.
const PAYLOAD_MAX: usize = 16 * 1024;

/// What the client sends within a moment, so that it can travel with the header; empty if nothing.
pub(super) async fn payload(how: FirstPayload, link: &mut Link) -> Vec<u8> {
    payload_within(patience(how, PAYLOAD_WAIT), link).await
}

/// The same of a client that had waited for an answer, and has it now.
pub(super) async fn payload_after_answer(how: FirstPayload, link: &mut Link) -> Vec<u8> {
    payload_within(patience(how, AFTER_ANSWER), link).await
}

fn patience(how: FirstPayload, usual: Duration) -> Duration {
    match how {
        FirstPayload::Apart => Duration::ZERO,
        FirstPayload::IfSoon => SOON,
        FirstPayload::Together => usual,
    }
}

async fn payload_within(limit: Duration, link: &mut Link) -> Vec<u8> {
    let mut first = Vec::new();
    // Whether it came in time or not, it is in `first` or still to be read.
    let _ = timeout(limit, payload_into(link, &mut first)).await;
    first
}

/// What the client sends; where nobody waits for it any more, it is in `into` or still to be read.
pub(super) async fn payload_into(link: &mut Link, into: &mut Vec<u8>) {
    read(link, PAYLOAD_MAX, into).await;
}

/// Appends what comes next, at most `max` bytes, to `into`; 0 at the end.
pub(super) async fn read(link: &mut Link, max: usize, into: &mut Vec<u8>) -> usize {
    poll_fn(|cx| {
        let mut scratch = scratch::take();
        let mut buf = ReadBuf::new(&mut scratch[..max]);
        // An error is met again, and dealt with, by the relay.
        let _ = ready!(Pin::new(&mut *link).poll_read(cx, &mut buf));
        into.extend_from_slice(buf.filled());
        Poll::Ready(buf.filled().len())
    })
    .await
}
