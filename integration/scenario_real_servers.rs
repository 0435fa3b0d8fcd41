//! The server configs of `testdata/configs/real`, run as they stand; see `scenario_real`.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::timeout;

use crate::configs::{self, ID};
use crate::peers::Peer::{self, Mobula, SingBox, V2ray434, V2ray445};
use crate::peers::{geodata, mobula, system};
use crate::scenario_real::{SECOND_ID, echoed, published, with_both};
use crate::traffic::{self, LIMIT, To};
use crate::world::{ABROAD, CDN, PRIVATE, SERVER_NAME, SERVERS, World, request, response, visit};

const THIRD_ID: &str = "a3482e88-686a-4a58-8126-99c9df64b7bf";
const FOURTH_ID: &str = "23ad6b10-8d1a-40f7-8ad0-e3e35cd38297";
const WWW: To = To::Name("www.example.com", 80);
/// Where the clients listen.
const SOCKS: u16 = 11080;
const ACCESS: &str = "log/v2ray/access.log";

/// A client of the server at `port`, in V2Ray's words; it dials from the address of the CDN, so that logs can
/// tell it from a web server in between.
async fn client(world: &mut World, peer: Peer, socks: u16, id: &str, port: u16, stream: Value) {
    let config = json!({
        "inbounds": [{"listen": "127.0.0.1", "port": socks, "protocol": "socks", "settings": {"udp": true}}],
        "outbounds": [{
            "protocol": "vmess", "sendThrough": CDN,
            "settings": {"vnext": [{"address": SERVER_NAME, "port": port, "users": [{"id": id}]}]},
            "streamSettings": stream,
        }],
        // A session is to end when its server has ended it, not a moment later.
        "policy": {"levels": {"0": {"uplinkOnly": 0, "downlinkOnly": 0}}},
    });
    let config_file = world
        .stage
        .write(&format!("client-{socks}.json"), config.to_string());
    let mut command = peer.command(&config_file);
    world
        .start(&format!("client-{socks}-{peer:?}"), &mut command, &[socks])
        .await;
}

fn ws(path: &str) -> Value {
    json!({"network": "ws", "wsSettings": {"path": path}})
}

fn wss(path: &str) -> Value {
    json!({"network": "ws", "security": "tls", "wsSettings": {"path": path}})
}

async fn sing_box(world: &mut World, socks: u16, path: &str) {
    let config = json!({
        "inbounds": [{"type": "socks", "listen": "127.0.0.1", "listen_port": socks}],
        "outbounds": [{
            "type": "vmess", "server": SERVERS[0], "server_port": 443, "uuid": ID, "security": "auto", "alter_id": 0,
            "transport": {"type": "ws", "path": path},
            "tls": {
                "enabled": true, "server_name": SERVER_NAME,
                "certificate_path": world.stage.path("authority.pem"),
            },
        }],
    });
    world
        .stage
        .run(SingBox, "sing-box", &config, &[socks])
        .await;
}

async fn carries_all(world: &World, socks: u16) {
    assert!(world.seen(socks, &WWW).await.is_some());
    traffic::both_ways(socks, 1024 * 1024).await;
    traffic::datagrams(socks, &[60, 1200]).await;
}

/// nginx on port 443 with the certificate of the world.
async fn nginx(world: &mut World, location: &str) {
    let etc = "/usr/local/etc/v2ray";
    let block = format!(
        "listen {}:443 ssl; ssl_certificate {etc}/fullchain.pem; ssl_certificate_key {etc}/privkey.pem;\n{location}",
        SERVERS[0]
    );
    let file = configs::nginx(&world.stage, &block);
    let mut nginx = system("nginx");
    nginx
        .arg("-p")
        .arg(world.stage.path(""))
        .arg("-c")
        .arg(file);
    world.start("nginx", &mut nginx, &[443]).await;
}

