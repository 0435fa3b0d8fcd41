//! Client, proxy and server in one process, joined by pipes.

use std::net::SocketAddr;
use std::time::Duration;

use http::{HeaderMap, HeaderValue};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::{Inbound, InboundSettings, Outbound, OutboundSettings};
use crate::address::Destination;
use crate::io::Link;
use crate::protocol::accounts::Account;
use crate::protocol::servers::ServerSettings;
use crate::protocol::{Accepted, Grant, InboundContext};
use crate::seam::{Arrival, Refusal};
use crate::session::Source;

const LIMIT: Duration = Duration::from_secs(8);

/// The answer is byte for byte V2Ray's.
#[tokio::test]
async fn a_connect_becomes_a_bare_tunnel_with_the_bytes_behind_it() {
    let (mut client, accepted) = start(InboundSettings::default());
    client
        .write_all(b"CONNECT example.com:8443 HTTP/1.1\r\nHost: x\r\n\r\npayload")
        .await
        .unwrap();
    expect(&mut client, "HTTP/1.1 200 Connection established\r\n\r\n").await;
    let Ok(Accepted::Stream { to, mut link, .. }) = accepted.await.unwrap() else {
        panic!("no stream");
    };
    assert_eq!(to.to_string(), "example.com:8443");
    link.write_all(b"answer").await.unwrap();
    expect(&mut client, "answer").await;
    drop(client);
    assert_eq!(rest(&mut link).await, "payload");
}

#[tokio::test]
async fn credentials_are_asked_for_and_may_come_on_the_same_connection() {
    let (mut client, accepted) = start(with_account());
    for wrong in ["", "Proxy-Authorization: Basic YTpj\r\n"] {
        let request = format!("CONNECT [::1]:443 HTTP/1.1\r\n{wrong}\r\n");
        client.write_all(request.as_bytes()).await.unwrap();
        expect(
            &mut client,
            "HTTP/1.1 407 Proxy Authentication Required\r\n\
             proxy-authenticate: Basic realm=\"proxy\"\r\ncontent-length: 0\r\n\r\n",
        )
        .await;
    }
    client
        .write_all(b"CONNECT [::1] HTTP/1.1\r\nproxy-authorization: basic YTpi\r\n\r\n")
        .await
        .unwrap();
    expect(&mut client, "HTTP/1.1 200 Connection established\r\n\r\n").await;
    let Ok(Accepted::Stream { user, to, .. }) = accepted.await.unwrap() else {
        panic!("no stream");
    };
    assert_eq!(user.unwrap().email.as_deref(), Some("a"));
    assert_eq!(to.to_string(), "[::1]:443");
}

