//! One user, or one host, that opens UDP sessions without end: the descriptors of the process are not all
//! theirs, and others notice nothing.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream, UdpSocket};
use tokio::time::{sleep, timeout};

use crate::configs::Vmess;
use crate::peers::Peer::{self, Mobula};
use crate::peers::{Stage, free_port, with_descriptors};
use crate::traffic::{self, To};

/// What the server may have, and what one user may take of it.
const DESCRIPTORS: usize = 2048;
const SHARE: usize = DESCRIPTORS / 4;

/// More than there are descriptors.
const SESSIONS: usize = 3000;

const OTHER_ID: &str = "5783a3e7-e373-51cd-8642-c83782b807c5";

#[tokio::test]
async fn xudp_ids_of_one_user_leave_room_for_others() {
    one_user_opens_sessions_without_end(json!({
        "mux": {"enabled": true, "concurrency": -1, "xudpConcurrency": 1024},
    }))
    .await;
}

#[tokio::test]
async fn mux_sessions_of_one_user_leave_room_for_others() {
    one_user_opens_sessions_without_end(json!({"mux": {"enabled": true, "concurrency": 1024}}))
        .await;
}

#[tokio::test]
async fn vmess_sessions_of_one_user_leave_room_for_others() {
    one_user_opens_sessions_without_end(json!({})).await;
}

async fn one_user_opens_sessions_without_end(outbound: Value) {
    let mut stage = Stage::new();
    let port = free_port();
    let mut config = Vmess::tcp().server(Mobula, port);
    config["log"]["loglevel"] = json!("warning");
    let greedy = json!({"id": OTHER_ID, "email": "greedy@mobula.test"});
    let clients = config["inbounds"][0]["settings"]["clients"].as_array_mut();
    clients.expect("a list of users").push(greedy);
    let server = run_limited(&mut stage, Mobula, "server", &config, port).await;

    let (socks, door) = (free_port(), free_port());
    let target = traffic::udp_echo().await;
    let mut client = Vmess::tcp().client(Mobula, socks, port);
    client["log"]["loglevel"] = json!("warning");
    stage.run(Mobula, "client", &client, &[socks]).await;
    let mut attacker = client.clone();
    attacker["inbounds"] = json!([{
        "listen": "127.0.0.1", "port": door, "protocol": "dokodemo-door",
        "settings": {"address": "127.0.0.1", "port": target.port(), "network": "udp"},
    }]);
    let gate = free_port();
    let gate_inbound = json!({"listen": "127.0.0.1", "port": gate, "protocol": "http"});
    attacker["inbounds"]
        .as_array_mut()
        .expect("a list")
        .push(gate_inbound);
    attacker["outbounds"][0]["settings"]["vnext"][0]["users"][0]["id"] = json!(OTHER_ID);
    for (key, value) in outbound.as_object().expect("keys") {
        attacker["outbounds"][0][key] = value.clone();
    }
    stage.run(Mobula, "attacker", &attacker, &[gate]).await;
    let idle = stage.child(server).open_files();

    let flood = open_sessions(door, SESSIONS);
    let others = async {
        let to = To::Ip(traffic::echo().await);
        let mut slowest = Duration::ZERO;
        for _ in 0..20 {
            sleep(Duration::from_millis(150)).await;
            let begin = Instant::now();
            traffic::word(socks, &to).await;
            traffic::datagrams(socks, &[100]).await;
            slowest = slowest.max(begin.elapsed());
        }
        slowest
    };
    let (answered, slowest) = tokio::join!(flood, others);
    let held = stage.child(server).open_files() - idle;
    println!(
        "{answered} of {SESSIONS} answered, {held} descriptors held, others waited {slowest:?}"
    );
    assert!(
        answered > SESSIONS * 9 / 10,
        "new sessions of theirs work, too"
    );
    assert!(held > SHARE / 4, "they were there, {held}");
    assert!(held < SHARE + 32, "{held} descriptors are held by one user");
    assert!(slowest < Duration::from_secs(2), "{slowest:?}");
    let log = stage.log(server);
    assert!(
        log.contains("[Warning] UDP: user greedy@mobula.test has all the associations"),
        "{log}"
    );
    assert!(!log.contains("too many open files"), "{log}");
}

