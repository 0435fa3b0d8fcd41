//! What V2Ray 4.45 starts with although something is wrong: mobula starts with it as well and warns, or the table says why
//! it does not.
//!
//! `testdata/blemishes.json` is the table: a config, and what is said of it. V2Ray is asked about every one.

use std::fs;
use std::process::Command;

use mobula::dialect::v2ray::{Format, Input, load};
use serde::Deserialize;
use serde_json::Value;

use crate::peers::{Stage, geodata, root};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Blemish {
    what: String,
    config: Value,
    /// Warnings, or errors where it is refused.
    says: Vec<String>,
    /// Why it does not start here.
    #[serde(default)]
    refused: Option<String>,
}

fn blemishes() -> Vec<Blemish> {
    let text = fs::read_to_string(root().join("testdata/blemishes.json")).expect("the table");
    serde_json::from_str(&text).expect("the table is sound")
}

#[test]
fn what_v2ray_starts_with_starts_or_says_why_not() {
    let mut wrong = Vec::new();
    for blemish in blemishes() {
        let text = blemish.config.to_string();
        let name = "c.json".to_owned();
        let loaded = load(&[Input::Text { name, text }], Format::V4);
        let starts = loaded.config.is_some();
        let said = if starts {
            loaded.warnings
        } else {
            loaded.errors
        };
        let said: Vec<String> = said.iter().map(ToString::to_string).collect();
        let missing = blemish.says.iter().any(|line| !said.contains(line));
        if starts == blemish.refused.is_some() || missing {
            wrong.push(format!("{}: starts: {starts}, {said:#?}", blemish.what));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn v2ray_starts_with_each() {
    let stage = Stage::new();
    let file = stage.path("c.json");
    for blemish in blemishes() {
        fs::write(&file, blemish.config.to_string()).expect("the test's folder is ours");
        let mut v2ray = Command::new(geodata().join("v2ray"));
        v2ray.arg("-test").arg("-config").arg(&file);
        let output = v2ray.current_dir(root()).output().expect("V2Ray runs");
        assert!(
            output.status.success(),
            "{}: V2Ray refuses it",
            blemish.what
        );
    }
}
