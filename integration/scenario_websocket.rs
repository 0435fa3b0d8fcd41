//! The WebSocket server before ordinary clients and odd ones, and that of `httpupgrade` in all that is HTTP.
//!
//! An echo stands behind a dokodemo-door over the carrier, so that what comes back can be seen.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::configs::Carrier;
use crate::peers::Peer::Mobula;
use crate::peers::{Stage, free_port, python, root};
use crate::traffic;

/// An echo at `ws://127.0.0.1:PORT/ray`.
async fn echo_over_ws() -> (Stage, u16) {
    echo_over(Carrier::Ws).await
}

/// What begins with a request.
const CARRIERS: [Carrier; 2] = [Carrier::Ws, Carrier::HttpUpgrade];

/// An echo at `/ray`.
async fn echo_over(carrier: Carrier) -> (Stage, u16) {
    let mut stage = Stage::new();
    let (port, echo) = (free_port(), traffic::echo().await);
    let config = json!({
        "log": {"loglevel": "info", "access": "access.log"},
        "inbounds": [{
            "listen": "127.0.0.1", "port": port, "protocol": "dokodemo-door",
            "settings": {"address": "127.0.0.1", "port": echo.port(), "network": "tcp"},
            "streamSettings": {
                "network": carrier.network(), carrier.settings(): carrier.at(Some("/ray".to_owned())),
            },
        }],
        "outbounds": [{"protocol": "freedom"}],
    });
    stage.run(Mobula, "server", &config, &[port]).await;
    (stage, port)
}

#[tokio::test]
async fn an_ordinary_client_finds_an_ordinary_server() {
    let (_stage, port) = echo_over_ws().await;
    let output = tokio::task::spawn_blocking(move || {
        python()
            .arg(root().join("integration/peers/websocket_client.py"))
            .arg(format!("ws://127.0.0.1:{port}/ray"))
            .output()
    });
    let output = output.await.expect("no panic").expect("python runs");
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{errors}");
}

/// A raw connection, for what no library would send.
struct Raw(TcpStream);

impl Raw {
    async fn to(port: u16) -> Self {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await;
        Self(stream.expect("mobula listens"))
    }

    async fn say(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.write_all(bytes.as_ref()).await.expect("it reads");
    }

    /// One answer's header and, where it says how long it is, its body.
    async fn answer(&mut self) -> String {
        let mut got = Vec::new();
        let read = async {
            while !got.ends_with(b"\r\n\r\n") {
                got.push(self.0.read_u8().await?);
            }
            let head = String::from_utf8_lossy(&got).to_ascii_lowercase();
            let len = head.split("content-length: ").nth(1);
            let len = len.and_then(|rest| rest.lines().next()?.parse().ok());
            let mut body = vec![0; len.unwrap_or(0)];
            self.0.read_exact(&mut body).await?;
            got.extend(body);
            Ok::<_, std::io::Error>(())
        };
        let read = timeout(Duration::from_secs(10), read).await;
        let text = String::from_utf8_lossy(&got).into_owned();
        assert!(matches!(read, Ok(Ok(()))), "{read:?} after {text:?}");
        text
    }

    /// Whatever comes until the other side ends.
    async fn rest(&mut self, limit: Duration) -> Vec<u8> {
        let mut got = Vec::new();
        let end = timeout(limit, self.0.read_to_end(&mut got)).await;
        assert!(end.is_ok(), "still open after {limit:?}, got {got:?}");
        got
    }

    async fn exactly(&mut self, len: usize) -> Vec<u8> {
        let mut got = vec![0; len];
        let read = timeout(Duration::from_secs(10), self.0.read_exact(&mut got)).await;
        read.expect("bytes in time").expect("bytes");
        got
    }
}

fn request(path: &str, more: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: a.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{more}\r\n"
    )
}

const VERSION: &str = "Sec-WebSocket-Version: 13\r\n";

/// Bytes of the tunnel, as a client of the carrier sends them.
fn sent(carrier: Carrier, payload: &[u8]) -> Vec<u8> {
    match carrier {
        Carrier::Ws => frame(0x82, payload),
        _ => payload.to_vec(),
    }
}

