//! SIGHUP: the config is read again while tunnels of other programs run.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use crate::configs::{Certificate, ID, SERVER_NAME, Vmess};
use crate::panel::{ALTER, ANN, BOB, Panel, add_user, gets_through};
use crate::peers::Peer::{Mobula, SingBox, V2ray445};
use crate::peers::{Stage, free_port, listening, mobula, system};
use crate::traffic::{self, LIMIT, To};

/// A config, and the service that runs it.
struct Service {
    stage: Stage,
    index: usize,
    reloads: usize,
}

/// What a reload that went well says.
const DONE: &str = "the config was read again";

/// What one says that did not.
const UNDONE: &str = "the config was not taken over";

impl Service {
    async fn start(mut stage: Stage, config: &Value, ports: &[u16]) -> Self {
        let index = stage.run(Mobula, "server", config, ports).await;
        Self {
            stage,
            index,
            reloads: 0,
        }
    }

    /// Asks for it, and waits until it is said to be done; gives what was said since the start.
    async fn reload(&mut self, config: &Value) -> String {
        self.stage.write("server.json", format!("{config:#}"));
        self.signalled().await
    }

    async fn signalled(&mut self) -> String {
        self.reloads += 1;
        self.stage.child(self.index).signal("HUP");
        self.until_said(self.reloads).await
    }

    async fn until_said(&self, times: usize) -> String {
        let said = async {
            loop {
                let log = self.stage.log_so_far(self.index);
                if log.matches(DONE).count() + log.matches(UNDONE).count() >= times {
                    return log;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let said = timeout(LIMIT, said).await;
        said.unwrap_or_else(|_| panic!("no reload was said: {}", self.stage.log(self.index)))
    }
}

fn inbound(tag: &str, port: u16, ids: &[&str]) -> Value {
    let clients = ids.iter().enumerate();
    let clients = clients.map(|(n, id)| json!({"id": id, "email": format!("user{n}@{tag}")}));
    json!({
        "tag": tag, "listen": "127.0.0.1", "port": port, "protocol": "vmess",
        "settings": {"clients": clients.collect::<Vec<_>>()},
        "streamSettings": {"network": "ws", "wsSettings": {"path": "/ray"}},
    })
}

fn config(inbounds: &[Value]) -> Value {
    json!({"inbounds": inbounds, "outbounds": [{"protocol": "freedom", "tag": "direct"}]})
}

/// A download of some MiB in small pieces and a loop of connects, while the config is read again fifty times with other
/// users, other inbounds and another log each time.
#[tokio::test]
async fn fifty_reloads_refuse_no_connection_and_cut_no_tunnel_off() {
    for client in [SingBox, V2ray445] {
        let mut stage = Stage::new();
        let (port, socks, other) = (free_port(), free_port(), free_port());
        let vmess = Vmess::ws();
        let config = vmess.server(Mobula, port);
        stage
            .run(
                client,
                "client",
                &vmess.client(client, socks, port),
                &[socks],
            )
            .await;
        let mut service = Service::start(stage, &config, &[port]).await;

        let data = traffic::bytes(24 * 1024 * 1024);
        let whole = traffic::sha256(&data);
        let stream = traffic::connect(socks, &To::Ip(traffic::echo().await)).await;
        let (mut read, mut write) = stream.expect("SOCKS connects").into_split();
        let over = Arc::new(AtomicBool::new(false));
        let sent = over.clone();
        let writing = tokio::spawn(async move {
            let mut pieces = data.chunks(64 * 1024);
            let mut last = Vec::new();
            for piece in pieces.by_ref() {
                write.write_all(piece).await.expect("the tunnel takes it");
                last = piece.to_vec();
                if !sent.load(Ordering::Relaxed) {
                    tokio::time::sleep(Duration::from_millis(8)).await;
                }
            }
            (write, last)
        });
        let length = 24 * 1024 * 1024;
        let reading = tokio::spawn(async move {
            let mut back = vec![0; length];
            read.read_exact(&mut back)
                .await
                .expect("the tunnel goes on");
            traffic::sha256(&back)
        });
        let connects = Arc::new(AtomicUsize::new(0));
        let (counted, stop) = (connects.clone(), over.clone());
        let connecting = tokio::spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                let connected = TcpStream::connect(("127.0.0.1", port)).await;
                connected.expect("no connection is refused");
                counted.fetch_add(1, Ordering::Relaxed);
                tokio::task::yield_now().await;
            }
        });
        for n in 0..50_usize {
            let mut config = config.clone();
            let id = format!("b831381d-6324-4d53-ad4f-{n:012}");
            let clients = config["inbounds"][0]["settings"]["clients"].as_array_mut();
            clients.expect("users").push(json!({"id": id}));
            if n % 2 == 1 {
                let inbounds = config["inbounds"].as_array_mut().expect("inbounds");
                inbounds.insert(0, inbound("other", other, &[ID]));
                config["inbounds"][1]["sniffing"] =
                    json!({"enabled": true, "destOverride": ["tls"]});
            }
            config["log"]["access"] = service
                .stage
                .path(&format!("access{}.log", n % 3))
                .display()
                .to_string()
                .into();
            let said = service.reload(&config).await;
            assert!(!said.contains(UNDONE), "{said}");
            assert_eq!(
                listening(other),
                n % 2 == 1,
                "the other inbound comes and goes"
            );
        }
        over.store(true, Ordering::Relaxed);
        connecting.await.expect("no connection is refused");
        assert!(
            connects.load(Ordering::Relaxed) > 50,
            "there were few connects"
        );
        let back = timeout(LIMIT * 3, reading)
            .await
            .expect("all in time")
            .expect("it reads");
        assert_eq!(back, whole, "{client:?}");
        writing.await.expect("it writes");
        traffic::word(socks, &To::Ip(traffic::echo().await)).await;
    }
}

