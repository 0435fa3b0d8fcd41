//! Sniffing: sessions to an address are led by the name in their first bytes, as in V2Ray.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UdpSocket;
use tokio::time::timeout;

use crate::configs::{Vmess, decided_alike, saying};
use crate::peers::{Peer, Stage, free_port, system};
use crate::traffic::{self, To};

/// Where nobody lives: only an outbound that redirects can be reached with it.
const NOWHERE: [u8; 4] = [198, 51, 100, 1];

const TAGS: [&str; 6] = ["default", "name", "address", "http", "tls", "bittorrent"];

#[tokio::test]
async fn what_is_found_leads_as_in_v2ray() {
    let probes = probes();
    let ours = decisions(Peer::Mobula, &probes).await;
    let theirs = decisions(Peer::V2ray445, &probes).await;
    assert_eq!(ours.len(), 2 * probes.len());
    decided_alike(&ours, &theirs, &TAGS);
}

/// In V2Ray these are nothing: a hello in more records than one, a request and a hello without a name, and
/// what is not sniffed is waited for.
#[tokio::test]
async fn more_is_found_than_by_v2ray_and_sooner() {
    let message = &hello(Some("a.example"), 0)[5..];
    let (a, b) = message.split_at(40);
    let probes = vec![
        ("two records", vec![[record(a), record(b)].concat()]),
        ("four kilobytes", vec![hello(Some("a.example"), 4000)]),
        (
            "ten kilobytes",
            hello(Some("a.example"), 10_000)
                .chunks(1400)
                .map(Vec::from)
                .collect(),
        ),
        ("no name", vec![hello(None, 0)]),
        ("no host", vec![request("Accept: */*")]),
    ];
    let lines = decisions(Peer::Mobula, &probes).await;
    assert_eq!(
        lines,
        [
            "two records by name",
            "two records by tls",
            "four kilobytes by name",
            "four kilobytes by tls",
            "ten kilobytes by name",
            "ten kilobytes by tls",
            "no name by tls",
            "no name by tls",
            "no host by http",
            "no host by http",
        ]
    );
}

/// Each probe by an inbound that takes names over, and by one that only looks.
async fn decisions(peer: Peer, probes: &[(&str, Vec<Vec<u8>>)]) -> Vec<String> {
    let mut stage = Stage::new();
    let ports = [free_port(), free_port()];
    let mut outbounds = Vec::new();
    for tag in TAGS {
        outbounds.push(saying(tag).await);
    }
    let inbound = |port: u16, over: Value| {
        json!({
            "listen": "127.0.0.1", "port": port, "protocol": "socks",
            "sniffing": {"enabled": true, "destOverride": over}
        })
    };
    let rule = |key: &str, value: &str, tag: &str| json!({"type": "field", key: [value], "outboundTag": tag});
    let config = json!({
        "log": {"access": "access.log"},
        "inbounds": [inbound(ports[0], json!(["http", "tls"])), inbound(ports[1], json!([]))],
        "outbounds": outbounds,
        "routing": {"rules": [
            rule("domain", "regexp:^a\\.example\\.?$", "name"),
            rule("ip", "192.0.2.7", "address"),
            rule("protocol", "http", "http"),
            rule("protocol", "tls", "tls"),
            rule("protocol", "bittorrent", "bittorrent"),
        ]}
    });
    stage.run(peer, "peer", &config, &ports).await;
    let mut lines = Vec::new();
    for (name, parts) in probes {
        for port in ports {
            lines.push(format!("{name} by {}", said(port, parts).await));
        }
    }
    // What was asked for is what the access log says, whatever took its place.
    let log = stage.until_file_has("access.log", " [name]").await;
    let asked = log
        .lines()
        .filter(|line| line.contains("accepted tcp:198.51.100.1:443 ["));
    assert_eq!(asked.count(), log.lines().count(), "{log}");
    lines
}

/// What the server says that a connection ends up with whose client sends `parts`.
async fn said(socks: u16, parts: &[Vec<u8>]) -> String {
    let talk = async {
        let mut stream = traffic::connect(socks, &To::Ip((NOWHERE, 443).into())).await?;
        for (i, part) in parts.iter().enumerate() {
            if i > 0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            stream.write_all(part).await?;
        }
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).await?;
        Ok::<_, std::io::Error>(line.trim_end().to_owned())
    };
    let talked = timeout(traffic::LIMIT, talk).await;
    talked.expect("an end in time").unwrap_or_default()
}

