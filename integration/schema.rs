//! `docs/config.schema.json`: what editors complete and explain. It is made of the tables of `testdata/compatibility.json` and of
//! `docs/config.md`, and what the program takes must pass it. `WRITE_EXPECTED=1 cargo test --test integration schema` writes it anew.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::path::PathBuf;

use mobula::dialect::v2ray::json::Text;
use serde_json::{Map, Value, json};

use crate::compatibility::{Section, Verdict, anchor, fill, sections};
use crate::peers::{Stage, mobula, python, root};

#[test]
fn the_file_is_what_the_tables_say() {
    let file = root().join("docs/config.schema.json");
    let expected = format!("{:#}\n", schema());
    if std::env::var_os("WRITE_EXPECTED").is_some() {
        fs::write(&file, &expected).expect("the file can be written");
    }
    let text = fs::read_to_string(&file).unwrap_or_default();
    let differs = expected.lines().zip(text.lines()).find(|(a, b)| a != b);
    assert!(
        expected == text || std::env::var_os("WRITE_EXPECTED").is_some(),
        "docs/config.schema.json is not what the tables make, first at {differs:?}"
    );
    let printed = mobula().arg("schema").output().expect("mobula runs");
    let same = printed.stdout == text.as_bytes();
    assert!(
        same,
        "`mobula schema` prints another one: it was built before"
    );
}

/// By a validator of others, as editors have one.
#[test]
fn what_the_program_takes_passes() {
    let mut all: Vec<(String, Value, bool)> = Vec::new();
    for file in configs("testdata/configs/good") {
        all.push((file.display().to_string(), read(&file), true));
    }
    for section in sections() {
        for row in section
            .rows
            .iter()
            .filter(|row| row.does != Verdict::Refused)
        {
            let mut config = section.into.clone();
            fill(&mut config, |object| {
                object.insert(row.key.clone(), row.sample.clone());
            });
            all.push((format!("{}: {}", section.title, row.key), config, true));
        }
    }
    let wrong = [
        json!({"inbounds": [{"port": 1, "protocol": "vmes"}]}),
        json!({"inbounds": {"port": 1, "protocol": "vmess"}}),
        json!({"outbounds": [{"protocol": "freedom", "streamSettings": []}]}),
        json!({"log": "warning"}),
    ];
    for (n, config) in wrong.into_iter().enumerate() {
        all.push((format!("wrong {n}"), config, false));
    }
    assert!(all.len() > 500, "{} configs", all.len());

    let stage = Stage::new();
    let input = stage.write("all.json", json!(all).to_string());
    let output = python()
        .args(["-c", VALIDATE])
        .arg(root().join("docs/config.schema.json"))
        .arg(input)
        .output()
        .expect("python runs");
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success() && out.is_empty(), "{out}{err}");
}

const VALIDATE: &str = r"
import json, sys, jsonschema
schema = json.load(open(sys.argv[1]))
jsonschema.Draft7Validator.check_schema(schema)
validator = jsonschema.Draft7Validator(schema)
for name, config, good in json.load(open(sys.argv[2])):
    errors = [f'{list(e.path)}: {e.message[:200]}' for e in validator.iter_errors(config)]
    if good == bool(errors):
        print(name, errors)
";

/// The keys are where an editor looks for them, with what the documents say.
#[test]
fn keys_are_found_where_they_are_written() {
    let schema = schema();
    let inbound = &schema["properties"]["inbounds"]["items"];
    let names = inbound["properties"]["protocol"]["enum"].as_array();
    assert!(names.is_some_and(|names| names.contains(&json!("vmess"))));
    let stream = &inbound["properties"]["streamSettings"]["properties"];
    let path = &stream["wsSettings"]["properties"]["path"];
    assert!(
        path["description"]
            .as_str()
            .is_some_and(|text| text.len() > 10),
        "{path}"
    );
    let of_vmess = inbound["allOf"]
        .as_array()
        .expect("a rule for each protocol")
        .iter()
        .find(|rule| rule["if"]["properties"]["protocol"]["enum"] == json!(["vmess"]));
    let clients = &of_vmess.expect("vmess has one")["then"]["properties"]["settings"]["properties"]
        ["clients"];
    assert!(
        clients["items"]["properties"]["id"].is_object(),
        "{clients}"
    );
}

