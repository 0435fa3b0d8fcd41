//! A rule on addresses is to hold for names, whatever their name server says the next time it is asked.
//!
//! A server keeps its users from [`PRIVATE`] and from itself. In its world a name server answers every question
//! for a name differently, and the built-in DNS need not know what the system's resolver knows.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::Stdio;
use std::time::Duration;

use mobula::address::Host;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::UdpSocket;
use tokio::time::timeout;

use crate::configs::Vmess;
use crate::peers::{
    Peer::{Mobula, V2ray445},
    free_port, python,
};
use crate::traffic::{self, To};
use crate::world::{self, ABROAD, NAME_SERVERS, NAS, PRIVATE, SERVERS, World, visit};

const NAME: &str = "changing.example.com";

/// A server of ours with these rules in front of the usual one, and these settings of `freedom`.
struct Gate {
    socks: u16,
    /// A VMess client's SOCKS port, without and with mux.
    tunnels: [u16; 2],
}

impl Gate {
    async fn start(world: &mut World, name: &str, change: impl FnOnce(&mut Value)) -> Self {
        let [vmess, socks, tunnel, shared] = std::array::from_fn(|_| free_port());
        let mut config = json!({
            "log": {"loglevel": "debug"},
            // The second one is asked by the built-in DNS, the first one by the system.
            "dns": {"servers": [NAME_SERVERS[1].to_string()]},
            "inbounds": [
                {
                    "tag": "socks", "listen": "127.0.0.1", "port": socks, "protocol": "socks",
                    "settings": {"udp": true, "ip": "127.0.0.1"},
                },
                {
                    "tag": "vmess", "listen": "127.0.0.1", "port": vmess, "protocol": "vmess",
                    "settings": {"clients": [{"id": crate::configs::ID}]},
                },
            ],
            "outbounds": [
                {"tag": "direct", "protocol": "freedom"},
                {"tag": "blocked", "protocol": "blackhole"},
            ],
            "routing": {
                "domainStrategy": "IPIfNonMatch",
                "rules": [
                    {"type": "field", "ip": [PRIVATE.to_string(), "127.0.0.0/8"], "outboundTag": "blocked"},
                ],
            },
        });
        change(&mut config);
        world
            .stage
            .run(Mobula, name, &config, &[socks, vmess])
            .await;
        for (client, port, mux) in [("a", tunnel, false), ("b", shared, true)] {
            let mux = json!({"mux": {"enabled": mux}});
            let mut config = Vmess {
                outbound: mux,
                ..Vmess::tcp()
            }
            .client(V2ray445, port, vmess);
            // Nobody waits for the other direction of a session that was refused.
            config["policy"]["levels"]["0"] = json!({"uplinkOnly": 0, "downlinkOnly": 0});
            let name = format!("{name}-client-{client}");
            world.stage.run(V2ray445, &name, &config, &[port]).await;
        }
        Self {
            socks,
            tunnels: [tunnel, shared],
        }
    }

    fn proxies(&self) -> [u16; 3] {
        [self.socks, self.tunnels[0], self.tunnels[1]]
    }
}

/// What the built-in DNS hears, one answer after the other; the system would always hear of what is forbidden.
fn dns_says(world: &World, ips: &[Ipv4Addr]) {
    world.name_servers[0].changes(NAME, &[PRIVATE]);
    world.name_servers[1].changes(NAME, ips);
}

fn web(ip: Ipv4Addr) -> Option<IpAddr> {
    Some(ip.into())
}

#[test]
fn what_the_rules_saw_is_what_is_dialled() {
    world::run(|mut world| async move {
        let settings = [
            ("as-is", json!({})),
            ("use-ip", json!({"domainStrategy": "UseIP"})),
            ("use-ipv4", json!({"domainStrategy": "UseIPv4"})),
        ];
        for (name, settings) in settings {
            let gate = Gate::start(&mut world, name, |config| {
                config["outbounds"][0]["settings"] = settings;
            })
            .await;
            for proxy in gate.proxies() {
                dns_says(&world, &[ABROAD, PRIVATE]);
                let seen = world.seen(proxy, &To::Name(NAME, 80)).await;
                assert_eq!(
                    seen,
                    web(ABROAD),
                    "{name}: the address that was let through"
                );
                let seen = world.seen(proxy, &To::Name(NAME, 80)).await;
                assert_eq!(seen, None, "{name}: a rule holds for the next session");
            }
        }
    });
}

