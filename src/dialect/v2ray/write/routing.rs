//! Balancers, and the observers that they ask.

use std::time::Duration;

use serde_json::{Value, json};

use crate::observatory::{Burst, ExpectedStatus, Kind, Settings};
use crate::routing::{Among, BalancerSettings, LeastLoad, Match, Strategy};

/// `balancers` of `routing`.
pub(in crate::dialect) fn balancers(balancers: &[BalancerSettings]) -> Value {
    balancers.iter().map(balancer).collect()
}

fn balancer(balancer: &BalancerSettings) -> Value {
    let mut settings = json!({});
    let name = match &*balancer.strategy {
        Strategy::Random(among) => chosen_from("random", *among, &mut settings),
        Strategy::RoundRobin(among) => chosen_from("roundRobin", *among, &mut settings),
        Strategy::LeastPing { keep_within } => {
            if !keep_within.is_zero() {
                settings["keepWithin"] = span(*keep_within).into();
            }
            "leastPing"
        }
        // gost's own is written by its own dialect.
        Strategy::FirstAlive | Strategy::First => "firstAlive",
        Strategy::LeastLoad(load) => {
            settings = least_load(load);
            "leastLoad"
        }
    };
    if !balancer.observer.is_empty() {
        settings["observerTag"] = balancer.observer.as_str().into();
    }
    let mut strategy = json!({ "type": name });
    if settings.as_object().is_some_and(|map| !map.is_empty()) {
        strategy["settings"] = settings;
    }
    let mut value =
        json!({"tag": balancer.tag, "selector": *balancer.selectors, "strategy": strategy});
    if let Some(tag) = &balancer.fallback {
        value["fallbackTag"] = json!(&***tag);
    }
    value
}

fn chosen_from(name: &'static str, among: Among, settings: &mut Value) -> &'static str {
    if among == Among::Alive {
        settings["aliveOnly"] = true.into();
    }
    name
}

fn least_load(load: &LeastLoad) -> Value {
    let costs = load.costs.iter().map(|cost| {
        let (is_regex, text) = match &cost.pattern {
            Match::Text(text) => (false, text.as_str()),
            Match::Regex(regex) => (true, regex.as_str()),
        };
        let mut value = json!({"regexp": is_regex, "match": text});
        if let Some(n) = cost.value {
            value["value"] = n.into();
        }
        value
    });
    let mut value = json!({"costs": costs.collect::<Vec<_>>(), "expected": load.expected, "tolerance": load.tolerance});
    value["baselines"] = load.baselines.iter().map(|one| span(*one)).collect();
    if let Some(most) = &load.max_rtt {
        value["maxRTT"] = span(*most).into();
    }
    value
}

/// Puts observers where V2Ray looks for them: one without a tag stands alone, for Xray knows it there alone.
pub(in crate::dialect) fn observers(observers: &[Settings], config: &mut Value) {
    let mut several = Vec::new();
    for observer in observers {
        let (key, kind, mut settings) = match &observer.kind {
            Kind::Burst(settings) => ("burstObservatory", "burst", burst(settings)),
            Kind::Background(settings) => {
                let mut value = json!({
                    "probeURL": settings.url.to_string(), "probeInterval": span(settings.interval),
                });
                if settings.all_at_once {
                    value["enableConcurrency"] = true.into();
                }
                expected(&settings.expected, &mut value);
                ("observatory", "default", value)
            }
        };
        settings["subjectSelector"] = json!(*observer.selectors);
        match observer.tag.is_empty() && config.get(key).is_none() {
            true => config[key] = settings,
            false => {
                several.push(json!({"type": kind, "tag": observer.tag, "settings": settings}));
            }
        }
    }
    if !several.is_empty() {
        config["multiObservatory"] = json!({ "observers": several });
    }
}

fn burst(burst: &Burst) -> Value {
    let mut ping = json!({
        "destination": burst.url.to_string(), "interval": span(burst.interval), "sampling": burst.sampling,
        "timeout": span(burst.timeout),
    });
    if let Some(url) = &burst.connectivity {
        ping["connectivity"] = url.to_string().into();
    }
    expected(&burst.expected, &mut ping);
    if let Some(max) = burst.max_failed {
        ping["maxFailedTimes"] = max.get().into();
    }
    json!({ "pingConfig": ping })
}

fn expected(expected: &ExpectedStatus, value: &mut Value) {
    if !expected.is_any() {
        value["expectedStatus"] = expected.to_string().into();
    }
}

fn span(span: Duration) -> String {
    format!("{}ms", span.as_millis())
}
