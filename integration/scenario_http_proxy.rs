//! The HTTP proxy between a client and a server that say odd things: what it reads must be what it sends.
//!
//! The server here writes down every byte that it gets, and answers with bytes of the test's.

use std::net::Ipv4Addr;
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::configs::{Certificate, SERVER_NAME};
use crate::peers::Peer::{self, Mobula, V2ray445};
use crate::peers::{Stage, free_port, listen};
use crate::scenario_fallbacks::over_tls;
use crate::traffic;

/// How long the server listens to a request, which nothing else ends.
const REQUEST: Duration = Duration::from_millis(120);

/// A proxy, and what is behind it.
struct Proxied {
    _stage: Stage,
    port: u16,
}

impl Proxied {
    async fn new(proxy: Peer) -> Self {
        let mut stage = Stage::new();
        let port = free_port();
        let config = json!({
            "inbounds": [{"listen": "127.0.0.1", "port": port, "protocol": "http"}],
            "outbounds": [{"protocol": "freedom"}],
        });
        stage.run(proxy, "proxy", &config, &[port]).await;
        Self {
            _stage: stage,
            port,
        }
    }

    /// What the server gets for `request`, in which `T` is its address, and the client for `answer`.
    async fn ask(&self, request: &str, answer: &str) -> (String, String) {
        let (target, mut got) = server(answer).await;
        let request = request.replace("//T", &format!("//127.0.0.1:{target}"));
        let request = request.replace("@T", &format!("@127.0.0.1:{target}"));
        let request = request.replace("CONNECT T", &format!("CONNECT 127.0.0.1:{target}"));
        let client = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).await;
        let mut client = client.expect("the proxy listens");
        client.write_all(&latin(&request)).await.expect("it reads");
        let asked = timeout(traffic::LIMIT, got.recv()).await;
        let asked = asked.expect("a request in time").unwrap_or_default();
        let mut answered = Vec::new();
        let quiet = Duration::from_millis(250);
        while let Ok(Ok(1..)) = timeout(quiet, client.read_buf(&mut answered)).await {}
        let address = format!("127.0.0.1:{target}");
        (
            text(&asked).replace(&address, "T"),
            text(&answered).replace(&address, "T"),
        )
    }
}

/// Letters of tests that stand for bytes above ASCII.
fn latin(text: &str) -> Vec<u8> {
    text.chars().map(|c| c as u8).collect()
}

fn text(bytes: &[u8]) -> String {
    bytes.iter().map(|b| char::from(*b)).collect()
}

/// Takes one connection, and answers and ends it when nothing more comes.
async fn server(answer: &str) -> (u16, mpsc::Receiver<Vec<u8>>) {
    let listener = listen();
    let port = listener.local_addr().expect("it listens").port();
    let (tell, told) = mpsc::channel(1);
    let answer = latin(answer);
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await?;
        let mut got = Vec::new();
        while let Ok(Ok(1..)) = timeout(REQUEST, stream.read_buf(&mut got)).await {}
        let _ = tell.send(got).await;
        stream.write_all(&answer).await
    });
    (port, told)
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const GET: &str = "GET http://T/ HTTP/1.1\r\nHost: x\r\n\r\n";
const CHUNKS: &str = "2\r\nok\r\n0\r\n\r\n";