#[test]
fn a_server_behind_nginx() {
    with_both(|mut world, peer| async move {
        world
            .publish(peer, &published("server-behind-nginx.json"), &[10000])
            .await;
        nginx(&mut world, &configs::documented_location(10000)).await;
        client(&mut world, V2ray434, SOCKS, ID, 443, wss("/ray")).await;
        carries_all(&world, SOCKS).await;
        let log = world
            .stage
            .until_file_has(ACCESS, "accepted tcp:www.example.com:80")
            .await;
        let line = log.lines().find(|line| line.contains("www.example.com"));
        assert!(
            line.is_some_and(|line| line.contains(&format!("{CDN}:0"))),
            "{log}"
        );
        sing_box(&mut world, SOCKS + 1, "/ray").await;
        carries_all(&world, SOCKS + 1).await;
    });
}

#[test]
fn a_server_on_a_unix_socket() {
    with_both(|mut world, peer| async move {
        world
            .publish(peer, &published("server-unix-socket.json"), &[])
            .await;
        let location = configs::documented_location(10000);
        let socket = "http://unix:/dev/shm/v2ray.sock";
        nginx(
            &mut world,
            &location.replace("http://127.0.0.1:10000", socket),
        )
        .await;
        // There is no port to wait for.
        let deadline = Instant::now() + LIMIT;
        while !std::fs::exists("/dev/shm/v2ray.sock").unwrap_or(false) {
            assert!(Instant::now() < deadline, "there is no socket");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        client(&mut world, V2ray445, SOCKS, ID, 443, wss("/ray")).await;
        carries_all(&world, SOCKS).await;
        let log = world
            .stage
            .until_file_has(ACCESS, "email: me@example.com")
            .await;
        assert!(log.contains(&format!("{CDN}:0 accepted")), "{log}");
    });
}

#[test]
fn a_server_with_a_certificate_of_its_own() {
    with_both(|mut world, peer| async move {
        world
            .publish(peer, &published("server-own-tls.json"), &[443])
            .await;
        sing_box(&mut world, SOCKS, "/live/chat").await;
        carries_all(&world, SOCKS).await;
        client(&mut world, V2ray445, SOCKS + 1, ID, 443, wss("/live/chat")).await;
        carries_all(&world, SOCKS + 1).await;
        world
            .stage
            .until_file_has(ACCESS, "email: me@example.com")
            .await;
    });
}

/// The CDN comes from its own address and says whom it serves.
#[test]
fn a_server_behind_a_cdn() {
    with_both(|mut world, peer| async move {
        world
            .publish(peer, &published("server-behind-cdn.json"), &[8080])
            .await;
        let location = format!(
            "location / {{ proxy_pass http://{}:8080; proxy_bind {CDN}; proxy_http_version 1.1;\n\
             proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade; proxy_set_header Host $host;\n\
             proxy_set_header X-Forwarded-For \"203.0.113.77, 192.0.2.9\"; }}",
            SERVERS[0]
        );
        nginx(&mut world, &location).await;
        let mut stream = wss("/api/v1/events");
        stream["wsSettings"]["maxEarlyData"] = json!(2048);
        stream["wsSettings"]["earlyDataHeaderName"] = json!("Sec-WebSocket-Protocol");
        client(&mut world, V2ray445, SOCKS, SECOND_ID, 443, stream).await;
        carries_all(&world, SOCKS).await;
        let log = world
            .stage
            .until_file_has(ACCESS, "email: laptop@example.com")
            .await;
        // The client said that it was somebody else, and the CDN wrote down behind it whom it saw. V2Ray believes the client.
        let source = match peer {
            Mobula => "192.0.2.9:0 accepted",
            _ => "203.0.113.77:0 accepted",
        };
        assert!(log.contains(source), "{log}");
    });
}

#[test]
fn a_server_behind_haproxy() {
    with_both(|mut world, peer| async move {
        world
            .publish(peer, &published("server-behind-haproxy.json"), &[10086])
            .await;
        let text = format!(
            "defaults\n  mode tcp\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n\
             listen front\n  bind {}:8443\n  server v2ray 127.0.0.1:10086 send-proxy-v2\n",
            SERVERS[0]
        );
        let file = world.stage.write("haproxy.cfg", text);
        let mut haproxy = system("haproxy");
        haproxy.arg("-db").arg("-f").arg(file);
        world.start("haproxy", &mut haproxy, &[8443]).await;
        client(&mut world, V2ray434, SOCKS, ID, 8443, ws("/ws")).await;
        carries_all(&world, SOCKS).await;
        let log = world
            .stage
            .until_file_has(ACCESS, "email: alice@example.com")
            .await;
        assert!(
            log.contains(&format!("{CDN}:")) && !log.contains("127.0.0.1:0 "),
            "{log}"
        );
    });
}

/// What panels do: count each user, and read that by gRPC through the `api` inbound.
#[test]
fn a_server_driven_by_a_panel() {
    with_both(|mut world, peer| async move {
        world
            .publish(peer, &published("server-panel.json"), &[62789, 20001])
            .await;
        client(&mut world, V2ray434, SOCKS, ID, 20001, ws("/panel")).await;
        client(
            &mut world,
            V2ray445,
            SOCKS + 1,
            SECOND_ID,
            20001,
            ws("/panel"),
        )
        .await;
        for (socks, times) in [(SOCKS, 3), (SOCKS + 1, 1)] {
            for _ in 0..times {
                assert!(world.seen(socks, &WWW).await.is_some());
            }
        }
        assert_eq!(world.seen(SOCKS, &To::Ip((PRIVATE, 80).into())).await, None);
        let up = request("www.example.com").len();
        let down = response(IpAddr::V4(ABROAD)).len();
        for (email, times) in [("alice", 3), ("bob", 1)] {
            for (way, len) in [("uplink", up), ("downlink", down)] {
                let name = format!("user>>>{email}@example.com>>>traffic>>>{way}");
                // What was refused was counted on its way in.
                let refused = if (email, way) == ("alice", "uplink") {
                    request("192.168.7.1").len()
                } else {
                    0
                };
                until_counted(&world, &name, times * len + refused).await;
            }
        }
        let all = counters(&world, "");
        for way in ["uplink", "downlink"] {
            assert!(
                all.contains(&format!("inbound>>>inbound-20001>>>traffic>>>{way}")),
                "{all}"
            );
        }
        assert!(
            !all.contains("outbound>>>"),
            "nobody asked for these:\n{all}"
        );
        users_come_and_go(&mut world).await;
    });
}

/// As the panel adds them and takes them away; the others' tunnels stay.
async fn users_come_and_go(world: &mut World) {
    let mut alice = traffic::connect(SOCKS, &WWW).await.expect("SOCKS connects");
    assert!(visit(&mut alice, "www.example.com").await.is_some());
    client(world, V2ray445, SOCKS + 2, THIRD_ID, 20001, ws("/panel")).await;
    assert!(world.is_silent(SOCKS + 2, &WWW).await);
    let carol = ["--tag", "inbound-20001", "--email", "carol@example.com"];
    api(&[&["adduser"], &carol[..], &["--id", THIRD_ID]].concat());
    assert!(world.seen(SOCKS + 2, &WWW).await.is_some());
    api(&[&["rmuser"], &carol[..]].concat());
    assert!(world.is_silent(SOCKS + 2, &WWW).await);
    assert!(visit(&mut alice, "www.example.com").await.is_some());
}

fn api(words: &[&str]) {
    let mut command = mobula();
    command
        .args(["api", words[0], "-s", "127.0.0.1:62789"])
        .args(&words[1..]);
    let output = command.output().expect("mobula runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words:?}: {said}");
}

/// V2Ray's own client asks.
fn counters(world: &World, pattern: &str) -> String {
    let mut v2ctl = std::process::Command::new(geodata().join("v2ctl"));
    v2ctl.args(["api", "--server=127.0.0.1:62789", "StatsService.QueryStats"]);
    v2ctl.arg(format!("pattern: \"{pattern}\" reset: false"));
    let output = v2ctl
        .current_dir(world.stage.path(""))
        .output()
        .expect("v2ctl runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

async fn until_counted(world: &World, name: &str, expected: usize) {
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        let said = counters(world, name);
        let value = said
            .split("value:")
            .nth(1)
            .map_or("0", |rest| rest.trim_start());
        let digits: String = value.chars().take_while(char::is_ascii_digit).collect();
        if digits.parse() == Ok(expected) {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "{name} is {digits}, expected {expected}:\n{said}"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[test]
fn a_server_with_many_users_and_levels() {
    with_both(|mut world, peer| async move {
        world
            .publish(peer, &published("server-many-users.json"), &[20086])
            .await;
        for (n, id) in (0..).zip([ID, SECOND_ID, THIRD_ID, FOURTH_ID]) {
            client(&mut world, V2ray434, SOCKS + n, id, 20086, ws("/")).await;
        }
        let [alice, bob, guest, mallory] = [SOCKS, SOCKS + 1, SOCKS + 2, SOCKS + 3];
        let mail = To::Ip((ABROAD, 25).into());
        for socks in [alice, bob] {
            assert!(world.seen(socks, &WWW).await.is_some());
            assert!(world.seen(socks, &mail).await.is_some());
        }
        assert!(world.seen(guest, &WWW).await.is_some());
        assert_eq!(world.seen(guest, &mail).await, None);
        assert_eq!(world.seen(mallory, &WWW).await, None);
        let log = world
            .stage
            .until_file_has(ACCESS, "mallory@example.com")
            .await;
        for name in ["alice", "bob", "guest"] {
            assert!(log.contains(&format!("email: {name}@example.com")), "{log}");
        }
        idle_guests_are_shown_the_door(&world, alice, guest).await;
        client(
            &mut world,
            V2ray445,
            SOCKS + 4,
            &ID.replace('b', "c"),
            20086,
            ws("/"),
        )
        .await;
        assert!(
            world.is_silent(SOCKS + 4, &WWW).await,
            "nobody knows this id"
        );
    });
}

/// `connIdle` of guests is two seconds; V2Ray looks at its clock that often.
async fn idle_guests_are_shown_the_door(world: &World, alice: u16, guest: u16) {
    let mut streams = Vec::new();
    for socks in [alice, guest] {
        let mut stream = traffic::connect(socks, &WWW).await.expect("SOCKS connects");
        assert!(visit(&mut stream, "www.example.com").await.is_some());
        streams.push(stream);
    }
    let begun = Instant::now();
    let mut end = [0; 1];
    let ended = timeout(Duration::from_secs(9), streams[1].read(&mut end)).await;
    let ended = ended.unwrap_or_else(|_| {
        panic!(
            "an idle guest is still there; {} s",
            begun.elapsed().as_secs()
        )
    });
    assert!(!matches!(ended, Ok(1..)), "{ended:?}");
    assert!(
        begun.elapsed() > Duration::from_millis(1500),
        "{:?}",
        begun.elapsed()
    );
    let still = visit(&mut streams[0], "www.example.com").await;
    assert!(
        still.is_some(),
        "the family may be silent; {}",
        world.stage.read(ACCESS)
    );
}

#[test]
fn a_server_that_blocks_abuse() {
    with_both(|mut world, peer| async move {
        world
            .publish(peer, &published("server-blocks-abuse.json"), &[10086])
            .await;
        client(&mut world, V2ray434, SOCKS, ID, 10086, ws("/ray")).await;
        assert!(world.seen(SOCKS, &WWW).await.is_some());
        assert!(
            world
                .seen(SOCKS, &To::Ip((ABROAD, 80).into()))
                .await
                .is_some()
        );
        for blocked in [
            To::Ip((PRIVATE, 80).into()),
            To::Name("inside.example.org", 80),
            To::Name("doubleclick.net", 80),
            To::Ip((ABROAD, 25).into()),
        ] {
            assert_eq!(world.seen(SOCKS, &blocked).await, None);
        }
        // A name hidden in a request to an address is seen.
        let mut stream = traffic::connect(SOCKS, &To::Ip((ABROAD, 80).into()))
            .await
            .expect("SOCKS connects");
        let hidden = timeout(LIMIT, visit(&mut stream, "doubleclick.net")).await;
        assert_eq!(hidden.expect("an end in time"), None);

        let echo = echo((ABROAD, 6881)).await;
        let word = [b"\x13NotTorrent protocol".as_slice(), &[0; 48]].concat();
        assert_eq!(said(&echo, &word).await, word);
        let torrent = [b"\x13BitTorrent protocol".as_slice(), &[0; 48]].concat();
        assert_eq!(said(&echo, &torrent).await, b"", "BitTorrent is blocked");
    });
}

async fn echo(at: (Ipv4Addr, u16)) -> To {
    let listener = TcpListener::bind(at).await.expect("a world of one's own");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut read, mut write) = stream.split();
                tokio::io::copy(&mut read, &mut write).await
            });
        }
    });
    To::Ip(at.into())
}

