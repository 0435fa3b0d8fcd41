//! `mobula ws` as a client, at the other ends of its WebSockets: the tutorial's server, python's, proxies.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::chromium::Page;
use crate::peers::{Peer::Mobula, Stage, free_port, listen, mobula, python};
use crate::scenario_documents::blocks;
use crate::ws_ends::{curl, fed, ours, theirs, ws};

/// The server of the tutorial: it says something, and then prints what it hears. Its library has moved on: `websockets.serve`
/// of the time is `legacy` today.
#[tokio::test]
async fn the_tutorials_server_runs_as_it_is_written() {
    let mut stage = Stage::new();
    let port = free_port();
    let program = TUTORIAL.replace("8080", &port.to_string());
    stage.write("server.py", program);
    stage.write(
        "run.py",
        "import websockets, websockets.legacy.server\nwebsockets.serve = websockets.legacy.server.serve\n\
         exec(open('server.py', encoding='utf-8').read())\n",
    );
    let mut command = python();
    command.args(["-u", "-W", "ignore", "run.py"]);
    stage.start("server", &mut command, &[port]).await;
    let url = format!("ws://127.0.0.1:{port}");
    let run = ws(&[&url], "第一\nsecond\n").await;
    assert_eq!(
        (run.text(), run.code, &*run.errors),
        ("hello world\n", Some(0), "")
    );
    stage.until_file_has("server.log", "第一").await;
    stage.until_file_has("server.log", "second").await;
    // Without any input it is heard all the same.
    let run = ws(&[&url], "").await;
    assert_eq!((run.text(), run.code), ("hello world\n", Some(0)));
}

const TUTORIAL: &str = "\
# encoding: utf-8
import asyncio
import websockets

async def echo(websocket):
    # 使用WebSocket在客户端和服务器之间建立全双工双向连接后，就可以在连接打开时调用send()方法。
    message = 'hello world'
    # 发送数据
    await websocket.send(message)
    return True

async def recv_msg(websocket):
    while 1:
        # 接收数据
        recv_text = await websocket.recv()
        print(recv_text)

async def main_logic(websocket,path):
    await echo(websocket)
    await recv_msg(websocket)

start_server = websockets.serve(main_logic, '127.0.0.1', 8080)
loop = asyncio.get_event_loop()
loop.run_until_complete(start_server)
# 创建了一个连接对象之后，需要不断监听返回的数据，则调用 run_forever 方法，要保持长连接即可
loop.run_forever()
";

#[tokio::test]
async fn a_pipe_that_ends_at_once_loses_no_reply() {
    let mut stage = Stage::new();
    let lines: String = (0..60).map(|n| format!("line {n} 消息\n")).collect();
    // websockets answers a Close at once, whatever its program has yet to say.
    for handler in ["late_echo", "echo"] {
        let url = format!("ws://127.0.0.1:{}", theirs(&mut stage, handler).await);
        let run = ws(&[&url], &lines).await;
        assert_eq!(
            (run.text(), run.code),
            (&*lines, Some(0)),
            "{handler}: {}",
            run.errors
        );
        assert!(run.took < Duration::from_secs(10), "{:?}", run.took);
        let many = "0123456789abcdef\n".repeat(40_000);
        let many = if handler == "echo" {
            &*many
        } else {
            "one, and no end of a line"
        };
        let run = ws(&[&url], many).await;
        assert_eq!(
            run.text().trim_end(),
            many.trim_end(),
            "{handler}: {}",
            run.errors
        );
    }
    let url = format!("ws://127.0.0.1:{}", theirs(&mut stage, "listening").await);
    let began = Instant::now();
    let run = ws(&[&url, "-w", "1.5"], "x\n").await;
    assert_eq!(run.code, Some(0));
    assert!(
        (1500..5000).contains(&began.elapsed().as_millis()),
        "{:?}",
        run.took
    );
    stage.until_file_has("listening.log", "closed 1000").await;
}

