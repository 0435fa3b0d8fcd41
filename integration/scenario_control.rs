//! The users of a proxy try to become its operator: sessions that go back to where the process listens for its
//! own API, by every spelling and on every way.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::configs::{ID, Vmess};
use crate::peers::{
    Peer::{Mobula, V2ray445},
    Stage, free_port, mobula, python, root,
};
use crate::traffic::{self, To};

/// Names of this machine, and names that the system reads as its address.
const NAMES: [&str; 13] = [
    "127.0.0.1",
    "localhost",
    "LocalHost.",
    "0.0.0.0",
    "::ffff:127.0.0.1",
    "2130706433",
    "0x7f000001",
    "0X7F.1",
    "0177.0.0.1",
    "127.1",
    "127.0.0.1.",
    "0",
    "here.test",
];

/// What a client of the API begins with, and its empty settings.
const HTTP2: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// A server with an API, in the shape of docs/api.md, and ways into it.
struct Server {
    stage: Stage,
    api: u16,
    socks: u16,
    http: u16,
    /// An open SOCKS port for this machine's own programs.
    inner: u16,
    /// A VMess client's SOCKS port, without and with mux.
    tunnels: [u16; 2],
}

impl Server {
    /// `change` makes the config another one.
    async fn start(change: impl FnOnce(&mut Value, u16)) -> Self {
        let ports: [u16; 7] = std::array::from_fn(|_| free_port());
        let [api, vmess, socks, http, inner, tunnel, shared] = ports;
        let mut config = json!({
            "log": {"loglevel": "debug"},
            "stats": {},
            "dns": {"hosts": {"here.test": "127.0.0.1"}},
            "api": {"tag": "api", "services": ["HandlerService", "StatsService"]},
            "inbounds": [
                {
                    "tag": "panel", "listen": "127.0.0.1", "port": api, "protocol": "dokodemo-door",
                    "settings": {"address": "127.0.0.1", "network": "tcp,udp"},
                },
                {
                    "tag": "vmess", "listen": "127.0.0.1", "port": vmess, "protocol": "vmess",
                    "settings": {"clients": [{"id": ID}]},
                    "streamSettings": {"network": "ws", "wsSettings": {"path": "/ray"}},
                },
                {
                    "tag": "socks", "listen": "127.0.0.1", "port": socks, "protocol": "socks",
                    "settings": {"udp": true, "ip": "127.0.0.1"},
                },
                {"tag": "http", "listen": "127.0.0.1", "port": http, "protocol": "http"},
                {"tag": "inner", "listen": "127.0.0.1", "port": inner, "protocol": "socks"},
            ],
            "outbounds": [
                {"tag": "direct", "protocol": "freedom", "settings": {"domainStrategy": "UseIP"}},
                {"tag": "first", "protocol": "freedom", "proxySettings": {"tag": "direct"}},
                {"tag": "api", "protocol": "freedom"},
                {"tag": "apart", "protocol": "blackhole"},
                {"tag": "past", "protocol": "freedom", "proxySettings": {"tag": "api"}},
                {
                    "tag": "back", "protocol": "freedom",
                    "settings": {"redirect": format!("127.0.0.1:{api}")},
                },
            ],
            "routing": {"rules": [
                {"type": "field", "inboundTag": ["panel"], "outboundTag": "api"},
                {"type": "field", "domain": ["full:chain.test"], "outboundTag": "first"},
                {"type": "field", "domain": ["full:back.test"], "outboundTag": "back"},
                {"type": "field", "domain": ["full:past.test"], "outboundTag": "past"},
                {"type": "field", "domain": ["full:balanced.test"], "balancerTag": "balancer"},
            ], "balancers": [{"tag": "balancer", "selector": ["ap"]}]},
        });
        change(&mut config, api);
        let mut stage = Stage::new();
        let listening = [api, vmess, socks, http, inner];
        stage.run(Mobula, "server", &config, &listening).await;
        let mux = json!({"mux": {"enabled": true}});
        for (vmess_client, port) in [(Vmess::ws(), tunnel), (Vmess::ws_with(mux), shared)] {
            let mut config = vmess_client.client(V2ray445, port, vmess);
            // Nobody waits for the other direction of a session that was refused.
            config["policy"]["levels"]["0"] = json!({"uplinkOnly": 0, "downlinkOnly": 0});
            let name = format!("client-{port}");
            stage.run(V2ray445, &name, &config, &[port]).await;
        }
        Self {
            stage,
            api,
            socks,
            http,
            inner,
            tunnels: [tunnel, shared],
        }
    }

