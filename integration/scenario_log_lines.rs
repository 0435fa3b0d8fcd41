//! What somebody reads who has set nothing about logs: what listens, who was refused and why, in the form of their choice.

use std::net::Ipv4Addr;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::sleep;

use crate::configs::{Early, ID, Vmess};
use crate::peers::Peer::{Mobula, V2ray445};
use crate::peers::{Stage, free_port, system};
use crate::traffic::{self, To};

/// A config without a word about logs.
fn default_log(mut config: Value) -> Value {
    config.as_object_mut().expect("keys").remove("log");
    config
}

/// Waits until what a child wrote has `text`.
async fn until_said(stage: &Stage, index: usize, text: &str) -> String {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let log = stage.log_so_far(index);
        if log.contains(text) {
            return log;
        }
        assert!(Instant::now() < deadline, "`{text}` was never said:\n{log}");
        sleep(Duration::from_millis(20)).await;
    }
}

/// Sends `request`, and waits for the beginning of an answer.
async fn ask(port: u16, request: String) {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await;
    let mut stream = stream.expect("mobula listens");
    let bytes = request.into_bytes();
    stream.write_all(&bytes).await.expect("mobula reads");
    let n = stream.read(&mut [0; 64]).await.expect("an answer");
    assert!(n > 0, "an answer");
}

/// A request by somebody whom the proxy in front calls `from`.
fn get(path: &str, from: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX-Forwarded-For: {from}\r\n\r\n"
    )
}

/// A whole handshake, and behind it what is no VMess.
fn garbage(from: &str) -> Vec<u8> {
    let head = format!(
        "GET /ray HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nX-Forwarded-For: {from}\r\n\r\n"
    );
    // One masked frame of 64 bytes.
    let frame = [&[0x82, 0x80 | 64, 0, 0, 0, 0], &[7; 64][..]].concat();
    [head.as_bytes(), &frame].concat()
}

#[tokio::test]
async fn one_line_for_each_inbound_says_what_listens_where() {
    let mut stage = Stage::new();
    let wss = Vmess::wss(&stage);
    let [vmess, socks, first] = [free_port(), free_port(), free_port()];
    let mut config = default_log(wss.server(Mobula, vmess));
    config["inbounds"][0]["tag"] = json!("in");
    let inbounds = config["inbounds"].as_array_mut().expect("a list");
    let secret = "sesame-open";
    inbounds.push(json!({
        "listen": "127.0.0.1", "port": socks, "protocol": "socks",
        "settings": {"udp": true, "auth": "password", "accounts": [{"user": "ann", "pass": secret}]},
    }));
    inbounds.push(json!({
        "listen": stage.path("vless.sock"), "protocol": "vless",
        "settings": {"clients": [{"id": ID}], "decryption": "none"},
        "streamSettings": {"network": "ws", "wsSettings": {"path": "less", "acceptProxyProtocol": true}},
    }));
    inbounds.push(json!({
        "listen": "127.0.0.1", "port": first.to_string(), "protocol": "dokodemo-door",
        "settings": {"address": "127.0.0.1", "port": 1, "network": "udp"},
    }));
    let index = stage.run(Mobula, "server", &config, &[vmess, socks]).await;
    let log = until_said(&stage, index, "inbounds[3] listens").await;
    let socket = stage.path("vless.sock");
    let lines: Vec<&str> = log.lines().filter(|l| l.contains("listens on")).collect();
    let wanted = [
        format!(
            "inbounds[0] (in) listens on 127.0.0.1:{vmess}: vmess over ws at /ray, security tls"
        ),
        format!(
            "inbounds[1] listens on 127.0.0.1:{socks} (tcp and udp): socks over tcp, security none"
        ),
        format!(
            "inbounds[2] listens on {}: vless over ws at /less, security none, behind a PROXY header",
            socket.display()
        ),
        format!("inbounds[3] listens on 127.0.0.1:{first} (udp): dokodemo-door"),
    ];
    assert_eq!(lines.len(), wanted.len(), "{log}");
    for (line, wanted) in lines.iter().zip(&wanted) {
        assert!(line.ends_with(wanted), "{line}\n{wanted}");
    }
    let secrets = [ID, secret, "ann"];
    let shown = lines.concat();
    assert!(
        secrets.iter().all(|secret| !shown.contains(secret)),
        "{log}"
    );
}

#[tokio::test]
async fn who_wants_errors_alone_is_not_told_what_listens() {
    for (level, says) in [("warning", true), ("error", false), ("none", false)] {
        let mut stage = Stage::new();
        let port = free_port();
        let mut config = Vmess::ws().server(Mobula, port);
        config["log"] = json!({"loglevel": level});
        let index = stage.run(Mobula, "server", &config, &[port]).await;
        sleep(Duration::from_millis(200)).await;
        let log = stage.log(index);
        assert_eq!(log.contains("listens on"), says, "{level}: {log}");
    }
}

