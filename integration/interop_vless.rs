//! VLESS with V2Ray, sing-box and mihomo at the other end.

use std::io::ErrorKind;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::configs::{Early, Vmess};
use crate::peers::Peer::{self, Mihomo, Mobula, SingBox, V2ray434, V2ray445};
use crate::peers::{Stage, connections, free_port};
use crate::scenario_abrupt::{connected, rest};
use crate::traffic::{self, LIMIT, To};
use crate::tunnel::Tunnel;

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

/// mihomo serves VLESS over TLS alone.
const TLS_PAIRS: [(Peer, Peer); 9] = [
    (V2ray434, Mobula),
    (V2ray445, Mobula),
    (SingBox, Mobula),
    (Mihomo, Mobula),
    (Mobula, V2ray434),
    (Mobula, V2ray445),
    (Mobula, SingBox),
    (Mobula, Mihomo),
    (Mobula, Mobula),
];

/// What every tunnel does, and a file whose end follows it at once.
async fn carries_all(tunnel: &Tunnel) {
    traffic::ready(tunnel.socks).await;
    tunnel.carries_all().await;
    traffic::target_sends_and_closes(tunnel.socks).await;
}

async fn each(pairs: &[(Peer, Peer)], vless: &Vmess) {
    for (client, server) in pairs {
        let tunnel = Tunnel::start(*client, *server, vless).await;
        carries_all(&tunnel).await;
    }
}

async fn each_over_tls(vless: impl Fn(&Stage) -> Vmess) {
    for (client, server) in TLS_PAIRS {
        let stage = Stage::new();
        let vless = vless(&stage);
        println!("{client:?} to {server:?}, {vless:?}");
        let tunnel = Tunnel::start_on(stage, client, &vless, server, &vless).await;
        carries_all(&tunnel).await;
    }
}

#[tokio::test]
async fn plain_tcp() {
    each(&PAIRS, &Vmess::tcp().vless()).await;
}

#[tokio::test]
async fn plain_ws() {
    each(&PAIRS, &Vmess::ws().vless()).await;
}

#[tokio::test]
async fn tcp_over_tls() {
    each_over_tls(|stage| {
        let path = None;
        Vmess {
            path,
            ..Vmess::wss(stage).vless()
        }
    })
    .await;
}

#[tokio::test]
async fn ws_over_tls() {
    each_over_tls(|stage| Vmess::wss(stage).vless()).await;
}

#[tokio::test]
async fn early_data() {
    let pairs = [
        (V2ray445, Mobula),
        (SingBox, Mobula),
        (Mobula, V2ray445),
        (Mobula, SingBox),
        (Mobula, Mobula),
    ];
    for early in [Early::Path, Early::Header("Sec-WebSocket-Protocol")] {
        each(&pairs, &Vmess::ws_early(early).vless()).await;
    }
}

#[tokio::test]
async fn two_hundred_connections_at_once() {
    for (client, server) in PAIRS {
        println!("{client:?} to {server:?}");
        let tunnel = Tunnel::start(client, server, &Vmess::ws().vless()).await;
        traffic::ready(tunnel.socks).await;
        traffic::many(tunnel.socks, 200).await;
    }
}

fn with(outbound: Value) -> Vmess {
    Vmess::ws_with(outbound).vless()
}

/// The command that is VLESS' own for them: sing-box takes it when it is told to do without the others.
#[tokio::test]
async fn datagrams_to_one_destination() {
    let sing_box = with(json!({"packet_encoding": ""}));
    let tunnel = Tunnel::start(SingBox, Mobula, &sing_box).await;
    traffic::datagrams(tunnel.socks, &[1, 60, 1400, 4000]).await;
    for (server, longest) in [(SingBox, 4000), (Mobula, 60_000)] {
        let tunnel = Tunnel::start(Mobula, server, &Vmess::tcp().vless()).await;
        traffic::datagrams(tunnel.socks, &[1, 60, 1400, longest]).await;
    }
}

#[tokio::test]
async fn xudp_and_packetaddr() {
    for encoding in ["xudp", "packetaddr"] {
        let sing_box = with(json!({"packet_encoding": encoding}));
        let mihomo = with(json!({"packet-encoding": encoding}));
        let ours = with(json!({
            "mux": {"enabled": true, "concurrency": -1, "packetEncoding": encoding},
        }));
        for (client, server, vless) in [
            (SingBox, Mobula, &sing_box),
            (Mihomo, Mobula, &mihomo),
            (Mobula, SingBox, &ours),
            (Mobula, Mobula, &ours),
        ] {
            let tunnel = Tunnel::start(client, server, vless).await;
            carries_all(&tunnel).await;
            traffic::full_cone(tunnel.socks).await;
        }
    }
    let stage = Stage::new();
    let vless = Vmess {
        outbound: json!({"mux": {"enabled": true, "xudpConcurrency": 16}}),
        ..Vmess::wss(&stage).vless()
    };
    let tunnel = Tunnel::start_on(stage, Mobula, &vless, Mihomo, &vless).await;
    traffic::full_cone(tunnel.socks).await;
}

