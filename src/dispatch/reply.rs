//! Tells the peer of a session whether there is a way to its target.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use super::first;
use crate::cause::Unreached;
use crate::io::{CloseReason, Io, Link, linger};
use crate::seam::Reply;

/// A few bytes fit, unless the peer is gone.
const ANSWER_LIMIT: Duration = Duration::from_secs(4);

/// The way is open.
pub(super) async fn grant(link: &mut Link, reply: Box<dyn Reply>) -> io::Result<()> {
    send(link, &reply.answer(Ok(()))).await
}

/// There is none: the peer is told, if it waits for an answer, and the link ends. Where nothing is answered, a known user
/// may hear of it in the end of the link.
pub(super) async fn refuse(
    mut link: Link,
    reply: Option<Box<dyn Reply>>,
    is_user: bool,
    why: &Unreached<'_>,
) {
    if reply.is_none() && is_user {
        let code = why.reach().close_code();
        link.set_close_reason(CloseReason::Private(code));
    }
    let answer = reply
        .map(|reply| reply.answer(Err(why)))
        .unwrap_or_default();
    if !answer.is_empty() && send(&mut link, &answer).await.is_ok() {
        return linger(link).await;
    }
    link.close().await;
}

/// Awaits `opening`; what the peer says meanwhile, though it was not answered yet, comes along.
pub(super) async fn meanwhile<T>(
    link: &mut Link,
    opening: impl Future<Output = T>,
) -> (T, Vec<u8>) {
    let mut first = Vec::new();
    let mut opening = pin!(opening);
    let opened = tokio::select! {
        opened = &mut opening => opened,
        () = first::payload_into(link, &mut first) => opening.await,
    };
    (opened, first)
}

async fn send(link: &mut Link, answer: &[u8]) -> io::Result<()> {
    if answer.is_empty() {
        return Ok(());
    }
    let sending = async {
        link.write_all(answer).await?;
        link.flush().await
    };
    timeout(ANSWER_LIMIT, sending).await?
}