/// Whoever sets up a tunnel stands before a line about themselves, though a scanner is at work from everywhere, from
/// their own address as well, and on the very path.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scanner_never_swallows_the_line_of_a_user() {
    for access in [None, Some("access.log")] {
        let mut stage = Stage::new();
        let (server, socks) = (free_port(), free_port());
        let mut config = default_log(Vmess::ws().server(Mobula, server));
        if let Some(access) = access {
            config["log"] = json!({"access": access});
        }
        let index = stage.run(Mobula, "server", &config, &[server]).await;
        for n in 0..600_u32 {
            let from = match n % 3 {
                0 => "203.0.113.9".to_owned(),
                _ => Ipv4Addr::from(0x0a00_0000 + n).to_string(),
            };
            ask(server, get(&format!("/{n:x}.php"), &from)).await;
        }
        // The user's id is not the server's, and then their proxy in front forgets a header.
        let mut config = Vmess::ws().client(V2ray445, socks, server);
        let text = config
            .to_string()
            .replace(ID, "6ba7b810-9dad-41d1-80b4-00c04fd430c8");
        config = serde_json::from_str(&text).expect("JSON");
        config["outbounds"][0]["streamSettings"]["wsSettings"]["headers"] =
            json!({"X-Forwarded-For": "203.0.113.9"});
        stage.run(V2ray445, "client", &config, &[socks]).await;
        let to = To::Ip(traffic::echo().await);
        // Nothing answers it.
        let mut stream = traffic::connect(socks, &to).await.expect("SOCKS connects");
        stream.write_all(b"hello").await.expect("the client reads");
        ask(server, get("/ray", "203.0.113.9")).await;
        let file = access.unwrap_or("server.log");
        let log = stage.until_file_has(file, "[ws-upgrade]").await;
        let log = if log.contains("no user matches the auth id") {
            log
        } else {
            stage
                .until_file_has(file, "no user matches the auth id")
                .await
        };
        for reason in [
            "no user matches the auth id",
            "no `Upgrade: websocket` header",
        ] {
            let line = log.lines().find(|line| line.contains(reason));
            let line = line.unwrap_or_else(|| panic!("{reason}: {log}"));
            assert!(line.contains(" 203.0.113.9:0 "), "{line}");
            assert!(!line.contains(" more "), "{line}");
        }
        // And the scanner's are few, each with its source, and counted to the last.
        stage.child(index).signal("TERM");
        stage.child(index).ended(Duration::from_secs(5)).await;
        let log = stage.read(file);
        let scanned: Vec<&str> = log.lines().filter(|l| l.contains("[ws-path]")).collect();
        assert!(scanned.len() < 150, "{} lines: {log}", scanned.len());
        let told: u64 = scanned.iter().map(|line| more(line).unwrap_or(1)).sum();
        assert_eq!(told, 600, "{log}");
        let named = |line: &&&str| line.contains(" 10.0.") || line.contains(" 203.0.113.9:0 ");
        assert_eq!(scanned.iter().filter(named).count(), scanned.len(), "{log}");
    }
}

/// `(N more in 5 s)`, `(the last of N more …)`
fn more(line: &str) -> Option<u64> {
    let (before, _) = line.rsplit_once(" more ")?;
    before.rsplit([' ', '(']).next()?.parse().ok()
}

/// Those who know the path may be many, too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_on_the_path_itself_from_everywhere_is_bounded_and_counted() {
    let mut stage = Stage::new();
    let server = free_port();
    let config = default_log(Vmess::ws().server(Mobula, server));
    let index = stage.run(Mobula, "server", &config, &[server]).await;
    let before = stage.child(index).resident_kib();
    for n in 0..3000_u32 {
        let from = Ipv4Addr::from(0x0a00_0000 + n).to_string();
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, server)).await;
        let mut stream = stream.expect("mobula listens");
        let request = garbage(&from);
        stream.write_all(&request).await.expect("mobula reads");
        let n = stream.read(&mut [0; 64]).await.expect("an answer");
        assert!(n > 0, "an answer");
    }
    sleep(Duration::from_millis(500)).await;
    let grown = stage.child(index).resident_kib().saturating_sub(before);
    stage.child(index).signal("TERM");
    stage.child(index).ended(Duration::from_secs(5)).await;
    let log = stage.log(index);
    let refused: Vec<&str> = log
        .lines()
        .filter(|l| l.contains("[user-unknown]"))
        .collect();
    assert!(refused.len() < 600, "{} lines", refused.len());
    let told: u64 = refused.iter().map(|line| more(line).unwrap_or(1)).sum();
    assert_eq!(told, 3000, "{log}");
    assert!(grown < 64 * 1024, "{grown} KiB");
}