/// What an echo says to `word`; nothing if there is an end instead.
async fn said(echo: &To, word: &[u8]) -> Vec<u8> {
    let talk = async {
        let mut stream = traffic::connect(SOCKS, echo).await?;
        stream.write_all(word).await?;
        let mut back = vec![0; word.len()];
        stream.read_exact(&mut back).await?;
        Ok::<_, std::io::Error>(back)
    };
    timeout(LIMIT, talk)
        .await
        .expect("an end in time")
        .unwrap_or_default()
}

#[test]
fn a_server_with_several_paths() {
    with_both(|mut world, peer| async move {
        let ports = [10001, 10002, 10003];
        world
            .publish(peer, &published("server-several-paths.json"), &ports)
            .await;
        let location = |path: &str, port: u16| {
            configs::documented_location(port).replace("location /ray", &format!("location {path}"))
        };
        nginx(
            &mut world,
            &(location("/old", 10001) + &location("/new", 10002)),
        )
        .await;
        let mut early = wss("/new");
        early["wsSettings"]["maxEarlyData"] = json!(1024);
        client(&mut world, V2ray434, SOCKS, ID, 443, wss("/old")).await;
        client(&mut world, V2ray445, SOCKS + 1, SECOND_ID, 443, early).await;
        client(
            &mut world,
            V2ray445,
            SOCKS + 2,
            THIRD_ID,
            10003,
            json!({"network": "tcp"}),
        )
        .await;
        carries_all(&world, SOCKS).await;
        carries_all(&world, SOCKS + 1).await;
        assert!(world.seen(SOCKS + 2, &WWW).await.is_some());
        assert!(
            !echoed(SOCKS + 2, &To::Ip(traffic::udp_echo().await)).await,
            "no UDP there"
        );
        // Each path has its own users.
        client(&mut world, Mobula, SOCKS + 3, SECOND_ID, 443, wss("/old")).await;
        assert!(world.is_silent(SOCKS + 3, &WWW).await);
    });
}

