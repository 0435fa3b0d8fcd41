//! A router as docs/transparent-proxy.md makes one: what stands there is what is loaded here.
//!
//! ```text
//! client ──lan── router ──wan── server ──net── target
//!                mobula         V2Ray
//! ```
//!
//! The machines pass packets on, so the target would also answer a client that came directly: by the address
//! that it sees it knows the tunnel.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use crate::configs::ID;
use crate::netns::{Machine, any, cable};
use crate::peers::Peer::{self, Mobula, V2ray434, V2ray445};
use crate::peers::{Stage, free_port, mobula, root, system};
use crate::traffic::{self, LIMIT, To};

const DOOR: u16 = 12345;
const TARGETS: [&str; 2] = ["198.51.100.9", "2001:db8:2::9"];

/// Four machines with their cables; the last one echoes.
struct Net {
    stage: Stage,
    client: Machine,
    router: Machine,
    target: Machine,
    /// What the target sees of whom comes through the tunnel.
    seen: [IpAddr; 2],
    server: Machine,
}

impl Net {
    /// With a V2Ray server at 203.0.113.1, port 80.
    async fn new() -> Self {
        let [client, router, server, target] =
            ["client", "router", "server", "target"].map(Machine::new);
        cable(
            (&client, &["192.168.1.2/24", "fd00:1::2/64"]),
            (&router, &["192.168.1.1/24", "fd00:1::1/64"]),
        );
        cable(
            (&router, &["203.0.113.2/24", "2001:db8:1::2/64"]),
            (&server, &["203.0.113.1/24", "2001:db8:1::1/64"]),
        );
        cable(
            (&server, &["198.51.100.1/24", "2001:db8:2::1/64"]),
            (&target, &["198.51.100.9/24", "2001:db8:2::9/64"]),
        );
        for (machine, gateways) in [
            (&client, ["192.168.1.1", "fd00:1::1"]),
            (&router, ["203.0.113.1", "2001:db8:1::1"]),
            (&target, ["198.51.100.1", "2001:db8:2::1"]),
        ] {
            for gateway in gateways {
                machine.ip(&format!("route add default via {gateway}"));
            }
        }
        server.ip("route add 192.168.1.0/24 via 203.0.113.2");
        server.ip("route add fd00:1::/64 via 2001:db8:1::2");
        for machine in [&router, &server] {
            machine.forwards();
        }
        let mut net = Self {
            stage: Stage::new(),
            client,
            router,
            target,
            seen: ["198.51.100.1", "2001:db8:2::1"].map(|ip| ip.parse().unwrap()),
            server,
        };
        let config = json!({
            "inbounds": [{
                "port": 80, "protocol": "vmess",
                "settings": {"clients": [{"id": ID, "alterId": 0}]},
                "streamSettings": {"network": "ws", "wsSettings": {"path": "/ray"}},
            }],
            "outbounds": [{"protocol": "freedom"}],
        });
        net.stage
            .run_on(&net.server, V2ray434, "server", &config, &[80])
            .await;
        for ip in TARGETS {
            echo(net.target.tcp_listen(at(ip, 7)));
            udp_echo(net.target.udp(at(ip, 7)));
        }
        net
    }

    async fn route_by(&mut self, peer: Peer, config: &Value) -> usize {
        let stage = &mut self.stage;
        stage
            .run_on(&self.router, peer, "router", config, &[DOOR])
            .await
    }

    /// A word from `machine` to the target and back; gives the address that the target saw.
    async fn stream(&self, machine: &Machine, ip: &str) -> IpAddr {
        let to = at(ip, 7);
        let talk = async {
            let mut stream = machine.tcp_socket(to.ip()).connect(to).await?;
            assert_eq!(stream.peer_addr()?, to);
            stream.write_all(b"a word").await?;
            read_echo(&mut stream).await
        };
        timeout(LIMIT, talk)
            .await
            .expect("in time")
            .expect("an echo")
    }

