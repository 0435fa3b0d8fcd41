//! A site on the port of a tunnel that another web server has.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::configs::{self, Vmess};
use crate::peers::Peer::{Mobula, SingBox, V2ray445};
use crate::peers::{Stage, free_port, listen, python, system};
use crate::scenario_site::{Front, folder, is_hidden, raw};
use crate::traffic;

/// nginx with the files of the test's site.
async fn nginx(stage: &mut Stage, more: &str) -> u16 {
    let (site, port) = (folder(stage), free_port());
    let block = format!(
        "listen 127.0.0.1:{port}{more}; root {}; autoindex off;\n",
        site.display()
    );
    let file = configs::nginx(stage, &block);
    let mut nginx = system("nginx");
    nginx.arg("-p").arg(stage.path("")).arg("-c").arg(file);
    stage.start("nginx", &mut nginx, &[port]).await;
    port
}

#[tokio::test]
async fn the_tunnels_path_is_one_that_the_upstream_does_not_know() {
    for vmess in [Vmess::ws(), Vmess::httpupgrade()] {
        let mut stage = Stage::new();
        let upstream = nginx(&mut stage, "").await;
        let to = format!("http://127.0.0.1:{upstream}");
        let mut front = Front::new(stage, vmess, json!(to)).await;
        is_hidden(front.port, &front.vmess).await;
        let page = raw(
            front.port,
            "GET /ten.txt HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        )
        .await;
        assert!(
            page.contains("\r\nServer: nginx") && page.contains("\r\nETag: "),
            "{page}"
        );
        assert!(page.ends_with("\r\n\r\n0123456789"), "{page}");
        front.carries(Mobula).await;
    }
}

/// Each client and a browser's HTTP/2, with nginx behind.
#[tokio::test]
async fn clients_and_visitors_share_a_port_in_front_of_nginx() {
    let mut stage = Stage::new();
    let upstream = nginx(&mut stage, "").await;
    let vmess = Vmess::wss(&stage);
    let to = json!({"to": format!("http://127.0.0.1:{upstream}")});
    let mut front = Front::new(stage, vmess, to).await;
    let url = format!("https://localhost:{}/ten.txt", front.port);
    for version in ["--http2", "--http1.1"] {
        assert_eq!(front.curl(&["-k", version, &url]), "0123456789");
        assert_eq!(front.curl(&["-k", version, "-r", "2-4", &url]), "234");
    }
    for client in [V2ray445, SingBox] {
        front.carries(client).await;
    }
}

pub const GONE: &str = "nobody waits";

/// A web server of the test's: what it was sent, and `answer` for everybody. Where that is empty, or what is asked for is
/// `/slow`, it never comes to an end, and tells [`GONE`] when nobody waits for it any more.
pub async fn heard(answer: &'static str) -> (SocketAddr, mpsc::UnboundedReceiver<String>) {
    let listener = listen();
    let at = listener.local_addr().unwrap();
    let (tell, told) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let tell = tell.clone();
            tokio::spawn(async move {
                let mut request = Vec::new();
                while !request.windows(4).any(|end| end == b"\r\n\r\n") {
                    if stream.read_buf(&mut request).await.is_ok_and(|n| n == 0) {
                        return;
                    }
                }
                let _ = tell.send(String::from_utf8_lossy(&request).into_owned());
                let _ = stream.write_all(answer.as_bytes()).await;
                if answer.is_empty() || request.starts_with(b"GET /slow ") {
                    let _ = stream.read(&mut [0]).await;
                    let _ = tell.send(GONE.to_owned());
                }
            });
        }
    });
    (at, told)
}

