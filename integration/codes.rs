//! Each code that a log line may end with is explained.

use std::collections::BTreeSet;
use std::fs;

use crate::peers::root;

/// What stands between quotes in the functions named `code`.
fn codes() -> BTreeSet<String> {
    let mut codes = BTreeSet::new();
    let files = fs::read_dir(root().join("src/cause")).expect("the room is there");
    for file in files.flatten() {
        let text = fs::read_to_string(file.path()).expect("sources are text");
        let functions = text.split("fn code(&self)").skip(1);
        for function in functions {
            let body = function.split("\n    }\n").next().unwrap_or_default();
            let quoted = body.split('"').skip(1).step_by(2);
            codes.extend(quoted.map(str::to_owned));
        }
    }
    codes
}

#[test]
fn every_code_is_in_the_table() {
    let docs = fs::read_to_string(root().join("docs/troubleshooting.md")).expect("it is there");
    let codes = codes();
    assert!(codes.len() > 50 && codes.contains("ws-path"), "{codes:?}");
    // A status stands for all of them.
    let missing: Vec<&String> = codes
        .iter()
        .filter(|code| !code.contains('{'))
        .filter(|code| !docs.contains(&format!("`{code}`")))
        .collect();
    assert!(
        missing.is_empty(),
        "docs/troubleshooting.md says nothing about {missing:?}"
    );
}
