//! What V2Ray 4 has at the top level, and V2Ray 5 among its `services`.

use serde_json::{Map, Value, json};

use super::part::{Lines, NO_WORD, Part, is_nothing};
use crate::dns::FakePool;
use crate::matching::parse_network;

pub(super) fn write(root: &Part<'_>) -> Map<String, Value> {
    let mut five = Map::new();
    if let Some(Value::Object(services)) = root.get(&["services"]) {
        five.extend(services.clone());
    }
    if root.get(&["stats"]).is_some() {
        five.insert("stats".to_owned(), json!({}));
    }
    if let Some(policy) = root.part(&["policy"]) {
        five.insert("policy".to_owned(), self::policy(policy));
    }
    if let Some(reverse) = root.part(&["reverse"]) {
        let mut ends = Map::new();
        reverse.keep(&mut ends, &["bridgeConfig", "bridges"]);
        reverse.keep(&mut ends, &["portalConfig", "portals"]);
        reverse.finish();
        if !ends.is_empty() {
            five.insert("reverse".to_owned(), Value::Object(ends));
        }
    }
    if let Some(browser) = root.part(&["browserForwarder"]) {
        let mut kept = Map::new();
        browser.keep(&mut kept, &["listenAddr", "listen_addr"]);
        browser.keep(&mut kept, &["listenPort", "listen_port"]);
        browser.finish();
        let snake = [("listenAddr", "listen_addr"), ("listenPort", "listen_port")];
        let kept = snake
            .into_iter()
            .filter_map(|(from, to)| kept.get(from).map(|value| (to.to_owned(), value.clone())));
        five.insert("browser".to_owned(), Value::Object(kept.collect()));
    }
    observers(root, &mut five);
    if let Some(api) = root.part(&["api"]) {
        five.extend(commander(api).map(|commander| ("commander".to_owned(), commander)));
    }
    if let Some(fakes) = root.get(&["fakedns"]) {
        let pools = pools(fakes, root.lines);
        match &pools[..] {
            [] => {}
            [pool] => drop(five.insert("fakeDns".to_owned(), pool.clone())),
            _ => drop(five.insert("fakeDnsMulti".to_owned(), json!({"pools": pools}))),
        }
    }
    root.no_word(&["metrics", "limits", "stateDirectory"]);
    five
}

/// `observatory` and its kin; what stood among V2Ray 5's services already is written anew.
fn observers(root: &Part<'_>, five: &mut Map<String, Value>) {
    let services = root.part(&["services"]);
    let of_five = |name: &str| {
        services
            .as_ref()
            .and_then(|services| services.part(&[name]))
    };
    if let Some(part) = root.part(&["observatory"]).or_else(|| of_five(BACKGROUND)) {
        five.insert(BACKGROUND.to_owned(), background(part));
    }
    if let Some(part) = root.part(&["burstObservatory"]).or_else(|| of_five(BURST)) {
        five.insert(BURST.to_owned(), burst(part));
    }
    let several = root.part(&["multiObservatory"]);
    let mut all = several
        .as_ref()
        .map(|several| several.parts(&["observers"]));
    if all.is_none()
        && let Some(services) = &services
    {
        all = Some(services.parts(&["multiobservatory"]));
    }
    let all: Vec<Value> = all.into_iter().flatten().filter_map(member).collect();
    if !all.is_empty() {
        five.insert("multiobservatory".to_owned(), all.into());
    }
}

const BACKGROUND: &str = "backgroundObservatory";
const BURST: &str = "burstObservatory";

fn background(observer: Part<'_>) -> Value {
    let mut five = Map::new();
    observer.keep(&mut five, &["subjectSelector"]);
    observer.keep(&mut five, &["probeUrl"]);
    observer.nanos(&mut five, "probeInterval", &["probeInterval"]);
    observer.keep(&mut five, &["persistentProbeResult"]);
    observer.no_word(&["expectedStatus", "enableConcurrency"]);
    observer.silent(&["tag", "@type"]);
    observer.finish();
    Value::Object(five)
}

fn burst(observer: Part<'_>) -> Value {
    let mut five = Map::new();
    observer.keep(&mut five, &["subjectSelector"]);
    if let Some(ping) = observer.part(&["pingConfig"]) {
        let mut kept = Map::new();
        ping.keep(&mut kept, &["destination"]);
        ping.keep(&mut kept, &["connectivity"]);
        ping.nanos(&mut kept, "interval", &["interval"]);
        ping.nanos(&mut kept, "timeout", &["timeout"]);
        ping.keep(&mut kept, &["samplingCount", "sampling"]);
        ping.no_word(&["expectedStatus", "maxFailedTimes"]);
        ping.finish();
        five.insert("pingConfig".to_owned(), Value::Object(kept));
    }
    observer.silent(&["tag", "@type"]);
    observer.finish();
    Value::Object(five)
}

fn member(member: Part<'_>) -> Option<Value> {
    let Some(settings) = member.part(&["settings"]) else {
        member.gone("`settings` are missing");
        return None;
    };
    let (kind, settings) = match &*member.word(&["type"]) {
        "burst" | "burstobservatory" => (BURST, burst(settings)),
        _ => (BACKGROUND, background(settings)),
    };
    let tag = member.text(&["tag"]).unwrap_or_default();
    member.finish();
    Some(json!({"type": kind, "tag": tag, "settings": settings}))
}

