//! Limits: what is full lets nobody in, at once and cheaply, and whoever is in does not notice.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream, UdpSocket};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::configs::{ID, Vmess};
use crate::peers::Peer::{self, Mobula};
use crate::peers::{Stage, free_port, listen, with_descriptors};
use crate::traffic::{self, To};

/// A second user.
const OTHER_ID: &str = "27848739-7e62-4138-9fd3-098a63964b6b";

/// Upgrades that the server of [`Vmess::ws`] accepts, from whom a proxy names.
fn upgrade(from: &str) -> String {
    format!(
        "GET /ray HTTP/1.1\r\nHost: mobula.test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        X-Forwarded-For: {from}\r\nSec-WebSocket-Version: 13\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
}

async fn knock(port: u16) -> TcpStream {
    let connecting = TcpStream::connect((Ipv4Addr::LOCALHOST, port));
    connecting.await.expect("mobula listens")
}

/// Whether the other end closes the connection before long, whatever it says until then.
async fn is_closed(stream: &mut TcpStream, within: Duration) -> bool {
    let mut buf = [0; 1024];
    let end = async { while stream.read(&mut buf).await.is_ok_and(|n| n > 0) {} };
    timeout(within, end).await.is_ok()
}

/// A server says no well before any handshake has had its time.
const SOON: Duration = Duration::from_secs(3);

/// Long enough to see that a connection is not closed.
const A_WHILE: Duration = Duration::from_millis(700);

/// Waits until `count` connections that were closed are no more counted: a word gets through.
async fn until_word(port: u16, to: &To) {
    let deadline = Instant::now() + Duration::from_secs(15);
    loop {
        if let Ok(mut stream) = traffic::connect(port, to).await {
            return traffic::exchange(&mut stream, b"again").await;
        }
        assert!(Instant::now() < deadline, "no room is made");
        sleep(Duration::from_millis(50)).await;
    }
}

/// `vmess` over `ws` with a client, `limits` in the inbound.
async fn tunnel(stage: &mut Stage, limits: Value, top: Value) -> (u16, u16) {
    let (server, socks) = (free_port(), free_port());
    let vmess = Vmess::ws();
    let mut config = vmess.server(Mobula, server);
    config["inbounds"][0]["limits"] = limits;
    config["limits"] = top;
    stage.run(Mobula, "server", &config, &[server]).await;
    let config = vmess.client(Mobula, socks, server);
    stage.run(Mobula, "client", &config, &[socks]).await;
    (server, socks)
}

#[tokio::test]
async fn no_more_connections_than_may_be_and_tunnels_go_on() {
    let to = To::Ip(traffic::echo().await);
    for (limits, top) in [
        (json!({"connections": 3}), json!({})),
        (json!({}), json!({"connections": 3})),
    ] {
        let mut stage = Stage::new();
        let (server, socks) = tunnel(&mut stage, limits, top).await;
        let mut tunnels = Vec::new();
        for _ in 0..3 {
            let mut stream = traffic::connect(socks, &to).await.expect("SOCKS connects");
            traffic::exchange(&mut stream, b"one of three").await;
            tunnels.push(stream);
        }
        for _ in 0..20 {
            assert!(is_closed(&mut knock(server).await, SOON).await);
        }
        for stream in &mut tunnels {
            traffic::exchange(stream, b"as if nothing were").await;
        }
        let said = [
            "127.0.0.1",
            "rejected",
            "`limits.connections`",
            "[limit-connections]",
        ];
        stage.until_line_has("access.log", &said).await;
        tunnels.pop();
        until_word(socks, &to).await;
    }
}

#[tokio::test]
async fn no_more_handshakes_than_may_be_unfinished() {
    let to = To::Ip(traffic::echo().await);
    let mut stage = Stage::new();
    let (server, socks) = tunnel(&mut stage, json!({"handshakes": 4}), json!({})).await;
    let mut running = traffic::connect(socks, &to).await.expect("SOCKS connects");
    traffic::exchange(&mut running, b"before").await;
    let mut silent = Vec::new();
    for n in 0..4 {
        let mut stream = knock(server).await;
        if n % 2 == 1 {
            let half = &upgrade("192.0.2.1")[..40];
            stream.write_all(half.as_bytes()).await.expect("it reads");
        }
        silent.push(stream);
    }
    assert!(is_closed(&mut knock(server).await, SOON).await);
    assert!(!is_closed(&mut silent[0], A_WHILE).await);
    traffic::exchange(&mut running, b"meanwhile").await;
    stage
        .until_file_has("access.log", "[limit-handshakes]")
        .await;
    drop(silent);
    until_word(socks, &to).await;
}

#[tokio::test]
async fn a_source_is_whom_a_trusted_proxy_names() {
    let mut stage = Stage::new();
    let (server, socks) = tunnel(&mut stage, json!({"perSource": 2}), json!({})).await;
    let from = |source: &'static str| async move {
        let mut stream = knock(server).await;
        let request = upgrade(source);
        stream
            .write_all(request.as_bytes())
            .await
            .expect("it reads");
        stream
    };
    let mut in_ = Vec::new();
    for source in [
        "198.51.100.7",
        "::ffff:198.51.100.7",
        "2001:db8::1",
        "2001:db8:0:0:1::2",
    ] {
        in_.push(from(source).await);
        assert!(
            !is_closed(in_.last_mut().unwrap(), A_WHILE).await,
            "{source}"
        );
    }
    for source in ["198.51.100.7", "2001:db8::3"] {
        let mut answer = Vec::new();
        let read = from(source).await.read_to_end(&mut answer).await;
        assert!(answer.is_empty(), "{source}: it was granted: {read:?}");
    }
    let mut other = from("2001:db8:0:1::1").await;
    assert!(!is_closed(&mut other, A_WHILE).await);
    let said = ["198.51.100.7", "rejected", "[limit-source]"];
    stage.until_line_has("access.log", &said).await;
    // The client comes from this machine, and is counted by itself.
    traffic::word(socks, &To::Ip(traffic::echo().await)).await;
}