#[tokio::test]
async fn sessions_share_connections() {
    for (client, server) in [
        (V2ray434, Mobula),
        (V2ray445, Mobula),
        (Mobula, V2ray434),
        (Mobula, V2ray445),
        (Mobula, SingBox),
        (Mobula, Mobula),
    ] {
        println!("{client:?} to {server:?}");
        let vless = with(json!({"mux": {"enabled": true, "concurrency": 8}}));
        let tunnel = Tunnel::start(client, server, &vless).await;
        tunnel.carries_all().await;
        assert!(
            connections(tunnel.server) <= 2,
            "sessions share connections"
        );
        traffic::target_sends_and_closes(tunnel.socks).await;
        traffic::many(tunnel.socks, 100).await;
    }
}

/// An application that ends its direction has its answer all the same.
#[tokio::test]
async fn an_answer_comes_behind_the_end_of_the_question() {
    for vless in [Vmess::ws().vless(), Vmess::tcp().vless()] {
        for (client, server) in PAIRS {
            println!("{client:?} to {server:?}, {vless:?}");
            if client == SingBox && vless.path.is_some() {
                // It gives up both directions.
                continue;
            }
            let tunnel = Tunnel::start(client, server, &vless).await;
            traffic::ready(tunnel.socks).await;
            traffic::target_answers_late(tunnel.socks).await;
        }
    }
}

#[tokio::test]
async fn the_end_of_an_application_reaches_its_target() {
    let stage = Stage::new();
    let wss = Vmess::wss(&stage).vless();
    for vless in [Vmess::ws().vless(), Vmess::tcp().vless(), wss] {
        for server in [SingBox, Mobula] {
            println!("{server:?}, {vless:?}");
            let tunnel = Tunnel::start(Mobula, server, &vless).await;
            traffic::application_ends_first(tunnel.socks).await;
        }
    }
}

/// A whole file must not look broken, nor a broken one hang.
#[tokio::test]
async fn what_breaks_off_ends_and_what_is_whole_ends_in_order() {
    for vless in [Vmess::ws().vless(), Vmess::tcp().vless()] {
        for (client, server) in PAIRS {
            println!("{client:?} to {server:?}, {vless:?}");
            let tunnel = Tunnel::start(client, server, &vless).await;
            traffic::ready(tunnel.socks).await;
            let data = traffic::bytes(100_000);
            let (mut application, mut target) = connected(tunnel.socks).await;
            application.write_all(&data).await.unwrap();
            let mut got = vec![0; data.len()];
            target.read_exact(&mut got).await.unwrap();
            drop(application);
            assert_eq!(rest(&mut target).await, (0, Ok(())));

            // V2Ray's server lets such a session hang.
            let mut end = Ok(());
            if !matches!(server, V2ray434 | V2ray445) {
                let (mut application, mut target) = connected(tunnel.socks).await;
                target.write_all(&data).await.unwrap();
                reset(target).await;
                let got;
                (got, end) = rest(&mut application).await;
                assert_eq!(got, data.len());
            }
            let (application, mut target) = connected(tunnel.socks).await;
            reset(application).await;
            let seen = rest(&mut target).await;
            // A WebSocket has a word for it.
            if (client, server) == (Mobula, Mobula) && vless.path.is_some() {
                let broken = Err(ErrorKind::ConnectionReset);
                assert_eq!((end, seen), (broken, (0, broken)));
            }
        }
    }
}

/// Ends with a reset, behind all that was sent before.
async fn reset(stream: TcpStream) {
    tokio::time::sleep(Duration::from_millis(300)).await;
    stream.set_zero_linger().unwrap();
}

/// What a scanner sends is read on and not answered.
#[tokio::test]
async fn strangers_get_no_answer_and_the_log_says_why() {
    let mut stage = Stage::new();
    let port = free_port();
    let vless = Vmess::tcp().vless();
    stage
        .run(Mobula, "server", &vless.server(Mobula, port), &[port])
        .await;
    let other = [&[0][..], &[7; 16], &[0, 1, 0, 80, 1, 127, 0, 0, 1]].concat();
    for (flight, reason) in [
        (
            &b"GET / HTTP/1.1\r\n\r\n"[..],
            "version 71 is not VLESS', expected 0",
        ),
        (&other, "no user has this id"),
    ] {
        let mut stranger = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        stranger.write_all(flight).await.unwrap();
        stage.until_file_has("access.log", reason).await;
        let wait = Duration::from_millis(300);
        let answer = timeout(wait, stranger.read(&mut [0])).await;
        assert!(answer.is_err(), "{answer:?}");
    }
}

/// The client's log tells what V2Ray's bare close may mean.
#[tokio::test]
async fn an_id_that_the_server_does_not_know_is_guessed_at() {
    let mut stage = Stage::new();
    let (port, socks) = (free_port(), free_port());
    let vless = Vmess::tcp().vless();
    let server = vless.server(V2ray445, port);
    stage.run(V2ray445, "server", &server, &[port]).await;
    let mut client = vless.client(Mobula, socks, port);
    client["outbounds"][0]["settings"]["vnext"][0]["users"][0]["id"] =
        json!("00000000-0000-0000-0000-000000000001");
    stage.run(Mobula, "client", &client, &[socks]).await;
    let to = To::Ip(traffic::echo().await);
    let mut stream = traffic::connect(socks, &to).await.unwrap();
    stream.write_all(b"a word").await.unwrap();
    let end = timeout(LIMIT, stream.read(&mut [0])).await;
    assert!(matches!(end, Ok(Ok(0) | Err(_))), "{end:?}");
    stage
        .until_file_has("client.log", "does it know this id")
        .await;
}
