//! What probers and worse send, and what they learn from the answers: nothing.

use std::net::Ipv4Addr;
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::configs::Vmess;
use crate::peers::Peer::{Mobula, V2ray445};
use crate::peers::{Stage, free_port, listen};
use crate::traffic::{self, To};

async fn server(stage: &mut Stage) -> (usize, u16) {
    let port = free_port();
    let config = Vmess::tcp().server(Mobula, port);
    let index = stage.run(Mobula, "server", &config, &[port]).await;
    (index, port)
}

async fn raw(port: u16) -> TcpStream {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await;
    stream.expect("mobula listens")
}

/// Whether nothing comes and nothing ends within `time`.
async fn silent_and_open(stream: &mut TcpStream, time: Duration) -> bool {
    timeout(time, stream.read(&mut [0; 1])).await.is_err()
}

#[tokio::test]
async fn garbage_of_any_length_meets_silence() {
    let mut stage = Stage::new();
    let (_, port) = server(&mut stage).await;
    let mut probes = JoinSet::new();
    // Around every length at which something could be found out: auth id, sealed length, header, and
    // what V2Ray drains before it closes.
    for len in [
        1, 15, 16, 17, 34, 41, 42, 43, 58, 99, 100, 500, 2000, 4000, 20_000,
    ] {
        probes.spawn(async move {
            let mut stream = raw(port).await;
            stream
                .write_all(&traffic::bytes(len))
                .await
                .expect("it reads");
            let silent = silent_and_open(&mut stream, Duration::from_secs(3)).await;
            assert!(silent, "{len} bytes were answered");
        });
    }
    while let Some(probe) = probes.join_next().await {
        probe.expect("silence");
    }
    let log = stage.until_file_has("access.log", "rejected").await;
    assert!(!log.contains("accepted"), "{log}");
}

/// A recorded first flight, sent again.
#[tokio::test]
async fn a_replay_meets_the_same_silence() {
    let mut stage = Stage::new();
    let (_, port) = server(&mut stage).await;
    let (tap, socks) = (free_port(), free_port());
    let (recorded, mut flights) = mpsc::channel(16);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, tap)).await;
    let listener = listener.expect("the port is free");
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            let mut far = raw(port).await;
            let mut flight = vec![0; 64 * 1024];
            let n = near.read(&mut flight).await.unwrap_or(0);
            flight.truncate(n);
            far.write_all(&flight).await.expect("mobula reads");
            let _ = recorded.send(flight).await;
            tokio::spawn(async move { tokio::io::copy_bidirectional(&mut near, &mut far).await });
        }
    });
    let config = Vmess::tcp().client(V2ray445, socks, tap);
    stage.run(V2ray445, "client", &config, &[socks]).await;
    traffic::word(socks, &To::Ip(traffic::echo().await)).await;

    let flight = flights.recv().await.expect("a first flight");
    for _ in 0..3 {
        let mut stream = raw(port).await;
        stream.write_all(&flight).await.expect("mobula reads");
        assert!(silent_and_open(&mut stream, Duration::from_secs(2)).await);
    }
    // One byte changed, anywhere in the header, is no different.
    for at in [0, 15, 16, 33, 34, 41, 42, 60] {
        let mut changed = flight.clone();
        changed[at] ^= 1;
        let mut stream = raw(port).await;
        stream.write_all(&changed).await.expect("mobula reads");
        assert!(silent_and_open(&mut stream, Duration::from_millis(500)).await);
    }
    let log = stage.until_file_has("access.log", "rejected").await;
    assert_eq!(log.matches("accepted").count(), 1, "{log}");
}

#[tokio::test]
async fn a_thousand_silent_connections_cost_little_and_hinder_nobody() {
    let mut stage = Stage::new();
    let (index, port) = server(&mut stage).await;
    let socks = free_port();
    let config = Vmess::tcp().client(V2ray445, socks, port);
    stage.run(V2ray445, "client", &config, &[socks]).await;
    let to = To::Ip(traffic::echo().await);
    traffic::word(socks, &to).await;
    let before = stage.child(index).resident_kib();

    let mut probers = Vec::new();
    for n in 0..1000 {
        let mut stream = raw(port).await;
        // Some say nothing, some say too little, some say far too much.
        let len = [0, 20, 60, 100_000][n % 4];
        let bytes = traffic::bytes(len);
        let _ = timeout(Duration::from_millis(200), stream.write_all(&bytes)).await;
        probers.push(stream);
    }
    traffic::word(socks, &to).await;
    let grown = stage.child(index).resident_kib().saturating_sub(before);
    assert!(grown < 32 * 1024, "a thousand probers cost {grown} KiB");
    drop(probers);
    traffic::word(socks, &to).await;
}

/// A target that is slower than the application: what waits in between is bounded.
#[tokio::test]
async fn a_slow_reader_makes_nobody_hold_much() {
    let mut stage = Stage::new();
    let (index, port) = server(&mut stage).await;
    let socks = free_port();
    let mut config = Vmess::tcp().client(Mobula, socks, port);
    config["log"]["access"] = json!("none");
    let client = stage.run(Mobula, "client", &config, &[socks]).await;
    let listener = listen();
    let at = listener.local_addr().expect("a listener has an address");
    let before: u64 = [index, client]
        .map(|child| stage.child(child).resident_kib())
        .iter()
        .sum();
    let mut stream = traffic::connect(socks, &To::Ip(at))
        .await
        .expect("SOCKS connects");
    let data = traffic::bytes(64 * 1024 * 1024);
    // Nobody accepts, nobody reads.
    let sent = timeout(Duration::from_secs(3), stream.write_all(&data)).await;
    assert!(
        sent.is_err(),
        "somebody took 64 MiB for a reader that sleeps"
    );
    let after: u64 = [index, client]
        .map(|child| stage.child(child).resident_kib())
        .iter()
        .sum();
    let grown = after.saturating_sub(before);
    assert!(grown < 16 * 1024, "a slow reader costs {grown} KiB");
    drop(listener);
}
