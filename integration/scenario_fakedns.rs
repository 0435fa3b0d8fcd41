//! `fakedns`: who asks is given a made-up address, and a connection to it arrives as the name; as in V2Ray, with the same config.

use std::net::{Ipv4Addr, SocketAddr};

use hickory_proto::rr::RecordType::{self, A, AAAA};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use crate::configs::{Vmess, saying};
use crate::name_server::{NameServer, question, shown};
use crate::peers::Peer::{self, Mihomo, Mobula, SingBox, V2ray445};
use crate::peers::{Stage, free_port};
use crate::traffic::{self, LIMIT, To};

/// A client with a door for questions and a SOCKS proxy that looks for made-up addresses.
struct Client {
    stage: Stage,
    door: u16,
    socks: u16,
}

impl Client {
    /// `more` takes the place of what stands here under the same keys.
    async fn run(peer: Peer, override_by: &str, more: Value) -> Self {
        let mut stage = Stage::new();
        let (door, socks) = (free_port(), free_port());
        let mut config = json!({
            "log": {"loglevel": "debug", "error": "client.log"},
            "dns": {"servers": ["fakedns"]},
            "inbounds": [
                {
                    "tag": "door", "listen": "127.0.0.1", "port": door, "protocol": "dokodemo-door",
                    "settings": {"address": "192.0.2.53", "port": 53, "network": "tcp,udp"},
                },
                {
                    "listen": "127.0.0.1", "port": socks, "protocol": "socks", "settings": {"udp": true},
                    "sniffing": {
                        "enabled": true, "destOverride": [override_by],
                        "metadataOnly": override_by == "fakedns",
                    },
                },
            ],
            "outbounds": [],
            "routing": {"rules": [{"type": "field", "inboundTag": ["door"], "outboundTag": "dns-out"}]},
        });
        for (key, value) in more.as_object().expect("keys") {
            match (key.as_str(), value) {
                ("rules", Value::Array(rules)) => {
                    let all = config["routing"]["rules"].as_array_mut().expect("rules");
                    all.extend(rules.iter().cloned());
                }
                _ => config[key] = value.clone(),
            }
        }
        let outbounds = config["outbounds"].as_array_mut().expect("outbounds");
        outbounds.push(json!({"tag": "dns-out", "protocol": "dns"}));
        stage.run(peer, "client", &config, &[door, socks]).await;
        Self { stage, door, socks }
    }

    async fn ask(&self, network: &str, name: &str, kind: RecordType) -> String {
        let question = question(name, kind);
        let to = (Ipv4Addr::LOCALHOST, self.door);
        let mut answer = vec![0; 4096];
        let asking = async {
            if network == "udp" {
                let socket = UdpSocket::bind("127.0.0.1:0").await?;
                socket.send_to(&question, to).await?;
                let n = socket.recv(&mut answer).await?;
                answer.truncate(n);
            } else {
                let mut stream = TcpStream::connect(to).await?;
                stream.write_u16(question.len() as u16).await?;
                stream.write_all(&question).await?;
                let n = stream.read_u16().await?;
                answer.truncate(n.into());
                stream.read_exact(&mut answer).await?;
            }
            std::io::Result::Ok(())
        };
        let asked = timeout(LIMIT, asking).await.expect("an answer in time");
        asked.expect("an answer");
        shown(&answer)
    }

    /// The made-up address of a name.
    async fn address(&self, name: &str) -> Ipv4Addr {
        let answer = self.ask("udp", name, A).await;
        let ip = answer.rsplit(' ').next().and_then(|ip| ip.parse().ok());
        ip.unwrap_or_else(|| panic!("{name}: {answer}"))
    }
}

fn at(ip: Ipv4Addr, port: u16) -> To {
    To::Ip(SocketAddr::from((ip, port)))
}

