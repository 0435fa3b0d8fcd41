//! Shadowsocks with V2Ray, sing-box, mihomo and shadowsocks-libev at the other end.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use crate::configs::{Certificate, SERVER_NAME};
use crate::peers::Peer::{self, Mihomo, Mobula, SingBox, V2ray434, V2ray445};
use crate::peers::{Stage, free_port, listen, system};
use crate::traffic::{self, LIMIT, To};
use crate::tunnel::EIGHT_MIB;

/// What both ends of a tunnel agree on.
#[derive(Clone, Debug)]
struct Shadow {
    method: &'static str,
    /// The server's, or that of all.
    password: &'static str,
    /// Of 2022: a key of the client's own, behind the server's.
    user: Option<&'static str>,
    /// V2Ray's `streamSettings`, as the server and the client have them.
    stream: Option<(Value, Value)>,
    /// Further keys of the client's outbound.
    outbound: Value,
}

const PASSWORD: &str = "holdout password, ü";
const KEY: &str = "bCPY1dHSOODxnklfEDPYLA==";
const USER: &str = "gXMF4/c4QtBepX8hONnSrA==";
const LONG: &str = "bCPY1dHSOODxnklfEDPYLPpFv6HX/WpPEElNoxWBBpw=";
const LONG_USER: &str = "gXMF4/c4QtBepX8hONnSrLjpY7w95D4hSs0nLjUBL0U=";

const METHODS: [&str; 3] = ["aes-128-gcm", "aes-256-gcm", "chacha20-ietf-poly1305"];

const PAIRS: [(Peer, Peer); 9] = [
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

/// V2Ray 4 has nothing of 2022.
const PAIRS_2022: [(Peer, Peer); 5] = [
    (SingBox, Mobula),
    (Mihomo, Mobula),
    (Mobula, SingBox),
    (Mobula, Mihomo),
    (Mobula, Mobula),
];

impl Shadow {
    fn aead(method: &'static str) -> Self {
        Self {
            method,
            password: PASSWORD,
            user: None,
            stream: None,
            outbound: json!({}),
        }
    }

    fn blake3(method: &'static str) -> Self {
        let password = match method {
            "2022-blake3-aes-128-gcm" => KEY,
            _ => LONG,
        };
        Self {
            password,
            ..Self::aead(method)
        }
    }

    /// With an identity header.
    fn for_users(method: &'static str) -> Self {
        let user = match method {
            "2022-blake3-aes-128-gcm" => USER,
            _ => LONG_USER,
        };
        Self {
            user: Some(user),
            ..Self::blake3(method)
        }
    }

    fn client_password(&self) -> String {
        match self.user {
            Some(user) => format!("{}:{user}", self.password),
            None => self.password.to_owned(),
        }
    }

    /// Shadowsocks in, freedom out.
    fn server(&self, peer: Peer, port: u16) -> Value {
        let Self {
            method, password, ..
        } = self;
        if peer == Mihomo {
            assert!(self.user.is_none(), "it serves one user");
            let listener = json!({
                "name": "in", "type": "shadowsocks", "listen": "127.0.0.1", "port": port,
                "cipher": method, "password": password, "udp": true,
            });
            return json!({"mode": "direct", "ipv6": false, "listeners": [listener]});
        }
        if !peer.reads_v2ray_json() {
            let mut inbound = json!({
                "type": "shadowsocks", "listen": "127.0.0.1", "listen_port": port,
                "method": method, "password": password,
            });
            if let Some(user) = self.user {
                inbound["users"] = json!([{"name": "other", "password": other(user)},
                    {"name": "a", "password": user}]);
            }
            return json!({"inbounds": [inbound], "outbounds": [{"type": "direct"}]});
        }
        let mut settings = json!({
            "method": method, "password": password, "network": "tcp,udp", "email": "a@mobula.test",
        });
        if let Some(user) = self.user {
            settings["clients"] = json!([
                {"password": other(user), "email": "other@mobula.test"},
                {"password": user, "email": "a@mobula.test"},
            ]);
        }
        let mut inbound = json!({
            "listen": "127.0.0.1", "port": port, "protocol": "shadowsocks", "settings": settings,
        });
        if let Some((server, _)) = &self.stream {
            inbound["streamSettings"] = server.clone();
        }
        json!({
            "log": {"loglevel": "info", "access": "access.log"},
            "policy": {"levels": {"0": {"uplinkOnly": 5, "downlinkOnly": 5}}},
            "inbounds": [inbound],
            "outbounds": [{"protocol": "freedom"}],
        })
    }

    /// SOCKS in, Shadowsocks out.
    fn client(&self, peer: Peer, socks: u16, server: u16) -> Value {
        let (method, password) = (self.method, self.client_password());
        if peer == Mihomo {
            let proxy = json!({
                "name": "out", "type": "ss", "server": "127.0.0.1", "port": server,
                "cipher": method, "password": password, "udp": true,
            });
            return json!({
                "socks-port": socks, "bind-address": "127.0.0.1", "ipv6": false,
                "proxies": [proxy], "rules": ["MATCH,out"],
            });
        }
        if !peer.reads_v2ray_json() {
            let outbound = json!({
                "type": "shadowsocks", "server": "127.0.0.1", "server_port": server,
                "method": method, "password": password,
            });
            return json!({
                "inbounds": [{"type": "socks", "listen": "127.0.0.1", "listen_port": socks}],
                "outbounds": [outbound],
            });
        }
        let mut outbound = json!({
            "protocol": "shadowsocks",
            "settings": {"servers": [
                {"address": "127.0.0.1", "port": server, "method": method, "password": password},
            ]},
        });
        if let Some((_, client)) = &self.stream {
            outbound["streamSettings"] = client.clone();
        }
        for (key, value) in self.outbound.as_object().expect("keys of an outbound") {
            outbound[key] = value.clone();
        }
        json!({
            "log": {"loglevel": "debug"},
            "policy": {"levels": {"0": {"uplinkOnly": 5, "downlinkOnly": 5}}},
            "inbounds": [{
                "listen": "127.0.0.1", "port": socks, "protocol": "socks",
                "settings": {"auth": "noauth", "udp": true, "ip": "127.0.0.1"},
            }],
            "outbounds": [outbound],
        })
    }
}

/// The key of somebody else.
fn other(user: &str) -> &'static str {
    match user.len() {
        24 => "AAECAwQFBgcICQoLDA0ODw==",
        _ => "AAECAwQFBgcICQoLDA0ODwABAgMEBQYHCAkKCwwNDg8=",
    }
}

