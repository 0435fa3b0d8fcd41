//! `httpupgrade` with sing-box and mihomo at the other end, in every dialect of early data, and behind proxies.

use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::configs::{Early, Vmess};
use crate::peers::Peer::{self, Mihomo, Mobula, SingBox};
use crate::peers::{Stage, free_port, listen};
use crate::traffic::{self, To};
use crate::tunnel::Tunnel;

const PAIRS: [(Peer, Peer); 5] = [
    (SingBox, Mobula),
    (Mihomo, Mobula),
    (Mobula, SingBox),
    (Mobula, Mihomo),
    (Mobula, Mobula),
];

/// What every tunnel does, and a file whose end follows it at once.
async fn carries_all(tunnel: &Tunnel, server: Peer) {
    traffic::ready(tunnel.socks).await;
    if server == Mihomo {
        // It stops when more than a little goes both ways, whoever its client is.
        traffic::word(tunnel.socks, &To::Ip(traffic::echo().await)).await;
        traffic::server_speaks_first(tunnel.socks).await;
        return;
    }
    tunnel.carries_all().await;
    traffic::target_sends_and_closes(tunnel.socks).await;
}

async fn each(pairs: &[(Peer, Peer)], vmess: &Vmess) {
    for (client, server) in pairs {
        let tunnel = Tunnel::start(*client, *server, vmess).await;
        carries_all(&tunnel, *server).await;
    }
}

#[tokio::test]
async fn vmess_plain() {
    each(&PAIRS, &Vmess::httpupgrade()).await;
}

#[tokio::test]
async fn vless_plain() {
    let plain = PAIRS.into_iter();
    // mihomo serves VLESS over TLS alone.
    let plain: Vec<_> = plain.filter(|(_, server)| *server != Mihomo).collect();
    each(&plain, &Vmess::httpupgrade().vless()).await;
}

#[tokio::test]
async fn both_over_tls() {
    for (client, server) in PAIRS {
        for vless in [false, true] {
            let stage = Stage::new();
            let vmess = Vmess::httpupgrade().over_tls(&stage);
            let vmess = if vless { vmess.vless() } else { vmess };
            println!("{client:?} to {server:?}, {vmess:?}");
            let tunnel = Tunnel::start_on(stage, client, &vmess, server, &vmess).await;
            carries_all(&tunnel, server).await;
        }
    }
}

/// sing-box's server has no early data, and keeps what follows a request at once.
#[tokio::test]
async fn every_dialect_of_early_data() {
    let fast_open = json!({"ws-opts": {"path": "/ray", "v2ray-http-upgrade": true, "v2ray-http-upgrade-fast-open": true}});
    let fast_open = Vmess {
        outbound: fast_open,
        ..Vmess::httpupgrade()
    };
    let query = Vmess::httpupgrade().with_early(Early::Query);
    let protocol = Vmess::httpupgrade().with_early(Early::Header("Sec-WebSocket-Protocol"));
    let named = Vmess::httpupgrade().with_early(Early::Header("X-Early"));
    for (client, server, vmess) in [
        (Mihomo, Mobula, &query),
        (Mihomo, Mobula, &protocol),
        (Mihomo, Mobula, &named),
        (Mihomo, Mobula, &fast_open),
        (Mobula, SingBox, &query),
        (Mobula, Mihomo, &protocol),
        (Mobula, Mobula, &query),
        (Mobula, Mobula, &protocol),
        (Mobula, Mobula, &named),
    ] {
        each(&[(client, server)], vmess).await;
        if server != Mihomo {
            each(&[(client, server)], &vmess.clone().vless()).await;
        }
    }
}

#[tokio::test]
async fn two_hundred_connections_at_once() {
    // mihomo's server stops when more than a little goes both ways, whoever its client is.
    for (client, server) in PAIRS.into_iter().filter(|(_, server)| *server != Mihomo) {
        println!("{client:?} to {server:?}");
        let tunnel = Tunnel::start(client, server, &Vmess::httpupgrade()).await;
        traffic::ready(tunnel.socks).await;
        traffic::many(tunnel.socks, 200).await;
    }
}

