//! A flow of datagrams whose answers stay away: V2Ray's server loses a datagram of more than 2,048 bytes, and
//! carries no answer on that connection any more.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::net::UdpSocket;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use crate::configs::Vmess;
use crate::peers::Peer::{Mobula, SingBox, V2ray434, V2ray445};
use crate::peers::{Stage, free_port, listen};
use crate::traffic::{self, To};

/// More than V2Ray carries.
const LONG: usize = 2100;

#[tokio::test]
async fn a_flow_that_v2ray_has_made_deaf_lives_again() {
    let mut flows = JoinSet::new();
    let native = || json!({});
    let mux = || json!({"mux": {"enabled": true}});
    for (server, vmess) in [
        (V2ray445, Vmess::ws_with(native())),
        (V2ray434, Vmess::ws_with(native())),
        (V2ray445, Vmess::tcp()),
        (V2ray434, Vmess::tcp()),
        (V2ray445, Vmess::ws_with(mux())),
        (V2ray434, Vmess::ws_with(mux())),
    ] {
        for up in [true, false] {
            let vmess = vmess.clone();
            flows.spawn(async move {
                let mut stage = Stage::new();
                let (port, socks) = (free_port(), free_port());
                let config = vmess.server(server, port);
                stage.run(server, "server", &config, &[port]).await;
                let (config, door, gate) = client(&vmess, socks, port).await;
                stage.run(Mobula, "client", &config, &[socks, gate]).await;
                let (_association, relay) = traffic::associate(socks).await;
                let by_socks = Application::new(relay, Some(target().await)).await;
                let by_door = Application::new(door, None).await;
                let other = Application::new(door, None).await;
                tokio::join!(
                    by_socks.lives_again(up),
                    by_door.lives_again(up),
                    other.begins_too_long()
                );
            });
        }
    }
    while let Some(flow) = flows.join_next().await {
        flow.expect("it lives again");
    }
}

/// Where the server carries such datagrams, nothing has to begin anew: the target sees one port.
#[tokio::test]
async fn a_flow_that_is_well_keeps_its_port() {
    for server in [Mobula, SingBox] {
        let mut stage = Stage::new();
        let (port, socks) = (free_port(), free_port());
        let vmess = Vmess::ws();
        stage
            .run(server, "server", &vmess.server(server, port), &[port])
            .await;
        stage
            .run(
                Mobula,
                "client",
                &vmess.client(Mobula, socks, port),
                &[socks],
            )
            .await;
        let (_association, relay) = traffic::associate(socks).await;
        let target = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
        let application = Application::new(relay, target.local_addr().ok()).await;
        let mut seen = Vec::new();
        for word in [&b"one"[..], &[7; LONG], b"two"] {
            application.send(word).await;
            let mut buf = [0; 4096];
            let got = timeout(traffic::LIMIT, target.recv_from(&mut buf)).await;
            let (n, from) = got.expect("in time").expect("UDP receives");
            assert_eq!(n, word.len());
            target.send_to(&buf[..n], from).await.expect("UDP sends");
            assert_eq!(application.hear(traffic::LIMIT).await, Some(word.len()));
            seen.push(from);
        }
        assert!(seen.iter().all(|from| *from == seen[0]), "{seen:?}");
    }
}

/// A target that is silent for a while: with XUDP the new connection has the old port.
#[tokio::test]
async fn xudp_keeps_its_port_over_a_new_connection() {
    let mut stage = Stage::new();
    let (port, socks) = (free_port(), free_port());
    let mux = json!({"mux": {"enabled": true, "concurrency": -1, "xudpConcurrency": 8}});
    let vmess = Vmess::ws_with(mux);
    stage
        .run(Mobula, "server", &vmess.server(Mobula, port), &[port])
        .await;
    let mut config = vmess.client(Mobula, socks, port);
    config["log"] = json!({"loglevel": "warning", "access": "none"});
    let index = stage.run(Mobula, "client", &config, &[socks]).await;
    let (_association, relay) = traffic::associate(socks).await;
    let target = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
    let application = Application::new(relay, target.local_addr().ok()).await;
    let mut buf = [0; 16];
    let mut heard = async |application: &Application| {
        application.send(b"word").await;
        let got = timeout(traffic::LIMIT, target.recv_from(&mut buf)).await;
        got.expect("in time").expect("UDP receives").1
    };
    let first = heard(&application).await;
    target.send_to(b"back", first).await.expect("UDP sends");
    assert_eq!(application.hear(traffic::LIMIT).await, Some(4));
    let begin = Instant::now();
    while !stage
        .log_so_far(index)
        .contains("datagrams get no answer any more")
    {
        assert!(
            begin.elapsed() < Duration::from_secs(15),
            "it is not noticed"
        );
        assert_eq!(heard(&application).await, first);
        sleep(Duration::from_millis(500)).await;
    }
    assert_eq!(heard(&application).await, first);
    target.send_to(b"back", first).await.expect("UDP sends");
    assert_eq!(application.hear(traffic::LIMIT).await, Some(4));
}

/// An application with one port, which asks by SOCKS when it names its target.
struct Application {
    socket: UdpSocket,
    at: SocketAddr,
    to: Option<SocketAddr>,
}