fn probes() -> Vec<(&'static str, Vec<Vec<u8>>)> {
    let whole = hello(Some("a.example"), 0);
    let mut probes = vec![
        ("silence", vec![]),
        ("a banner", vec![b"SSH-2.0-x\r\n".to_vec()]),
        ("noise", vec![vec![b'x'; 3000]]),
        (
            "a torrent",
            vec![[&b"\x13BitTorrent protocol"[..], &[0; 48]].concat()],
        ),
        ("a hello", vec![whole.clone()]),
        (
            "a cut hello",
            vec![whole[..30].to_vec(), whole[30..].to_vec()],
        ),
        (
            "a hello cut early",
            vec![whole[..3].to_vec(), whole[3..].to_vec()],
        ),
        (
            "a cut request",
            vec![b"GE".to_vec(), request("Host: a.example")[2..].to_vec()],
        ),
    ];
    for name in ["b.example", "A.Example", "192.0.2.7", "", "a b"] {
        probes.push(("a hello for another", vec![hello(Some(name), 0)]));
    }
    for host in [
        "a.example",
        "A.EXAMPLE:8080",
        "a.example.",
        "b.example",
        "192.0.2.7",
        "192.0.2.7:81",
        "[2001:db8::1]:80",
        "a b",
    ] {
        probes.push(("a request", vec![request(&format!("Host: {host}"))]));
    }
    for method in [
        "get", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "CONNECT", "PATCH", "TRACE",
    ] {
        let request = format!("{method} / HTTP/1.1\r\nHost: a.example\r\n\r\n");
        probes.push(("a method", vec![request.into_bytes()]));
    }
    probes
}

fn request(header: &str) -> Vec<u8> {
    format!("GET /a HTTP/1.1\r\nAccept: */*\r\n{header}\r\n\r\n").into_bytes()
}

/// A ClientHello, with `padding` bytes in an extension before the name.
fn hello(name: Option<&str>, padding: usize) -> Vec<u8> {
    let sized = |data: &[u8]| {
        let len = u16::try_from(data.len()).expect("short").to_be_bytes();
        [&len[..], data].concat()
    };
    let mut extensions = [&[0, 21][..], &sized(&vec![0; padding])].concat();
    if let Some(name) = name {
        let list = sized(&[&[0][..], &sized(name.as_bytes())].concat());
        extensions.extend([&[0, 0][..], &sized(&list)].concat());
    }
    let body = [&[3; 34][..], &[0, 0, 2, 0x13, 1, 1, 0], &sized(&extensions)].concat();
    let len = u32::try_from(body.len()).expect("short").to_be_bytes();
    record(&[&[1][..], &len[1..], &body].concat())
}

fn record(part: &[u8]) -> Vec<u8> {
    let len = u16::try_from(part.len()).expect("short").to_be_bytes();
    [&[22, 3, 1], &len[..], part].concat()
}

#[tokio::test]
async fn a_server_that_speaks_first_waits_no_longer_than_with_v2ray() {
    let mut delays = Vec::new();
    for peer in [Peer::Mobula, Peer::V2ray445] {
        let mut stage = Stage::new();
        let (server, socks) = (free_port(), free_port());
        let vmess = Vmess::ws();
        let config = vmess.server(peer, server);
        stage.run(peer, "server", &config, &[server]).await;
        let mut config = vmess.client(peer, socks, server);
        config["inbounds"][0]["sniffing"] =
            json!({"enabled": true, "destOverride": ["http", "tls"]});
        stage.run(peer, "client", &config, &[socks]).await;
        let mut shortest = Duration::MAX;
        let greeter = To::Ip(traffic::greeter().await);
        for _ in 0..5 {
            let mut stream = traffic::connect(socks, &greeter)
                .await
                .expect("SOCKS connects");
            let since = Instant::now();
            stream.read_u8().await.expect("a greeting");
            shortest = shortest.min(since.elapsed());
        }
        delays.push(shortest);
        traffic::server_speaks_first(socks).await;
        traffic::both_ways(socks, 1024 * 1024).await;
    }
    println!("{delays:?}");
    // V2Ray waits for a first payload of VMess as well, a hundred milliseconds more.
    assert!(delays[0] < delays[1], "{delays:?}");
    // The 200 ms begin a little before we hear that the proxy has connected.
    assert!(delays[0] >= Duration::from_millis(190), "{delays:?}");
}

