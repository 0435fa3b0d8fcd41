//! Strangers come in numbers: the logs stay small, every line of theirs is counted, and no honest line is lost.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::configs::Vmess;
use crate::peers::Peer::{Mobula, V2ray445};
use crate::peers::{Stage, free_port};
use crate::traffic::{self, To};

const FLOOD: u32 = 20_000;

/// `count` strangers from nine addresses, some with garbage and some with a request for another path.
async fn flood(port: u16, count: u32) {
    let (mut strangers, few) = (JoinSet::new(), std::sync::Arc::new(Semaphore::new(100)));
    for n in 0..count {
        let few = few.clone();
        strangers.spawn(async move {
            let _turn = few.acquire().await.expect("it is not closed");
            let socket = TcpSocket::new_v4().expect("a socket");
            let from = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2 + (n % 9) as u8));
            socket
                .bind(SocketAddr::new(from, 0))
                .expect("loopback has ports");
            let to = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
            let mut stream = socket.connect(to).await.expect("mobula listens");
            let request = match n % 2 {
                0 => format!("GET /{n:x} HTTP/1.1\r\nHost: a\r\n\r\n").into_bytes(),
                _ => b"\x16\x03\x01\x00\x05hello\r\n\r\n".to_vec(),
            };
            stream.write_all(&request).await.expect("mobula reads");
            let mut answer = [0; 10];
            stream.read_exact(&mut answer).await.expect("an answer");
            assert_eq!(&answer, b"HTTP/1.1 4");
        });
    }
    while let Some(stranger) = strangers.join_next().await {
        stranger.expect("a stranger is answered");
    }
}

/// How many refusals of strangers a log stands for.
fn strangers(log: &str) -> u64 {
    let refusals = log.lines().filter(|line| {
        (line.contains(" rejected ") || line.contains("was refused"))
            && !line.contains("mobula.test")
    });
    refusals.map(more).map(|more| more.unwrap_or(1)).sum()
}

/// `(N more in 5 s)`, `(the last of N more …)`
fn more(line: &str) -> Option<u64> {
    let (before, _) = line.rsplit_once(" more ")?;
    let number = before.rsplit([' ', '(']).next()?;
    number.parse().ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_is_counted_and_hides_nobody() {
    let mut stage = Stage::new();
    let (server, socks, tap) = (free_port(), free_port(), free_port());
    let config = Vmess::ws().server(Mobula, server);
    let index = stage.run(Mobula, "server", &config, &[server]).await;
    let flight = record(tap, server).await;
    let config = Vmess::ws().client(V2ray445, socks, tap);
    stage.run(V2ray445, "client", &config, &[socks]).await;
    let to = To::Ip(traffic::echo().await);
    traffic::word(socks, &to).await;
    let flight = flight.await.expect("a first flight");

    // Meanwhile a user goes about their business, and makes a mistake.
    let honest = async {
        for n in 0..50 {
            traffic::word(socks, &to).await;
            if n == 25 {
                replay(server, &flight).await;
            }
        }
    };
    tokio::join!(flood(server, FLOOD), honest);
    // The last ones have hung up, which has yet to be seen.
    tokio::time::sleep(Duration::from_millis(500)).await;
    stage.child(index).signal("TERM");
    stage.child(index).ended(Duration::from_secs(5)).await;

    let log = stage.read("access.log");
    assert_eq!(strangers(&log), u64::from(FLOOD), "{log}");
    assert_eq!(log.matches(" accepted tcp:").count(), 51, "{log}");
    let mistakes: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("a@mobula.test's auth id was sent before"))
        .collect();
    assert_eq!(mistakes.len(), 1, "{log}");
    let size = log.len() + stage.log(index).len() - 51 * 120;
    assert!(size < 32 * 1024, "{size} bytes");
}

/// The counts do not wait for the end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counts_are_told_some_seconds_later_with_an_access_log_and_without() {
    for access in ["access.log", "none"] {
        let mut stage = Stage::new();
        let server = free_port();
        let mut config = Vmess::ws().server(Mobula, server);
        config["log"] = json!({"access": access, "error": "error.log"});
        stage.run(Mobula, "server", &config, &[server]).await;
        flood(server, 100).await;
        let file = if access == "none" {
            "error.log"
        } else {
            access
        };
        let mut counted = 0;
        let deadline = Instant::now() + Duration::from_secs(8);
        while counted < 100 {
            assert!(
                Instant::now() < deadline,
                "{counted} of 100:\n{}",
                stage.read(file)
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
            let log = stage.read_so_far(file);
            counted = strangers(&log);
            let refusals = log.lines().filter(|line| strangers(line) > 0);
            let unnamed: Vec<_> = refusals.filter(|l| !l.contains("127.0.0.")).collect();
            assert!(unnamed.is_empty(), "no source: {unnamed:?}");
        }
        assert_eq!(counted, 100);
    }
}

