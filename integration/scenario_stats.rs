//! Counters, byte for byte, against what was sent and against V2Ray's own.
//!
//! mobula runs inside the test here, so that its counters can be looked at.

use std::process::Command;
use std::time::{Duration, Instant};

use mobula::app::App;
use mobula::dialect::v2ray::{Format, Input, load};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UdpSocket;
use tokio::time::{sleep, timeout};

use crate::configs::{Early, Vmess};
use crate::peers::Peer::{Mobula, SingBox, V2ray445};
use crate::peers::{Stage, free_port, system};
use crate::traffic::{self, LIMIT, To};

const SENT: usize = 300_001;
const DATAGRAM: usize = 77;

/// A user's counters know nothing of chunks, padding, frames and sessions.
#[tokio::test]
async fn a_users_traffic_is_the_applications() {
    let ws = Vmess::ws();
    for (client, vmess) in [
        (V2ray445, Vmess::tcp()),
        (V2ray445, ws.clone()),
        (V2ray445, Vmess::ws_early(Early::Path)),
        (
            V2ray445,
            Vmess::ws_early(Early::Header("Sec-WebSocket-Protocol")),
        ),
        (V2ray445, sealed(true, "auto")),
        (V2ray445, sealed(false, "none")),
        (V2ray445, Vmess::ws_with(json!({"mux": {"enabled": true}}))),
        (SingBox, padded()),
        (SingBox, Vmess::ws_with(json!({"packet_encoding": "xudp"}))),
        (
            SingBox,
            Vmess::ws_with(json!({"packet_encoding": "packetaddr"})),
        ),
        (
            Mobula,
            Vmess::ws_with(json!({"mux": {"enabled": true, "xudpConcurrency": 8}})),
        ),
    ] {
        println!("{client:?}, {vmess:?}");
        let mut stage = Stage::new();
        let (port, socks) = (free_port(), free_port());
        let server = Server::start(counted(vmess.server(Mobula, port))).await;
        let config = vmess.client(client, socks, port);
        stage.run(client, "client", &config, &[socks]).await;
        let stream = there_and_back(socks, SENT).await;
        let (up, down) = (
            "user>>>a@mobula.test>>>traffic>>>uplink",
            "user>>>a@mobula.test>>>traffic>>>downlink",
        );
        server.counts(&[(up, SENT), (down, SENT)]).await;
        drop(stream);
        three_datagrams(socks).await;
        let all = SENT + 3 * DATAGRAM;
        server.counts(&[(up, all), (down, all)]).await;
        server
            .counts(&[
                ("outbound>>>direct>>>traffic>>>uplink", all),
                ("outbound>>>direct>>>traffic>>>downlink", all),
            ])
            .await;
    }
}

/// What one end of a link writes, the other one reads: below VMess, above WebSocket.
#[tokio::test]
async fn inbounds_count_what_v2rays_outbound_counts() {
    for vmess in [
        Vmess::tcp(),
        Vmess::ws(),
        Vmess::ws_early(Early::Path),
        Vmess::ws_with(json!({"mux": {"enabled": true}})),
    ] {
        println!("{vmess:?}");
        let mut stage = Stage::new();
        let (port, socks) = (free_port(), free_port());
        let server = Server::start(counted(vmess.server(Mobula, port))).await;
        let (config, api) = with_api(counted(vmess.client(V2ray445, socks, port)));
        stage.run(V2ray445, "client", &config, &[socks, api]).await;
        there_and_back(socks, SENT).await;
        three_datagrams(socks).await;
        settled(|| {
            let theirs = |direction| v2ray(api, "outbound", "direct", direction);
            let ours = |direction| server.count(&format!("inbound>>>in>>>traffic>>>{direction}"));
            let (up, down) = (ours("uplink"), ours("downlink"));
            assert!(up > SENT as i64 && down > SENT as i64);
            ["uplink", "downlink"].map(|d| (ours(d), theirs(d)))
        })
        .await;
    }
}