#[tokio::test]
async fn a_source_is_whom_a_proxy_header_names_or_who_connects() {
    let (plain, behind) = (free_port(), free_port());
    let mut stage = Stage::new();
    let inbound = |port: u16, proxied: bool| {
        let mut inbound = Vmess::tcp().server(Mobula, port)["inbounds"][0].clone();
        inbound["limits"] = json!({"perSource": 2});
        inbound["streamSettings"] = json!({"sockopt": {"acceptProxyProtocol": proxied}});
        inbound
    };
    let config = json!({
        "log": {"access": "access.log"},
        "inbounds": [inbound(plain, false), inbound(behind, true)], "outbounds": [{"protocol": "freedom"}],
    });
    stage.run(Mobula, "server", &config, &[plain, behind]).await;
    let named = |source: &'static str| async move {
        let mut stream = knock(behind).await;
        let header = format!("PROXY TCP4 {source} 127.0.0.1 4000 443\r\n");
        stream.write_all(header.as_bytes()).await.expect("it reads");
        stream
    };
    let mut two = [named("203.0.113.5").await, named("203.0.113.5").await];
    assert!(!is_closed(&mut two[0], A_WHILE).await && !is_closed(&mut two[1], A_WHILE).await);
    assert!(is_closed(&mut named("203.0.113.5").await, SOON).await);
    assert!(!is_closed(&mut named("203.0.113.6").await, A_WHILE).await);
    let from = |ip: [u8; 4]| async move {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind((ip, 0).into()).expect("an address of ours");
        let to = SocketAddr::from((Ipv4Addr::LOCALHOST, plain));
        socket.connect(to).await.expect("mobula listens")
    };
    let mut two = [from([127, 0, 0, 2]).await, from([127, 0, 0, 2]).await];
    assert!(is_closed(&mut from([127, 0, 0, 2]).await, SOON).await);
    assert!(!is_closed(&mut from([127, 0, 0, 3]).await, A_WHILE).await);
    assert!(!is_closed(&mut two[0], A_WHILE).await && !is_closed(&mut two[1], A_WHILE).await);
    drop(two);
    let deadline = Instant::now() + Duration::from_secs(10);
    while is_closed(&mut from([127, 0, 0, 2]).await, A_WHILE).await {
        assert!(Instant::now() < deadline, "no place is given back");
    }
}

