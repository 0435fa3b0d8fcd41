//! Which outbounds answer, and how fast: what the balancers `leastPing` and `leastLoad` go by.
//!
//! An observer asks for a URL through each of its outbounds, again and again, and writes down how long
//! the answer took ([`HealthTable`]). Any answer means that the outbound is
//! alive, unless `expectedStatus` says which. `observatory` asks through one outbound after the other, or through all at once; `burstObservatory` at random moments,
//! keeps several samples and can tell a dead network from a dead outbound. As in V2Ray, a probe
//! is a session like any other, except that no rule is asked and the access log does not have it.

mod background;
mod burst;
mod probe;
mod settings;
mod status;
mod url;

pub use settings::{Background, Burst, Kind, Settings};
pub use status::{ExpectedStatus, StatusError};
pub use url::{Url, UrlError};

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tracing::{debug, info, warn};

use crate::dispatch::Dispatcher;
use crate::routing::{HealthTable, Observation, selected};

/// Observes until the future is dropped; what is seen is written to `health`.
pub fn observe(
    settings: Settings,
    health: Arc<HealthTable>,
    dispatcher: Arc<Dispatcher>,
) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    let targets = Targets {
        selectors: settings.selectors.value,
        health,
        dispatcher,
    };
    match settings.kind {
        Kind::Background(settings) => Box::pin(background::run(targets, *settings)),
        Kind::Burst(settings) => Box::pin(burst::run(targets, *settings)),
    }
}

/// Outbounds that are asked at one time; sing-box and mihomo ask ten.
const AT_ONCE: usize = 32;

/// What an observer of either kind works on.
struct Targets {
    selectors: Vec<String>,
    health: Arc<HealthTable>,
    dispatcher: Arc<Dispatcher>,
}

impl Targets {
    /// The tags of the outbounds that exist now, sorted; what was seen of others is removed from the table.
    fn outbounds(&self) -> Vec<Arc<str>> {
        let mut tags = self.dispatcher.outbounds.tags();
        tags.retain(|tag| selected(&self.selectors, tag));
        tags.sort();
        self.health.keep_only(&tags);
        tags
    }
}

/// Stores an observation, and logs a change between alive and dead.
fn note(health: &HealthTable, tag: &Arc<str>, observation: Observation) {
    let (alive, delay) = (observation.alive, observation.delay);
    let error = observation.last_error.clone();
    let was_alive = health.note(tag, observation).map(|before| before.alive);
    match (was_alive, alive) {
        (Some(true), true) => debug!(%tag, ?delay, "an outbound is alive"),
        (Some(false), false) => debug!(%tag, error, "an outbound is dead"),
        (_, true) => info!("the outbound `{tag}` is alive, it answers in {delay:.0?}"),
        (_, false) => warn!("the outbound `{tag}` is dead: {error}"),
    }
}

/// Seconds since 1970.
fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since: Duration| since.as_secs() as i64)
}