#[tokio::test]
async fn questions_are_answered_out_of_the_pools_as_by_v2ray() {
    let mut all = Vec::new();
    for peer in [Mobula, V2ray445] {
        let real = NameServer::new("real");
        real.has("a.real.test", &["10.0.0.1"]);
        let port = real.run().await.port();
        let client = Client::run(
            peer,
            "fakedns",
            json!({
                "fakedns": [
                    {"ipPool": "198.18.0.0/28", "poolSize": 3},
                    {"ipPool": "fc00::7/18", "poolSize": 100},
                ],
                "dns": {
                    "servers": [
                        "fakedns",
                        {"address": "127.0.0.1", "port": port, "domains": ["domain:real.test"]},
                    ],
                    "hosts": {"fixed.test": "10.0.0.2", "alias.test": "one.test"},
                },
                "outbounds": [{"protocol": "freedom"}],
            }),
        )
        .await;
        let mut lines = Vec::new();
        for (network, name, kind) in [
            ("udp", "one.test", A),
            ("udp", "one.test", AAAA),
            ("tcp", "two.test", AAAA),
            ("tcp", "two.test", A),
            ("udp", "ONE.test", A),
            ("udp", "alias.test", A),
            ("udp", "a.real.test", A),
            ("udp", "fixed.test", A),
            // Three are remembered.
            ("udp", "three.test", A),
            ("udp", "one.test", A),
            ("udp", "four.test", A),
            ("udp", "one.test", A),
            ("udp", "two.test", A),
        ] {
            // V2Ray tells names in capitals apart.
            let name = match peer {
                V2ray445 => name.to_ascii_lowercase(),
                _ => name.to_owned(),
            };
            let answer = client.ask(network, &name, kind).await;
            lines.push(format!("{} {kind}: {answer}", name.to_ascii_lowercase()));
        }
        all.push(lines);
    }
    assert_eq!(all[0], all[1]);
    let has = |line: &str| assert!(all[0].iter().any(|l| l == line), "{line}: {:#?}", all[0]);
    has("one.test A: NoError 198.18.0.0");
    has("one.test AAAA: NoError fc00::7");
    has("a.real.test A: NoError 10.0.0.1");
    has("two.test A: NoError 198.18.0.4");
}

/// Without a pool there are V2Ray's usual ones, of the families that are asked for.
#[tokio::test]
async fn usual_pools_are_those_of_v2ray() {
    for strategy in ["UseIP", "UseIPv4", "UseIPv6"] {
        let mut all = Vec::new();
        for peer in [Mobula, V2ray445] {
            let more = json!({
                "dns": {"servers": ["fakedns"], "queryStrategy": strategy},
                "outbounds": [{"protocol": "freedom"}],
            });
            let client = Client::run(peer, "fakedns", more).await;
            let mut lines = Vec::new();
            for (network, kind) in [("udp", A), ("tcp", AAAA)] {
                lines.push(client.ask(network, "a.test", kind).await);
            }
            all.push(lines);
        }
        assert_eq!(all[0], all[1], "{strategy}");
    }
}

#[tokio::test]
async fn servers_of_every_kind_are_asked_for_the_name() {
    for (peer, server) in [
        (Mobula, V2ray445),
        (Mobula, SingBox),
        (Mobula, Mihomo),
        (Mobula, Mobula),
        (V2ray445, Mobula),
    ] {
        let mut far = Stage::new();
        let port = free_port();
        let vmess = Vmess::tcp();
        far.run(server, "server", &vmess.server(server, port), &[port])
            .await;
        let outbound = vmess.client(peer, 1, port)["outbounds"][0].clone();
        let client = Client::run(peer, "fakedns", json!({"outbounds": [outbound]})).await;
        // The far end alone knows where that is.
        let ip = client.address("localhost").await;
        assert_eq!(ip.octets()[..2], [198, 18], "{server:?}");
        let echo = traffic::echo().await;
        traffic::word(client.socks, &at(ip, echo.port())).await;
    }
}

#[tokio::test]
async fn datagrams_arrive_as_the_name_and_answers_come_from_the_address() {
    let mut far = Stage::new();
    let port = free_port();
    let vmess = Vmess::tcp();
    far.run(V2ray445, "server", &vmess.server(V2ray445, port), &[port])
        .await;
    let echo = traffic::udp_echo().await;
    let client = Client::run(
        Mobula,
        "fakedns",
        json!({
            "outbounds": [
                vmess.client(Mobula, 1, port)["outbounds"][0],
                {"tag": "echo", "protocol": "freedom", "settings": {"redirect": echo.to_string()}},
            ],
            "rules": [{"type": "field", "domain": ["full:echo.test"], "outboundTag": "echo"}],
        }),
    )
    .await;
    let (association, relay) = traffic::associate(client.socks).await;
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let there = client.address("there.test").await;
    let datagram = traffic::datagram(&at(there, 4000), b"a word");
    socket.send_to(&datagram, relay).await.unwrap();
    far.until_file_has("access.log", "udp:there.test:4000")
        .await;

    let named = client.address("echo.test").await;
    let datagram = traffic::datagram(&at(named, 4001), b"another");
    let mut buf = [0; 200];
    let n = traffic::answered(&socket, relay, &datagram, &mut buf).await;
    assert_eq!(
        buf[..n],
        datagram,
        "the answer names the address that was asked"
    );
    drop(association);
}

