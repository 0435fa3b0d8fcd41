//! Many sessions in one connection: Mux.Cool with V2Ray, XUDP and packetaddr with sing-box.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::configs::Vmess;
use crate::peers::Peer::{self, Mobula, SingBox, V2ray434, V2ray445};
use crate::peers::{Stage, connections, free_port, listen};
use crate::traffic::{self, LIMIT, To};
use crate::tunnel::Tunnel;

const PAIRS: [(Peer, Peer); 5] = [
    (V2ray434, Mobula),
    (V2ray445, Mobula),
    (Mobula, V2ray434),
    (Mobula, V2ray445),
    (Mobula, Mobula),
];

fn mux(mux: Value) -> Vmess {
    Vmess::ws_with(json!({"mux": mux}))
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

/// A line that takes 1.5 MB of a client's bytes in a second, and little ahead.
async fn slow_line(to: u16) -> u16 {
    let listener = listen();
    // What is accepted has it from the listener.
    let socket = socket2::SockRef::from(&listener);
    socket.set_recv_buffer_size(64 * 1024).expect("a buffer");
    let port = listener.local_addr().expect("an address").port();
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            tokio::spawn(async move {
                let far = TcpStream::connect(("127.0.0.1", to)).await?;
                let ((mut from, mut back), (mut answers, mut into)) =
                    (near.into_split(), far.into_split());
                let up = async {
                    let mut chunk = vec![0; 15_000];
                    // It makes up for ticks that came late.
                    let mut ticks = tokio::time::interval(Duration::from_millis(10));
                    loop {
                        ticks.tick().await;
                        let mut room = chunk.len();
                        while room > 0 {
                            let n = from.read(&mut chunk[..room]).await?;
                            if n == 0 {
                                return into.shutdown().await;
                            }
                            into.write_all(&chunk[..n]).await?;
                            room -= n;
                        }
                    }
                };
                tokio::try_join!(up, tokio::io::copy(&mut answers, &mut back))
            });
        }
    });
    port
}