fn configs(dir: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(root().join(dir)).expect("the folder is there");
    let files = entries.map(|entry| entry.expect("it can be listed").path());
    let mut files: Vec<PathBuf> = files
        .filter(|file| file.extension().is_some_and(|e| e == "json"))
        .collect();
    files.sort();
    files
}

fn read(file: &PathBuf) -> Value {
    let text = fs::read_to_string(file).expect("it can be read");
    Text::new(text).parse().expect("it is JSON").0
}

const HERE: &str = "HERE";

/// What may stand at one place.
#[derive(Default)]
struct Place {
    keys: BTreeMap<String, Key>,
    /// What the elements of a list may be.
    items: Option<Box<Self>>,
    /// What stands under keys that the user makes up.
    any: Option<Box<Self>>,
    /// `settings`, by the protocol of what they stand in.
    by_protocol: BTreeMap<String, Self>,
}

#[derive(Default)]
struct Key {
    description: String,
    types: BTreeSet<&'static str>,
    place: Place,
}

fn schema() -> Value {
    let documents = documents();
    let mut root = Place::default();
    for section in sections() {
        for protocol in protocols(&section) {
            let place = root
                .find(&section.into, &protocol)
                .expect("a section has a hole");
            for row in section
                .rows
                .iter()
                .filter(|row| row.does != Verdict::Refused)
            {
                let key = place.keys.entry(row.key.clone()).or_default();
                key.types.insert(type_of(&row.sample));
                if key.description.is_empty() {
                    let said = documents.get(&(section.link.clone(), row.key.to_lowercase()));
                    key.description = said.cloned().unwrap_or_else(|| row.note.clone());
                }
            }
        }
    }
    let mut schema = root.schema();
    let top = schema.as_object_mut().expect("it is an object");
    top.insert(
        "$schema".to_owned(),
        json!("http://json-schema.org/draft-07/schema#"),
    );
    top.insert(
        "title".to_owned(),
        json!("mobula: config.json, as V2Ray and Xray have it"),
    );
    schema
}

/// The protocols whose settings a section is about; one that means nothing where it is about no settings.
fn protocols(section: &Section) -> Vec<String> {
    if section.title.starts_with("vless and trojan inbounds") {
        return ["vless", "trojan"].map(str::to_owned).to_vec();
    }
    if section.title.ends_with("of socks and http") {
        return ["socks", "http"].map(str::to_owned).to_vec();
    }
    let mut found = Vec::new();
    protocol_above(&section.into, &mut found);
    vec![found.pop().unwrap_or_default()]
}

/// The value of `protocol` in what holds the mark.
fn protocol_above(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(object) if holds(value) => {
            found.extend(
                object
                    .get("protocol")
                    .and_then(Value::as_str)
                    .map(str::to_owned),
            );
            object
                .values()
                .for_each(|value| protocol_above(value, found));
        }
        Value::Array(list) => list.iter().for_each(|value| protocol_above(value, found)),
        _ => {}
    }
}

fn holds(value: &Value) -> bool {
    match value {
        Value::Object(object) => object.contains_key(HERE) || object.values().any(holds),
        Value::Array(list) => list.iter().any(holds),
        _ => false,
    }
}

impl Place {
    /// Where the mark stands in `value`, which stands here.
    fn find(&mut self, value: &Value, protocol: &str) -> Option<&mut Self> {
        match value {
            Value::Object(object) if object.contains_key(HERE) => Some(self),
            Value::Object(object) => {
                let (name, value) = object.iter().find(|(_, value)| holds(value))?;
                let place = if name == "settings" && object.contains_key("protocol") {
                    self.by_protocol.entry(protocol.to_owned()).or_default()
                } else if name.parse::<u32>().is_ok() {
                    self.any.get_or_insert_default()
                } else {
                    &mut self.keys.entry(name.clone()).or_default().place
                };
                place.find(value, protocol)
            }
            Value::Array(list) => {
                let value = list.iter().find(|value| holds(value))?;
                self.items.get_or_insert_default().find(value, protocol)
            }
            _ => None,
        }
    }

    fn is_bare(&self) -> bool {
        self.keys.is_empty()
            && self.items.is_none()
            && self.any.is_none()
            && self.by_protocol.is_empty()
    }