/// `api`, whose services have short names. Of `LoggerService` there is none.
fn commander(api: Part<'_>) -> Option<Value> {
    let mut names = Vec::new();
    for service in api.texts(&["services"]) {
        let lower = service.to_ascii_lowercase();
        match NAMES.iter().find(|(name, _)| *name == lower) {
            Some((_, short)) => names.push(*short),
            None => api.lost(
                "services",
                format_args!("`{}`: {NO_WORD}", service.escape_debug()),
            ),
        }
    }
    api.no_word(&["listen"]);
    let tag = api.text(&["tag"])?;
    api.finish();
    Some(json!({"tag": tag, "name": names}))
}

const NAMES: [(&str, &str); 5] = [
    ("handlerservice", "proxyman"),
    ("observatoryservice", "observatory"),
    ("reflectionservice", "reflection"),
    ("routingservice", "router"),
    ("statsservice", "stats"),
];

/// Each with its size, for V2Ray 5 has no usual one.
fn pools(fakes: &Value, lines: &Lines) -> Vec<Value> {
    let list = match fakes.get("pools").unwrap_or(fakes) {
        Value::Array(list) => list.iter().collect(),
        Value::Null => Vec::new(),
        one => vec![one],
    };
    let pools = list.into_iter().filter_map(|pool| {
        let said = |names: [&str; 2]| {
            let mut entries = pool.as_object()?.iter();
            let found = entries.find(|(key, value)| {
                !is_nothing(value) && names.iter().any(|name| lines.names(key, name))
            });
            found.map(|(_, value)| value)
        };
        let network = match pool {
            Value::String(text) => text,
            _ => said(["ipPool"; 2])?.as_str()?,
        };
        let size = said(["poolSize", "lruSize"]).cloned();
        let usual = || {
            let network = parse_network(network).ok()?;
            Some(FakePool::of_usual_size(network).ok()?.names().get().into())
        };
        let size = size.or_else(usual)?;
        Some(json!({"ipPool": network, "lruSize": size}))
    });
    pools.collect()
}

fn policy(policy: Part<'_>) -> Value {
    let mut five = Map::new();
    let mut levels = Map::new();
    if let Some(all) = policy.get(&["levels", "level"]).and_then(Value::as_object) {
        for (name, value) in all {
            let at = policy.at(&format!("levels.{name}"));
            if let Some(level) = Part::of(value, at, policy.lines) {
                levels.insert(name.clone(), self::level(level));
            }
        }
    }
    if !levels.is_empty() {
        five.insert("level".to_owned(), Value::Object(levels));
    }
    if let Some(system) = policy.part(&["system"]) {
        let mut stats = switches(
            &system,
            [
                ("statsInboundUplink", "inboundUplink"),
                ("statsInboundDownlink", "inboundDownlink"),
                ("statsOutboundUplink", "outboundUplink"),
                ("statsOutboundDownlink", "outboundDownlink"),
            ],
        );
        if let Some(Value::Object(more)) = system.get(&["stats"]) {
            stats.extend(more.clone());
        }
        let mut kept = Map::new();
        system.keep(&mut kept, &["overrideAccessLogDest"]);
        if !stats.is_empty() {
            kept.insert("stats".to_owned(), Value::Object(stats));
        }
        system.finish();
        five.insert("system".to_owned(), Value::Object(kept));
    }
    policy.finish();
    Value::Object(five)
}

fn level(level: Part<'_>) -> Value {
    let mut five = Map::new();
    let mut timeout = Map::new();
    for (from, to) in [
        ("handshake", "handshake"),
        ("connIdle", "connectionIdle"),
        ("uplinkOnly", "uplinkOnly"),
        ("downlinkOnly", "downlinkOnly"),
    ] {
        if let Some(seconds) = level.get(&[from]) {
            timeout.insert(to.to_owned(), json!({"value": seconds}));
        }
    }
    if let Some(Value::Object(more)) = level.get(&["timeout"]) {
        timeout.extend(more.clone());
    }
    let mut stats = switches(
        &level,
        [
            ("statsUserUplink", "userUplink"),
            ("statsUserDownlink", "userDownlink"),
        ],
    );
    if let Some(Value::Object(more)) = level.get(&["stats"]) {
        stats.extend(more.clone());
    }
    for (key, map) in [("timeout", timeout), ("stats", stats)] {
        if !map.is_empty() {
            five.insert(key.to_owned(), Value::Object(map));
        }
    }
    let kib = level.get(&["bufferSize"]).and_then(Value::as_i64);
    match kib {
        // Less than nothing is without a bound.
        Some(kib) if kib < 0 => level.lost("bufferSize", NO_WORD),
        Some(kib) => drop(five.insert("buffer".to_owned(), json!({"connection": kib * 1024}))),
        None => level.keep(&mut five, &["buffer"]),
    }
    level.finish();
    Value::Object(five)
}

fn switches<const N: usize>(part: &Part<'_>, names: [(&str, &str); N]) -> Map<String, Value> {
    let is_on = names.into_iter().filter(|(from, _)| part.is_on(&[from]));
    is_on.map(|(_, to)| (to.to_owned(), true.into())).collect()
}
