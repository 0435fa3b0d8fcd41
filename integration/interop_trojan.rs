//! Trojan with V2Ray, sing-box and mihomo at the other end.

use std::io::ErrorKind;
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::configs::{Early, PASSWORD, Vmess};
use crate::peers::Peer::{self, Mihomo, Mobula, SingBox, V2ray434, V2ray445};
use crate::peers::{Stage, connections, free_port};
use crate::scenario_abrupt::{connected, rest};
use crate::traffic::{self, GREETING, LIMIT, To};
use crate::tunnel::{EIGHT_MIB, Tunnel};

/// mihomo speaks Trojan over TLS alone.
const PAIRS: [(Peer, Peer); 7] = [
    (V2ray434, Mobula),
    (V2ray445, Mobula),
    (SingBox, Mobula),
    (Mobula, V2ray434),
    (Mobula, V2ray445),
    (Mobula, SingBox),
    (Mobula, Mobula),
];

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

/// V2Ray's client sends its header with the first word of its application, and nothing before.
fn waits_for_a_word(client: Peer) -> bool {
    matches!(client, V2ray434 | V2ray445)
}

async fn ready(client: Peer, tunnel: &Tunnel) {
    if !waits_for_a_word(client) {
        traffic::ready(tunnel.socks).await;
    }
}

/// What every tunnel does, and a file whose end follows it at once.
async fn carries_all(client: Peer, tunnel: &Tunnel) {
    ready(client, tunnel).await;
    traffic::word(tunnel.socks, &To::Ip(traffic::echo().await)).await;
    let port = traffic::echo().await.port();
    traffic::word(tunnel.socks, &To::Name("localhost", port)).await;
    if !waits_for_a_word(client) {
        traffic::server_speaks_first(tunnel.socks).await;
    }
    traffic::both_ways(tunnel.socks, EIGHT_MIB).await;
    traffic::datagrams(tunnel.socks, &[1, 60, 512, 1200, 1400]).await;
    traffic::target_sends_and_closes(tunnel.socks).await;
}

async fn each(pairs: &[(Peer, Peer)], trojan: &Vmess) {
    for (client, server) in pairs {
        let tunnel = Tunnel::start(*client, *server, trojan).await;
        carries_all(*client, &tunnel).await;
    }
}

async fn each_over_tls(trojan: impl Fn(&Stage) -> Vmess) {
    for (client, server) in TLS_PAIRS {
        let stage = Stage::new();
        let trojan = trojan(&stage);
        println!("{client:?} to {server:?}, {trojan:?}");
        let tunnel = Tunnel::start_on(stage, client, &trojan, server, &trojan).await;
        carries_all(client, &tunnel).await;
    }
}

fn tls(stage: &Stage) -> Vmess {
    let path = None;
    Vmess {
        path,
        ..Vmess::wss(stage).trojan()
    }
}

#[tokio::test]
async fn plain_tcp() {
    each(&PAIRS, &Vmess::tcp().trojan()).await;
}

#[tokio::test]
async fn plain_ws() {
    each(&PAIRS, &Vmess::ws().trojan()).await;
}

#[tokio::test]
async fn tcp_over_tls() {
    each_over_tls(tls).await;
}

#[tokio::test]
async fn ws_over_tls() {
    each_over_tls(|stage| Vmess::wss(stage).trojan()).await;
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
        each(&pairs, &Vmess::ws_early(early).trojan()).await;
    }
}

#[tokio::test]
async fn two_hundred_connections_at_once() {
    for (client, server) in PAIRS {
        println!("{client:?} to {server:?}");
        let tunnel = Tunnel::start(client, server, &Vmess::ws().trojan()).await;
        ready(client, &tunnel).await;
        traffic::many(tunnel.socks, 200).await;
    }
}

/// One association is one flow, whatever the number of targets, and each answers as itself.
#[tokio::test]
async fn datagrams_to_and_from_anyone() {
    for (client, server, trojan) in [
        (SingBox, Mobula, Vmess::ws().trojan()),
        (Mobula, SingBox, Vmess::tcp().trojan()),
        (Mobula, Mobula, Vmess::tcp().trojan()),
    ] {
        let tunnel = Tunnel::start(client, server, &trojan).await;
        traffic::full_cone(tunnel.socks).await;
    }
    for (client, server) in [(Mihomo, Mobula), (Mobula, Mihomo)] {
        let stage = Stage::new();
        let trojan = tls(&stage);
        let tunnel = Tunnel::start_on(stage, client, &trojan, server, &trojan).await;
        traffic::full_cone(tunnel.socks).await;
    }
    for (server, longest) in [(V2ray445, 1400), (SingBox, 8000), (Mobula, 60_000)] {
        let tunnel = Tunnel::start(Mobula, server, &Vmess::tcp().trojan()).await;
        traffic::datagrams(tunnel.socks, &[1, 60, 1400, longest]).await;
    }
}

