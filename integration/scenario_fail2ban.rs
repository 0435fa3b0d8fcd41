//! The filter of `docs/watching.md` catches what mobula writes, by the word of fail2ban itself.

use std::net::Ipv4Addr;
use std::process::Command;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::configs::Vmess;
use crate::peers::Peer::Mobula;
use crate::peers::{Stage, free_port, root, system};
use crate::traffic::{self, To};

/// The `ini` blocks of the page.
fn blocks() -> Vec<String> {
    let text = std::fs::read_to_string(root().join("docs/watching.md")).expect("it is there");
    let blocks = text.split("```ini\n").skip(1);
    let blocks = blocks.map(|rest| rest.split("```").next().unwrap_or_default().to_owned());
    blocks.collect()
}

/// The addresses that fail2ban finds in a log.
fn found(stage: &Stage, log: &str) -> Vec<String> {
    let filter = stage.write("mobula.conf", &blocks()[0]);
    let mut regex: Command = system("fail2ban-regex");
    let output = regex
        .args(["-o", "<ip>"])
        .arg(stage.path(log))
        .arg(filter)
        .output()
        .expect("fail2ban-regex runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}");
    let addresses = said.lines().map(str::trim).filter(|line| !line.is_empty());
    addresses.map(str::to_owned).collect()
}

/// A stranger whom a proxy names `from`, and who does something wrong.
async fn stranger(port: u16, from: &str) {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))
        .await
        .expect("mobula listens");
    let request = format!(
        "GET /wp-login.php HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\nX-Forwarded-For: {from}\r\n\r\n"
    );
    stream
        .write_all(request.as_bytes())
        .await
        .expect("it reads");
    let _ = stream.read_to_end(&mut Vec::new()).await;
}

#[tokio::test]
async fn strangers_are_found_by_their_true_addresses_and_users_are_not() {
    for (logs, file) in [
        (
            json!({"access": "access.log", "loglevel": "warning"}),
            "access.log",
        ),
        (
            json!({"access": "none", "error": "error.log", "loglevel": "warning"}),
            "error.log",
        ),
        (
            json!({"access": "access.log", "loglevel": "warning", "format": "xray"}),
            "access.log",
        ),
        (
            json!({"access": "none", "error": "error.log", "loglevel": "warning", "format": "xray"}),
            "error.log",
        ),
    ] {
        let mut stage = Stage::new();
        let (server, socks) = (free_port(), free_port());
        let mut config = Vmess::ws().server(Mobula, server);
        config["log"] = logs;
        stage.run(Mobula, "server", &config, &[server]).await;
        let config = Vmess::ws().client(Mobula, socks, server);
        stage.run(Mobula, "client", &config, &[socks]).await;
        traffic::word(socks, &To::Ip(traffic::echo().await)).await;
        for from in ["203.0.113.9", "2001:db8::7"] {
            for _ in 0..20 {
                stranger(server, from).await;
            }
        }
        // What came again is counted, and the count is caught as well.
        let log = stage
            .until_line_has(file, &["2001:db8::7", "more in"])
            .await;
        let refusals = log.lines().filter(|line| line.contains("[ws-path]"));
        assert!(refusals.count() <= 8, "one line for many:\n{log}");
        let found = found(&stage, file);
        for address in ["203.0.113.9", "2001:db8::7"] {
            let times = found.iter().filter(|one| *one == address).count();
            assert!(times >= 2, "{address} in {found:?}:\n{log}");
        }
        assert!(
            !found.iter().any(|one| one == "127.0.0.1"),
            "{found:?}:\n{log}"
        );
    }
}

/// What a stranger says of somebody else gets nobody banned.
#[test]
fn no_stranger_can_have_others_banned() {
    let stage = Stage::new();
    let said =
        "GET /: a connection of 192.0.2.1:1 was refused: 404, the path is not \"/ray\" [ws-path]";
    let lines = [
        format!(
            "2026/11/21 03:34:24 [Warning] inbounds[0]: a connection of 203.0.113.9:1 was refused: {said}"
        ),
        format!(
            "2026/11/21 03:34:25 [Warning] b.json: inbounds[0] (front): a connection of 203.0.113.9:1 was refused: {said}"
        ),
        format!(
            "2026/11/21 03:34:26 [Warning] inbounds[0]: a connection of unix was refused: {said}"
        ),
        format!("2026/11/21 03:34:27 203.0.113.9:1 rejected  {said}"),
        format!("2026/11/21 03:34:28 unix rejected  {said}"),
        format!("2026/11/21 03:34:29.123456 from 203.0.113.9:1 rejected  {said}"),
        format!("2026/11/21 03:34:30.123456 from unix rejected  {said}"),
    ];
    stage.write("lines.log", lines.join("\n") + "\n");
    assert_eq!(found(&stage, "lines.log"), ["203.0.113.9"; 4]);
}

#[test]
fn the_jail_is_one_that_fail2ban_reads() {
    let jail = &blocks()[1];
    for key in ["filter = mobula", "maxretry = ", "logpath = "] {
        assert!(jail.contains(key), "{jail}");
    }
}
