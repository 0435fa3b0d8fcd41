//! What a config says about observers.

#![warn(missing_docs)]

use std::num::NonZeroU32;
use std::time::Duration;

use super::{ExpectedStatus, Url};
use crate::report::Placed;

/// One observer: it looks at the outbounds whose tags begin with one of its selectors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// What a balancer's `observerTag` names; empty for the one that balancers ask which name none.
    pub tag: String,
    /// `subjectSelector`.
    pub selectors: Placed<Vec<String>>,
    /// When it probes, and how.
    pub kind: Kind,
}

/// How it goes about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// V2Ray's `observatory`.
    Background(Box<Background>),
    /// `burstObservatory`.
    Burst(Box<Burst>),
}

/// One outbound after the other, or all at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Background {
    /// `probeURL`, by default V2Ray's own page.
    pub url: Url,
    /// `probeInterval`, between two outbounds, or two times that all are asked: 10 s.
    pub interval: Duration,
    /// `enableConcurrency`, Xray's.
    pub all_at_once: bool,
    /// `expectedStatus`, ours: other answers are none. Any by default.
    pub expected: ExpectedStatus,
}

/// Samples at random moments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Burst {
    /// `destination`, by default Google's page for this.
    pub url: Url,
    /// When this does not answer without any outbound, the network is down and not the outbound.
    pub connectivity: Option<Url>,
    /// Between two samples of one outbound, on average: 1 min.
    pub interval: Duration,
    /// Samples that are kept: 10.
    pub sampling: u32,
    /// Of one sample: 5 s.
    pub timeout: Duration,
    /// `expectedStatus`, ours: other answers are none. Any by default.
    pub expected: ExpectedStatus,
    /// `maxFailedTimes`, ours: so many sessions that fail within `timeout`, one behind the other, have all outbounds asked at once.
    /// None by default.
    pub max_failed: Option<NonZeroU32>,
}

const BACKGROUND_URL: &str = "https://api.v2fly.org/checkConnection.svgz";
const BURST_URL: &str = "https://connectivitycheck.gstatic.com/generate_204";

impl Default for Background {
    /// V2Ray's.
    fn default() -> Self {
        Self {
            url: known(BACKGROUND_URL),
            interval: Duration::from_secs(10),
            all_at_once: false,
            expected: ExpectedStatus::default(),
        }
    }
}

impl Default for Burst {
    /// V2Ray's.
    fn default() -> Self {
        Self {
            url: known(BURST_URL),
            connectivity: None,
            interval: Duration::from_secs(60),
            sampling: 10,
            timeout: Duration::from_secs(5),
            expected: ExpectedStatus::default(),
            max_failed: None,
        }
    }
}

fn known(url: &str) -> Url {
    Url::parse(url).expect("it is one, a test reads it")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_can_be_asked() {
        assert_eq!(Background::default().url.to_string(), BACKGROUND_URL);
        assert_eq!(Burst::default().url.to_string(), BURST_URL);
    }
}