/// A machine in between: users know it, and it knows the server.
#[test]
fn a_relay() {
    with_both(|mut world, peer| async move {
        let files = "/usr/local/etc/v2ray";
        let config = json!({
            "inbounds": [{
                "listen": SERVERS[0], "port": 443, "protocol": "vmess", "settings": {"clients": [{"id": ID}]},
                "streamSettings": {
                    "network": "ws", "security": "tls", "wsSettings": {"path": "/ray"},
                    "tlsSettings": {"certificates": [{
                        "certificateFile": format!("{files}/fullchain.pem"), "keyFile": format!("{files}/privkey.pem"),
                    }]},
                },
            }],
            "outbounds": [{"protocol": "freedom", "sendThrough": SERVERS[1]}],
        });
        world.stage.run(V2ray434, "server", &config, &[443]).await;
        world
            .publish(peer, &published("relay.json"), &[20443])
            .await;
        client(&mut world, V2ray445, SOCKS, THIRD_ID, 20443, ws("/relay")).await;
        assert_eq!(world.seen(SOCKS, &WWW).await, Some(IpAddr::V4(SERVERS[1])));
        traffic::both_ways(SOCKS, 1024 * 1024).await;
        let wanted = "accepted tcp:www.example.com:80 [to-server] email: alice@example.com";
        world.stage.until_file_has(ACCESS, wanted).await;
    });
}
