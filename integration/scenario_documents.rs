//! What the documents show works as it stands there.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::sleep;

use crate::configs;
use crate::peers::Peer::Mobula;
use crate::peers::{Stage, free_port, mobula, root, system};
use crate::scenario_spans::CLIENT_STEPS;

/// The fenced blocks of README and docs that are marked as `language`, each with its place.
pub fn blocks(language: &str) -> Vec<(String, String)> {
    let all = fences().into_iter();
    all.filter(|(_, other, _)| other == language)
        .map(|(place, _, text)| (place, text))
        .collect()
}

/// All fenced blocks: place, language, text.
fn fences() -> Vec<(String, String, String)> {
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
            if let Some(language) = line.trim().strip_prefix("```") {
                let block: Vec<_> = lines
                    .by_ref()
                    .map(|(_, line)| line)
                    .take_while(|line| line.trim() != "```")
                    .collect();
                let name = file.file_name().unwrap_or_default().to_string_lossy();
                let place = format!("{name}:{}", n + 2);
                found.push((place, language.to_owned(), block.join("\n")));
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

/// A part of a config loads where it belongs, and each of its keys is one.
#[test]
fn every_part_of_a_config_in_the_documents_loads() {
    let stage = Stage::new();
    let mut parts = 0;
    for (place, text) in blocks("json") {
        if text.trim_start().starts_with('{') && text.contains("bounds\"") {
            continue;
        }
        parts += 1;
        let object = match text.trim_start().starts_with('{') {
            true => text.clone(),
            false => format!("{{{text}}}"),
        };
        let part: Value = serde_json::from_str(&object).unwrap_or_else(|e| panic!("{place}: {e}"));
        let keys: Vec<&str> = part
            .as_object()
            .expect("keys")
            .keys()
            .map(String::as_str)
            .collect();
        let mut stream = json!({"network": "ws"});
        let mut config = json!({});
        match keys[..] {
            ["streamSettings"] => stream = part["streamSettings"].clone(),
            ["wsSettings"] => stream["wsSettings"] = part["wsSettings"].clone(),
            ["log"] => config["log"] = part["log"].clone(),
            _ => panic!("{place}: where do {keys:?} belong?"),
        }
        if stream["tlsSettings"].is_object() {
            let certificate = configs::Certificate::new(&stage);
            stream["tlsSettings"]["certificates"][0] =
                json!({"certificateFile": certificate.chain, "keyFile": certificate.key});
        }
        config["outbounds"] = json!([{"protocol": "freedom"}]);
        config["inbounds"] = json!([{
            "listen": "127.0.0.1", "port": 10000, "protocol": "vmess", "streamSettings": stream,
            "settings": {"clients": [{"id": "5c3ae1b2-9d10-4f6e-8a77-0e1f4b6c2d93"}]},
        }]);
        let file = stage.write("config.json", config.to_string());
        let output = mobula().args(["test", "-strict", "-c"]).arg(file).output();
        let output = output.expect("mobula runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{place}: {said}\n{config:#}");
    }
    assert!(parts >= 3, "{parts} parts of configs in the documents");
}

/// Whoever adds a block says here what runs it.
#[test]
fn there_is_no_block_that_no_test_knows() {
    for (place, language, text) in fences() {
        let (document, _) = place.split_once(':').expect("a line");
        let known = match (&language[..], document) {
            // Above.
            ("json" | "nginx", _) => true,
            // `scenario_recipes`.
            ("haproxy" | "caddyfile", "nginx.md") => true,
            // `scenario_service`.
            ("ini", "service.md") => true,
            // `scenario_fail2ban`.
            ("ini", "watching.md") => true,
            ("jsonc", "sing-box.md") => true,
            // `scenario_transparent`.
            ("nft" | "sh", "transparent-proxy.md") => true,
            // Below.
            ("sh", "README.md" | "contributing.md" | "benchmarks.md") => true,
            // `scenario_gost`.
            ("sh" | "yaml", "gost.md") => true,
            // `scenario_probe`.
            ("yaml", "probe.md") => true,
            // `scenario_scripts`.
            ("js", "probe.md") => true,
            // `scenario_ws`.
            ("html" | "python", "ws.md") => true,
            ("console", _) => true,
            ("text", "config.md" | "troubleshooting.md") => true,
            // `command_line`.
            ("text", "cli.md") => true,
            // `interop_share_links`.
            ("text", "share-links.md") => true,
            // `scenario_convert`.
            ("text", "convert.md") => true,
            // `scenario_tunnel`.
            ("toml", "tunnel.md") => true,
            // Pictures.
            ("text", "architecture.md" | "benchmarks.md") => !text.contains("mobula "),
            _ => false,
        };
        assert!(known, "{place}: no test runs this `{language}`:\n{text}");
    }
}

/// The words of each command that is shown, without who runs it and its environment.
fn commands(language: &str) -> Vec<(String, Vec<String>)> {
    let mut found = Vec::new();
    for (place, text) in blocks(language) {
        for line in text.lines() {
            let line = match language {
                // Its output stands there as well.
                "console" => match line.strip_prefix("$ ") {
                    Some(line) => line,
                    None => continue,
                },
                _ => line.split('#').next().unwrap_or_default(),
            };
            for command in line.split(" | ") {
                let words = command.split_whitespace().map(str::to_owned);
                let is_prefix =
                    |word: &String| word == "sudo" || word.contains('=') && !word.starts_with('-');
                let words: Vec<String> = words.skip_while(is_prefix).collect();
                if !words.is_empty() {
                    found.push((place.clone(), words));
                }
            }
        }
    }
    found
}

#[test]
fn every_command_in_the_documents_is_one() {
    let shown = commands("console").into_iter().chain(commands("sh"));
    let shown = shown.filter(|(place, _)| !place.starts_with("transparent-proxy.md"));
    let mut ours = 0;
    for (place, words) in shown {
        let program = words[0].as_str();
        let flags = words
            .iter()
            .filter(|word| word.starts_with('-') && word.len() > 1);
        match program {
            "mobula" => {
                ours += 1;
                let named = words[1..].iter().take_while(|word| !word.starts_with('-'));
                let depth = if words[1] == "api" { 2 } else { 1 };
                let output = mobula().args(named.take(depth)).arg("--help").output();
                let output = output.expect("mobula runs");
                let help = String::from_utf8_lossy(&output.stdout);
                assert!(output.status.success(), "{place}: {words:?}");
                for flag in flags {
                    // V2Ray's spelling of it does as well.
                    let flag = format!("-{}", flag.trim_start_matches('-'));
                    assert!(help.contains(&flag), "{place}: {flag} of {words:?}");
                }
            }
            "cargo" => {
                let parts = ["build", "run", "test", "bench"];
                assert!(parts.contains(&words[1].as_str()), "{place}: {words:?}");
            }
            script if script.starts_with("integration/") => {
                let text = fs::read_to_string(root().join(script)).expect(script);
                for flag in flags {
                    let is_known = text.contains(flag.as_str()) || script.ends_with("bench/run");
                    assert!(is_known, "{place}: {flag} of {words:?}");
                }
            }
            "apt" | "sh" | "curl" | "ss-server" | "ss-local" | "install" | "useradd" | "ln"
            | "dpkg-divert" | "systemctl" | "journalctl" | "printf" | "head" | "wc" => {
                // It is there.
                system(program);
            }
            // `scenario_gost` runs them.
            "gost" => {}
            other => panic!("{place}: what is {other}?"),
        }
    }
    assert!(ours >= 5, "{ours} commands of ours");
}

/// What the log section shows is what such a config writes.
#[tokio::test]
async fn the_log_says_what_the_documents_show() {
    let all = blocks("text");
    let of = |document: &str| {
        let found = all.iter().find(|(place, _)| place.starts_with(document));
        found.expect("lines of a log").1.clone()
    };
    let wanted: Vec<String> = of("config.md:").lines().map(without_time).collect();
    let mut stage = Stage::new();
    let port = free_port();
    let outbounds = json!([{"protocol": "freedom"}]);
    let config = json!({"outbounds": outbounds, "inbounds": [{
        "tag": "in", "listen": "127.0.0.1", "port": port, "protocol": "vmess",
        "settings": {"clients": [{"id": "5c3ae1b2-9d10-4f6e-8a77-0e1f4b6c2d93"}]},
        "streamSettings": {"network": "ws", "wsSettings": {"path": "/ray"}},
    }]});
    let index = stage.run(Mobula, "server", &config, &[port]).await;
    let mut said = Vec::new();
    for _ in 0..100 {
        let log = stage.log_so_far(index).replace(&port.to_string(), "10000");
        said = log.lines().map(without_time).collect();
        if said.len() >= wanted.len() {
            break;
        }
        sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(said, wanted);
    // The steps of a session, in the order in which `scenario_spans` sees them.
    let text = of("troubleshooting.md:");
    let steps: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("[Debug] ")?.split(": ").next())
        .collect();
    assert_eq!(steps, CLIENT_STEPS);
}

/// A line behind `2026/11/21 03:34:24 `.
fn without_time(line: &str) -> String {
    line.splitn(3, ' ').nth(2).unwrap_or_default().to_owned()
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