#[tokio::test]
async fn an_upstream_hears_whom_it_serves() {
    let answer = "HTTP/1.1 200 OK\r\nX-Odd-NAME: 1\r\nKeep-Alive: 5\r\nX-Hop: 1\r\nConnection: X-Hop\r\nContent-Length: 2\r\n\r\nhi";
    let (at, mut told) = heard(answer).await;
    let to = format!("http://{at}");
    let nobody = json!([]);
    for (settings, trusted, begins) in [
        (json!(to), &nobody, "GET /a?b=%20c HTTP/1.1\r\n"),
        (
            json!({"to": to, "xver": 1, "host": "b.example"}),
            &nobody,
            "PROXY TCP4 127.0.0.1 127.0.0.1 ",
        ),
        (
            json!({"to": to, "xver": 1}),
            &Value::Null,
            "PROXY TCP4 192.0.2.7 127.0.0.1 0 ",
        ),
    ] {
        let mut stage = Stage::new();
        let port = free_port();
        let mut config = Vmess::ws().server(Mobula, port);
        let stream = &mut config["inbounds"][0]["streamSettings"];
        stream["fallback"] = settings.clone();
        if !trusted.is_null() {
            stream["wsSettings"]["trustedProxies"] = trusted.clone();
        }
        stage.run(Mobula, "server", &config, &[port]).await;
        let request = "GET /a?b=%20c HTTP/1.1\r\nHost: a.example\r\nX-Forwarded-For: 192.0.2.7\r\n\
            x-CaSe: 1\r\nX-Mine: 2\r\nTE: trailers\r\nConnection: close, X-Mine\r\nExpect: 100-continue\r\n\r\n";
        let came = raw(port, request).await;
        assert!(
            came.contains("\r\nX-Odd-NAME: 1\r\n") && came.ends_with("\r\n\r\nhi"),
            "{came}"
        );
        assert!(
            !came.contains("Keep-Alive") && !came.contains("X-Hop"),
            "{came}"
        );
        let heard = timeout(traffic::LIMIT, told.recv()).await.unwrap().unwrap();
        assert!(heard.starts_with(begins), "{heard}");
        let host = settings["host"].as_str().unwrap_or("a.example");
        let who = match trusted.is_null() {
            true => "192.0.2.7, 127.0.0.1",
            false => "127.0.0.1",
        };
        for line in [
            format!("Host: {host}"),
            "X-Forwarded-Host: a.example".to_owned(),
            "X-Forwarded-Proto: http".to_owned(),
            format!("X-Forwarded-For: {who}"),
            "x-CaSe: 1".to_owned(),
        ] {
            assert!(
                heard.contains(&format!("\r\n{line}\r\n")),
                "{line} in {heard}"
            );
        }
        for gone in ["X-Mine", "TE:", "Te:", "Expect", "Connection"] {
            assert!(!heard.contains(gone), "{gone} in {heard}");
        }
    }
}

#[tokio::test]
async fn an_upstream_that_is_down_is_a_502() {
    let stage = Stage::new();
    let nobody = format!("http://127.0.0.1:{}", free_port());
    let front = Front::new(stage, Vmess::ws(), json!(nobody)).await;
    is_hidden(front.port, &front.vmess).await;
    let answer = raw(
        front.port,
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    )
    .await;
    assert!(
        answer.starts_with("HTTP/1.1 502 Bad Gateway\r\n"),
        "{answer}"
    );
    front
        .stage
        .until_line_has(
            "server.log",
            &["nobody answers at the fallback", "[fallback-down]"],
        )
        .await;

    let socket = json!(format!("unix:{}", front.stage.path("no.sock").display()));
    let front = Front::new(Stage::new(), Vmess::ws(), socket).await;
    let answer = raw(
        front.port,
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    )
    .await;
    assert!(
        answer.starts_with("HTTP/1.1 502 Bad Gateway\r\n"),
        "{answer}"
    );
}

