//! A config in the words of V2Ray 4, which Xray has as well, out of V2Ray 5's own form.
//!
//! As [`super::five`] the other way: texts become texts, and what there is no word for is told by its path.

mod ends;
mod routing;
mod services;
mod stream;
#[cfg(test)]
mod tests;

use serde_json::{Map, Value, json};

use super::five::part::{Lines, Part, is_nothing};

const NO_WORD: &str = "V2Ray 4's form has no word for it";

/// Writes a config; what there is no word for is added to `lines`.
pub(in crate::dialect) fn write(config: &Value, lines: &mut Vec<String>) -> Value {
    let said = Lines::new(true, NO_WORD);
    let mut four = Map::new();
    if let Some(root) = Part::of(config, String::new(), &said) {
        write_root(&root, &mut four);
        root.finish();
    }
    lines.extend(said.into_inner());
    Value::Object(four)
}

fn write_root(root: &Part<'_>, four: &mut Map<String, Value>) {
    if let Some(log) = root.part(&["log"]) {
        four.insert("log".to_owned(), write_log(log));
    }
    if let Some(dns) = root.part(&["dns"]) {
        four.insert("dns".to_owned(), routing::dns(dns));
    }
    if let Some(router) = root.part(&["router", "routing"]) {
        let routing = routing::write(router);
        if !is_nothing(&routing) {
            four.insert("routing".to_owned(), routing);
        }
    }
    let inbounds: Vec<Value> = root
        .parts(&["inbounds"])
        .into_iter()
        .map(ends::inbound)
        .collect();
    let outbounds = root.parts(&["outbounds"]).into_iter();
    let outbounds: Vec<Value> = outbounds.map(ends::outbound).collect();
    four.insert("inbounds".to_owned(), inbounds.into());
    four.insert("outbounds".to_owned(), outbounds.into());
    if let Some(services) = root.part(&["services"]) {
        services::write(&services, four);
        services.finish();
    }
    root.silent(&["$schema", "version"]);
}

/// That for errors has the level.
fn write_log(log: Part<'_>) -> Value {
    let mut four = Map::new();
    let [access, error] = ["access", "error"].map(|key| log.part(&[key]));
    let level = error
        .as_ref()
        .map(|part| part.word(&["level"]))
        .unwrap_or_default();
    let target = |part: &Option<Part<'_>>| {
        let part = part.as_ref()?;
        match &*part.word(&["type"]) {
            "none" => Some("none".to_owned()),
            _ => part.text(&["path"]),
        }
    };
    if let Some(path) = target(&access) {
        four.insert("access".to_owned(), path.into());
    }
    match target(&error) {
        Some(path) if path == "none" => drop(four.insert("loglevel".to_owned(), "none".into())),
        other => {
            four.extend(other.map(|path| ("error".to_owned(), path.into())));
            if !level.is_empty() {
                four.insert("loglevel".to_owned(), level.into());
            }
        }
    }
    Value::Object(four)
}

/// What a list of `{name, value}` or `{key, value}` says, as an object.
fn headers(own: &Part<'_>) -> Option<Value> {
    let mut map = Map::new();
    for header in own.parts(&["header"]) {
        let name = header.text(&["key", "name"]).unwrap_or_default();
        let value = header.get(&["value"]).cloned().unwrap_or_default();
        map.insert(name, value);
    }
    (!map.is_empty()).then(|| json!(map))
}
