//! Balancers that go by what an observatory sees: VMess servers that die, come back and are slow.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt, split};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::sleep;

use crate::configs::{Certificate, ID, saying};
use crate::peers::{Peer, Stage, free_port, listen};
use crate::traffic::{self, To};

/// Sessions to this port end up where the server says its name.
pub const SAY: u16 = 7;

/// How long it may take until sessions go elsewhere: V2Ray dials a dead server five times.
pub const PATIENCE: Duration = Duration::from_secs(15);

#[tokio::test]
async fn sessions_go_to_the_fastest_server_that_answers_as_in_v2ray() {
    for peer in [Peer::Mobula, Peer::V2ray445] {
        println!("{peer:?}");
        let mut stage = Stage::new();
        let (site, asked) = site(None).await;
        let (_, slow) = server(&mut stage, "way-slow").await;
        let (fast, port) = server(&mut stage, "way-fast").await;
        let near = behind(slow, [Duration::from_millis(150); 2]).await;
        let socks = free_port();
        let mut config = client(
            socks,
            &[("way-fast", port), ("way-slow", near)],
            &json!({"type": "leastPing"}),
        )
        .await;
        config["observatory"] = json!({
            "subjectSelector": ["way-"],
            "probeURL": format!("http://{site}/probe"), "probeInterval": "100ms"
        });
        stage.run(peer, "client", &config, &[socks]).await;
        until_fast_then_slow_then_fast(&mut stage, socks, fast, port).await;
        assert!(asked.load(Ordering::Relaxed) > 3);
        let log = stage.until_file_has("access.log", "accepted").await;
        assert!(log.contains(&format!("example.com:{SAY}")), "{log}");
        let probed = format!(":{}", site.port());
        assert!(!log.contains(&probed), "probes are no sessions: {log}");
    }
}

/// As Xray does and v2rayN asks for: the fastest is known at once, however long the interval is.
#[tokio::test]
async fn all_outbounds_may_be_asked_at_once() {
    let mut stage = Stage::new();
    let (site, _) = site(None).await;
    let (_, slow) = server(&mut stage, "way-a-slow").await;
    let (_, port) = server(&mut stage, "way-z-fast").await;
    let near = behind(slow, [Duration::from_millis(150); 2]).await;
    let socks = free_port();
    let ways = [
        ("way-a-slow", near),
        ("way-b-dead", 1),
        ("way-z-fast", port),
    ];
    let mut config = client(socks, &ways, &json!({"type": "leastPing"})).await;
    config["observatory"] = json!({
        "subjectSelector": ["way-"], "enableConcurrency": true,
        "probeURL": format!("http://{site}/probe"), "probeInterval": "1h"
    });
    stage.run(Peer::Mobula, "client", &config, &[socks]).await;
    until_said(socks, "way-z-fast").await;
}

#[tokio::test]
async fn without_a_living_server_the_first_outbound_carries_as_in_v2ray() {
    for (peer, fallback, expected) in [
        (Peer::Mobula, json!(null), "first"),
        (Peer::V2ray445, json!(null), "first"),
        (Peer::Mobula, json!("spare"), "spare"),
    ] {
        let mut stage = Stage::new();
        let (site, asked) = site(None).await;
        let (running, port) = server(&mut stage, "way-1").await;
        let socks = free_port();
        let mut config = client(socks, &[("way-1", port)], &json!({"type": "leastPing"})).await;
        config["routing"]["balancers"][0]["fallbackTag"] = fallback;
        config["observatory"] = json!({
            "subjectSelector": ["way-"],
            "probeURL": format!("http://{site}/probe"), "probeInterval": "100ms"
        });
        stage.run(peer, "client", &config, &[socks]).await;
        until_said(socks, "way-1").await;
        stage.child(running).signal("KILL");
        stage.child(running).ended(PATIENCE).await;
        until_said(socks, expected).await;
        assert!(asked.load(Ordering::Relaxed) > 0);
    }
}