#[tokio::test]
async fn bytes_go_and_come_as_they_are() {
    let mut stage = Stage::new();
    let echo = format!("ws://127.0.0.1:{}", theirs(&mut stage, "echo").await);
    let bytes: Vec<u8> = (0..300_000_u32).map(|n| (n * 7) as u8).collect();
    let run = ws(&[&echo, "--binary"], &bytes).await;
    assert_eq!(run.code, Some(0), "{}", run.errors);
    assert!(
        run.out == bytes,
        "{} of {} bytes",
        run.out.len(),
        bytes.len()
    );
    let pieces = format!("ws://127.0.0.1:{}", theirs(&mut stage, "pieces").await);
    let run = ws(&[&pieces, "--binary"], [0, 255]).await;
    let all: Vec<u8> = (0..=255).collect();
    let expected = [
        b"one message of four pieces",
        &all[..],
        "消息\nof two lines".as_bytes(),
    ];
    assert_eq!(run.out, expected.concat());
    stage.until_file_has("pieces.log", r"b'\x00\xff'").await;
    let run = ws(&[&pieces, "-v"], "").await;
    let expected = [
        b"one message of four pieces\n",
        &all[..],
        "\n消息\nof two lines\n".as_bytes(),
    ];
    assert_eq!(run.out, expected.concat());
    assert!(
        run.errors.contains("* ping from the server, answered"),
        "{}",
        run.errors
    );
    // What is no text is told with its place, and what came before it is sent.
    let run = ws(&[&echo], b"one\n\xff\n").await;
    assert_eq!((run.text(), run.code), ("one\n", Some(1)));
    assert!(
        run.errors
            .starts_with("standard input, line 2: this is not UTF-8"),
        "{}",
        run.errors
    );
}

#[tokio::test]
async fn the_servers_close_ends_it_with_its_code_and_its_reason() {
    let mut stage = Stage::new();
    let port = theirs(&mut stage, "closing").await;
    for (path, code, errors) in [
        ("1000", 0, ""),
        (
            "1008/not_you",
            1,
            "closed by the server: 1008 (policy violation: the server forbids it): not you\n",
        ),
        (
            "4000/own",
            1,
            "closed by the server: 4000 (private: the application's own): own\n",
        ),
    ] {
        // Its input has no end.
        let mut command = mobula();
        command.args(["ws", &format!("ws://127.0.0.1:{port}/{path}"), "-w", "60"]);
        let run = fed(command, Vec::new()).await;
        assert_eq!(
            (run.text(), run.code, &*run.errors),
            ("before the end\n", Some(code), errors)
        );
        assert!(run.took < Duration::from_secs(10), "{path}: {:?}", run.took);
    }
    // A Close that comes while much is sent.
    let port = theirs(&mut stage, "closing_at_once").await;
    let url = format!("ws://127.0.0.1:{port}");
    let run = ws(&[&url], "a line of some length\n".repeat(200_000)).await;
    assert_eq!(run.code, Some(1), "{}", run.errors);
    assert!(
        run.errors.contains("1008 ") || run.errors.contains("1006 "),
        "{}",
        run.errors
    );
    // No Close at all.
    let listener = listen();
    let url = format!("ws://{}", listener.local_addr().unwrap());
    let rude = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = vec![0; 4096];
        let len = stream.read(&mut head).await.unwrap();
        let head = String::from_utf8_lossy(&head[..len]).into_owned();
        let key = head
            .lines()
            .find_map(|line| line.strip_prefix("Sec-WebSocket-Key: "));
        let accept =
            tokio_tungstenite::tungstenite::handshake::derive_accept_key(key.unwrap().as_bytes());
        let answer = format!(
            "HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n\u{81}"
        );
        let mut answer: Vec<u8> = answer.chars().map(|c| c as u8).collect();
        answer.extend_from_slice(b"\x05hello");
        stream.write_all(&answer).await.unwrap();
    });
    let run = ws(&[&url, "-w", "60"], "").await;
    rude.await.unwrap();
    assert_eq!((run.text(), run.code), ("hello\n", Some(1)));
    assert!(
        run.errors.starts_with("closed by nobody: 1006 ("),
        "{}",
        run.errors
    );
}