    fn schema(&self) -> Value {
        let mut out = Map::new();
        if let Some(items) = &self.items {
            let items = items.schema();
            out.insert("items".to_owned(), items);
        }
        if let Some(any) = &self.any {
            out.insert("additionalProperties".to_owned(), any.schema());
        }
        let mut properties: Map<String, Value> = self
            .keys
            .iter()
            .map(|(name, key)| (name.clone(), key.schema()))
            .collect();
        if !self.by_protocol.is_empty() {
            let names: Vec<&str> = self
                .by_protocol
                .keys()
                .flat_map(|name| words_for(name))
                .collect();
            if let Some(protocol) = properties.get_mut("protocol") {
                protocol["enum"] = json!(names);
            }
            let rules = self.by_protocol.iter().map(|(name, settings)| {
                json!({
                    "if": {"properties": {"protocol": {"enum": words_for(name)}}, "required": ["protocol"]},
                    "then": {"properties": {"settings": settings.schema()}},
                })
            });
            out.insert("allOf".to_owned(), rules.collect());
        }
        if !properties.is_empty() {
            out.insert("properties".to_owned(), properties.into());
        }
        out.into()
    }
}

impl Key {
    fn schema(&self) -> Value {
        let mut out = self.place.schema();
        let object = out.as_object_mut().expect("a schema is an object");
        if !self.description.is_empty() {
            object.insert("description".to_owned(), json!(self.description));
        }
        // V2Ray takes a number for a text here and there, and one word for a list of one; what has keys of its own is no word.
        let nested = !self.place.is_bare()
            && !self.types.contains("string")
            && !self.types.contains("boolean");
        let types: Vec<&str> = match nested {
            true if self.place.items.is_some() && self.place.keys.is_empty() => vec!["array"],
            true if self.types.contains("array")
                || self.description.starts_with("object or list") =>
            {
                vec!["array", "object"]
            }
            true => vec!["object"],
            false => Vec::new(),
        };
        if !types.is_empty() {
            let types = if types.len() == 1 {
                json!(types[0])
            } else {
                json!(types)
            };
            object.insert("type".to_owned(), types);
        } else if self.types.iter().eq([&"boolean"]) {
            object.insert("type".to_owned(), json!("boolean"));
        }
        out
    }
}

/// A protocol's name and Xray's other words for it.
fn words_for(protocol: &str) -> Vec<&str> {
    let others: &[&str] = match protocol {
        "socks" => &["mixed"],
        "dokodemo-door" => &["tunnel"],
        "freedom" => &["direct"],
        "blackhole" => &["block"],
        _ => &[],
    };
    [protocol].iter().chain(others).copied().collect()
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// What `docs/config.md` says of a key: by the heading and the key in small letters.
fn documents() -> HashMap<(String, String), String> {
    let text = fs::read_to_string(root().join("docs/config.md")).expect("docs/config.md");
    let mut found = HashMap::new();
    let mut heading = String::new();
    for line in text.lines() {
        if let Some(title) = line.strip_prefix('#') {
            heading = anchor(title.trim_start_matches('#').trim());
        }
        // A bar may stand in a cell behind a backslash.
        let row = line.replace("\\|", BAR);
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let ["", keys, value, default, said, ""] = cells[..] else {
            continue;
        };
        if !keys.starts_with('`') {
            continue;
        }
        let default = match default {
            "" => String::new(),
            default => format!("; default: {default}"),
        };
        let said = if said.is_empty() {
            String::new()
        } else {
            format!(". {said}")
        };
        let text = plain(&format!("{value}{default}{said}"));
        for key in keys.split('`').skip(1).step_by(2) {
            found
                .entry((heading.clone(), key.to_lowercase()))
                .or_insert_with(|| text.clone());
        }
    }
    found
}

/// Markdown as a tooltip shows it: without links and marks.
fn plain(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once('[') {
        out.push_str(before);
        match behind
            .split_once("](")
            .and_then(|(words, link)| Some((words, link.split_once(')')?.1)))
        {
            Some((words, after)) if !words.contains('[') => {
                out.push_str(words);
                rest = after;
            }
            _ => {
                out.push('[');
                rest = behind;
            }
        }
    }
    out.push_str(rest);
    out.replace("**", "").replace(BAR, "|").replace('`', "")
}

/// Stands for a bar that ends no cell.
const BAR: &str = "\u{1}";
