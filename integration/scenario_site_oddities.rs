//! What odd visitors and odd upstreams of a site do to each other.

use std::net::Ipv4Addr;
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};

use crate::configs::Vmess;
use crate::peers::{Stage, listen};
use crate::scenario_fallbacks::over_tls;
use crate::scenario_site::{Front, folder, raw};
use crate::scenario_site_upstream::{GONE, heard};
use crate::traffic;

async fn next(told: &mut mpsc::UnboundedReceiver<String>) -> String {
    let next = timeout(traffic::LIMIT, told.recv()).await;
    next.expect("something is heard").expect("there is more")
}

#[tokio::test]
async fn an_upstream_does_not_work_for_who_has_gone() {
    // Who has the beginning of an answer waits for its end.
    let half = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf";
    for (answer, is_tls) in [("", false), ("", true), (half, false), (half, true)] {
        let (at, mut told) = heard(answer).await;
        let stage = Stage::new();
        let vmess = match is_tls {
            true => Vmess::wss(&stage),
            false => Vmess::ws(),
        };
        let certificate = vmess.tls.clone();
        let front = Front::new(stage, vmess, json!(format!("http://{at}"))).await;
        // A reset is over at once; who has only said all may wait.
        // What nobody reads, such as tickets, makes a reset of an end.
        let is_read = answer.is_empty() && !is_tls;
        let least = if is_read { 4 } else { 0 };
        for (reset, least, most) in [(true, 0, 3), (false, least, 9)] {
            let request = b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n";
            let visitor = match &certificate {
                Some(certificate) => {
                    let mut tls = over_tls(certificate, front.port, "localhost", &[]).await;
                    tls.write_all(request).await.expect("it takes a request");
                    tls.flush().await.expect("it goes");
                    tls.into_inner().0
                }
                None => {
                    let at = (Ipv4Addr::LOCALHOST, front.port);
                    let mut stream = TcpStream::connect(at).await.expect("it is connected");
                    stream.write_all(request).await.expect("it takes a request");
                    stream
                }
            };
            assert!(next(&mut told).await.starts_with("GET /slow"));
            let left = Instant::now();
            if reset {
                visitor.set_zero_linger().expect("a socket");
            }
            drop(visitor);
            assert_eq!(next(&mut told).await, GONE);
            let took = left.elapsed();
            let span = Duration::from_secs(least)..Duration::from_secs(most);
            assert!(
                span.contains(&took),
                "reset: {reset}, TLS: {is_tls}, answer: {answer}: {took:?}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nor_for_who_has_read_a_part_and_gone() {
    let (at, mut told) = heard("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf").await;
    let front = Front::new(Stage::new(), Vmess::ws(), json!(format!("http://{at}"))).await;
    let url = format!("http://127.0.0.1:{}/slow", front.port);
    for version in ["--http1.1", "--http2-prior-knowledge"] {
        let read = front.curl(&[version, "--max-time", "1", &url]);
        let left = Instant::now();
        assert_eq!(read, "half", "{version}");
        assert!(next(&mut told).await.starts_with("GET /slow"));
        assert_eq!(next(&mut told).await, GONE);
        let took = left.elapsed();
        assert!(took < Duration::from_secs(9), "{version}: {took:?}");
    }
}

/// Who has said all and reads on is not gone as long as something comes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_said_all_reads_to_the_end() {
    let listener = listen();
    let at = listener.local_addr().expect("it is bound");
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a visitor");
        let _ = stream.read(&mut [0; 4096]).await;
        let _ = stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n")
            .await;
        for byte in b"12345678" {
            sleep(Duration::from_secs(1)).await;
            let _ = stream.write_all(&[*byte]).await;
        }
    });
    let front = Front::new(Stage::new(), Vmess::ws(), json!(format!("http://{at}"))).await;
    let at = (Ipv4Addr::LOCALHOST, front.port);
    let mut visitor = TcpStream::connect(at).await.expect("it is connected");
    let request = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    visitor.write_all(request).await.expect("it goes");
    visitor.shutdown().await.expect("it ends");
    let mut answer = String::new();
    let read = timeout(traffic::LIMIT, visitor.read_to_string(&mut answer)).await;
    read.expect("an end in time").expect("an answer");
    assert!(answer.ends_with("12345678"), "{answer}");
}

