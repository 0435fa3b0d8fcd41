//! The client configs of `testdata/configs/real`: whole files of the kinds that people publish, run as they stand.
//!
//! Each runs in a [`world`] of its own, first with mobula and then with V2Ray 4.45 in its place: what
//! is asked for must be so with both. The other end is a real V2Ray or sing-box, whose targets see its address.
//! The server configs are in `scenario_real_servers`.

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hickory_proto::rr::RecordType;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::time::timeout;

use crate::configs::ID;
use crate::name_server::{address_in, question};
use crate::peers::Peer::{self, Mobula, SingBox, V2ray434, V2ray445};
use crate::peers::{connections, geodata, mobula, root, system};
use crate::traffic::{self, LIMIT, To};
use crate::world::{self, ABROAD, CDN, CHINA, NAME_SERVERS, PRIVATE, SERVERS, World, visit};

pub const SECOND_ID: &str = "6fa459ea-ee8a-4ca4-894e-db77e160355e";
const FAR: Option<IpAddr> = Some(IpAddr::V4(SERVERS[0]));
const WWW: To = To::Name("www.example.com", 80);

pub fn published(name: &str) -> PathBuf {
    root().join("testdata/configs/real").join(name)
}

/// With mobula, and with V2Ray in its place.
pub fn with_both<F: Future<Output = ()>>(test: impl Fn(World, Peer) -> F + Sync) {
    for peer in [Mobula, V2ray445] {
        println!("with {peer:?}");
        world::run(|world| test(world, peer));
    }
}

/// A V2Ray server on the first address, behind which targets see that address.
async fn server(world: &mut World, peer: Peer, inbound: Value, outbound: Value) {
    let mut config = json!({
        "log": {"loglevel": "info", "access": "server-access.log"},
        "inbounds": [{
            "listen": SERVERS[0], "port": 10086, "protocol": "vmess",
            "settings": {"clients": [{"id": ID}]},
            "streamSettings": {"network": "ws", "wsSettings": {"path": "/ray"}},
        }],
        "outbounds": [{"protocol": "freedom", "sendThrough": SERVERS[0]}],
    });
    for (key, value) in inbound.as_object().into_iter().flatten() {
        config["inbounds"][0][key] = value.clone();
    }
    for (key, value) in outbound.as_object().into_iter().flatten() {
        config["outbounds"][0][key] = value.clone();
    }
    let port = config["inbounds"][0]["port"]
        .as_u64()
        .and_then(|port| port.try_into().ok());
    world
        .stage
        .run(
            peer,
            &format!("{peer:?}-server"),
            &config,
            &[port.expect("a port")],
        )
        .await;
}

async fn plain_server(world: &mut World, peer: Peer) {
    server(world, peer, json!({}), json!({})).await;
}

/// The same with TLS on port 443.
async fn tls_server(world: &mut World, peer: Peer) {
    let [chain, key] =
        ["fullchain.pem", "privkey.pem"].map(|name| format!("/usr/local/etc/v2ray/{name}"));
    if peer == SingBox {
        let config = json!({
            "inbounds": [{
                "type": "vmess", "listen": SERVERS[0], "listen_port": 443, "users": [{"uuid": ID, "alterId": 0}],
                "transport": {"type": "ws", "path": "/ray"},
                "tls": {"enabled": true, "certificate_path": chain, "key_path": key},
            }],
            "outbounds": [{"type": "direct", "inet4_bind_address": SERVERS[0]}],
        });
        world
            .stage
            .run(peer, "sing-box-server", &config, &[443])
            .await;
        return;
    }
    let inbound = json!({
        "port": 443,
        "streamSettings": {
            "network": "ws", "security": "tls", "wsSettings": {"path": "/ray"},
            "tlsSettings": {"certificates": [{"certificateFile": chain, "keyFile": key}]},
        },
    });
    server(world, peer, inbound, json!({})).await;
}

fn ip(address: Ipv4Addr, port: u16) -> To {
    To::Ip((address, port).into())
}

/// Directly: its target sees somebody, and not the server.
async fn goes_directly(world: &World, socks: u16, to: &To, what: &str) {
    let seen = world.seen(socks, to).await;
    assert!(seen.is_some() && seen != FAR, "{what}: {seen:?}");
}

/// A question over UDP; datagrams may be lost.
async fn resolved(at: (Ipv4Addr, u16), name: &str) -> Option<Ipv4Addr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))
        .await
        .expect("a port");
    let mut buf = [0; 1500];
    for _ in 0..5 {
        socket
            .send_to(&question(name, RecordType::A), at)
            .await
            .expect("UDP sends");
        if let Ok(got) = timeout(Duration::from_secs(3), socket.recv_from(&mut buf)).await {
            let (n, from) = got.expect("UDP receives");
            assert_eq!(from, at.into(), "who was asked answers");
            return address_in(&buf[..n]);
        }
    }
    panic!("no answer about {name}");
}