/// A proxy in front sends everybody's requests by one connection; each of them is told of, and for whom it came.
#[tokio::test]
async fn every_request_of_a_shared_connection_names_its_own_client() {
    let mut stage = Stage::new();
    let server = free_port();
    let config = default_log(Vmess::ws().server(Mobula, server));
    let index = stage.run(Mobula, "server", &config, &[server]).await;
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, server)).await;
    let mut stream = stream.expect("mobula listens");
    for (path, from) in [
        ("/ray", "203.0.113.9"),
        ("/x.php", "198.51.100.7"),
        ("/y", "192.0.2.1"),
    ] {
        let request = get(path, from).replace("Connection: close\r\n", "");
        stream
            .write_all(request.as_bytes())
            .await
            .expect("mobula reads");
        let n = stream.read(&mut [0; 4096]).await.expect("an answer");
        assert!(n > 0, "an answer");
    }
    drop(stream);
    let log = until_said(&stage, index, "192.0.2.1:0").await;
    for wanted in [
        "a connection of 203.0.113.9:0 was refused: GET /ray: 400,",
        "a connection of 198.51.100.7:0 was refused: GET /x.php: 404,",
        "a connection of 192.0.2.1:0 was refused: GET /y: 404,",
    ] {
        assert_eq!(log.matches(wanted).count(), 1, "{wanted}: {log}");
    }
}

/// What stands on a terminal that mobula has for its standard output, with these variables.
fn on_a_terminal(stage: &Stage, config: &Value, environment: &[(&str, &str)]) -> String {
    let file = stage.write("terminal.json", config.to_string());
    let mobula = Mobula.command(&file);
    let words: Vec<String> = std::iter::once(mobula.get_program())
        .chain(mobula.get_args())
        .map(|word| format!("'{}'", word.to_string_lossy()))
        .collect();
    let mut script: Command = system("script");
    script.args(["-q", "-e", "-c", &format!("timeout 1 {}", words.join(" "))]);
    script.arg(stage.path("typescript"));
    script.env("TERM", "xterm").env_remove("NO_COLOR");
    script.envs(environment.iter().copied());
    let output = script.output().expect("script runs");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[tokio::test]
async fn a_terminal_has_colours_and_nothing_else_has() {
    let mut stage = Stage::new();
    let port = free_port();
    let config = default_log(Vmess::ws().server(Mobula, port));
    let shown = on_a_terminal(&stage, &config, &[]);
    assert!(
        shown.contains("\x1b[32m[Info]\x1b[0m inbounds[0] listens on"),
        "{shown:?}"
    );
    for none in [("NO_COLOR", "1"), ("TERM", "dumb")] {
        let shown = on_a_terminal(&stage, &config, &[none]);
        assert!(shown.contains("[Info] inbounds[0] listens on"), "{shown:?}");
        assert!(!shown.contains('\x1b'), "{none:?}: {shown:?}");
    }
    // An empty NO_COLOR is none.
    let shown = on_a_terminal(&stage, &config, &[("NO_COLOR", "")]);
    assert!(shown.contains("\x1b["), "{shown:?}");
    let index = stage.run(Mobula, "server", &config, &[port]).await;
    let log = until_said(&stage, index, "listens on").await;
    assert!(!log.contains('\x1b'), "{log:?}");
}

#[tokio::test]
async fn with_format_json_every_line_of_both_logs_is_an_object() {
    let mut stage = Stage::new();
    let (server, socks) = (free_port(), free_port());
    let mut config = Vmess::ws().server(Mobula, server);
    config["log"] = json!({"format": "json", "loglevel": "debug", "access": "access.log"});
    config["inbounds"][0]["tag"] = json!("in");
    config["outbounds"][0]["tag"] = json!("out");
    let index = stage.run(Mobula, "server", &config, &[server]).await;
    let config = Vmess::ws().client(V2ray445, socks, server);
    stage.run(V2ray445, "client", &config, &[socks]).await;
    let to = traffic::echo().await;
    traffic::word(socks, &To::Ip(to)).await;
    for n in 0..3 {
        ask(server, get(&format!("/\"{n}"), "203.0.113.9")).await;
    }
    until_said(&stage, index, "session ended").await;
    stage.child(index).signal("TERM");
    stage.child(index).ended(Duration::from_secs(5)).await;

    let objects = |text: String| -> Vec<Value> {
        let lines = text.lines();
        let read =
            lines.map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}")));
        read.collect()
    };
    let (log, access) = (objects(stage.log(index)), objects(stage.read("access.log")));
    for line in log.iter().chain(&access) {
        let time = line["time"].as_str().expect("a time");
        assert!(time.len() == 29 && time.as_bytes()[10] == b'T', "{time}");
        let level = line["level"].as_str().expect("a level");
        assert!(
            ["error", "warning", "info", "debug"].contains(&level),
            "{line}"
        );
        assert!(line["message"].is_string(), "{line}");
    }
    let find = |lines: &[Value], key: &str, value: &str| {
        let found = lines.iter().find(|line| line[key] == value);
        found
            .unwrap_or_else(|| panic!("{key} {value}: {lines:?}"))
            .clone()
    };
    let accepted = find(&access, "event", "accepted");
    assert_eq!(accepted["to"], to.to_string());
    assert_eq!(
        (&accepted["inbound"], &accepted["outbound"]),
        (&json!("in"), &json!("out"))
    );
    assert_eq!(accepted["email"], "a@mobula.test");
    let session = accepted["session"].as_u64().expect("a number");
    let rejected = find(&access, "code", "ws-path");
    assert_eq!(
        (&rejected["event"], &rejected["level"]),
        (&json!("rejected"), &json!("warning"))
    );
    assert_eq!(rejected["source"], "203.0.113.9:0");
    assert_eq!(rejected["inbound"], "in");
    let counted = access.iter().find(|line| line["more"].is_u64());
    assert_eq!(counted.expect("a count")["more"], 2, "{access:?}");
    let listens = log.iter().find(|line| line["listen"].is_string());
    let listens = listens.expect("what listens");
    assert_eq!(listens["listen"], format!("127.0.0.1:{server}"));
    assert_eq!(listens["level"], "info");
    let ended = find(&log, "message", "session ended");
    assert_eq!(ended["session"].as_u64(), Some(session), "{ended}");
    assert_eq!(
        (&ended["inbound"], &ended["outbound"]),
        (&json!("in"), &json!("out"))
    );
    assert!(
        ended["up"].is_u64() && ended["source"].is_string(),
        "{ended}"
    );
}