/// A datagram's route is kept, and the address it is for may be given to another name.
#[tokio::test]
async fn an_address_that_is_given_to_another_name_leads_there() {
    let [first, second] = [traffic::udp_echo().await, traffic::udp_echo().await];
    let outbound = |tag: &str, to: SocketAddr| json!({"tag": tag, "protocol": "freedom", "settings": {"redirect": to.to_string()}});
    let rule = |name: &str| json!({"type": "field", "domain": [format!("full:{name}.test")], "outboundTag": name});
    let more = json!({
        "fakedns": {"ipPool": "198.18.0.0/31", "poolSize": 1},
        "log": {"loglevel": "debug", "error": "client.log", "access": "access.log"},
        "outbounds": [outbound("one", first), outbound("three", second)],
        "rules": [rule("one"), rule("three")],
    });
    let client = Client::run(Mobula, "fakedns", more).await;
    let (association, relay) = traffic::associate(client.socks).await;
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let mut buf = [0; 200];
    let ip = client.address("one.test").await;
    let datagram = traffic::datagram(&at(ip, 4001), b"a word");
    let n = traffic::answered(&socket, relay, &datagram, &mut buf).await;
    assert_eq!(buf[..n], datagram);
    client.stage.until_file_has("access.log", "[one]").await;
    assert_ne!(client.address("two.test").await, ip);
    assert_eq!(client.address("three.test").await, ip, "there are two");
    let n = traffic::answered(&socket, relay, &datagram, &mut buf).await;
    assert_eq!(buf[..n], datagram);
    client.stage.until_file_has("access.log", "[three]").await;
    drop(association);
}

#[tokio::test]
async fn a_forgotten_address_is_refused_and_never_dialled() {
    let more = json!({
        "fakedns": {"ipPool": "127.0.0.0/8", "poolSize": 100},
        "outbounds": [{"protocol": "freedom"}],
    });
    let client = Client::run(Mobula, "fakedns", more).await;
    // Somebody does listen there.
    let echo = traffic::echo().await;
    let refused = traffic::connect(client.socks, &To::Ip(echo)).await;
    assert_eq!(refused.unwrap_err().to_string(), "SOCKS says 4");
    client
        .stage
        .until_file_has("client.log", "[fakedns-forgotten]")
        .await;
}

/// By its first bytes a forgotten address is known all the same, where they are looked at.
#[tokio::test]
async fn what_is_forgotten_is_found_in_the_content_as_by_v2ray() {
    for peer in [Mobula, V2ray445] {
        let more = json!({
            "outbounds": [saying("else").await, saying("named").await],
            "rules": [{"type": "field", "domain": ["full:a.example"], "outboundTag": "named"}],
        });
        let client = Client::run(peer, "fakedns+others", more).await;
        let talk = async {
            let to = at([198, 18, 9, 9].into(), 80);
            let mut stream = traffic::connect(client.socks, &to).await?;
            stream
                .write_all(b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n")
                .await?;
            let mut said = [0; 5];
            stream.read_exact(&mut said).await?;
            std::io::Result::Ok(said)
        };
        let said = timeout(LIMIT, talk).await.expect("in time").unwrap();
        assert_eq!(&said, b"named", "{peer:?}");
    }
}

#[tokio::test]
async fn names_that_are_resolved_here_are_never_made_up() {
    let real = NameServer::new("real");
    real.has("a.test", &["127.0.0.1"]);
    let port = real.run().await.port();
    let client = Client::run(
        Mobula,
        "fakedns",
        json!({
            "dns": {"servers": ["fakedns", {"address": "127.0.0.1", "port": port}]},
            "outbounds": [
                {"tag": "blocked", "protocol": "blackhole"},
                {"tag": "local", "protocol": "freedom", "settings": {"domainStrategy": "UseIP"}},
            ],
            "routing": {
                "domainStrategy": "IPIfNonMatch",
                "rules": [
                    {"type": "field", "inboundTag": ["door"], "outboundTag": "dns-out"},
                    {"type": "field", "ip": ["127.0.0.0/8"], "outboundTag": "local"},
                ],
            },
        }),
    )
    .await;
    let ip = client.address("a.test").await;
    assert_eq!(ip.octets()[..2], [198, 18]);
    assert!(!real.was_asked("a.test"));
    let echo = traffic::echo().await;
    traffic::word(client.socks, &at(ip, echo.port())).await;
    assert!(real.was_asked("a.test"));
}
