//! SIGUSR2: a new process takes over, with the sockets, while tunnels of other programs run.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use crate::configs::{ID, Vmess};
use crate::peers::Peer::{SingBox, V2ray445};
use crate::peers::{Stage, copy_of_mobula, free_port, listening};
use crate::scenario_manager::{managed, pid};
use crate::traffic::{self, LIMIT, To};

/// A process that is nobody's child here; it ends when this is dropped.
pub struct Heir(u32);

impl Drop for Heir {
    fn drop(&mut self) {
        signal(self.0, "KILL");
    }
}

fn signal(pid: u32, name: &str) {
    let _ = Command::new("kill")
        .args([format!("-{name}"), pid.to_string()])
        .output();
}

fn config(port: u16, more: &[Value]) -> Value {
    let mut inbounds = vec![json!({
        "tag": "in", "listen": "127.0.0.1", "port": port, "protocol": "vmess", "settings": {"clients": [{"id": ID}]},
        "streamSettings": {"network": "ws", "wsSettings": {"path": "/ray"}},
    })];
    inbounds.extend_from_slice(more);
    json!({"inbounds": inbounds, "outbounds": [{"protocol": "freedom"}]})
}

/// A program at a path of the test's own, as a package manager would put it there.
fn install(to: &Path) {
    let new = to.with_extension("new");
    copy_of_mobula(&new);
    fs::rename(new, to).expect("one folder");
}

