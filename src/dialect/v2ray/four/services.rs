//! What V2Ray 5 has among its `services`, and V2Ray 4 at the top level.

use serde_json::{Map, Value, json};

use crate::dialect::v2ray::five::part::Part;

pub(super) fn write(services: &Part<'_>, four: &mut Map<String, Value>) {
    if services.get(&["stats"]).is_some() {
        four.insert("stats".to_owned(), json!({}));
    }
    if let Some(policy) = services.part(&["policy"]) {
        four.insert("policy".to_owned(), self::policy(policy));
    }
    if let Some(reverse) = services.part(&["reverse"]) {
        let mut ends = Map::new();
        reverse.keep(&mut ends, &["bridges", "bridgeConfig"]);
        reverse.keep(&mut ends, &["portals", "portalConfig"]);
        reverse.finish();
        four.insert("reverse".to_owned(), Value::Object(ends));
    }
    if let Some(browser) = services.part(&["browser"]) {
        let mut kept = Map::new();
        browser.keep(&mut kept, &["listenAddr"]);
        browser.keep(&mut kept, &["listenPort"]);
        browser.finish();
        four.insert("browserForwarder".to_owned(), Value::Object(kept));
    }
    if let Some(observer) = services.part(&["backgroundObservatory"]) {
        four.insert(
            "observatory".to_owned(),
            timed(observer, &["probeInterval"]),
        );
    }
    if let Some(observer) = services.part(&["burstObservatory"]) {
        four.insert("burstObservatory".to_owned(), burst(observer));
    }
    let members = services.parts(&["multiobservatory"]).into_iter();
    let members: Vec<Value> = members.filter_map(member).collect();
    if !members.is_empty() {
        let observers = json!({ "observers": members });
        four.insert("multiObservatory".to_owned(), observers);
    }
    if let Some(api) = services.part(&["commander"]) {
        let names = api.texts(&["name"]).into_iter();
        let long = names.map(|name| {
            let known = NAMES.iter().find(|(short, _)| *short == name);
            known.map_or(name.clone(), |(_, long)| (*long).to_owned())
        });
        let long: Vec<String> = long.collect();
        let tag = api.text(&["tag"]).unwrap_or_default();
        api.finish();
        four.insert("api".to_owned(), json!({"tag": tag, "services": long}));
    }
    let pool = |pool: &Part<'_>| {
        let mut kept = Map::new();
        pool.keep(&mut kept, &["ipPool"]);
        pool.keep(&mut kept, &["poolSize", "lruSize"]);
        Value::Object(kept)
    };
    if let Some(fakes) = services.part(&["fakeDns"]) {
        four.insert("fakedns".to_owned(), pool(&fakes));
    }
    if let Some(fakes) = services.part(&["fakeDnsMulti"]) {
        let pools: Vec<Value> = fakes.parts(&["pools"]).iter().map(pool).collect();
        four.insert("fakedns".to_owned(), pools.into());
    }
}

fn burst(observer: Part<'_>) -> Value {
    let mut four = Map::new();
    observer.keep(&mut four, &["subjectSelector"]);
    if let Some(ping) = observer.part(&["pingConfig"]) {
        let ping = timed(ping, &["interval", "timeout"]);
        four.insert("pingConfig".to_owned(), ping);
    }
    observer.finish();
    Value::Object(four)
}

fn member(member: Part<'_>) -> Option<Value> {
    let settings = member.part(&["settings"])?;
    let (kind, settings) = match &*member.word(&["type"]) {
        "burst" | "burstobservatory" => ("burst", burst(settings)),
        _ => ("default", timed(settings, &["probeInterval"])),
    };
    let tag = member.text(&["tag"]).unwrap_or_default();
    member.finish();
    Some(json!({"type": kind, "tag": tag, "settings": settings}))
}

const NAMES: [(&str, &str); 5] = [
    ("proxyman", "HandlerService"),
    ("observatory", "ObservatoryService"),
    ("reflection", "ReflectionService"),
    ("router", "RoutingService"),
    ("stats", "StatsService"),
];

/// A number of nanoseconds as a span of time.
pub(super) fn span(nanos: &Value) -> Value {
    match nanos.as_u64() {
        Some(nanos) => format!("{}ms", nanos.div_ceil(1_000_000)).into(),
        None => nanos.clone(),
    }
}

/// The same object, in which these are numbers of nanoseconds there and spans of time here.
fn timed(part: Part<'_>, spans: &[&str]) -> Value {
    let mut four = Map::new();
    for key in [
        "subjectSelector",
        "probeUrl",
        "destination",
        "connectivity",
        "sampling",
    ] {
        part.keep(&mut four, &[key]);
    }
    part.keep(&mut four, &["sampling", "samplingCount"]);
    for key in spans {
        let span = part.get(&[key]).map(span);
        four.extend(span.map(|span| ((*key).to_owned(), span)));
    }
    part.finish();
    Value::Object(four)
}

fn policy(policy: Part<'_>) -> Value {
    let mut four = Map::new();
    let mut levels = Map::new();
    if let Some(all) = policy.get(&["level", "levels"]).and_then(Value::as_object) {
        for (name, value) in all {
            let at = policy.at(&format!("level.{name}"));
            if let Some(level) = Part::of(value, at, policy.lines) {
                levels.insert(name.clone(), self::level(level));
            }
        }
    }
    four.insert("levels".to_owned(), Value::Object(levels));
    if let Some(system) = policy.part(&["system"]) {
        let mut kept = Map::new();
        if let Some(stats) = system.part(&["stats"]) {
            switches(
                &stats,
                &mut kept,
                &[
                    ("inboundUplink", "statsInboundUplink"),
                    ("inboundDownlink", "statsInboundDownlink"),
                    ("outboundUplink", "statsOutboundUplink"),
                    ("outboundDownlink", "statsOutboundDownlink"),
                ],
            );
            stats.finish();
        }
        system.keep(&mut kept, &["overrideAccessLogDest"]);
        system.finish();
        four.insert("system".to_owned(), Value::Object(kept));
    }
    policy.finish();
    Value::Object(four)
}

fn level(level: Part<'_>) -> Value {
    let mut four = Map::new();
    if let Some(timeout) = level.part(&["timeout"]) {
        for (from, to) in [
            ("handshake", "handshake"),
            ("connectionIdle", "connIdle"),
            ("uplinkOnly", "uplinkOnly"),
            ("downlinkOnly", "downlinkOnly"),
        ] {
            let seconds = timeout.get(&[from]);
            let seconds = seconds.map(|one| one.get("value").unwrap_or(one).clone());
            four.extend(seconds.map(|seconds| (to.to_owned(), seconds)));
        }
        timeout.finish();
    }
    if let Some(stats) = level.part(&["stats"]) {
        let names = [
            ("userUplink", "statsUserUplink"),
            ("userDownlink", "statsUserDownlink"),
        ];
        switches(&stats, &mut four, &names);
        stats.finish();
    }
    if let Some(buffer) = level.part(&["buffer"]) {
        let bytes = buffer.get(&["connection"]).and_then(Value::as_i64);
        four.extend(bytes.map(|bytes| ("bufferSize".to_owned(), (bytes / 1024).into())));
        buffer.finish();
    }
    level.finish();
    Value::Object(four)
}

fn switches(part: &Part<'_>, four: &mut Map<String, Value>, names: &[(&str, &str)]) {
    let is_on = names.iter().filter(|(from, _)| part.is_on(&[from]));
    four.extend(is_on.map(|(_, to)| ((*to).to_owned(), true.into())));
}