#[tokio::test]
async fn datagrams_of_an_association_go_elsewhere_when_their_server_dies() {
    let mut stage = Stage::new();
    let (site, _) = site(None).await;
    let (one, port_one) = server(&mut stage, "way-1").await;
    let (_, port_two) = server(&mut stage, "way-2").await;
    let slow = behind(port_two, [Duration::from_millis(150); 2]).await;
    let socks = free_port();
    let ways = [("way-1", port_one), ("way-2", slow)];
    let mut config = client(socks, &ways, &json!({"type": "leastPing"})).await;
    config["inbounds"][0]["settings"] = json!({"udp": true});
    config["routing"]["rules"][0]["network"] = json!("tcp,udp");
    config["observatory"] = json!({
        "subjectSelector": ["way-"],
        "probeURL": format!("http://{site}/probe"), "probeInterval": "100ms"
    });
    stage.run(Peer::Mobula, "client", &config, &[socks]).await;
    until_said(socks, "way-1").await;
    let (_association, relay) = traffic::associate(socks).await;
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
    let target = traffic::udp_echo().await;
    let datagram = traffic::datagram(&To::Ip(target), b"a word");
    let mut buf = [0; 100];
    traffic::answered(&socket, relay, &datagram, &mut buf).await;
    stage.child(one).signal("KILL");
    stage.child(one).ended(PATIENCE).await;
    until_said(socks, "way-2").await;
    traffic::answered(&socket, relay, &datagram, &mut buf).await;
    for tag in ["way-1", "way-2"] {
        let line = format!("accepted udp:{target} [{tag}]");
        stage.until_file_has("access.log", &line).await;
    }
}

#[tokio::test]
async fn the_steadiest_server_carries_the_least_load() {
    let mut stage = Stage::new();
    let (site, _) = site(None).await;
    let (_, one) = server(&mut stage, "way-1").await;
    let (_, two) = server(&mut stage, "way-2").await;
    let shaky = behind(one, [Duration::ZERO, Duration::from_millis(200)]).await;
    let steady = behind(two, [Duration::from_millis(20); 2]).await;
    let socks = free_port();
    let strategy = json!({"type": "leastLoad", "settings": {"expected": 1, "maxRTT": "1s"}});
    let mut config = client(socks, &[("way-1", shaky), ("way-2", steady)], &strategy).await;
    config["burstObservatory"] = json!({
        "subjectSelector": ["way-"],
        "pingConfig": {
            "destination": format!("http://{site}/"), "interval": "150ms", "sampling": 6, "timeout": "2s"
        }
    });
    stage.run(Peer::Mobula, "client", &config, &[socks]).await;
    until_said(socks, "way-2").await;
    // A round later each has as many samples as are kept.
    sleep(Duration::from_secs(2)).await;
    for _ in 0..5 {
        assert_eq!(said(socks).await, "way-2");
    }
}

#[tokio::test]
async fn a_dead_network_is_not_a_dead_outbound() {
    let mut stage = Stage::new();
    let (site, _) = site(None).await;
    let (nowhere, gone) = (free_port(), free_port());
    let socks = free_port();
    let strategy = json!({"type": "random", "settings": {"aliveOnly": true, "observerTag": "x"}});
    let mut config = client(socks, &[("way-1", gone)], &strategy).await;
    config["log"]["loglevel"] = json!("info");
    let observer = |tag: &str, port: u16| {
        json!({"type": "burst", "tag": tag, "settings": {
            "subjectSelector": ["way-"],
            "pingConfig": {
                "destination": format!("http://{site}/"), "interval": "300ms",
                "connectivity": format!("http://127.0.0.1:{port}/")
            }
        }})
    };
    config["multiObservatory"] =
        json!({"observers": [observer("x", site.port()), observer("y", nowhere)]});
    let index = stage.run(Peer::Mobula, "client", &config, &[socks]).await;
    until_said(socks, "first").await;
    let log = stage
        .until_file_has("client.log", "the network is down")
        .await;
    let dead = log.matches("the outbound `way-1` is dead").count();
    assert_eq!(dead, 1, "only one observer could tell: {log}");
    stage.child(index).signal("TERM");
    stage.child(index).ended(PATIENCE).await;
}

#[tokio::test]
async fn a_probe_of_an_https_url_checks_the_certificate() {
    let mut stage = Stage::new();
    let certificate = Certificate::new(&stage);
    let (site, _) = site(Some(&certificate)).await;
    let mut config = client(free_port(), &[], &json!("random")).await;
    config["log"]["loglevel"] = json!("info");
    config["observatory"] = json!({
        "subjectSelector": ["first"], "probeInterval": "100ms",
        "probeURL": format!("https://localhost:{}/", site.port())
    });
    config["routing"] = json!({});
    config["outbounds"][0] = json!({"tag": "first", "protocol": "freedom"});
    let cases = [
        (
            Some(certificate.authority.as_path()),
            "the outbound `first` is alive",
        ),
        (None, "the outbound `first` is dead: nobody we believe"),
    ];
    for (authority, expected) in cases {
        let index = stage
            .run_believing(authority, Peer::Mobula, "client", &config, &[])
            .await;
        stage.until_file_has("client.log", expected).await;
        stage.child(index).signal("TERM");
        stage.child(index).ended(PATIENCE).await;
    }
}

