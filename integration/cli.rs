//! The command line of the built program: exit codes, and what it says.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

#[test]
fn test_says_ok_or_all_that_is_wrong() {
    let dir = dir_with(&[
        ("good.json", SOCKS),
        ("bad.json", r#"{"inbounds": [{}, 5]}"#),
    ]);
    let good = mobula(&["test", "-c", "good.json"], dir.path());
    assert_eq!(
        (code(&good), stdout(&good)),
        (0, "Configuration OK.\n".to_owned())
    );
    let bad = mobula(&["test", "-c", "bad.json"], dir.path());
    assert_eq!(code(&bad), 23);
    let errors = stderr(&bad);
    assert!(
        errors.contains("inbounds[0]: `port` is missing"),
        "{errors}"
    );
    assert!(
        errors.contains("inbounds[1]: the number 5 is not an object"),
        "{errors}"
    );
}

#[test]
fn v2ray_4_spelling_works() {
    let dir = dir_with(&[("config.json", SOCKS)]);
    for args in [
        &["-test", "-config", "config.json"][..],
        &["-config=config.json", "-test"],
        &["test", "-config", "config.json", "-format", "jsonv5"],
        &["test", "-confdir", "."],
        &["test"],
    ] {
        let output = mobula(args, dir.path());
        assert_eq!(
            stdout(&output),
            "Configuration OK.\n",
            "{args:?} {}",
            stderr(&output)
        );
    }
    assert!(stdout(&mobula(&["-version"], dir.path())).starts_with("mobula "));
    assert!(stdout(&mobula(&["help"], dir.path())).contains("Usage"));
}

#[test]
fn a_config_comes_from_standard_input_or_the_environment() {
    let dir = dir_with(&[("elsewhere.json", SOCKS)]);
    let mut child = command(&["test", "-c", "stdin:"], dir.path())
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(SOCKS.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(stdout(&output), "Configuration OK.\n");
    let output = command(&["test"], dir.path())
        .env("V2RAY_LOCATION_CONFIG", dir.path().join("elsewhere.json"))
        .output()
        .unwrap();
    assert_eq!(stdout(&output), "Configuration OK.\n");
}

#[test]
fn a_config_that_cannot_be_used_ends_run_as_it_ends_test() {
    let dir = dir_with(&[("bad.json", "{")]);
    let output = mobula(&["run", "-c", "bad.json"], dir.path());
    assert_eq!(code(&output), 23);
    assert_eq!(
        stderr(&output),
        "bad.json: line 1, column 1: the text ends inside an object\n"
    );
    let output = mobula(&["run", "-c", "missing.json"], dir.path());
    assert_eq!(code(&output), 23);
    assert_eq!(stderr(&output), "missing.json: no such file or directory\n");
}

#[test]
fn a_port_in_use_is_one_line_and_a_bad_exit() {
    let taken = crate::peers::listener();
    let port = taken.local_addr().unwrap().port();
    let config = SOCKS.replace("\"port\": 0", &format!("\"port\": {port}"));
    let dir = dir_with(&[("config.json", &config)]);
    let output = mobula(&["run"], dir.path());
    assert_eq!(code(&output), 255);
    let errors = stderr(&output);
    assert_eq!(
        errors.trim_end(),
        format!("inbounds[0]: cannot listen on 127.0.0.1:{port}: address already in use")
    );
    assert_eq!(errors.lines().count(), 1, "{errors}");
}

#[test]
fn a_signal_ends_the_service_with_success() {
    let dir = dir_with(&[("config.json", SOCKS)]);
    for signal in ["-TERM", "-INT"] {
        let mut child = command(&["run"], dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap())
            .read_line(&mut line)
            .unwrap();
        assert!(line.contains("started"), "{line}");
        kill(&child, signal);
        assert_eq!(ended(&mut child).code(), Some(0));
    }
}

#[test]
fn without_a_config_an_example_runs() {
    let dir = dir_with(&[]);
    let mut child = command(&["run"], dir.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap())
        .lines()
        .map_while(Result::ok);
    let link = lines.find(|line| line.starts_with("vmess://")).unwrap();
    assert!(link.len() > 100, "{link}");
    let curl = lines.find(|line| line.starts_with("curl ")).unwrap();
    assert!(curl.contains("socks5h://127.0.0.1:"), "{curl}");
    kill(&child, "-TERM");
    assert_eq!(ended(&mut child).code(), Some(0));
    lines.for_each(drop);
}

#[test]
fn commands_of_xray_s_for_what_is_not_built_are_named() {
    let here = Path::new(".");
    for (command, words) in [
        ("x25519", "REALITY"),
        ("vlessenc", "VLESS Encryption"),
        ("wg", "WireGuard"),
        ("tls", "mobula init"),
    ] {
        let output = mobula(&[command], here);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{command}");
        assert!(said.contains(words), "{command}: {said}");
    }
}

#[test]
fn uuids_are_random_or_made_of_a_text() {
    let here = Path::new(".");
    let one = stdout(&mobula(&["uuid"], here));
    assert_eq!(one.trim().len(), 36);
    assert_ne!(one, stdout(&mobula(&["uuid"], here)));
    assert_eq!(
        stdout(&mobula(&["uuid", "-i", "example"], here)),
        "feb54431-301b-52bb-a6dd-e1e93e81bb9e\n"
    );
    for (text, said) in [
        (
            "b831381d-6324-4d53-ad4f-8cda48b30811",
            "`b831381d-6324-4d53-ad4f-8cda48b30811` is a UUID already, expected a text of 1 to 30 bytes to make one of\n",
        ),
        (
            "",
            "the text has 0 bytes, expected 1 to 30: longer ones are read as UUIDs\n",
        ),
    ] {
        let output = mobula(&["uuid", "-i", text], here);
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(output.stdout.is_empty(), "{text}");
        assert_eq!(String::from_utf8_lossy(&output.stderr), said);
    }
}

const SOCKS: &str = r#"{
  "inbounds": [{ "listen": "127.0.0.1", "port": 0, "protocol": "socks" }],
  "outbounds": [{ "protocol": "freedom" }]
}"#;

fn dir_with(files: &[(&str, &str)]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(dir.path().join(name), text).unwrap();
    }
    dir
}

fn command(args: &[&str], dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mobula"));
    command
        .args(args)
        .current_dir(dir)
        .env_remove("V2RAY_LOCATION_CONFIG")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn mobula(args: &[&str], dir: &Path) -> Output {
    command(args, dir).output().unwrap()
}

fn kill(child: &Child, signal: &str) {
    let pid = child.id().to_string();
    assert!(
        Command::new("kill")
            .args([signal, &pid])
            .status()
            .unwrap()
            .success()
    );
}

/// The exit of a process that has been asked to end; one that stays fails the test.
fn ended(child: &mut Child) -> std::process::ExitStatus {
    let since = Instant::now();
    while since.elapsed() < Duration::from_secs(5) {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    child.kill().unwrap();
    let mut said = String::new();
    let _ = child.stderr.take().unwrap().read_to_string(&mut said);
    panic!("the process did not end: {said}");
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap_or(-1)
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