#[test]
fn a_simple_client_with_a_word_on_each_line() {
    with_both(|mut world, peer| async move {
        tls_server(&mut world, SingBox).await;
        world
            .publish(peer, &published("client-simple.json"), &[1080])
            .await;
        assert_eq!(world.seen(1080, &WWW).await, FAR);
        traffic::both_ways(1080, 1024 * 1024).await;
        traffic::datagrams(1080, &[60, 1200]).await;
    });
}

#[test]
fn a_client_with_routing_and_dns() {
    with_both(|mut world, peer| async move {
        plain_server(&mut world, V2ray434).await;
        world
            .publish(peer, &published("client-routing-dns.json"), &[1080, 8118])
            .await;
        assert_eq!(world.seen(1080, &WWW).await, FAR);
        assert_eq!(world.seen(1080, &ip(ABROAD, 80)).await, FAR);
        assert_eq!(world.seen_by_http(8118, "www.example.com").await, FAR);
        for blocked in ["doubleclick.net", "www.ads.example.net"] {
            assert_eq!(
                world.seen(1080, &To::Name(blocked, 80)).await,
                None,
                "{blocked}"
            );
        }
        goes_directly(&world, 1080, &ip(CHINA, 80), "geoip:cn").await;
        goes_directly(&world, 1080, &To::Name("www.baidu.com", 80), "geosite:cn").await;
        goes_directly(
            &world,
            1080,
            &To::Name("home.example.org", 80),
            "a name in China",
        )
        .await;
        goes_directly(
            &world,
            1080,
            &To::Name("inside.example.org", 80),
            "a private one",
        )
        .await;
        goes_directly(
            &world,
            1080,
            &To::Name("nas.example.net", 80),
            "one of `hosts`",
        )
        .await;
        assert!(world.was_asked("nas.example.net").is_empty());
        assert_eq!(world.was_asked("www.baidu.com"), [NAME_SERVERS[1]]);
        assert_eq!(world.was_asked("home.example.org"), [NAME_SERVERS[1]]);
        // What is not in China is not believed of the server for China.
        assert_eq!(world.was_asked("inside.example.org"), NAME_SERVERS);
        assert!(world.was_asked("doubleclick.net").is_empty());
    });
}

#[test]
fn a_client_with_mux() {
    with_both(|mut world, peer| async move {
        plain_server(&mut world, V2ray445).await;
        world
            .publish(peer, &published("client-mux.json"), &[1080])
            .await;
        let mut open = Vec::new();
        for _ in 0..6 {
            let mut stream = traffic::connect(1080, &WWW).await.expect("SOCKS connects");
            assert_eq!(visit(&mut stream, "www.example.com").await, FAR);
            open.push(stream);
        }
        assert_eq!(connections(10086), 1, "six sessions share a connection");
        for stream in &mut open {
            assert_eq!(visit(stream, "www.example.com").await, FAR);
        }
        traffic::both_ways(1080, 1024 * 1024).await;
        traffic::datagrams(1080, &[60, 1200]).await;
    });
}

