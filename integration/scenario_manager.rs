//! Under a service manager: sockets that it has opened, and what it is told.

use std::fs;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::net::{TcpStream, UdpSocket, UnixStream};
use tokio::time::timeout;

use crate::configs::{ID, Vmess};
use crate::peers::Peer::{SingBox, V2ray445};
use crate::peers::{Stage, free_port, mobula, python, root, system};
use crate::traffic::{self, LIMIT, To};

/// A service manager of ours, with these sockets; its index.
pub async fn managed(
    stage: &mut Stage,
    notify: &str,
    places: &[String],
    config: &Value,
    environment: &[(&str, &str)],
) -> usize {
    let file = stage.write("server.json", format!("{config:#}"));
    let mut command = python();
    command
        .arg(root().join("integration/peers/service_manager.py"))
        .arg(stage.path("heard"))
        .args(places)
        .arg("--")
        .arg(mobula().get_program())
        .args(["run", "-pidfile", "server.pid", "-c"])
        .arg(file)
        .env("NOTIFY", notify)
        .envs(environment.iter().copied());
    let index = stage.start("server", &mut command, &[]).await;
    stage.until_file_has("heard", "READY=1").await;
    index
}

/// The process that says of itself that it serves.
pub fn pid(stage: &Stage) -> u32 {
    stage
        .read("server.pid")
        .trim()
        .parse()
        .expect("a process id")
}

fn inbound(listen: &str, port: Option<u16>) -> Value {
    let mut inbound = json!({
        "listen": listen, "protocol": "vmess", "settings": {"clients": [{"id": ID}]},
        "streamSettings": {"network": "ws", "wsSettings": {"path": "/ray"}},
    });
    if let Some(port) = port {
        inbound["port"] = port.into();
    }
    inbound
}