#[tokio::test]
async fn sessions_share_connections() {
    for (client, server) in [
        (V2ray434, Mobula),
        (V2ray445, Mobula),
        (Mobula, V2ray434),
        (Mobula, V2ray445),
        (Mobula, Mobula),
    ] {
        println!("{client:?} to {server:?}");
        let trojan = Vmess::ws_with(json!({"mux": {"enabled": true, "concurrency": 8}})).trojan();
        let tunnel = Tunnel::start(client, server, &trojan).await;
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
    for trojan in [Vmess::ws().trojan(), Vmess::tcp().trojan()] {
        for (client, server) in PAIRS {
            println!("{client:?} to {server:?}, {trojan:?}");
            if client == SingBox && trojan.path.is_some() {
                // It gives up both directions.
                continue;
            }
            let tunnel = Tunnel::start(client, server, &trojan).await;
            ready(client, &tunnel).await;
            traffic::target_answers_late(tunnel.socks).await;
        }
    }
}

#[tokio::test]
async fn the_end_of_an_application_reaches_its_target() {
    let stage = Stage::new();
    for trojan in [Vmess::ws().trojan(), Vmess::tcp().trojan(), tls(&stage)] {
        for server in [SingBox, Mobula] {
            println!("{server:?}, {trojan:?}");
            let tunnel = Tunnel::start(Mobula, server, &trojan).await;
            traffic::application_ends_first(tunnel.socks).await;
        }
    }
}

/// A whole file must not look broken, nor a broken one hang.
#[tokio::test]
async fn what_breaks_off_ends_and_what_is_whole_ends_in_order() {
    for trojan in [Vmess::ws().trojan(), Vmess::tcp().trojan()] {
        for (client, server) in PAIRS {
            println!("{client:?} to {server:?}, {trojan:?}");
            let tunnel = Tunnel::start(client, server, &trojan).await;
            ready(client, &tunnel).await;
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
            if (client, server) == (Mobula, Mobula) && trojan.path.is_some() {
                let broken = Err(ErrorKind::ConnectionReset);
                assert_eq!((end, seen), (broken, (0, broken)));
            }
        }
    }
}

/// Ends with a reset, behind all that was sent before.
async fn reset(stream: TcpStream) {
    sleep(Duration::from_millis(300)).await;
    stream.set_zero_linger().unwrap();
}

/// The header that V2Ray, Xray, sing-box and mihomo write.
fn header(password: &str, command: u8, target: std::net::SocketAddr) -> Vec<u8> {
    use sha2::{Digest, Sha224};

    let mut header: Vec<u8> = Sha224::digest(password)
        .iter()
        .flat_map(|byte| format!("{byte:02x}").into_bytes())
        .collect();
    header.extend(b"\r\n");
    header.push(command);
    header.push(1);
    let std::net::IpAddr::V4(ip) = target.ip() else {
        panic!("targets have IPv4");
    };
    header.extend(ip.octets());
    header.extend(target.port().to_be_bytes());
    header.extend(b"\r\n");
    header
}

/// TLS records, and pieces of a slow network, may cut the header anywhere.
#[tokio::test]
async fn a_header_in_pieces_is_waited_for_and_a_target_may_speak_first() {
    let mut stage = Stage::new();
    let port = free_port();
    let config = Vmess::tcp().trojan().server(Mobula, port);
    stage.run(Mobula, "server", &config, &[port]).await;
    let flight = header(PASSWORD, 1, traffic::greeter().await);
    for cuts in [&[1][..], &[30], &[56, 57], &[58, 59, 60], &[67], &[]] {
        let mut client = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        client.set_nodelay(true).unwrap();
        let mut at = 0;
        for cut in cuts {
            client.write_all(&flight[at..*cut]).await.unwrap();
            at = *cut;
            sleep(Duration::from_millis(150)).await;
        }
        client.write_all(&flight[at..]).await.unwrap();
        let mut greeting = vec![0; GREETING.len()];
        let read = timeout(LIMIT, client.read_exact(&mut greeting)).await;
        read.expect("a greeting in time").unwrap();
        assert_eq!(greeting, GREETING, "cut at {cuts:?}");
    }
}

/// What a scanner sends is read on and not answered, and a wrong password is a stranger's.
#[tokio::test]
async fn strangers_get_no_answer_and_the_log_says_why() {
    let mut stage = Stage::new();
    let port = free_port();
    let config = Vmess::tcp().trojan().server(Mobula, port);
    stage.run(Mobula, "server", &config, &[port]).await;
    let other = header("wrong", 1, traffic::echo().await);
    for (flight, reason) in [
        (
            &b"GET / HTTP/1.1\r\n\r\n"[..],
            "byte 0 is not Trojan's, expected 56 hex digits and a line end [request-malformed]",
        ),
        (&other, "no user has this password [user-unknown]"),
    ] {
        let mut stranger = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        stranger.write_all(flight).await.unwrap();
        stage.until_file_has("access.log", reason).await;
        let wait = Duration::from_millis(300);
        let answer = timeout(wait, stranger.read(&mut [0])).await;
        assert!(answer.is_err(), "{answer:?}");
    }
}

/// Nothing in the protocol tells it from a target that closes at once, so the log guesses.
#[tokio::test]
async fn a_password_that_the_server_does_not_know_is_guessed_at() {
    let mut stage = Stage::new();
    let (port, socks) = (free_port(), free_port());
    let trojan = Vmess::tcp().trojan();
    let server = trojan.server(V2ray445, port);
    stage.run(V2ray445, "server", &server, &[port]).await;
    let mut client = trojan.client(Mobula, socks, port);
    client["outbounds"][0]["settings"]["servers"][0]["password"] = json!("wrong");
    stage.run(Mobula, "client", &client, &[socks]).await;
    let to = To::Ip(traffic::echo().await);
    let mut stream = traffic::connect(socks, &to).await.unwrap();
    stream.write_all(b"a word").await.unwrap();
    let end = timeout(LIMIT, stream.read(&mut [0])).await;
    assert!(matches!(end, Ok(Ok(0) | Err(_))), "{end:?}");
    stage
        .until_file_has("client.log", "does it know this password")
        .await;
}
