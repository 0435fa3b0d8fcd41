//! What is going on, as one JSON object: the status page and `mobula top` show it, and `docs/status.md` says what is in it.

use std::collections::HashMap;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::process::{Taken, open_files};
use crate::app::{Inbound, Inbounds};
use crate::cause::explained::explain;
use crate::config::Hidden;
use crate::dispatch::{Dispatcher, Outbound};
use crate::log::recent::{self, Failure};
use crate::metrics::Metrics;
use crate::metrics::live::{Bytes, Carried, MAX_LISTED, Seen, TICK};
use crate::session::Source;

/// Tunnels that are told where nothing is said.
const TUNNELS: usize = 200;

/// The most users that are told, those with the most traffic.
const USERS: usize = 1000;

/// The most tunnels that a query wants, `tunnels=50`.
pub(super) fn wanted(query: Option<&str>) -> usize {
    let pairs = query.unwrap_or_default().split('&');
    let mut values = pairs.filter_map(|pair| pair.strip_prefix("tunnels="));
    let wanted = values.next().and_then(|value| value.parse().ok());
    wanted.unwrap_or(TUNNELS).min(MAX_LISTED)
}

/// What there is of a user, an inbound or an outbound at the moment.
#[derive(Clone, Copy, Default)]
struct Share {
    tunnels: usize,
    rate: Bytes,
}

/// The whole of it, with at most `tunnels` tunnels: those that carry most.
pub(super) fn status(
    hidden: &Hidden,
    inbounds: &Inbounds,
    dispatcher: &Dispatcher,
    tunnels: usize,
) -> Value {
    let seen =
        (dispatcher.metrics.as_ref()).map_or_else(Seen::default, |metrics| metrics.live.seen());
    let mut status = json!({
        "time": secs(SystemTime::now()),
        "sessions": dispatcher.sessions(),
        "traffic": traffic(&seen),
        "users": [],
        "users_more": 0,
        "inbounds": inbounds_now(hidden, inbounds, dispatcher, &seen),
        "outbounds": outbounds_now(hidden, dispatcher, &seen),
        "errors": recent::failures().iter().map(|one| error(hidden, one)).collect::<Value>(),
        "hidden": hidden.words().collect::<Value>(),
    });
    if !hidden.users {
        let mut users = users(dispatcher, &seen);
        status["users_more"] = json!(users.len().saturating_sub(USERS));
        users.truncate(USERS);
        status["users"] = users.into();
    }
    if !hidden.version {
        status["version"] = json!(env!("CARGO_PKG_VERSION"));
    }
    if let Some(taken) = Taken::read().filter(|_| !hidden.process) {
        status["process"] = json!({
            "started": taken.began, "memory": taken.resident, "files": open_files(),
        });
    }
    let open = seen.open;
    let mut listed = seen.listed;
    let most = |one: &Carried| {
        let less = u32::MAX - one.tunnel.session;
        std::cmp::Reverse((one.rate.sum(), one.bytes.sum(), less))
    };
    if listed.len() > tunnels {
        listed.select_nth_unstable_by_key(tunnels, most);
        listed.truncate(tunnels);
    }
    listed.sort_unstable_by_key(most);
    let now = Instant::now();
    let list: Value = listed.iter().map(|one| tunnel(hidden, one, now)).collect();
    status["tunnels"] = json!({"open": open, "more": open - listed.len(), "list": list});
    status
}

fn traffic(seen: &Seen) -> Value {
    let up = seen.history.iter().map(|rate| rate.up).collect::<Vec<_>>();
    let down = seen
        .history
        .iter()
        .map(|rate| rate.down)
        .collect::<Vec<_>>();
    json!({
        "up": seen.bytes.up, "down": seen.bytes.down, "up_rate": seen.rate.up, "down_rate": seen.rate.down,
        "history": {"every": TICK.as_secs(), "up": up, "down": down},
    })
}

fn tunnel(hidden: &Hidden, carried: &Carried, now: Instant) -> Value {
    let Carried {
        tunnel,
        bytes,
        rate,
    } = carried;
    let leads = tunnel.leads();
    let email = tunnel.user.as_ref().and_then(|user| user.email.as_deref());
    let target = leads.as_ref().map(|leads| leads.to.to_string());
    json!({
        "id": tunnel.session,
        "network": tunnel.network.to_string(),
        "source": source(hidden, tunnel.source),
        "user": email.filter(|_| !hidden.users),
        "inbound": &*tunnel.inbound,
        "outbound": leads.as_ref().map(|leads| &*leads.outbound),
        "target": target.filter(|_| !hidden.targets),
        "age": now.saturating_duration_since(tunnel.began).as_secs(),
        "up": bytes.up, "down": bytes.down, "up_rate": rate.up, "down_rate": rate.down,
    })
}

/// Those who are counted, the one with the most traffic first.
fn users(dispatcher: &Dispatcher, seen: &Seen) -> Vec<Value> {
    let mut bytes: HashMap<String, Bytes> = HashMap::new();
    for (name, counter) in dispatcher.stats.select(|name| name.starts_with("user>>>")) {
        let parts = name.strip_prefix("user>>>");
        let Some((email, direction)) = parts.and_then(|rest| rest.rsplit_once(">>>traffic>>>"))
        else {
            continue;
        };
        let value = u64::try_from(counter.get()).unwrap_or(0);
        let one = bytes.entry(email.to_owned()).or_default();
        match direction {
            "uplink" => one.up = value,
            _ => one.down = value,
        }
    }
    let now = shares(seen, |one| {
        let user = one.tunnel.user.as_ref()?;
        user.email.as_deref().map(str::to_owned)
    });
    let mut all: Vec<_> = bytes.into_iter().collect();
    all.sort_by(|(a, one), (b, other)| other.sum().cmp(&one.sum()).then_with(|| a.cmp(b)));
    let one = |(email, bytes): (String, Bytes)| {
        let share = now.get(&email).copied().unwrap_or_default();
        with_share(json!({"user": email}), share, Some(bytes))
    };
    all.into_iter().map(one).collect()
}

