//! DNS of Clash's and sing-box' own files: each file by the program that it is for, and by mobula.

use std::net::SocketAddr;

use hickory_proto::rr::RecordType;
use serde_json::{Value, json};
use tokio::net::UdpSocket;

use crate::name_server::{NameServer, question, shown};
use crate::peers::Peer::{self, Mihomo, Mobula, SingBox};
use crate::peers::{Stage, free_port, mobula};
use crate::traffic::{self, To};

/// Starts `peer` with the file; the SOCKS of both is at `socks`.
pub async fn run(stage: &mut Stage, peer: Peer, config: &Value, socks: u16) {
    match peer {
        Mobula => {
            let file = stage.write("theirs", config.to_string());
            let mut command = mobula();
            command.args(["run", "-c"]).arg(file);
            stage.start("mobula", &mut command, &[socks]).await;
        }
        peer => {
            stage.run(peer, "peer", config, &[socks]).await;
            if peer == Mihomo {
                traffic::ready(socks).await;
            }
        }
    }
}

async fn arrives(socks: u16, name: &'static str, target: SocketAddr) {
    let mut stream = traffic::connect(socks, &To::Name(name, target.port())).await;
    let stream = stream.as_mut().expect("it is connected");
    traffic::exchange(stream, b"word").await;
}

#[tokio::test]
async fn clash_asks_whom_it_names_and_hosts_are_known() {
    for peer in [Mihomo, Mobula] {
        let mut stage = Stage::new();
        let [names, policy] = ["names", "policy"].map(NameServer::new);
        names.has("a.test", &["127.0.0.1"]);
        policy.has("b.test", &["127.0.0.1"]);
        let echo = traffic::echo().await;
        let socks = free_port();
        let config = json!({
            "mixed-port": socks, "mode": "rule", "log-level": "debug", "find-process-mode": "off",
            "dns": {
                "enable": true, "nameserver": [names.run().await.to_string()],
                "nameserver-policy": {"+.b.test": policy.run().await.to_string()},
            },
            "hosts": {"*.c.test": "127.0.0.1"},
            "proxies": [{"name": "far", "type": "trojan", "server": "192.0.2.1", "port": 443, "password": "sesame"}],
            "rules": ["IP-CIDR,192.0.2.0/24,far", "MATCH,DIRECT"],
        });
        run(&mut stage, peer, &config, socks).await;
        for name in ["a.test", "b.test", "x.c.test"] {
            arrives(socks, name, echo).await;
        }
        // They ask for IPv6 as well, and mihomo more than once.
        for server in [names, policy] {
            assert!(server.forget_questions() > 0, "{peer:?}");
        }
    }
}

#[tokio::test]
async fn sing_box_asks_whom_it_names_and_answers_questions_itself() {
    for peer in [SingBox, Mobula] {
        let mut stage = Stage::new();
        let [names, others] = ["names", "others"].map(NameServer::new);
        names.has("a.test", &["127.0.0.1"]);
        others.has("b.test", &["127.0.0.2"]);
        let echo = traffic::echo().await;
        let [socks, door] = [free_port(), free_port()];
        let server = |tag: &str, at: SocketAddr| json!({"type": "udp", "tag": tag, "server": "127.0.0.1", "server_port": at.port()});
        let config = json!({
            "log": {"level": "debug"},
            "dns": {
                "servers": [server("names", names.run().await), server("others", others.run().await)],
                "rules": [{"domain_suffix": "b.test", "server": "others"}],
                "final": "names", "strategy": "ipv4_only",
            },
            "inbounds": [
                {"type": "mixed", "listen": "127.0.0.1", "listen_port": socks},
                {
                    "type": "direct", "tag": "door", "listen": "127.0.0.1", "listen_port": door,
                    "override_address": "192.0.2.1", "override_port": 53,
                },
            ],
            "outbounds": [
                {"type": "trojan", "tag": "far", "server": "192.0.2.1", "server_port": 443, "password": "sesame"},
                {"type": "direct", "tag": "direct"},
            ],
            "route": {
                "rules": [{"action": "sniff"}, {"protocol": "dns", "action": "hijack-dns"}, {"port": 25, "outbound": "far"}],
                "final": "direct", "default_domain_resolver": "names",
            },
        });
        run(&mut stage, peer, &config, socks).await;
        arrives(socks, "a.test", echo).await;
        let udp = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
        let door = SocketAddr::from(([127, 0, 0, 1], door));
        let asked = question("b.test", RecordType::A);
        let mut buf = [0; 4096];
        let n = traffic::answered(&udp, door, &asked, &mut buf).await;
        assert_eq!(shown(&buf[..n]), "NoError 127.0.0.2", "{peer:?}");
        // Of anything but addresses nobody is asked here, least of all whom the client names.
        let asked = question("b.test", RecordType::HTTPS);
        let n = traffic::answered(&udp, door, &asked, &mut buf).await;
        if peer == Mobula {
            assert_eq!(shown(&buf[..n]), "Refused");
            assert_eq!(others.forget_questions(), 1);
        } else {
            assert!(others.forget_questions() > 0);
        }
        assert!(names.forget_questions() > 0, "{peer:?}");
    }
}
