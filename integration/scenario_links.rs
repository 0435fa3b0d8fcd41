//! Every link of README and docs that leads to a file or a heading of ours leads somewhere.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::peers::root;

#[test]
fn every_relative_link_leads_somewhere() {
    let mut wrong = Vec::new();
    let mut checked = 0;
    for file in documents() {
        let text = fs::read_to_string(&file).expect("docs are text");
        for (line, target) in links(&text) {
            if target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            checked += 1;
            if let Err(reason) = leads_somewhere(&file, &target) {
                let place = file.strip_prefix(root()).unwrap_or(&file).display();
                wrong.push(format!("{place}:{line}: ({target}) {reason}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(checked >= 10, "{checked} links were found");
}

/// The check itself.
#[test]
fn a_dead_link_is_seen() {
    let text = "# One `two` & three\n[a](b.md) and ![c](d.png \"title\")\n```\n[no](code)\n```\n`[no](code)`\n\
                [e]: f.md#g\n## One\n## One\n";
    let found: Vec<_> = links(text).into_iter().map(|(_, target)| target).collect();
    assert_eq!(found, ["b.md", "d.png", "f.md#g"]);
    assert_eq!(anchors(text), ["one-two--three", "one", "one-1"]);
    let readme = root().join("README.md");
    for (target, fine) in [
        ("docs/config.md", true),
        ("docs/config.md#several-files", true),
        ("#what-is-compatible", true),
        ("docs", true),
        ("docs/confg.md", false),
        ("docs/config.md#several-fils", false),
        ("#nowhere", false),
    ] {
        let result = leads_somewhere(&readme, target);
        assert_eq!(result.is_ok(), fine, "{target}: {result:?}");
    }
}

fn documents() -> Vec<PathBuf> {
    let docs = fs::read_dir(root().join("docs")).expect("there are docs");
    let mut files: Vec<PathBuf> = docs.flatten().map(|entry| entry.path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
    files.extend(["README.md", "CHANGELOG.md"].map(|name| root().join(name)));
    files.sort();
    files
}

fn leads_somewhere(from: &Path, target: &str) -> Result<(), String> {
    let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
    let file = match path {
        "" => from.to_owned(),
        path => from.parent().expect("a file is in a folder").join(path),
    };
    if !file.exists() {
        return Err("there is no such file".to_owned());
    }
    if anchor.is_empty() {
        return Ok(());
    }
    let text = fs::read_to_string(&file).map_err(|error| error.to_string())?;
    let there = anchors(&text);
    match there.iter().any(|one| one == anchor) {
        true => Ok(()),
        false => Err(format!("there is no such heading, there are {there:?}")),
    }
}

/// The lines that are prose, with their numbers.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fenced = false;
    text.lines().enumerate().filter_map(move |(n, line)| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        (!fenced && !fence).then_some((n + 1, line))
    })
}

/// Where `[text](target)` and `[name]: target` lead, with the number of the line.
fn links(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (n, line) in prose(text) {
        // Every other piece between backquotes is code.
        let line: Vec<_> = line.split('`').step_by(2).collect();
        let line = line.join("");
        let target = |rest: &str| rest.split([')', ' ']).next().map(str::to_owned);
        for (at, _) in line.match_indices("](") {
            found.extend(target(&line[at + 2..]).map(|target| (n, target)));
        }
        if let Some((_, rest)) = line.split_once("]: ").filter(|_| line.starts_with('[')) {
            found.extend(target(rest).map(|target| (n, target)));
        }
    }
    found
}

/// What GitHub makes of the headings: letters, digits, `-` and `_` stay, spaces become `-`, and the same
/// once more has a number.
fn anchors(text: &str) -> Vec<String> {
    let mut seen: HashMap<String, usize> = HashMap::new();
    let mut found = Vec::new();
    for (_, line) in prose(text) {
        let title = line.trim_start_matches('#');
        if title.len() == line.len() || !title.starts_with(' ') {
            continue;
        }
        let kept = |c: char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
        let plain: String = title
            .trim()
            .to_lowercase()
            .chars()
            .filter(|c| kept(*c))
            .collect();
        let anchor = plain.replace(' ', "-");
        let times = seen.entry(anchor.clone()).or_default();
        found.push(match *times {
            0 => anchor,
            n => format!("{anchor}-{n}"),
        });
        *times += 1;
    }
    found
}