    /// The same with datagrams, of which some may be lost. The socket is connected: it takes no answer
    /// from anybody else than the target.
    async fn datagram(&self, machine: &Machine, ip: &str) -> IpAddr {
        let to = at(ip, 7);
        let socket = machine.udp(any(to));
        socket.connect(to).await.expect("a route");
        let mut seen = None;
        for word in ["a word", "another"] {
            let answer = ask(&socket, word).await;
            let (echo, from) = answer
                .split_once(" from ")
                .expect("the target says from whom");
            assert_eq!(echo, word);
            seen = from.parse::<SocketAddr>().ok();
        }
        seen.expect("an address").ip()
    }

    async fn carries_streams(&self) {
        for (ip, seen) in TARGETS.iter().zip(self.seen) {
            assert_eq!(self.stream(&self.client, ip).await, seen, "the client's");
            assert_eq!(
                self.stream(&self.router, ip).await,
                seen,
                "the router's own"
            );
        }
    }

    async fn carries_datagrams(&self) {
        for (ip, seen) in TARGETS.iter().zip(self.seen) {
            assert_eq!(self.datagram(&self.client, ip).await, seen, "the client's");
            assert_eq!(
                self.datagram(&self.router, ip).await,
                seen,
                "the router's own"
            );
        }
    }
}

/// Both programs with the same files: what V2Ray's users have keeps working.
#[tokio::test]
async fn tproxy_takes_tcp_and_udp_of_both_families_into_the_tunnel() {
    for peer in [Mobula, V2ray445] {
        let mut net = Net::new().await;
        marks_are_local(&net);
        net.router.nft(&blocks("nft")[0]);
        net.route_by(peer, &documented()).await;
        net.carries_streams().await;
        net.carries_datagrams().await;
    }
}

#[tokio::test]
async fn redirect_takes_tcp_of_both_families_into_the_tunnel() {
    for peer in [Mobula, V2ray445] {
        let mut net = Net::new().await;
        net.router.nft(&blocks("nft")[1]);
        let mut config = documented();
        let inbound = &mut config["inbounds"][0];
        inbound["settings"]["network"] = json!("tcp");
        inbound["streamSettings"]["sockopt"]["tproxy"] = json!("redirect");
        net.route_by(peer, &config).await;
        net.carries_streams().await;
    }
}

/// As old guides have it: no `sockopt`, one network as a string, an address that is for nothing.
#[tokio::test]
async fn redirect_is_what_is_meant_when_nothing_is_said() {
    let mut net = Net::new().await;
    net.router.nft(&blocks("nft")[1]);
    let mut config = documented();
    config["inbounds"][0]["settings"] = json!({"followRedirect": true, "address": "192.0.2.1"});
    config["inbounds"][0]["streamSettings"] = json!(null);
    net.route_by(Mobula, &config).await;
    net.carries_streams().await;
}

#[tokio::test]
async fn the_words_for_iptables_do_the_same() {
    let mut net = Net::new().await;
    marks_are_local(&net);
    run_inside(&net.router, &blocks("sh")[1]);
    net.route_by(Mobula, &documented()).await;
    let (ip, seen) = (TARGETS[0], net.seen[0]);
    for machine in [&net.client, &net.router] {
        assert_eq!(net.stream(machine, ip).await, seen);
        assert_eq!(net.datagram(machine, ip).await, seen);
    }
}