#[tokio::test]
async fn the_length_of_a_response_is_the_one_that_counts() {
    let proxied = Proxied::new(Mobula).await;
    let head = GET.replace("GET", "HEAD");
    let old = GET.replace("HTTP/1.1", "HTTP/1.0");
    let old_kept = old.replace("Host", "Connection: keep-alive\r\nHost");
    for (request, lines, body, length, came) in [
        (
            GET,
            "200 OK\r\nContent-Length: 99\r\nTransfer-Encoding: chunked",
            CHUNKS,
            None,
            CHUNKS,
        ),
        (
            GET,
            "200 OK\r\nTransfer-Encoding: Chunked\r\nContent-Length: 1",
            CHUNKS,
            None,
            CHUNKS,
        ),
        (
            GET,
            "200 OK\r\nContent-Length: 2\r\nContent-Length: 2",
            "ok",
            Some("2"),
            "ok",
        ),
        (GET, "200 OK\r\nContent-Length: 2, 2", "ok", Some("2"), "ok"),
        (
            GET,
            "200 OK\r\nContent-Length: 2",
            "ok and more",
            Some("2"),
            "ok",
        ),
        (
            GET,
            "200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: identity",
            "ok",
            None,
            CHUNKS,
        ),
        (GET, "200 OK", "ok", None, CHUNKS),
        (
            &old,
            "200 OK\r\nContent-Length: 99\r\nTransfer-Encoding: chunked",
            CHUNKS,
            None,
            "ok",
        ),
        (
            &old_kept,
            "200 OK\r\nTransfer-Encoding: chunked",
            CHUNKS,
            None,
            "ok",
        ),
        (&head, "200 OK\r\nContent-Length: 5", "", Some("5"), ""),
        (&head, "200 OK\r\nContent-Length: 5, 5", "", Some("5"), ""),
        (
            &head,
            "200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked",
            "",
            None,
            "",
        ),
        (GET, "204 No Content\r\nContent-Length: 5", "", None, ""),
        (
            GET,
            "204 No Content\r\nTransfer-Encoding: chunked",
            CHUNKS,
            None,
            "",
        ),
        (
            GET,
            "304 Not Modified\r\nTransfer-Encoding: chunked",
            "",
            None,
            "",
        ),
        (
            GET,
            "103 Early Hints\r\nLink: a\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2",
            "ok",
            Some("2"),
            "ok",
        ),
    ] {
        let answer = format!("HTTP/1.1 {lines}\r\n\r\n{body}");
        let (_, answered) = proxied.ask(request, &answer).await;
        let (head, rest) = answered.split_once("\r\n\r\n").expect("a whole head");
        let head = head.to_ascii_lowercase();
        let named = head
            .lines()
            .filter_map(|l| l.strip_prefix("content-length: "));
        let named: Vec<_> = named.collect();
        assert_eq!(
            named,
            length.into_iter().collect::<Vec<_>>(),
            "{answer}{answered}"
        );
        assert_eq!(rest, came, "{answer}{answered}");
        let chunked = head.contains("transfer-encoding: chunked");
        assert_eq!(chunked, came == CHUNKS, "{answer}{answered}");
        assert!(
            !head.contains("keep-alive") || length.is_some(),
            "{answered}"
        );
    }
}

/// A coding on top of chunks, or lengths that contradict each other, are nothing that can be sent on.
#[tokio::test]
async fn a_length_that_cannot_be_told_is_refused() {
    let proxied = Proxied::new(Mobula).await;
    for lines in [
        "Content-Length: 2\r\nContent-Length: 3",
        "Content-Length: +2",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: xchunked",
    ] {
        let answer = format!("HTTP/1.1 200 OK\r\n{lines}\r\n\r\n{CHUNKS}");
        let (_, answered) = proxied.ask(GET, &answer).await;
        assert!(answered.starts_with("HTTP/1.1 503 "), "{lines}: {answered}");
    }
    for (lines, status) in [
        ("Content-Length: 2\r\nContent-Length: 3", "400"),
        ("Transfer-Encoding: gzip, chunked", "501"),
        ("Transfer-Encoding: chunked, gzip", "400"),
    ] {
        let request =
            format!("POST http://127.0.0.1:9/ HTTP/1.1\r\nHost: x\r\n{lines}\r\n\r\n{CHUNKS}");
        let client = TcpStream::connect((Ipv4Addr::LOCALHOST, proxied.port)).await;
        let mut client = client.expect("the proxy listens");
        client
            .write_all(request.as_bytes())
            .await
            .expect("it reads");
        let mut answer = [0; 12];
        let read = timeout(traffic::LIMIT, client.read_exact(&mut answer)).await;
        read.expect("an answer in time").expect("an answer");
        assert_eq!(text(&answer), format!("HTTP/1.1 {status}"), "{lines}");
    }
}

