//! `router`: rules and balancers, whose lists are objects.

use serde_json::{Map, Value, json};

use super::part::{NO_WORD, Part, is_nothing, nanos};
use crate::matching::parse_network;

/// Writes `router`, empty where nothing is said.
pub(super) fn write(root: &Part<'_>) -> Value {
    let mut five = Map::new();
    let (mut rules, mut balancers) = (Vec::new(), Vec::new());
    for routing in [root.part(&["routing"]), root.part(&["router"])]
        .into_iter()
        .flatten()
    {
        strategy(&routing, &mut five);
        let mut lists = |part: &Part<'_>| {
            let all = part
                .parts(&["rules"])
                .into_iter()
                .chain(part.parts(&["rule"]));
            rules.extend(all.flat_map(rule));
            let all = part.parts(&["balancers"]).into_iter();
            let all = all.chain(part.parts(&["balancingRule"]));
            balancers.extend(all.filter_map(balancer));
        };
        lists(&routing);
        if let Some(settings) = routing.part(&["settings"]) {
            strategy(&settings, &mut five);
            lists(&settings);
            settings.finish();
        }
        routing.silent(&["domainMatcher", "strategy"]);
        routing.finish();
    }
    if !rules.is_empty() {
        five.insert("rule".to_owned(), rules.into());
    }
    if !balancers.is_empty() {
        five.insert("balancingRule".to_owned(), balancers.into());
    }
    Value::Object(five)
}

fn strategy(routing: &Part<'_>, five: &mut Map<String, Value>) {
    let word = match &*routing.word(&["domainStrategy"]) {
        "ipifnonmatch" => "IpIfNonMatch",
        "ipondemand" => "IpOnDemand",
        "asis" => "AsIs",
        _ => return,
    };
    five.insert("domainStrategy".to_owned(), word.into());
}

/// Each of the two lists of names has to hold there: what is in one list here becomes two rules.
fn rule(rule: Part<'_>) -> Vec<Value> {
    let both_have_to_hold = !rule.items(&["geoDomain"]).is_empty();
    let Some(five) = one_rule(rule) else {
        return Vec::new();
    };
    let lists = ["domain", "geoDomain"];
    if both_have_to_hold || !lists.iter().all(|key| five.contains_key(*key)) {
        return vec![five.into()];
    }
    let without = |key: &&str| {
        let mut five = five.clone();
        five.remove(*key);
        five.into()
    };
    lists.iter().rev().map(without).collect()
}

/// A rule that asks for something that there is no word for would take too much.
fn one_rule(rule: Part<'_>) -> Option<Map<String, Value>> {
    let mut five = Map::new();
    let strange = ["localIP", "localPort", "localOS", "process", "vlessRoute"];
    if let Some(key) = strange.iter().find(|key| rule.get(&[key]).is_some()) {
        rule.gone(format_args!("`{key}`: {NO_WORD}"));
        return None;
    }
    // Regular expressions by their attributes; there it is the text of one expression.
    let is_object = |key: &&&str| {
        rule.get(&[key])
            .is_some_and(|value| value.is_object() && !is_nothing(value))
    };
    if let Some(key) = ["attrs", "attributes"].iter().find(is_object) {
        rule.gone(format_args!("`{key}` that is an object: {NO_WORD}"));
        return None;
    }
    rule.keep(&mut five, &["tag", "outboundTag"]);
    rule.keep(&mut five, &["balancingTag", "balancerTag"]);
    if five.contains_key("tag") {
        five.remove("balancingTag");
    }
    let mut domains = Vec::new();
    let mut sites = Vec::new();
    for item in rule
        .items(&["domain"])
        .into_iter()
        .chain(rule.items(&["domains"]))
    {
        match item {
            Value::String(text) => {
                if let Err(why) = domain(text, &mut domains, &mut sites) {
                    rule.gone(why);
                    return None;
                }
            }
            other => domains.push(other.clone()),
        }
    }
    let geo_domain = rule.items(&["geoDomain"]);
    if !(geo_domain.is_empty() || sites.is_empty()) {
        rule.gone("a `geosite` in `domain` beside `geoDomain`, which both have to hold");
        return None;
    }
    sites.extend(geo_domain.into_iter().cloned());
    let put = |five: &mut Map<String, Value>, key: &str, list: Vec<Value>| {
        if !list.is_empty() {
            five.insert(key.to_owned(), list.into());
        }
    };
    put(&mut five, "domain", domains);
    put(&mut five, "geoDomain", sites);
    for (keys, key) in [
        (&["ip", "geoip"][..], "geoip"),
        (&["source", "sourceIP", "sourceGeoip"], "sourceGeoip"),
    ] {
        let items: Vec<&Value> = keys.iter().flat_map(|key| rule.items(&[key])).collect();
        match networks(&items) {
            Ok(list) => put(&mut five, key, list),
            Err(why) => {
                rule.gone(why);
                return None;
            }
        }
    }
    for (key, keys) in [
        ("portList", ["port", "portList"]),
        ("sourcePortList", ["sourcePort", "sourcePortList"]),
        ("networks", ["network", "networks"]),
    ] {
        let words = rule.texts(&keys);
        if !words.is_empty() {
            five.insert(key.to_owned(), words.join(",").into());
        }
    }
    for (key, keys) in [
        ("userEmail", ["user", "userEmail"]),
        ("inboundTag", ["inboundTag", "inboundTag"]),
        ("protocol", ["protocol", "protocol"]),
    ] {
        let words = rule.texts(&keys);
        if !words.is_empty() {
            five.insert(key.to_owned(), words.into());
        }
    }
    rule.keep(&mut five, &["attributes", "attrs"]);
    rule.silent(&["type", "domainMatcher", "id"]);
    rule.no_word(&["ruleTag"]);
    rule.finish();
    Some(five)
}