/// Two users by two inbounds with `policy`, and a client for each user at each inbound; with mux if so.
async fn users(stage: &mut Stage, level: Value, mux: bool) -> [[u16; 2]; 2] {
    let servers = [free_port(), free_port()];
    let inbounds = servers.map(|port| {
        let mut inbound = Vmess::ws().server(Mobula, port)["inbounds"][0].clone();
        inbound["settings"]["clients"] = json!([
            {"id": ID, "email": "ann@mobula.test", "level": 1}, {"id": OTHER_ID, "level": 1},
        ]);
        inbound
    });
    let config = json!({
        "log": {"access": "access.log"}, "policy": {"levels": {"1": level}},
        "inbounds": inbounds, "outbounds": [{"protocol": "freedom"}],
    });
    stage.run(Mobula, "server", &config, &servers).await;
    let mut ports = [[0; 2]; 2];
    for (u, id) in [ID, OTHER_ID].into_iter().enumerate() {
        for (s, server) in servers.into_iter().enumerate() {
            let socks = free_port();
            let mut config = Vmess::ws().client(Mobula, socks, server);
            config["outbounds"][0]["settings"]["vnext"][0]["users"][0]["id"] = json!(id);
            if mux {
                config["outbounds"][0]["mux"] = json!({"enabled": true, "concurrency": 8});
            }
            let name = format!("client-{u}-{s}");
            stage.run(Mobula, &name, &config, &[socks]).await;
            ports[u][s] = socks;
        }
    }
    ports
}

#[tokio::test]
async fn a_user_has_so_many_connections_by_all_inbounds_together() {
    let to = To::Ip(traffic::echo().await);
    let mut stage = Stage::new();
    let level = json!({"connections": 2});
    let [ann, bob] = users(&mut stage, level, false).await;
    let mut held = Vec::new();
    for port in ann {
        let mut stream = traffic::connect(port, &to).await.expect("SOCKS connects");
        traffic::exchange(&mut stream, b"hers").await;
        held.push(stream);
    }
    for port in ann {
        let carried = async {
            let mut stream = traffic::connect(port, &to).await?;
            stream.write_all(b"one too many").await?;
            stream.read_exact(&mut [0; 12]).await
        };
        let carried = timeout(Duration::from_secs(10), carried).await;
        assert!(carried.is_ok_and(|carried| carried.is_err()));
    }
    stage
        .until_line_has("access.log", &["rejected", "[limit-user]"])
        .await;
    for port in bob {
        traffic::word(port, &to).await;
    }
    for stream in &mut held {
        traffic::exchange(stream, b"as before").await;
    }
    held.pop();
    until_word(ann[0], &to).await;
}

/// A link of mux is one connection, whatever it carries.
#[tokio::test]
async fn sessions_inside_mux_are_one_connection() {
    let to = To::Ip(traffic::echo().await);
    let mut stage = Stage::new();
    let [ann, _] = users(&mut stage, json!({"connections": 1}), true).await;
    let mut held = Vec::new();
    for _ in 0..4 {
        let mut stream = traffic::connect(ann[0], &to).await.expect("SOCKS connects");
        traffic::exchange(&mut stream, b"inside").await;
        held.push(stream);
    }
}

/// Sends without end.
async fn spring() -> SocketAddr {
    let listener = listen();
    let at = listener.local_addr().expect("it is bound");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move { while stream.write_all(&[7; 16 * 1024]).await.is_ok() {} });
        }
    });
    at
}

