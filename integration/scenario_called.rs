//! Called by the name of Xray or V2Ray, it is what panels and clients run for these: what they look for is there.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::symlink;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use regex::Regex;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::peers::{free_port, mobula};

/// The program by another name, and a folder for its files.
struct Called {
    folder: TempDir,
    link: PathBuf,
}

impl Called {
    fn new(name: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let link = folder.path().join(name);
        symlink(mobula().get_program(), &link).expect("a link");
        Self { folder, link }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.link);
        command
            .args(args)
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().expect("it runs")
    }

    fn write(&self, name: &str, config: &Value) {
        fs::write(self.folder.path().join(name), config.to_string()).expect("a file");
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Ends with the test.
struct Running(Child);

impl Running {
    /// Waits for a line with this in it.
    fn says(&mut self, words: &str) {
        let out = self.0.stdout.take().expect("a pipe");
        let mut lines = BufReader::new(out).lines().map_while(Result::ok);
        assert!(lines.any(|line| line.contains(words)), "{words}");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// By the expressions of v2rayN, Marzban and ssr-plus.
#[test]
fn the_version_is_read_as_panels_read_it() {
    for (name, expression) in [
        ("xray", r"^Xray ([0-9]+)\.([0-9]+)\.([0-9]+) \("),
        ("xray-linux-amd64", r"^Xray ([0-9]+)\.([0-9]+)\.([0-9]+) \("),
        ("rw-core", r"^Xray ([0-9]+)\.([0-9]+)\.([0-9]+) \("),
        ("v2ray", r"V2Ray ([0-9.]+) \("),
        ("mobula", r"^mobula [0-9.]+ \("),
    ] {
        let called = Called::new(name);
        for argument in ["version", "-version"] {
            let said = text(&called.run(&[argument]).stdout);
            let expression = Regex::new(expression).expect("an expression");
            assert!(
                expression.is_match(&said) && said.contains("mobula"),
                "{name}: {said}"
            );
        }
    }
}

/// PasarGuard's node reads the standard output alone, and looks for these words; systemd starts a service with exit code 23 not
/// again.
#[test]
fn why_nothing_starts_stands_where_panels_read() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = taken.local_addr().expect("it is bound");
    let door = json!({"listen": "127.0.0.1", "port": free_port(), "protocol": "socks"});
    let listens = format!("cannot listen on {taken}: address already in use");
    for (config, code, words) in [
        (
            json!({"inbounds": [{"port": "x", "protocol": "socks"}]}),
            23,
            "inbounds[0].port",
        ),
        (
            json!({"log": {"access": "/no/such/folder/a.log"}, "inbounds": [door]}),
            23,
            "cannot open /no/such/folder/a.log",
        ),
        (
            json!({"inbounds": [{"listen": "127.0.0.1", "port": taken.port(), "protocol": "socks"}]}),
            255,
            &listens,
        ),
        (
            json!({"inbounds": [door], "api": {"tag": "a", "listen": taken, "services": ["StatsService"]}}),
            255,
            &listens,
        ),
        (
            json!({"inbounds": [door], "metrics": {"listen": taken}}),
            255,
            &listens,
        ),
    ] {
        let called = Called::new("xray");
        called.write("c.json", &config);
        let output = called.run(&["run", "-c", "c.json"]);
        let said = text(&output.stdout);
        let mut lines = said.lines();
        let told = lines.find(|line| line.starts_with("Failed to start: "));
        assert!(
            told.is_some_and(|line| line.contains(words)),
            "{words}: {said}"
        );
        assert_eq!(output.status.code(), Some(code), "{words}");
    }
}

/// Its API is a door about which nothing is said but the rule that leads there.
fn of_remnawave(port: u16) -> Value {
    json!({
        "api": {"tag": "API", "services": ["StatsService"]}, "stats": {},
        "inbounds": [{"tag": "IN", "listen": "127.0.0.1", "port": port, "protocol": "tunnel"}],
        "outbounds": [{"protocol": "freedom"}],
        "routing": {"rules": [{"inboundTag": ["IN"], "outboundTag": "API"}]},
    })
}

#[test]
fn remnawave_s_node_hands_it_a_config_over_a_socket() {
    for form in [
        "@NAME:/get?token=sesame",
        "DIR/a.sock:/get?token=sesame",
        "http+unix://DIR/a.sock/get?token=sesame",
    ] {
        let called = Called::new("rw-core");
        let (port, folder) = (free_port(), called.folder.path().to_string_lossy());
        let name = format!("mobula-test-{port}");
        let listener = match form.starts_with('@') {
            true => {
                let address = SocketAddr::from_abstract_name(&name).expect("a name");
                UnixListener::bind_addr(&address)
            }
            false => UnixListener::bind(called.folder.path().join("a.sock")),
        };
        let listener = listener.expect("nobody has it");
        let place = form.replace("NAME", &name).replace("DIR", &folder);
        let child = called
            .command(&["-config", &place, "-format", "json"])
            .spawn();
        let mut running = Running(child.expect("it runs"));
        let (mut stream, _) = listener.accept().expect("somebody asks");
        let mut head = vec![0; 4096];
        let n = stream.read(&mut head).expect("a request");
        let head = text(&head[..n]);
        assert!(
            head.starts_with("GET /get?token=sesame HTTP/1.1\r\n"),
            "{head}"
        );
        let config = of_remnawave(port).to_string();
        let answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{config}",
            config.len()
        );
        stream.write_all(answer.as_bytes()).expect("it is read");
        running.says(" started (mobula ");
        let server = format!("127.0.0.1:{port}");
        let asked = called.run(&["api", "statssys", "-s", &server]);
        assert!(text(&asked.stdout).contains("NumGoroutine"), "{asked:?}");
    }
    let called = Called::new("rw-core");
    let output = called.run(&["-config", "@mobula-test-nobody:/get?token=sesame"]);
    let said = text(&output.stdout) + &text(&output.stderr);
    assert!(
        said.contains("@mobula-test-nobody:/…: connection refused") && !said.contains("sesame"),
        "{said}"
    );
    assert_eq!(output.status.code(), Some(23));
}

/// v2rayN gives V2Ray nothing but a config's name.
#[test]
fn v2ray_takes_a_config_by_its_name_alone() {
    let called = Called::new("v2ray");
    let port = free_port();
    called.write(
        "config.json",
        &json!({"inbounds": [{"listen": "127.0.0.1", "port": port, "protocol": "socks"}], "outbounds": [{"protocol": "freedom"}]}),
    );
    let child = called.command(&["config.json"]).spawn();
    let _running = Running(child.expect("it runs"));
    let until = Instant::now() + Duration::from_secs(10);
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(Instant::now() < until, "nobody listens");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn what_files_come_to_is_printed() {
    let called = Called::new("xray");
    called.write(
        "a.json",
        &json!({"log": {"loglevel": "debug"}, "outbounds": [{"tag": "a", "protocol": "freedom"}]}),
    );
    called.write(
        "b.json",
        &json!({"outbounds": [{"tag": "b", "protocol": "blackhole"}]}),
    );
    let output = called.run(&["run", "-dump", "-c", "a.json", "-c", "b.json"]);
    assert!(output.status.success(), "{output:?}");
    let whole: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let tags = ["b", "a"].map(|tag| json!(tag));
    let outbounds = whole["outbounds"].as_array().expect("a list");
    assert!(outbounds.iter().map(|one| &one["tag"]).eq(&tags), "{whole}");
    assert_eq!(whole["log"]["loglevel"], "debug");
    let output = called.run(&["run", "-dump", "-c", "gone.json"]);
    assert_eq!(output.status.code(), Some(23));
}

/// Whoever brings files of V2Ray 5 is told that these would be another config there.
#[test]
fn files_that_v2ray_5_would_merge_otherwise_are_told_of() {
    let (one, two) = (
        json!({"outbounds": [{"tag": "a", "protocol": "freedom"}]}),
        json!({"outbounds": [{"tag": "b", "protocol": "freedom"}]}),
    );
    let door =
        json!({"inbounds": [{"listen": "127.0.0.1", "port": free_port(), "protocol": "socks"}]});
    for (files, is_told) in [(vec![&door, &one, &two], true), (vec![&door, &one], false)] {
        let called = Called::new("mobula");
        let mut args = vec!["run".to_owned()];
        for (n, config) in files.iter().enumerate() {
            called.write(&format!("{n}.json"), config);
            args.extend(["-c".to_owned(), format!("{n}.json")]);
        }
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let child = called.command(&args).spawn().expect("it runs");
        std::thread::sleep(Duration::from_millis(700));
        let pid = child.id().to_string();
        let asked = Command::new("kill").arg(&pid).status();
        assert!(asked.is_ok_and(|status| status.success()));
        let output = child.wait_with_output().expect("it ends");
        let said = text(&output.stdout) + &text(&output.stderr);
        assert_eq!(
            said.contains("V2Ray 5 makes another config of them"),
            is_told,
            "{said}"
        );
    }
}

/// Where both were unpacked, and the unit has another working directory.
#[test]
fn a_config_beside_the_program_is_found() {
    let program = PathBuf::from(mobula().get_program());
    let folder = tempfile::tempdir_in(program.parent().expect("a folder")).expect("a folder");
    let beside = folder.path().join("v2ray");
    fs::hard_link(&program, &beside).expect("a link");
    let config = json!({
        "inbounds": [{"tag": "mine", "listen": "127.0.0.1", "port": free_port(), "protocol": "socks"}],
        "outbounds": [{"protocol": "freedom"}],
    });
    fs::write(folder.path().join("config.json"), config.to_string()).expect("a file");
    let run = |args: &[&str]| {
        let mut command = Command::new(&beside);
        for program in ["V2RAY", "XRAY"] {
            command.env_remove(format!("{program}_LOCATION_CONFIG"));
            command.env_remove(format!("{program}_LOCATION_CONFDIR"));
        }
        command.args(args).current_dir("/").stdin(Stdio::null());
        command.output().expect("it runs")
    };
    let output = run(&["run", "-dump"]);
    assert!(text(&output.stdout).contains("mine"), "{output:?}");
    fs::write(folder.path().join("config.json"), "{").expect("a file");
    for args in [&["-test"][..], &["test"]] {
        assert_eq!(run(args).status.code(), Some(23), "{args:?}");
    }
}