/// What `mobula test` says of a config.
fn test_says(stage: &Stage) -> Vec<String> {
    let output = mobula()
        .arg("test")
        .arg("-c")
        .arg(stage.path("server.json"))
        .output();
    let output = output.expect("mobula runs");
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr).into_owned()
        + &String::from_utf8_lossy(&output.stdout);
    let mistakes = said.lines().filter(|line| !line.starts_with("warning: "));
    let lines = mistakes.filter(|line| line.contains("inbounds[") || line.contains("outbounds["));
    lines.map(str::to_owned).collect()
}

#[tokio::test]
async fn a_config_that_does_not_load_changes_nothing_and_says_why() {
    let (port, next, taken) = (free_port(), free_port(), traffic::echo().await);
    let mut stage = Stage::new();
    let socks = free_port();
    stage
        .run(
            V2ray445,
            "client",
            &Vmess::ws().client(V2ray445, socks, port),
            &[socks],
        )
        .await;
    let good = config(&[inbound("in", port, &[ID])]);
    let mut service = Service::start(stage, &good, &[port]).await;
    let to = To::Ip(traffic::echo().await);
    let mut stream = traffic::connect(socks, &to).await.expect("SOCKS connects");
    traffic::exchange(&mut stream, b"before").await;

    let mut bad = config(&[inbound("in", next, &[ID])]);
    bad["inbounds"][0]["streamSettings"]["network"] = "wss".into();
    bad["outbounds"][0]["protocol"] = "fredom".into();
    let said = service.reload(&bad).await;
    let sentences = test_says(&service.stage);
    assert!(sentences.len() >= 2, "{sentences:?}");
    for sentence in sentences {
        assert!(said.contains(&sentence), "{sentence} is not in {said}");
    }
    // A port that another program has.
    let half = config(&[
        inbound("new", next, &[ID]),
        inbound("in", taken.port(), &[ID]),
    ]);
    let said = service.reload(&half).await;
    let why = format!("inbounds[1]: cannot listen on 127.0.0.1:{}", taken.port());
    assert!(said.contains(&why), "{said}");
    // A file that is gone, and one that is no JSON.
    std::fs::remove_file(service.stage.path("server.json")).expect("it was there");
    let said = service.signalled().await;
    assert!(said.contains("server.json: "), "{said}");
    service.stage.write("server.json", "{\"inbounds\": [");
    let said = service.signalled().await;
    assert_eq!(said.matches(UNDONE).count(), 4, "{said}");

    assert!(!said.contains(DONE), "{said}");
    assert!(listening(port) && !listening(next));
    traffic::exchange(&mut stream, b"after").await;
    traffic::word(socks, &to).await;
    // And it is none the worse for it.
    let said = service.reload(&good).await;
    assert!(said.contains(DONE), "{said}");
    traffic::word(socks, &to).await;
}

