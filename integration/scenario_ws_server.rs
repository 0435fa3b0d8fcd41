//! `mobula ws --listen`: one peer at a time at the terminal, and `--echo`.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::configs::{Certificate, SERVER_NAME};
use crate::peers::{Peer::Mobula, Stage, free_port, mobula};
use crate::ws_ends::{ours, peer, works, ws};

#[tokio::test]
async fn wss_is_served_and_believed_as_it_is_told() {
    let mut stage = Stage::new();
    let files = Certificate::new(&stage);
    let [chain, key, authority] =
        [&files.chain, &files.key, &files.authority].map(|file| file.display().to_string());
    let (port, _) = ours(&mut stage, &["--echo", "--cert", &chain, "--key", &key]).await;
    // The certificate is for a name.
    let url = format!("wss://127.0.0.1:{port}/");
    let run = ws(&[&url, "-k"], "any\n").await;
    assert_eq!((run.text(), run.code), ("any\n", Some(0)), "{}", run.errors);
    let run = ws(&[&url, "--ca", &authority], "x\n").await;
    assert!(
        run.code == Some(1) && run.errors.contains(&format!("is for {SERVER_NAME}")),
        "{}",
        run.errors
    );
    assert!(run.errors.contains("[tls-name]"), "{}", run.errors);
    let run = ws(&[&url], "x\n").await;
    assert!(
        run.code == Some(1) && run.errors.contains("[tls-issuer]"),
        "{}",
        run.errors
    );
    // Through a proxy that knows where the name is.
    let socks = free_port();
    let config = json!({
        "dns": {"hosts": {SERVER_NAME: "127.0.0.1"}, "servers": ["localhost"]},
        "inbounds": [{"port": socks, "listen": "127.0.0.1", "protocol": "socks"}],
        "outbounds": [{"protocol": "freedom", "settings": {"domainStrategy": "UseIP", "finalRules": [{"action": "allow"}]}}]});
    stage.run(Mobula, "proxy", &config, &[socks]).await;
    let (url, proxy) = (
        format!("wss://{SERVER_NAME}:{port}/"),
        format!("socks5://127.0.0.1:{socks}"),
    );
    let run = ws(&[&url, "--ca", &authority, "--proxy", &proxy], "believed\n").await;
    assert_eq!(
        (run.text(), run.code),
        ("believed\n", Some(0)),
        "{}",
        run.errors
    );
    let run = ws(&[&format!("ws://127.0.0.1:{port}/")], "x\n").await;
    assert_eq!(run.code, Some(1), "{}", run.errors);
}

#[tokio::test]
async fn an_echo_and_a_hub_are_servers_for_pythons_clients() {
    let mut stage = Stage::new();
    let (port, _) = ours(&mut stage, &["--echo"]).await;
    works(&["measured", &format!("ws://127.0.0.1:{port}/any/path")]).await;
    works(&["wrong", &format!("ws://127.0.0.1:{port}/")]).await;
    let mut stage = Stage::new();
    let (port, index) = ours(&mut stage, &["--hub"]).await;
    works(&["wrong", &format!("ws://127.0.0.1:{port}/x")]).await;
    let room = format!("ws://127.0.0.1:{port}/%E6%88%BF?a=b");
    let mut commands = [
        peer(&["member", &room, "", "3"]),
        peer(&["member", &room, "", "3"]),
        peer(&["member", &format!("ws://127.0.0.1:{port}/other"), "", "1"]),
    ];
    for (n, command) in commands.iter_mut().enumerate() {
        stage.start(&format!("member-{n}"), command, &[]).await;
        stage.until_file_has(&format!("member-{n}.log"), "in").await;
    }
    let run = ws(&[&format!("ws://127.0.0.1:{port}/房")], "一\ntwo\n").await;
    assert_eq!(
        (run.text(), run.code),
        ("", Some(0)),
        "nobody hears itself: {}",
        run.errors
    );
    ws(&[&room, "--binary"], b"three").await;
    for n in 0..2 {
        let log = stage.until_file_has(&format!("member-{n}.log"), "ok").await;
        assert_eq!(log, "in\n'一'\n'two'\nb'three'\nok\n");
    }
    assert_eq!(stage.read("member-2.log"), "in\n", "another room");
    let log = stage.log(index);
    assert!(
        log.contains("has connected to /房") && log.contains("has left: 1000 (normal closure)"),
        "{log}"
    );
}

