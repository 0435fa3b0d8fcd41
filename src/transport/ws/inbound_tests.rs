use http::header::{HeaderName, HeaderValue, SEC_WEBSOCKET_PROTOCOL};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::*;
use crate::http::EarlyDataIn;

const KEY: &str = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

fn at(path: &str) -> ServerSettings {
    ServerSettings {
        path: path.to_owned(),
        ..ServerSettings::default()
    }
}

type Accepting = JoinHandle<Result<Arrival, RequestError>>;

fn visit(settings: &ServerSettings, source: &str) -> (DuplexStream, Accepting) {
    let inbound = Inbound::new(settings.clone());
    let (peer, ours) = duplex(256 * 1024);
    let source: std::net::SocketAddr = source.parse().unwrap();
    let arrival = Arrival {
        link: Link::other(ours),
        source: source.into(),
        local: source.into(),
        original_dst: None,
        tls: None,
        since: Instant::now(),
    };
    (
        peer,
        crate::io::spawn(async move {
            inbound
                .accept(arrival, &Closing::default(), Default::default())
                .await
        }),
    )
}

fn get(target: &str, more: &str) -> String {
    format!(
        "GET {target} HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n\
         Sec-WebSocket-Version: 13\r\n{KEY}{more}\r\n"
    )
}

async fn head(peer: &mut DuplexStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match peer.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8(head).unwrap()
}

/// The answer's status and the log's reason for one request.
async fn refused(settings: &ServerSettings, request: &str) -> (String, String) {
    let (mut peer, accepting) = visit(settings, "127.0.0.1:1");
    peer.write_all(request.as_bytes()).await.unwrap();
    let answer = head(&mut peer).await;
    for word in ["mobula", "ray", "hyper", "Server"] {
        assert!(!answer.contains(word), "{answer}");
    }
    drop(peer);
    let Ok(Err(error)) = accepting.await else {
        panic!("{request} was accepted")
    };
    let reason = error.to_string();
    (answer.lines().next().unwrap_or_default().to_owned(), reason)
}

#[tokio::test]
async fn what_opens_no_tunnel_is_answered_as_a_web_server_would() {
    let settings = at("/ray");
    let good = get("/ray", "");
    for (request, status, reason) in [
        (
            get("/wrong", ""),
            "404 Not Found",
            "the path is not \"/ray\"",
        ),
        (get("/ray/", ""), "404 Not Found", "the path is not"),
        (get("/raymond", ""), "404 Not Found", "the path is not"),
        (
            good.replace("GET", "POST"),
            "405 Method Not Allowed",
            "only GET",
        ),
        (
            good.replace("Upgrade: WebSocket\r\n", ""),
            "400 Bad Request",
            "no `Upgrade: websocket`",
        ),
        (
            good.replace("keep-alive, Upgrade", "keep-alive"),
            "400 Bad Request",
            "no `Connection: Upgrade`",
        ),
        (
            good.replace("Version: 13", "Version: 8"),
            "426 Upgrade Required",
            "version 8, expected 13",
        ),
        (
            good.replace("Sec-WebSocket-Version: 13\r\n", ""),
            "400 Bad Request",
            "no Sec-WebSocket-Version",
        ),
        (
            good.replace("dGhl", ""),
            "400 Bad Request",
            "16 bytes of base64",
        ),
        (
            good.replace(KEY, ""),
            "400 Bad Request",
            "16 bytes of base64",
        ),
        (
            good.replace("Host: a\r\n", ""),
            "400 Bad Request",
            "one Host",
        ),
        (
            good.replace("\r\n\r\n", "\r\nContent-Length: 3\r\n\r\nabc"),
            "400 Bad Request",
            "no body",
        ),
        (
            "nonsense\r\n\r\n".to_owned(),
            "400 Bad Request",
            "not a proper HTTP request",
        ),
        (
            get("/ray", &format!("X-Long: {}\r\n", "x".repeat(70_000))),
            "431 Request Header Fields Too Large",
            "not a proper HTTP request",
        ),
    ] {
        let (line, text) = refused(&settings, &request).await;
        assert!(line.ends_with(status), "{line}, expected {status}");
        assert!(text.contains(reason), "{text}");
    }
}

