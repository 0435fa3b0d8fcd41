//! Plain TCP with a head of HTTP in front, with V2Ray, sing-box and mihomo at the other end.

use std::net::Ipv4Addr;
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::configs::{Carrier, Vmess};
use crate::peers::Peer::{self, Mihomo, Mobula, SingBox, V2ray434, V2ray445};
use crate::peers::{Stage, free_port};
use crate::traffic::{self, To};
use crate::tunnel::Tunnel;

/// sing-box' transport is `http` without TLS, and mihomo has the client.
const PAIRS: [(Peer, Peer); 8] = [
    (V2ray434, Mobula),
    (V2ray445, Mobula),
    (SingBox, Mobula),
    (Mihomo, Mobula),
    (Mobula, V2ray434),
    (Mobula, V2ray445),
    (Mobula, SingBox),
    (Mobula, Mobula),
];

async fn carries_all(tunnel: &Tunnel) {
    traffic::ready(tunnel.socks).await;
    tunnel.carries_all().await;
    traffic::target_sends_and_closes(tunnel.socks).await;
}

#[tokio::test]
async fn everyone_understands_everyone() {
    for (client, server) in PAIRS {
        let tunnel = Tunnel::start(client, server, &Vmess::http_header()).await;
        carries_all(&tunnel).await;
    }
}

#[tokio::test]
async fn vless_and_v2ray_over_tls() {
    for (client, server) in PAIRS {
        // sing-box takes HTTP/2 under TLS, and mihomo has it with VMess alone.
        if [client, server]
            .iter()
            .any(|peer| matches!(peer, SingBox | Mihomo))
        {
            continue;
        }
        for vmess in [Vmess::http_header(), Vmess::http_header().vless()] {
            let stage = Stage::new();
            let vmess = vmess.over_tls(&stage);
            println!("{client:?} to {server:?}, {vmess:?}");
            let tunnel = Tunnel::start_on(stage, client, &vmess, server, &vmess).await;
            carries_all(&tunnel).await;
        }
    }
}

#[tokio::test]
async fn two_hundred_connections_at_once() {
    for (client, server) in PAIRS {
        println!("{client:?} to {server:?}");
        let tunnel = Tunnel::start(client, server, &Vmess::http_header()).await;
        traffic::ready(tunnel.socks).await;
        traffic::many(tunnel.socks, 200).await;
    }
}

/// As people publish it: lists on both ends, another method, an answer with another status.
#[tokio::test]
async fn heads_of_one_s_own() {
    for (client, server) in [(V2ray445, Mobula), (Mobula, V2ray445), (Mobula, Mobula)] {
        println!("{client:?} to {server:?}");
        let mut stage = Stage::new();
        let (port, socks) = (free_port(), free_port());
        let header = json!({"header": {
            "type": "http",
            "request": {
                "version": "1.1", "method": "POST", "path": ["/a", "/b c", "/d"],
                "headers": {
                    "Host": ["a.example", "b.example"], "User-Agent": ["one", "two"],
                    "Content-Type": ["application/octet-stream"],
                },
            },
            "response": {
                "version": "1.1", "status": "404", "reason": "Nothing Here",
                "headers": {"Server": ["nginx"], "Connection": ["keep-alive"]},
            },
        }});
        // V2Ray writes a blank in a path as it is, and cannot read it.
        let header = match client {
            Mobula => header,
            _ => serde_json::from_str(&header.to_string().replace("/b c", "/b"))
                .expect("it was JSON"),
        };
        let vmess = Vmess::tcp();
        let mut config = vmess.server(server, port);
        config["inbounds"][0]["streamSettings"]["tcpSettings"] = header.clone();
        stage.run(server, "server", &config, &[port]).await;
        let mut config = vmess.client(client, socks, port);
        config["outbounds"][0]["streamSettings"]["tcpSettings"] = header;
        stage.run(client, "client", &config, &[socks]).await;
        for _ in 0..10 {
            traffic::word(socks, &To::Ip(traffic::echo().await)).await;
        }
        traffic::server_speaks_first(socks).await;
    }
}

/// A server whose VMess or path the visitor does not know.
#[tokio::test]
async fn a_stranger_sees_a_web_server() {
    let mut stage = Stage::new();
    let port = free_port();
    let config = Vmess::http_header().server(Mobula, port);
    stage.run(Mobula, "server", &config, &[port]).await;
    for (asked, status) in [
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", "404 Not Found"),
        ("GET /ray HTTP/9\r\n\r\n", "400 Bad Request"),
        ("\x16\x03\x01\x02", "400 Bad Request"),
    ] {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await;
        let mut stream = stream.expect("it listens");
        stream.write_all(asked.as_bytes()).await.expect("it reads");
        let _ = stream.shutdown().await;
        let mut answer = Vec::new();
        let end = timeout(traffic::LIMIT, stream.read_to_end(&mut answer)).await;
        end.expect("an end in time").expect("an end");
        let answer = String::from_utf8_lossy(&answer);
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}\r\n")),
            "{asked}: {answer}"
        );
    }
    stage
        .until_file_has(
            "access.log",
            "GET /: 404, the path is not \"/ray\" [ws-path]",
        )
        .await;
    // On the right path there is silence, as over plain TCP.
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await;
    let mut stream = stream.expect("it listens");
    let asked = [
        &b"GET /ray HTTP/1.1\r\nHost: a\r\n\r\n"[..],
        &traffic::bytes(500),
    ]
    .concat();
    stream.write_all(&asked).await.expect("it reads");
    let silence = timeout(Duration::from_secs(2), stream.read(&mut [0])).await;
    assert!(silence.is_err(), "{silence:?}");
}

/// The client's log says which end is wrong.
#[tokio::test]
async fn a_path_that_the_server_does_not_know_is_told() {
    for server in [V2ray445, Mobula] {
        let mut stage = Stage::new();
        let (port, socks) = (free_port(), free_port());
        let config = Vmess::http_header().server(server, port);
        stage.run(server, "server", &config, &[port]).await;
        let other = Vmess {
            path: Some("/other"),
            carrier: Carrier::HttpHeader,
            ..Vmess::ws()
        };
        let config = other.client(Mobula, socks, port);
        stage.run(Mobula, "client", &config, &[socks]).await;
        let to = To::Ip(traffic::echo().await);
        if let Ok(mut stream) = traffic::connect(socks, &to).await {
            let _ = stream.write_all(b"hello?").await;
            let _ = timeout(traffic::LIMIT, stream.read(&mut [0; 1])).await;
        }
        let said = "404: the server does not know path /other";
        stage.until_file_has("client.log", said).await;
    }
}