/// Nor is one that waits for a body which its visitor spoils.
#[tokio::test]
async fn a_visitor_who_breaks_off_is_not_an_upstream_that_is_down() {
    let upstream = listen();
    let to = format!("http://{}", upstream.local_addr().unwrap());
    let front = Front::new(Stage::new(), Vmess::ws(), json!(to)).await;
    let head = "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n";
    let answer = raw(
        front.port,
        &format!("{head}Transfer-Encoding: chunked\r\n\r\n-5\r\n"),
    )
    .await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    let mut leaving = TcpStream::connect((Ipv4Addr::LOCALHOST, front.port))
        .await
        .unwrap();
    let begun = format!("{head}Content-Length: 1000\r\n\r\nabc");
    leaving.write_all(begun.as_bytes()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    drop(leaving);
    tokio::time::sleep(Duration::from_millis(500)).await;
    let log = front.stage.read_so_far("server.log");
    assert!(!log.contains("fallback-down"), "{log}");
}

/// An upstream that breaks off does not look as if it had ended.
#[tokio::test(flavor = "multi_thread")]
async fn half_an_answer_is_not_a_whole_one() {
    let (at, _told) =
        heard("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n").await;
    let front = Front::new(Stage::new(), Vmess::ws(), json!(format!("http://{at}"))).await;
    let url = format!("http://127.0.0.1:{}/", front.port);
    let code = front.curl(&["-o", "/dev/null", "-w", "%{exitcode}", &url]);
    assert!(
        ["18", "56"].contains(&&*code),
        "curl takes half an answer: {code}"
    );
}

/// What is uploaded is not kept.
#[tokio::test(flavor = "multi_thread")]
async fn a_long_upload_takes_no_memory() {
    const LEN: usize = 128 * 1024 * 1024;
    let listener = listen();
    let at = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(count(stream));
        }
    });
    let stage = Stage::new();
    let vmess = Vmess::wss(&stage);
    let mut front = Front::new(stage, vmess, json!(format!("http://{at}"))).await;
    let url = format!("https://localhost:{}/", front.port);
    std::fs::File::create(front.stage.path("big"))
        .unwrap()
        .set_len(LEN as u64)
        .unwrap();
    let before = front.stage.child(front.server).resident_kib();
    for version in ["--http2", "--http1.1"] {
        let said = front.curl(&["-k", version, "-T", "big", &url]);
        assert_eq!(said, LEN.to_string());
    }
    let after = front.stage.child(front.server).resident_kib();
    assert!(after < before + 32 * 1024, "{before} KiB, then {after} KiB");
}

/// Answers with how long the body was.
async fn count(mut stream: TcpStream) {
    let mut head = Vec::new();
    let at = loop {
        if let Some(at) = head.windows(4).position(|end| end == b"\r\n\r\n") {
            break at + 4;
        }
        if stream.read_buf(&mut head).await.is_ok_and(|n| n == 0) {
            return;
        }
    };
    let text = String::from_utf8_lossy(&head[..at]).to_ascii_lowercase();
    let len = text
        .split("content-length: ")
        .nth(1)
        .and_then(|rest| rest.lines().next());
    let len: usize = len
        .and_then(|len| len.parse().ok())
        .expect("the length is told");
    let mut come = head.len() - at;
    let mut buf = vec![0; 64 * 1024];
    while come < len {
        come += stream.read(&mut buf).await.unwrap();
    }
    let body = come.to_string();
    let answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let _ = stream.write_all(answer.as_bytes()).await;
}

/// Sends everything back.
const ECHO: &str = "import asyncio, sys, websockets\n\
    async def echo(socket):\n    async for message in socket: await socket.send(message)\n\
    async def main():\n    async with websockets.serve(echo, '127.0.0.1', int(sys.argv[1])): await asyncio.Future()\n\
    asyncio.run(main())\n";

/// Says something to it.
const SAY: &str = "import asyncio, sys, websockets\n\
    async def main():\n    async with websockets.connect(sys.argv[1]) as socket:\n\
    \x20       for message in ['a word', 'x' * 300000]:\n            await socket.send(message)\n\
    \x20           assert await socket.recv() == message\n        print('all came back')\n\
    asyncio.run(main())\n";

#[tokio::test]
async fn the_sites_own_websockets_are_carried() {
    let mut stage = Stage::new();
    let upstream = free_port();
    let (echo, say) = (stage.write("echo.py", ECHO), stage.write("say.py", SAY));
    let mut server = python();
    server.arg(echo).arg(upstream.to_string());
    stage.start("websockets", &mut server, &[upstream]).await;
    let mut front = Front::new(
        stage,
        Vmess::ws(),
        json!(format!("http://127.0.0.1:{upstream}")),
    )
    .await;
    let mut client = python();
    client
        .arg(say)
        .arg(format!("ws://127.0.0.1:{}/chat", front.port));
    front.stage.start("say", &mut client, &[]).await;
    front.stage.until_file_has("say.log", "all came back").await;
    front.carries(Mobula).await;
}
