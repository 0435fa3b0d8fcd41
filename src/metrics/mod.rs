//! What happens, in numbers, for a monitoring system that comes and asks: handshakes, refusals, connections made, and how
//! long they took.
//!
//! Whoever does something often holds its own numbers, found once: counting is an addition then. Labels are what the
//! settings call a part, and codes: nothing that a stranger can choose.

pub mod live;

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use live::Live;

/// Labels: names, and their values.
pub type Labels<const N: usize> = [(&'static str, String); N];

/// The numbers of a process.
#[derive(Clone, Debug)]
pub struct Metrics {
    handshakes: Family<Labels<2>, Counter>,
    handshake_seconds: Family<Labels<1>, Histogram, fn() -> Histogram>,
    refusals: Family<Labels<2>, Counter>,
    connects: Family<Labels<2>, Counter>,
    connect_seconds: Family<Labels<1>, Histogram, fn() -> Histogram>,
    /// The tunnels.
    pub live: Arc<Live>,
}

/// Those of one inbound.
#[derive(Debug)]
pub struct InboundNumbers {
    name: String,
    accepted: Counter,
    refused: Counter,
    handed_on: Counter,
    left: Counter,
    seconds: Histogram,
    refusals: Family<Labels<2>, Counter>,
}

/// What became of the handshakes of an inbound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcomes {
    pub accepted: u64,
    pub refused: u64,
    pub handed_on: u64,
    pub left: u64,
}

/// Those of one outbound.
#[derive(Debug)]
pub struct OutboundNumbers {
    made: Counter,
    failed: Counter,
    seconds: Histogram,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            handshakes: Family::default(),
            handshake_seconds: Family::new_with_constructor(histogram),
            refusals: Family::default(),
            connects: Family::default(),
            connect_seconds: Family::new_with_constructor(histogram),
            live: Arc::default(),
        }
    }
}

impl Metrics {
    /// Shows these numbers in `registry`, the same ones as long as both live.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "handshakes",
            "Connections, and requests inside them, by what became of them",
            self.handshakes.clone(),
        );
        registry.register_with_unit(
            "handshake_duration",
            "From a connection, or a request inside one, to a session",
            Unit::Seconds,
            self.handshake_seconds.clone(),
        );
        registry.register(
            "refusals",
            "What was refused, by the code that the log has",
            self.refusals.clone(),
        );
        registry.register(
            "connects",
            "Connections made for sessions, to targets and servers",
            self.connects.clone(),
        );
        registry.register_with_unit(
            "connect_duration",
            "How long such a connection took to be made, handshakes with a server among it",
            Unit::Seconds,
            self.connect_seconds.clone(),
        );
    }

    /// The numbers of the inbound called `name`.
    pub fn inbound(&self, name: &str) -> InboundNumbers {
        let outcome = |outcome: &str| {
            let labels = [
                ("inbound", name.to_owned()),
                ("outcome", outcome.to_owned()),
            ];
            self.handshakes.get_or_create_owned(&labels)
        };
        InboundNumbers {
            name: name.to_owned(),
            accepted: outcome("accepted"),
            refused: outcome("refused"),
            handed_on: outcome("fallback"),
            left: outcome("left"),
            seconds: self
                .handshake_seconds
                .get_or_create_owned(&[("inbound", name.to_owned())]),
            refusals: self.refusals.clone(),
        }
    }

    /// The numbers of the outbound called `name`.
    pub fn outbound(&self, name: &str) -> OutboundNumbers {
        let outcome = |outcome: &str| {
            let labels = [
                ("outbound", name.to_owned()),
                ("outcome", outcome.to_owned()),
            ];
            self.connects.get_or_create_owned(&labels)
        };
        OutboundNumbers {
            made: outcome("made"),
            failed: outcome("failed"),
            seconds: self
                .connect_seconds
                .get_or_create_owned(&[("outbound", name.to_owned())]),
        }
    }
}

impl InboundNumbers {
    /// A session has come of a handshake that took so long.
    pub fn accepted(&self, took: Duration) {
        self.accepted.inc();
        self.seconds.observe(took.as_secs_f64());
    }

    /// Nothing was accepted, for the reason with this code.
    pub fn refused(&self, code: &'static str) {
        self.refused.inc();
        self.refused_after_all(code);
    }

    /// Whoever had got in was refused then.
    pub fn refused_after_all(&self, code: &'static str) {
        let labels = [("inbound", self.name.clone()), ("reason", code.to_owned())];
        self.refusals.get_or_create(&labels).inc();
    }

    /// A stranger's link went to who stands behind the protocol.
    pub fn handed_on(&self) {
        self.handed_on.inc();
    }

    /// Who came has gone again without a word, or was a visitor of the site.
    pub fn left(&self) {
        self.left.inc();
    }

    /// All of them so far.
    pub fn outcomes(&self) -> Outcomes {
        Outcomes {
            accepted: self.accepted.get(),
            refused: self.refused.get(),
            handed_on: self.handed_on.get(),
            left: self.left.get(),
        }
    }
}

impl OutboundNumbers {
    /// How many connections were made, and how many were not.
    pub fn made_and_failed(&self) -> (u64, u64) {
        (self.made.get(), self.failed.get())
    }

    /// A connection was made, or was not, in this time.
    pub fn connected(&self, is_made: bool, took: Duration) {
        match is_made {
            true => {
                self.made.inc();
                self.seconds.observe(took.as_secs_f64());
            }
            false => {
                self.failed.inc();
            }
        }
    }
}

/// From a neighbour's answer to one that hardly anybody waits for.
fn histogram() -> Histogram {
    Histogram::new([
        0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus_client::encoding::prometheus_text::encode;

    #[test]
    fn what_is_counted_is_shown_under_the_names_of_the_settings() {
        let metrics = Metrics::default();
        let (front, out) = (metrics.inbound("front"), metrics.outbound("direct"));
        front.accepted(Duration::from_millis(3));
        front.refused("user-unknown");
        front.refused("user-unknown");
        front.left();
        out.connected(true, Duration::from_secs(2));
        out.connected(false, Duration::from_secs(4));
        let mut registry = Registry::with_prefix("mobula");
        metrics.register(&mut registry);
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        for (name, labels, value) in [
            ("mobula_handshakes_total", "front accepted", "1"),
            ("mobula_handshakes_total", "front refused", "2"),
            ("mobula_handshakes_total", "front left", "1"),
            ("mobula_refusals_total", "front user-unknown", "2"),
            (
                "mobula_handshake_duration_seconds_bucket",
                "front 0.0025",
                "0",
            ),
            (
                "mobula_handshake_duration_seconds_bucket",
                "front 0.005",
                "1",
            ),
            ("mobula_connects_total", "direct made", "1"),
            ("mobula_connects_total", "direct failed", "1"),
            ("mobula_connect_duration_seconds_count", "direct", "1"),
        ] {
            let is_it = |line: &str| {
                let mut labels = labels.split(' ').map(|label| format!("\"{label}\""));
                let begins = line.starts_with(&format!("{name}{{"));
                let ends = line.ends_with(&format!("}} {value}"));
                begins && ends && labels.all(|label| line.contains(&label))
            };
            assert!(
                text.lines().any(is_it),
                "{name} of {labels} is not {value} in\n{text}"
            );
        }
    }
}
