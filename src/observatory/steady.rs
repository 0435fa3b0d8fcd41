//! `observatory`: one outbound after the other, by their tags, with a pause behind each.

use std::time::Duration;

use tokio::time::sleep;

use super::config::Steady;
use super::probe::{Method, Way, probe};
use super::{Round, note, now};
use crate::routing::Sighting;

/// V2Ray's, for the whole of a probe.
const LIMIT: Duration = Duration::from_secs(5);

pub(super) async fn run(round: Round, settings: Steady) {
    loop {
        let outbounds = round.outbounds();
        for tag in &outbounds {
            let way = Way::Outbound(&round.dispatcher, tag);
            let last_try = now();
            let probed = probe(way, &settings.url, Method::GET, LIMIT).await;
            let sighting = match probed {
                Ok(delay) => Sighting {
                    alive: true,
                    delay,
                    last_seen: now(),
                    last_try,
                    ..Sighting::default()
                },
                Err(error) => Sighting {
                    last_seen: round.sightings.get(tag).map_or(0, |s| s.last_seen),
                    last_try,
                    last_error: error.to_string(),
                    ..Sighting::default()
                },
            };
            note(&round.sightings, tag, sighting);
            sleep(settings.interval).await;
        }
        if outbounds.is_empty() {
            sleep(settings.interval).await;
        }
    }
}
