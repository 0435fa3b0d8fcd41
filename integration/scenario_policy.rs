//! What `policy` allows: how long a session may be silent, and how long a handshake may take.
//!
//! V2Ray looks once in every period whether anything has moved since it looked last, and so ends a silent
//! session after one to two periods; we end it after one.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::{sleep, timeout};

use crate::configs::Vmess;
use crate::peers::Peer::{self, Mobula, V2ray445};
use crate::peers::{Stage, free_port, listen};
use crate::traffic::{self, LIMIT, To};

/// Both keep V2Ray's word.
const SERVERS: [Peer; 2] = [Mobula, V2ray445];

#[tokio::test]
async fn a_silent_session_ends_and_one_that_speaks_does_not() {
    for server in SERVERS {
        println!("{server:?}");
        let place = Place::start(server, json!({"0": {"connIdle": 2}}), |_| {}).await;
        let mut silent = place.connect(&To::Ip(traffic::echo().await)).await;
        let mut speaks = place.connect(&To::Ip(traffic::echo().await)).await;
        traffic::exchange(&mut silent, b"a word").await;
        let since = Instant::now();
        for _ in 0..6 {
            traffic::exchange(&mut speaks, b"a word").await;
            sleep(Duration::from_secs(1)).await;
        }
        let took = end(&mut silent, since).await;
        // The end was there long before it was read.
        assert!(took < Duration::from_secs(7), "{took:?}");
        traffic::exchange(&mut speaks, b"a word").await;
        let took = end(&mut speaks, Instant::now()).await;
        let expected = Duration::from_millis(1900)..Duration::from_secs(6);
        assert!(expected.contains(&took), "{took:?}");
    }
}

#[tokio::test]
async fn the_level_of_either_end_counts() {
    let short = json!({"7": {"connIdle": 1}});
    let user: fn(&mut Value) = |config| {
        config["inbounds"][0]["settings"]["clients"][0]["level"] = json!(7);
    };
    let freedom: fn(&mut Value) = |config| {
        config["outbounds"][0]["settings"] = json!({"userLevel": 7});
    };
    for level in [user, freedom] {
        let place = Place::start(Mobula, short.clone(), level).await;
        let mut stream = place.connect(&To::Ip(traffic::echo().await)).await;
        traffic::exchange(&mut stream, b"a word").await;
        let took = end(&mut stream, Instant::now()).await;
        assert!(took < Duration::from_secs(4), "{took:?}");
    }
}

#[tokio::test]
async fn an_answer_comes_within_the_time_that_a_half_closed_session_has() {
    for server in SERVERS {
        println!("{server:?}");
        let place = Place::start(server, json!({"0": {"downlinkOnly": 2}}), |_| {}).await;
        assert_eq!(place.answer_after(Duration::from_secs(1)).await, b"answer");
        assert_eq!(place.answer_after(Duration::from_secs(5)).await, b"");
    }
}

#[tokio::test]
async fn without_any_time_a_half_closed_session_ends_at_once() {
    for server in SERVERS {
        println!("{server:?}");
        let place = Place::start(server, json!({"0": {"downlinkOnly": 0}}), |_| {}).await;
        let began = Instant::now();
        assert_eq!(place.answer_after(Duration::from_secs(5)).await, b"");
        assert!(began.elapsed() < Duration::from_secs(3));
    }
}

/// The application never ends its direction.
#[tokio::test]
async fn a_target_that_has_ended_is_let_go() {
    for server in SERVERS {
        println!("{server:?}");
        let place = Place::start(server, json!({"0": {"uplinkOnly": 2}}), |_| {}).await;
        let listener = listen();
        let at = listener.local_addr().expect("an address");
        let mut application = place.connect(&To::Ip(at)).await;
        application.write_all(b"question").await.expect("sent");
        let (mut target, _) = listener.accept().await.expect("the server dials");
        target.read_exact(&mut [0; 8]).await.expect("a question");
        target.write_all(b"answer").await.expect("sent");
        target.shutdown().await.expect("our way is open");
        let took = end(&mut target, Instant::now()).await;
        let expected = Duration::from_millis(1900)..Duration::from_secs(4);
        assert!(expected.contains(&took), "{took:?}");
        let mut answer = [0; 6];
        application.read_exact(&mut answer).await.expect("answered");
        assert_eq!(&answer, b"answer");
    }
}