/// Whoever is taken for gone and is not has no half of an answer that looks whole.
#[tokio::test]
async fn an_answer_that_nobody_seems_to_wait_for_is_broken_off() {
    let (at, mut told) = heard("HTTP/1.1 200 OK\r\n\r\nhalf").await;
    let front = Front::new(Stage::new(), Vmess::ws(), json!(format!("http://{at}"))).await;
    let at = (Ipv4Addr::LOCALHOST, front.port);
    let mut visitor = TcpStream::connect(at).await.expect("it is connected");
    let request = b"GET /slow HTTP/1.0\r\nHost: a\r\n\r\n";
    visitor.write_all(request).await.expect("it goes");
    visitor.shutdown().await.expect("it ends");
    assert!(next(&mut told).await.starts_with("GET /slow"));
    let mut answer = String::new();
    let read = timeout(traffic::LIMIT, visitor.read_to_string(&mut answer)).await;
    let read = read.expect("an end in time");
    assert!(read.is_err(), "it looks whole: {answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chunks_count_more_than_a_length_beside_them() {
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    let (at, _told) = heard(answer).await;
    let front = Front::new(Stage::new(), Vmess::ws(), json!(format!("http://{at}"))).await;
    let url = format!("http://127.0.0.1:{}/", front.port);
    assert_eq!(front.curl(&[&url]), "hello");
    assert_eq!(front.curl(&["--http2-prior-knowledge", &url]), "hello");
}

/// A header that HTTP/2 does not have would break the answer off there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_site_would_rather_speak_arrives() {
    let answer = "HTTP/1.1 426 Upgrade Required\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nContent-Length: 2\r\n\r\nno";
    let (at, _told) = heard(answer).await;
    let front = Front::new(Stage::new(), Vmess::ws(), json!(format!("http://{at}"))).await;
    let url = format!("http://127.0.0.1:{}/", front.port);
    let whole = front.curl(&["-i", &url]);
    assert!(
        whole.contains("\r\nUpgrade: websocket\r\n") && whole.ends_with("no"),
        "{whole}"
    );
    let whole = front.curl(&["-i", "--http2-prior-knowledge", &url]);
    assert!(
        whole.starts_with("HTTP/2 426") && whole.ends_with("no"),
        "{whole}"
    );
}

/// No upstream shall find in a request what we did not: neither a host that is none, nor a proxy's word by another name.
#[tokio::test]
async fn an_upstream_is_asked_only_what_can_be_asked() {
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi";
    let (at, mut told) = heard(answer).await;
    let front = Front::new(Stage::new(), Vmess::ws(), json!(format!("http://{at}"))).await;
    for (head, status) in [
        ("GET / HTTP/1.1\r\nHost: a b\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a/b\r\n", 400),
        ("GET / HTTP/1.1\r\nHost:\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: ..\r\n", 400),
        ("GET ok HTTP/1.1\r\nHost: a\r\n", 400),
        ("GET * HTTP/1.1\r\nHost: a\r\n", 400),
        ("GET ftp://a/ok HTTP/1.1\r\nHost: a\r\n", 400),
        ("GET http://u:p@a/ok HTTP/1.1\r\nHost: a\r\n", 400),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n",
            501,
        ),
        ("OPTIONS * HTTP/1.1\r\nHost: a\r\n", 200),
        ("GET http://b.example/ok HTTP/1.1\r\nHost: a\r\n", 200),
        ("GET /?a=b HTTP/1.1\r\nHost: a:80\r\n", 200),
    ] {
        let body = if status == 501 { "0\r\n\r\n" } else { "" };
        let answer = raw(
            front.port,
            &format!("{head}Connection: close\r\n\r\n{body}"),
        )
        .await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{head}: {answer}"
        );
        if status == 200 {
            next(&mut told).await;
        }
        assert!(told.try_recv().is_err(), "{head}");
    }
    let claims = "X_Forwarded_For: 7.7.7.7\r\nX-Forwarded_Proto: https\r\nX-Real-IP: 7.7.7.7\r\nX-Forwarded-Port: 1\r\nForwarded: for=7.7.7.7\r\n";
    raw(
        front.port,
        &format!("GET / HTTP/1.1\r\nHost: a\r\n{claims}Connection: close\r\n\r\n"),
    )
    .await;
    let said = next(&mut told).await;
    assert!(
        !said.contains("7.7.7.7") && !said.contains("https"),
        "{said}"
    );
}

/// A body that nobody wants holds up no answer.
#[tokio::test]
async fn who_sends_what_is_not_wanted_is_answered_all_the_same() {
    let stage = Stage::new();
    let site = folder(&stage);
    let vmess = Vmess::wss(&stage);
    let front = Front::new(stage, vmess, json!(site)).await;
    let url = format!("https://localhost:{}/ten.txt", front.port);
    let body = front.stage.write("body", "x".repeat(2_000_000));
    let body = format!("@{}", body.display());
    for version in ["--http2", "--http1.1"] {
        for _ in 0..5 {
            let args = [
                "-k",
                version,
                "-o",
                "/dev/null",
                "-w",
                "%{http_code}",
                "--data-binary",
                &body,
                &url,
            ];
            assert_eq!(front.curl(&args), "405", "{version}");
        }
    }
    // Nor is it asked for first.
    let front = Front::new(Stage::new(), Vmess::ws(), json!(site)).await;
    for (path, code) in [("/ten.txt", "405"), ("/ray", "405")] {
        let begin = Instant::now();
        let head = format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n");
        let answer = raw(front.port, &format!("{head}Expect: 100-continue\r\n\r\n")).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {code} ")), "{answer}");
        let answer = raw(front.port, &format!("{head}\r\nabc")).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {code} ")), "{answer}");
        assert!(begin.elapsed() < Duration::from_secs(8), "{path}");
    }
}