/// Bytes a second that come through `ports` together, a tunnel by each, once what is sent ahead is through.
async fn downlink(ports: &[u16], to: &To) -> f64 {
    let mut tunnels = JoinSet::new();
    let began = Instant::now();
    for port in ports {
        let mut stream = traffic::connect(*port, to).await.expect("SOCKS connects");
        tunnels.spawn(async move {
            let (mut buf, mut sum) = (vec![0; 64 * 1024], 0);
            while began.elapsed() < MEASURED {
                let reading = timeout(MEASURED, stream.read(&mut buf)).await;
                sum += reading.expect("bytes in time").expect("bytes");
            }
            sum
        });
    }
    let sum: usize = tunnels.join_all().await.into_iter().sum();
    sum as f64 / began.elapsed().as_secs_f64()
}

const MEASURED: Duration = Duration::from_secs(4);

#[tokio::test]
async fn a_users_tunnels_share_the_rate_of_the_level() {
    let to = To::Ip(spring().await);
    let mut stage = Stage::new();
    let level = json!({"uplinkRate": "500 kB/s", "downlinkRate": "1 MB/s"});
    let [ann, bob] = users(&mut stage, level, false).await;
    let alone = downlink(&ann[..1], &to).await;
    let shared = downlink(&[ann[0], ann[1], ann[0], ann[1], ann[0]], &to).await;
    for rate in [alone, shared] {
        assert!((900_000.0..1_100_000.0).contains(&rate), "{rate} B/s");
    }
    // Each user has a rate; without an email each entry is one.
    let (ann, bob) = tokio::join!(downlink(&ann, &to), downlink(&bob[..1], &to));
    for rate in [ann, bob] {
        assert!((900_000.0..1_100_000.0).contains(&rate), "{rate} B/s");
    }
}

#[tokio::test]
async fn the_uplink_has_a_rate_of_its_own_inside_mux_too() {
    let to = To::Ip(traffic::digester().await);
    let mut stage = Stage::new();
    let [ann, _] = users(&mut stage, json!({"uplinkRate": 500_000}), true).await;
    let data = traffic::bytes(1_000_000);
    let began = Instant::now();
    let mut tunnels = JoinSet::new();
    for _ in 0..2 {
        let (data, to) = (data.clone(), To::Ip(digester_of(&to)));
        let port = ann[0];
        tunnels.spawn(async move {
            let mut stream = traffic::connect(port, &to).await.expect("SOCKS connects");
            stream.write_all(&data).await.expect("it reads");
            stream.shutdown().await.expect("it ends");
            let mut digest = [0; 32];
            let read = timeout(Duration::from_secs(30), stream.read_exact(&mut digest)).await;
            read.expect("in time").expect("a digest");
            assert_eq!(digest, traffic::sha256(&data));
        });
    }
    tunnels.join_all().await;
    let rate = 2_000_000.0 / began.elapsed().as_secs_f64();
    assert!((440_000.0..550_000.0).contains(&rate), "{rate} B/s");
}

fn digester_of(to: &To) -> SocketAddr {
    match to {
        To::Ip(at) => *at,
        To::Name(..) => panic!("it is an address"),
    }
}

#[tokio::test]
async fn datagrams_count_as_much_as_streams() {
    let mut stage = Stage::new();
    let [ann, _] = users(&mut stage, json!({"downlinkRate": "200 kB/s"}), false).await;
    let target = traffic::udp_echo().await;
    let (_association, relay) = traffic::associate(ann[0]).await;
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
    let (size, mut buf) = (1000, vec![0; 2048]);
    let datagram = traffic::datagram(&To::Ip(target), &traffic::bytes(size));
    let (began, mut sent, mut back) = (Instant::now(), 0, 0);
    while began.elapsed() < MEASURED {
        // Three times as much as may come back.
        while sent < began.elapsed().as_millis() * 600 / 1000 {
            socket.send_to(&datagram, relay).await.expect("UDP sends");
            sent += 1;
        }
        if let Ok(Ok(_)) = timeout(Duration::from_millis(2), socket.recv(&mut buf)).await {
            back += size;
        }
    }
    let rate = back as f64 / began.elapsed().as_secs_f64();
    assert!((150_000.0..225_000.0).contains(&rate), "{rate} B/s");
}