/// The session would be allowed longer: the link as a whole is not.
#[tokio::test]
async fn a_silent_mux_link_ends_with_its_sessions() {
    for server in SERVERS {
        println!("{server:?}");
        let levels = json!({"7": {"connIdle": 2}});
        let vmess = Vmess {
            outbound: json!({"mux": {"enabled": true}}),
            ..Vmess::ws()
        };
        let place = Place::start_with(&vmess, server, levels, |config| {
            config["inbounds"][0]["settings"]["clients"][0]["level"] = json!(7);
        })
        .await;
        let mut stream = place.connect(&To::Ip(traffic::echo().await)).await;
        traffic::exchange(&mut stream, b"a word").await;
        let took = end(&mut stream, Instant::now()).await;
        let expected = Duration::from_millis(1900)..Duration::from_secs(7);
        assert!(expected.contains(&took), "{took:?}");
    }
}

#[tokio::test]
async fn a_silent_association_is_forgotten() {
    let place = Place::start(Mobula, json!({"0": {"connIdle": 1}}), |_| {}).await;
    let (_association, relay) = traffic::associate(place.socks).await;
    let target = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
    let at = target.local_addr().expect("an address");
    let ours = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
    let datagram = traffic::datagram(&To::Ip(at), b"a word");
    let from = async || {
        ours.send_to(&datagram, relay).await.expect("sent");
        let received = timeout(LIMIT, target.recv_from(&mut [0; 64])).await;
        received.expect("in time").expect("it arrives").1
    };
    let first: SocketAddr = from().await;
    assert_eq!(from().await, first);
    sleep(Duration::from_millis(2500)).await;
    assert_ne!(from().await, first, "a new socket");
}

#[tokio::test]
async fn a_handshake_has_its_time() {
    let mut stage = Stage::new();
    let (socks, http, vmess) = (free_port(), free_port(), free_port());
    let inbound = |port, protocol, settings| json!({"listen": "127.0.0.1", "port": port, "protocol": protocol, "settings": settings});
    let id = crate::configs::ID;
    let config = json!({
        "policy": {"levels": {"0": {"handshake": 1}, "7": {"handshake": 2}}},
        "inbounds": [
            inbound(vmess, "vmess", json!({"clients": [{"id": id, "level": 7}]})),
            inbound(socks, "socks", json!({"userLevel": 7})),
            inbound(http, "http", json!({"userLevel": 7})),
        ],
        "outbounds": [{"protocol": "freedom"}],
    });
    stage
        .run(Mobula, "server", &config, &[vmess, socks, http])
        .await;
    for (port, begun, limit) in [
        (vmess, &b"\x05"[..], 1),
        (socks, b"\x05", 2),
        (http, b"GET", 2),
    ] {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.expect("open");
        stream.write_all(begun).await.expect("sent");
        let since = Instant::now();
        // HTTP has a word for it, the others say nothing.
        let read = timeout(LIMIT, stream.read_to_end(&mut Vec::new())).await;
        let _ = read.expect("an end in time");
        let took = since.elapsed();
        let limit = Duration::from_secs(limit);
        let expected = limit - Duration::from_millis(100)..limit + Duration::from_millis(900);
        assert!(expected.contains(&took), "{port}: {took:?}");
    }
}

/// The server takes the connection and says nothing.
#[tokio::test]
async fn a_proxys_answer_has_its_time() {
    let silent = listen();
    let to = silent.local_addr().expect("an address");
    let mut stage = Stage::new();
    for protocol in ["socks", "http"] {
        let port = free_port();
        let config = json!({
            "policy": {"levels": {"7": {"handshake": 1}}},
            "inbounds": [{"listen": "127.0.0.1", "port": port, "protocol": "socks"}],
            "outbounds": [{"protocol": protocol, "settings": {"servers": [{
                "address": "127.0.0.1", "port": to.port(),
                "users": [{"user": "a", "pass": "b", "level": 7}],
            }]}}],
        });
        stage.run(Mobula, protocol, &config, &[port]).await;
        let begin = Instant::now();
        let error = traffic::connect(port, &To::Ip(to)).await.unwrap_err();
        assert_eq!(error.to_string(), "SOCKS says 6", "that nobody answers");
        let took = begin.elapsed();
        let expected = Duration::from_millis(900)..Duration::from_secs(3);
        assert!(expected.contains(&took), "{protocol}: {took:?}");
    }
}