#[tokio::test]
async fn an_inbound_moves_to_another_address_and_its_tunnels_stay() {
    let (port, next) = (free_port(), free_port());
    let mut stage = Stage::new();
    let ports = [free_port(), free_port()];
    for (socks, server) in ports.iter().zip([port, next]) {
        let client = Vmess::ws().client(V2ray445, *socks, server);
        stage
            .run(V2ray445, &format!("client{server}"), &client, &[*socks])
            .await;
    }
    let mut service = Service::start(stage, &config(&[inbound("in", port, &[ID])]), &[port]).await;
    let to = To::Ip(traffic::echo().await);
    let mut stream = traffic::connect(ports[0], &to)
        .await
        .expect("SOCKS connects");
    traffic::exchange(&mut stream, b"before").await;
    service.reload(&config(&[inbound("in", next, &[ID])])).await;
    assert!(!listening(port), "the old listener is closed");
    traffic::word(ports[1], &to).await;
    traffic::exchange(&mut stream, b"after").await;
    // The same port, on every address, and with other options: the old socket is in the way of neither.
    let mut everywhere = inbound("in", next, &[ID]);
    everywhere["listen"] = "0.0.0.0".into();
    let said = service.reload(&config(&[everywhere.clone()])).await;
    assert!(
        said.contains(&format!("listens on 0.0.0.0:{next}")),
        "{said}"
    );
    TcpStream::connect(("127.0.0.2", next))
        .await
        .expect("every address");
    traffic::word(ports[1], &to).await;
    everywhere["streamSettings"]["sockopt"] = json!({"tcpFastOpen": true});
    let said = service.reload(&config(&[everywhere])).await;
    assert!(!said.contains(UNDONE), "{said}");
    traffic::word(ports[1], &to).await;
    // Nobody else can have it now.
    assert!(std::net::TcpListener::bind(("0.0.0.0", next)).is_err());
    traffic::exchange(&mut stream, b"at last").await;
}

#[tokio::test]
async fn users_rules_and_outbounds_are_those_of_the_file() {
    let (port, socks) = (free_port(), free_port());
    let mut stage = Stage::new();
    stage
        .run(
            V2ray445,
            "client",
            &Vmess::ws().client(V2ray445, socks, port),
            &[socks],
        )
        .await;
    let (here, there) = (traffic::says("here").await, traffic::says("there").await);
    let lead = |outbound: &str, to: std::net::SocketAddr| {
        let mut config = config(&[inbound("in", port, &[ID])]);
        config["outbounds"].as_array_mut().expect("outbounds").push(
            json!({"protocol": "freedom", "tag": "elsewhere", "settings": {"redirect": to.to_string()}}),
        );
        config["routing"] =
            json!({"rules": [{"type": "field", "inboundTag": ["in"], "outboundTag": outbound}]});
        config
    };
    let mut service = Service::start(stage, &lead("direct", there), &[port]).await;
    let to = To::Ip(here);
    assert_eq!(traffic::line(socks, &to).await, "here");
    let said = service.reload(&lead("elsewhere", there)).await;
    assert!(said.contains("read again: routing"), "{said}");
    assert_eq!(traffic::line(socks, &to).await, "there");
    let said = service.reload(&lead("elsewhere", here)).await;
    assert!(said.contains("read again: outbounds (1 changed)"), "{said}");
    assert_eq!(traffic::line(socks, &To::Ip(there)).await, "here");

    // The user is another one; who is in stays.
    service.reload(&config(&[inbound("in", port, &[ID])])).await;
    let mut inside = traffic::connect(socks, &To::Ip(traffic::echo().await))
        .await
        .expect("SOCKS");
    traffic::exchange(&mut inside, b"in").await;
    service
        .reload(&config(&[inbound("in", port, &[BOB])]))
        .await;
    assert!(!gets_through(socks).await);
    traffic::exchange(&mut inside, b"still in").await;
    let said = service.stage.log(service.index);
    assert!(said.contains("[user-unknown]"), "{said}");
    service
        .reload(&config(&[inbound("in", port, &[BOB, ID])]))
        .await;
    assert_eq!(traffic::line(socks, &to).await, "here");
}