/// A running pair.
struct Tunnel {
    socks: u16,
    server: u16,
    /// Keeps both running.
    _stage: Stage,
}

impl Tunnel {
    async fn start(client: Peer, server: Peer, shadow: &Shadow) -> Self {
        println!("{client:?} to {server:?}, {shadow:?}");
        let (mut stage, port, socks) = (Stage::new(), free_port(), free_port());
        let config = shadow.server(server, port);
        stage.run(server, "server", &config, &[port]).await;
        let config = shadow.client(client, socks, port);
        stage.run(client, "client", &config, &[socks]).await;
        Self {
            socks,
            server: port,
            _stage: stage,
        }
    }

    async fn carries_streams(&self) {
        traffic::ready(self.socks).await;
        traffic::word(self.socks, &To::Ip(traffic::echo().await)).await;
        let port = traffic::echo().await.port();
        traffic::word(self.socks, &To::Name("localhost", port)).await;
        traffic::server_speaks_first(self.socks).await;
        traffic::both_ways(self.socks, EIGHT_MIB).await;
        traffic::target_sends_and_closes(self.socks).await;
    }

    async fn carries_all(&self) {
        self.carries_streams().await;
        traffic::datagrams(self.socks, &[1, 60, 512, 1200, 1400]).await;
    }
}

async fn each(pairs: &[(Peer, Peer)], shadow: &Shadow) {
    for (client, server) in pairs {
        Tunnel::start(*client, *server, shadow)
            .await
            .carries_all()
            .await;
    }
}

#[tokio::test]
async fn passwords() {
    for method in METHODS {
        each(&PAIRS, &Shadow::aead(method)).await;
    }
}

/// mihomo does not serve it.
#[tokio::test]
async fn nothing_sealed() {
    let none = Shadow::aead("none");
    for (client, server) in PAIRS.into_iter().filter(|pair| pair.1 != Mihomo) {
        let tunnel = Tunnel::start(client, server, &none).await;
        if matches!(client, V2ray445 | SingBox) {
            // They say nothing before their application has, so targets that speak first are not heard.
            let echo = To::Ip(traffic::echo().await);
            traffic::word(tunnel.socks, &echo).await;
            traffic::both_ways(tunnel.socks, EIGHT_MIB).await;
            traffic::target_sends_and_closes(tunnel.socks).await;
            traffic::datagrams(tunnel.socks, &[1, 1400]).await;
        } else {
            tunnel.carries_all().await;
        }
    }
}

