//! V2Ray's counters, taken apart: `inbound>>>TAG>>>traffic>>>uplink`.

use std::sync::Arc;

use crate::config::Hidden;
use crate::dispatch::Dispatcher;
use crate::stats::Counter;

/// One of them. A tag or an email may have the sign in it as well.
pub(super) struct Part {
    /// `inbound`, `outbound` or `user`.
    pub(super) kind: String,
    /// A tag or an email.
    pub(super) whose: String,
    /// `uplink` or `downlink`.
    pub(super) direction: String,
    pub(super) counter: Arc<Counter>,
}

/// Those that may be told.
pub(super) fn shown(hidden: &Hidden, dispatcher: &Dispatcher) -> Vec<Part> {
    let is_shown = |kind: &str| match kind {
        "inbound" => !hidden.inbounds,
        "outbound" => !hidden.outbounds,
        "user" => !hidden.users,
        _ => false,
    };
    let all = dispatcher.stats.select(|_| true).into_iter();
    let parts = all.filter_map(|(name, counter)| {
        let (kind, rest) = name.split_once(">>>")?;
        let (whose, direction) = rest.rsplit_once(">>>traffic>>>")?;
        Some(Part {
            kind: kind.to_owned(),
            whose: whose.to_owned(),
            direction: direction.to_owned(),
            counter,
        })
    });
    parts.filter(|part| is_shown(&part.kind)).collect()
}