#[tokio::test]
async fn outbounds_and_socks_count_what_v2ray_counts() {
    for vmess in [
        Vmess::tcp(),
        Vmess::ws(),
        Vmess::ws_with(json!({"mux": {"enabled": true}})),
    ] {
        println!("{vmess:?}");
        let mut stage = Stage::new();
        let (port, socks) = (free_port(), free_port());
        let (config, api) = with_api(counted(vmess.server(V2ray445, port)));
        stage.run(V2ray445, "server", &config, &[port, api]).await;
        let client = Server::start(counted(vmess.client(Mobula, socks, port))).await;
        there_and_back(socks, SENT).await;
        three_datagrams(socks).await;
        settled(|| {
            let theirs = |direction| v2ray(api, "inbound", "in", direction);
            let ours =
                |direction| client.count(&format!("outbound>>>direct>>>traffic>>>{direction}"));
            ["uplink", "downlink"].map(|d| (ours(d), theirs(d)))
        })
        .await;
        // Greeting and request of two connections, a header of ten bytes in front of each datagram.
        let payload = SENT + 3 * (10 + DATAGRAM);
        client
            .counts(&[
                ("inbound>>>in>>>traffic>>>uplink", payload + 2 * (3 + 10)),
                ("inbound>>>in>>>traffic>>>downlink", payload + 2 * (2 + 10)),
            ])
            .await;
    }
}

#[tokio::test]
async fn a_long_transfer_is_counted_while_it_runs() {
    let port = free_port();
    let config = counted(json!({
        "inbounds": [{"listen": "127.0.0.1", "port": port, "protocol": "socks", "settings": {
            "auth": "noauth", "udp": true,
        }}],
        "outbounds": [{"protocol": "freedom"}],
    }));
    let server = Server::start(config).await;
    let to = To::Ip(traffic::echo().await);
    let mut stream = traffic::connect(port, &to).await.expect("SOCKS connects");
    for n in 1..=3 {
        traffic::exchange(&mut stream, &[7; 1000]).await;
        let up = "outbound>>>direct>>>traffic>>>uplink";
        server.counts(&[(up, 1000 * n)]).await;
    }
}

#[tokio::test]
async fn accounts_are_users_and_nobody_is_counted_without_a_switch() {
    let (counts, silent) = (free_port(), free_port());
    let inbound = |port, level| {
        json!({"listen": "127.0.0.1", "port": port, "protocol": "http", "settings": {
            "accounts": [{"user": "ann", "pass": "x"}], "userLevel": level,
        }})
    };
    let mut config = counted(json!({
        "inbounds": [inbound(silent, 1)], "outbounds": [{"protocol": "freedom"}],
    }));
    config["policy"]["system"] = json!({});
    let off = Server::start(config.clone()).await;
    config["inbounds"] = json!([inbound(counts, 0)]);
    let on = Server::start(config).await;
    let to = traffic::echo().await;
    for port in [counts, silent] {
        let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port))
            .await
            .expect("open");
        let head = format!("CONNECT {to} HTTP/1.1\r\nProxy-Authorization: Basic YW5uOng=\r\n\r\n");
        stream.write_all(head.as_bytes()).await.expect("sent");
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            answer.push(stream.read_u8().await.expect("an answer"));
        }
        assert!(answer.starts_with(b"HTTP/1.1 200"));
        traffic::exchange(&mut stream, b"a word").await;
    }
    on.counts(&[
        ("user>>>ann>>>traffic>>>uplink", 6),
        ("user>>>ann>>>traffic>>>downlink", 6),
    ])
    .await;
    assert_eq!(on.names().len(), 2, "{:?}", on.names());
    assert_eq!(off.names(), [""; 0]);
}

/// mobula inside the test.
struct Server(App);

impl Server {
    async fn start(config: Value) -> Self {
        let text = config.to_string();
        let input = Input::Text {
            name: "test".to_owned(),
            text,
        };
        let loaded = load(&[input], Format::V4);
        assert!(loaded.errors.is_empty(), "{:?}", loaded.errors);
        let config = loaded.config.expect("without errors it is there");
        Self(App::build(config).await.expect("the ports are free"))
    }

    fn names(&self) -> Vec<String> {
        let all = self.0.stats().select(|_| true);
        all.into_iter().map(|(name, _)| name).collect()
    }

    fn count(&self, name: &str) -> i64 {
        let counter = self.0.stats().get(name);
        counter
            .unwrap_or_else(|| panic!("no {name} in {:?}", self.names()))
            .get()
    }