/// As over plain TCP: each direction ends by itself.
#[tokio::test]
async fn an_application_that_ends_first_has_its_answer() {
    let tunnel = Tunnel::start(Mobula, Mobula, &Vmess::httpupgrade()).await;
    traffic::application_ends_first(tunnel.socks).await;
    traffic::target_answers_late(tunnel.socks).await;
    traffic::target_ends_first(tunnel.socks, Duration::from_millis(1500)).await;
}

/// What a server of V2Ray's or Xray's does: what one read gives it behind the request is lost.
async fn forgetful_server() -> (u16, mpsc::Receiver<(String, Vec<u8>)>) {
    let listener = listen();
    let port = listener.local_addr().expect("it listens").port();
    let (send, seen) = mpsc::channel(4);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let send = send.clone();
            tokio::spawn(async move {
                let mut read = vec![0; 4096];
                let n = stream.read(&mut read).await?;
                let text = String::from_utf8_lossy(&read[..n]).into_owned();
                let (head, _lost) = text.split_once("\r\n\r\n").expect("a whole head");
                // The first bytes do not wait for an answer.
                let mut first = vec![0; 4096];
                let n = stream.read(&mut first).await?;
                first.truncate(n);
                let _ = send.send((head.to_owned(), first)).await;
                Ok::<_, std::io::Error>(())
            });
        }
    });
    (port, seen)
}

#[tokio::test]
async fn what_does_not_wait_is_not_lost_on_servers_that_forget() {
    let (port, mut seen) = forgetful_server().await;
    let mut stage = Stage::new();
    let socks = free_port();
    let vmess = Vmess::httpupgrade().with_early(Early::Query).vless();
    let config = vmess.client(Mobula, socks, port);
    stage.run(Mobula, "client", &config, &[socks]).await;
    let to = To::Ip(traffic::echo().await);
    let mut stream = traffic::connect(socks, &to).await.expect("SOCKS connects");
    stream.write_all(b"the first word").await.expect("it reads");
    let seen = timeout(traffic::LIMIT, seen.recv()).await;
    let (head, first) = seen.expect("bytes in time").expect("bytes");
    assert!(
        head.starts_with("GET /ray HTTP/1.1\r\nHost: 127.0.0.1:"),
        "{head}"
    );
    for absent in ["ed=", "Sec-WebSocket"] {
        assert!(!head.contains(absent), "{head}");
    }
    // VLESS begins with its version and the id, and the word ends it.
    assert_eq!(first.first(), Some(&0), "{first:?}");
    assert!(first.ends_with(b"the first word"), "{first:?}");
}

/// V2Ray 5's client: its whole first write in the header, and what is more than `maxEarlyData` again behind the request.
#[tokio::test]
async fn what_v2ray_5_sends_twice_arrives_once() {
    let mut stage = Stage::new();
    let (port, echo) = (free_port(), traffic::echo().await);
    let config = json!({
        "inbounds": [{
            "listen": "127.0.0.1", "port": port, "protocol": "dokodemo-door",
            "settings": {"address": "127.0.0.1", "port": echo.port(), "network": "tcp"},
            "streamSettings": {
                "transport": "httpupgrade",
                "transportSettings": {"path": "/ray", "maxEarlyData": 6, "earlyDataHeaderName": "X-Early"},
            },
        }],
        "outbounds": [{"protocol": "freedom"}],
    });
    stage.run(Mobula, "server", &config, &[port]).await;
    // "early birds sing", padded.
    let header = "GET /ray HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
                  X-Early: ZWFybHkgYmlyZHMgc2luZw==\r\n\r\n";
    for (behind, back) in [
        ("birds sing and fly", "early birds sing and fly"),
        (", said the cat", "early birds sing, said the cat"),
    ] {
        let mut stream = TcpStream::connect(("127.0.0.1", port))
            .await
            .expect("it listens");
        let whole = [header, behind].concat();
        stream.write_all(whole.as_bytes()).await.expect("it reads");
        let mut got = Vec::new();
        while !got.ends_with(b"\r\n\r\n") {
            got.push(stream.read_u8().await.expect("a head"));
        }
        let mut got = vec![0; back.len()];
        let read = timeout(traffic::LIMIT, stream.read_exact(&mut got)).await;
        read.expect("bytes in time").expect("bytes");
        assert_eq!(String::from_utf8_lossy(&got), back);
    }
}