/// A program that says something and closes at once is answered first.
#[tokio::test]
async fn an_echo_comes_before_the_answer_to_a_close() {
    let mut stage = Stage::new();
    let (port, _) = ours(&mut stage, &["--echo"]).await;
    let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port))
        .await
        .unwrap();
    let head = "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = vec![0; 4096];
    let len = stream.read(&mut answer).await.unwrap();
    assert!(answer[..len].starts_with(b"HTTP/1.1 101 "));
    // Masked with zeros: twice a text, and Close 1000, in one segment.
    let text = b"\x81\x85\0\0\0\0hello";
    let frames = [&text[..], text, b"\x88\x82\0\0\0\0\x03\xe8"].concat();
    stream.write_all(&frames).await.unwrap();
    let mut all = Vec::new();
    stream.read_to_end(&mut all).await.unwrap();
    assert_eq!(all, b"\x81\x05hello\x81\x05hello\x88\x02\x03\xe8");
}

/// Without more words it is what a person types into, and reads.
#[tokio::test]
async fn a_server_prints_what_it_hears_and_says_what_is_typed() {
    let mut stage = Stage::new();
    let port = free_port();
    let mut command = mobula();
    command.args([
        "ws",
        "--listen",
        &format!("127.0.0.1:{port}"),
        "--path",
        "/x",
        "-v",
    ]);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut command = tokio::process::Command::from(command);
    let mut child = command.kill_on_drop(true).spawn().expect("it runs");
    let mut stdin = child.stdin.take().expect("a pipe");
    // It waits for somebody to hear it.
    stdin.write_all("你好\n".as_bytes()).await.unwrap();
    while !crate::peers::listening(port) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let url = format!("ws://127.0.0.1:{port}/x");
    let run = ws(&[&url, "-w", "1"], "一\ntwo").await;
    assert_eq!(
        (run.text(), run.code),
        ("你好\n", Some(0)),
        "{}",
        run.errors
    );
    let elsewhere = ws(&[&format!("ws://127.0.0.1:{port}/y")], "").await;
    let said = "; it says: nothing is at this path [ws-404]";
    assert!(elsewhere.errors.contains(said), "{}", elsewhere.errors);
    assert!(
        elsewhere.errors.contains("[ws-404]"),
        "{}",
        elsewhere.errors
    );
    // Two who stay: both hear it, and both hear the end.
    let mut commands = [
        peer(&["member", &url, "a", "9"]),
        peer(&["member", &url, "b", "9"]),
    ];
    for (n, command) in commands.iter_mut().enumerate() {
        stage.start(&format!("member-{n}"), command, &[]).await;
        stage.until_file_has(&format!("member-{n}.log"), "in").await;
    }
    stdin.write_all(b"to all\n").await.unwrap();
    for n in 0..2 {
        stage
            .until_file_has(&format!("member-{n}.log"), "'to all'")
            .await;
    }
    drop(stdin);
    tokio::time::sleep(Duration::from_millis(300)).await;
    let id = child
        .id()
        .expect("it goes on without its input")
        .to_string();
    let began = Instant::now();
    assert!(
        Command::new("kill")
            .args(["-INT", &id])
            .status()
            .unwrap()
            .success()
    );
    let output = child.wait_with_output().await.unwrap();
    assert!(output.status.success() && began.elapsed() < Duration::from_secs(2));
    for n in 0..2 {
        let log = stage
            .until_file_has(&format!("member-{n}.log"), "1001")
            .await;
        assert!(log.contains("ConnectionClosedOK"), "{log}");
    }
    assert_eq!(String::from_utf8_lossy(&output.stdout), "一\ntwo\na\nb\n");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        errors.contains("> GET /x HTTP/1.1") && errors.contains("< HTTP/1.1 101"),
        "{errors}"
    );
}