/// A page in which only the status differs, and what follows it.
fn shape(answer: &str) -> (Vec<String>, String) {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let mut lines = head.lines();
    let status = lines.next().unwrap().strip_prefix("HTTP/1.1 ").unwrap();
    let body = body.replace(status, "STATUS");
    (
        lines
            .map(|l| l.split(':').next().unwrap().to_owned())
            .collect(),
        body,
    )
}

/// Whatever is wrong, and whoever notices it, the answer is the same but for its status.
#[tokio::test]
async fn all_refusals_of_an_inbound_have_one_shape() {
    let settings = at("/ray");
    let good = get("/ray", "");
    let long = "x".repeat(40_000);
    let mut seen = Vec::new();
    for (request, status) in [
        (get("/wrong", ""), "404"),
        ("GET / HTTP/1.0\r\n\r\n".to_owned(), "404"),
        (
            "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_owned(),
            "404",
        ),
        (good.replace("GET", "DELETE"), "405"),
        (good.replace("Upgrade: WebSocket\r\n", ""), "400"),
        (
            good.replace("HTTP/1.1", "HTTP/1.0")
                .replace("Connection", "X"),
            "400",
        ),
        (good.replace("Host: a\r\n", ""), "400"),
        (good.replace("Host: a\r\n", "Host: a\r\nX Y: z\r\n"), "400"),
        (good.replace("HTTP/1.1", "HTTP/1.2"), "400"),
        (format!("GET /{long} HTTP/1.1\r\nHost: a\r\n\r\n"), "431"),
        (get("/ray", &format!("X: {long}\r\n")), "431"),
        (get("/ray", &"A: b\r\n".repeat(120)), "431"),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(), "400"),
        ("\x16\x03\x01\x02\0\x01\0\x01\x7c\x03".to_owned(), "400"),
        ("GET /\r\n\r\n".to_owned(), "400"),
        (
            "CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
            "404",
        ),
        ("\x05\x01\0".to_owned(), "400"),
    ] {
        let (mut peer, accepting) = visit(&settings, "127.0.0.1:1");
        peer.write_all(request.as_bytes()).await.unwrap();
        peer.shutdown().await.unwrap();
        let mut answer = String::new();
        peer.read_to_string(&mut answer).await.unwrap();
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{request}: {answer}"
        );
        seen.push((shape(&answer), request));
        assert!(accepting.await.unwrap().is_err());
    }
    let names = ["Date", "Content-Type", "Content-Length", "Connection"];
    assert_eq!(seen[0].0.0, names);
    for (found, request) in &seen {
        assert_eq!(found, &seen[0].0, "{request}");
    }
}

#[tokio::test]
async fn a_whole_upgrade_is_answered_though_a_proxy_asks_as_http_1_0() {
    for request in [get("/ray", ""), get("/ray", "").replace("Host: a\r\n", "")] {
        let (mut peer, accepting) = visit(&at("/ray"), "127.0.0.1:1");
        let request = request.replace("HTTP/1.1", "HTTP/1.0");
        peer.write_all(request.as_bytes()).await.unwrap();
        let answer = head(&mut peer).await;
        assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
        assert!(accepting.await.unwrap().is_ok());
    }
}

/// Names as RFC 6455 spells them, in V2Ray's order.
#[tokio::test]
async fn the_answer_that_opens_a_tunnel_is_spelled_as_v2ray_spells_it() {
    let (mut peer, _accepting) = visit(&at("/ray"), "127.0.0.1:1");
    let request = get("/ray", "Sec-WebSocket-Protocol: chat\r\n");
    peer.write_all(request.as_bytes()).await.unwrap();
    assert_eq!(
        head(&mut peer).await,
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: chat\r\n\r\n"
    );
}

