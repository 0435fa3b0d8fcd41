//! `burstObservatory`: samples at random moments.
//!
//! A round lasts `sampling` intervals and takes `sampling` samples of each outbound, each at a random moment; the first
//! of all is taken at once. The last `sampling` samples are kept, for two rounds at most. A failed sample does not count
//! if `connectivity` does not answer either. Sessions that fail one behind the other have all asked at once (`maxFailedTimes`).
//! No more than so many are asked at one time, however many there are: the others wait for their turn.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};

use super::probe::{Method, ProbeVia, probe};
use super::{AT_ONCE, Burst, ExpectedStatus, Targets, note, now};
use crate::routing::{Observation, Samples};

pub(super) async fn run(targets: Targets, settings: Burst) {
    let watch = Arc::new(Watch {
        targets,
        settings,
        windows: Mutex::default(),
        places: Semaphore::new(AT_ONCE),
    });
    if let Some(max) = watch.settings.max_failed {
        let health = &watch.targets.health;
        health.alarm_after(max, watch.settings.timeout);
    }
    let mut probes = JoinSet::new();
    let mut first = true;
    loop {
        let start = Instant::now();
        let outbounds = watch.targets.outbounds();
        watch.keep_only(&outbounds);
        for (after, tag) in watch.moments(&outbounds, first) {
            watch.until(start + after).await;
            // Those that wait for their turn are no more than a round has.
            while probes.len() >= outbounds.len().max(AT_ONCE) {
                probes.join_next().await;
            }
            probes.spawn(watch.clone().sample(tag));
            while probes.try_join_next().is_some() {}
        }
        first = false;
        watch.until(start + watch.length()).await;
    }
}

/// Between the beginnings of two checks that failing sessions ask for.
const BETWEEN_CHECKS: Duration = Duration::from_secs(1);

struct Watch {
    targets: Targets,
    settings: Burst,
    windows: Mutex<HashMap<Arc<str>, Window>>,
    /// For those that are asked.
    places: Semaphore,
}

/// The last samples of an outbound: when they were taken, and how long they took unless they failed.
#[derive(Default)]
struct Window(VecDeque<(Instant, Option<Duration>)>);

impl Watch {
    /// How long a round lasts.
    fn length(&self) -> Duration {
        self.settings.interval * self.settings.sampling
    }

    /// The outbounds to ask in a round, each with its time from the start of the round, in order of time.
    fn moments(&self, outbounds: &[Arc<str>], first: bool) -> Vec<(Duration, Arc<str>)> {
        let length = self.length();
        let mut moments = Vec::new();
        for tag in outbounds {
            for n in 0..self.settings.sampling {
                let share = f64::from(getrandom::u32().unwrap_or_default()) / f64::from(u32::MAX);
                let after = match n {
                    0 if first => Duration::ZERO,
                    _ => length.mul_f64(share),
                };
                moments.push((after, tag.clone()));
            }
        }
        moments.sort();
        moments
    }

    /// Waits for that moment. Where sessions fail all outbounds are asked meanwhile, and one check is over before the next one.
    async fn until(self: &Arc<Self>, moment: Instant) {
        loop {
            tokio::select! {
                () = sleep_until(moment) => return,
                () = self.targets.health.alarmed() => {}
            }
            info!("sessions fail one behind the other: all outbounds are asked");
            let next = Instant::now() + BETWEEN_CHECKS;
            let mut probes = JoinSet::new();
            for tag in self.targets.outbounds() {
                probes.spawn(self.clone().sample(tag));
            }
            probes.join_all().await;
            sleep_until(next).await;
            self.targets.health.calm_down();
        }
    }

    async fn sample(self: Arc<Self>, tag: Arc<str>) {
        let _place = self.places.acquire().await;
        let (url, limit) = (&self.settings.url, self.settings.timeout);
        let expected = &self.settings.expected;
        let via = ProbeVia::Outbound(&self.targets.dispatcher, &tag);
        let (any, last_try) = (ExpectedStatus::default(), now());
        let (time, error) = match probe(via, url, Method::HEAD, limit, expected).await {
            Ok(time) => (Some(time), String::new()),
            Err(error) => {
                if let Some(url) = &self.settings.connectivity
                    && let Err(e) = probe(ProbeVia::Direct, url, Method::HEAD, limit, &any).await
                {
                    warn!("the network is down, nothing is known of the outbounds: {url}: {e}");
                    return;
                }
                (None, error.to_string())
            }
        };
        let samples = self.add(&tag, time);
        let last_seen = match time {
            Some(_) => now(),
            None => self.targets.health.get(&tag).map_or(0, |s| s.last_seen),
        };
        let observation = Observation {
            alive: samples.failed < samples.all,
            delay: samples.average,
            last_seen,
            last_try,
            last_error: error,
            samples: Some(samples),
        };
        note(&self.targets.health, &tag, observation);
    }

    /// Adds a sample and summarises the recent ones.
    fn add(&self, tag: &Arc<str>, time: Option<Duration>) -> Samples {
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        let window = windows.entry(tag.clone()).or_default();
        window.add(
            Instant::now(),
            time,
            self.settings.sampling,
            self.length() * 2,
        )
    }

    fn keep_only(&self, outbounds: &[Arc<str>]) {
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        windows.retain(|tag, _| outbounds.contains(tag));
    }
}

impl Window {
    fn add(&mut self, now: Instant, time: Option<Duration>, keep: u32, age: Duration) -> Samples {
        let Self(samples) = self;
        samples.push_back((now, time));
        while samples.len() > keep as usize
            || samples
                .front()
                .is_some_and(|(at, _)| now.duration_since(*at) > age)
        {
            samples.pop_front();
        }
        Samples::of(samples.iter().map(|(_, time)| *time))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_samples_and_too_many_are_forgotten() {
        let start = Instant::now();
        let mut window = Window::default();
        let mut add = |at, time: Option<u64>| {
            let time = time.map(Duration::from_millis);
            window.add(
                start + Duration::from_secs(at),
                time,
                3,
                Duration::from_secs(10),
            )
        };
        assert_eq!(add(0, None).failed, 1);
        let two = add(1, Some(20));
        assert_eq!((two.all, two.failed, two.average.as_millis()), (2, 1, 20));
        add(2, Some(20));
        let three = add(3, Some(20));
        assert_eq!(
            (three.all, three.failed),
            (3, 0),
            "the first is one too many"
        );
        assert_eq!(
            add(14, Some(50)).average.as_millis(),
            50,
            "the others are old"
        );
    }
}
