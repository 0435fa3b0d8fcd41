//! A config in the words of V2Ray 5's own form (`-format jsonv5`), out of those of V2Ray 4, Xray, or V2Ray 5.
//!
//! Texts become texts: what a config says stays what it says, in another place and by another name. What there is no word
//! for is told by its path; an outbound that cannot be said is replaced by one that blocks, for what is meant for it must
//! not go elsewhere.

mod dns;
mod inbound;
mod outbound;
pub(super) mod part;
mod routing;
mod services;
mod stream;
#[cfg(test)]
pub(super) mod tests;

use serde_json::{Map, Value, json};

use super::global;
use super::load::is_of_five;
use part::{Lines, NO_WORD, Part, is_nothing};

/// Writes a config; what there is no word for is added to `lines`.
pub(in crate::dialect) fn write(config: &Value, lines: &mut Vec<String>) -> Value {
    let mut config = config.clone();
    let mut has_protobuf_names = false;
    if let Value::Object(root) = &mut config {
        global::spread(root);
        has_protobuf_names = is_of_five(root);
    }
    let said = Lines::new(has_protobuf_names, NO_WORD);
    let mut five = Map::new();
    if let Some(root) = Part::of(&config, String::new(), &said) {
        write_root(&root, &mut five);
        root.finish();
    }
    lines.extend(said.into_inner());
    Value::Object(five)
}

fn write_root(root: &Part<'_>, five: &mut Map<String, Value>) {
    if let Some(log) = root.part(&["log"]) {
        five.insert("log".to_owned(), write_log(log));
    }
    if let Some(dns) = root.part(&["dns"]) {
        five.insert("dns".to_owned(), dns::write(dns));
    }
    let router = routing::write(root);
    if !is_nothing(&router) {
        five.insert("router".to_owned(), router);
    }
    let all = |keys: [&str; 3]| -> Vec<Part<'_>> {
        let [one, more, all] = keys;
        let first = root.part(&[one]).into_iter();
        let more = root.parts(&[more]).into_iter();
        first.chain(more).chain(root.parts(&[all])).collect()
    };
    // V2Ray's oldest place for the port of the first.
    let port = root.get(&["port"]);
    let inbounds = all(["inbound", "inboundDetour", "inbounds"]);
    let inbounds = inbounds.into_iter().enumerate().filter_map(|(i, part)| {
        let mut inbound = inbound::write(part)?;
        if let Some(port) = port.filter(|_| i == 0 && inbound.get("port").is_none()) {
            inbound["port"] = port.clone();
        }
        Some(inbound)
    });
    let inbounds: Vec<Value> = inbounds.collect();
    five.insert("inbounds".to_owned(), inbounds.into());
    let outbounds = all(["outbound", "outboundDetour", "outbounds"]).into_iter();
    let mut outbounds: Vec<Value> = outbounds.map(outbound::write).collect();
    // What rules lead to and is not there: the first outbound would carry it.
    let metrics = root.part(&["metrics"]).and_then(|part| part.text(&["tag"]));
    let metrics = metrics.filter(|tag| outbounds.iter().all(|one| one["tag"] != **tag));
    outbounds.extend(metrics.map(outbound::stand_in));
    five.insert("outbounds".to_owned(), outbounds.into());
    let services = services::write(root);
    if !services.is_empty() {
        five.insert("services".to_owned(), Value::Object(services));
    }
    // What it says stands where it counts.
    root.silent(&["transport", "$schema", "version"]);
}

/// Two objects, of which that for errors has the level.
fn write_log(log: Part<'_>) -> Value {
    let word = log.word(&["loglevel"]);
    let named = |word: &str| match word {
        "debug" => "Debug",
        "info" => "Info",
        "error" => "Error",
        _ => "Warning",
    };
    let level = named(&word);
    let is_off = word == "none";
    let target = |key: &str| match log.get(&[key]) {
        Some(Value::Object(map)) => {
            let mut map = map.clone();
            if let Some(Value::String(level)) = map.get_mut("level") {
                *level = named(&level.to_ascii_lowercase()).to_owned();
            }
            Value::Object(map)
        }
        _ if is_off => json!({"type": "None"}),
        Some(Value::String(text)) if text == "none" => json!({"type": "None"}),
        Some(Value::String(path)) if !path.is_empty() => json!({"type": "File", "path": path}),
        _ => json!({"type": "Console"}),
    };
    let access = target("access");
    let mut error = target("error");
    if error["type"] != "None" && error.get("level").is_none() {
        error["level"] = level.into();
    }
    log.finish();
    json!({"access": access, "error": error})
}
