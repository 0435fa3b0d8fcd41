//! Strangers by the thousand: users get in, users stay in, and afterwards it is as if nobody had been there.

use std::net::Ipv4Addr;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::configs::{SERVER_NAME, Vmess};
use crate::peers::Peer::Mobula;
use crate::peers::{Peer, Stage, free_port};
use crate::traffic::{self, To};

/// An upgrade that the server of [`Vmess::ws`] accepts.
const UPGRADE: &[u8] =
    b"GET /ray HTTP/1.1\r\nHost: mobula.test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// The front of a ClientHello whose record says that it has 512 bytes.
const HALF_A_HELLO: &[u8] = &[
    0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc, 0x03, 0x03,
];

/// The test holds the other ends of all connections.
fn raise_own_limit() -> u64 {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).expect("a soft limit may be raised");
    hard
}

/// `peer`, told to run `config`, by a shell that sets limits first.
fn limited(stage: &Stage, peer: Peer, limits: &str, config: &Value) -> Command {
    let path = stage.write("limited.json", format!("{config:#}"));
    let run = peer.command(&path);
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("{limits}; exec \"$@\""), "sh"]);
    shell.arg(run.get_program()).args(run.get_args());
    shell
}

/// Connections to `port`, each of which says one of `words` and no more.
async fn strangers(port: u16, count: usize, words: &[&[u8]]) -> Vec<TcpStream> {
    let mut all = Vec::with_capacity(count);
    for n in 0..count {
        let connecting = TcpStream::connect((Ipv4Addr::LOCALHOST, port));
        let Ok(Ok(mut stream)) = timeout(Duration::from_secs(3), connecting).await else {
            continue;
        };
        let _ = stream.write_all(words[n % words.len()]).await;
        all.push(stream);
    }
    all
}

#[tokio::test]
async fn the_limit_of_open_files_is_raised_and_said() {
    let hard = raise_own_limit();
    let mut stage = Stage::new();
    let port = free_port();
    let mut config = Vmess::ws().server(Mobula, port);
    config["log"] = json!({"loglevel": "info"});
    for (limits, soft, said) in [
        (
            "ulimit -Sn 700".to_owned(),
            hard,
            format!("open files: the limit is raised from 700 to {hard}"),
        ),
        (
            "ulimit -n 700".to_owned(),
            700,
            "at most 700 files may be open".to_owned(),
        ),
    ] {
        let mut command = limited(&stage, Mobula, &limits, &config);
        let index = stage.start("limited", &mut command, &[port]).await;
        let log = stage.log(index);
        assert!(log.contains(&said), "`{said}` is not in the log:\n{log}");
        let child = stage.child(index);
        assert_eq!(child.open_files_limit(), soft);
        child.signal("TERM");
        child.ended(Duration::from_secs(5)).await;
    }
}

#[tokio::test]
async fn at_the_limit_strangers_give_way_and_users_do_not() {
    raise_own_limit();
    let to = To::Ip(traffic::echo().await);
    // Over TCP a stranger may be silent for a minute, over WebSocket for four seconds.
    for (vmess, words) in [
        (Vmess::tcp(), &[&b""[..], b"x", &[0; 40]][..]),
        (Vmess::ws(), &[&b""[..], &UPGRADE[..30], UPGRADE]),
    ] {
        let mut stage = Stage::new();
        let (server, socks) = (free_port(), free_port());
        let config = vmess.server(Mobula, server);
        let mut command = limited(&stage, Mobula, "ulimit -n 1024", &config);
        stage.start("server", &mut command, &[server]).await;
        let config = vmess.client(Mobula, socks, server);
        stage.run(Mobula, "client", &config, &[socks]).await;
        let mut running = Vec::new();
        for _ in 0..10 {
            let mut stream = traffic::connect(socks, &to).await.expect("SOCKS connects");
            traffic::exchange(&mut stream, b"before the flood").await;
            running.push(stream);
        }
        let flood = strangers(server, 1500, words).await;
        assert_eq!(flood.len(), 1500, "the backlog has room for them");
        for n in 0..6 {
            let began = Instant::now();
            traffic::word(socks, &to).await;
            let took = began.elapsed();
            assert!(took < Duration::from_secs(3), "session {n} took {took:?}");
        }
        for stream in &mut running {
            traffic::exchange(stream, b"after it").await;
        }
    }
}