#[test]
fn a_client_with_a_balancer_that_finds_the_server_that_lives() {
    with_both(|mut world, peer| async move {
        plain_server(&mut world, V2ray434).await;
        world
            .publish(peer, &published("client-balancer.json"), &[1080])
            .await;
        // Until the first probes are back nobody knows.
        let deadline = tokio::time::Instant::now() + LIMIT;
        while world.seen(1080, &WWW).await != FAR {
            assert!(
                tokio::time::Instant::now() < deadline,
                "no server was found"
            );
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        for _ in 0..20 {
            assert_eq!(world.seen(1080, &WWW).await, FAR);
        }
        goes_directly(&world, 1080, &ip(PRIVATE, 80), "geoip:private").await;
    });
}

/// What the client says first is recorded on its way to the server.
#[test]
fn a_client_with_early_data() {
    with_both(|mut world, peer| async move {
        let early = json!({"path": "/ray", "maxEarlyData": 2048, "earlyDataHeaderName": "Sec-WebSocket-Protocol"});
        let stream = json!({"streamSettings": {"network": "ws", "wsSettings": early}});
        server(&mut world, V2ray445, stream, json!({})).await;
        let heads = recorder(10087, 10086).await;
        world
            .publish(peer, &published("client-early-data.json"), &[1080])
            .await;
        assert_eq!(world.seen(1080, &WWW).await, FAR);
        let heads = heads
            .lock()
            .expect("nobody panics with the lock")
            .join("")
            .to_lowercase();
        let name = "sec-websocket-protocol: ";
        let early = heads.lines().find_map(|line| line.strip_prefix(name));
        // The header of VMess and the request to the target, in base64.
        assert!(early.is_some_and(|early| early.len() > 120), "{heads}");
        for line in [
            "get /ray http/1.1",
            "host: www.example.com",
            "user-agent: mozilla/5.0",
        ] {
            assert!(heads.contains(line), "{line}:\n{heads}");
        }
        traffic::both_ways(1080, 1024 * 1024).await;
        traffic::datagrams(1080, &[60, 1200]).await;
    });
}

/// Passes connections on and keeps the heads of their requests.
async fn recorder(from: u16, to: u16) -> Arc<Mutex<Vec<String>>> {
    let heads = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&heads);
    let listener = TcpListener::bind((SERVERS[0], from))
        .await
        .expect("a world of one's own");
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            let kept = Arc::clone(&kept);
            tokio::spawn(async move {
                let mut far = TcpStream::connect((SERVERS[0], to)).await?;
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(near.read_u8().await?);
                }
                far.write_all(&head).await?;
                let head = String::from_utf8_lossy(&head).into_owned();
                kept.lock().expect("nobody panics with the lock").push(head);
                tokio::io::copy_bidirectional(&mut near, &mut far).await
            });
        }
    });
    heads
}

#[test]
fn a_client_as_v2rayn_writes_it() {
    with_both(|mut world, peer| async move {
        tls_server(&mut world, V2ray434).await;
        world
            .publish(peer, &published("client-v2rayn.json"), &[10808, 10809])
            .await;
        assert_eq!(world.seen(10808, &WWW).await, FAR);
        assert_eq!(world.seen_by_http(10809, "www.example.com").await, FAR);
        assert_eq!(world.seen(10808, &ip(ABROAD, 80)).await, FAR);
        assert_eq!(world.seen_by_http(10809, "doubleclick.net").await, None);
        assert_eq!(
            world.seen(10808, &To::Name("doubleclick.net", 80)).await,
            None
        );
        goes_directly(&world, 10808, &ip(CHINA, 80), "geoip:cn").await;
        goes_directly(&world, 10808, &ip(PRIVATE, 80), "geoip:private").await;
        let direct = world.seen_by_http(10809, "www.baidu.com").await;
        assert!(direct.is_some() && direct != FAR, "geosite:cn: {direct:?}");
        // Browsers are to give up QUIC.
        for (port, carried) in [(444, true), (443, false)] {
            udp_echo((ABROAD, port)).await;
            assert_eq!(
                echoed(10808, &ip(ABROAD, port)).await,
                carried,
                "UDP to port {port}"
            );
        }
    });
}

async fn udp_echo(at: (Ipv4Addr, u16)) {
    let socket = UdpSocket::bind(at).await.expect("a world of one's own");
    tokio::spawn(async move {
        let mut buf = [0; 1500];
        while let Ok((n, from)) = socket.recv_from(&mut buf).await {
            let _ = socket.send_to(&buf[..n], from).await;
        }
    });
}

/// Whether a datagram comes back. A `blackhole` may answer one with the page that it has for HTTP.
pub async fn echoed(socks: u16, to: &To) -> bool {
    let (_association, relay) = traffic::associate(socks).await;
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .expect("a port");
    let datagram = traffic::datagram(to, b"a word");
    for _ in 0..3 {
        socket.send_to(&datagram, relay).await.expect("UDP sends");
        let mut buf = [0; 1500];
        let wait = Duration::from_millis(700);
        if let Ok(Ok(n)) = timeout(wait, socket.recv(&mut buf)).await {
            return buf[..n] == datagram;
        }
    }
    false
}

#[test]
fn a_client_as_v2rayng_writes_it() {
    with_both(|mut world, peer| async move {
        plain_server(&mut world, V2ray445).await;
        let ports = [10808, 10809, 10853];
        world
            .publish(peer, &published("client-v2rayng.json"), &ports)
            .await;
        assert_eq!(world.seen(10808, &WWW).await, FAR);
        assert_eq!(world.seen_by_http(10809, "www.example.com").await, FAR);
        assert_eq!(
            world.seen(10808, &To::Name("doubleclick.net", 80)).await,
            None
        );
        goes_directly(&world, 10808, &ip(CHINA, 80), "geoip:cn").await;
        goes_directly(
            &world,
            10808,
            &To::Name("www.baidu.com", 80),
            "a name in China",
        )
        .await;
        // Questions to port 10853 are answered by the config's own `dns`.
        let names = (Ipv4Addr::LOCALHOST, 10853);
        assert_eq!(resolved(names, "www.example.com").await, Some(ABROAD));
        assert_eq!(resolved(names, "a.mirror.example").await, Some(ABROAD));
        assert_eq!(resolved(names, "nobody.example.com").await, None);
        traffic::both_ways(10808, 1024 * 1024).await;
    });
}