/// What one session has written does not stand in the kernel in front of what the next one writes: 4 MB may lie there.
#[tokio::test]
async fn an_upload_over_a_slow_line_does_not_hold_up_its_neighbours() {
    let vmess = mux(json!({"enabled": true, "concurrency": 8}));
    let (mut stage, port, socks) = (Stage::new(), free_port(), free_port());
    let server = vmess.server(Mobula, port);
    stage.run(Mobula, "server", &server, &[port]).await;
    let client = vmess.client(Mobula, socks, slow_line(port).await);
    stage.run(Mobula, "client", &client, &[socks]).await;
    traffic::ready(socks).await;
    let echo = To::Ip(traffic::echo().await);
    let mut talking = traffic::connect(socks, &echo).await.expect("SOCKS");
    let sink = To::Ip(traffic::digester().await);
    let mut sending = traffic::connect(socks, &sink).await.expect("SOCKS");
    let upload =
        tokio::spawn(async move { while sending.write_all(&[7; 64 * 1024]).await.is_ok() {} });
    tokio::time::sleep(Duration::from_secs(3)).await;
    let mut waits = Vec::new();
    for _ in 0..3 {
        let begin = std::time::Instant::now();
        traffic::exchange(&mut talking, b"a word").await;
        waits.push(begin.elapsed());
    }
    upload.abort();
    waits.sort();
    assert!(waits[1] < Duration::from_millis(1500), "{waits:?}");
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

#[tokio::test]
async fn xudp_and_packetaddr_of_sing_box() {
    for encoding in ["xudp", "packetaddr"] {
        println!("{encoding}");
        let vmess = Vmess::ws_with(json!({"packet_encoding": encoding}));
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

/// Only V2Ray of 2026 knows it; none of our peers is as young.
#[tokio::test]
async fn packetaddr_in_a_stream_between_two_mobulas() {
    for concurrency in [-1, 8] {
        let settings = json!({
            "enabled": true, "concurrency": concurrency, "packetEncoding": "stream",
        });
        let tunnel = Tunnel::start(Mobula, Mobula, &mux(settings)).await;
        tunnel.carries_all().await;
        traffic::full_cone(tunnel.socks).await;
        traffic::datagrams(tunnel.socks, &[4000, 30_000]).await;
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
    let vmess = Vmess::ws_with(json!({"multiplex": {"enabled": true, "protocol": "smux"}}));
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

/// Mux.Cool has no window for each stream: beyond what its end keeps, a stream that nobody reads holds up
/// the others. V2Ray keeps half a MiB, and what its sockets take; more goes through all of these.
#[tokio::test]
async fn a_stream_that_nobody_reads_leaves_room_for_the_others() {
    for (client, server) in PAIRS {
        for up in [false, true] {
            println!("{client:?} to {server:?}, {up}");
            let tunnel = Tunnel::start(client, server, &mux(json!({"enabled": true}))).await;
            let (unread, _) = sent_unread(tunnel.socks, up, 3 * MIB).await;
            tokio::time::sleep(Duration::from_millis(300)).await;
            traffic::both_ways(tunnel.socks, 16 * MIB).await;
            assert_eq!(connections(tunnel.server), 1, "all in one link");
            received(unread, 3 * MIB).await;
        }
    }
}

#[tokio::test]
async fn streams_that_were_held_up_go_on_when_the_unread_one_is_read() {
    for up in [false, true] {
        let tunnel = Tunnel::start(Mobula, Mobula, &mux(json!({"enabled": true}))).await;
        let (unread, sending) = sent_unread(tunnel.socks, up, 32 * MIB).await;
        let socks = tunnel.socks;
        let beside = tokio::spawn(async move { traffic::both_ways(socks, 8 * MIB).await });
        tokio::time::sleep(Duration::from_millis(1500)).await;
        assert!(!sending.is_finished(), "it is kept nowhere");
        received(unread, 32 * MIB).await;
        beside.await.expect("it went on");
    }
}

const MIB: usize = 1024 * 1024;

/// A stream, up or down, with `len` bytes for the end that is given back; and who sends them.
async fn sent_unread(socks: u16, up: bool, len: usize) -> (TcpStream, JoinHandle<()>) {
    let listener = listen();
    let at = listener.local_addr().expect("a listener has an address");
    let mut near = traffic::connect(socks, &To::Ip(at)).await.expect("SOCKS");
    near.write_all(b"x").await.expect("our way is open");
    let (mut far, _) = listener.accept().await.expect("a session");
    far.read_exact(&mut [0]).await.expect("a byte");
    let (mut from, to) = if up { (near, far) } else { (far, near) };
    let sending = tokio::spawn(async move {
        let sent = from.write_all(&traffic::bytes(len)).await;
        sent.expect("the way is open");
        // The other direction stays open until the reader has all.
        let _ = from.read(&mut [0]).await;
    });
    (to, sending)
}

/// The `len` bytes that were sent, unchanged.
async fn received(mut stream: TcpStream, len: usize) {
    let mut got = vec![0; len];
    let read = timeout(LIMIT, stream.read_exact(&mut got)).await;
    read.expect("all in time").expect("all arrives");
    assert!(got == traffic::bytes(len), "it arrived changed");
}

/// Without a protocol in between, as v2ray-plugin has it: streams to a made-up name carry sessions.
#[tokio::test]
async fn a_door_and_freedom_share_connections() {
    let pairs = [
        (V2ray445, Mobula),
        (Mobula, V2ray445),
        (V2ray434, Mobula),
        (Mobula, V2ray434),
        (Mobula, Mobula),
    ];
    let ws = json!({"network": "ws", "wsSettings": {"path": "/plugin"}});
    for (client, server) in pairs {
        println!("{client:?} to {server:?}");
        let (mut stage, port, socks) = (Stage::new(), free_port(), free_port());
        let config = json!({
            "inbounds": [{
                "listen": "127.0.0.1", "port": port, "protocol": "dokodemo-door", "streamSettings": ws,
                "settings": {"address": "v1.mux.cool", "network": "tcp"},
            }],
            "outbounds": [{"protocol": "freedom"}],
        });
        stage.run(server, "server", &config, &[port]).await;
        let config = json!({
            "inbounds": [{"listen": "127.0.0.1", "port": socks, "protocol": "socks", "settings": {"udp": true}}],
            "outbounds": [{
                "protocol": "freedom", "streamSettings": ws,
                "settings": {"redirect": format!("127.0.0.1:{port}"), "domainStrategy": "UseIP"},
                "mux": {"enabled": true, "concurrency": 8},
            }],
        });
        stage.run(client, "client", &config, &[socks]).await;
        traffic::both_ways(socks, 300_000).await;
        traffic::server_speaks_first(socks).await;
        traffic::datagrams(socks, &[1, 1400]).await;
        assert!(connections(port) <= 2, "sessions share connections");
        traffic::target_sends_and_closes(socks).await;
        traffic::many(socks, 50).await;
    }
}

/// As in V2Ray every inbound takes the name, with the rights that its client has.
#[tokio::test]
async fn sessions_come_by_a_socks_inbound_too() {
    let (mut stage, port, socks) = (Stage::new(), free_port(), free_port());
    let proxy = json!({
        "inbounds": [{"listen": "127.0.0.1", "port": port, "protocol": "socks"}],
        "outbounds": [{"protocol": "freedom"}],
    });
    stage.run(Mobula, "server", &proxy, &[port]).await;
    let config = json!({
        "inbounds": [{"listen": "127.0.0.1", "port": socks, "protocol": "socks"}],
        "outbounds": [{
            "protocol": "socks", "mux": {"enabled": true},
            "settings": {"servers": [{"address": "127.0.0.1", "port": port}]},
        }],
    });
    stage.run(V2ray445, "client", &config, &[socks]).await;
    traffic::both_ways(socks, 100_000).await;
    traffic::many(socks, 10).await;
}