    /// Where a proxy is asked to go to come back to the API.
    fn spellings(&self) -> Vec<To> {
        let names = NAMES.into_iter().map(|name| To::Name(name, self.api));
        let addresses = ["127.0.0.1", "0.0.0.0", "::1", "::", "::ffff:127.0.0.1"];
        let addresses = addresses.map(|ip| ip.parse().unwrap());
        let own = [machine()].into_iter().flatten();
        let addresses = addresses.into_iter().chain(own);
        let at = |ip: IpAddr| To::Ip(SocketAddr::new(ip, self.api));
        names.chain(addresses.map(at)).collect()
    }

    async fn answers_its_operator(&self) {
        let at = TcpStream::connect((Ipv4Addr::LOCALHOST, self.api)).await;
        assert!(is_api(at.unwrap()).await, "direct access");
        let mut command = mobula();
        command.args(["api", "stats", "-s", &format!("127.0.0.1:{}", self.api)]);
        let output = tokio::task::spawn_blocking(move || command.output());
        let output = output.await.unwrap().unwrap();
        assert!(output.status.success(), "{output:?}");
    }

    async fn is_kept_from_its_users(&self) {
        let mut attempts = JoinSet::new();
        for proxy in [self.socks, self.tunnels[0], self.tunnels[1]] {
            let names = ["chain.test", "back.test", "past.test"];
            // A balancer chooses by chance.
            let names = names.into_iter().chain(["balanced.test"; 8]);
            let names = names.map(|name| To::Name(name, self.api));
            for to in self.spellings().into_iter().chain(names) {
                attempts.spawn(async move {
                    assert!(!reached(proxy, &to).await, "{} by {proxy}", shown(&to));
                });
            }
        }
        let http = self.http;
        for name in NAMES {
            let at = format!("{name}:{}", self.api);
            for request in [
                format!("CONNECT {at} HTTP/1.1\r\nHost: {at}\r\n\r\n"),
                format!("PRI http://{at}/ HTTP/1.1\r\nHost: {at}\r\n\r\n"),
            ] {
                attempts.spawn(async move {
                    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, http))
                        .await
                        .unwrap();
                    stream.write_all(request.as_bytes()).await.unwrap();
                    assert!(!is_api(stream).await, "{request}");
                });
            }
        }
        attempts.join_all().await;
    }
}

/// An address of this machine that is not loopback, if it has one.
fn machine() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    // Nothing is sent.
    socket.connect("192.0.2.1:9").ok()?;
    let ip = socket.local_addr().ok()?.ip();
    (!ip.is_loopback() && !ip.is_unspecified()).then_some(ip)
}

fn shown(to: &To) -> String {
    match to {
        To::Ip(at) => at.to_string(),
        To::Name(name, port) => format!("{name}:{port}"),
    }
}

/// Whether a SOCKS proxy leads to the API.
async fn reached(proxy: u16, to: &To) -> bool {
    match traffic::connect(proxy, to).await {
        Ok(stream) => is_api(stream).await,
        Err(_) => false,
    }
}

/// Whether gRPC is spoken at the other end: a frame of settings comes first.
async fn is_api(mut stream: TcpStream) -> bool {
    let talk = async {
        stream.write_all(HTTP2).await?;
        let mut answer = Vec::new();
        // An HTTP proxy says something before.
        while !answer
            .windows(9)
            .any(|w| w[3..5] == [4, 0] && w[5..] == [0; 4])
        {
            let mut buf = [0; 512];
            match stream.read(&mut buf).await? {
                0 => return Ok(false),
                n => answer.extend_from_slice(&buf[..n]),
            }
        }
        Ok::<_, std::io::Error>(true)
    };
    // Nobody who is refused waits: an answer is a matter of milliseconds.
    timeout(Duration::from_secs(3), talk)
        .await
        .is_ok_and(|is| is.unwrap_or(false))
}

