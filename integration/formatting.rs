//! `mobula format`: a tidy config says what the file said, and keeps its comments; and `mobula completions`.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::process::Stdio;

use mobula::dialect::v2ray::json::{Text, tidy};
use serde_json::Value;

use crate::peers::{Stage, mobula, root};

const UNTIDY: &str = "{\"log\":{\"loglevel\":\"none\"}, # why\n\n\n  \"outbounds\":[{\"protocol\":\"freedom\"}] // out\n}";
const TIDY: &str = "{\n  \"log\": { \"loglevel\": \"none\" }, # why\n\n  \"outbounds\": [{ \"protocol\": \"freedom\" }] // out\n}\n";

#[test]
fn every_config_of_the_tests_says_the_same_when_it_is_tidy() {
    let mut tried = 0;
    for dir in ["good", "bad"] {
        let dir = root().join("testdata/configs").join(dir);
        for entry in fs::read_dir(dir).expect("the folder is there") {
            let file: PathBuf = entry.expect("it can be listed").path();
            let text = fs::read_to_string(&file).unwrap_or_default();
            let said = parsed(&text);
            let (Some(said), Ok(tidied)) = (said, tidy(&text)) else {
                continue;
            };
            tried += 1;
            assert_eq!(parsed(&tidied), Some(said), "{}", file.display());
            assert_eq!(
                tidy(&tidied).expect("it is JSON"),
                tidied,
                "{}",
                file.display()
            );
            for mark in ["//", "/*", "#"] {
                let count = |text: &str| text.matches(mark).count();
                assert_eq!(count(&text), count(&tidied), "{}: {mark}", file.display());
            }
        }
    }
    assert!(tried > 150, "{tried} configs");
}

fn parsed(text: &str) -> Option<Value> {
    Text::new(text.to_owned())
        .parse()
        .ok()
        .map(|(value, _)| value)
}

#[test]
fn a_file_is_printed_or_written_and_keeps_its_mode() {
    let stage = Stage::new();
    let file = stage.write("config.json", UNTIDY);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).expect("it is ours");
    let link = stage.path("link.json");
    symlink(&file, &link).expect("the test's folder is ours");

    let printed = mobula()
        .arg("format")
        .arg(&file)
        .output()
        .expect("mobula runs");
    assert_eq!(String::from_utf8_lossy(&printed.stdout), TIDY);
    assert_eq!(fs::read_to_string(&file).expect("it is there"), UNTIDY);

    let check = |code| {
        let mut check = mobula();
        let output = check.args(["format", "--check"]).arg(&link).output();
        assert_eq!(output.expect("mobula runs").status.code(), Some(code));
    };
    check(1);
    let written = mobula().args(["format", "-w"]).arg(&link).output();
    let written = written.expect("mobula runs");
    assert!(written.status.success() && written.stdout.is_empty());
    check(0);
    assert_eq!(fs::read_to_string(&file).expect("it is there"), TIDY);
    let mode = fs::metadata(&file)
        .expect("it is there")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o640);
    assert!(
        fs::symlink_metadata(&link)
            .expect("it is there")
            .is_symlink()
    );
    assert!(!stage.path("config.json.new").exists());
}

#[test]
fn what_is_no_config_is_left_as_it_is_with_its_place() {
    let stage = Stage::new();
    let file = stage.write("config.json", "{\n  \"log\": ]\n}");
    let output = mobula().args(["format", "-w"]).arg(&file).output();
    let output = output.expect("mobula runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(23));
    assert!(
        said.contains("line 2, column 10") && said.contains('^'),
        "{said}"
    );
    assert_eq!(
        fs::read_to_string(&file).expect("it is there"),
        "{\n  \"log\": ]\n}"
    );
}

/// The shells themselves read what is printed for them.
#[test]
fn bash_completes_commands_and_flags() {
    let script = mobula().args(["completions", "bash"]).output();
    let script = String::from_utf8(script.expect("mobula runs").stdout).expect("it is text");
    let asked = format!(
        "{script}\nCOMP_WORDS=(mobula test --js) COMP_CWORD=2\n_mobula mobula --js test\necho \"${{COMPREPLY[@]}}\"\n"
    );
    let bash = std::process::Command::new("bash")
        .arg("-c")
        .arg(asked)
        .stderr(Stdio::inherit())
        .output();
    let bash = bash.expect("bash runs");
    assert_eq!(String::from_utf8_lossy(&bash.stdout).trim(), "--json");
    for shell in ["zsh", "fish", "powershell", "elvish"] {
        let output = mobula()
            .args(["completions", shell])
            .output()
            .expect("mobula runs");
        assert!(
            String::from_utf8_lossy(&output.stdout).contains("skip-unbuilt"),
            "{shell}"
        );
    }
}