/// What V2Ray passes is passed: the same table for both.
#[tokio::test]
async fn odd_requests_arrive_as_v2ray_sends_them() {
    for proxy in [V2ray445, Mobula] {
        let proxied = Proxied::new(proxy).await;
        for (request, line, has, lacks) in [
            (
                "GET http://T HTTP/1.1\r\nHost: x\r\n\r\n",
                "GET / HTTP/1.1",
                "host: t",
                "",
            ),
            (
                "GET http://T?q=1 HTTP/1.1\r\nHost: x\r\n\r\n",
                "GET /?q=1 HTTP/1.1",
                "host: t",
                "",
            ),
            (
                "GET http://u:p@T/a HTTP/1.1\r\nHost: x\r\n\r\n",
                "GET /a HTTP/1.1",
                "host: t",
                "u:p",
            ),
            (
                "GET HTTP://T/a HTTP/1.0\r\n\r\n",
                "GET /a HTTP/1.1",
                "host: t",
                "",
            ),
            (
                "GET https://T/a HTTP/1.1\r\nHost: x\r\n\r\n",
                "GET /a HTTP/1.1",
                "host: t",
                "",
            ),
            (
                "GET http://T/\u{e9}\"<{|}> HTTP/1.1\r\nHost: x\r\n\r\n",
                "GET /%E9%22%3C%7B%7C%7D%3E HTTP/1.1",
                "",
                "",
            ),
            (
                "GET http://T/a#b HTTP/1.1\r\nHost: x\r\n\r\n",
                "GET /a%23b HTTP/1.1",
                "",
                "",
            ),
            (
                "GET http://T/ HTTP/1.2\r\nHost: x\r\n\r\n",
                "GET / HTTP/1.1",
                "",
                "",
            ),
            (
                "PROPFIND http://T/..//a;b HTTP/1.1\r\nHost: x\r\n\r\n",
                "PROPFIND /..//a;b HTTP/1.1",
                "",
                "",
            ),
            (
                "GET http://T/ HTTP/1.1\r\nHost: x\r\nX-E:\r\nX-B: \u{e9}\u{ff}\r\n\r\n",
                "GET / HTTP/1.1",
                "x-b: \u{e9}\u{ff}",
                "",
            ),
            (
                "GET http://T/ HTTP/1.1\r\nHost: x\r\nX-F: a\r\n b\r\n\r\n",
                "GET / HTTP/1.1",
                "x-f: a b",
                "",
            ),
            (
                "GET http://T/ HTTP/1.1\r\nHost: x\r\nX Y: a\r\nX : b\r\nX(1): c\r\nZ: d\r\n\r\n",
                "GET / HTTP/1.1",
                "z: d",
                "x",
            ),
            (
                "GET http://T/ HTTP/1.1\r\nHost: x\r\nConnection: close, X-Hop, Host\r\nX-Hop: 1\r\n\r\n",
                "GET / HTTP/1.1",
                "host: t",
                "x-hop",
            ),
            (
                "GET http://T/ HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi",
                "GET / HTTP/1.1",
                "content-length: 2\r\n",
                "",
            ),
            (
                "GET http://T/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
                "GET / HTTP/1.1",
                "\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
                "content-length",
            ),
            (
                "POST http://T/ HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\nTransfer-Encoding: chunked\r\n\r\n2;e=f\r\nhi\r\n0\r\n\r\n",
                "POST / HTTP/1.1",
                "\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
                "content-length",
            ),
            (
                "POST http://T/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTrailer: X-T\r\n\r\n2\r\nhi\r\n0\r\nX-T: 1\r\n\r\n",
                "POST / HTTP/1.1",
                "\r\nx-t: 1\r\n\r\n",
                "",
            ),
            (
                "POST http://T/ HTTP/1.0\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\nhi",
                "POST / HTTP/1.1",
                "content-length: 2\r\n",
                "transfer-encoding",
            ),
            (
                "POST http://T/ HTTP/1.1\r\nHost: x\r\n\r\n",
                "POST / HTTP/1.1",
                "content-length: 0\r\n",
                "",
            ),
        ] {
            let (asked, answered) = proxied.ask(request, OK).await;
            let (first, rest) = asked.split_once("\r\n").unwrap_or_default();
            let rest = rest.to_ascii_lowercase();
            assert_eq!(first, line, "{proxy:?} of {request}");
            assert!(rest.contains(has), "{proxy:?} of {request}: {asked}");
            assert!(
                lacks.is_empty() || !rest.contains(lacks),
                "{proxy:?} of {request}: {asked}"
            );
            assert!(
                answered.contains(" 200 OK\r\n") && answered.ends_with("\r\n\r\nok"),
                "{answered}"
            );
        }
        let many: String = (0..300).map(|n| format!("X-{n}: {n}\r\n")).collect();
        let cookie = "c".repeat(150_000);
        let request =
            format!("GET http://T/ HTTP/1.1\r\nHost: x\r\n{many}Cookie: {cookie}\r\n\r\n");
        let answer = OK.replace(
            "\r\n\r\n",
            &format!("\r\n{many}X Y: z\r\nX-F: a\r\n b\r\n\r\n"),
        );
        let (asked, answered) = proxied.ask(&request, &answer).await;
        assert!(asked.contains("X-299: 299\r\n") && asked.contains(&cookie));
        assert!(answered.contains("X-299: 299\r\n") && answered.contains("X-F: a b\r\n"));
    }
}