#[tokio::test]
async fn keys_of_2022() {
    for method in [
        "2022-blake3-aes-128-gcm",
        "2022-blake3-aes-256-gcm",
        "2022-blake3-chacha20-poly1305",
    ] {
        each(&PAIRS_2022, &Shadow::blake3(method)).await;
    }
}

#[tokio::test]
async fn several_users_of_2022() {
    let pairs = PAIRS_2022.into_iter().filter(|pair| pair.1 != Mihomo);
    let pairs: Vec<_> = pairs.collect();
    for method in ["2022-blake3-aes-128-gcm", "2022-blake3-aes-256-gcm"] {
        each(&pairs, &Shadow::for_users(method)).await;
    }
}

#[tokio::test]
async fn datagrams_of_any_size_to_any_peer() {
    for shadow in [
        Shadow::aead("aes-128-gcm"),
        Shadow::aead("none"),
        Shadow::for_users("2022-blake3-aes-128-gcm"),
        Shadow::blake3("2022-blake3-chacha20-poly1305"),
    ] {
        let tunnel = Tunnel::start(Mobula, Mobula, &shadow).await;
        traffic::ready(tunnel.socks).await;
        traffic::datagrams(tunnel.socks, &[1, 1400, 9000, 60_000]).await;
        traffic::full_cone(tunnel.socks).await;
        if shadow.method != "none" {
            let tunnel = Tunnel::start(SingBox, Mobula, &shadow).await;
            traffic::full_cone(tunnel.socks).await;
            let tunnel = Tunnel::start(Mobula, SingBox, &shadow).await;
            traffic::full_cone(tunnel.socks).await;
        }
    }
}

/// V2Ray's `streamSettings` under it; datagrams go beside them.
#[tokio::test]
async fn over_ws_and_tls() {
    let pairs = [
        (V2ray434, Mobula),
        (V2ray445, Mobula),
        (Mobula, V2ray434),
        (Mobula, V2ray445),
        (Mobula, Mobula),
    ];
    for (client, server) in pairs {
        for (network, security) in [("ws", "none"), ("tcp", "tls"), ("ws", "tls")] {
            let stage = Stage::new();
            let certificate = Certificate::new(&stage);
            let stream = |tls: Value| {
                json!({
                    "network": network, "security": security, "tlsSettings": tls,
                    "wsSettings": {"path": "/ray"},
                })
            };
            let own = json!({"certificates": [
                {"certificateFile": certificate.chain, "keyFile": certificate.key},
            ]});
            let other = json!({
                "serverName": SERVER_NAME, "disableSystemRoot": true,
                "certificates": [{"usage": "verify", "certificateFile": certificate.authority}],
            });
            let shadow = Shadow {
                stream: Some((stream(own), stream(other))),
                ..Shadow::aead("chacha20-poly1305")
            };
            let tunnel = Tunnel::start(client, server, &shadow).await;
            tunnel.carries_all().await;
        }
    }
}

/// A proxy that is gone through carries the datagrams too.
#[tokio::test]
async fn through_another_outbound() {
    for method in ["aes-256-gcm", "2022-blake3-aes-256-gcm"] {
        let shadow = match method {
            "aes-256-gcm" => Shadow::aead(method),
            _ => Shadow::for_users(method),
        };
        let (mut stage, port, inner, socks) = (Stage::new(), free_port(), free_port(), free_port());
        let server = shadow.server(Mobula, port);
        stage.run(Mobula, "server", &server, &[port]).await;
        let first = Shadow::aead("aes-128-gcm");
        let server = first.server(V2ray445, inner);
        stage.run(V2ray445, "first", &server, &[inner]).await;
        let mut client = shadow.client(Mobula, socks, port);
        client["outbounds"][0]["proxySettings"] = json!({"tag": "first"});
        let mut through = first.client(Mobula, 0, inner)["outbounds"][0].clone();
        through["tag"] = json!("first");
        client["outbounds"].as_array_mut().unwrap().push(through);
        stage.run(Mobula, "client", &client, &[socks]).await;
        let tunnel = Tunnel {
            socks,
            server: port,
            _stage: stage,
        };
        tunnel.carries_all().await;
    }
}