#[test]
fn a_name_that_only_the_system_knows_is_asked_of_the_rules_too() {
    world::run(|mut world| async move {
        let gate = Gate::start(&mut world, "gate", |config| {
            let servers = &mut config["dns"]["servers"];
            *servers = json!([SERVERS[0].to_string(), "localhost"]);
            config["dns"]["servers"][0] = NAME_SERVERS[1].to_string().into();
            config["dns"]["disableFallbackIfMatch"] = true.into();
        })
        .await;
        for proxy in gate.proxies() {
            // The built-in DNS has no such name.
            world.name_servers[0].changes(NAME, &[PRIVATE, ABROAD, PRIVATE]);
            assert_eq!(world.seen(proxy, &To::Name(NAME, 80)).await, None);
            let seen = world.seen(proxy, &To::Name(NAME, 80)).await;
            assert_eq!(seen, web(ABROAD), "what a rule does not forbid");
            assert_eq!(world.seen(proxy, &To::Name(NAME, 80)).await, None);
            for spelling in [
                "2130706433",
                "127.1",
                "0x7f000001",
                "0",
                "localhost.",
                "0300.0250.0x7.1",
            ] {
                let seen = world.seen(proxy, &To::Name(spelling, 80)).await;
                assert_eq!(seen, None, "{spelling}");
            }
        }
    });
}

#[test]
fn datagrams_go_where_the_rules_saw_them_go() {
    world::run(|mut world| async move {
        let port = free_port();
        for at in [ABROAD, PRIVATE, Ipv4Addr::LOCALHOST] {
            let socket = UdpSocket::bind((at, port)).await.unwrap();
            tokio::spawn(async move {
                let mut buf = [0; 64];
                while let Ok((_, from)) = socket.recv_from(&mut buf).await {
                    let said = format!("={at}");
                    let _ = socket.send_to(said.as_bytes(), from).await;
                }
            });
        }
        for (name, strategy) in [("as-is", "AsIs"), ("use-ip", "UseIP")] {
            let gate = Gate::start(&mut world, name, |config| {
                config["outbounds"][0]["settings"] = json!({"domainStrategy": strategy});
            })
            .await;
            for proxy in gate.proxies() {
                dns_says(&world, &[ABROAD, PRIVATE]);
                let to = To::Name(NAME, port);
                let said = answers(proxy, &to, 3).await;
                assert_eq!(said, vec![ABROAD.to_string(); 3], "{name}");
                assert_eq!(answers(proxy, &to, 1).await, [""; 0], "{name}");
                for to in [To::Name("127.1", port), To::Name("0x0", port)] {
                    assert_eq!(answers(proxy, &to, 1).await, [""; 0], "{name}");
                }
            }
            // What the system alone knows.
            world.name_servers[0].changes("system.example.com", &[PRIVATE]);
            let to = To::Name("system.example.com", port);
            assert_eq!(answers(gate.socks, &to, 1).await, [""; 0], "{name}");
        }
    });
}

/// What comes back by one association for datagrams to `to`.
async fn answers(proxy: u16, to: &To, count: usize) -> Vec<String> {
    let (association, relay) = traffic::associate(proxy).await;
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let mut said = Vec::new();
    for _ in 0..count {
        let datagram = traffic::datagram(to, b"?");
        socket.send_to(&datagram, relay).await.unwrap();
        let mut buf = [0; 256];
        // Where several are asked for, they are expected.
        let wait = Duration::from_millis(if count > 1 { 3000 } else { 300 });
        if let Ok(n) = timeout(wait, socket.recv(&mut buf)).await {
            // Any byte may stand in front: the address and the port.
            let text = buf[..n.unwrap()].rsplit(|b| *b == b'=').next();
            said.push(String::from_utf8_lossy(text.unwrap_or_default()).into_owned());
        }
    }
    drop(association);
    said
}

#[test]
fn every_way_to_freedom_keeps_the_addresses() {
    world::run(|mut world| async move {
        let inner = free_port();
        let gate = Gate::start(&mut world, "gate", |config| {
            let inbound = json!({
                "tag": "inner", "listen": "127.0.0.1", "port": inner, "protocol": "socks",
            });
            config["inbounds"].as_array_mut().unwrap().push(inbound);
            config["outbounds"] = json!([
                {"tag": "round", "protocol": "loopback", "settings": {"inboundTag": "again"}},
                {"tag": "blocked", "protocol": "blackhole"},
                {"tag": "chain", "protocol": "freedom", "proxySettings": {"tag": "last"}},
                {"tag": "last", "protocol": "freedom", "settings": {"domainStrategy": "UseIP"}},
                {
                    "tag": "four", "protocol": "socks",
                    "settings": {"version": "4", "address": "127.0.0.1", "port": inner},
                },
            ]);
            let rules = config["routing"]["rules"].as_array_mut().unwrap();
            for (inbound, port, tag) in [
                ("again", "25", "four"),
                ("again", "80", "chain"),
                ("inner", "25", "last"),
                ("dns", "53", "last"),
            ] {
                rules.push(json!({
                    "type": "field", "inboundTag": [inbound], "port": port, "outboundTag": tag,
                }));
            }
            config["dns"]["tag"] = "dns".into();
            config["routing"]["domainStrategy"] = "IPOnDemand".into();
        })
        .await;
        dns_says(&world, &[ABROAD, PRIVATE]);
        let seen = world.seen(gate.socks, &To::Name(NAME, 80)).await;
        assert_eq!(seen, web(ABROAD), "a loopback and a chain");
        dns_says(&world, &[ABROAD, PRIVATE]);
        let seen = world.seen(gate.socks, &To::Name(NAME, 25)).await;
        assert_eq!(seen, web(ABROAD), "a protocol without names");
    });
}

