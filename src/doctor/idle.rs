//! How long a tunnel lives in which nothing passes.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use tokio::time::{timeout, timeout_at};

use super::Walk;
use super::carried;
use super::client::{STILL, Way};
use crate::cause::Fault;
use crate::dispatch::Dispatcher;
use crate::io::{Goodbye, Io, broken_off};
use crate::observatory::Url;
use crate::transport::ClientCarrier;

/// What became of a silent tunnel.
#[derive(Debug)]
enum Silence {
    /// It was there as long as it was looked at.
    Lasted,
    /// It has ended in order: by the target's will, if so much is known.
    Ended { at: Duration, by_target: bool },
    /// It was cut off.
    Cut(Duration, io::Error),
    /// There was none.
    Never,
}

/// Opens a tunnel, has it answer once, and then waits for at most `limit`.
async fn wait(dispatcher: &Arc<Dispatcher>, tag: &str, url: &Url, limit: Duration) -> Silence {
    let opening = carried::open(dispatcher, tag, url);
    let Ok(Ok((mut link, _))) = timeout(carried::PATIENCE, opening).await else {
        return Silence::Never;
    };
    let mut since = Instant::now();
    // An answer that never ends is none to wait behind.
    let answered = since + carried::PATIENCE;
    let mut body = BytesMut::new();
    loop {
        body.clear();
        let read = timeout_at((since + limit).into(), link.read_more(&mut body)).await;
        match read {
            Err(_) => return Silence::Lasted,
            Ok(Ok(0)) => {
                let at = since.elapsed();
                return match link.goodbye() {
                    Goodbye::Owed => Silence::Cut(at, broken_off("a goodbye")),
                    goodbye => Silence::Ended {
                        at,
                        by_target: goodbye == Goodbye::Said,
                    },
                };
            }
            Ok(Err(e)) => return Silence::Cut(since.elapsed(), e),
            // The rest of the answer.
            Ok(Ok(_)) if Instant::now() < answered => since = Instant::now(),
            Ok(Ok(_)) => return Silence::Never,
        }
    }
}

impl Way {
    pub(super) async fn rests(&self, limit: Option<Duration>, walk: &mut Walk<'_>) {
        let Some(limit) = limit else {
            walk.skip(
                "idle",
                "`--idle SECONDS` tries how long a silent tunnel lives",
            );
            return;
        };
        let secs = limit.as_secs();
        match wait(&self.dispatcher, STILL, &self.url, limit).await {
            Silence::Lasted => {
                walk.well("idle", format_args!("a silent tunnel lives for {secs} s"))
            }
            Silence::Ended {
                at,
                by_target: false,
            } => walk.skip(
                "idle",
                format_args!(
                    "it ended after {} s, by the target itself or by what is in between, and nothing in this tunnel tells \
                     them apart: give a `--url` whose server keeps its connections open",
                    at.as_secs()
                ),
            ),
            Silence::Ended { at, .. } => walk.well(
                "idle",
                format_args!(
                    "the target itself ended it after {} s, and nothing cut it before",
                    at.as_secs()
                ),
            ),
            Silence::Never => walk.skip("idle", "a second tunnel did not come up, try again"),
            Silence::Cut(at, e) => self.cut(at, &e, walk).await,
        }
    }

    pub(super) async fn cut(&self, at: Duration, e: &io::Error, walk: &mut Walk<'_>) {
        // A server says goodbye, what is in between does not.
        let server = self.page().await.and_then(|page| page.server);
        let hop = match (e.to_string().contains("closed the WebSocket"), server) {
            (true, _) => "the server itself".to_owned(),
            (false, Some(name)) => {
                format!("something in between (what is in front calls itself {name})")
            }
            (false, None) => "something in between".to_owned(),
        };
        let after = at.as_secs().max(1);
        let found = format!("{hop} cuts a tunnel that is silent for {after} s");
        let half = (after / 2).max(1);
        let ws = match &self.transport().carrier {
            ClientCarrier::Ws(ws) => Some(ws),
            ClientCarrier::Mws(mws) => Some(&mws.ws),
            _ => None,
        };
        match ws {
            Some(ws) => match ws.heartbeat {
                Some(period) if period < at => walk.well(
                    "idle",
                    format_args!(
                        "{found}; `heartbeatPeriod` of {} s keeps it alive",
                        period.as_secs()
                    ),
                ),
                _ => {
                    let cure =
                        format!("set `heartbeatPeriod` to {half} in `wsSettings`, at both ends");
                    walk.broken("idle", Fault::IdleCut.code().into(), found, Some(cure));
                }
            },
            None => {
                let limits = match &self.transport().carrier {
                    ClientCarrier::Grpc(_) => {
                        "nginx: `grpc_read_timeout` and `client_body_timeout`, HAProxy: `timeout client` and `timeout server`"
                    }
                    _ => "nginx: `proxy_read_timeout`, HAProxy: `timeout tunnel`",
                };
                let cure = format!(
                    "raise the limit of what is in front ({limits}), or use `network: ws`, whose `heartbeatPeriod` keeps a tunnel alive"
                );
                walk.broken("idle", Fault::IdleCut.code().into(), found, Some(cure));
            }
        }
    }
}