/// The same, as its server does.
fn returned(carrier: Carrier, payload: &[u8]) -> Vec<u8> {
    let len = u8::try_from(payload.len()).expect("short");
    match carrier {
        Carrier::Ws => [&[0x82, len], payload].concat(),
        _ => payload.to_vec(),
    }
}

/// A masked frame whose mask is zero.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let len = u8::try_from(payload.len()).expect("short");
    [&[first, 0x80 | len, 0, 0, 0, 0], payload].concat()
}

#[tokio::test]
async fn a_refusal_has_the_right_status_and_gives_nothing_away() {
    let bad_key = request("/ray", VERSION).replace("dGhlIHNhbXBsZSBub25jZQ==", "c2hvcnQ=");
    let both = [
        (request("/other", VERSION), "404"),
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), "404"),
        ("GET /ray HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), "400"),
        (request("/ray", "Content-Length: 1\r\n"), "400"),
        (request("/ray", "").replace("GET", "POST"), "405"),
    ];
    let of_ws = [
        (request("/ray", "Sec-WebSocket-Version: 8\r\n"), "426"),
        (bad_key, "400"),
    ];
    let over_ws = both.iter().chain(&of_ws).map(|case| (Carrier::Ws, case));
    let cases = over_ws.chain(both.iter().map(|case| (Carrier::HttpUpgrade, case)));
    let servers = [echo_over(CARRIERS[0]).await, echo_over(CARRIERS[1]).await];
    for (carrier, (request, status)) in cases {
        let (_, port) = &servers[usize::from(carrier == CARRIERS[1])];
        let mut raw = Raw::to(*port).await;
        raw.say(request).await;
        let answer = raw.answer().await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{carrier:?} {request}{answer}"
        );
        let lower = answer.to_lowercase();
        for word in ["mobula", "v2ray", "vmess", "hyper", "tungstenite"] {
            assert!(!lower.contains(word), "{answer}");
        }
        if *status == "426" {
            assert!(lower.contains("sec-websocket-version: 13"), "{answer}");
        }
    }
}