#[tokio::test]
async fn what_opens_no_websocket_has_its_cause() {
    let answers = |answer: &'static str| async move {
        let listener = listen();
        let url = format!("ws://{}/the/path", listener.local_addr().unwrap());
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let _ = stream.read(&mut [0; 4096]).await;
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        url
    };
    for (answer, told, code) in [
        (
            "HTTP/1.1 404 Not Found\r\nServer: nginx\r\nContent-Length: 0\r\n\r\n",
            "404: the server does not know path /the/path (server: nginx)",
            "ws-404",
        ),
        (
            "HTTP/1.1 403 Forbidden\r\nContent-Type: text/plain\r\nContent-Length: 9\r\n\r\nnot\x1bhere\n",
            "(`-o`); it says: not\u{fffd}here",
            "ws-403",
        ),
        (
            "HTTP/1.1 301 Moved\r\nLocation: https://a.example/x\r\nContent-Length: 0\r\n\r\n",
            "301: redirected, which a WebSocket does not follow: ask wss://a.example/x",
            "ws-301",
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
            "an ordinary web page is at /the/path",
            "ws-200",
        ),
        (
            "HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\n",
            "wrong Sec-WebSocket-Accept",
            "ws-upgrade",
        ),
        (
            "SSH-2.0-OpenSSH_9.9\r\n",
            "the answer is not HTTP",
            "ws-not-http",
        ),
    ] {
        let url = answers(answer).await;
        let run = ws(&[&url], "never sent\n").await;
        assert_eq!((run.code, run.text()), (Some(1), ""), "{answer}");
        assert!(
            run.errors.contains(told) && run.errors.contains(&format!("[{code}]")),
            "{}",
            run.errors
        );
    }
    let run = ws(&[&format!("ws://127.0.0.1:{}", free_port())], "").await;
    assert!(
        run.errors.contains("connection refused [tcp-refused]"),
        "{}",
        run.errors
    );
    assert_eq!(run.code, Some(1));
    for (arguments, told) in [
        (
            &["localhost:80"][..],
            "`localhost:80` is no URL, expected `ws://localhost:80` or",
        ),
        (&["ws://a", "-H", "x"], "-H: `x`: expected `Name: value`"),
        (
            &["ws://a", "--proxy", "ftp://x"],
            "--proxy: expected `http://HOST:PORT` or",
        ),
        (
            &["ws://a", "-s", "a b"],
            "--subprotocol: `a b` is no name of one",
        ),
        (&["ws://a", "--ca", "nothing.pem"], "--ca: "),
        (&["ws://a", "--ping", "x"], "expected a number of seconds"),
        (&["--listen", "x"], "--listen: `x` is no address"),
        (
            &["--listen", ":0", "--hub", "--origin", "a.example"],
            "--origin: `a.example` is no origin",
        ),
        (
            &["--listen", ":0", "--hub", "--echo"],
            "cannot be used with",
        ),
        (&["ws://a", "--listen", ":0"], "cannot be used with"),
        (&[], "required"),
    ] {
        let run = ws(arguments, "").await;
        assert_eq!(run.code, Some(2), "{arguments:?}: {}", run.errors);
        assert!(run.errors.contains(told), "{arguments:?}: {}", run.errors);
    }
}

#[tokio::test]
async fn the_handshake_is_shown_and_says_what_it_was_told() {
    let mut stage = Stage::new();
    let port = theirs(&mut stage, "listening").await;
    let url = format!("ws://user:pass@127.0.0.1:{port}/x?y=z");
    let more = [
        "-v",
        "-H",
        "X-Token: a: b",
        "-H",
        "User-Agent: me",
        "-o",
        "https://a.example",
        "-s",
        "chat.v1",
        "--ping",
        "0.1",
        "-w",
        "0.5",
    ];
    let run = ws(&[&[&*url], &more[..]].concat(), "x\n").await;
    assert_eq!(run.code, Some(0), "{}", run.errors);
    for line in [
        "> GET /x?y=z HTTP/1.1",
        "> X-Token: a: b",
        "> User-Agent: me",
        "> Origin: https://a.example",
        "> Sec-WebSocket-Protocol: chat.v1",
        "> Authorization: Basic dXNlcjpwYXNz",
        "< HTTP/1.1 101 Switching Protocols",
        "< Sec-WebSocket-Protocol: chat.v1",
        "* closing with 1000",
        "* closed by the server: 1000 (normal closure)",
    ] {
        assert!(
            run.errors.lines().any(|one| one == line),
            "{line}\n{}",
            run.errors
        );
    }
    assert!(
        run.errors.contains(", subprotocol chat.v1\n"),
        "{}",
        run.errors
    );
    let pongs = run
        .errors
        .lines()
        .filter(|line| line.starts_with("pong after ") && line.ends_with(" ms"));
    assert!((3..8).contains(&pongs.count()), "{}", run.errors);
    let log = stage.until_file_has("listening.log", "closed 1000").await;
    assert!(log.contains("subprotocol chat.v1 extensions []"), "{log}");
    // Nothing is told that was not asked for.
    let run = ws(&[&url, "-s", "chat.v2"], "x\n").await;
    assert_eq!((run.code, &*run.errors), (Some(0), ""));
}