/// The rules are those of guides for TPROXY on a router, with what programs of this world send taken out.
#[test]
fn a_transparent_client() {
    with_both(|mut world, peer| async move {
        plain_server(&mut world, V2ray434).await;
        let to = |protocol: &str, address: Ipv4Addr, port: u16| {
            format!("-p {protocol} -d {address} --dport {port}")
        };
        for taken in [
            to("tcp", ABROAD, 80),
            to("tcp", CHINA, 80),
            to("udp", CDN, 53),
        ] {
            let ours = "-m mark --mark 255 -j RETURN";
            let servers = format!("-s {} -j RETURN", SERVERS[0]);
            for rule in [ours, &servers, "-j MARK --set-mark 1"] {
                iptables(&format!("-t mangle -A OUTPUT {taken} {rule}"));
            }
        }
        for protocol in ["tcp", "udp"] {
            iptables(&format!(
                "-t mangle -A PREROUTING -p {protocol} -m mark --mark 1 -j TPROXY --on-port 12345 --tproxy-mark 1"
            ));
        }
        world
            .publish(peer, &published("client-transparent.json"), &[12345, 1080])
            .await;
        for (target, tunnelled) in [(ABROAD, true), (CHINA, false)] {
            let stream = timeout(LIMIT, TcpStream::connect((target, 80))).await;
            let mut stream = stream.expect("in time").expect("it is taken");
            let seen = timeout(LIMIT, visit(&mut stream, &target.to_string())).await;
            let seen = seen.expect("in time");
            assert!(seen.is_some(), "{target} answers");
            assert_eq!(seen == FAR, tunnelled, "{target}: {seen:?}");
        }
        // A question to any name server is answered by the one of `dns`.
        assert_eq!(resolved((CDN, 53), "www.example.com").await, Some(ABROAD));
        assert_eq!(world.was_asked("www.example.com"), [NAME_SERVERS[0]]);
        assert_eq!(world.seen(1080, &WWW).await, FAR);
    });
}

