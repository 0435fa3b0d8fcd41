//! `/debug/vars`, as Xray has it: what panels read of the counters and of the observatory.

use serde_json::{Map, Value, json};

use super::{counters, process};
use crate::config::Hidden;
use crate::dispatch::Dispatcher;
use crate::routing::Observation;

/// All of it. Go's own part has the memory of the process alone, and its command line is nobody's business.
pub(super) fn vars(hidden: &Hidden, dispatcher: &Dispatcher) -> Value {
    let mut vars = json!({"stats": stats(hidden, dispatcher)});
    if !hidden.outbounds {
        vars["observatory"] = observatory(dispatcher);
    }
    if let Some(taken) = process::Taken::read().filter(|_| !hidden.process) {
        let bytes = taken.resident;
        vars["memstats"] = json!({"Alloc": bytes, "TotalAlloc": bytes, "Sys": bytes});
    }
    vars
}

/// Counters by their kind, whose they are, and their direction.
fn stats(hidden: &Hidden, dispatcher: &Dispatcher) -> Value {
    let mut all = json!({"inbound": {}, "outbound": {}, "user": {}});
    for part in counters::shown(hidden, dispatcher) {
        all[part.kind][part.whose][part.direction] = part.counter.get().into();
    }
    all
}

/// What the first observer has seen.
fn observatory(dispatcher: &Dispatcher) -> Value {
    let tables = dispatcher.router.health();
    let Some(table) = tables.tables().next() else {
        return Value::Null;
    };
    let seen = table.all().into_iter();
    seen.map(|(tag, seen)| (tag.to_string(), observed(&tag, &seen)))
        .collect()
}

/// A Go program leaves out what is zero or empty.
fn observed(tag: &str, seen: &Observation) -> Value {
    let mut status = Map::from_iter([("outbound_tag".to_owned(), tag.into())]);
    for (key, value) in [
        ("alive", json!(seen.alive)),
        ("delay", json!(seen.millis())),
        ("last_error_reason", json!(seen.last_error)),
        ("last_seen_time", json!(seen.last_seen)),
        ("last_try_time", json!(seen.last_try)),
    ] {
        if value != json!(false) && value != json!(0) && value != json!("") {
            status.insert(key.to_owned(), value);
        }
    }
    status.into()
}