#[tokio::test]
async fn sockets_of_the_manager_are_used_and_the_others_closed() {
    let mut stage = Stage::new();
    let (port, every, door, other) = (free_port(), free_port(), free_port(), free_port());
    let (path, notify) = (stage.path("ray.sock"), stage.path("notify"));
    let echo = traffic::udp_echo().await;
    let dokodemo = json!({
        "listen": "127.0.0.1", "port": door, "protocol": "dokodemo-door",
        "settings": {"address": "127.0.0.1", "port": echo.port(), "network": "udp"},
    });
    let config = json!({
        "inbounds": [
            inbound("127.0.0.1", Some(port)), inbound("0.0.0.0", Some(every)),
            inbound(&path.display().to_string(), None), dokodemo,
        ],
        "outbounds": [{"protocol": "freedom"}],
    });
    let places = [
        format!("tcp:127.0.0.1:{other}"),
        format!("udp:127.0.0.1:{door}"),
        format!("unix:{}", path.display()),
        format!("tcp:127.0.0.1:{port}"),
        format!("tcp:[::]:{every}").replace(['[', ']'], ""),
    ];
    let index = managed(
        &mut stage,
        &notify.display().to_string(),
        &places,
        &config,
        &[],
    )
    .await;
    // The manager has these places, so nobody could have bound them once more.
    for (n, server) in [port, every].into_iter().enumerate() {
        let socks = free_port();
        let client = [V2ray445, SingBox][n];
        let name = format!("client{n}");
        stage
            .run(
                client,
                &name,
                &Vmess::ws().client(client, socks, server),
                &[socks],
            )
            .await;
        traffic::word(socks, &To::Ip(traffic::echo().await)).await;
    }
    UnixStream::connect(&path).await.expect("the file is there");
    let plain = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
    plain
        .send_to(b"word", ("127.0.0.1", door))
        .await
        .expect("UDP sends");
    let mut buf = [0; 16];
    let got = timeout(LIMIT, plain.recv(&mut buf))
        .await
        .expect("an answer in time");
    assert_eq!(&buf[..got.expect("UDP receives")], b"word");
    let said = stage.log(index);
    let lines: Vec<_> = said
        .lines()
        .filter(|line| line.contains("was handed over"))
        .collect();
    assert_eq!(lines.len(), 1, "{said}");
    assert!(lines[0].contains(&format!(
        "127.0.0.1:{other} was handed over, but no inbound listens there"
    )));
    let open = fs::read_dir(format!("/proc/{}/fd", pid(&stage))).expect("it runs");
    let sockets = open
        .flatten()
        .filter_map(|file| fs::read_link(file.path()).ok());
    let inodes: Vec<String> = sockets
        .filter_map(|link| {
            let link = link.display().to_string();
            Some(link.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned())
        })
        .collect();
    let table = fs::read_to_string("/proc/net/tcp").expect("Linux");
    let inode_of = |port: u16| {
        let row = table
            .lines()
            .find(|row| row.contains(&format!(":{port:04X} 00000000:0000 0A")));
        row.and_then(|row| row.split_whitespace().nth(9))
            .map(str::to_owned)
    };
    assert!(inode_of(port).is_some_and(|inode| inodes.contains(&inode)));
    assert!(
        inode_of(other).is_some_and(|inode| !inodes.contains(&inode)),
        "it is closed here"
    );
    // The file is the manager's, and outlives us.
    let kill = Command::new("kill")
        .args(["-TERM", &pid(&stage).to_string()])
        .status();
    assert!(kill.is_ok_and(|status| status.success()));
    let gone = async {
        while stage.path("server.pid").exists() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(LIMIT, gone).await.expect("an end in time");
    assert!(path.exists());
}

#[tokio::test]
async fn the_manager_is_told_what_happens() {
    let mut stage = Stage::new();
    let port = free_port();
    let config = json!({"inbounds": [inbound("127.0.0.1", Some(port))], "outbounds": [{"protocol": "freedom"}]});
    let notify = format!("@mobula-test-{}-{port}", std::process::id());
    let watchdog = [("WATCHDOG_USEC", "1000000")];
    let index = managed(&mut stage, &notify, &[], &config, &watchdog).await;
    TcpStream::connect(("127.0.0.1", port))
        .await
        .expect("ready means that it listens");
    let me = pid(&stage).to_string();
    stage.child(index).signal("HUP");
    stage
        .until_line_has("heard", &[&me, "RELOADING=1", "MONOTONIC_USEC="])
        .await;
    let ready = |heard: &str| {
        heard
            .lines()
            .filter(|line| line.contains("READY=1"))
            .count()
    };
    let until_ready = async |stage: &Stage, times: usize| {
        let waiting = async {
            while ready(&stage.read_so_far("heard")) < times {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(LIMIT, waiting).await.expect("READY=1 in time");
    };
    until_ready(&stage, 2).await;
    stage.write("server.json", "{");
    stage.child(index).signal("HUP");
    until_ready(&stage, 3).await;
    stage
        .until_file_has("heard", "STATUS=the config was not taken over")
        .await;
    let beats = |stage: &Stage| stage.read_so_far("heard").matches("WATCHDOG=1").count();
    let before = beats(&stage);
    let waiting = async {
        while beats(&stage) < before + 3 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(LIMIT, waiting).await.expect("it is alive");
    let kill = Command::new("kill").args(["-TERM", &me]).status();
    assert!(kill.is_ok_and(|status| status.success()));
    let heard = stage.until_line_has("heard", &[&me, "STOPPING=1"]).await;
    assert!(heard.lines().all(|line| line.starts_with(&me)), "{heard}");
    // Usec of CLOCK_MONOTONIC, which this machine has had since it started.
    let uptime = fs::read_to_string("/proc/uptime").expect("Linux");
    let uptime: f64 = uptime
        .split(' ')
        .next()
        .and_then(|s| s.parse().ok())
        .expect("seconds");
    let usec = heard
        .split("MONOTONIC_USEC=")
        .nth(1)
        .and_then(|rest| rest.split_whitespace().next());
    let usec: f64 = usec.and_then(|usec| usec.parse().ok()).expect("a number");
    assert!((uptime - usec / 1e6).abs() < 60.0, "{uptime} {usec}");
    // It is taken away at the end, which may be now.
    let left = stage.read("server.pid");
    assert!(left.is_empty() || left.trim() == me, "{left}");
}

/// systemd's own program for it.
#[tokio::test]
async fn a_socket_of_systemd_socket_activate_is_served() {
    let mut stage = Stage::new();
    let (port, socks) = (free_port(), free_port());
    let config = json!({"inbounds": [inbound("127.0.0.1", Some(port))], "outbounds": [{"protocol": "freedom"}]});
    let file = stage.write("server.json", config.to_string());
    let mut command = system("systemd-socket-activate");
    command.arg(format!("--listen=127.0.0.1:{port}"));
    command
        .arg(mobula().get_program())
        .args(["run", "-c"])
        .arg(file);
    // It starts mobula when the first connection comes.
    stage.start("server", &mut command, &[port]).await;
    stage
        .run(
            V2ray445,
            "client",
            &Vmess::ws().client(V2ray445, socks, port),
            &[socks],
        )
        .await;
    traffic::word(socks, &To::Ip(traffic::echo().await)).await;
    let said = stage
        .until_file_has("server.log", "mobula 0.1.0 started")
        .await;
    assert!(!said.contains("in use"), "{said}");
    traffic::word(socks, &To::Ip(traffic::echo().await)).await;
}