/// A body of a refused request is not taken for the next request, nor is it read without end.
#[tokio::test]
async fn another_request_follows_a_body_that_is_refused() {
    let (mut peer, accepting) = visit(&at("/ray"), "127.0.0.1:1");
    let post = "POST /form HTTP/1.1\r\nHost: a\r\nContent-Length: 20\r\n\r\n0123456789";
    peer.write_all(post.as_bytes()).await.unwrap();
    let first = head(&mut peer).await;
    assert!(
        first.contains("404") && first.contains("Connection: keep-alive\r\n"),
        "{first}"
    );
    let rest = format!("0123456789{}", get("/ray", ""));
    peer.write_all(rest.as_bytes()).await.unwrap();
    let mut page = String::new();
    while !page.ends_with("\r\n\r\n") {
        page.push(peer.read_u8().await.unwrap() as char);
    }
    assert!(page.contains("HTTP/1.1 101 "), "{page}");
    assert!(accepting.await.unwrap().is_ok());

    for (request, connection) in [
        ("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", "keep-alive"),
        (
            "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
            "keep-alive",
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: Close\r\n\r\n",
            "close",
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9999999\r\n\r\n",
            "close",
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 2\r\n\r\n",
            "close",
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            "close",
        ),
    ] {
        let (mut peer, _accepting) = visit(&at("/ray"), "127.0.0.1:1");
        peer.write_all(request.as_bytes()).await.unwrap();
        let answer = head(&mut peer).await;
        let line = format!("Connection: {connection}\r\n");
        assert!(answer.contains(&line), "{request}: {answer}");
    }
}