/// V2Ray 5's key.
#[tokio::test]
async fn the_access_log_names_what_was_found_when_told_to() {
    let mut stage = Stage::new();
    let port = free_port();
    let config = json!({
        "log": {"access": "access.log"},
        "policy": {"system": {"overrideAccessLogDest": true}},
        "inbounds": [{
            "listen": "127.0.0.1", "port": port, "protocol": "socks",
            "sniffing": {"enabled": true, "destOverride": ["http"]},
        }],
        "outbounds": [{"tag": "away", "protocol": "blackhole"}],
    });
    stage.run(Mobula, "server", &config, &[port]).await;
    let to = To::Ip(SocketAddr::from(([192, 0, 2, 1], 80)));
    let mut stream = traffic::connect(port, &to).await.expect("SOCKS");
    let request = b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n";
    stream.write_all(request).await.expect("sent");
    let line = "accepted tcp:a.example:80 [away]";
    stage.until_file_has("access.log", line).await;
}

/// A tunnel whose client allows everything, so that the server alone decides.
struct Place {
    socks: u16,
    _stage: Stage,
}

impl Place {
    async fn start(server: Peer, levels: Value, change: fn(&mut Value)) -> Self {
        Self::start_with(&Vmess::ws(), server, levels, change).await
    }

    async fn start_with(
        vmess: &Vmess,
        server: Peer,
        levels: Value,
        change: fn(&mut Value),
    ) -> Self {
        let mut stage = Stage::new();
        let (port, socks) = (free_port(), free_port());
        let mut config = vmess.server(server, port);
        config["policy"] = json!({"levels": levels});
        change(&mut config);
        stage.run(server, "server", &config, &[port]).await;
        let mut config = vmess.client(Mobula, socks, port);
        let patient = json!({"connIdle": 100, "uplinkOnly": 100, "downlinkOnly": 100});
        config["policy"] = json!({"levels": {"0": patient}});
        stage.run(Mobula, "client", &config, &[socks]).await;
        Self {
            socks,
            _stage: stage,
        }
    }

    async fn connect(&self, to: &To) -> TcpStream {
        traffic::connect(self.socks, to)
            .await
            .expect("SOCKS connects")
    }

    /// What an application that has ended its direction hears of a target that takes its time.
    async fn answer_after(&self, wait: Duration) -> Vec<u8> {
        let listener = listen();
        let at = listener.local_addr().expect("an address");
        let mut application = self.connect(&To::Ip(at)).await;
        application.write_all(b"question").await.expect("sent");
        application.shutdown().await.expect("our way is open");
        let target = tokio::spawn(async move {
            let (mut target, _) = listener.accept().await.expect("the server dials");
            target.read_exact(&mut [0; 8]).await.expect("a question");
            sleep(wait).await;
            // Nobody may be there any more.
            let _ = target.write_all(b"answer").await;
            let _ = target.shutdown().await;
            sleep(Duration::from_millis(100)).await;
        });
        let mut answer = Vec::new();
        let read = timeout(LIMIT, application.read_to_end(&mut answer)).await;
        // A session that is cut off may look like an error.
        let _ = read.expect("an end in time");
        target.abort();
        answer
    }
}

/// How long it takes until nothing more comes; a reset is an end.
async fn end(stream: &mut TcpStream, since: Instant) -> Duration {
    let read = timeout(LIMIT, stream.read(&mut [0; 16])).await;
    let n = read.expect("an end in time").unwrap_or(0);
    assert_eq!(n, 0, "nothing comes before the end");
    since.elapsed()
}
