//! `docs/compatibility.md`: every key of a config, what V2Ray does with it and what mobula does.
//!
//! `testdata/compatibility.json` is the source: sections, each with a config that has a hole (`HERE`)
//! in it, and the keys that may stand there, each with a sample. The samples are loaded, so the verdicts
//! cannot drift from the code; V2Ray 4.45 is asked about each of its keys; and a key that our readers
//! know and the table does not is found too. `WRITE_EXPECTED=1 cargo test --test integration
//! compatibility` writes the tables of the document anew.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::Path;
use std::process::Command;

use mobula::dialect::v2ray::{Format, Input, load};
use mobula::report::Message;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::peers::{Stage, geodata, mobula, root};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Section {
    pub title: String,
    /// The place in docs/config.md that says more.
    pub link: String,
    /// What stands around the keys, laid over a small config.
    pub into: Value,
    /// Keys that are understood here and have their row in another section.
    #[serde(default)]
    also: Vec<String>,
    pub rows: Vec<Row>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    pub key: String,
    pub sample: Value,
    /// Further keys in the same place, without which the sample makes no sense.
    #[serde(default)]
    with: Map<String, Value>,
    /// And elsewhere in the config.
    #[serde(default)]
    base: Option<Value>,
    /// Which V2Rays read it, see [`Row::by`].
    by: String,
    pub does: Verdict,
    /// It works, and is warned about.
    #[serde(default)]
    warned: bool,
    #[serde(default)]
    pub note: String,
    /// Of what has no effect: why traffic goes where it would go with it, and nobody else reads it.
    #[serde(default)]
    keeps: String,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    Works,
    /// Without a word: what it asks for holds anyway.
    Accepted,
    /// With a warning.
    #[serde(rename = "no effect")]
    NoEffect,
    /// With an error.
    Refused,
}

pub fn sections() -> Vec<Section> {
    let file = root().join("testdata/compatibility.json");
    let text = fs::read_to_string(file).expect("the table's source is there");
    serde_json::from_str(&text).expect("the table's source is sound")
}

