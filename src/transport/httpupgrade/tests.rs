//! Both sides, with each other and with what other programs send.

use std::time::Duration;

use http::header::{HeaderName, HeaderValue, SEC_WEBSOCKET_PROTOCOL};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

use super::*;
use crate::address::Destination;
use crate::cause::RequestError;
use crate::io::{Io, Link};
use crate::seam::Arrival;
use crate::session::Source;

fn at(path: &str) -> ServerSettings {
    ServerSettings {
        path: path.to_owned(),
        ..ServerSettings::default()
    }
}

fn to_path(path: &str) -> ClientSettings {
    ClientSettings {
        path: path.to_owned(),
        ..ClientSettings::default()
    }
}

fn header(name: &'static str, max: usize) -> EarlyHeader {
    EarlyHeader {
        name: HeaderName::from_static(name),
        max,
    }
}

fn arrival(link: Link) -> Arrival {
    let source: std::net::SocketAddr = "127.0.0.1:1".parse().unwrap();
    Arrival {
        link,
        source: source.into(),
        local: source.into(),
        original_dst: None,
        tls: None,
        since: Instant::now(),
    }
}

async fn accept(settings: &ServerSettings, link: Link) -> Result<Arrival, RequestError> {
    Inbound::new(settings.clone())
        .accept(arrival(link), Default::default())
        .await
}

async fn connect(settings: &ClientSettings, link: Link, tls: bool) -> std::io::Result<Link> {
    let server: Destination = "a.example:8080".parse().unwrap();
    Outbound::new(settings.clone())
        .wrap(link, &server, tls)
        .await
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

const GRANTED: &[u8] =
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";

/// What Xray, V2Ray 5, sing-box and mihomo send, captured.
fn captured() -> Vec<(String, String)> {
    let text = include_str!("../../../testdata/vectors/httpupgrade.json");
    let all: serde_json::Value = serde_json::from_str(text).unwrap();
    let all = all["requests"].as_object().unwrap();
    let text = |lines: &serde_json::Value| {
        let lines = lines.as_array().unwrap().iter();
        let lines: Vec<_> = lines.map(|line| line.as_str().unwrap()).collect();
        lines.join("\r\n") + "\r\n\r\n"
    };
    all.iter()
        .map(|(who, lines)| (who.clone(), text(lines)))
        .collect()
}

/// However the request is cut into pieces, and what stands behind it in the same one.
#[tokio::test]
async fn what_other_programs_send_is_granted_and_nothing_behind_it_is_lost() {
    let captured = captured();
    assert_eq!(captured.len(), 5);
    for (who, request) in captured {
        let early = request.contains("Sec-Websocket-Protocol: ALgxOB1jJE1T");
        for cut in [1, 20, request.len() - 1, request.len(), request.len() + 3] {
            let (mut theirs, ours) = duplex(4096);
            let whole = [request.as_bytes(), b"the first bytes"].concat();
            let settings = ServerSettings {
                host: Some("holdout.test".to_owned()),
                ..at("/fam")
            };
            let sending = async {
                theirs.write_all(&whole[..cut]).await.unwrap();
                tokio::task::yield_now().await;
                theirs.write_all(&whole[cut..]).await.unwrap();
            };
            let ((), accepted) = tokio::join!(sending, accept(&settings, Link::other(ours)));
            let mut link = accepted.unwrap().link;
            let answer = head(&mut theirs).await;
            assert_eq!(
                answer,
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
            );
            link.write_all(b"back").await.unwrap();
            drop(theirs);
            let mut got = Vec::new();
            link.read_to_end(&mut got).await.unwrap();
            let (in_header, behind) = got.split_at(got.len() - 15);
            assert_eq!(behind, b"the first bytes", "{who}");
            assert_eq!(in_header.len(), if early { 44 } else { 0 }, "{who}");
        }
    }
}

#[tokio::test]
async fn nothing_stands_between_a_tunnel_and_its_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap())
        .await
        .unwrap();
    let (far, _) = listener.accept().await.unwrap();
    let (near, far) = (Link::Tcp(near), Link::Tcp(far));
    let (client, server) = (to_path("/ray"), at("/ray"));
    let (near, far) = tokio::join!(connect(&client, near, false), accept(&server, far));
    assert!(matches!(near.unwrap(), Link::Tcp(_)));
    assert!(matches!(far.unwrap().link, Link::Tcp(_)));
}