#[tokio::test]
async fn what_was_looked_at_arrives_first_and_whole() {
    let mut stage = Stage::new();
    let (server, socks) = (free_port(), free_port());
    let vmess = Vmess::ws();
    stage
        .run(
            Peer::V2ray445,
            "server",
            &vmess.server(Peer::V2ray445, server),
            &[server],
        )
        .await;
    let mut config = vmess.client(Peer::Mobula, socks, server);
    config["inbounds"][0]["sniffing"] = json!({"enabled": true});
    stage.run(Peer::Mobula, "client", &config, &[socks]).await;
    let to = To::Ip(traffic::echo().await);
    for first in [
        hello(Some("localhost"), 5000),
        request("Host: localhost"),
        b"short".to_vec(),
        hello(None, 30_000),
    ] {
        let mut stream = traffic::connect(socks, &to).await.expect("SOCKS connects");
        traffic::exchange(&mut stream, &[first, traffic::bytes(100_000)].concat()).await;
    }
}

#[tokio::test]
async fn quic_is_led_by_its_name_and_answered_from_the_address_that_was_asked() {
    let vectors = vectors();
    let mut stage = Stage::new();
    let socks = free_port();
    let named = traffic::udp_echo().await;
    let config = json!({
        "log": {"access": "access.log"},
        "inbounds": [{
            "listen": "127.0.0.1", "port": socks, "protocol": "socks", "settings": {"udp": true},
            "sniffing": {"enabled": true, "destOverride": ["quic"]}
        }],
        "outbounds": [
            {"tag": "blocked", "protocol": "blackhole"},
            {"tag": "named", "protocol": "freedom", "settings": {"redirect": named.to_string()}}
        ],
        "routing": {"rules": [
            {"type": "field", "domain": ["full:example.com"], "protocol": ["quic"], "outboundTag": "named"},
            {"type": "field", "protocol": ["bittorrent"], "outboundTag": "named"}
        ]}
    });
    stage.run(Peer::Mobula, "mobula", &config, &[socks]).await;
    let (_association, relay) = traffic::associate(socks).await;
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
    let mut buf = vec![0; 2048];
    let syn = [
        &[0x41, 0, 7, 7, 1, 2, 3, 4],
        &[0; 4][..],
        &[0, 16, 0, 0, 0, 1, 0, 0],
    ]
    .concat();
    let flights = [
        vec![packet(&vectors["v1"])],
        vec![packet(&vectors["v2"]), b"and what follows".to_vec()],
        vec![packet(&vectors["split"][0]), packet(&vectors["split"][1])],
        vec![syn],
    ];
    for (port, flight) in (443..).zip(flights) {
        let to = To::Ip((NOWHERE, port).into());
        for data in &flight {
            socket
                .send_to(&traffic::datagram(&to, data), relay)
                .await
                .expect("UDP sends");
        }
        for data in &flight {
            let answer = timeout(traffic::LIMIT, socket.recv(&mut buf)).await;
            let n = answer.expect("an answer in time").expect("an answer");
            // freedom that redirects a datagram without a name says where the answer came from.
            assert_eq!(buf[10..n], data[..]);
            if port != 446 {
                assert_eq!(buf[..n], traffic::datagram(&to, data));
            }
        }
        let line = format!("accepted udp:198.51.100.1:{port} [named]");
        stage.until_file_has("access.log", &line).await;
    }
    let half = traffic::datagram(
        &To::Ip((NOWHERE, 500).into()),
        &packet(&vectors["split"][0]),
    );
    socket.send_to(&half, relay).await.expect("UDP sends");
    stage
        .until_file_has("access.log", "udp:198.51.100.1:500 [blocked]")
        .await;
    let noise = traffic::datagram(&To::Ip((NOWHERE, 53).into()), b"\x12\x34\x01\x00\x00\x01");
    socket.send_to(&noise, relay).await.expect("UDP sends");
    stage
        .until_file_has("access.log", "udp:198.51.100.1:53 [blocked]")
        .await;
}

fn vectors() -> Value {
    serde_json::from_str(include_str!("../testdata/vectors/quic.json")).expect("JSON")
}

fn packet(hex: &Value) -> Vec<u8> {
    let hex = hex.as_str().expect("hex");
    let digits = |i: usize| u8::from_str_radix(&hex[i..i + 2], 16).expect("hex");
    (0..hex.len()).step_by(2).map(digits).collect()
}