#[tokio::test]
async fn the_path_is_compared_decoded_and_without_its_query() {
    for target in ["/ray", "/ray?x=1", "/ray?ed=2048", "/%72ay", "http://a/ray"] {
        let (mut peer, accepting) = visit(&at("ray"), "127.0.0.1:1");
        peer.write_all(get(target, "").as_bytes()).await.unwrap();
        let answer = head(&mut peer).await;
        assert!(answer.starts_with("HTTP/1.1 101"), "{target}: {answer}");
        assert!(answer.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
        accepting.await.unwrap().map_err(|_| ()).unwrap();
    }
}

#[tokio::test]
async fn requests_before_the_upgrade_and_frames_behind_it_are_all_served() {
    let mut settings = at("/ray");
    let value = HeaderValue::from_static("1");
    settings.headers.insert("x-a", value);
    let (mut peer, accepting) = visit(&settings, "127.0.0.1:1");
    for _ in 0..3 {
        peer.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            .await
            .unwrap();
        let answer = head(&mut peer).await;
        assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
        let len = answer.split("Content-Length: ").nth(1).unwrap();
        let len: usize = len.split("\r\n").next().unwrap().parse().unwrap();
        peer.read_exact(&mut vec![0; len]).await.unwrap();
    }
    let request = get("/ray", "") + "\u{2}";
    let mut request = request.into_bytes();
    request.pop();
    request.extend_from_slice(b"\x82\x82\x01\x02\x03\x04\x69\x6b");
    peer.write_all(&request).await.unwrap();
    assert!(head(&mut peer).await.contains("X-A: 1"));
    let mut arrival = accepting.await.unwrap().map_err(|_| ()).unwrap();
    let mut text = [0; 2];
    arrival.link.read_exact(&mut text).await.unwrap();
    assert_eq!(&text, b"hi");
}

#[tokio::test]
async fn early_data_is_found_in_every_form_that_the_settings_allow() {
    let flight: Vec<u8> = (0..100_u8)
        .map(|i| i.wrapping_mul(37).wrapping_add(200))
        .collect();
    let text = early_data::encode(&flight);
    let off = at("/ray");
    let carried_in = |carried_in| ServerSettings {
        early_data: Some(carried_in),
        ..at("/ray")
    };
    let in_path = carried_in(EarlyDataIn::Path);
    let protocol = carried_in(EarlyDataIn::Header(SEC_WEBSOCKET_PROTOCOL));
    let x_early = HeaderName::from_static("x-early");
    let named = carried_in(EarlyDataIn::Header(x_early));
    let standard = text.replace('-', "+").replace('_', "/") + "==";
    let none = Vec::new();
    let carried = |name: &str, value: &str| format!("{name}: {value}\r\n");
    for (settings, target, header, early, echo) in [
        (
            &in_path,
            format!("/ray{text}"),
            String::new(),
            &flight,
            None,
        ),
        (
            &in_path,
            format!("/ray{standard}?x=1"),
            String::new(),
            &flight,
            None,
        ),
        (&in_path, "/ray".to_owned(), String::new(), &none, None),
        (
            &in_path,
            "/ray".to_owned(),
            carried("Sec-WebSocket-Protocol", &text),
            &flight,
            Some(text.as_str()),
        ),
        (
            &protocol,
            "/ray".to_owned(),
            carried("Sec-WebSocket-Protocol", &text),
            &flight,
            Some(&text),
        ),
        (
            &protocol,
            "/ray".to_owned(),
            carried("Sec-WebSocket-Protocol", &standard),
            &flight,
            Some(&standard),
        ),
        (
            &protocol,
            "/ray".to_owned(),
            carried("Sec-WebSocket-Protocol", "chat.v1"),
            &none,
            Some("chat.v1"),
        ),
        (
            &named,
            "/ray".to_owned(),
            carried("x-early", &text),
            &flight,
            None,
        ),
        (
            &named,
            "/ray".to_owned(),
            carried("x-early", "!"),
            &none,
            None,
        ),
        (
            &named,
            "/ray".to_owned(),
            carried("Sec-WebSocket-Protocol", &text),
            &flight,
            Some(&text),
        ),
        (
            &off,
            "/ray?ed=2048".to_owned(),
            carried("Sec-WebSocket-Protocol", &text),
            &flight,
            Some(&text),
        ),
        (
            &off,
            "/ray".to_owned(),
            carried("Sec-WebSocket-Protocol", "binary, chat"),
            &none,
            Some("binary"),
        ),
    ] {
        let (mut peer, accepting) = visit(settings, "127.0.0.1:1");
        peer.write_all(get(&target, &header).as_bytes())
            .await
            .unwrap();
        let answer = head(&mut peer).await;
        assert!(
            answer.starts_with("HTTP/1.1 101"),
            "{target} {header}: {answer}"
        );
        let protocol = answer
            .lines()
            .find_map(|l| l.strip_prefix("Sec-WebSocket-Protocol: "));
        assert_eq!(protocol, echo);
        drop(peer);
        let mut arrival = accepting.await.unwrap().map_err(|_| ()).unwrap();
        let mut got = Vec::new();
        arrival.link.read_to_end(&mut got).await.unwrap();
        assert_eq!(&got, early, "{target} {header}");
    }
    let (line, _) = refused(&in_path, &get("/ray!!", "")).await;
    assert!(line.contains("404"));
}

#[tokio::test]
async fn a_trusted_proxy_names_the_client() {
    for (peer_addr, source) in [
        ("127.0.0.1:5", "203.0.113.9:0"),
        ("198.51.100.1:5", "198.51.100.1:5"),
    ] {
        let (mut peer, accepting) = visit(&at("/ray"), peer_addr);
        let request = get("/ray", "X-Forwarded-For: 203.0.113.9, 10.0.0.1\r\n");
        peer.write_all(request.as_bytes()).await.unwrap();
        let arrival = accepting.await.unwrap().map_err(|_| ()).unwrap();
        assert_eq!(arrival.source.to_string(), source);
    }
}

#[tokio::test(start_paused = true)]
async fn a_header_that_trickles_or_does_not_come_is_cut_after_four_seconds() {
    for trickle in [false, true] {
        let (mut peer, accepting) = visit(&at("/"), "127.0.0.1:1");
        let start = Instant::now();
        let trickling = async {
            while trickle && peer.write_all(b"G").await.is_ok() {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            let mut answer = Vec::new();
            let _ = peer.read_to_end(&mut answer).await;
            assert!(answer.is_empty());
        };
        let (end, ()) = tokio::join!(accepting, trickling);
        let Ok(Err(error)) = end else { panic!() };
        let text = error.to_string();
        assert_eq!(text, "no whole HTTP request within 4 s");
        assert!(
            start.elapsed() <= Duration::from_secs(7),
            "{:?}",
            start.elapsed()
        );
    }
}