/// SOCKS in; out by what the balancer chooses among `ways`, which are VMess servers.
async fn client(socks: u16, ways: &[(&str, u16)], strategy: &Value) -> Value {
    let mut outbounds = vec![saying("first").await, saying("spare").await];
    for (tag, port) in ways {
        outbounds.push(json!({
            "tag": tag, "protocol": "vmess",
            "settings": {"vnext": [{"address": "127.0.0.1", "port": port, "users": [{"id": ID}]}]},
            "streamSettings": {"network": "ws", "wsSettings": {"path": "/ray"}},
        }));
    }
    json!({
        "log": {"loglevel": "warning", "access": "access.log"},
        "inbounds": [{"listen": "127.0.0.1", "port": socks, "protocol": "socks"}],
        "outbounds": outbounds,
        "routing": {
            "rules": [{"type": "field", "network": "tcp", "balancerTag": "ways"}],
            "balancers": [{"tag": "ways", "selector": ["way-"], "strategy": strategy}]
        }
    })
}

/// A VMess server that tells sessions to port [`SAY`] its name; its child and its port.
pub async fn server(stage: &mut Stage, name: &str) -> (usize, u16) {
    let port = free_port();
    (run_server(stage, name, port).await, port)
}

pub async fn run_server(stage: &mut Stage, name: &str, port: u16) -> usize {
    let config = json!({
        "inbounds": [{
            "listen": "127.0.0.1", "port": port, "protocol": "vmess",
            "settings": {"clients": [{"id": ID}]},
            "streamSettings": {"network": "ws", "wsSettings": {"path": "/ray"}}
        }],
        "outbounds": [
            {"protocol": "freedom"},
            saying(name).await
        ],
        "routing": {"rules": [{"type": "field", "port": SAY, "outboundTag": name}]}
    });
    stage.run(Peer::V2ray445, name, &config, &[port]).await
}

/// Sessions keep to `way-fast` while it lives, go to `way-slow` when it is killed, and are back when it runs on its `port` again.
pub async fn until_fast_then_slow_then_fast(stage: &mut Stage, socks: u16, fast: usize, port: u16) {
    until_said(socks, "way-fast").await;
    for _ in 0..5 {
        assert_eq!(said(socks).await, "way-fast");
    }
    stage.child(fast).signal("KILL");
    stage.child(fast).ended(PATIENCE).await;
    until_said(socks, "way-slow").await;
    run_server(stage, "way-fast", port).await;
    until_said(socks, "way-fast").await;
}

/// A web site that says nothing, and how often it was asked.
pub async fn site(tls: Option<&Certificate>) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = listen();
    let at = listener.local_addr().expect("a listener has an address");
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let tls = tls.map(|certificate| certificate.acceptor(&[]));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (count, tls) = (count.clone(), tls.clone());
            tokio::spawn(async move {
                match tls {
                    Some(tls) => answer(tls.accept(stream).await?, &count).await,
                    None => answer(stream, &count).await,
                }
            });
        }
    });
    (at, asked)
}

async fn answer<S>(mut stream: S, count: &AtomicUsize) -> std::io::Result<()>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    count.fetch_add(1, Ordering::Relaxed);
    let answer =
        b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    stream.write_all(answer).await?;
    stream.shutdown().await
}

/// A way to `port` on which what comes back takes a while: each connection the next of `delays`.
pub async fn behind(port: u16, delays: [Duration; 2]) -> u16 {
    let turns = AtomicUsize::new(0);
    behind_for(port, move || {
        delays[turns.fetch_add(1, Ordering::Relaxed) % delays.len()]
    })
    .await
}

/// The same, each connection as long as `delay` says when it comes.
pub async fn behind_for(port: u16, delay: impl Fn() -> Duration + Send + 'static) -> u16 {
    let listener = listen();
    let at = listener.local_addr().expect("a listener has an address");
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let delay = delay();
            tokio::spawn(async move {
                let far = TcpStream::connect(("127.0.0.1", port)).await?;
                let ((mut near_read, mut near_write), (mut far_read, mut far_write)) =
                    (split(near), split(far));
                let up = async {
                    tokio::io::copy(&mut near_read, &mut far_write).await?;
                    far_write.shutdown().await
                };
                let down = async {
                    let mut buf = [0; 4096];
                    loop {
                        let n = far_read.read(&mut buf).await?;
                        sleep(delay).await;
                        if n == 0 {
                            return near_write.shutdown().await;
                        }
                        near_write.write_all(&buf[..n]).await?;
                    }
                };
                tokio::try_join!(up, down)
            });
        }
    });
    at.port()
}

/// Who carries a session.
pub async fn said(socks: u16) -> String {
    traffic::line(socks, &To::Name("example.com", SAY)).await
}

pub async fn until_said(socks: u16, expected: &str) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let said = said(socks).await;
        if said == expected {
            return;
        }
        assert!(Instant::now() < deadline, "`{said}`, not `{expected}`");
        sleep(Duration::from_millis(50)).await;
    }
}