#[tokio::test]
async fn names_go_through_the_tunnel() {
    let hello = hello(Some("localhost"), 2000);
    for mux in [
        json!({}),
        json!({"mux": {"enabled": true, "xudpConcurrency": 8}}),
    ] {
        println!("{mux}");
        let mut stage = Stage::new();
        let (server, socks) = (free_port(), free_port());
        let vmess = Vmess {
            outbound: mux,
            ..Vmess::ws()
        };
        let mut config = vmess.server(Peer::Mobula, server);
        let echo = traffic::udp_echo().await.to_string();
        config["outbounds"] = json!([
            {"tag": "direct", "protocol": "freedom"},
            {"tag": "named", "protocol": "freedom", "settings": {"redirect": echo}}
        ]);
        config["routing"] = json!({"rules": [
            {"type": "field", "domain": ["full:example.com"], "outboundTag": "named"}
        ]});
        stage.run(Peer::Mobula, "server", &config, &[server]).await;
        let mut config = vmess.client(Peer::Mobula, socks, server);
        config["inbounds"][0]["sniffing"] =
            json!({"enabled": true, "destOverride": ["tls", "quic"]});
        stage.run(Peer::Mobula, "client", &config, &[socks]).await;

        let at = traffic::echo().await;
        let mut stream = traffic::connect(socks, &To::Ip(at))
            .await
            .expect("SOCKS connects");
        traffic::exchange(&mut stream, &hello).await;
        let line = format!("accepted tcp:localhost:{} [direct]", at.port());
        stage.until_file_has("access.log", &line).await;

        let (_association, relay) = traffic::associate(socks).await;
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
        let mut buf = vec![0; 2048];
        // Two destinations by one name, each with answers of its own.
        let datagrams = [1, 2].map(|last| {
            let to = To::Ip(([198, 51, 100, last], 8443).into());
            traffic::datagram(&to, &packet(&vectors()["v1"]))
        });
        for _ in 0..3 {
            for datagram in &datagrams {
                socket.send_to(datagram, relay).await.expect("UDP sends");
            }
            let mut answers = Vec::new();
            for _ in &datagrams {
                let answer = timeout(traffic::LIMIT, socket.recv(&mut buf)).await;
                let n = answer.expect("an answer in time").expect("an answer");
                answers.push(buf[..n].to_vec());
            }
            answers.sort();
            assert!(answers == datagrams, "each is answered from its address");
        }
        stage
            .until_file_has("access.log", "accepted udp:example.com:8443 [named]")
            .await;
    }
}

/// Chromium's hellos: post-quantum keys, names of extensions by chance, and over QUIC shuffled pieces in
/// two datagrams.
#[tokio::test]
async fn the_names_a_browser_asks_for_are_found() {
    let mut stage = Stage::new();
    let (tls, quic) = (free_port(), free_port());
    let inbound = |port: u16, network: &str| {
        json!({
            "listen": "127.0.0.1", "port": port, "protocol": "dokodemo-door",
            "settings": {"address": "198.51.100.1", "port": 443, "network": network},
            "sniffing": {"enabled": true, "destOverride": ["tls", "quic"]}
        })
    };
    let rule = |protocol: &str, name: &str| json!({"type": "field", "protocol": [protocol], "domain": [format!("full:{name}")], "outboundTag": protocol});
    let config = json!({
        "log": {"access": "access.log"},
        "inbounds": [inbound(tls, "tcp"), inbound(quic, "udp")],
        "outbounds": [
            {"tag": "other", "protocol": "blackhole"},
            {"tag": "tls", "protocol": "blackhole"},
            {"tag": "quic", "protocol": "blackhole"}
        ],
        "routing": {"rules": [rule("tls", "tls.mobula.test"), rule("quic", "quic.mobula.test")]}
    });
    stage.run(Peer::Mobula, "mobula", &config, &[tls]).await;
    let profile = stage.path("profile");
    for (name, port, line) in [
        ("tls", tls, "accepted tcp:198.51.100.1:443 [tls]"),
        ("quic", quic, "accepted udp:198.51.100.1:443 [quic]"),
    ] {
        let mut command = system("chromium");
        command
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--no-first-run",
            ])
            .args([
                "--disable-background-networking",
                "--disable-component-update",
            ])
            .arg("--origin-to-force-quic-on=quic.mobula.test:443")
            .arg(format!(
                "--host-resolver-rules=MAP {name}.mobula.test:443 127.0.0.1:{port}"
            ))
            .arg(format!("--user-data-dir={}", profile.join(name).display()))
            .arg(format!("https://{name}.mobula.test/"));
        stage.start(name, &mut command, &[]).await;
        stage.until_file_has("access.log", line).await;
    }
}