#[test]
fn a_name_that_is_only_claimed_does_not_hide_an_address() {
    world::run(|mut world| async move {
        for route_only in [true, false] {
            let name = format!("route-only-{route_only}");
            let gate = Gate::start(&mut world, &name, |config| {
                let sniffing = json!({
                    "enabled": true, "destOverride": ["http"], "routeOnly": route_only,
                });
                config["inbounds"][0]["sniffing"] = sniffing;
                config["routing"]["rules"].as_array_mut().unwrap().push(json!({
                    "type": "field", "domain": ["full:mail.example.com"], "outboundTag": "blocked",
                }));
            })
            .await;
            let visits = |to: Ipv4Addr, host: &'static str| async move {
                let to = To::Ip(SocketAddr::from((to, 80)));
                let mut stream = traffic::connect(gate.socks, &to).await.unwrap();
                let seen = timeout(traffic::LIMIT, visit(&mut stream, host))
                    .await
                    .unwrap();
                let _ = stream.shutdown().await;
                seen
            };
            let claimed = visits(PRIVATE, "www.example.com").await;
            match route_only {
                true => assert_eq!(claimed, None, "where it goes is forbidden"),
                false => assert_eq!(claimed, web(ABROAD), "it goes to what it claims"),
            }
            assert_eq!(visits(ABROAD, "mail.example.com").await, None);
            assert_eq!(
                visits(ABROAD, "inside.example.org").await.is_some(),
                route_only
            );
            assert!(visits(NAS, "www.example.com").await.is_some());
        }
    });
}

/// `getaddrinfo` itself says what it takes for an address without asking anybody.
const NUMERIC: &str = "
import socket, sys
for name in sys.stdin.read().splitlines():
    try:
        print(socket.getaddrinfo(name, 0, flags=socket.AI_NUMERICHOST)[0][4][0])
    except (OSError, UnicodeError):
        print('-')
";

#[test]
fn what_the_system_takes_for_an_address_is_one_here() {
    const PARTS: [&str; 22] = [
        "",
        "0",
        "00",
        "1",
        "127",
        "08",
        "0177",
        "255",
        "256",
        "0x",
        "0x7f",
        "0XFF",
        "0x100",
        "65535",
        "65536",
        "16777215",
        "16777216",
        "4294967295",
        "4294967296",
        "0x7f000001",
        "a",
        "1a",
    ];
    let mut names: Vec<String> = PARTS.map(str::to_owned).to_vec();
    let pairs = PARTS.iter().flat_map(|a| PARTS.map(|b| format!("{a}.{b}")));
    names.extend(pairs);
    for a in 0..PARTS.len() * PARTS.len() * 4 {
        let part = |n: usize| PARTS[(a / n) % PARTS.len()];
        names.push(format!("{}.{}.{}", part(1), part(5), part(22)));
        names.push(format!("{}.{}.{}.{}", part(1), part(3), part(22), part(7)));
        names.push(format!("1.{}.2.{}.{}", part(1), part(22), part(3)));
    }
    names.extend(
        [
            "::1%lo",
            "fe80::1%1",
            "::127.0.0.1",
            "::ffff:1",
            "::1.2.3.4",
        ]
        .map(str::to_owned),
    );
    let mut child = python()
        .args(["-c", NUMERIC])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python runs");
    let input = names.join("\n");
    let mut stdin = child.stdin.take().unwrap();
    let writing = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output().unwrap();
    writing.join().unwrap().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(said.lines().count(), names.len());
    let mut addresses = 0;
    for (name, said) in names.iter().zip(said.lines()) {
        match (Host::parse(name), said.parse::<IpAddr>()) {
            (Ok(Host::Ip(ours)), Ok(theirs)) => {
                assert_eq!(ours, theirs.to_canonical(), "{name}");
                addresses += 1;
            }
            // A dot at the end is for servers of names, which have none of these.
            (Ok(Host::Ip(_)), Err(_)) => assert!(name.ends_with('.'), "{name}"),
            (Ok(Host::Domain(_)), theirs) => {
                assert!(theirs.is_err() && said == "-", "{name}: {said}")
            }
            (Err(_), _) => {}
        }
    }
    assert!(addresses > 200, "{addresses} of {}", names.len());
}