/// Without users it is the address that counts.
#[tokio::test]
async fn sources_of_one_host_leave_room_for_other_hosts() {
    let mut stage = Stage::new();
    let (door, gate) = (free_port(), free_port());
    let target = traffic::udp_echo().await;
    let config = json!({
        "log": {"loglevel": "warning"},
        "inbounds": [
            {
                "listen": "127.0.0.1", "port": door, "protocol": "dokodemo-door",
                "settings": {"address": "127.0.0.1", "port": target.port(), "network": "udp", "userLevel": 1},
            },
            {"listen": "127.0.0.1", "port": gate, "protocol": "socks", "settings": {"udp": true}},
        ],
        "outbounds": [{"protocol": "freedom"}],
    });
    let proxy = run_limited(&mut stage, Mobula, "proxy", &config, gate).await;
    let idle = stage.child(proxy).open_files();
    let other = UdpSocket::bind("127.0.0.7:0").await.expect("a port");
    let door_at = SocketAddr::from((Ipv4Addr::LOCALHOST, door));
    let mut buf = [0; 16];
    traffic::answered(&other, door_at, b"before", &mut buf).await;
    let answered = open_sessions_from([127, 0, 0, 2].into(), door, SESSIONS).await;
    let held = stage.child(proxy).open_files() - idle;
    assert!(answered > SESSIONS * 9 / 10, "{answered}");
    assert!(held < SHARE + 16, "{held} descriptors are held by one host");
    // Idle for longer than any of the flood, it is another host's and still there.
    other.send_to(b"after", door_at).await.expect("UDP sends");
    let n = timeout(Duration::from_secs(2), other.recv(&mut buf)).await;
    assert_eq!(n.expect("an answer in time").expect("UDP receives"), 5);
    traffic::datagrams(gate, &[100]).await;
    traffic::word(gate, &To::Ip(traffic::echo().await)).await;
    let log = stage.log(proxy);
    assert!(log.contains("[Warning] UDP: 127.0.0.2 has all"), "{log}");
}

/// A SOCKS association keeps a connection and a port before anything is sent.
#[tokio::test]
async fn associations_of_one_host_leave_room_for_other_hosts() {
    let mut stage = Stage::new();
    let socks = free_port();
    let config = json!({
        "log": {"loglevel": "warning"},
        "inbounds": [{"listen": "127.0.0.1", "port": socks, "protocol": "socks", "settings": {"udp": true}}],
        "outbounds": [{"protocol": "freedom"}],
    });
    let proxy = run_limited(&mut stage, Mobula, "proxy", &config, socks).await;
    let idle = stage.child(proxy).open_files();
    let (association, relay) = traffic::associate(socks).await;
    let mut held = Vec::new();
    for _ in 0..1500 {
        held.push(associate_from([127, 0, 0, 2].into(), socks).await);
    }
    let open = stage.child(proxy).open_files() - idle;
    assert!(open < SHARE + 32, "{open} descriptors are held by one host");
    let closed = timeout(Duration::from_secs(2), held[0].read(&mut [0; 64])).await;
    assert!(closed.is_ok(), "the oldest one has given way");
    let mut buf = [0; 64];
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
    let target = To::Ip(traffic::udp_echo().await);
    let word = traffic::datagram(&target, b"a word");
    let n = traffic::answered(&socket, relay, &word, &mut buf).await;
    assert_eq!(buf[..n], word, "another host's is older, and still there");
    drop(association);
    traffic::word(socks, &To::Ip(traffic::echo().await)).await;
}

/// Asks for an association from this address; it may be refused.
async fn associate_from(from: Ipv4Addr, socks: u16) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind((from, 0).into()).expect("loopback is all ours");
    let to = (Ipv4Addr::LOCALHOST, socks).into();
    let mut stream = socket.connect(to).await.expect("mobula listens");
    let asked = b"\x05\x01\x00\x05\x03\x00\x01\x00\x00\x00\x00\x00\x00";
    stream.write_all(asked).await.expect("mobula reads");
    let mut answer = [0; 12];
    let read = timeout(Duration::from_secs(5), stream.read_exact(&mut answer)).await;
    read.expect("an answer in time").expect("an answer");
    stream
}

async fn run_limited(
    stage: &mut Stage,
    peer: Peer,
    name: &str,
    config: &Value,
    port: u16,
) -> usize {
    let path = stage.write(&format!("{name}.json"), config.to_string());
    let mut command = with_descriptors(DESCRIPTORS, &peer.command(&path));
    stage.start(name, &mut command, &[port]).await
}

/// Datagrams from `count` ports of some hosts, so that a client in between has no bound for them; how many
/// were answered.
async fn open_sessions(door: u16, count: usize) -> usize {
    let mut answered = 0;
    for host in 0..4 {
        let from = Ipv4Addr::new(127, 0, 1, host + 1);
        answered += open_sessions_from(from, door, count / 4).await;
    }
    answered
}

async fn open_sessions_from(from: Ipv4Addr, door: u16, count: usize) -> usize {
    const AT_A_TIME: usize = 50;
    let mut answered = 0;
    for _ in 0..count / AT_A_TIME {
        let mut sockets = Vec::new();
        for _ in 0..AT_A_TIME {
            let socket = UdpSocket::bind((from, 0)).await.expect("a port");
            let to = (Ipv4Addr::LOCALHOST, door);
            socket.send_to(b"a word", to).await.expect("UDP sends");
            sockets.push(socket);
        }
        let until = tokio::time::Instant::now() + Duration::from_secs(2);
        for socket in sockets {
            let got = tokio::time::timeout_at(until, socket.recv(&mut [0; 8])).await;
            answered += usize::from(got.is_ok_and(|n| n.is_ok_and(|n| n == 6)));
        }
    }
    answered
}
