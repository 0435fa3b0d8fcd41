//! `testdata/configs`: what must load, and what must not, with the exact words.
//!
//! Beside each `bad/NAME.json` stands `bad/NAME.txt`: the lines that `mobula test` prints, without
//! its warnings. `WRITE_EXPECTED=1 cargo test --test integration configs` writes these files anew, to
//! be read before they are committed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

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
            .filter(|line| !line.starts_with("warning: "))
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