#[tokio::test]
async fn the_request_is_a_browser_s_without_the_keys_of_a_websocket() {
    let mut settings = ClientSettings {
        host: Some(HeaderValue::from_static("b.example")),
        ..to_path("/a b?c=d%41")
    };
    let value = HeaderValue::from_static("1");
    settings
        .headers
        .insert(HeaderName::from_static("x-a"), value);
    let (mut theirs, ours) = duplex(4096);
    let asking = crate::io::spawn(async move { connect(&settings, Link::other(ours), true).await });
    let request = head(&mut theirs).await;
    assert!(
        request.starts_with(
            "GET /a%20b%3Fc=d%2541 HTTP/1.1\r\nHost: b.example\r\nConnection: Upgrade\r\n"
        ),
        "{request}"
    );
    assert!(request.contains("\r\nUpgrade: websocket\r\nOrigin: https://b.example\r\n"));
    assert!(request.contains("\r\nX-A: 1\r\n"));
    assert!(!request.contains("Sec-WebSocket"), "{request}");
    theirs.write_all(GRANTED).await.unwrap();
    theirs.write_all(b"already here").await.unwrap();
    let mut link = asking.await.unwrap().unwrap();
    let mut got = [0; 12];
    link.read_exact(&mut got).await.unwrap();
    assert_eq!(&got, b"already here");
}