    /// What passed may still be on its way to the counters.
    async fn counts(&self, expected: &[(&str, usize)]) {
        for (name, expected) in expected {
            settled(|| [(self.count(name), *expected as i64)]).await;
        }
    }
}

/// `stats` with every switch, and the tags of the tests.
fn counted(mut config: Value) -> Value {
    config["stats"] = json!({});
    config["policy"]["levels"]["0"]["statsUserUplink"] = json!(true);
    config["policy"]["levels"]["0"]["statsUserDownlink"] = json!(true);
    config["policy"]["system"] = json!({
        "statsInboundUplink": true, "statsInboundDownlink": true,
        "statsOutboundUplink": true, "statsOutboundDownlink": true,
    });
    config["inbounds"][0]["tag"] = json!("in");
    config["outbounds"][0]["tag"] = json!("direct");
    config
}

/// The port of V2Ray's API.
fn with_api(mut config: Value) -> (Value, u16) {
    let port = free_port();
    config["api"] = json!({"tag": "api", "services": ["StatsService"]});
    config["routing"] = json!({"rules": [
        {"type": "field", "inboundTag": ["api-in"], "outboundTag": "api"},
    ]});
    let inbounds = config["inbounds"].as_array_mut().expect("inbounds");
    inbounds.push(json!({
        "tag": "api-in", "listen": "127.0.0.1", "port": port, "protocol": "dokodemo-door",
        "settings": {"address": "127.0.0.1"},
    }));
    (config, port)
}

/// A counter of V2Ray's; protobuf's text leaves out what is 0.
fn v2ray(api: u16, kind: &str, tag: &str, direction: &str) -> i64 {
    let name = format!("{kind}>>>{tag}>>>traffic>>>{direction}");
    let mut v2ctl: Command = system("v2ctl");
    let asked = v2ctl
        .args([
            "api",
            &format!("--server=127.0.0.1:{api}"),
            "StatsService.GetStats",
        ])
        .arg(format!("name: \"{name}\""))
        .output()
        .expect("v2ctl runs");
    let text = String::from_utf8_lossy(&asked.stdout);
    assert!(text.contains(&name), "{text}");
    let value = text.split("value:").nth(1).unwrap_or("0");
    let digits: String = value.chars().filter(char::is_ascii_digit).collect();
    digits.parse().expect("a number")
}

/// Waits until both of each pair are the same.
async fn settled<const N: usize>(pairs: impl Fn() -> [(i64, i64); N]) {
    let began = Instant::now();
    while pairs().iter().any(|(ours, theirs)| ours != theirs) {
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", pairs());
        sleep(Duration::from_millis(50)).await;
    }
}

/// `len` bytes to an echo and back, and the connection.
async fn there_and_back(socks: u16, len: usize) -> tokio::net::TcpStream {
    let to = To::Ip(traffic::echo().await);
    let mut stream = traffic::connect(socks, &to).await.expect("SOCKS connects");
    let data = traffic::bytes(len);
    let mut back = vec![0; len];
    let (mut read, mut write) = stream.split();
    let both = async { tokio::try_join!(write.write_all(&data), read.read_exact(&mut back)) };
    timeout(LIMIT, both)
        .await
        .expect("in time")
        .expect("an echo");
    assert!(back == data);
    stream
}

/// Three datagrams there and back; none is sent twice.
async fn three_datagrams(socks: u16) {
    let (_association, relay) = traffic::associate(socks).await;
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
    let to = To::Ip(traffic::udp_echo().await);
    let datagram = traffic::datagram(&to, &[7; DATAGRAM]);
    for _ in 0..3 {
        socket.send_to(&datagram, relay).await.expect("sent");
        let received = timeout(LIMIT, socket.recv(&mut [0; 256])).await;
        let n = received.expect("loopback loses nothing").expect("an echo");
        assert_eq!(n, datagram.len());
    }
}

fn sealed(authenticated_length: bool, security: &'static str) -> Vmess {
    Vmess {
        authenticated_length,
        security,
        ..Vmess::ws()
    }
}

fn padded() -> Vmess {
    Vmess {
        global_padding: true,
        authenticated_length: true,
        ..Vmess::ws()
    }
}