fn iptables(words: &str) {
    let output = system("iptables").args(words.split(' ')).output();
    let output = output.expect("iptables runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "iptables {words}: {said}");
}

#[test]
fn a_client_with_a_chain_of_servers() {
    with_both(|mut world, peer| async move {
        plain_server(&mut world, V2ray434).await;
        let inbound = json!({
            "listen": SERVERS[1], "port": 10087,
            "settings": {"clients": [{"id": SECOND_ID}]}, "streamSettings": {"network": "tcp"},
        });
        server(
            &mut world,
            V2ray445,
            inbound,
            json!({"sendThrough": SERVERS[1]}),
        )
        .await;
        world
            .publish(peer, &published("client-chain.json"), &[1080])
            .await;
        let second = Some(IpAddr::V4(SERVERS[1]));
        assert_eq!(world.seen(1080, &WWW).await, second);
        let log = world
            .stage
            .until_file_has("server-access.log", "tcp:203.0.113.2:10087")
            .await;
        assert!(
            log.contains(&format!("{}:", SERVERS[0])),
            "who came to the second server:\n{log}"
        );
        traffic::both_ways(1080, 1024 * 1024).await;
    });
}

#[test]
fn a_client_of_2017() {
    with_both(|mut world, peer| async move {
        plain_server(&mut world, V2ray434).await;
        world
            .publish(peer, &published("client-2017.json"), &[1080, 8118])
            .await;
        assert_eq!(world.seen(1080, &WWW).await, FAR);
        assert_eq!(world.seen_by_http(8118, "www.example.com").await, FAR);
        assert_eq!(world.seen(1080, &ip(ABROAD, 25)).await, None);
        goes_directly(&world, 1080, &ip(PRIVATE, 80), "a private network").await;
        traffic::datagrams(1080, &[60, 1200]).await;
    });
}

/// V2Ray 4.45 cannot read it; V2Ray 5 is not to be had as a package.
#[test]
fn a_client_in_the_words_of_v2ray_5() {
    world::run(|mut world| async move {
        plain_server(&mut world, V2ray445).await;
        let mut command = mobula();
        command
            .args(["run", "-format", "jsonv5", "-c"])
            .arg(published("client-v2ray-5.json"));
        world.start("mobula", &mut command, &[1080]).await;
        assert_eq!(world.seen(1080, &WWW).await, FAR);
        assert_eq!(
            world.seen(1080, &To::Name("www.ads.example.net", 80)).await,
            None
        );
        goes_directly(&world, 1080, &ip(PRIVATE, 80), "geoip.dat: private").await;
        goes_directly(
            &world,
            1080,
            &To::Name("inside.example.org", 80),
            "a name in there",
        )
        .await;
        traffic::datagrams(1080, &[60, 1200]).await;
    });
}

#[test]
fn a_client_in_several_files() {
    with_both(|mut world, peer| async move {
        plain_server(&mut world, V2ray434).await;
        let folder = published("confdir");
        let mut command = peer.command(&folder);
        if peer.or_stand_in() == Mobula {
            command = mobula();
            command.args(["run", "-confdir"]).arg(folder);
        } else {
            let program = command.get_program().to_owned();
            command = std::process::Command::new(program);
            command.arg("-confdir").arg(folder);
        }
        world.start("confdir", &mut command, &[1080]).await;
        assert_eq!(world.seen(1080, &WWW).await, FAR);
        goes_directly(
            &world,
            1080,
            &To::Name("example.org", 80),
            "a rule in a file of its own",
        )
        .await;
        let log = world
            .stage
            .until_file_has("log/v2ray/access.log", "example.org")
            .await;
        assert!(
            log.contains("accepted tcp:www.example.com:80 [proxy]"),
            "{log}"
        );
    });
}

#[test]
fn a_port_forward() {
    with_both(|mut world, peer| async move {
        plain_server(&mut world, V2ray445).await;
        world
            .publish(peer, &published("port-forward.json"), &[2222, 5353])
            .await;
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, 2222)).await;
        let mut stream = stream.expect("the door is open");
        let seen = timeout(LIMIT, visit(&mut stream, "www.example.com")).await;
        assert_eq!(seen.expect("in time"), FAR);
        assert_eq!(
            resolved((Ipv4Addr::LOCALHOST, 5353), "www.baidu.com").await,
            Some(CHINA)
        );
    });
}

/// Every file has its test, here or in `scenario_real_servers`.
#[test]
fn every_published_config_is_run() {
    let sources = [file!(), "integration/scenario_real_servers.rs"];
    let sources: String = sources
        .iter()
        .map(|file| fs::read_to_string(root().join(file)).expect("a source of ours"))
        .collect();
    let files: BTreeSet<String> = fs::read_dir(root().join("testdata/configs/real"))
        .expect("the configs are there")
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    assert!(files.len() >= 15, "{files:?}");
    for file in files {
        assert!(
            sources.contains(&format!("published(\"{file}\")")),
            "{file} is not run"
        );
    }
}

/// Whatever stands in a published config is done, but for what is dead.
#[test]
fn nothing_in_a_published_config_is_passed_over() {
    world::run(|world| async move {
        let mut warnings = Vec::new();
        for entry in fs::read_dir(published(""))
            .expect("the configs are there")
            .flatten()
        {
            let mut command = mobula();
            command.arg("test").env("V2RAY_LOCATION_ASSET", geodata());
            command.arg(if entry.path().is_dir() {
                "-confdir"
            } else {
                "-config"
            });
            let output = command
                .arg(entry.path())
                .current_dir(world.stage.path(""))
                .output();
            let output = output.expect("mobula runs");
            let name = entry.file_name().to_string_lossy().into_owned();
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success(), "{name}: {said}");
            warnings.extend(said.lines().map(|line| format!("{name}: {line}")));
        }
        warnings.sort();
        // Each of them has an id of the documentation, as what is published has.
        let (known_ids, warnings): (Vec<_>, Vec<_>) = warnings
            .into_iter()
            .partition(|line| line.contains("stands in V2Ray's documentation"));
        assert!(known_ids.len() > 5, "{known_ids:#?}");
        let expected = [
            "client-early-data.json: warning: outbounds[0].settings.vnext[0].users[0].security: `none` without TLS: ",
            "server-several-paths.json: warning: inbounds[0].settings.clients[0].alterId: ",
        ];
        let are_these = warnings.iter().zip(expected).all(|(w, e)| w.starts_with(e));
        assert!(
            are_these && warnings.len() == expected.len(),
            "{warnings:#?}"
        );
    });
}
