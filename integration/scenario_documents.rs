//! What the documents show works as it stands there.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use crate::configs;
use crate::peers::{Stage, mobula, root, system};

/// The fenced blocks of README and docs that are marked as `language`, each with its place.
pub fn blocks(language: &str) -> Vec<(String, String)> {
    let mut files: Vec<PathBuf> = fs::read_dir(root().join("docs"))
        .expect("there are docs")
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
        .collect();
    files.push(root().join("README.md"));
    let mut found = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).expect("docs are text");
        let mut lines = text.lines().enumerate();
        while let Some((n, line)) = lines.next() {
            if line.trim() == format!("```{language}") {
                let block: Vec<_> = lines
                    .by_ref()
                    .map(|(_, line)| line)
                    .take_while(|line| line.trim() != "```")
                    .collect();
                let name = file.file_name().unwrap_or_default().to_string_lossy();
                found.push((format!("{name}:{}", n + 2), block.join("\n")));
            }
        }
    }
    found
}

/// A block is whole when it is an object with inbounds or outbounds and names no file to fill in.
#[test]
fn every_whole_config_in_the_documents_loads() {
    let stage = Stage::new();
    let mut whole = 0;
    for (place, text) in blocks("json") {
        let starts = text.trim_start().starts_with('{');
        if !starts || !text.contains("bounds\"") || text.contains("/path/to/") {
            continue;
        }
        whole += 1;
        let file = stage.write("config.json", &text);
        let output = mobula().args(["test", "-c"]).arg(file).output();
        let output = output.expect("mobula runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{place}: {said}\n{text}");
    }
    assert!(whole >= 2, "{whole} whole configs in the documents");
}

#[test]
fn every_nginx_block_in_the_documents_loads() {
    let found = blocks("nginx");
    assert!(!found.is_empty());
    for (place, text) in found {
        let stage = Stage::new();
        let server = if text.trim_start().starts_with("server") {
            continue;
        } else {
            format!("listen 127.0.0.1:1;\n{text}")
        };
        let file = configs::nginx(&stage, &server);
        let mut nginx = system("nginx");
        nginx.arg("-t").arg("-p").arg(stage.path(""));
        let output = nginx.arg("-c").arg(file).output().expect("nginx runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{place}: {said}\n{text}");
    }
}

#[test]
fn the_two_commands_of_the_readme_are_there() {
    let shown: Vec<String> = blocks("sh")
        .into_iter()
        .filter(|(place, _)| place.starts_with("README.md:"))
        .map(|(_, text)| text)
        .collect();
    assert_eq!(shown, ["cargo run --release -- run", "integration/test"]);
    for script in [
        "integration/test",
        "integration/bench/run",
        "integration/fuzz/run",
        "integration/dependencies",
        ".ci/run",
    ] {
        let metadata = fs::metadata(root().join(script)).expect(script);
        let mode = metadata.permissions().mode();
        assert_eq!(mode & 0o111, 0o111, "{script} can be executed by everyone");
    }
}
