//! Many sessions in one connection: Mux.Cool with V2Ray, XUDP and packetaddr with sing-box.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use crate::configs::Vmess;
use crate::peers::Peer::{self, Mobula, SingBox, V2ray434, V2ray445};
use crate::peers::{Stage, connections, free_port};
use crate::traffic::{self, LIMIT, To};
use crate::tunnel::Tunnel;

const PAIRS: [(Peer, Peer); 5] = [
    (V2ray434, Mobula),
    (V2ray445, Mobula),
    (Mobula, V2ray434),
    (Mobula, V2ray445),
    (Mobula, Mobula),
];

fn with(outbound: Value) -> Vmess {
    Vmess {
        outbound,
        ..Vmess::ws()
    }
}

fn mux(mux: Value) -> Vmess {
    with(json!({"mux": mux}))
}

#[tokio::test]
async fn streams_and_datagrams_share_connections() {
    for (client, server) in PAIRS {
        println!("{client:?} to {server:?}");
        let vmess = mux(json!({"enabled": true, "concurrency": 8}));
        let tunnel = Tunnel::start(client, server, &vmess).await;
        tunnel.carries_all().await;
        assert!(
            connections(tunnel.server) <= 2,
            "sessions share connections"
        );
        traffic::target_sends_and_closes(tunnel.socks).await;
        traffic::many(tunnel.socks, 100).await;
    }
}

/// V2Ray gives up a connection with a datagram longer than its buffer: none is sent to it.
#[tokio::test]
async fn a_long_datagram_ends_no_connection() {
    for (client, server) in PAIRS {
        let vmess = mux(json!({"enabled": true}));
        let tunnel = Tunnel::start(client, server, &vmess).await;
        let to = To::Ip(traffic::echo().await);
        let mut stream = traffic::connect(tunnel.socks, &to).await.expect("SOCKS");
        traffic::exchange(&mut stream, b"a word").await;
        traffic::one_datagram(tunnel.socks, 4000).await;
        traffic::datagrams(tunnel.socks, &[2000]).await;
        traffic::exchange(&mut stream, b"a word").await;
    }
}

#[tokio::test]
async fn a_connection_carries_as_many_sessions_as_the_config_says() {
    let vmess = mux(json!({"enabled": true, "concurrency": 3}));
    let tunnel = Tunnel::start(Mobula, Mobula, &vmess).await;
    let to = To::Ip(traffic::echo().await);
    let mut open = Vec::new();
    for n in 0..7 {
        let mut stream = traffic::connect(tunnel.socks, &to).await.expect("SOCKS");
        traffic::exchange(&mut stream, b"a word").await;
        open.push(stream);
        assert_eq!(connections(tunnel.server), n / 3 + 1);
    }
}

#[tokio::test]
async fn each_direction_ends_by_itself_between_two_mobulas() {
    let vmess = mux(json!({"enabled": true}));
    let tunnel = Tunnel::start(Mobula, Mobula, &vmess).await;
    traffic::application_ends_first(tunnel.socks).await;
    traffic::target_ends_first(tunnel.socks, Duration::ZERO).await;
}

/// V2Ray has forgotten the session by then, and yet passes on what its target says.
#[tokio::test]
async fn a_target_behind_v2ray_is_heard_after_the_application_has_ended() {
    for server in [V2ray434, V2ray445] {
        let vmess = mux(json!({"enabled": true}));
        let tunnel = Tunnel::start(Mobula, server, &vmess).await;
        println!("{server:?}");
        traffic::target_answers_late(tunnel.socks).await;
    }
}

/// Nobody reads one of the downloads; Mux.Cool lets the others go on until half a MiB waits.
#[tokio::test]
async fn a_stream_that_is_not_read_does_not_stop_the_others() {
    let vmess = mux(json!({"enabled": true}));
    let tunnel = Tunnel::start(Mobula, Mobula, &vmess).await;
    let to = To::Ip(traffic::echo().await);
    let mut slow = traffic::connect(tunnel.socks, &to).await.expect("SOCKS");
    let data = traffic::bytes(256 * 1024);
    let sent = timeout(LIMIT, slow.write_all(&data)).await;
    sent.expect("it fits into what waits").expect("it is sent");
    let start = Instant::now();
    traffic::both_ways(tunnel.socks, 4 * 1024 * 1024).await;
    assert!(start.elapsed() < Duration::from_secs(15));
    assert_eq!(connections(tunnel.server), 1);
}

#[tokio::test]
async fn xudp_and_packetaddr_of_sing_box() {
    for encoding in ["xudp", "packetaddr"] {
        println!("{encoding}");
        let vmess = with(json!({"packet_encoding": encoding}));
        let tunnel = Tunnel::start(SingBox, Mobula, &vmess).await;
        tunnel.carries_all().await;
        traffic::full_cone(tunnel.socks).await;
    }
}

#[tokio::test]
async fn xudp_and_packetaddr_for_sing_box() {
    for encoding in ["xudp", "packetaddr"] {
        for server in [SingBox, Mobula] {
            println!("{encoding} to {server:?}");
            let vmess = mux(json!({
                "enabled": true, "concurrency": -1, "packetEncoding": encoding,
            }));
            let tunnel = Tunnel::start(Mobula, server, &vmess).await;
            tunnel.carries_all().await;
            traffic::full_cone(tunnel.socks).await;
        }
    }
}

#[tokio::test]
async fn xudp_sessions_share_connections_as_xray_has_them() {
    let vmess = mux(json!({"enabled": true, "xudpConcurrency": 16, "xudpProxyUDP443": "reject"}));
    let tunnel = Tunnel::start(Mobula, Mobula, &vmess).await;
    for _ in 0..3 {
        traffic::full_cone(tunnel.socks).await;
    }
    assert_eq!(connections(tunnel.server), 1);
    tunnel.carries_all().await;
    assert_eq!(connections(tunnel.server), 2, "streams have their own");
}

/// smux and its like are not built: the log says what to change.
#[tokio::test]
async fn sing_boxs_own_multiplex_is_refused_in_words() {
    let vmess = with(json!({"multiplex": {"enabled": true, "protocol": "smux"}}));
    let mut stage = Stage::new();
    let (port, socks) = (free_port(), free_port());
    let server = vmess.server(Mobula, port);
    stage.run(Mobula, "server", &server, &[port]).await;
    let client = vmess.client(SingBox, socks, port);
    stage.run(SingBox, "client", &client, &[socks]).await;
    let to = To::Ip(traffic::echo().await);
    // sing-box may say so to its application already, or find out with the first word.
    if let Ok(mut stream) = traffic::connect(socks, &to).await {
        let _ = stream.write_all(b"a word").await;
    }
    let said = "a@mobula.test: sing-box's multiplex (smux, yamux, h2mux) is not built";
    stage.until_file_has("access.log", said).await;
}
