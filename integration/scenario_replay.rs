//! Somebody has recorded the first flight of a connection and sends it again.

use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::configs::Vmess;
use crate::peers::Peer::Mobula;
use crate::peers::{Stage, free_port, listen};
use crate::scenario_abrupt::connected;

/// How long a server may take to answer what it should not.
const WAIT: Duration = Duration::from_millis(500);

/// What a client sends to open a session to `target`, recorded on its way to the server on `server`, which answers it.
async fn recorded(stage: &mut Stage, server: u16) -> Vec<u8> {
    let middle = listen();
    let (port, socks) = (middle.local_addr().unwrap().port(), free_port());
    let recording = tokio::spawn(async move {
        let (mut near, _) = middle.accept().await.unwrap();
        let mut far = TcpStream::connect((Ipv4Addr::LOCALHOST, server))
            .await
            .unwrap();
        let mut flight = vec![0; 4096];
        let n = near.read(&mut flight).await.unwrap();
        flight.truncate(n);
        far.write_all(&flight).await.unwrap();
        let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
        flight
    });
    let config = Vmess::tcp().client(Mobula, socks, port);
    stage.run(Mobula, "client", &config, &[socks]).await;
    drop(connected(socks).await);
    recording.await.unwrap()
}

/// Whether the server on `port` answers `flight`.
async fn answers(port: u16, flight: &[u8]) -> bool {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))
        .await
        .unwrap();
    stream.write_all(flight).await.unwrap();
    let read = timeout(WAIT, stream.read(&mut [0; 64])).await;
    matches!(read, Ok(Ok(n)) if n > 0)
}

/// The target of the recorded flight has gone: a server that took the flight shows it by closing.
async fn is_taken(port: u16, flight: &[u8]) -> bool {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))
        .await
        .unwrap();
    stream.write_all(flight).await.unwrap();
    timeout(WAIT, stream.read(&mut [0; 64])).await.is_ok()
}

fn server(port: u16, folder: Option<&Path>) -> Value {
    let mut config = Vmess::tcp().server(Mobula, port);
    if let Some(folder) = folder {
        config["stateDirectory"] = json!(folder);
    }
    config
}

#[tokio::test]
async fn with_a_state_folder_no_first_flight_is_answered_after_a_restart() {
    let mut stage = Stage::new();
    let folder = stage.path("state/of/mobula");
    let port = free_port();
    let config = server(port, Some(&folder));
    let first = stage.run(Mobula, "first", &config, &[port]).await;
    let flight = recorded(&mut stage, port).await;
    assert!(!is_taken(port, &flight).await, "while it runs");
    // A second process with the same folder, as when one takes over from the other.
    let beside = free_port();
    let config_beside = server(beside, Some(&folder));
    stage.run(Mobula, "beside", &config_beside, &[beside]).await;
    assert!(!is_taken(beside, &flight).await, "another process");
    stage.child(first).signal("KILL");
    stage.child(first).ended(Duration::from_secs(5)).await;
    stage.run(Mobula, "second", &config, &[port]).await;
    assert!(!is_taken(port, &flight).await, "after a restart");
    assert!(!answers(port, &flight).await, "after a restart");
}

/// What two processes answer while both run, each learns from the other.
#[tokio::test]
async fn a_process_that_was_started_before_knows_what_a_later_one_answered() {
    let mut stage = Stage::new();
    let folder = stage.path("state");
    let (old, new) = (free_port(), free_port());
    let config = server(old, Some(&folder));
    stage.run(Mobula, "old", &config, &[old]).await;
    let config = server(new, Some(&folder));
    stage.run(Mobula, "new", &config, &[new]).await;
    let flight = recorded(&mut stage, new).await;
    assert!(!is_taken(old, &flight).await);
}

/// systemd's variable does the same as the key; and the flight is one that a server would take.
#[tokio::test]
async fn the_folder_of_systemd_is_used() {
    for (set, taken) in [(true, false), (false, true)] {
        let mut stage = Stage::new();
        let folder = stage.path("state");
        let port = free_port();
        let path = stage.write("config.json", server(port, None).to_string());
        let start = || {
            let mut command: Command = Mobula.command(&path);
            command.env_remove("STATE_DIRECTORY");
            if set {
                command.env("STATE_DIRECTORY", &folder);
            }
            command
        };
        let first = stage.start("first", &mut start(), &[port]).await;
        let flight = recorded(&mut stage, port).await;
        stage.child(first).signal("KILL");
        stage.child(first).ended(Duration::from_secs(5)).await;
        stage.start("second", &mut start(), &[port]).await;
        assert_eq!(is_taken(port, &flight).await, taken, "set: {set}");
    }
}

#[tokio::test]
async fn a_state_folder_that_is_of_no_use_is_said_and_stops_nobody() {
    let mut stage = Stage::new();
    let file = stage.write("file", "not a folder");
    let port = free_port();
    let config = server(port, Some(&file));
    let running = stage.run(Mobula, "server", &config, &[port]).await;
    recorded(&mut stage, port).await;
    let log = stage.log(running);
    let lines = log.lines().filter(|line| line.contains("state folder"));
    assert_eq!(lines.count(), 1, "{log}");
}

/// What others have written there, or half of it, is no reason to forget the rest.
#[tokio::test]
async fn a_damaged_file_keeps_what_can_be_read() {
    let mut stage = Stage::new();
    let folder = stage.path("state");
    let port = free_port();
    let config = server(port, Some(&folder));
    let first = stage.run(Mobula, "first", &config, &[port]).await;
    let flight = recorded(&mut stage, port).await;
    stage.child(first).signal("KILL");
    stage.child(first).ended(Duration::from_secs(5)).await;
    let file = std::fs::read_dir(&folder).unwrap().next().unwrap().unwrap();
    let mut bytes = std::fs::read(file.path()).unwrap();
    bytes.extend([0xff; 45]);
    std::fs::write(file.path(), bytes).unwrap();
    stage.run(Mobula, "second", &config, &[port]).await;
    assert!(!is_taken(port, &flight).await);
}
