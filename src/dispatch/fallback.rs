//! Links that are not for a protocol, on their way to who stands behind it.

use std::fmt;
use std::io;
use std::time::Duration;

use tokio::time::{sleep, timeout};
use tracing::debug;

use super::Dispatcher;
use crate::cause::{Behind, FallbackError, Lack};
use crate::io::{self as links, Link, ended};
use crate::log;
use crate::relay::{Allowance, Relay};
use crate::seam::{Fallback, FallbackTarget};
use crate::session::Source;
use crate::transport::{proxy_protocol, tcp};

/// V2Ray tries five times, too, and waits longer each time: a web server may just be starting again.
const PAUSES: [Duration; 4] = [
    Duration::from_millis(100),
    Duration::from_millis(200),
    Duration::from_millis(300),
    Duration::from_millis(400),
];

/// For one attempt.
const CONNECT_LIMIT: Duration = Duration::from_secs(4);

/// Who comes, to which address of ours, and by which inbound.
pub struct Stranger<'a> {
    pub inbound: &'a (dyn fmt::Display + Sync),
    pub source: Source,
    pub local: Source,
}

impl Dispatcher {
    /// Carries a link to `fallback`, with what was read from it in front, in a task of its own; returns when it is on
    /// its way, or nobody is reached; `begun` is called in the former case. The limits are those of level 0, as V2Ray's:
    /// nobody knows who it is.
    pub async fn fall_back(
        &self,
        stranger: &Stranger<'_>,
        fallback: &Fallback,
        link: Link,
        read: &[u8],
        begun: impl FnOnce(),
    ) {
        let Some(alive) = self.alive.upgrade() else {
            return;
        };
        let to = &fallback.to;
        let behind = match connect_patiently(to).await {
            Ok(behind) => behind,
            Err(source) => {
                let to = to.to_string();
                let error = FallbackError {
                    lack: Lack::Connection,
                    what: Behind::Fallback,
                    to,
                    source,
                };
                let text = format!("{}: {error}", stranger.inbound);
                log::repeated_cause(&text, &text, Some(error.code()));
                return link.close().await;
            }
        };
        begun();
        let mut first = Vec::new();
        if let Some(version) = fallback.proxy_header {
            first = proxy_protocol::header(version, stranger.source, stranger.local);
        }
        first.extend_from_slice(read);
        let policy = self.policy.now();
        let level = policy.level(0);
        let allowance = Allowance {
            limits: level.limits,
            read_max: level.buffer,
            ..Allowance::default()
        };
        let mut relay = Relay::new(link, behind, first, allowance);
        links::spawn(async move {
            let over = (&mut relay).await;
            debug!(up = over.up, down = over.down, "fallback ended");
            if let Some(failure) = over.error {
                Box::pin(relay.finish(failure)).await;
            }
            ended::one();
            drop(alive);
        });
    }
}

async fn connect_patiently(to: &FallbackTarget) -> io::Result<Link> {
    let mut pauses = PAUSES.into_iter();
    loop {
        let connecting = timeout(CONNECT_LIMIT, tcp::connect_behind(to)).await;
        let error = match connecting.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
            Ok(link) => return Ok(link),
            Err(error) => error,
        };
        match pauses.next() {
            Some(pause) => sleep(pause).await,
            None => return Err(error),
        }
    }
}