#[tokio::test]
async fn an_unknown_format_is_an_error_that_names_those_there_are() {
    let stage = Stage::new();
    let mut config = Vmess::ws().server(Mobula, 1);
    config["log"] = json!({"format": "jsn"});
    let file = stage.write("config.json", config.to_string());
    let output = Mobula.command(&file).output().expect("mobula runs");
    assert_eq!(output.status.code(), Some(23));
    let said = String::from_utf8_lossy(&output.stderr);
    let wanted =
        "log.format: `jsn` is unknown, expected `text`, `xray` or `json`, did you mean `json`?";
    assert!(said.contains(wanted), "{said}");
}

/// Half of a tunnel's settings are at one end only: the line says which.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_speaks_another_protocol_than_the_inbound_is_told_which_one() {
    let http = "this looks like an HTTP request: is `network: ws` missing here, or is this the wrong port? [request-other]";
    let tls = "this looks like TLS: is `security: tls` missing here, or too much at the client? [request-other]";
    let in_path = "the path is \"/ray\" with early data behind it, which `maxEarlyData` without `earlyDataHeaderName` takes here [ws-path]";
    let stage = Stage::new();
    let wss = Vmess::wss(&stage);
    let early = Vmess::ws_early(Early::Path);
    let plain_tls = Vmess {
        path: None,
        ..wss.clone()
    };
    for (theirs, ours, told) in [
        (Vmess::ws(), Vmess::tcp(), http),
        (Vmess::ws().vless(), Vmess::tcp().vless(), http),
        (plain_tls.clone(), Vmess::tcp(), tls),
        (plain_tls.vless(), Vmess::tcp().vless(), tls),
        (
            wss,
            Vmess::ws(),
            "this looks like TLS: does this port need `security: tls` (`wss` in the place of `ws`), or does a proxy in front say `https://` for `http://`? [http-malformed]",
        ),
        (early, Vmess::ws(), in_path),
    ] {
        let mut stage = Stage::new();
        let (server, socks) = (free_port(), free_port());
        let config = default_log(ours.server(Mobula, server));
        let index = stage.run(Mobula, "server", &config, &[server]).await;
        let config = theirs.client(V2ray445, socks, server);
        stage.run(V2ray445, "client", &config, &[socks]).await;
        let to = To::Ip(traffic::echo().await);
        let mut stream = traffic::connect(socks, &to).await.expect("SOCKS connects");
        let question = traffic::bytes(1000);
        stream.write_all(&question).await.expect("the client reads");
        let log = until_said(&stage, index, told).await;
        let line = log
            .lines()
            .find(|line| line.contains(told))
            .expect("it was said");
        assert!(line.len() < 500, "{line}");
    }
}