#[tokio::test]
async fn sessions_share_connections_and_so_does_udp() {
    for (client, server) in [
        (V2ray445, Mobula),
        (Mobula, V2ray445),
        (Mobula, SingBox),
        (Mobula, Mobula),
    ] {
        let shadow = Shadow {
            outbound: json!({"mux": {"enabled": true, "concurrency": 8}}),
            ..Shadow::aead("aes-128-gcm")
        };
        if server == SingBox {
            // It has no word for it.
            continue;
        }
        let tunnel = Tunnel::start(client, server, &shadow).await;
        tunnel.carries_all().await;
        assert!(crate::peers::connections(tunnel.server) <= 2);
    }
}

#[tokio::test]
async fn two_hundred_connections_at_once() {
    for shadow in [
        Shadow::aead("aes-128-gcm"),
        Shadow::for_users("2022-blake3-aes-128-gcm"),
    ] {
        for (client, server) in [(SingBox, Mobula), (Mobula, SingBox), (Mobula, Mobula)] {
            let tunnel = Tunnel::start(client, server, &shadow).await;
            traffic::ready(tunnel.socks).await;
            traffic::many(tunnel.socks, 200).await;
        }
    }
}

/// An application that ends its direction has its answer all the same.
#[tokio::test]
async fn an_answer_comes_behind_the_end_of_the_question() {
    for (shadow, pairs) in [
        (Shadow::aead("aes-128-gcm"), &PAIRS[..]),
        (Shadow::blake3("2022-blake3-aes-128-gcm"), &PAIRS_2022),
    ] {
        // sing-box gives up both directions.
        for (client, server) in pairs.iter().filter(|(client, _)| *client != SingBox) {
            let tunnel = Tunnel::start(*client, *server, &shadow).await;
            traffic::ready(tunnel.socks).await;
            traffic::target_answers_late(tunnel.socks).await;
        }
    }
}

/// Debian's programs, which know AEAD.
#[tokio::test]
async fn shadowsocks_libev() {
    for method in METHODS {
        let (mut stage, port, own, socks) = (Stage::new(), free_port(), free_port(), free_port());
        let shadow = Shadow {
            password: "a password",
            ..Shadow::aead(method)
        };
        let server = shadow.server(Mobula, port);
        stage.run(Mobula, "server", &server, &[port]).await;
        let mut libev = system("ss-local");
        libev.args(["-s", "127.0.0.1", "-p", &port.to_string()]);
        libev.args(["-b", "127.0.0.1", "-l", &own.to_string()]);
        libev.args(["-k", shadow.password, "-m", method, "-u"]);
        stage.start("ss-local", &mut libev, &[own]).await;
        let client = Tunnel {
            socks: own,
            server: port,
            _stage: stage,
        };
        client.carries_all().await;

        let (mut stage, port) = (Stage::new(), free_port());
        let mut libev = system("ss-server");
        libev.args(["-s", "127.0.0.1", "-p", &port.to_string()]);
        libev.args(["-k", shadow.password, "-m", method, "-u"]);
        stage.start("ss-server", &mut libev, &[port]).await;
        let client = shadow.client(Mobula, socks, port);
        stage.run(Mobula, "client", &client, &[socks]).await;
        let server = Tunnel {
            socks,
            server: port,
            _stage: stage,
        };
        server.carries_all().await;
    }
}

/// What a client sends first, as it stands on the wire.
async fn recorded(client: Peer, shadow: &Shadow) -> Vec<u8> {
    let listener = listen();
    let (mut stage, socks) = (Stage::new(), free_port());
    let port = listener.local_addr().unwrap().port();
    let config = shadow.client(client, socks, port);
    stage.run(client, "recorded", &config, &[socks]).await;
    let to = To::Ip(traffic::echo().await);
    let mut application = traffic::connect(socks, &to).await.unwrap();
    application.write_all(b"a word").await.unwrap();
    let (mut stream, _) = timeout(LIMIT, listener.accept()).await.unwrap().unwrap();
    let mut flight = Vec::new();
    let wait = Duration::from_millis(600);
    while let Ok(Ok(1..)) = timeout(wait, stream.read_buf(&mut flight)).await {}
    assert!(flight.len() > 50);
    flight
}

/// What a server answers to `flight` within a while; `None` where it stays open and says nothing.
async fn answered(port: u16, flight: &[u8]) -> Option<usize> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    stream.write_all(flight).await.unwrap();
    let mut buf = [0; 1000];
    let answer = timeout(Duration::from_secs(2), stream.read(&mut buf)).await;
    answer.ok().map(|read| read.unwrap_or(0))
}

