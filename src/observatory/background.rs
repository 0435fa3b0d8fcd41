//! `observatory`: one outbound after the other, in the order of their tags, with a pause after each.

use std::time::Duration;

use tokio::time::sleep;

use super::probe::{Method, ProbeVia, probe};
use super::{Sequential, Targets, note, now};
use crate::routing::Observation;

/// How long a probe may take; V2Ray's.
const LIMIT: Duration = Duration::from_secs(5);

pub(super) async fn run(targets: Targets, settings: Sequential) {
    loop {
        let outbounds = targets.outbounds();
        for tag in &outbounds {
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
            sleep(settings.interval).await;
        }
        if outbounds.is_empty() {
            sleep(settings.interval).await;
        }
    }
}