#[tokio::test]
async fn what_the_api_added_stays_and_counters_keep_their_values() {
    let mut panel = Panel::start(Mobula).await;
    let (ann, bob) = (panel.client(ANN).await, panel.client(BOB).await);
    assert!(gets_through(ann).await && !gets_through(bob).await);
    panel.call(ALTER, add_user(BOB, "bob@example.com"));
    assert!(gets_through(bob).await);
    let counter = "inbound>>>vmess>>>traffic>>>uplink";
    let get = "app.stats.command.StatsService/GetStats";
    let value = |panel: &Panel| {
        let answer = panel.call(get, json!({"name": counter}));
        answer["stat"]["value"]
            .as_str()
            .and_then(|value| value.parse::<u64>().ok())
    };
    let before = value(&panel).expect("a counter");
    assert!(before > 0);
    let text = panel.stage.read("server.json");
    let mut config: Value = serde_json::from_str(&text).expect("ours");
    config["policy"]["levels"] = json!({"0": {"connIdle": 250}});
    let outbounds = config["outbounds"].as_array_mut().expect("outbounds");
    outbounds.push(json!({"protocol": "blackhole", "tag": "block"}));
    panel.stage.write("server.json", config.to_string());
    panel.stage.child(0).signal("HUP");
    panel.stage.until_file_has("server.log", DONE).await;
    assert!(gets_through(bob).await, "whom the API has added");
    assert!(gets_through(ann).await);
    let after = value(&panel).expect("the counter is there");
    assert!(after > before, "{before} {after}");
}

/// Datagrams of an inbound whose users change, and of one that changes itself.
#[tokio::test]
async fn sessions_of_datagrams_outlive_reloads() {
    let (port, door) = (free_port(), free_port());
    let echo = traffic::udp_echo().await;
    let users = |passwords: &[&str]| {
        let clients = passwords.iter();
        let clients =
            clients.map(|password| json!({"password": password, "method": "aes-128-gcm"}));
        json!({
            "tag": "shadowsocks", "listen": "127.0.0.1", "port": port, "protocol": "shadowsocks",
            "settings": {"clients": clients.collect::<Vec<_>>(), "network": "tcp,udp"},
        })
    };
    let dokodemo = |sniffs: bool| {
        json!({
            "tag": "door", "listen": "127.0.0.1", "port": door, "protocol": "dokodemo-door",
            "settings": {"address": "127.0.0.1", "port": echo.port(), "network": "udp"},
            "sniffing": {"enabled": sniffs, "destOverride": ["quic"]},
        })
    };
    let stage = Stage::new();
    let all = |passwords: &[&str], sniffs| config(&[users(passwords), dokodemo(sniffs)]);
    let mut service = Service::start(stage, &all(&["ann"], false), &[port]).await;
    let socks = free_port();
    let client = json!({
        "inbounds": [{"type": "socks", "listen": "127.0.0.1", "listen_port": socks}],
        "outbounds": [{"type": "shadowsocks", "server": "127.0.0.1", "server_port": port, "method": "aes-128-gcm", "password": "ann"}],
    });
    service
        .stage
        .run(SingBox, "client", &client, &[socks])
        .await;
    let (_control, relay) = traffic::associate(socks).await;
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
    let plain = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
    let mut answers = Vec::new();
    for n in 0..4_u8 {
        let datagram = traffic::datagram(&To::Ip(echo), &[n]);
        socket.send_to(&datagram, relay).await.expect("UDP sends");
        let mut buf = [0; 512];
        let got = timeout(LIMIT, socket.recv(&mut buf))
            .await
            .expect("an answer in time");
        let len = got.expect("UDP receives");
        assert_eq!(buf[len - 1], n);
        plain
            .send_to(&[n], ("127.0.0.1", door))
            .await
            .expect("UDP sends");
        let got = timeout(LIMIT, plain.recv(&mut buf))
            .await
            .expect("an answer in time");
        assert_eq!(buf[..got.expect("UDP receives")], [n]);
        answers.push(n);
        let passwords: &[&str] = if n % 2 == 0 {
            &["ann", "bob"]
        } else {
            &["ann"]
        };
        service.reload(&all(passwords, n % 2 == 0)).await;
    }
    assert_eq!(answers.len(), 4);
}