#[test]
fn every_verdict_is_what_the_loader_does() {
    let mut wrong = Vec::new();
    for section in sections() {
        for row in &section.rows {
            // Names with underscores are V2Ray 5's own.
            let format = match row.by == "jsonv5" {
                true => Format::V5,
                false => Format::V4,
            };
            let without = load_as(&row.config(&section, None), format);
            let with = load_as(&row.config(&section, Some(&row.sample)), format);
            let new = with.1.iter().filter(|line| !without.1.contains(line));
            let found = if !with.0.is_empty() {
                Verdict::Refused
            } else if new.clone().next().is_some() && !row.warned {
                Verdict::NoEffect
            } else {
                Verdict::Works
            };
            let said = if row.does == Verdict::Accepted {
                Verdict::Works
            } else {
                row.does
            };
            if found != said {
                let lines: Vec<_> = with.0.iter().chain(new).collect();
                let Section { title, .. } = &section;
                wrong.push(format!(
                    "{title}: {} = {}: {found:?}, not {said:?}: {lines:?}",
                    row.key, row.sample
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What would send traffic elsewhere, or show it to others, is built or refused: a warning is not enough.
#[test]
fn nothing_without_an_effect_changes_where_traffic_goes() {
    for section in sections() {
        for row in &section.rows {
            let is_harmless = !row.keeps.is_empty();
            assert_eq!(
                row.does == Verdict::NoEffect,
                is_harmless,
                "{}: {} = {}: `keeps` says why it is harmless to pass it over, and stands nowhere else",
                section.title,
                row.key,
                row.sample
            );
        }
    }
}

/// All words of the sources are put where the keys of a section stand; those that are not warned about
/// are keys that the reader knows.
#[test]
fn every_key_that_is_read_has_its_row() {
    let words = words();
    assert!(words.contains("earlyDataHeaderName"));
    let mut missing = Vec::new();
    let (mut read, mut passed_over) = (0, 0);
    for section in sections() {
        let mut config = section.config(None);
        let path = fill(&mut config, |object| {
            // Two spellings of one key would be one key.
            let rows = section.rows.iter().map(|row| &row.key);
            let known = object.keys().chain(rows).chain(&section.also);
            let letters = |key: &String| key.to_lowercase().replace('_', "");
            let mut taken: BTreeSet<String> = known.map(letters).collect();
            let new = words.iter().filter(|word| taken.insert(letters(word)));
            object.extend(new.map(|word| (word.clone(), json!(5.5))));
            object.insert("zzNonsense".to_owned(), json!(5.5));
        });
        let (_, warnings) = load_value(&config);
        let unknown: BTreeSet<&str> = warnings
            .iter()
            .filter_map(|line| line.strip_prefix(&path)?.split_once(": unknown key"))
            .map(|(key, _)| key.trim_start_matches('.'))
            .collect();
        if !unknown.contains("zzNonsense") {
            // Nobody looks into it: then nothing in it can work.
            if section.rows.iter().any(|row| row.does == Verdict::Works) {
                missing.push(format!("{}: {path} is not read key by key", section.title));
            }
            passed_over += 1;
            continue;
        }
        read += 1;
        let object = at(&config, &path);
        let rows: BTreeSet<&str> = section.rows.iter().map(|row| &*row.key).collect();
        for key in object.keys().filter(|key| words.contains(*key)) {
            if !unknown.contains(&**key) && !rows.contains(&**key) {
                missing.push(format!("{}: {key}", section.title));
            }
        }
    }
    assert!(
        missing.is_empty(),
        "keys that are read, without a row:\n{}",
        missing.join("\n")
    );
    assert!(
        read > 40 && passed_over < 10,
        "{read} sections are read, {passed_over} are not"
    );
}

/// V2Ray passes over what it does not know, and refuses what it knows and cannot read: so a number that
/// fits nowhere shows which keys it reads.
#[test]
fn v2ray_reads_the_keys_that_are_said_to_be_its() {
    let sections = sections();
    let stage = Stage::new();
    let half = sections.len().div_ceil(2);
    let wrong: Vec<String> = std::thread::scope(|scope| {
        let halves: Vec<_> = sections
            .chunks(half)
            .enumerate()
            .map(|(n, sections)| {
                let file = stage.path(&format!("{n}.json"));
                scope.spawn(move || {
                    sections
                        .iter()
                        .flat_map(|s| asked(&file, s))
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        let answers = halves
            .into_iter()
            .map(|half| half.join().expect("no panic"));
        answers.flatten().collect()
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What V2Ray has against a section.
fn asked(file: &Path, section: &Section) -> Vec<String> {
    let mut known: HashMap<String, bool> = HashMap::new();
    let mut accepts = |config: Value| {
        let text = config.to_string();
        *known.entry(text).or_insert_with_key(|text| {
            fs::write(file, text).expect("the test's folder is ours");
            let mut v2ray = Command::new(geodata().join("v2ray"));
            v2ray.arg("-test").arg("-config").arg(file);
            let output = v2ray.current_dir(root()).output();
            output.expect("V2Ray runs").status.success()
        })
    };
    let mut wrong = Vec::new();
    let mut say = |row: &Row, what: &str| {
        wrong.push(format!(
            "{}: {} = {}: {what}",
            section.title, row.key, row.sample
        ));
    };
    for row in &section.rows {
        let [nothing, sample, nonsense] = [None, Some(&row.sample), Some(&json!(5.5))]
            .map(|value| accepts(row.config(section, value)));
        // A sample may need what makes no sense without it.
        let (sound, reads) = (nothing || sample, !nonsense);
        match (row.by().0, sound) {
            (true, false) => say(row, "V2Ray refuses what stands around it"),
            (true, true) if !reads => say(row, "V2Ray does not read it"),
            (true, true) if !sample => say(row, "V2Ray refuses the sample"),
            (false, true) if reads && sample => say(row, "V2Ray reads it"),
            _ => {}
        }
    }
    wrong
}

#[test]
fn the_document_shows_the_table() {
    let file = root().join("docs/compatibility.md");
    let text = fs::read_to_string(&file).expect("docs/compatibility.md");
    let (before, rest) = text.split_once(BEGIN).expect("where the tables begin");
    let (_, after) = rest.split_once(END).expect("where the tables end");
    let expected = format!("{before}{BEGIN}\n{}{END}{after}", tables());
    if std::env::var_os("WRITE_EXPECTED").is_some() {
        fs::write(&file, &expected).expect("the document can be written");
    }
    let differs = expected.lines().zip(text.lines()).find(|(a, b)| a != b);
    assert!(
        expected == text || std::env::var_os("WRITE_EXPECTED").is_some(),
        "docs/compatibility.md is not what testdata/compatibility.json makes, first at {differs:?}"
    );
}

#[test]
fn every_link_of_the_table_leads_to_a_heading() {
    let text = fs::read_to_string(root().join("docs/config.md")).expect("docs/config.md");
    let anchors: BTreeSet<String> = text
        .lines()
        .filter_map(|line| line.strip_prefix('#'))
        .map(|line| anchor(line.trim_start_matches('#').trim()))
        .collect();
    for section in sections() {
        assert!(
            anchors.contains(&section.link),
            "{}: no #{}",
            section.title,
            section.link
        );
    }
}

/// Those that end by themselves are run; `integration/cli.rs` has the others.
#[test]
fn commands_do_what_the_document_says() {
    let stage = Stage::new();
    stage.write(
        "config.json",
        r#"{"inbounds": [{"listen": "127.0.0.1", "port": 1, "protocol": "socks"}], "outbounds": [{"protocol": "freedom"}]}"#,
    );
    let text = fs::read_to_string(root().join("docs/compatibility.md")).expect("it is there");
    let commands = text
        .split("## Commands")
        .nth(1)
        .and_then(|rest| rest.split("## Keys").next());
    let mut tried = 0;
    for line in commands.expect("the two headings").lines() {
        let Some((command, rest)) = line.strip_prefix("| `").and_then(|row| row.split_once('`'))
        else {
            continue;
        };
        if command.starts_with("run ")
            || command.starts_with("-config ")
            || command.starts_with("api ")
        {
            continue;
        }
        let words = command.replace("FILE", "config.json").replace("DIR", ".");
        let output = mobula()
            .args(words.split(' '))
            .current_dir(stage.path(""))
            .output();
        let output = output.expect("mobula runs");
        let works = rest.contains("| works |");
        assert_ne!(works, rest.contains("**refused**"), "{line}");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.success(), works, "{command}: {said}");
        tried += 1;
    }
    assert!(tried >= 10, "{tried} commands");
}

const BEGIN: &str = "<!-- written by the test `compatibility` -->";
const END: &str = "<!-- up to here -->";

fn tables() -> String {
    let mut out = String::new();
    for section in sections() {
        let Section {
            title,
            link,
            rows,
            also,
            ..
        } = &section;
        out += &format!("\n### {title}\n\n[More](config.md#{link}).\n\n");
        out += "| key | V2Ray 4 | V2Ray 5 | mobula | |\n|---|---|---|---|---|\n";
        for row in rows {
            let several = rows.iter().filter(|other| other.key == row.key).count() > 1;
            let key = if several {
                format!("{}: {}", row.key, row.sample)
            } else {
                row.key.clone()
            };
            let (four, five) = row.by();
            let four = if four { "yes" } else { "–" };
            let does = match row.does {
                Verdict::Works => "works",
                Verdict::Accepted => "accepted",
                Verdict::NoEffect => "no effect",
                Verdict::Refused => "**refused**",
            };
            let notes = [&*row.note, &*row.keeps].map(|note| (!note.is_empty()).then_some(note));
            let notes: Vec<&str> = notes.into_iter().flatten().collect();
            out += &format!(
                "| `{}` | {four} | {five} | {does} | {} |\n",
                key.replace('|', "\\|"),
                notes.join("; ")
            );
        }
        if !also.is_empty() {
            out += &format!("\nUnderstood here too: `{}`.\n", also.join("`, `"));
        }
    }
    out + "\n"
}

/// As GitHub makes it of a heading.
pub fn anchor(heading: &str) -> String {
    let kept = heading
        .chars()
        .filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

impl Section {
    /// The config with its hole, as a row wants it.
    fn config(&self, row: Option<&Row>) -> Value {
        let mut config = json!({
            "inbounds": [{"port": 10000, "protocol": "socks"}],
            "outbounds": [{"protocol": "freedom"}]
        });
        lay_over(&mut config, &self.into);
        if let Some(base) = row.and_then(|row| row.base.as_ref()) {
            lay_over(&mut config, base);
        }
        config
    }
}

impl Row {
    /// The config with this under the key, or with the key left out.
    fn config(&self, section: &Section, value: Option<&Value>) -> Value {
        let mut config = section.config(Some(self));
        fill(&mut config, |object| {
            object.extend(self.with.clone());
            if let Some(value) = value {
                object.insert(self.key.clone(), value.clone());
            }
        });
        config
    }

    /// Whether V2Ray 4 reads it, and what is to be said of V2Ray 5.
    fn by(&self) -> (bool, &'static str) {
        match &*self.by {
            "4 5" => (true, "yes"),
            "4" => (true, "–"),
            "5" => (false, "yes"),
            "jsonv5" => (false, "`jsonv5`"),
            "" => (false, "–"),
            other => panic!("`{other}` is not a V2Ray"),
        }
    }
}

/// Objects are merged key by key.
fn lay_over(config: &mut Value, over: &Value) {
    match (config, over) {
        (Value::Object(config), Value::Object(over)) => {
            for (key, value) in over {
                lay_over(config.entry(key).or_insert(Value::Null), value);
            }
        }
        (config, over) => *config = over.clone(),
    }
}

/// Puts keys where `HERE` stands, and gives the path of that place.
pub fn fill(config: &mut Value, put: impl FnOnce(&mut Map<String, Value>)) -> String {
    fn find(value: &Value, path: String) -> Option<(String, String)> {
        match value {
            Value::Object(map) if map.contains_key("HERE") => Some((path, String::new())),
            Value::Object(map) => map.iter().find_map(|(key, value)| {
                let (path, pointer) = find(value, dotted(&path, key))?;
                Some((path, format!("/{key}{pointer}")))
            }),
            Value::Array(items) => items.iter().enumerate().find_map(|(n, value)| {
                let (path, pointer) = find(value, format!("{path}[{n}]"))?;
                Some((path, format!("/{n}{pointer}")))
            }),
            _ => None,
        }
    }
    let (path, pointer) = find(config, String::new()).expect("there is a HERE");
    let object = config.pointer_mut(&pointer).and_then(Value::as_object_mut);
    let object = object.expect("it was just found");
    object.remove("HERE");
    put(object);
    path
}

fn dotted(path: &str, key: &str) -> String {
    if path.is_empty() {
        key.to_owned()
    } else {
        format!("{path}.{key}")
    }
}

/// The object at a path such as `inbounds[0].settings`.
fn at<'a>(config: &'a Value, path: &str) -> &'a Map<String, Value> {
    let pointer = path.replace('[', ".").replace(']', "");
    let steps = pointer.split('.').filter(|step| !step.is_empty());
    let pointer: String = steps.map(|step| format!("/{step}")).collect();
    config
        .pointer(&pointer)
        .and_then(Value::as_object)
        .expect("the hole is an object")
}

/// Errors and warnings.
fn load_value(config: &Value) -> (Vec<String>, Vec<String>) {
    load_as(config, Format::V4)
}

fn load_as(config: &Value, format: Format) -> (Vec<String>, Vec<String>) {
    let input = Input::Text {
        name: "config".to_owned(),
        // In many lines, for columns are counted from the beginning of one.
        text: format!("{config:#}"),
    };
    let loaded = load(&[input], format);
    let lines = |messages: Vec<Message>| messages.iter().map(ToString::to_string).collect();
    (lines(loaded.errors), lines(loaded.warnings))
}

/// Everything in quotes in the sources that may be a key.
fn words() -> BTreeSet<String> {
    fn collect(folder: &Path, words: &mut BTreeSet<String>) {
        for entry in fs::read_dir(folder).expect("the sources").flatten() {
            let path = entry.path();
            if path.is_dir() {
                collect(&path, words);
                continue;
            }
            let text = fs::read_to_string(&path).unwrap_or_default();
            let words_here = text.split('"').filter(|word| {
                word.starts_with(|c: char| c.is_ascii_alphabetic())
                    && word.chars().all(|c| c.is_ascii_alphanumeric())
            });
            words.extend(words_here.map(str::to_owned));
        }
    }
    let mut words = BTreeSet::new();
    collect(&root().join("src"), &mut words);
    let notes = [
        "HERE",
        "comment",
        "comments",
        "description",
        "note",
        "ps",
        "remark",
        "remarks",
    ];
    words.retain(|word| !notes.contains(&&**word));
    words
}
