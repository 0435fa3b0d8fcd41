//! What V2Ray 4 has at the top level, and V2Ray 5 among its `services`.

use serde_json::{Map, Value, json};

use super::part::{Part, is_nothing};

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
        browser.keep(&mut kept, &["listenAddr"]);
        browser.keep(&mut kept, &["listenPort"]);
        browser.finish();
        let snake = [("listenAddr", "listen_addr"), ("listenPort", "listen_port")];
        let kept = snake
            .into_iter()
            .filter_map(|(from, to)| kept.get(from).map(|value| (to.to_owned(), value.clone())));
        five.insert("browser".to_owned(), Value::Object(kept.collect()));
    }
    for (key, name) in [
        ("observatory", "backgroundObservatory"),
        ("burstObservatory", "burstObservatory"),
    ] {
        if let Some(observer) = root.get(&[key]).filter(|value| !is_nothing(value)) {
            five.insert(name.to_owned(), observer.clone());
        }
    }
    root.no_word(&[
        "api",
        "metrics",
        "limits",
        "stateDirectory",
        "multiObservatory",
        "fakedns",
    ]);
    five
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
        Some(kib) if kib < 0 => level.lost("bufferSize", super::NO_WORD),
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