#[tokio::test]
async fn no_session_comes_to_the_api_of_its_own_process() {
    let server = Server::start(|_, _| {}).await;
    server.answers_its_operator().await;
    server.is_kept_from_its_users().await;
    server.answers_its_operator().await;
    let log = server.stage.log(0);
    assert!(
        log.contains("the API of this process listens there, and no session may go to it"),
        "{log}"
    );
    assert!(
        log.contains("outbounds[0] (direct): cannot connect to "),
        "{log}"
    );
}

#[tokio::test]
async fn an_api_that_listens_everywhere_or_by_itself_is_kept_too() {
    for (listen, own) in [
        ("0.0.0.0", false),
        ("::", false),
        ("127.0.0.1", true),
        ("0.0.0.0", true),
    ] {
        let server = Server::start(|config, api| {
            config["inbounds"][0]["listen"] = listen.into();
            if own {
                config["api"]["listen"] = format!("{listen}:{api}").into();
                config["inbounds"].as_array_mut().unwrap().remove(0);
                config["routing"]["rules"].as_array_mut().unwrap().remove(0);
            }
        })
        .await;
        server.answers_its_operator().await;
        server.is_kept_from_its_users().await;
    }
}

/// Rules that ask for more than the inbound, so that its listener serves others as well.
#[tokio::test]
async fn a_session_that_went_round_is_not_the_operators() {
    let rules = [
        json!({"inboundTag": ["panel"], "source": ["127.0.0.0/8", "10.0.0.0/8"]}),
        json!({"inboundTag": ["panel"], "ip": ["127.0.0.1"]}),
        json!({"inboundTag": ["panel", "inner"], "ip": ["127.0.0.0/8", "::1/128"]}),
        json!({"inboundTag": ["again"]}),
    ];
    for (i, mut rule) in rules.into_iter().enumerate() {
        let server = Server::start(|config, _| {
            rule["type"] = "field".into();
            rule["outboundTag"] = "api".into();
            config["routing"]["rules"][0] = rule;
            let round = json!({
                "tag": "round", "protocol": "loopback", "settings": {"inboundTag": "again"},
            });
            config["outbounds"].as_array_mut().unwrap().push(round);
            if i == 3 {
                let rule =
                    json!({"type": "field", "inboundTag": ["panel"], "outboundTag": "round"});
                config["routing"]["rules"]
                    .as_array_mut()
                    .unwrap()
                    .push(rule);
            }
        })
        .await;
        server.answers_its_operator().await;
        server.is_kept_from_its_users().await;
        let log = server.stage.log(0);
        let kept = "is kept out, only others may come in there";
        assert!(log.contains(kept), "{i}: {log}");
        // By another inbound of the same process.
        let through = Through {
            inner: server.inner,
            tunnel: server.tunnels[0],
        };
        assert!(!through.reaches(server.api).await, "{i}");
        let at = traffic::connect(server.inner, &To::Name("127.0.0.1", server.api)).await;
        let by_rule = is_api(at.unwrap()).await;
        assert_eq!(
            by_rule,
            i == 2,
            "what the rule says of the machine's own programs"
        );
    }
}

/// A tunnel to another inbound of the same process.
struct Through {
    inner: u16,
    tunnel: u16,
}

impl Through {
    async fn reaches(&self, api: u16) -> bool {
        let inner = To::Name("127.0.0.1", self.inner);
        let mut stream = traffic::connect(self.tunnel, &inner).await.unwrap();
        stream.write_all(&[5, 1, 0]).await.unwrap();
        let mut chosen = [0; 2];
        stream.read_exact(&mut chosen).await.unwrap();
        assert_eq!(chosen, [5, 0], "our own inbounds may be connected to");
        let mut request = vec![5, 1, 0, 1, 127, 0, 0, 1];
        request.extend(api.to_be_bytes());
        stream.write_all(&request).await.unwrap();
        let mut reply = [0; 10];
        stream.read_exact(&mut reply).await.is_ok() && is_api(stream).await
    }
}