#[tokio::test]
async fn out_of_descriptors_accepting_waits_and_comes_back() {
    let to = To::Ip(traffic::echo().await);
    let mut stage = Stage::new();
    let socks = free_port();
    let config = json!({
        "log": {"loglevel": "warning", "error": "error.log"},
        "inbounds": [{"listen": "127.0.0.1", "port": socks, "protocol": "socks"}],
        "outbounds": [{"protocol": "freedom"}],
    });
    let path = stage.write("server.json", config.to_string());
    let mut command = with_descriptors(64, &Mobula.command(&path));
    let index = stage.start("server", &mut command, &[socks]).await;
    let mut tunnels = Vec::new();
    for _ in 0..64 {
        let connecting = traffic::connect(socks, &to);
        match timeout(Duration::from_secs(1), connecting).await {
            Ok(Ok(stream)) => tunnels.push(stream),
            _ => break,
        }
    }
    assert!(
        (10..64).contains(&tunnels.len()),
        "{} tunnels",
        tunnels.len()
    );
    // What is left of the files goes to handshakes, and these give way: tunnels keep what they have.
    let mut waiting = Vec::new();
    for _ in 0..40 {
        waiting.push(knock(socks).await);
    }
    let before = stage.child(index).cpu();
    sleep(Duration::from_secs(1)).await;
    let cpu = stage.child(index).cpu() - before;
    assert!(cpu < Duration::from_millis(300), "{cpu:?} of a second");
    for stream in &mut tunnels {
        traffic::exchange(stream, b"still there").await;
    }
    let log = stage.read("error.log");
    let lines = log.lines().filter(|line| {
        line.contains("open files") && (line.contains("give way") || line.contains("cannot accept"))
    });
    let lines = lines.count();
    assert!((1..=4).contains(&lines), "{lines} lines:\n{log}");
    drop((tunnels, waiting));
    until_word(socks, &to).await;
}

/// What the tunnels of [`flooded`] offer, in bytes a second each.
const OFFERED: usize = 40_000;

/// What a stranger says before it falls silent.
fn junk(n: usize) -> Vec<u8> {
    let whole = upgrade("192.0.2.1").replace("X-Forwarded-For: 192.0.2.1\r\n", "");
    match n % 3 {
        0 => whole.as_bytes()[..60].to_vec(),
        1 => whole.into_bytes(),
        // A masked frame of 60 bytes of nonsense: a first flight that is none.
        _ => {
            let mut words = whole.into_bytes();
            words.extend([0x82, 0x80 | 60, 1, 2, 3, 4]);
            words.extend((0..60).map(|i: u8| i.wrapping_mul(37)));
            words
        }
    }
}

struct Flooded {
    /// What tunnels carried before strangers came, and while they came, of what was offered.
    before: f64,
    during: f64,
    kib_before: u64,
    kib_peak: u64,
    took: Duration,
}