/// Straight out of the router: whoever answers is seen as who it is. Its answers carry the inbound's mark, and
/// a filter that looks for the sockets of packets first leads to the same end.
#[tokio::test]
async fn an_answer_comes_from_whoever_answered() {
    let mut net = Net::new().await;
    marks_are_local(&net);
    net.router.nft(&blocks("nft")[0].replace(
        "meta l4proto { tcp, udp } meta mark set 1 tproxy",
        "meta l4proto { tcp, udp } socket transparent 1 meta mark set 1 counter accept\n\
         meta l4proto { tcp, udp } meta mark set 1 tproxy",
    ));
    net.router.nft(
        "table inet count { chain out { type filter hook output priority 0;\n\
         ip daddr 192.168.1.2 udp sport { 7, 1007 } meta mark 77 counter\n}\n}",
    );
    let mut config = documented();
    config["inbounds"][0]["streamSettings"]["sockopt"]["mark"] = json!(77);
    let outbounds = config["outbounds"].as_array_mut().unwrap();
    outbounds.swap(0, 1);
    net.route_by(Mobula, &config).await;

    let socket = net.client.udp("0.0.0.0:0".parse().unwrap());
    let stranger = net.target.udp(at(TARGETS[0], 1007));
    let mut buf = [0; 64];
    for word in ["first", "second"] {
        socket
            .send_to(word.as_bytes(), at(TARGETS[0], 7))
            .await
            .unwrap();
        let (n, from) = receive(&socket, &mut buf).await;
        let text = String::from_utf8_lossy(&buf[..n]);
        let (echo, seen) = text
            .split_once(" from ")
            .expect("the target says from whom");
        assert_eq!((echo, from), (word, at(TARGETS[0], 7)));
        let seen: SocketAddr = seen.parse().unwrap();
        assert_eq!(seen.ip().to_string(), "203.0.113.2");
        stranger.send_to(b"hello", seen).await.unwrap();
        let (n, from) = receive(&socket, &mut buf).await;
        assert_eq!((&buf[..n], from), (&b"hello"[..], at(TARGETS[0], 1007)));
    }
    let counted = String::from_utf8(nft_list(&net.router, "count")).unwrap();
    assert!(counted.contains("counter packets 4 "), "{counted}");
    let taken = String::from_utf8(nft_list(&net.router, "mobula")).unwrap();
    assert!(!taken.contains("counter packets 0 "), "{taken}");
}

/// Nothing was redirected: the door was dialled, or datagrams were sent to it.
#[tokio::test]
async fn what_was_meant_for_the_door_itself_is_refused_and_said() {
    for tproxy in ["tproxy", "redirect"] {
        let mut net = Net::new().await;
        let mut config = documented();
        config["inbounds"][0]["streamSettings"]["sockopt"]["tproxy"] = json!(tproxy);
        net.route_by(Mobula, &config).await;
        for ip in ["192.168.1.1", "fd00:1::1", "203.0.113.2"] {
            let to = at(ip, DOOR);
            let mut stream = net.client.tcp_socket(to.ip()).connect(to).await.unwrap();
            let read = timeout(LIMIT, stream.read(&mut [0]))
                .await
                .expect("closed at once");
            assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
            let refused = format!("{} rejected", stream.local_addr().unwrap());
            net.stage.until_file_has("router.log", &refused).await;
            net.client.udp(any(to)).send_to(b"x", to).await.unwrap();
            // The line may come after the end of the connection.
            let line = format!("{} rejected", stream.local_addr().unwrap());
            net.stage.until_file_has("router.log", &line).await;
        }
        let wanted = "datagrams are dropped: meant for the transparent inbound itself";
        let text = net.stage.until_file_has("router.log", wanted).await;
        // How often it came again is told some seconds later.
        let told = text.lines().filter(|line| line.contains(wanted));
        let dropped = told.filter(|line| !line.contains(" more in ")).count();
        assert_eq!(dropped, 1, "it is told once in a while:\n{text}");
        let refused = text.matches(" rejected  meant for the transparent inbound itself");
        assert_eq!(refused.count(), 3, "each is refused once:\n{text}");
    }
}