fn domain(text: &str, domains: &mut Vec<Value>, sites: &mut Vec<Value>) -> Result<(), String> {
    let (kind, value) = match text.split_once(':') {
        None => ("Plain", text.to_owned()),
        Some(("keyword", value)) => ("Plain", value.to_owned()),
        Some(("domain", value)) => ("RootDomain", value.to_owned()),
        Some(("full", value)) => ("Full", value.to_owned()),
        Some(("regexp", value)) => ("Regex", value.to_owned()),
        Some(("dotless", value)) => ("Regex", format!("^[^.]*{value}[^.]*$")),
        Some(("geosite", code)) => {
            sites.push(json!({"code": code}));
            return Ok(());
        }
        Some(("ext" | "ext-domain", rest)) => {
            let (file, code) = file_and_code(text, rest)?;
            sites.push(json!({"filePath": file, "code": code}));
            return Ok(());
        }
        Some(_) => ("Plain", text.to_owned()),
    };
    domains.push(json!({"type": kind, "value": value}));
    Ok(())
}

/// Networks as objects, those with their addresses written out in one.
pub(super) fn networks(items: &[&Value]) -> Result<Vec<Value>, String> {
    let mut list = Vec::new();
    let mut cidrs = Vec::new();
    let texts = items.iter().flat_map(|item| match item {
        Value::String(text) => text.split(',').map(|text| json!(text.trim())).collect(),
        other => vec![(*other).clone()],
    });
    for item in texts {
        let Value::String(text) = &item else {
            list.push(item);
            continue;
        };
        let (not, text) = match text.strip_prefix('!') {
            Some(text) => (true, text),
            None => (false, &**text),
        };
        let (file, code) = match text.split_once(':') {
            Some(("geoip", code)) => (None, code),
            Some(("ext" | "ext-ip", rest)) => {
                let (file, code) = file_and_code(text, rest)?;
                (Some(file), code)
            }
            _ if text.is_empty() => continue,
            _ => {
                let network = parse_network(text).map_err(|e| e.to_string())?;
                let cidr =
                    json!({"ipAddr": network.addr().to_string(), "prefix": network.prefix_len()});
                match not {
                    true => list.push(json!({"cidr": [cidr], "inverseMatch": true})),
                    false => cidrs.push(cidr),
                }
                continue;
            }
        };
        let (inner, code) = match code.strip_prefix('!') {
            Some(code) => (true, code),
            None => (false, code),
        };
        let mut entry = json!({"code": code});
        if let Some(file) = file {
            entry["filePath"] = file.into();
        }
        if not != inner {
            entry["inverseMatch"] = true.into();
        }
        list.push(entry);
    }
    if !cidrs.is_empty() {
        list.push(json!({ "cidr": cidrs }));
    }
    Ok(list)
}

fn file_and_code<'t>(text: &str, rest: &'t str) -> Result<(&'t str, &'t str), String> {
    let split = rest.split_once(':');
    split.ok_or_else(|| format!("`{}` names no category", text.escape_debug()))
}

/// A balancer, whose keys V2Ray 5 knows by their spelling with underscores alone.
fn balancer(balancer: Part<'_>) -> Option<Value> {
    let mut five = Map::new();
    balancer.keep(&mut five, &["tag"]);
    five.insert(
        "outbound_selector".to_owned(),
        balancer.texts(&["selector", "outboundSelector"]).into(),
    );
    if let Some(tag) = balancer.text(&["fallbackTag"]) {
        five.insert("fallback_tag".to_owned(), tag.into());
    }
    let (name, settings) = match balancer.part(&["strategy"]) {
        Some(strategy) => {
            let name = strategy.word(&["type"]);
            let settings = strategy.part(&["settings"]);
            strategy.finish();
            (name, settings)
        }
        None => {
            let settings = balancer.part(&["strategySettings"]);
            (balancer.word(&["strategy"]), settings)
        }
    };
    let name = match &*name {
        "" => "random",
        "random" | "leastping" | "leastload" => &name,
        // Not by chance: who lives is one that answers.
        "firstalive" => {
            balancer.lost(
                "strategy",
                format_args!("`firstAlive`: {NO_WORD}, the fastest takes its place"),
            );
            "leastping"
        }
        other => {
            let other = other.escape_debug();
            balancer.lost(
                "strategy",
                format_args!("`{other}`: {NO_WORD}, it is chosen at random"),
            );
            "random"
        }
    };
    five.insert("strategy".to_owned(), name.into());
    let settings = settings.map(|settings| strategy_settings(name, settings));
    if let Some(settings) = settings.filter(|settings| !settings.is_empty()) {
        five.insert("strategy_settings".to_owned(), Value::Object(settings));
    }
    balancer.finish();
    Some(Value::Object(five))
}

fn strategy_settings(name: &str, settings: Part<'_>) -> Map<String, Value> {
    let mut five = Map::new();
    settings.keep(&mut five, &["observerTag"]);
    match name {
        "leastload" => {
            for key in ["costs", "expected", "tolerance"] {
                settings.keep(&mut five, &[key]);
            }
            settings.nanos(&mut five, "maxRTT", &["maxRTT"]);
            let baselines: Vec<Value> = settings
                .items(&["baselines"])
                .into_iter()
                .filter_map(nanos)
                .collect();
            if !baselines.is_empty() {
                five.insert("baselines".to_owned(), baselines.into());
            }
        }
        "leastping" => {
            settings.keep(&mut five, &["stickyChoice"]);
            settings.no_word(&["keepWithin"]);
        }
        _ => settings.keep(&mut five, &["aliveOnly"]),
    }
    settings.silent(&["@type"]);
    settings.finish();
    five
}