/// What OpenSSL is shown.
fn shown(port: u16) -> String {
    let output = system("openssl")
        .args([
            "s_client",
            "-connect",
            &format!("127.0.0.1:{port}"),
            "-servername",
            SERVER_NAME,
        ])
        .stdin(std::process::Stdio::null())
        .output()
        .expect("openssl runs");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[tokio::test]
async fn another_certificate_is_shown_at_once_and_a_broken_one_never() {
    let port = free_port();
    let (one, two) = (Stage::new(), Stage::new());
    let (first, second) = (Certificate::new(&one), Certificate::new(&two));
    let with = |certificate: &Certificate| {
        let mut inbound = inbound("in", port, &[ID]);
        inbound["streamSettings"]["security"] = "tls".into();
        inbound["streamSettings"]["tlsSettings"] = json!({"certificates": [
            {"certificateFile": certificate.chain, "keyFile": certificate.key},
        ]});
        config(&[inbound])
    };
    let mut service = Service::start(Stage::new(), &with(&first), &[port]).await;
    let before = shown(port);
    assert!(before.contains("BEGIN CERTIFICATE"), "{before}");
    let leaf = |said: &str| {
        let begin = said.find("-----BEGIN").expect("a certificate");
        said[begin..]
            .split("-----END")
            .next()
            .expect("its end")
            .to_owned()
    };
    service.reload(&with(&second)).await;
    assert_ne!(leaf(&shown(port)), leaf(&before));
    // Broken in its place: nothing changes.
    std::fs::write(&second.key, "no key").expect("ours");
    let said = service.signalled().await;
    assert!(said.contains(UNDONE) && said.contains("key.pem"), "{said}");
    assert_ne!(leaf(&shown(port)), leaf(&before));
    // The same files, other contents.
    for (from, to) in [(&first.chain, &second.chain), (&first.key, &second.key)] {
        std::fs::copy(from, to).expect("ours");
    }
    service.signalled().await;
    assert_eq!(leaf(&shown(port)), leaf(&before));
}

#[tokio::test]
async fn what_is_in_no_file_cannot_be_read_again() {
    let mut stage = Stage::new();
    let port = free_port();
    let file = stage.write(
        "piped.json",
        config(&[inbound("in", port, &[ID])]).to_string(),
    );
    let mut command = system("sh");
    command
        .arg("-c")
        .arg("exec \"$0\" run -c stdin: < \"$1\"")
        .arg(mobula().get_program())
        .arg(file);
    let index = stage.start("piped", &mut command, &[port]).await;
    stage.child(index).signal("HUP");
    stage
        .until_file_has("piped.log", "came by standard input")
        .await;
    assert!(listening(port));
}

/// Limits are those of the file from then on, and whoever is in already stays.
#[tokio::test]
async fn limits_are_those_of_the_file() {
    let (port, socks) = (free_port(), free_port());
    let limited = |connections: u32| {
        let mut config = config(&[inbound("in", port, &[ID])]);
        config["inbounds"][0]["limits"] = json!({"connections": connections});
        config
    };
    let mut service = Service::start(Stage::new(), &limited(2), &[port]).await;
    let client = Vmess::ws().client(Mobula, socks, port);
    service.stage.run(Mobula, "client", &client, &[socks]).await;
    let echo = To::Ip(traffic::echo().await);
    let mut inside = Vec::new();
    let mut enter = async |count: usize| {
        for _ in 0..count {
            let mut stream = traffic::connect(socks, &echo).await.expect("there is room");
            traffic::exchange(&mut stream, b"in").await;
            inside.push(stream);
        }
        // One more than there may be.
        let word = async {
            let mut stream = traffic::connect(socks, &echo).await?;
            stream.write_all(b"one more").await?;
            stream.read_exact(&mut [0; 8]).await
        };
        let more = timeout(LIMIT, word).await.expect("it does not hang");
        assert!(more.is_err(), "one too many is in");
        for stream in &mut inside {
            traffic::exchange(stream, b"still in").await;
        }
    };
    enter(2).await;
    service.reload(&limited(5)).await;
    enter(3).await;
    service.reload(&limited(1)).await;
    enter(0).await;
    service.reload(&limited(6)).await;
    enter(1).await;
}