#[tokio::test]
async fn a_refusal_says_what_it_most_likely_comes_from() {
    for (answer, said) in [
        (
            "HTTP/1.1 404 Not Found\r\nServer: nginx\r\n\r\n",
            "404: the server does not know path /ray (server: nginx)",
        ),
        (
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\r\n",
            "101 without `Upgrade: websocket`: this is no tunnel server",
        ),
        (
            "\x15\x03\x01",
            "the answer is not HTTP, is this a TLS port or another service?",
        ),
        (
            "",
            "the server closed the connection during the handshake, is this a TLS port?",
        ),
    ] {
        let ahead = ClientSettings {
            early_data: Some(EarlyData::Ahead),
            ..to_path("/ray")
        };
        for settings in [to_path("/ray"), ahead] {
            let (mut theirs, ours) = duplex(4096);
            let asking = async {
                let mut link = connect(&settings, Link::other(ours), false).await?;
                link.read_u8().await
            };
            let answering = async {
                head(&mut theirs).await;
                theirs.write_all(answer.as_bytes()).await.unwrap();
                drop(theirs);
            };
            let (asked, ()) = tokio::join!(asking, answering);
            assert_eq!(asked.unwrap_err().to_string(), said);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_says_nothing_is_given_up() {
    for early_data in [
        None,
        Some(EarlyData::Ahead),
        Some(EarlyData::Header(header("x-early", 9))),
    ] {
        let settings = ClientSettings {
            early_data,
            ..to_path("/ray")
        };
        let (_theirs, ours) = duplex(4096);
        let began = Instant::now();
        let asking = async {
            let mut link = connect(&settings, Link::other(ours), false).await?;
            link.write_all(b"first").await?;
            link.read_u8().await
        };
        let error = asking.await.unwrap_err();
        assert_eq!(error.to_string(), "no answer to the upgrade in 8 s");
        assert!(began.elapsed() < Duration::from_secs(9));
    }
}

/// V2Ray 5 insists on the padding.
#[tokio::test]
async fn early_data_travels_in_the_header_and_the_rest_behind_the_answer() {
    let settings = ClientSettings {
        early_data: Some(EarlyData::Header(header("x-early", 4))),
        ..to_path("/ray")
    };
    let (mut theirs, ours) = duplex(4096);
    let mut link = connect(&settings, Link::other(ours), false).await.unwrap();
    let writing = crate::io::spawn(async move {
        link.write_all(&[0, 0xff, 0x10, 0xfb, b'r', b'e', b's', b't'])
            .await
            .unwrap();
        link.flush().await.unwrap();
        link
    });
    let request = head(&mut theirs).await;
    assert!(request.contains("\r\nX-Early: AP8Q-w==\r\n"), "{request}");
    let none = tokio::time::timeout(Duration::from_millis(50), theirs.read_u8()).await;
    assert!(none.is_err(), "it would be lost");
    theirs.write_all(GRANTED).await.unwrap();
    let mut rest = [0; 4];
    theirs.read_exact(&mut rest).await.unwrap();
    assert_eq!(&rest, b"rest");
    theirs.write_all(b"back").await.unwrap();
    let mut link = writing.await.unwrap();
    link.read_exact(&mut rest).await.unwrap();
    assert_eq!(&rest, b"back");
    assert!(link.half_closes());
}

/// A server of Xray's that reads the request and forgets the rest of what it read.
#[tokio::test]
async fn what_does_not_wait_for_the_answer_is_not_read_along_with_the_request() {
    let settings = ClientSettings {
        early_data: Some(EarlyData::Ahead),
        ..to_path("/ray")
    };
    for answered_first in [false, true] {
        let (mut theirs, ours) = duplex(64 * 1024);
        let mut link = connect(&settings, Link::other(ours), false).await.unwrap();
        let mut read = vec![0; 4096];
        let serving = async {
            let n = theirs.read(&mut read).await.unwrap();
            assert!(
                read[..n].ends_with(b"\r\n\r\n"),
                "the request goes out by itself"
            );
            if answered_first {
                theirs.write_all(GRANTED).await.unwrap();
            }
            let mut first = [0; 5];
            theirs.read_exact(&mut first).await.unwrap();
            assert_eq!(&first, b"first");
            if !answered_first {
                theirs.write_all(GRANTED).await.unwrap();
            }
            theirs.write_all(b"back").await.unwrap();
        };
        let talking = async {
            link.write_all(b"first").await.unwrap();
            let mut back = [0; 4];
            link.read_exact(&mut back).await.unwrap();
            assert_eq!(&back, b"back");
        };
        tokio::join!(serving, talking);
    }
}

#[tokio::test]
async fn early_data_is_read_in_every_dialect() {
    let flight: Vec<u8> = (0..100_u8)
        .map(|i| i.wrapping_mul(37).wrapping_add(200))
        .collect();
    let padded = crate::http::early_data::encode_padded(&flight);
    let bare = crate::http::early_data::encode(&flight);
    let standard = padded.replace('-', "+").replace('_', "/");
    let named = |max| ServerSettings {
        early_data: Some(header("x-early", max)),
        ..at("/ray")
    };
    let exceeding = flight[60..].to_vec();
    let more = [&exceeding[..], b"more"].concat();
    for (settings, name, value, behind, expected) in [
        (named(100), "X-Early", &padded, &b""[..], flight.clone()),
        (named(100), "X-Early", &bare, b"", flight.clone()),
        (
            named(100),
            "X-Early",
            &standard,
            b"more",
            [&flight[..], b"more"].concat(),
        ),
        (
            named(100),
            "Sec-WebSocket-Protocol",
            &bare,
            b"",
            flight.clone(),
        ),
        (
            at("/ray"),
            "Sec-WebSocket-Protocol",
            &bare,
            b"more",
            [&flight[..], b"more"].concat(),
        ),
        (at("/ray"), "X-Early", &bare, b"more", b"more".to_vec()),
        // V2Ray 5 with 60 bytes at most: the rest comes twice.
        (
            named(60),
            "X-Early",
            &padded,
            &more,
            [&flight[..], b"more"].concat(),
        ),
        (
            named(60),
            "X-Early",
            &padded,
            b"more",
            [&flight[..], b"more"].concat(),
        ),
    ] {
        let (mut theirs, ours) = duplex(4096);
        let request = format!(
            "GET /ray HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n{name}: {value}\r\n\r\n"
        );
        theirs.write_all(request.as_bytes()).await.unwrap();
        theirs.write_all(behind).await.unwrap();
        let mut link = accept(&settings, Link::other(ours)).await.unwrap().link;
        theirs.shutdown().await.unwrap();
        let mut got = Vec::new();
        link.read_to_end(&mut got).await.unwrap();
        assert_eq!(got, expected, "{name} {behind:?}");
    }
    let short = ServerSettings {
        early_data: Some(EarlyHeader {
            name: SEC_WEBSOCKET_PROTOCOL,
            max: usize::MAX,
        }),
        ..at("/ray")
    };
    let (mut theirs, ours) = duplex(4096);
    let request = "GET /ray HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Protocol: aGk\r\n\r\n";
    theirs.write_all(request.as_bytes()).await.unwrap();
    let mut link = accept(&short, Link::other(ours)).await.unwrap().link;
    let mut hi = [0; 2];
    link.read_exact(&mut hi).await.unwrap();
    assert_eq!(&hi, b"hi");
}

#[tokio::test]
async fn each_end_understands_the_other_in_every_dialect() {
    let named = ServerSettings {
        early_data: Some(header("x-early", 100)),
        ..at("/ray")
    };
    for (early_data, server) in [
        (None, at("/ray")),
        (Some(EarlyData::Ahead), at("/ray")),
        (Some(EarlyData::Header(header("x-early", 9))), named.clone()),
        (
            Some(EarlyData::Header(header("x-early", 300))),
            named.clone(),
        ),
        (Some(EarlyData::Header(header("x-early", 3000))), named),
    ] {
        let client = ClientSettings {
            early_data,
            ..to_path("/ray")
        };
        let (near, far) = duplex(64 * 1024);
        let data: Vec<u8> = (0..1000_u16).map(|i| (i * 7 % 251) as u8).collect();
        let talking = async {
            let mut link = connect(&client, Link::other(near), false).await.unwrap();
            link.write_all(&data).await.unwrap();
            link.flush().await.unwrap();
            let mut back = vec![0; data.len()];
            link.read_exact(&mut back).await.unwrap();
            assert_eq!(back, data);
            link.shutdown().await.unwrap();
            assert_eq!(link.read(&mut [0]).await.unwrap(), 0);
        };
        let serving = async {
            let mut link = accept(&server, Link::other(far)).await.unwrap().link;
            let mut got = vec![0; data.len()];
            link.read_exact(&mut got).await.unwrap();
            link.write_all(&got).await.unwrap();
            assert_eq!(link.read(&mut [0]).await.unwrap(), 0);
            link.shutdown().await.unwrap();
        };
        tokio::join!(talking, serving);
    }
}

/// As a web server refuses it; another request may follow on the same connection.
#[tokio::test]
async fn what_asks_for_no_tunnel_is_refused_as_over_websocket() {
    let settings = ServerSettings {
        host: Some("a.example".to_owned()),
        ..at("/ray")
    };
    let request = |line: &str, more: &str| format!("{line} HTTP/1.1\r\n{more}\r\n");
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\n";
    let host = "Host: A.example:81\r\n";
    let good = request("GET /ray", &format!("{host}{upgrade}"));
    for (asked, status, said) in [
        (request("GET /", host), "404", "the path is not \"/ray\""),
        (
            request("GET /ray", &format!("Host: b.example\r\n{upgrade}")),
            "404",
            "the Host is not \"a.example\"",
        ),
        (
            request("GET /ray", upgrade),
            "404",
            "the Host is not \"a.example\"",
        ),
        (
            request("POST /ray", &format!("{host}{upgrade}")),
            "405",
            "only GET can open a tunnel",
        ),
        (
            request("GET /ray", &format!("{host}Connection: Upgrade\r\n")),
            "400",
            "no `Upgrade: websocket` header, a proxy in between did not forward it, or this is no tunnel client",
        ),
        (
            request("GET /ray", &format!("{host}Upgrade: websocket\r\n")),
            "400",
            "no `Connection: Upgrade` header, a proxy in between did not forward it?",
        ),
        (
            request(
                "GET /ray",
                &format!("{host}{upgrade}Content-Length: 0\r\nTransfer-Encoding: chunked\r\n"),
            ),
            "400",
            "an upgrade has no body",
        ),
    ] {
        let (mut theirs, ours) = duplex(64 * 1024);
        let accepting = {
            let settings = settings.clone();
            crate::io::spawn(async move { accept(&settings, Link::other(ours)).await })
        };
        theirs.write_all(asked.as_bytes()).await.unwrap();
        let answer = head(&mut theirs).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{answer}"
        );
        if answer.contains("keep-alive") {
            theirs.write_all(good.as_bytes()).await.unwrap();
            assert!(accepting.await.unwrap().is_ok());
            continue;
        }
        drop(theirs);
        let error = accepting.await.unwrap().err().unwrap();
        assert!(error.to_string().ends_with(said), "{error}");
    }
}

/// A CDN may want a whole WebSocket, and its answer.
#[tokio::test]
async fn a_request_with_the_key_of_a_websocket_is_answered_as_one() {
    let (mut theirs, ours) = duplex(4096);
    let request = "GET /ray HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                   Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    theirs.write_all(request.as_bytes()).await.unwrap();
    accept(&at("/ray"), Link::other(ours)).await.unwrap();
    let answer = head(&mut theirs).await;
    assert!(
        answer.contains("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"),
        "{answer}"
    );
}

#[tokio::test]
async fn a_proxy_in_front_says_for_whom_it_comes() {
    let (mut theirs, ours) = duplex(4096);
    let request = "GET /ray HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nX-Forwarded-For: 198.51.100.7\r\n\r\n";
    theirs.write_all(request.as_bytes()).await.unwrap();
    let accepted = accept(&at("/ray"), Link::other(ours)).await.unwrap();
    let client: std::net::SocketAddr = "198.51.100.7:0".parse().unwrap();
    assert_eq!(accepted.source, Source::from(client));
}
