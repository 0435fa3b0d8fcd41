//! Pings, by which a connection learns that its peer is gone.

use std::sync::Arc;
use std::time::Duration;

use ::h2::{Ping, PingPong};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use super::Pings;
use super::stream::Streams;

/// How long a connection that is asked for a new stream may not answer.
const DOUBT: Duration = Duration::from_secs(5);

/// Ready when the peer has not answered in time; without settings, or without pings, never.
pub(super) async fn watch(pings: Option<PingPong>, settings: Option<Pings>, streams: Streams) {
    let (Some(mut pings), Some(settings)) = (pings, settings) else {
        return std::future::pending().await;
    };
    loop {
        sleep(settings.period).await;
        if streams.count() == 0 && !settings.without_stream {
            continue;
        }
        match timeout(settings.limit, pings.ping(Ping::opaque())).await {
            Ok(Ok(_)) => {}
            // The connection ends by itself.
            Ok(Err(_)) => return std::future::pending().await,
            Err(_) => return,
        }
    }
}

/// Ready when a peer that was `doubted` has not answered in time: whoever asks a connection for one more stream would wait
/// for one that the network has forgotten.
pub(super) async fn watch_doubts(
    pings: Option<PingPong>,
    settings: Option<Pings>,
    streams: Streams,
    doubted: Arc<Notify>,
) {
    if settings.is_some() {
        return watch(pings, settings, streams).await;
    }
    let Some(mut pings) = pings else {
        return std::future::pending().await;
    };
    loop {
        doubted.notified().await;
        match timeout(DOUBT, pings.ping(Ping::opaque())).await {
            Ok(Ok(_)) => sleep(DOUBT).await,
            Ok(Err(_)) => return std::future::pending().await,
            Err(_) => return,
        }
    }
}