fn inbounds_now(
    hidden: &Hidden,
    inbounds: &Inbounds,
    dispatcher: &Dispatcher,
    seen: &Seen,
) -> Value {
    let now = shares(seen, |one| Some(one.tunnel.inbound.to_string()));
    let one = |inbound: &Inbound| {
        let name = inbound.label();
        let (gate, outcomes) = (inbound.gate(), inbound.outcomes().unwrap_or_default());
        let row = json!({
            "name": name,
            "connections": gate.connections(),
            "handshakes": {
                "accepted": outcomes.accepted, "refused": outcomes.refused, "fallback": outcomes.handed_on,
                "left": outcomes.left, "unfinished": gate.handshakes(),
            },
        });
        let share = now.get(&name).copied().unwrap_or_default();
        let bytes = counted(dispatcher, "inbound", inbound.tag.as_deref());
        told(hidden.inbounds, row, share, bytes)
    };
    inbounds.all().iter().map(|inbound| one(inbound)).collect()
}

fn outbounds_now(hidden: &Hidden, dispatcher: &Dispatcher, seen: &Seen) -> Value {
    let now = shares(seen, |one| Some(one.tunnel.leads()?.outbound.to_string()));
    let connects = |outbound: &Outbound| {
        let metrics: Option<&Metrics> = dispatcher.metrics.as_deref();
        metrics.map_or((0, 0), |metrics| {
            outbound.numbers(metrics).made_and_failed()
        })
    };
    let all = dispatcher.outbounds.all();
    let all = all.iter().filter(|outbound| !outbound.is_service());
    all.map(|outbound| {
        let (made, failed) = connects(outbound);
        let row = json!({"name": outbound.called(), "connects": {"made": made, "failed": failed}});
        let share = now.get(outbound.called()).copied().unwrap_or_default();
        let bytes = counted(dispatcher, "outbound", outbound.tag.as_deref());
        told(hidden.outbounds, row, share, bytes)
    })
    .collect()
}

/// What there is of each, as far as tunnels are listed.
fn shares(seen: &Seen, whose: impl Fn(&Carried) -> Option<String>) -> HashMap<String, Share> {
    let mut shares: HashMap<String, Share> = HashMap::new();
    for one in &seen.listed {
        if let Some(whose) = whose(one) {
            let share = shares.entry(whose).or_default();
            share.tunnels += 1;
            share.rate.up += one.rate.up;
            share.rate.down += one.rate.down;
        }
    }
    shares
}

/// V2Ray's counters of it, which only those with a tag have.
fn counted(dispatcher: &Dispatcher, kind: &str, tag: Option<&str>) -> Option<Bytes> {
    let tag = tag?;
    let one = |direction| {
        let counter = dispatcher
            .stats
            .get(&format!("{kind}>>>{tag}>>>traffic>>>{direction}"))?;
        u64::try_from(counter.get()).ok()
    };
    Some(Bytes {
        up: one("uplink")?,
        down: one("downlink")?,
    })
}

/// A row with its bytes, where these are not hidden.
fn told(is_hidden: bool, row: Value, mut share: Share, bytes: Option<Bytes>) -> Value {
    if is_hidden {
        share.rate = Bytes::default();
    }
    with_share(row, share, bytes.filter(|_| !is_hidden))
}

fn with_share(mut row: Value, share: Share, bytes: Option<Bytes>) -> Value {
    row["tunnels"] = json!(share.tunnels);
    row["up"] = json!(bytes.map(|bytes| bytes.up));
    row["down"] = json!(bytes.map(|bytes| bytes.down));
    row["up_rate"] = json!(share.rate.up);
    row["down_rate"] = json!(share.rate.down);
    row
}

/// A failure, with what its code means. Its sentence may name a target, a user or an address: where any of these is
/// hidden, the code's own takes its place.
fn error(hidden: &Hidden, failure: &Failure) -> Value {
    let explained = failure.code.as_deref().and_then(explain);
    let what = explained.map(|one| one.what);
    let is_told = !(hidden.targets || hidden.users || hidden.sources);
    let text = match is_told {
        true => &failure.text,
        false => what.unwrap_or("what was said may name what is hidden"),
    };
    json!({
        "code": failure.code,
        "text": text,
        "count": failure.count,
        "first": secs(failure.first),
        "last": secs(failure.last),
        "inbound": failure.inbound,
        "source": failure.source.and_then(|one| source(hidden, one)),
        "user": failure.user.as_deref().filter(|_| !hidden.users),
        "what": what,
        "cure": explained.map(|one| one.cure),
    })
}

/// Where somebody comes from; of some the port is not known.
fn source(hidden: &Hidden, source: Source) -> Option<String> {
    let text = match source {
        Source::Ip(addr) if addr.port() == 0 => addr.ip().to_string(),
        other => other.to_string(),
    };
    (!hidden.sources).then_some(text)
}

/// Since 1970.
fn secs(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}