/// Fifty tunnels by `peer` while `count` strangers come.
async fn flooded(peer: Peer, count: usize) -> Flooded {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).expect("a soft limit may be raised");
    let mut stage = Stage::new();
    let (server, socks) = (free_port(), free_port());
    let vmess = Vmess::ws();
    let index = stage
        .run(peer, "server", &vmess.server(peer, server), &[server])
        .await;
    let client = vmess.client(Mobula, socks, server);
    stage.run(Mobula, "client", &client, &[socks]).await;
    let to = To::Ip(traffic::echo().await);
    let carried = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let mut tunnels = JoinSet::new();
    for _ in 0..50 {
        let stream = traffic::connect(socks, &to).await.expect("SOCKS connects");
        let (mut read, mut write) = stream.into_split();
        tunnels.spawn(async move {
            let mut ticks = tokio::time::interval(Duration::from_millis(100));
            loop {
                ticks.tick().await;
                write.write_all(&[1; OFFERED / 10]).await.expect("a tunnel");
            }
        });
        let carried = carried.clone();
        tunnels.spawn(async move {
            let mut buf = vec![0; 16 * 1024];
            loop {
                let n = read.read(&mut buf).await.expect("a tunnel goes on");
                assert!(n > 0, "a tunnel has ended");
                carried.fetch_add(n, std::sync::atomic::Ordering::Relaxed);
            }
        });
    }
    sleep(Duration::from_secs(1)).await;
    let share =
        |bytes: usize, took: Duration| bytes as f64 / (50 * OFFERED) as f64 / took.as_secs_f64();
    let take = || carried.swap(0, std::sync::atomic::Ordering::Relaxed);
    take();
    let began = Instant::now();
    sleep(Duration::from_secs(3)).await;
    let before = share(take(), began.elapsed());
    let kib_before = stage.child(index).resident_kib();
    let began = Instant::now();
    let strangers = tokio::spawn(async move {
        let mut all = Vec::with_capacity(count);
        for n in 0..count {
            let socket = TcpSocket::new_v4().expect("a socket");
            // One address has no more than some 28,000 ports.
            let from = [127, 0, 1, 1 + (n % 8) as u8];
            socket.bind((from, 0).into()).expect("an address of ours");
            let connecting = socket.connect((Ipv4Addr::LOCALHOST, server).into());
            let Ok(Ok(mut stream)) = timeout(Duration::from_secs(3), connecting).await else {
                continue;
            };
            let _ = stream.write_all(&junk(n)).await;
            all.push(stream);
        }
        all
    });
    let mut kib_peak = kib_before;
    while !strangers.is_finished() || began.elapsed() < Duration::from_secs(3) {
        sleep(Duration::from_millis(100)).await;
        kib_peak = kib_peak.max(stage.child(index).resident_kib());
    }
    let took = began.elapsed();
    let during = share(take(), took);
    let held = strangers.await.expect("strangers come");
    assert!(held.len() * 10 >= count * 9, "{} came", held.len());
    assert!(tunnels.try_join_next().is_none(), "a tunnel has ended");
    Flooded {
        before,
        during,
        kib_before,
        kib_peak,
        took,
    }
}

#[tokio::test]
async fn tunnels_keep_their_rate_while_strangers_come() {
    const COUNT: u64 = 2000;
    let flood = flooded(Mobula, COUNT as usize).await;
    let ratio = flood.during / flood.before;
    assert!(flood.before > 0.9, "{} of what was offered", flood.before);
    assert!(ratio >= 0.8, "{ratio:.2} of the rate before");
    let grown = flood.kib_peak.saturating_sub(flood.kib_before);
    assert!(grown <= COUNT * 16, "{grown} KiB for {COUNT} strangers");
}

/// `cargo test --test integration twenty_thousand -- --ignored --nocapture` prints the table of `docs/reliability.md`.
#[tokio::test]
#[ignore = "takes a minute, and a limit of 50,000 open files"]
async fn twenty_thousand_strangers() {
    println!(
        "| server | rate before | while they come | MiB before | at most | seconds |\n|---|---|---|---|---|---|"
    );
    for peer in [Mobula, Peer::V2ray445, Peer::SingBox] {
        let flood = flooded(peer, 20_000).await;
        println!(
            "| {peer:?} | {:.0} % | {:.0} % | {:.1} | {:.1} | {:.1} |",
            100.0 * flood.before,
            100.0 * flood.during,
            flood.kib_before as f64 / 1024.0,
            flood.kib_peak as f64 / 1024.0,
            flood.took.as_secs_f64()
        );
        if peer == Mobula {
            assert!(flood.during / flood.before >= 0.8);
            assert!(flood.kib_peak - flood.kib_before <= 20_000 * 16);
        }
    }
}