/// A header of the PROXY protocol may say that somebody else came.
#[tokio::test]
async fn whoever_lies_about_where_they_come_from_is_kept_out() {
    let server = Server::start(|config, _| {
        config["inbounds"][0]["streamSettings"] = json!({"sockopt": {"acceptProxyProtocol": true}});
        config["routing"]["rules"][0]["source"] = json!(["10.0.0.0/8"]);
    })
    .await;
    let header = b"PROXY TCP4 10.1.1.1 127.0.0.1 1 2\r\n";
    let mut direct = TcpStream::connect((Ipv4Addr::LOCALHOST, server.api))
        .await
        .unwrap();
    direct.write_all(header).await.unwrap();
    assert!(is_api(direct).await);
    let (mut attempts, tunnel) = (JoinSet::new(), server.tunnels[0]);
    for to in server.spellings() {
        attempts.spawn(async move {
            if let Ok(mut stream) = traffic::connect(tunnel, &to).await {
                let _ = stream.write_all(header).await;
                assert!(!is_api(stream).await, "{}", shown(&to));
            }
        });
    }
    attempts.join_all().await;
}

#[tokio::test]
async fn datagrams_and_ordinary_loops_are_as_ever() {
    let server = Server::start(|_, _| {}).await;
    // Our own inbound may be connected to, and carries what it is asked for.
    let through = Through {
        inner: server.inner,
        tunnel: server.tunnels[0],
    };
    assert!(!through.reaches(server.api).await);
    traffic::word(server.tunnels[0], &To::Ip(traffic::echo().await)).await;
    traffic::datagrams(server.socks, &[64]).await;
    let (association, relay) = traffic::associate(server.socks).await;
    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let to = To::Name("127.0.0.1", server.api);
    socket
        .send_to(&traffic::datagram(&to, HTTP2), relay)
        .await
        .unwrap();
    let answer = timeout(Duration::from_millis(500), socket.recv(&mut [0; 64])).await;
    assert!(answer.is_err(), "{answer:?}");
    drop(association);
}

/// What comes and goes over the API is known as well, while it is there.
#[tokio::test]
async fn an_inbound_that_the_api_adds_is_kept_too() {
    let server = Server::start(|config, _| {
        let rule = json!({"type": "field", "inboundTag": ["panel", "late"], "outboundTag": "api"});
        config["routing"]["rules"][0] = rule;
    })
    .await;
    let port = free_port();
    let listen = json!({"ip": "fwAAAQ=="});
    let inbound = json!({"inbound": {
        "tag": "late",
        "receiverSettings": {
            "@type": "app.proxyman.ReceiverConfig",
            "portRange": {"From": port, "To": port}, "listen": listen,
        },
        "proxySettings": {"@type": "proxy.dokodemo.Config", "address": listen, "networks": ["TCP"]},
    }});
    let service = "app.proxyman.command.HandlerService";
    assert_eq!(
        call(server.api, &format!("{service}/AddInbound"), &inbound).await,
        "{}"
    );
    let at = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await;
    assert!(is_api(at.unwrap()).await, "direct access");
    for to in [To::Name("localhost", port), To::Name("127.1", port)] {
        assert!(!reached(server.tunnels[0], &to).await, "{}", shown(&to));
    }
    let gone = json!({"tag": "late"});
    assert_eq!(
        call(server.api, &format!("{service}/RemoveInbound"), &gone).await,
        "{}"
    );
    // Whoever takes the port next is nothing to us.
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port))
        .await
        .unwrap();
    let to = To::Name("localhost", port);
    let (accepted, _stream) =
        tokio::join!(listener.accept(), traffic::connect(server.tunnels[0], &to));
    assert!(accepted.is_ok());
}

async fn call(api: u16, method: &str, request: &Value) -> String {
    let mut command = python();
    command
        .arg(root().join("integration/peers/grpc_call.py"))
        .arg(root().join("proto"))
        .arg(format!("127.0.0.1:{api}"))
        .args([method, &request.to_string()]);
    let output = tokio::task::spawn_blocking(move || command.output());
    let output = output.await.unwrap().expect("python runs");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}