/// With an address there is a place to go to.
#[tokio::test]
async fn what_was_meant_for_the_door_itself_goes_to_its_address() {
    let mut net = Net::new().await;
    marks_are_local(&net);
    net.router.nft(&blocks("nft")[0]);
    let mut config = documented();
    config["inbounds"][0]["settings"]["address"] = json!(TARGETS[0]);
    config["inbounds"][0]["settings"]["port"] = json!(7);
    net.route_by(Mobula, &config).await;
    for ip in ["192.168.1.1", "fd00:1::1"] {
        let to = at(ip, DOOR);
        let mut stream = net.client.tcp_socket(to.ip()).connect(to).await.unwrap();
        stream.write_all(b"a word").await.unwrap();
        assert_eq!(read_echo(&mut stream).await.unwrap(), net.seen[0]);
        let socket = net.client.udp(any(to));
        socket.connect(to).await.unwrap();
        assert!(
            ask(&socket, "word")
                .await
                .starts_with("word from 198.51.100.1:")
        );
    }
    net.carries_streams().await;
    net.carries_datagrams().await;
}

#[test]
fn without_the_right_to_it_the_start_says_what_is_missing() {
    let stage = Stage::new();
    let file = stage.write("config.json", documented().to_string());
    let mut command = system("setpriv");
    command.arg("--bounding-set=-net_admin,-net_raw");
    command.arg(mobula().get_program()).args(["run", "-c"]);
    let output = command
        .arg(&file)
        .output()
        .expect("setpriv is a part of util-linux");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{said}");
    let wanted = "inbounds[0]: cannot listen on 0.0.0.0:12345: sockopt tproxy: operation not permitted \
         (it needs root or CAP_NET_ADMIN)";
    assert!(said.contains(wanted), "{said}");
}

/// Many a config has a mark and no packet filter. Beside a door of one, what is not marked would come in again.
#[tokio::test]
async fn a_mark_that_may_not_be_set_is_left_out_unless_a_packet_filter_needs_it() {
    let mut stage = Stage::new();
    let echo = To::Ip(traffic::echo().await);
    let [plain, beside, door] = [free_port(), free_port(), free_port()];
    let socks = |port| json!({"listen": "127.0.0.1", "port": port, "protocol": "socks"});
    let door = json!({"listen": "127.0.0.1", "port": door, "protocol": "dokodemo-door",
        "settings": {"followRedirect": true}});
    for (name, port, inbounds) in [
        ("plain", plain, json!([socks(plain)])),
        ("beside", beside, json!([socks(beside), door])),
    ] {
        let config = json!({"inbounds": inbounds, "outbounds": [
            {"protocol": "freedom", "streamSettings": {"sockopt": {"mark": 255}}}]});
        let file = stage.write(&format!("{name}.json"), config.to_string());
        let mut limited = system("setpriv");
        limited.arg("--bounding-set=-net_admin,-net_raw");
        limited.arg(mobula().get_program()).args(["run", "-c"]);
        limited.arg(file);
        stage.start(name, &mut limited, &[port]).await;
    }
    let mut stream = traffic::connect(plain, &echo).await.expect("it goes on");
    traffic::exchange(&mut stream, b"without a mark").await;
    let told = "sockopt mark is left out: operation not permitted (it needs root or CAP_NET_ADMIN)";
    stage.until_file_has("plain.log", told).await;

    let refused = traffic::connect(beside, &echo).await.expect_err("no mark");
    // A failure, and no rule of anybody's (2).
    assert_eq!(refused.to_string(), "SOCKS says 1");
    let told = "sockopt mark: operation not permitted (it needs root or CAP_NET_ADMIN)";
    stage.until_file_has("beside.log", told).await;
}