impl Application {
    async fn new(at: SocketAddr, to: Option<SocketAddr>) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
        Self { socket, at, to }
    }

    async fn send(&self, data: &[u8]) {
        let data = match self.to {
            Some(to) => traffic::datagram(&To::Ip(to), data),
            None => data.to_vec(),
        };
        self.socket
            .send_to(&data, self.at)
            .await
            .expect("UDP sends");
    }

    /// The length of what comes back.
    async fn hear(&self, limit: Duration) -> Option<usize> {
        let mut buf = [0; 8192];
        let n = timeout(limit, self.socket.recv(&mut buf)).await.ok()?;
        let header = if self.to.is_some() { 10 } else { 0 };
        Some(n.expect("UDP receives") - header)
    }

    async fn ask(&self, data: &[u8]) -> Option<usize> {
        self.send(data).await;
        self.hear(Duration::from_millis(500)).await
    }

    /// Answers come, something too long is sent or answered, and some seconds later answers come again.
    async fn lives_again(&self, up: bool) {
        let begin = Instant::now();
        while self.ask(b"word").await.is_none() {
            assert!(begin.elapsed() < traffic::LIMIT, "nothing comes through");
        }
        if up {
            self.ask(&[b'x'; LONG]).await;
        } else {
            self.ask(LONG.to_string().as_bytes()).await;
        }
        self.is_answered_soon().await;
    }

    /// The first datagram of all is too long.
    async fn begins_too_long(&self) {
        self.ask(&[b'x'; LONG]).await;
        self.is_answered_soon().await;
    }

    async fn is_answered_soon(&self) {
        let begin = Instant::now();
        // What was on its way may still come.
        while self.hear(Duration::from_millis(300)).await.is_some() {}
        while self.ask(b"word").await != Some(4) {
            let waited = begin.elapsed();
            assert!(waited < Duration::from_secs(12), "deaf for {waited:?}");
        }
    }
}

/// A client with a SOCKS inbound and a door to a target of its own; where that door is, and a port that shows
/// that it is open.
async fn client(vmess: &Vmess, socks: u16, server: u16) -> (Value, SocketAddr, u16) {
    let (door, gate) = (free_port(), free_port());
    let mut config = vmess.client(Mobula, socks, server);
    let inbounds = config["inbounds"].as_array_mut().expect("a list");
    inbounds.push(json!({
        "listen": "127.0.0.1", "port": door, "protocol": "dokodemo-door",
        "settings": {"address": "127.0.0.1", "port": target().await.port(), "network": "udp"},
    }));
    inbounds.push(json!({"listen": "127.0.0.1", "port": gate, "protocol": "http"}));
    (config, (Ipv4Addr::LOCALHOST, door).into(), gate)
}

/// Sends datagrams back, and for one that is a number as many bytes.
async fn target() -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
    let at = socket.local_addr().expect("a socket has an address");
    tokio::spawn(async move {
        let mut buf = vec![0; 8192];
        while let Ok((n, from)) = socket.recv_from(&mut buf).await {
            let number = str::from_utf8(&buf[..n])
                .ok()
                .and_then(|text| text.parse().ok());
            let answer = match number {
                Some(len) => vec![b'x'; len],
                None => buf[..n].to_vec(),
            };
            let _ = socket.send_to(&answer, from).await;
        }
    });
    at
}

/// Several servers of one outbound take turns, for datagrams as for streams.
#[tokio::test]
async fn servers_take_turns_for_datagrams_too() {
    for protocol in ["socks", "vmess"] {
        let mut servers = Vec::new();
        for _ in 0..2 {
            servers.push(listen());
        }
        let ports = [0, 1].map(|n: usize| servers[n].local_addr().unwrap().port());
        let one = |port: u16| match protocol {
            "socks" => json!({"address": "127.0.0.1", "port": port}),
            _ => {
                json!({"address": "127.0.0.1", "port": port, "users": [{"id": Uuid::new_v4().to_string()}]})
            }
        };
        let key = if protocol == "socks" {
            "servers"
        } else {
            "vnext"
        };
        let socks = free_port();
        let config = json!({
            "log": {"loglevel": "warning"},
            "inbounds": [{"listen": "127.0.0.1", "port": socks, "protocol": "socks", "settings": {"udp": true}}],
            "outbounds": [{"protocol": protocol, "settings": {key: ports.map(one)}}],
        });
        let mut stage = Stage::new();
        stage.run(Mobula, "client", &config, &[socks]).await;
        let mut came = [0, 0];
        for n in 0..10 {
            let (_association, relay) = traffic::associate(socks).await;
            let application = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            let to = To::Ip(SocketAddr::from(([192, 0, 2, 1], 53)));
            let datagram = traffic::datagram(&to, b"anything");
            application.send_to(&datagram, relay).await.unwrap();
            let turn = timeout(Duration::from_secs(10), async {
                tokio::select! {
                    _ = servers[0].accept() => 0,
                    _ = servers[1].accept() => 1,
                }
            });
            came[turn
                .await
                .unwrap_or_else(|_| panic!("{protocol}: nobody was asked for {n}"))] += 1;
        }
        assert_eq!(came, [5, 5], "{protocol}");
    }
}
