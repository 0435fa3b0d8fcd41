//! `testdata/configs`: what must load, and what must not, with the exact words.
//!
//! Beside each `bad/NAME.json` stands `bad/NAME.txt`: the lines that `mobula test` prints, without
//! its warnings. Where `good/NAME.txt` stands, it has the warnings. `WRITE_EXPECTED=1 cargo test --test integration loading` writes these files anew, to
//! be read before they are committed.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::peers::Stage;

#[test]
fn every_good_config_is_good() {
    let files = json_files("good");
    assert!(files.len() >= 25, "there are {} good configs", files.len());
    let mut wrong = String::new();
    for file in files {
        let output = tested(&file);
        if output.status.code() != Some(0) || output.stdout != b"Configuration OK.\n" {
            let said = String::from_utf8_lossy(&output.stderr);
            wrong.push_str(&format!("{}:\n{said}\n", file.display()));
        }
        let expected_file = file.with_extension("txt");
        let Ok(expected) = fs::read_to_string(&expected_file) else {
            continue;
        };
        let said = String::from_utf8_lossy(&output.stderr);
        if std::env::var_os("WRITE_EXPECTED").is_some() {
            fs::write(&expected_file, &*said).unwrap();
        } else if said != expected {
            wrong.push_str(&format!(
                "{}:\n{said}expected:\n{expected}\n",
                file.display()
            ));
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn every_bad_config_is_refused_in_these_words() {
    let files = json_files("bad");
    assert!(files.len() >= 60, "there are {} bad configs", files.len());
    let mut wrong = String::new();
    for file in files {
        let output = tested(&file);
        let said: String = String::from_utf8_lossy(&output.stderr)
            .lines()
            .filter(|line| !line.starts_with("warning: ") && !is_excerpt(line))
            .map(|line| format!("{line}\n"))
            .collect();
        let expected_file = file.with_extension("txt");
        if std::env::var_os("WRITE_EXPECTED").is_some() {
            fs::write(&expected_file, &said).unwrap();
        }
        let expected = fs::read_to_string(&expected_file).unwrap_or_default();
        if output.status.code() != Some(23) || said.is_empty() || said != expected {
            let code = output.status;
            wrong.push_str(&format!(
                "{} ({code}):\n{said}expected:\n{expected}\n",
                file.display()
            ));
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// Whether a line shows the config, or the mark below a line of it.
fn is_excerpt(line: &str) -> bool {
    let line = line
        .trim_start()
        .trim_start_matches(|c: char| c.is_ascii_digit());
    ["-->", "|", " |", "..."]
        .iter()
        .any(|mark| line.starts_with(mark))
}

#[test]
fn every_mistake_is_shown_where_it_stands_to_people_and_to_editors() {
    for file in json_files("bad") {
        let name = file.file_name().unwrap().to_string_lossy();
        let text = fs::read(&file).unwrap();
        let text = String::from_utf8_lossy(&text);
        let output = Command::new(env!("CARGO_BIN_EXE_mobula"))
            .args(["test", "--json", "-c", &name])
            .current_dir(file.parent().unwrap())
            .env("MOBULA_TEST_PORT", "8443")
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(23), "{name}");
        let messages: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
        let shown = String::from_utf8(tested(&file).stderr).unwrap();
        assert!(messages.iter().any(|m| m["severity"] == "error"), "{name}");
        for message in &messages {
            let (line, column) = (&message["line"], &message["column"]);
            if line.is_null() && message["path"].is_null() {
                // An empty file, say, has no place in it.
                continue;
            }
            let place = format!("{name}:{line}:{column}");
            let is_error = message["severity"] == "error";
            assert!(
                !is_error || shown.contains(&place),
                "{place} is not in\n{shown}"
            );
            let line = text
                .lines()
                .nth(line.as_u64().unwrap() as usize - 1)
                .unwrap();
            assert!(
                line.chars().count() >= column.as_u64().unwrap() as usize,
                "{place}"
            );
        }
    }
}

/// As V2Ray and Xray find it.
#[test]
fn a_config_is_found_where_nothing_names_it() {
    let good = |port: u16| {
        format!(
            r#"{{"inbounds": [{{"tag": "{port}", "listen": "127.0.0.1", "port": {port}, "protocol": "socks"}}], "outbounds": [{{"protocol": "freedom"}}]}}"#
        )
    };
    let bad = r#"{"outbounds": [{"tag": "x", "protocol": "freedon"}]}"#;
    let run = |stage: &Stage, args: &[&str], input: &str, folder: Option<&str>| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mobula"));
        command.args(args).current_dir(stage.path("."));
        if let Some(folder) = folder {
            command.env("XRAY_LOCATION_CONFDIR", stage.path(folder));
        }
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it runs");
        let mut stdin = child.stdin.take().expect("a pipe");
        stdin.write_all(input.as_bytes()).expect("a pipe");
        drop(stdin);
        let output = child.wait_with_output().expect("it ends");
        let said = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(said).expect("text"))
    };
    // What comes by a pipe.
    let stage = Stage::new();
    let (code, said) = run(&stage, &["test"], &good(1), None);
    assert!(
        code == Some(0) && said.contains("Configuration OK"),
        "{said}"
    );
    let (code, said) = run(&stage, &["-test"], bad, None);
    assert!(code == Some(23) && said.contains("freedon"), "{said}");
    let (code, said) = run(&stage, &["test"], "", None);
    assert!(
        code == Some(23) && said.contains("there is no config"),
        "{said}"
    );
    // A file in the working directory, whatever comes by a pipe, and no command.
    stage.write("config.jsonc", bad);
    let (code, said) = run(&stage, &["test"], &good(1), None);
    assert!(code == Some(23) && said.contains("freedon"), "{said}");
    let (code, said) = run(&stage, &[], "", None);
    assert!(code == Some(23) && said.contains("freedon"), "{said}");
    // A folder that the environment names counts before that, and beside `-c`.
    fs::create_dir(stage.path("d")).expect("a folder");
    stage.write("d/1.json", good(1));
    let (code, said) = run(&stage, &["test"], "", Some("d"));
    assert!(code == Some(0), "{said}");
    stage.write("c.json", bad);
    let (code, said) = run(&stage, &["test", "-c", "c.json"], "", Some("d"));
    assert!(code == Some(23) && said.contains("c.json"), "{said}");
    stage.write("d/2.json", bad);
    stage.write("c.json", good(2));
    let (code, said) = run(&stage, &["test", "-c", "c.json"], "", Some("d"));
    assert!(code == Some(23) && said.contains("2.json"), "{said}");
}

/// Editors find the place in what was written for other programs, too.
#[test]
fn a_mistake_in_another_form_has_its_place_for_editors() {
    let stage = Stage::new();
    let node = "    server: example.org\n    uuid: 27848739-7e62-4138-9fd3-098a63964b6b\n    alterId: 0\n    cipher: auto\n    port: ";
    for (file, flag, text, expected) in [
        (
            "clash.yaml",
            "-c",
            format!("proxies:\n  - name: a\n    type: vmess\n{node}99999 # no port\n"),
            ("proxies[0].port", 8, 11, "found 99999"),
        ),
        (
            "broken.yaml",
            "-c",
            "proxies:\n  - name: a\n    type: [vmess\n".to_owned(),
            ("", 4, 1, ""),
        ),
        (
            "sing-box.json",
            "-c",
            r#"{ // é
  "outbounds": [
    {"type": "direct", "tag": "a.b"},
    {"type": "trojan", "server": "example.org", "server_port": 99999, "password": "x"}
  ]
}"#
            .to_owned(),
            ("outbounds[1].server_port", 4, 64, "found 99999"),
        ),
        (
            "gost.yml",
            "-C",
            "services:\n- name: a\n  addr: :8080\n  handler:\n    type: socks9\n  listener:\n    type: tcp\n".to_owned(),
            ("services[0].handler.type", 5, 11, "socks9"),
        ),
        (
            "gost.json",
            "-C",
            "{\"services\": [{\"name\": \"a\", \"addr\": \":8080\",\n \"handler\": {\"type\": \"socks9\"}, \"listener\": {\"type\": \"tcp\"}}]}".to_owned(),
            ("services[0].handler.type", 2, 22, "socks9"),
        ),
    ] {
        let path = stage.write(file, text);
        let mut command = Command::new(env!("CARGO_BIN_EXE_mobula"));
        let command = command.args(["test", "--json", flag]).arg(&path);
        let output = command.output().expect("it runs");
        assert_eq!(output.status.code(), Some(23), "{file}");
        let messages: Vec<Value> = serde_json::from_slice(&output.stdout).expect("JSON");
        let (at, line, column, said) = expected;
        let found = messages.iter().any(|message| {
            let text = message["message"].as_str().unwrap_or_default();
            message["path"].as_str().unwrap_or_default() == at
                && message["line"] == line
                && message["column"] == column
                && message["file"] == path.to_str().expect("a path")
                && message["severity"] == "error"
                && text.contains(said)
                && !text.contains("x:")
        });
        assert!(found, "{file}: {messages:#?}");
    }
}

/// Files are named as seen from their folder, so that messages do not depend on where the project is.
fn tested(file: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_mobula"))
        .arg("test")
        .arg("-c")
        .arg(file.file_name().unwrap())
        .current_dir(file.parent().unwrap())
        .env("MOBULA_TEST_PORT", "8443")
        .output()
        .unwrap()
}

fn json_files(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("testdata/configs")
        .join(folder);
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "json"))
        .collect();
    files.sort();
    files
}