#[tokio::test]
async fn one_connection_carries_requests_to_several_hosts_and_a_tunnel_at_last() {
    let (mut client, accepted) = start(InboundSettings::default());
    client
        .write_all(
            b"GET http://one.example/a?b HTTP/1.1\r\nhost: one.example\r\nX-cAsE: 1\r\n\
              Proxy-Connection: keep-alive\r\n\r\n",
        )
        .await
        .unwrap();
    let mut sessions = many(accepted).await;
    let (to, mut server) = session(&mut sessions).await;
    assert_eq!(to, "one.example:80");
    let asked = head(&mut server).await;
    assert!(asked.starts_with("GET /a?b HTTP/1.1\r\n"), "{asked}");
    assert!(asked.contains("X-cAsE: 1\r\n"), "{asked}");
    assert!(
        !asked.to_lowercase().contains("proxy-connection"),
        "{asked}"
    );
    server
        .write_all(
            b"HTTP/1.1 200 Fine\r\nConnection: close\r\nX-bAcK: 1\r\nContent-Length: 2\r\n\r\nok",
        )
        .await
        .unwrap();
    expect(
        &mut client,
        "HTTP/1.1 200 Fine\r\nX-bAcK: 1\r\nContent-Length: 2\r\n\r\nok",
    )
    .await;

    client
        .write_all(
            b"POST http://two.example:81/ HTTP/1.1\r\nHost: two.example:81\r\n\
              Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        )
        .await
        .unwrap();
    let (to, mut server) = session(&mut sessions).await;
    assert_eq!(to, "two.example:81");
    let asked = head(&mut server).await.to_lowercase();
    assert!(asked.contains("transfer-encoding: chunked"), "{asked}");
    expect_link(&mut server, "3\r\nabc\r\n0\r\n\r\n").await;
    server
        .write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n")
        .await
        .unwrap();
    expect(
        &mut client,
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
    )
    .await;

    client
        .write_all(b"CONNECT three.example:443 HTTP/1.1\r\n\r\nx")
        .await
        .unwrap();
    expect(&mut client, "HTTP/1.1 200 Connection established\r\n\r\n").await;
    let (to, mut tunnel) = session(&mut sessions).await;
    assert_eq!(to, "three.example:443");
    expect_link(&mut tunnel, "x").await;
    assert!(
        sessions.recv().await.is_none(),
        "the connection is given away"
    );
}

#[tokio::test]
async fn a_body_without_end_streams_and_ends_with_the_server() {
    let (mut client, accepted) = start(InboundSettings::default());
    client
        .write_all(b"GET http://one.example/ HTTP/1.0\r\n\r\n")
        .await
        .unwrap();
    let mut sessions = many(accepted).await;
    let (_, mut server) = session(&mut sessions).await;
    assert!(head(&mut server).await.contains("host: one.example\r\n"));
    server
        .write_all(b"HTTP/1.0 200 OK\r\n\r\npart")
        .await
        .unwrap();
    expect(&mut client, "HTTP/1.0 200 OK\r\n\r\npart").await;
    server.write_all(b" two").await.unwrap();
    drop(server);
    let mut body = String::new();
    client.read_to_string(&mut body).await.unwrap();
    assert_eq!(body, " two");
    assert!(sessions.recv().await.is_none());
}

#[tokio::test]
async fn a_head_request_has_a_length_and_no_body() {
    let (mut client, accepted) = start(InboundSettings::default());
    client
        .write_all(b"HEAD http://one.example HTTP/1.1\r\nHost: one.example\r\n\r\n")
        .await
        .unwrap();
    let mut sessions = many(accepted).await;
    let (_, mut server) = session(&mut sessions).await;
    assert!(head(&mut server).await.starts_with("HEAD / HTTP/1.1\r\n"));
    server
        .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
        .await
        .unwrap();
    expect(&mut client, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n").await;
}

/// A client that waits to be asked for its body, its server, and the head that this one got.
async fn holding_back_a_body() -> (DuplexStream, Link, String, mpsc::Receiver<Accepted>) {
    let (mut client, accepted) = start(InboundSettings::default());
    client
        .write_all(
            b"PUT http://one.example/ HTTP/1.1\r\nHost: one.example\r\n\
              Expect: 100-continue\r\nContent-Length: 4\r\n\r\n",
        )
        .await
        .unwrap();
    let mut sessions = many(accepted).await;
    let (_, mut server) = session(&mut sessions).await;
    let asked = head(&mut server).await;
    (client, server, asked, sessions)
}

#[tokio::test]
async fn a_client_that_waits_to_be_asked_for_its_body_is_asked() {
    let (mut client, mut server, asked, _sessions) = holding_back_a_body().await;
    assert!(asked.contains("Content-Length: 4\r\n"));
    server
        .write_all(b"HTTP/1.1 100 Continue\r\n\r\n")
        .await
        .unwrap();
    expect(&mut client, "HTTP/1.1 100 Continue\r\n\r\n").await;
    client.write_all(b"body").await.unwrap();
    expect_link(&mut server, "body").await;
}

/// Whether the body is wanted is the server's to say.
#[tokio::test]
async fn who_is_refused_is_not_asked_for_a_body() {
    let (mut client, mut server, asked, _sessions) = holding_back_a_body().await;
    assert!(asked.contains("Expect: 100-continue\r\n"));
    server
        .write_all(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
        .await
        .unwrap();
    expect(&mut client, "HTTP/1.1 413 Too Large\r\n").await;
}

/// One that knows nothing of it says nothing, and nobody waits for ever.
#[tokio::test]
async fn a_server_that_says_nothing_of_a_body_gets_it() {
    let (mut client, mut server, _, _sessions) = holding_back_a_body().await;
    expect(&mut client, "HTTP/1.1 100 Continue\r\n\r\n").await;
    client.write_all(b"body").await.unwrap();
    expect_link(&mut server, "body").await;
}

#[tokio::test]
async fn a_web_socket_passes_through_a_plain_request() {
    let (mut client, accepted) = start(InboundSettings::default());
    client
        .write_all(
            b"GET http://one.example/ws HTTP/1.1\r\nHost: one.example\r\n\
              Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        )
        .await
        .unwrap();
    let mut sessions = many(accepted).await;
    let (_, mut server) = session(&mut sessions).await;
    let asked = head(&mut server).await.to_lowercase();
    assert!(asked.contains("\r\nconnection: upgrade\r\n"), "{asked}");
    server
        .write_all(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\
              Upgrade: websocket\r\n\r\nfrom server",
        )
        .await
        .unwrap();
    let mut answer = vec![0; 12];
    client.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer, b"HTTP/1.1 101");
    while !answer.ends_with(b"from server") {
        answer.push(client.read_u8().await.unwrap());
    }
    client.write_all(b"from client").await.unwrap();
    expect_link(&mut server, "from client").await;
    drop(client);
    assert_eq!(rest(&mut server).await, "");
    drop(server);
    assert!(sessions.recv().await.is_none());
}

#[tokio::test]
async fn a_target_that_cannot_be_reached_is_a_503_and_the_client_may_go_on() {
    let (mut client, accepted) = start(InboundSettings::default());
    let request = b"GET http://one.example/ HTTP/1.1\r\nHost: one.example\r\n\r\n";
    client.write_all(request).await.unwrap();
    let mut sessions = many(accepted).await;
    for _ in 0..2 {
        drop(session(&mut sessions).await);
        expect(
            &mut client,
            "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 30\r\n\r\n\
             no answer from one.example:80\n",
        )
        .await;
        client.write_all(request).await.unwrap();
    }
}

#[tokio::test]
async fn a_request_for_a_web_server_is_refused_unless_it_is_allowed() {
    let request = b"GET /a HTTP/1.1\r\nHost: one.example:81\r\n\r\n";
    let (mut client, accepted) = start(InboundSettings::default());
    client.write_all(request).await.unwrap();
    client.shutdown().await.unwrap();
    let answer = rest(&mut client).await;
    assert!(
        answer.starts_with("HTTP/1.1 400 Bad Request\r\n"),
        "{answer}"
    );
    match accepted.await.unwrap() {
        Err(refusal) => {
            let text = refusal.cause.to_string();
            assert_eq!(text, "the request is for a web server, not for a proxy");
        }
        _ => panic!("accepted"),
    }

    let (mut client, accepted) = start(InboundSettings {
        transparent: true,
        ..InboundSettings::default()
    });
    client.write_all(request).await.unwrap();
    let mut sessions = many(accepted).await;
    let (to, mut server) = session(&mut sessions).await;
    assert_eq!(to, "one.example:81");
    assert!(head(&mut server).await.starts_with("GET /a HTTP/1.1\r\n"));
}

#[tokio::test]
async fn what_is_no_http_is_told_apart_in_the_log() {
    for (flight, means) in [
        (
            &b"\x05\x01\x00"[..],
            "this looks like SOCKS: is the application set to an HTTP proxy?",
        ),
        (
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc",
            "this looks like TLS",
        ),
        (b"\x01\0\0\0\x03\0\0\0", "this looks like smux"),
        (
            b"GET http://one.example/ HTP\r\n\r\n",
            "invalid HTTP version",
        ),
    ] {
        let (mut client, accepted) = start(InboundSettings::default());
        client.write_all(flight).await.unwrap();
        match accepted.await.unwrap() {
            Err(refusal) => {
                let text = refusal.cause.to_string();
                assert!(text.contains(means), "{text}");
                assert!(!text.contains("like an HTTP request"), "{text}");
            }
            _ => panic!("accepted"),
        }
    }
}

#[tokio::test]
async fn the_task_of_a_connection_ends_when_nobody_takes_its_sessions() {
    let (mut client, accepted) = start(InboundSettings::default());
    client
        .write_all(b"GET http://one.example/ HTTP/1.1\r\nHost: one.example\r\n\r\n")
        .await
        .unwrap();
    drop(many(accepted).await);
    let end = tokio::time::timeout(Duration::from_secs(5), rest(&mut client));
    end.await.unwrap();
}

#[tokio::test]
async fn the_outbound_reaches_our_own_inbound() {
    let inbound = Inbound::new(&InboundSettings {
        grant: Grant::AtOnce,
        ..with_account()
    });
    let mut headers = HeaderMap::new();
    headers.append("x-a", HeaderValue::from_static("1"));
    headers.append("x-a", HeaderValue::from_static("2"));
    let outbound = Outbound::from(OutboundSettings {
        headers,
        ..to_server(vec![account()])
    });
    for to in ["example.com:443", "[2001:db8::1]:80"] {
        let (client, server) = tokio::io::duplex(4096);
        let to: Destination = to.parse().unwrap();
        let context = InboundContext::default();
        let (_, us) = outbound.next_hop().unwrap();
        let (opened, accepted) = tokio::join!(
            us.stream(Link::other(client), &to, LIMIT),
            inbound.accept(arrival(Link::other(server)), &context)
        );
        let Ok(Accepted::Stream {
            to: asked,
            mut link,
            ..
        }) = accepted
        else {
            panic!("no stream");
        };
        drop(opened.unwrap());
        assert_eq!(asked, to);
        assert_eq!(rest(&mut link).await, "");
    }
}

#[tokio::test]
async fn the_outbound_says_what_it_wants_and_keeps_what_came_with_the_answer() {
    let outbound = Outbound::from(to_server(vec![account()]));
    let (mut link, asked) = wrap(&outbound, "HTTP/1.1 200 OK\r\n\r\nSMTP").await;
    expect_link(link.as_mut().unwrap(), "SMTP").await;
    assert_eq!(
        asked,
        "CONNECT example.com:25 HTTP/1.1\r\nHost: example.com:25\r\n\
         Proxy-Authorization: Basic YTpi\r\n\r\n"
    );
}

/// A success of CONNECT has no body, whatever its headers say: what follows is the tunnel's.
#[tokio::test]
async fn the_outbound_takes_no_byte_of_the_tunnel_for_a_body() {
    let outbound = Outbound::from(to_server(Vec::new()));
    for headers in [
        "Content-Length: 3\r\n",
        "Transfer-Encoding: chunked\r\n",
        "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n",
        "Content-Length: 0\r\nConnection: close\r\n",
    ] {
        for status in ["200 OK", "299 Odd"] {
            let answer = format!("HTTP/1.1 {status}\r\n{headers}\r\n4\r\nSMTP");
            let (link, _) = wrap(&outbound, &answer).await;
            expect_link(&mut link.unwrap(), "4\r\nSMTP").await;
        }
    }
}

#[tokio::test]
async fn refusals_of_a_server_are_told_in_words() {
    let outbound = Outbound::from(to_server(Vec::new()));
    for (answer, text) in [
        (
            "HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n",
            "407: the proxy wants other credentials",
        ),
        (
            "HTTP/1.1 503 No\r\nContent-Length: 100\r\n\r\n",
            "503: the proxy cannot reach the target",
        ),
        (
            "SSH-2.0\r\n\r\n",
            "the HTTP proxy: invalid HTTP version parsed",
        ),
        (
            "",
            "the HTTP proxy: connection closed before message completed",
        ),
    ] {
        let (link, _) = wrap(&outbound, answer).await;
        assert_eq!(link.unwrap_err().to_string(), text);
    }
}

/// What the outbound makes of `answer`, and what it asked.
async fn wrap(outbound: &Outbound, answer: &str) -> (std::io::Result<Link>, String) {
    let (client, server) = tokio::io::duplex(4096);
    let mut server = Link::other(server);
    let to = "example.com:25".parse().unwrap();
    let (_, us) = outbound.next_hop().unwrap();
    tokio::join!(us.stream(Link::other(client), &to, LIMIT), async {
        let asked = head(&mut server).await;
        server.write_all(answer.as_bytes()).await.unwrap();
        server.shutdown().await.unwrap();
        asked
    })
}

type Waiting = JoinHandle<Result<Accepted, Refusal>>;

fn start(settings: InboundSettings) -> (DuplexStream, Waiting) {
    let inbound = Inbound::new(&InboundSettings {
        grant: Grant::AtOnce,
        ..settings
    });
    let (client, server) = tokio::io::duplex(4096);
    let accepted = crate::io::spawn(async move {
        inbound
            .accept(arrival(Link::other(server)), &InboundContext::default())
            .await
    });
    (client, accepted)
}

fn with_account() -> InboundSettings {
    InboundSettings {
        accounts: vec![account()],
        ..InboundSettings::default()
    }
}

fn to_server(accounts: Vec<Account>) -> OutboundSettings {
    let to = "s:1".parse().unwrap();
    OutboundSettings {
        servers: vec![ServerSettings { to, accounts }],
        ..OutboundSettings::default()
    }
}

fn account() -> Account {
    Account {
        user: "a".to_owned(),
        pass: "b".to_owned().into(),
        level: 0,
    }
}

fn arrival(link: Link) -> Arrival {
    let ip = |port| Source::Ip(SocketAddr::from(([127, 0, 0, 1], port)));
    Arrival {
        link,
        source: ip(50_000),
        local: ip(3128),
        original_dst: None,
        tls: None,
        since: tokio::time::Instant::now(),
    }
}

async fn many(accepted: Waiting) -> mpsc::Receiver<Accepted> {
    match accepted.await.unwrap() {
        Ok(Accepted::Sessions(sessions)) => sessions,
        Ok(_) => panic!("one session only"),
        Err(refusal) => panic!("{refusal:?}"),
    }
}

async fn session(sessions: &mut mpsc::Receiver<Accepted>) -> (String, Link) {
    match sessions.recv().await {
        Some(Accepted::Stream { to, link, .. } | Accepted::Request { to, link, .. }) => {
            (to.to_string(), link)
        }
        _ => panic!("no session"),
    }
}

/// The head of a request, with the empty line that ends it.
async fn head(link: &mut Link) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(link.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

async fn expect(client: &mut DuplexStream, text: &str) {
    let mut got = vec![0; text.len()];
    client.read_exact(&mut got).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&got), text);
}

async fn expect_link(link: &mut Link, text: &str) {
    let mut got = vec![0; text.len()];
    link.read_exact(&mut got).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&got), text);
}

async fn rest(stream: &mut (impl AsyncReadExt + Unpin)) -> String {
    let mut got = String::new();
    stream.read_to_string(&mut got).await.unwrap();
    got
}