#[tokio::test]
async fn a_client_goes_through_proxies_of_either_kind() {
    let mut stage = Stage::new();
    let echo = theirs(&mut stage, "echo").await;
    let (http, socks) = (free_port(), free_port());
    let account = json!([{"user": "u@x", "pass": "a secret"}]);
    let config = json!({
        "inbounds": [
            {"port": http, "listen": "127.0.0.1", "protocol": "http", "settings": {"accounts": account}},
            {"port": socks, "listen": "127.0.0.1", "protocol": "socks", "settings": {"auth": "password", "accounts": account}}],
        "outbounds": [{"protocol": "freedom", "settings": {"finalRules": [{"action": "allow"}]}}]});
    stage.run(Mobula, "proxy", &config, &[http, socks]).await;
    // A name is the proxy's to resolve.
    let url = format!("ws://localhost:{echo}/x");
    for proxy in [
        format!("http://u%40x:a%20secret@127.0.0.1:{http}"),
        format!("socks5://u%40x:a%20secret@127.0.0.1:{socks}"),
    ] {
        let run = ws(&[&url, "--proxy", &proxy, "-v"], "through\n").await;
        assert_eq!(
            (run.text(), run.code),
            ("through\n", Some(0)),
            "{}",
            run.errors
        );
        assert!(
            run.errors.contains("has opened a way") && !run.errors.contains("secret"),
            "{}",
            run.errors
        );
    }
    for (proxy, told) in [
        (
            format!("http://u:wrong@127.0.0.1:{http}"),
            "the proxy at 127.0.0.1:",
        ),
        (
            format!("socks5://u:wrong@127.0.0.1:{socks}"),
            "does not know this user and password",
        ),
        (
            format!("socks5://127.0.0.1:{}", free_port()),
            "the proxy: cannot connect to 127.0.0.1:",
        ),
    ] {
        let run = ws(&[&url, "--proxy", &proxy], "x\n").await;
        assert_eq!((run.code, run.text()), (Some(1), ""));
        assert!(
            run.errors.contains(told) && !run.errors.contains("wrong"),
            "{}",
            run.errors
        );
    }
}

#[tokio::test]
async fn output_that_cannot_be_written_is_told() {
    let mut stage = Stage::new();
    let (port, _) = ours(&mut stage, &["--echo"]).await;
    let shell = |tail: &str| {
        let mut command = Command::new("sh");
        let program = env!("CARGO_BIN_EXE_mobula");
        let line = format!("printf 'one\\ntwo\\n' | {program} ws ws://127.0.0.1:{port}/ {tail}");
        command.args(["-c", &line]);
        command
    };
    let run = fed(shell("> /dev/full"), Vec::new()).await;
    assert_eq!(
        (run.code, &*run.errors),
        (Some(1), "standard output: no space left on device\n")
    );
    // Somebody who has read enough is no error.
    let run = fed(shell("-w 1 | head -1; exit 0"), Vec::new()).await;
    assert_eq!((run.text(), &*run.errors), ("one\n", ""));
    // A server says it once, and goes on.
    let port = free_port();
    let mut command = Command::new("sh");
    let program = env!("CARGO_BIN_EXE_mobula");
    let line = format!("exec {program} ws --listen 127.0.0.1:{port} > /dev/full 2> printed.log");
    command.args(["-c", &line]);
    stage.start("printing", &mut command, &[port]).await;
    for _ in 0..2 {
        let run = ws(&[&format!("ws://127.0.0.1:{port}/")], "x\ny\n").await;
        assert_eq!(run.code, Some(0), "{}", run.errors);
    }
    let told = stage
        .until_file_has("printed.log", "standard output: ")
        .await;
    assert_eq!(told.matches("messages are lost").count(), 1, "{told}");
}