#[test]
fn every_key_that_is_read_is_documented() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let docs = fs::read_to_string(root.join("docs/config.md")).unwrap();
    let mut missing = Vec::new();
    for file in config_sources(&root.join("src")) {
        let text = fs::read_to_string(&file).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        for key in keys(code) {
            let name = docs.contains(&format!("`{key}`")) || docs.contains(&format!("{key}: "));
            let listed = docs.contains(&format!(", {key}")) || docs.contains(&format!("{{{key}"));
            if !name && !listed {
                missing.push(format!("{}: {key}", file.display()));
            }
        }
    }
    assert!(missing.is_empty(), "not in docs/config.md: {missing:#?}");
}

/// What stands in quotes behind the words that read one key.
fn keys(code: &str) -> Vec<&str> {
    let mut keys = Vec::new();
    for word in READERS {
        for (at, _) in code.match_indices(word) {
            let rest = code[at + word.len()..].trim_start();
            let list = rest.strip_prefix("&[").and_then(|r| r.split(']').next());
            let text = list.unwrap_or_else(|| rest.split([',', ')']).next().unwrap_or_default());
            if text.trim_start().starts_with('"') {
                keys.extend(text.split('"').skip(1).step_by(2));
            }
        }
    }
    keys
}

const READERS: [&str; 7] = [
    ".read(",
    ".read_or(",
    ".get(",
    ".require(",
    ".first(",
    ".array(",
    ".object(",
];

fn config_sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(config_sources(&path));
        } else if path.ends_with("config.rs")
            || path.parent().is_some_and(|p| p.ends_with("config"))
        {
            found.push(path);
        }
    }
    found
}