/// A process may be allowed to listen transparently, and yet not to answer as port 7.
#[tokio::test]
async fn whoever_may_not_answer_from_low_ports_is_told_so() {
    let mut net = Net::new().await;
    marks_are_local(&net);
    net.router.nft(&blocks("nft")[0]);
    let mut config = documented();
    let outbounds = config["outbounds"].as_array_mut().unwrap();
    outbounds.swap(0, 1);
    let file = net.stage.write("router.json", config.to_string());
    let mut limited = system("setpriv");
    limited.arg("--bounding-set=-net_bind_service");
    limited.arg(mobula().get_program()).args(["run", "-c"]);
    limited.arg(file);
    let mut command = net.router.dress(limited);
    net.stage.start("router", &mut command, &[]).await;
    net.stage.until_file_has("router.log", "started").await;
    let socket = net.client.udp(any(at(TARGETS[0], 7)));
    let to = at(TARGETS[0], 7);
    socket.send_to(b"word", to).await.unwrap();
    let wanted =
        "cannot answer as 198.51.100.9:7: permission denied (it needs root, or CAP_NET_ADMIN and";
    net.stage.until_file_has("router.log", wanted).await;
}

/// The config of the document.
fn documented() -> Value {
    let text = &blocks("json")[0];
    serde_json::from_str(text).expect("the document's config is JSON")
}

/// The blocks of one language in the document.
fn blocks(language: &str) -> Vec<String> {
    let text = std::fs::read_to_string(root().join("docs/transparent-proxy.md")).unwrap();
    text.split(&format!("```{language}\n"))
        .skip(1)
        .filter_map(|rest| rest.split("```").next())
        .map(str::to_owned)
        .collect()
}

/// The rules and routes of the document.
fn marks_are_local(net: &Net) {
    run_inside(&net.router, &blocks("sh")[0]);
}

fn run_inside(machine: &Machine, script: &str) {
    let mut shell = machine.dress(system("sh"));
    shell.env(
        "PATH",
        "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin",
    );
    let output = shell.args(["-ec", script]).output().expect("sh runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}\n{said}");
}

fn nft_list(machine: &Machine, table: &str) -> Vec<u8> {
    let mut nft = machine.dress(system("nft"));
    nft.args(["list", "table", "inet", table]);
    nft.output().expect("nft runs").stdout
}

fn at(ip: &str, port: u16) -> SocketAddr {
    SocketAddr::new(ip.parse().expect("an address"), port)
}

/// Sends back one word, and from whom it came.
fn echo(listener: tokio::net::TcpListener) {
    tokio::spawn(async move {
        while let Ok((mut stream, from)) = listener.accept().await {
            tokio::spawn(async move {
                let mut buf = [0; 64];
                let n = stream.read(&mut buf).await?;
                let word = String::from_utf8_lossy(&buf[..n]);
                let answer = format!("{word} from {}", from.ip());
                stream.write_all(answer.as_bytes()).await?;
                stream.shutdown().await
            });
        }
    });
}

fn udp_echo(socket: UdpSocket) {
    tokio::spawn(async move {
        let mut buf = [0; 64];
        while let Ok((n, from)) = socket.recv_from(&mut buf).await {
            let word = String::from_utf8_lossy(&buf[..n]);
            let answer = format!("{word} from {from}");
            let _ = socket.send_to(answer.as_bytes(), from).await;
        }
    });
}

async fn read_echo(stream: &mut TcpStream) -> std::io::Result<IpAddr> {
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let from = answer.strip_prefix("a word from ").map(str::parse);
    Ok(from
        .unwrap_or_else(|| panic!("`{answer}`"))
        .expect("an address"))
}

/// Sends until an answer comes, for datagrams may be lost.
async fn ask(socket: &UdpSocket, word: &str) -> String {
    let mut buf = [0; 128];
    for _ in 0..5 {
        socket.send(word.as_bytes()).await.expect("UDP sends");
        let wait = Duration::from_secs(3);
        if let Ok(got) = timeout(wait, socket.recv(&mut buf)).await {
            let n = got.expect("UDP receives");
            return String::from_utf8_lossy(&buf[..n]).into_owned();
        }
    }
    panic!("`{word}` was never answered");
}

async fn receive(socket: &UdpSocket, buf: &mut [u8]) -> (usize, SocketAddr) {
    let got = timeout(LIMIT, socket.recv_from(buf)).await;
    got.expect("an answer in time").expect("UDP receives")
}