/// Neither a flight that came before nor one with another password is answered, nor is it closed at a moment that tells
/// them apart: all are read on until the time of a handshake is up.
#[tokio::test]
async fn what_is_refused_is_read_on_without_a_word() {
    for shadow in [
        Shadow::aead("aes-256-gcm"),
        Shadow::blake3("2022-blake3-aes-256-gcm"),
        Shadow::blake3("2022-blake3-chacha20-poly1305"),
        Shadow::for_users("2022-blake3-aes-128-gcm"),
    ] {
        println!("{shadow:?}");
        let (mut stage, port) = (Stage::new(), free_port());
        let mut config = shadow.server(Mobula, port);
        config["policy"] = json!({"levels": {"0": {"handshake": 6}}});
        stage.run(Mobula, "server", &config, &[port]).await;
        let flight = recorded(SingBox, &shadow).await;
        let first = answered(port, &flight).await;
        assert!(first.is_some_and(|n| n > 0), "the first time it is");
        assert_eq!(answered(port, &flight).await, None, "and no second time");
        stage
            .until_file_has("access.log", "salt was sent before")
            .await;
        let wrong = Shadow {
            password: match shadow.password {
                PASSWORD => "another",
                password => other(password),
            },
            ..shadow.clone()
        };
        let flight = recorded(Mobula, &wrong).await;
        let began = Instant::now();
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        stream.write_all(&flight).await.unwrap();
        // It goes on reading, however much comes.
        for _ in 0..3 {
            tokio::time::sleep(Duration::from_millis(300)).await;
            stream.write_all(&[7; 100_000]).await.unwrap();
        }
        let end = timeout(LIMIT, stream.read(&mut [0])).await.unwrap();
        assert!(matches!(end, Ok(0)), "it ends in order: {end:?}");
        let waited = began.elapsed();
        assert!(
            (5..9).contains(&waited.as_secs()),
            "with the time of a handshake, after {waited:?}"
        );
        let reason = match shadow.user {
            Some(_) => "no user has this identity",
            None => "no key opens the beginning",
        };
        stage.until_file_has("access.log", reason).await;
    }
}

/// The client's log tells what silence may mean.
#[tokio::test]
async fn another_password_is_guessed_at() {
    let shadow = Shadow::aead("aes-128-gcm");
    let (mut stage, port, socks) = (Stage::new(), free_port(), free_port());
    let server = shadow.server(V2ray445, port);
    stage.run(V2ray445, "server", &server, &[port]).await;
    let wrong = Shadow {
        password: "another",
        ..shadow
    };
    let client = wrong.client(Mobula, socks, port);
    stage.run(Mobula, "client", &client, &[socks]).await;
    let to = To::Ip(traffic::echo().await);
    let mut application = traffic::connect(socks, &to).await.unwrap();
    application.write_all(b"a word").await.unwrap();
    let log = stage
        .until_file_has("client.log", "has it the same method and password?")
        .await;
    assert!(!log.contains("another"), "no password in a log");
}

/// Each user of one port has their own name in the access log, over TCP and over UDP.
#[tokio::test]
async fn users_are_told_apart() {
    let methods = [
        ("2022-blake3-aes-128-gcm", KEY, [USER, other(USER)]),
        ("aes-128-gcm", PASSWORD, ["ann's", "bob's"]),
    ];
    for (method, password, keys) in methods {
        let shadow = |user| match method {
            "aes-128-gcm" => Shadow {
                password: user,
                ..Shadow::aead(method)
            },
            _ => Shadow {
                user: Some(user),
                ..Shadow::for_users(method)
            },
        };
        let (mut stage, port) = (Stage::new(), free_port());
        let mut config = shadow(keys[0]).server(Mobula, port);
        config["inbounds"][0]["settings"] = json!({
            "method": method, "password": password, "network": "tcp,udp",
            "clients": [
                {"password": keys[0], "email": "ann@mobula.test"},
                {"password": keys[1], "email": "bob@mobula.test"},
            ],
        });
        stage.run(Mobula, "server", &config, &[port]).await;
        for (peer, key, name) in [
            (SingBox, keys[0], "ann@mobula.test"),
            (Mihomo, keys[1], "bob@mobula.test"),
        ] {
            let socks = free_port();
            let config = shadow(key).client(peer, socks, port);
            stage.run(peer, name, &config, &[socks]).await;
            traffic::ready(socks).await;
            traffic::word(socks, &To::Ip(traffic::echo().await)).await;
            traffic::datagrams(socks, &[100, 1200]).await;
            for network in ["tcp", "udp"] {
                let accepted = format!("accepted {network}:");
                let user = format!("email: {name}");
                stage
                    .until_line_has("access.log", &[&accepted, &user])
                    .await;
            }
        }
    }
}