#[tokio::test]
async fn the_accept_key_is_that_of_the_rfc() {
    let (_stage, port) = echo_over_ws().await;
    let mut raw = Raw::to(port).await;
    raw.say(request("/ray", VERSION)).await;
    let answer = raw.answer().await;
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    assert!(answer.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{answer}");
}

#[tokio::test]
async fn what_comes_in_the_segment_of_the_request_reaches_the_target() {
    for carrier in CARRIERS {
        let (_stage, port) = echo_over(carrier).await;
        let mut raw = Raw::to(port).await;
        let mut bytes = request("/ray", VERSION).into_bytes();
        bytes.extend(sent(carrier, b"early bird"));
        raw.say(bytes).await;
        raw.answer().await;
        let back = returned(carrier, b"early bird");
        assert_eq!(raw.exactly(back.len()).await, back);
    }
}

#[tokio::test]
async fn a_connection_serves_requests_until_it_is_upgraded() {
    for carrier in CARRIERS {
        let (_stage, port) = echo_over(carrier).await;
        let mut raw = Raw::to(port).await;
        for _ in 0..3 {
            raw.say("GET /favicon.ico HTTP/1.1\r\nHost: a\r\n\r\n")
                .await;
            assert!(raw.answer().await.starts_with("HTTP/1.1 404 "));
        }
        raw.say(request("/ray", VERSION)).await;
        assert!(raw.answer().await.starts_with("HTTP/1.1 101 "));
        raw.say(sent(carrier, b"hi")).await;
        let back = returned(carrier, b"hi");
        assert_eq!(raw.exactly(back.len()).await, back);
    }
}

/// One after another in one segment, as no ordinary client sends them.
#[tokio::test]
async fn requests_that_do_not_wait_for_answers_are_answered_in_order() {
    for carrier in CARRIERS {
        let (_stage, port) = echo_over(carrier).await;
        let mut raw = Raw::to(port).await;
        let mut bytes = b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n".repeat(3);
        bytes.extend(request("/ray", VERSION).into_bytes());
        bytes.extend(sent(carrier, b"hi"));
        bytes.extend(sent(carrier, b"ho"));
        raw.say(bytes).await;
        for _ in 0..3 {
            assert!(raw.answer().await.starts_with("HTTP/1.1 404 "));
        }
        assert!(raw.answer().await.starts_with("HTTP/1.1 101 "));
        let mut back = Vec::new();
        let len = returned(carrier, b"hi").len();
        // Frames may be put together.
        while back.len() < 2 * len - 2 || !back.ends_with(b"ho") {
            back.extend(raw.exactly(1).await);
        }
        assert!(back.windows(2).any(|two| two == b"hi"), "{back:?}");
    }
}

/// Xray's key, and whoever asks for another host is shown no path.
#[tokio::test]
async fn a_host_that_is_set_must_be_asked_for() {
    for carrier in CARRIERS {
        let mut stage = Stage::new();
        let (port, echo) = (free_port(), traffic::echo().await);
        let config = json!({
            "log": {"access": "access.log"},
            "inbounds": [{
                "listen": "127.0.0.1", "port": port, "protocol": "dokodemo-door",
                "settings": {"address": "127.0.0.1", "port": echo.port(), "network": "tcp"},
                "streamSettings": {
                    "network": carrier.network(),
                    carrier.settings(): {"path": "/ray?ed=2560", "host": "a.example"},
                },
            }],
            "outbounds": [{"protocol": "freedom"}],
        });
        stage.run(Mobula, "server", &config, &[port]).await;
        for (host, status) in [
            ("a.example", "101"),
            ("A.Example:8443", "101"),
            ("b.example", "404"),
            ("127.0.0.1", "404"),
        ] {
            let mut raw = Raw::to(port).await;
            raw.say(request("/ray", VERSION).replace("a.example", host))
                .await;
            let answer = raw.answer().await;
            assert!(
                answer.starts_with(&format!("HTTP/1.1 {status} ")),
                "{host}: {answer}"
            );
        }
        let said = "GET /ray: 404, the Host is not \"a.example\" [ws-host]";
        stage.until_file_has("access.log", said).await;
        // With `?ed=` in its path a server takes whatever is in the header for early data, as Xray does.
        let mut raw = Raw::to(port).await;
        let early = format!("{VERSION}Sec-WebSocket-Protocol: aGVsbG8\r\n");
        raw.say(request("/ray", &early)).await;
        assert!(raw.answer().await.starts_with("HTTP/1.1 101 "));
        let back = returned(carrier, b"hello");
        assert_eq!(raw.exactly(back.len()).await, back);
    }
}

#[tokio::test]
async fn a_broken_frame_is_answered_with_a_protocol_error() {
    let (_stage, port) = echo_over_ws().await;
    let unmasked = b"\x82\x02hi".to_vec();
    let reserved_bit = frame(0xc2, b"hi");
    let reserved_opcode = frame(0x83, b"hi");
    let stray_continuation = frame(0x80, b"hi");
    let fragmented_ping = frame(0x09, b"hi");
    for bytes in [
        unmasked,
        reserved_bit,
        reserved_opcode,
        stray_continuation,
        fragmented_ping,
    ] {
        let mut raw = Raw::to(port).await;
        raw.say(request("/ray", VERSION)).await;
        raw.answer().await;
        raw.say(&bytes).await;
        let got = raw.rest(Duration::from_secs(10)).await;
        assert_eq!(got.first(), Some(&0x88), "{bytes:02x?} got {got:02x?}");
        assert_eq!(got[2..4], 1002_u16.to_be_bytes(), "{bytes:02x?}");
    }
}

/// RFC 6455, section 7.4.1: 1001 is an endpoint that goes away, such as a server going down.
#[tokio::test]
async fn tunnels_that_outlive_the_service_are_told_that_it_goes_away() {
    let (mut stage, port) = echo_over_ws().await;
    let mut tunnels = Vec::new();
    for _ in 0..20 {
        let mut raw = Raw::to(port).await;
        raw.say(request("/ray", VERSION)).await;
        raw.answer().await;
        raw.say(frame(0x82, b"hi")).await;
        assert_eq!(raw.exactly(4).await, b"\x82\x02hi");
        tunnels.push(raw);
    }
    stage.child(0).signal("TERM");
    for raw in &mut tunnels {
        let got = raw.rest(Duration::from_secs(10)).await;
        assert_eq!(got, b"\x88\x02\x03\xe9");
    }
    let status = stage.child(0).ended(Duration::from_secs(1)).await;
    assert_eq!(status.code(), Some(0));
}

#[tokio::test]
async fn a_header_has_four_seconds_however_it_trickles() {
    for (carrier, trickle) in [
        (Carrier::Ws, false),
        (Carrier::Ws, true),
        (Carrier::HttpUpgrade, false),
        (Carrier::HttpUpgrade, true),
        (Carrier::HttpHeader, true),
    ] {
        let (_stage, port) = echo_over(carrier).await;
        let began = Instant::now();
        let mut raw = Raw::to(port).await;
        raw.say("GET /ray HTTP/1.1\r\n").await;
        while trickle && began.elapsed() < Duration::from_secs(6) {
            tokio::time::sleep(Duration::from_millis(300)).await;
            if raw.0.write_all(b"X-A: b\r\n").await.is_err() {
                break;
            }
        }
        let mut got = Vec::new();
        let end = timeout(Duration::from_secs(6), raw.0.read_to_end(&mut got)).await;
        assert!(end.is_ok(), "still open");
        let took = began.elapsed();
        assert!(took > Duration::from_secs(3), "closed after {took:?}");
        assert!(took < Duration::from_secs(8), "closed after {took:?}");
        assert!(!got.starts_with(b"HTTP/1.1 1"), "it was no request");
    }
}

/// The answer is a bare 400 or 431; whoever runs the server finds the reason in the log.
#[tokio::test]
async fn the_log_says_what_was_wrong_with_a_request_that_is_none() {
    let long = format!("Cookie: {}\r\n", "c".repeat(100_000));
    let cases = [
        (
            request("/ray", "X Y: z\r\n"),
            "400",
            "header line 5: `X Y` is not a header's name",
        ),
        (
            request("/ray", &long),
            "431",
            "the header has more than 32768 bytes, `Cookie` alone has ",
        ),
        (
            request("/ray", &"A: b\r\n".repeat(120)),
            "431",
            "more than 100 headers",
        ),
        (
            "\u{16}\u{3}\u{1}\u{2}\u{0}\u{1}".to_owned(),
            "400",
            "this looks like TLS",
        ),
    ];
    for (carrier, (request, status, reason)) in [CARRIERS[0], CARRIERS[1], Carrier::HttpHeader]
        .iter()
        .flat_map(|carrier| cases.iter().map(move |case| (*carrier, case)))
    {
        let (stage, port) = echo_over(carrier).await;
        let mut raw = Raw::to(port).await;
        raw.say(request).await;
        let answer = raw.answer().await;
        let line = format!("HTTP/1.1 {status} ");
        assert!(answer.starts_with(&line), "{answer}");
        let wanted = format!("rejected  not a proper HTTP request: {reason}");
        stage.until_file_has("access.log", &wanted).await;
    }
}

#[tokio::test]
async fn a_header_of_megabytes_is_refused() {
    for carrier in CARRIERS {
        let (_stage, port) = echo_over(carrier).await;
        let mut raw = Raw::to(port).await;
        raw.say("GET /ray HTTP/1.1\r\nHost: a\r\nX-Long: ").await;
        // More than the buffers of both sockets hold.
        const MUCH: usize = 64 * 1024 * 1024;
        let mut sent = 0;
        while sent < MUCH && raw.0.write_all(&[b'a'; 4096]).await.is_ok() {
            sent += 4096;
        }
        assert!(sent < MUCH, "all of it was read");

        // A large cookie is no reason to refuse.
        let mut raw = Raw::to(port).await;
        let cookie = format!("{VERSION}Cookie: a={}\r\n", "b".repeat(6000));
        raw.say(request("/ray", &cookie)).await;
        assert!(raw.answer().await.starts_with("HTTP/1.1 101 "));
    }
}