pub async fn start(stage: &mut Stage, config: &Value, words: &[&str], ports: &[u16]) -> usize {
    let program = stage.path("mobula");
    install(&program);
    let file = stage.write("server.json", format!("{config:#}"));
    let mut command = Command::new(program);
    command
        .args(["run", "-pidfile", "server.pid"])
        .args(words)
        .arg("-c")
        .arg(file);
    let index = stage.start("server", &mut command, ports).await;
    let written = async {
        while stage.read_so_far("server.pid").is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(LIMIT, written).await.expect("a pid file");
    index
}

/// Waits until another process has the pid file.
pub async fn heir(stage: &Stage, before: u32) -> Heir {
    let waiting = async {
        loop {
            match stage.read_so_far("server.pid").trim().parse() {
                Ok(now) if now != before => return now,
                _ => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    };
    let found = timeout(LIMIT, waiting).await;
    Heir(found.unwrap_or_else(|_| panic!("nobody took over: {}", stage.read("server.log"))))
}

#[tokio::test]
async fn a_new_program_takes_over_and_no_connection_is_refused() {
    for client in [SingBox, V2ray445] {
        let mut stage = Stage::new();
        let (port, socks, door) = (free_port(), free_port(), free_port());
        let echo = traffic::udp_echo().await;
        let path = stage.path("ray.sock");
        let more = [
            json!({
                "listen": "127.0.0.1", "port": door, "protocol": "dokodemo-door",
                "settings": {"address": "127.0.0.1", "port": echo.port(), "network": "udp"},
            }),
            json!({"listen": path, "protocol": "socks"}),
        ];
        let index = start(&mut stage, &config(port, &more), &[], &[port]).await;
        stage
            .run(
                client,
                "client",
                &Vmess::ws().client(client, socks, port),
                &[socks],
            )
            .await;
        let plain = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
        let udp_word = async |word: &[u8]| {
            plain
                .send_to(word, ("127.0.0.1", door))
                .await
                .expect("UDP sends");
            let mut buf = [0; 16];
            let got = timeout(LIMIT, plain.recv(&mut buf))
                .await
                .expect("an answer in time");
            assert_eq!(&buf[..got.expect("UDP receives")], word);
        };
        udp_word(b"before").await;

        const LEN: usize = 8 * 1024 * 1024;
        let data = traffic::bytes(LEN);
        let whole = traffic::sha256(&data);
        let stream = traffic::connect(socks, &To::Ip(traffic::echo().await)).await;
        let (mut read, mut write) = stream.expect("SOCKS connects").into_split();
        let over = Arc::new(AtomicBool::new(false));
        let hurry = over.clone();
        let writing = tokio::spawn(async move {
            for piece in data.chunks(16 * 1024) {
                write.write_all(piece).await.expect("the tunnel takes it");
                if !hurry.load(Ordering::Relaxed) {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            }
            write
        });
        let reading = tokio::spawn(async move {
            let mut back = vec![0; LEN];
            read.read_exact(&mut back)
                .await
                .expect("the tunnel goes on");
            (traffic::sha256(&back), read)
        });
        let connects = Arc::new(AtomicUsize::new(0));
        let (counted, stop) = (connects.clone(), over.clone());
        let connecting = tokio::spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                let connected = TcpStream::connect(("127.0.0.1", port)).await;
                connected.expect("no connection is refused");
                counted.fetch_add(1, Ordering::Relaxed);
                tokio::task::yield_now().await;
            }
        });
        // An upgrade: another file at the same path.
        let old = pid(&stage);
        install(&stage.path("mobula"));
        let inode = fs::metadata(stage.path("mobula"))
            .expect("it is there")
            .ino();
        signal(old, "USR2");
        let heir = heir(&stage, old).await;
        let program = fs::metadata(format!("/proc/{}/exe", heir.0)).expect("it runs");
        assert_eq!(program.ino(), inode, "the new file runs");
        stage
            .until_file_has("server.log", "the next process serves")
            .await;
        // New sessions are the new process', and the old one's tunnel goes on.
        for _ in 0..3 {
            traffic::word(socks, &To::Ip(traffic::echo().await)).await;
        }
        udp_word(b"after").await;
        over.store(true, Ordering::Relaxed);
        connecting.await.expect("no connection is refused");
        assert!(
            connects.load(Ordering::Relaxed) > 20,
            "there were few connects"
        );
        let (back, read) = timeout(LIMIT * 3, reading)
            .await
            .expect("all in time")
            .expect("it reads");
        assert_eq!(back, whole, "{client:?}");
        // With its last tunnel the old one ends, and its files are not its own any more.
        let writing = writing.await.expect("it writes");
        drop((read, writing));
        let status = stage.child(index).ended(LIMIT).await;
        assert_eq!(status.code(), Some(0), "{}", stage.read("server.log"));
        assert!(path.exists() && listening(port));
        tokio::net::UnixStream::connect(&path)
            .await
            .expect("the heir's");
        traffic::word(socks, &To::Ip(traffic::echo().await)).await;
        assert_eq!(pid(&stage), heir.0);
        // And once more, by the one that took over.
        signal(heir.0, "USR2");
        let next = self::heir(&stage, heir.0).await;
        traffic::word(socks, &To::Ip(traffic::echo().await)).await;
        signal(next.0, "TERM");
        let gone = async {
            while path.exists() || stage.path("server.pid").exists() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(LIMIT, gone)
            .await
            .expect("files go with the last one");
    }
}

#[tokio::test]
async fn who_cannot_take_over_leaves_the_old_process_as_it_was() {
    let mut stage = Stage::new();
    let (port, socks) = (free_port(), free_port());
    let good = config(port, &[]);
    let index = start(&mut stage, &good, &[], &[port]).await;
    stage
        .run(
            V2ray445,
            "client",
            &Vmess::ws().client(V2ray445, socks, port),
            &[socks],
        )
        .await;
    let to = To::Ip(traffic::echo().await);
    let mut stream = traffic::connect(socks, &to).await.expect("SOCKS connects");
    traffic::exchange(&mut stream, b"before").await;
    let old = pid(&stage);
    let undone = "no other process has taken over";
    let until_undone = async |stage: &Stage, times: usize| {
        let waiting = async {
            while stage.read_so_far("server.log").matches(undone).count() < times {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(LIMIT, waiting)
            .await
            .unwrap_or_else(|_| panic!("{}", stage.read("server.log")));
        stage.read("server.log")
    };
    // A config that does not load.
    stage.write(
        "server.json",
        config(0, &[json!({"protocol": "vmes"})]).to_string(),
    );
    stage.child(index).signal("USR2");
    let said = until_undone(&stage, 1).await;
    assert!(
        said.contains("ended before it was ready: exit status: 23"),
        "{said}"
    );
    assert!(
        said.contains("no inbound protocol is called `vmes`"),
        "{said}"
    );
    // A port that another program has.
    let taken = traffic::echo().await.port();
    let more = json!({"listen": "127.0.0.1", "port": taken, "protocol": "socks"});
    stage.write("server.json", config(port, &[more]).to_string());
    stage.child(index).signal("USR2");
    let said = until_undone(&stage, 2).await;
    assert!(
        said.contains(&format!("cannot listen on 127.0.0.1:{taken}")),
        "{said}"
    );
    // A program that dies.
    stage.write("server.json", good.to_string());
    let program = stage.path("mobula");
    fs::rename(&program, stage.path("mobula.good")).expect("one folder");
    stage.write("mobula", "#!/bin/sh\nkill -9 $$\n");
    fs::set_permissions(
        &program,
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )
    .expect("ours");
    stage.child(index).signal("USR2");
    let said = until_undone(&stage, 3).await;
    assert!(said.contains("signal: 9"), "{said}");
    // None at all.
    fs::remove_file(&program).expect("ours");
    stage.child(index).signal("USR2");
    until_undone(&stage, 4).await;
    traffic::exchange(&mut stream, b"after").await;
    traffic::word(socks, &to).await;
    assert_eq!(pid(&stage), old);
    // A reload is still possible.
    stage.child(index).signal("HUP");
    stage
        .until_file_has("server.log", "the config was read again")
        .await;
}

#[tokio::test]
async fn tunnels_that_stay_are_ended_after_the_time_that_was_given() {
    let mut stage = Stage::new();
    let (port, socks) = (free_port(), free_port());
    let index = start(&mut stage, &config(port, &[]), &["-drain", "1"], &[port]).await;
    stage
        .run(
            V2ray445,
            "client",
            &Vmess::ws().client(V2ray445, socks, port),
            &[socks],
        )
        .await;
    let to = To::Ip(traffic::echo().await);
    let mut stream = traffic::connect(socks, &to).await.expect("SOCKS connects");
    traffic::exchange(&mut stream, b"before").await;
    let old = pid(&stage);
    stage.child(index).signal("USR2");
    let _heir = heir(&stage, old).await;
    let status = stage.child(index).ended(LIMIT).await;
    assert_eq!(status.code(), Some(0));
    let end = timeout(LIMIT, stream.read(&mut [0; 1])).await;
    assert!(
        matches!(end, Ok(Ok(0) | Err(_))),
        "the end is felt: {end:?}"
    );
    traffic::word(socks, &to).await;
}

#[tokio::test]
async fn a_manager_is_told_who_its_main_process_is() {
    let mut stage = Stage::new();
    let (port, any) = (
        free_port(),
        json!({"listen": "127.0.0.1", "port": 0, "protocol": "socks"}),
    );
    let notify = stage.path("notify").display().to_string();
    let places = [format!("tcp:127.0.0.1:{port}")];
    let index = managed(
        &mut stage,
        &notify,
        &places,
        &config(port, &[any]),
        &[("WATCHDOG_USEC", "1000000")],
    )
    .await;
    let old = pid(&stage);
    stage.child(index).signal("USR2");
    let heir = heir(&stage, old).await;
    let me = heir.0.to_string();
    stage
        .until_line_has("heard", &[&old.to_string(), &format!("MAINPID={me}")])
        .await;
    stage.until_line_has("heard", &[&me, "WATCHDOG=1"]).await;
    stage.until_line_has("heard", &[&me, "READY=1"]).await;
    assert!(!stage.read("heard").contains("STOPPING=1"));
    TcpStream::connect(("127.0.0.1", port))
        .await
        .expect("it serves");
    stage.child(index).signal("HUP");
    stage.until_line_has("heard", &[&me, "RELOADING=1"]).await;
    // The port that the system chose is the same.
    let said = stage.read("server.log");
    let chosen: Vec<&str> = said
        .lines()
        .filter(|line| line.contains("inbounds[1] listens on"))
        .collect();
    let port_of = |line: &str| {
        line.split("listens on ")
            .nth(1)
            .and_then(|rest| rest.split(':').nth(1))
            .map(str::to_owned)
    };
    assert_eq!(chosen.len(), 2, "{said}");
    assert_eq!(port_of(chosen[0]), port_of(chosen[1]), "{said}");
}
