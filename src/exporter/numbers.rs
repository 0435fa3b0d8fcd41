//! All numbers of one moment.

use std::time::SystemTime;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use super::{counters, process};
use crate::app::Inbounds;
use crate::config::Hidden;
use crate::dispatch::Dispatcher;
use crate::metrics::Labels;

/// What is told now.
pub(super) fn registry(hidden: &Hidden, inbounds: &Inbounds, dispatcher: &Dispatcher) -> Registry {
    let mut registry = Registry::default();
    let own = registry.sub_registry_with_prefix("mobula");
    if !hidden.version {
        let version = [("version", env!("CARGO_PKG_VERSION").to_owned())];
        own.register("build", "Which mobula this is", Info::new(version));
    }
    let tunnels = Gauge::<i64>::default();
    tunnels.set(dispatcher.tunnels() as i64);
    own.register(
        "tunnels",
        "Streams and associations of datagrams that are carried now",
        tunnels,
    );
    let sessions = Counter::<u64>::default();
    sessions.inc_by(dispatcher.sessions());
    own.register(
        "sessions",
        "Sessions so far, questions for names among them",
        sessions,
    );
    gates(own, inbounds);
    certificates(own, inbounds);
    bytes(own, hidden, dispatcher);
    if let Some(metrics) = &dispatcher.metrics {
        metrics.register(own);
    }
    if !hidden.process {
        process::register(&mut registry);
    }
    registry
}

/// What inbounds have let in.
fn gates(registry: &mut Registry, inbounds: &Inbounds) {
    let connections = Family::<Labels<1>, Gauge>::default();
    let handshakes = Family::<Labels<1>, Gauge>::default();
    for inbound in inbounds.all() {
        let labels = [("inbound", inbound.label().to_owned())];
        let gate = inbound.gate();
        (connections.get_or_create(&labels)).set(gate.connections().into());
        (handshakes.get_or_create(&labels)).set(gate.handshakes().into());
    }
    registry.register("connections", "Connections that are open", connections);
    registry.register(
        "handshakes_unfinished",
        "Those of them that have yet to say who they are",
        handshakes,
    );
}

/// When the certificates of inbounds run out.
fn certificates(registry: &mut Registry, inbounds: &Inbounds) {
    let expiry = Family::<Labels<2>, Gauge>::default();
    for inbound in inbounds.all() {
        for (names, until) in inbound.certificates() {
            let labels = [("inbound", inbound.label().to_owned()), ("names", names)];
            let since = until.duration_since(SystemTime::UNIX_EPOCH);
            let secs = since.map_or(0, |since| since.as_secs());
            let secs = i64::try_from(secs).unwrap_or(i64::MAX);
            expiry.get_or_create(&labels).set(secs);
        }
    }
    registry.register_with_unit(
        "certificate_expiry_timestamp",
        "When the certificate of an inbound runs out, in seconds since 1970",
        Unit::Seconds,
        expiry,
    );
}

/// V2Ray's counters.
fn bytes(registry: &mut Registry, hidden: &Hidden, dispatcher: &Dispatcher) {
    let kinds = [
        (
            "inbound",
            hidden.inbounds,
            "Bytes by inbound, as its protocol writes them",
        ),
        (
            "outbound",
            hidden.outbounds,
            "Bytes by outbound, as its protocol writes them",
        ),
        (
            "user",
            hidden.users,
            "Bytes by user, as applications write them",
        ),
    ];
    let shown = counters::shown(hidden, dispatcher);
    for (kind, is_hidden, help) in kinds {
        if is_hidden {
            continue;
        }
        let family = Family::<Labels<2>, Counter>::default();
        for part in shown.iter().filter(|part| part.kind == kind) {
            let labels = [
                (kind, part.whose.clone()),
                ("direction", part.direction.clone()),
            ];
            let bytes = u64::try_from(part.counter.get()).unwrap_or(0);
            family.get_or_create(&labels).inc_by(bytes);
        }
        registry.register_with_unit(format!("{kind}_traffic"), help, Unit::Bytes, family);
    }
}