/// One inbound of each kind that a stranger can reach.
fn all_kinds(stage: &Stage) -> (Value, Vec<(&'static str, u16)>) {
    let kinds = ["tcp", "ws", "wss", "socks", "http"];
    let ports = kinds.map(|kind| (kind, free_port()));
    let wss = Vmess::wss(stage);
    let inbounds = ports.map(|(kind, port)| {
        let vmess = match kind {
            "ws" => Vmess::ws(),
            "wss" => wss.clone(),
            _ => Vmess::tcp(),
        };
        match kind {
            "socks" | "http" => json!({"listen": "127.0.0.1", "port": port, "protocol": kind}),
            _ => vmess.server(Mobula, port)["inbounds"][0].clone(),
        }
    });
    let config = json!({
        "log": {"loglevel": "warning", "access": "none"},
        "inbounds": inbounds, "outbounds": [{"protocol": "freedom"}],
    });
    (config, ports.to_vec())
}

#[tokio::test]
async fn a_silent_connection_costs_at_most_6_kib() {
    raise_own_limit();
    let mut stage = Stage::new();
    let (config, ports) = all_kinds(&stage);
    let listening: Vec<u16> = ports.iter().map(|(_, port)| *port).collect();
    let index = stage.run(Mobula, "server", &config, &listening).await;
    drop(strangers(ports[0].1, 50, &[b"warm"]).await);
    const COUNT: usize = 800;
    let mut held = Vec::new();
    for (kind, port) in ports {
        sleep(Duration::from_millis(200)).await;
        let before = stage.child(index).resident_kib();
        held.push(strangers(port, COUNT, &[b""]).await);
        sleep(Duration::from_millis(300)).await;
        let grown = stage.child(index).resident_kib().saturating_sub(before);
        let each = grown as f64 / COUNT as f64;
        println!("{kind}: {each:.2} KiB for a silent connection");
        assert!(each <= 6.0, "{kind}: {each:.2} KiB for a silent connection");
    }
}

#[tokio::test]
async fn the_memory_of_a_flood_comes_back() {
    raise_own_limit();
    let mut stage = Stage::new();
    let (config, ports) = all_kinds(&stage);
    let listening: Vec<u16> = ports.iter().map(|(_, port)| *port).collect();
    let index = stage.run(Mobula, "server", &config, &listening).await;
    drop(strangers(ports[0].1, 50, &[b"warm"]).await);
    sleep(Duration::from_millis(500)).await;
    let before = stage.child(index).resident_kib();
    let mut held = Vec::new();
    for (kind, port) in ports {
        let words: &[&[u8]] = match kind {
            "tcp" => &[b"", &[7; 60], &[7; 3000]],
            "ws" => &[&UPGRADE[..60], UPGRADE, UPGRADE],
            "wss" => &[HALF_A_HELLO],
            "socks" => &[&[5, 1, 0]],
            _ => &[b"CONNECT mobula.test:443 HT"],
        };
        held.extend(strangers(port, 1000, words).await);
    }
    let peak = stage.child(index).resident_kib();
    assert!(
        peak > before + 16 * 1024,
        "{before} KiB, then {peak}: no flood"
    );
    drop(held);
    let over = Instant::now();
    let mut after = peak;
    while over.elapsed() < Duration::from_secs(60) {
        after = stage.child(index).resident_kib();
        if after <= before * 5 / 4 + 4 * 1024 {
            println!(
                "{before} KiB, {peak} KiB, and {after} KiB after {:?}",
                over.elapsed()
            );
            return;
        }
        sleep(Duration::from_millis(250)).await;
    }
    panic!("{before} KiB before the flood, {peak} KiB in it, {after} KiB a minute after it");
}

/// An opening of smux is eight bytes, and comes before anybody has said who he is.
#[tokio::test]
async fn streams_that_strangers_open_cost_little() {
    let mut stage = Stage::new();
    let (server, socks) = (free_port(), free_port());
    let mws = |mut config: Value, part: &str| {
        let stream = &mut config[part][0]["streamSettings"];
        stream["network"] = json!("mws");
        stream["mwsSettings"] = stream["wsSettings"].take();
        config
    };
    let config = mws(Vmess::ws().server(Mobula, server), "inbounds");
    let index = stage.run(Mobula, "server", &config, &[server]).await;
    let config = mws(Vmess::ws().client(Mobula, socks, server), "outbounds");
    stage.run(Mobula, "client", &config, &[socks]).await;
    let to = To::Ip(traffic::echo().await);
    traffic::word(socks, &to).await;

    let opening = |n: u32| [&[1, 0, 0, 0][..], &(2 * n + 1).to_le_bytes()].concat();
    let before = stage.child(index).resident_kib();
    let mut held = Vec::new();
    for mut stranger in strangers(server, 10, &[UPGRADE]).await {
        let mut answer = [0; 12];
        stranger.read_exact(&mut answer).await.expect("an answer");
        assert_eq!(&answer, b"HTTP/1.1 101");
        let flood = async {
            for first in (0..65_000).step_by(1000) {
                let frames: Vec<u8> = (first..first + 1000).flat_map(opening).collect();
                let len = u16::try_from(frames.len()).expect("it is short");
                let head = [&[0x82, 0xfe][..], &len.to_be_bytes(), &[0; 4]].concat();
                stranger.write_all(&[head, frames].concat()).await?;
            }
            std::io::Result::Ok(())
        };
        // It is not read to the end.
        let _ = timeout(Duration::from_secs(1), flood).await;
        held.push(stranger);
    }
    let grown = stage.child(index).resident_kib().saturating_sub(before);
    println!("{grown} KiB for 650,000 openings");
    assert!(grown < 40 * 1024, "{grown} KiB for 650,000 openings");
    // Who has logged in has as many as he wants.
    let mut all = Vec::new();
    for _ in 0..300 {
        all.push(traffic::connect(socks, &to).await.expect("a tunnel"));
    }
    for stream in &mut all {
        traffic::exchange(stream, b"a user's").await;
    }
}

/// An account of SOCKS takes three messages, and the first of a crowd come before the second of any.
#[tokio::test(flavor = "multi_thread")]
async fn a_user_may_begin_with_a_crowd() {
    let mut stage = Stage::new();
    let (server, socks) = (free_port(), free_port());
    let config = json!({
        "inbounds": [{"listen": "127.0.0.1", "port": server, "protocol": "socks", "streamSettings": {"network": "mws"},
            "settings": {"auth": "password", "accounts": [{"user": "ann", "pass": "sesame"}]}}],
        "outbounds": [{"protocol": "freedom"}],
    });
    stage.run(Mobula, "server", &config, &[server]).await;
    let config = json!({
        "inbounds": [{"listen": "127.0.0.1", "port": socks, "protocol": "socks"}],
        "outbounds": [{"protocol": "socks", "streamSettings": {"network": "mws"},
            "settings": {"servers": [{"address": "127.0.0.1", "port": server, "users": [{"user": "ann", "pass": "sesame"}]}]}}],
    });
    stage.run(Mobula, "client", &config, &[socks]).await;
    let to = traffic::echo().await;
    let mut crowd = tokio::task::JoinSet::new();
    for _ in 0..600 {
        crowd.spawn(async move {
            let mut stream = traffic::connect(socks, &To::Ip(to))
                .await
                .expect("a tunnel");
            traffic::exchange(&mut stream, b"one of many").await;
        });
    }
    let all = async {
        while crowd
            .join_next()
            .await
            .transpose()
            .expect("it is there")
            .is_some()
        {}
    };
    timeout(Duration::from_secs(15), all)
        .await
        .expect("in time");
}

/// A byte in time does not give a stranger a second turn.
#[tokio::test]
async fn time_runs_from_the_connection_whenever_the_first_byte_comes() {
    let mut stage = Stage::new();
    let (mut config, ports) = all_kinds(&stage);
    config["policy"] = json!({"levels": {"0": {"handshake": 4}}});
    let listening: Vec<u16> = ports.iter().map(|(_, port)| *port).collect();
    stage.run(Mobula, "server", &config, &listening).await;
    let mut waits = tokio::task::JoinSet::new();
    for (kind, port) in ports {
        // TLS has its own eight seconds.
        let limit = if kind == "wss" { 8 } else { 4 };
        let first = match kind {
            "wss" => 0x16,
            "socks" => 5,
            _ => b'G',
        };
        for pause in [None, Some(Duration::from_millis(2500))] {
            waits.spawn(async move {
                let began = Instant::now();
                let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await;
                let mut stream = stream.expect("mobula listens");
                if let Some(pause) = pause {
                    sleep(pause).await;
                    stream.write_all(&[first]).await.expect("it is open");
                }
                let end = timeout(Duration::from_secs(20), stream.read(&mut [0])).await;
                let end = end.expect("an end in time");
                let took = began.elapsed().as_secs_f64();
                let at = f64::from(limit);
                assert_eq!(end.unwrap_or(0), 0, "{kind} was answered");
                assert!(
                    took > at - 0.2 && took < at + 1.9,
                    "{kind}, first byte after {pause:?}: the end came after {took:.1} s, not {at}"
                );
            });
        }
    }
    while let Some(wait) = waits.join_next().await {
        wait.expect("the end comes when it should");
    }
}

/// A client that has just been started has its first user: what is done once is done by then.
#[tokio::test]
async fn a_first_tunnel_costs_little() {
    let to = To::Ip(traffic::echo().await);
    for (vmess, protocol) in [
        (Kind::Plain, "socks"),
        (Kind::Plain, "http"),
        (Kind::Tls, "socks"),
        (Kind::Tls, "http"),
    ] {
        let mut stage = Stage::new();
        let (server, port) = (free_port(), free_port());
        let vmess = match vmess {
            Kind::Plain => Vmess::ws(),
            Kind::Tls => Vmess::wss(&stage),
        };
        let config = vmess.server(Mobula, server);
        let serving = stage.run(Mobula, "server", &config, &[server]).await;
        let mut config = vmess.client(Mobula, port, server);
        config["inbounds"] = json!([{"listen": "127.0.0.1", "port": port, "protocol": protocol}]);
        // Several times as many authorities as a system has, so that reading them would show.
        let mut believed = String::new();
        if let Some(tls) = &vmess.tls {
            let ours = std::fs::read_to_string(&tls.authority).expect("the test wrote it");
            believed = ours + &authorities(3000);
            let stream = &mut config["outbounds"][0]["streamSettings"];
            stream["tlsSettings"] = json!({"serverName": SERVER_NAME});
        }
        let believed = stage.write("believed.pem", believed);
        let client = stage
            .run_believing(Some(&believed), Mobula, "client", &config, &[port])
            .await;
        for index in [serving, client] {
            settled(&mut stage, index).await;
        }
        let before = [serving, client].map(|index| stage.child(index).cpu());
        match protocol {
            "socks" => traffic::word(port, &to).await,
            _ => connect_by_http(port, &to).await,
        }
        for (index, before) in [serving, client].into_iter().zip(before) {
            let cost = stage.child(index).cpu() - before;
            let end = if index == client { "client" } else { "server" };
            println!("{vmess:?}, {protocol}: the first tunnel costs the {end} {cost:?}");
            assert!(
                cost <= Duration::from_millis(20),
                "{vmess:?}, {protocol}: the first tunnel costs the {end} {cost:?} of CPU"
            );
        }
    }
}

/// Certificates of `count` authorities that vouch for nobody.
fn authorities(count: usize) -> String {
    let key = KeyPair::generate().expect("a key");
    let certificate = |n: usize| {
        let mut authority = CertificateParams::default();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let name = format!("authority {n}");
        authority.distinguished_name.push(DnType::CommonName, name);
        authority.self_signed(&key).expect("a certificate").pem()
    };
    (0..count).map(certificate).collect()
}

enum Kind {
    Plain,
    Tls,
}

/// Waits until a program that was started has nothing more to do.
async fn settled(stage: &mut Stage, index: usize) {
    let mut last = stage.child(index).cpu();
    for _ in 0..100 {
        sleep(Duration::from_millis(300)).await;
        let now = stage.child(index).cpu();
        if now - last < Duration::from_millis(1) {
            return;
        }
        last = now;
    }
    panic!("it is never idle");
}

async fn connect_by_http(port: u16, to: &To) {
    let To::Ip(to) = to else {
        panic!("an address is asked for");
    };
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))
        .await
        .expect("mobula listens");
    let request = format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n\r\n");
    stream
        .write_all(request.as_bytes())
        .await
        .expect("it reads");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.expect("an answer"));
    }
    assert!(
        head.starts_with(b"HTTP/1.1 200"),
        "{:?}",
        String::from_utf8_lossy(&head)
    );
    traffic::exchange(&mut stream, b"a word").await;
}
