//! `observatory`: one outbound after the other, in the order of their tags, with a pause after each; or all at once, with a
//! pause after the last.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use tokio::time::sleep;

use super::probe::{Method, ProbeVia, probe};
use super::{AT_ONCE, Background, Targets, note, now};
use crate::routing::Observation;

/// How long a probe may take; V2Ray's.
const LIMIT: Duration = Duration::from_secs(5);

pub(super) async fn run(targets: Targets, settings: Background) {
    loop {
        let outbounds = targets.outbounds();
        if settings.all_at_once {
            let all = stream::iter(&outbounds);
            all.for_each_concurrent(AT_ONCE, |tag| ask(&targets, &settings, tag))
                .await;
        } else {
            for (n, tag) in outbounds.iter().enumerate() {
                if n > 0 {
                    sleep(settings.interval).await;
                }
                ask(&targets, &settings, tag).await;
            }
        }
        sleep(settings.interval).await;
    }
}

async fn ask(targets: &Targets, settings: &Background, tag: &Arc<str>) {
    let via = ProbeVia::Outbound(&targets.dispatcher, tag);
    let last_try = now();
    let probed = probe(via, &settings.url, Method::GET, LIMIT, &settings.expected).await;
    let observation = match probed {
        Ok(delay) => Observation {
            alive: true,
            delay,
            last_seen: now(),
            last_try,
            ..Observation::default()
        },
        Err(error) => Observation {
            last_seen: targets.health.get(tag).map_or(0, |s| s.last_seen),
            last_try,
            last_error: error.to_string(),
            ..Observation::default()
        },
    };
    note(&targets.health, tag, observation);
}