#[tokio::test]
async fn a_signal_ends_a_client_with_a_close() {
    let mut stage = Stage::new();
    let port = theirs(&mut stage, "listening").await;
    for (signal, status) in [("INT", 130), ("TERM", 143)] {
        let mut command = mobula();
        command
            .args(["ws", &format!("ws://127.0.0.1:{port}")])
            .stdin(Stdio::piped());
        let mut command = tokio::process::Command::from(command);
        let mut child = command.kill_on_drop(true).spawn().expect("it runs");
        let mut stdin = child.stdin.take().expect("a pipe");
        stdin.write_all(signal.as_bytes()).await.unwrap();
        stdin.write_all(b"\n").await.unwrap();
        stage
            .until_file_has("listening.log", &format!("'{signal}'"))
            .await;
        let id = child.id().expect("it runs").to_string();
        assert!(
            Command::new("kill")
                .args([format!("-{signal}"), id])
                .status()
                .unwrap()
                .success()
        );
        let began = Instant::now();
        let ended = child.wait().await.unwrap();
        assert_eq!(ended.code(), Some(status));
        assert!(
            began.elapsed() < Duration::from_secs(2),
            "{:?}",
            began.elapsed()
        );
    }
    let log = stage.until_file_has("listening.log", "closed 1000").await;
    assert!(!log.contains("closed 1006"), "{log}");
}

/// Every line behind a `$` is run, and prints what stands below it; one with `&` behind it stays.
#[tokio::test]
async fn what_the_document_shows_is_run() {
    let mut stage = Stage::new();
    let ports = [free_port(), free_port(), free_port()];
    let here = |text: &str| {
        let names = ["127.0.0.1:8080", "127.0.0.1:8081"];
        let text = names
            .iter()
            .zip(ports)
            .fold(text.to_owned(), |text, (name, port)| {
                text.replace(name, &format!("127.0.0.1:{port}"))
            });
        text.replace("localhost:8000", &format!("localhost:{}", ports[2]))
    };
    let path = format!(
        "{}:{}",
        std::path::Path::new(env!("CARGO_BIN_EXE_mobula"))
            .parent()
            .unwrap()
            .display(),
        std::env::var("PATH").unwrap_or_default()
    );
    let of = |language: &str| {
        let found = blocks(language).into_iter();
        found.filter(|(place, _)| place.starts_with("ws.md"))
    };
    let (_, page) = of("html").next().expect("a page");
    stage.write("page.html", here(&page));
    let (_, program) = of("python").next().expect("a program");
    stage.write("program.py", here(&program));
    let mut running = Vec::new();
    let mut shown = 0;
    for (place, text) in of("console") {
        let mut lines = text.lines().peekable();
        while let Some(line) = lines.next() {
            let line = here(
                line.strip_prefix("$ ")
                    .unwrap_or_else(|| panic!("{place}: {line}")),
            );
            let expected: Vec<&str> =
                std::iter::from_fn(|| lines.next_if(|line| !line.starts_with("$ "))).collect();
            let shell = |line: &str| {
                let mut command = Command::new("sh");
                command.env("PATH", &path).args(["-c", line]);
                command
            };
            if let Some(line) = line.strip_suffix(" &") {
                // The port of a server before is free for the next one.
                for index in running.drain(..) {
                    stage.child(index).signal("TERM");
                    stage.child(index).ended(Duration::from_secs(2)).await;
                }
                let mut command = shell(&format!("exec {line}"));
                let port = if line.contains(&ports[1].to_string()) {
                    ports[1]
                } else {
                    ports[0]
                };
                running.push(stage.start("server", &mut command, &[port]).await);
                if line.contains("--hub") {
                    let mut site = python();
                    site.args(["-m", "http.server", &ports[2].to_string()]);
                    stage.start("site", &mut site, &[ports[2]]).await;
                    let url = format!("http://localhost:{}/page.html", ports[2]);
                    let mut page = Page::open(&mut stage, "page", &url).await;
                    page.until("websocket.readyState == 1").await;
                    assert_eq!(
                        curl(&["-d", "x", &format!("http://127.0.0.1:{}/sign", ports[0])])
                            .await
                            .1,
                        "signed: x"
                    );
                    page.value("websocket.close()").await;
                    page.until("websocket.readyState == 3").await;
                    let mut program = python();
                    program.arg("program.py");
                    stage.start("program", &mut program, &[]).await;
                    stage.until_line_has("server.log", &["has left"]).await;
                    while stage
                        .read_so_far("server.log")
                        .matches("has connected to /sign")
                        .count()
                        < 2
                    {
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                }
                continue;
            }
            let run = fed(shell(&line), Vec::new()).await;
            let said = format!("{}{}", run.text(), run.errors);
            let said: Vec<&str> = said.lines().collect();
            assert_eq!(
                said,
                expected.iter().map(|line| here(line)).collect::<Vec<_>>(),
                "{place}: {line}"
            );
            shown += 1;
        }
    }
    assert!(shown >= 8, "{shown} lines");
}
