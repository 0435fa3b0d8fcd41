//! `mobula man`: a page for each command, of the words that `--help` has.

use std::collections::BTreeSet;
use std::fs;

use crate::peers::{Stage, mobula, root};

#[test]
fn every_command_has_a_page() {
    let stage = Stage::new();
    let folder = stage.path("man/one");
    let made = mobula().arg("man").arg("--out").arg(&folder).output();
    let made = made.expect("mobula runs");
    let said = String::from_utf8_lossy(&made.stderr);
    assert!(made.status.success(), "{said}");
    let pages = fs::read_dir(&folder).expect("it was made").flatten();
    let pages: BTreeSet<String> = pages
        .filter_map(|page| page.file_name().into_string().ok())
        .collect();
    // The document is held to what the program says.
    let document = fs::read_to_string(root().join("docs/cli.md")).expect("it is there");
    let headings = document.lines().filter_map(|line| {
        let heading = line
            .strip_prefix("## ")
            .or_else(|| line.strip_prefix("### "))?;
        heading
            .starts_with("mobula ")
            .then(|| heading.replace(' ', "-") + ".1")
    });
    let mut expected: BTreeSet<String> = headings.collect();
    expected.insert("mobula.1".to_owned());
    let missing: Vec<_> = expected.difference(&pages).collect();
    assert!(
        missing.is_empty() && expected.len() > 20,
        "{missing:?} of {pages:?}"
    );
    let page = fs::read_to_string(folder.join("mobula-run.1")).expect("it was made");
    for part in [".TH mobula-run 1", ".SH SYNOPSIS", "\\-\\-config"] {
        assert!(page.contains(part), "{part}: {page}");
    }
    let printed = mobula().args(["man", "run"]).output().expect("mobula runs");
    assert!(String::from_utf8_lossy(&printed.stdout).contains(".SH OPTIONS"));
    let lost = mobula().args(["man", "rum"]).output().expect("mobula runs");
    assert_eq!(lost.status.code(), Some(2));
    let said = String::from_utf8_lossy(&lost.stderr);
    assert!(
        said.contains("there is no command `rum`") && said.contains("`run`"),
        "{said}"
    );
}

/// What a package is made of is there, or made by `integration/package`.
#[test]
fn a_package_names_files_that_exist() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).expect("it is there");
    let assets = manifest
        .split("\nassets = [\n")
        .nth(1)
        .expect("the package has assets");
    let assets = assets.split("\n]").next().unwrap_or_default();
    let mut looked_at = 0;
    for line in assets.lines() {
        let source = line.split('"').nth(1).expect("a source");
        if source.starts_with("target/") || source.starts_with("build/") {
            continue;
        }
        looked_at += 1;
        let path = root().join(source.trim_end_matches('*'));
        assert!(path.exists(), "{source}");
    }
    assert!(looked_at >= 3);
    for script in ["postinst", "postrm"] {
        let text = fs::read_to_string(root().join("integration/debian").join(script));
        let text = text.expect("the package has it");
        assert!(text.starts_with("#!/bin/sh\nset -e\n") && text.contains("#DEBHELPER#"));
    }
}