/// No byte behind a CONNECT is taken for a body, whatever its headers say.
#[tokio::test]
async fn the_first_byte_of_a_tunnel_arrives() {
    for proxy in [V2ray445, Mobula] {
        let proxied = Proxied::new(proxy).await;
        for more in [
            "",
            "Transfer-Encoding: chunked\r\n",
            "Content-Length: 3\r\n",
            "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n",
            "Expect: 100-continue\r\n",
            "X Y: z\r\n",
            "X: a\r\n b\r\n",
        ] {
            let request = format!("CONNECT T HTTP/1.1\r\nHost: x\r\n{more}\r\n\u{16}\u{3}first");
            let (asked, answered) = proxied.ask(&request, "second").await;
            assert_eq!(asked, "\u{16}\u{3}first", "{proxy:?} {more}");
            assert_eq!(
                answered,
                "HTTP/1.1 200 Connection established\r\n\r\nsecond"
            );
        }
    }
}

/// Requests of one connection are told apart behind bodies of every kind.
#[tokio::test]
async fn a_connection_carries_odd_requests_one_after_another() {
    let proxied = Proxied::new(Mobula).await;
    let client = TcpStream::connect((Ipv4Addr::LOCALHOST, proxied.port)).await;
    let mut client = client.expect("the proxy listens");
    for body in [
        "\r\n",
        "Content-Length: 6\r\n\r\nX Y: z",
        "X-F: a\r\n b\r\nTransfer-Encoding: chunked\r\n\r\n6;x\r\nX Y: z\r\n0\r\nT: 1\r\n\r\n",
        "\r\n",
    ] {
        let (target, mut got) = server(OK).await;
        let request = format!("POST http://127.0.0.1:{target}/\" HTTP/1.1\r\nHost: x\r\n{body}");
        client
            .write_all(request.as_bytes())
            .await
            .expect("it reads");
        let asked = timeout(traffic::LIMIT, got.recv()).await;
        let asked = text(&asked.expect("a request in time").unwrap_or_default());
        assert!(asked.starts_with("POST /%22 HTTP/1.1\r\n"), "{asked}");
        assert_eq!(asked.contains("X Y: z"), body.contains("X Y: z"), "{asked}");
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\nok") {
            let read = timeout(traffic::LIMIT, client.read_buf(&mut answer)).await;
            assert!(matches!(read, Ok(Ok(1..))), "{:?}", text(&answer));
        }
    }
}

/// Browsers offer HTTP/2 to a proxy behind TLS, and speak it where it is agreed on.
#[tokio::test]
async fn over_tls_both_ends_agree_on_http_1_1_alone() {
    let mut stage = Stage::new();
    let certificate = Certificate::new(&stage);
    let acceptor = certificate.acceptor(&["h2", "http/1.1"]);
    let server = listen();
    let next = server.local_addr().expect("it listens").port();
    let port = free_port();
    let config = json!({
        "inbounds": [{"listen": "127.0.0.1", "port": port, "protocol": "http", "streamSettings": {
            "security": "tls",
            "tlsSettings": {"certificates": [{"certificateFile": certificate.chain, "keyFile": certificate.key}]},
        }}],
        "outbounds": [{
            "protocol": "http", "settings": {"servers": [{"address": "127.0.0.1", "port": next}]},
            "streamSettings": {"security": "tls", "tlsSettings": {
                "serverName": SERVER_NAME,
                "certificates": [{"usage": "verify", "certificateFile": certificate.authority}],
            }},
        }],
    });
    stage.run(Mobula, "proxy", &config, &[port]).await;
    let serving = tokio::spawn(async move {
        let (stream, _) = server.accept().await.expect("a connection");
        let mut stream = acceptor.accept(stream).await.expect("TLS");
        let agreed = stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec);
        let mut asked = vec![0; 13];
        stream.read_exact(&mut asked).await.expect("a request");
        let answer = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\nhello").await;
        answer.expect("it listens");
        // Until it is read.
        let _ = stream.read_to_end(&mut Vec::new()).await;
        (agreed, asked)
    });
    let mut stream = over_tls(&certificate, port, SERVER_NAME, &["h2", "http/1.1"]).await;
    let agreed = stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec);
    assert_eq!(agreed.as_deref(), Some(&b"http/1.1"[..]));
    let request = b"CONNECT a.test:80 HTTP/1.1\r\nHost: a.test:80\r\n\r\n";
    stream.write_all(request).await.expect("it reads");
    let mut answer = vec![0; 12];
    let read = timeout(traffic::LIMIT, stream.read_exact(&mut answer)).await;
    read.expect("an answer in time").expect("an answer");
    assert_eq!(answer, b"HTTP/1.1 200");
    drop(stream);
    let (agreed, asked) = timeout(traffic::LIMIT, serving)
        .await
        .expect("the end in time")
        .expect("a server");
    assert_eq!(agreed.as_deref(), Some(&b"http/1.1"[..]));
    assert_eq!(asked, b"CONNECT a.tes");
}