/// What a library has to say of somebody's frames is no line for each of them.
#[tokio::test]
async fn frames_of_http2_that_nobody_asked_for_fill_no_log() {
    let mut stage = Stage::new();
    let port = free_port();
    let mut config = Vmess::ws().server(Mobula, port);
    config["inbounds"][0]["streamSettings"] =
        json!({"network": "grpc", "grpcSettings": {"serviceName": "a"}});
    let index = stage.run(Mobula, "server", &config, &[port]).await;
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))
        .await
        .expect("mobula listens");
    let mut flood = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec();
    for _ in 0..5_000 {
        // An answer to a ping.
        flood.extend_from_slice(b"\0\0\x08\x06\x01\0\0\0\0abcdefgh");
    }
    stream.write_all(&flood).await.expect("mobula reads");
    let hearing = async {
        let mut answer = vec![0; 64 * 1024];
        while stream.read(&mut answer).await.is_ok_and(|n| n > 0) {}
    };
    let _ = tokio::time::timeout(Duration::from_secs(2), hearing).await;
    let said = stage.log(index).len() + stage.read_so_far("access.log").len();
    assert!(said < 4 * 1024, "{said} bytes");
}

/// Passes one connection on, and gives what it began with.
async fn record(tap: u16, server: u16) -> tokio::sync::oneshot::Receiver<Vec<u8>> {
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, tap))
        .await
        .expect("the port is free");
    let (tell, told) = tokio::sync::oneshot::channel();
    let mut tell = Some(tell);
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            let mut far = TcpStream::connect((Ipv4Addr::LOCALHOST, server))
                .await
                .expect("mobula listens");
            let Some(tell) = tell.take() else {
                tokio::spawn(
                    async move { tokio::io::copy_bidirectional(&mut near, &mut far).await },
                );
                continue;
            };
            tokio::spawn(async move {
                let mut buf = vec![0; 64 * 1024];
                let mut said = Vec::new();
                // The handshake of the WebSocket, its answer, the first frame.
                for _ in 0..2 {
                    let n = near.read(&mut buf).await.expect("a client");
                    said.extend_from_slice(&buf[..n]);
                    far.write_all(&buf[..n]).await.expect("a server");
                    if said.len() == n {
                        let n = far.read(&mut buf).await.expect("a server");
                        near.write_all(&buf[..n]).await.expect("a client");
                    }
                }
                let _ = tell.send(said);
                tokio::io::copy_bidirectional(&mut near, &mut far).await
            });
        }
    });
    told
}

async fn replay(server: u16, flight: &[u8]) {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, server))
        .await
        .expect("mobula listens");
    stream.write_all(flight).await.expect("mobula reads");
    // The answer to the handshake; then silence.
    let n = stream.read(&mut [0; 1024]).await.expect("an answer");
    assert!(n > 0);
}

/// A log that nobody reads hinders nobody, and says how much it lost.
#[tokio::test]
async fn a_log_in_a_pipe_that_nobody_reads_stops_neither_the_start_nor_a_tunnel() {
    let mut stage = Stage::new();
    let pipe = stage.path("access.log");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.is_ok_and(|status| status.success()));
    let (server, socks) = (free_port(), free_port());
    let mut config = Vmess::ws().server(Mobula, server);
    config["log"]["error"] = json!("error.log");
    let index = stage.run(Mobula, "server", &config, &[server]).await;
    let said = stage.log(index);
    assert!(
        said.contains("access.log is a pipe that nobody reads"),
        "{said}"
    );
    let config = Vmess::ws().client(V2ray445, socks, server);
    stage.run(V2ray445, "client", &config, &[socks]).await;
    let to = To::Ip(traffic::echo().await);
    traffic::word(socks, &to).await;
    stage.until_file_has("error.log", "started").await;
    // Somebody reads at last.
    let reading = tokio::task::spawn_blocking(move || {
        use std::io::BufRead;
        let pipe = std::io::BufReader::new(std::fs::File::open(pipe).expect("it is there"));
        pipe.lines().next().expect("a line").expect("text")
    });
    let line = tokio::time::timeout(traffic::LIMIT, reading)
        .await
        .expect("in time")
        .expect("no panic");
    assert!(line.contains("accepted"), "{line}");
    // And goes: the next line waits for another reader.
    traffic::word(socks, &to).await;
    traffic::word(socks, &to).await;
}
