//! The built-in DNS and the `dns` outbound, against DNS servers of the test's own; the same config runs
//! in V2Ray, and both must answer every question alike.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use crate::configs::{Certificate, Vmess};
use crate::name_server::{NameServer, question, shown};
use crate::peers::{Peer, Stage, free_port};
use crate::traffic::{self, To};

const A: RecordType = RecordType::A;
const AAAA: RecordType = RecordType::AAAA;

#[tokio::test]
async fn questions_are_answered_as_by_v2ray() {
    let ours = answers(Peer::Mobula).await;
    let theirs = answers(Peer::V2ray445).await;
    assert_eq!(ours.len(), theirs.len());
    for (ours, theirs) in ours.iter().zip(&theirs) {
        assert_eq!(ours, theirs);
    }
    let has = |text: &str| assert!(ours.iter().any(|line| line == text), "{text}: {ours:#?}");
    has("udp two.test A: NoError 10.0.0.1 10.0.0.2, asked first");
    has("tcp two.test AAAA: NoError 2001:db8::1, asked first");
    has("udp silent.test A: NoError 10.9.9.9, asked first second");
    has("udp odd.test A: NoError 10.9.9.8, asked first second");
    has("tcp gone.test A: NXDomain, asked first");
    has("udp x.prior.test A: NoError 10.9.9.7, asked second");
    has("udp x.fixed.test A: NoError 1.2.3.4, asked");
    has("tcp text.test TXT: NoError third, asked third");
}

/// What `peer` answers to everything worth asking, and whom it asked; of each the first time only.
async fn answers(peer: Peer) -> Vec<String> {
    let servers = ["first", "second", "third"].map(NameServer::new);
    let [first, second, third] = &servers;
    for (name, ips) in [
        ("two.test", &["10.0.0.1", "10.0.0.2", "2001:db8::1"][..]),
        ("odd.test", &["11.0.0.1"]),
        ("real.test", &["10.0.0.3"]),
        ("empty.test", &[]),
    ] {
        first.has(name, ips);
    }
    for (name, ip) in [
        ("silent.test", "10.9.9.9"),
        ("odd.test", "10.9.9.8"),
        ("x.prior.test", "10.9.9.7"),
        ("broken.test", "10.9.9.6"),
        ("gone.test", "10.9.9.5"),
    ] {
        second.has(name, &[ip]);
    }
    first.says("silent.test", None);
    first.says("broken.test", Some(ResponseCode::ServFail));
    first.says("refused.test", Some(ResponseCode::Refused));
    let [at_first, at_second, at_third] =
        [first.run().await, second.run().await, third.run().await];
    let mut stage = Stage::new();
    let door = free_port();
    let config = json!({
        "log": {"loglevel": "debug"},
        "dns": {
            "servers": [
                {"address": "127.0.0.1", "port": at_first.port(), "expectIPs": ["10.0.0.0/8", "2001:db8::/32"]},
                {"address": "127.0.0.1", "port": at_second.port(), "domains": ["domain:prior.test"]},
            ],
            "hosts": {
                "domain:fixed.test": "1.2.3.4", "full:list.test": ["1.2.3.5", "::5"],
                "alias.test": "real.test", "chain.test": "alias.test", "keyword:word": "1.2.3.6",
            },
        },
        "inbounds": [{
            "tag": "door", "listen": "127.0.0.1", "port": door, "protocol": "dokodemo-door",
            "settings": {"address": "127.0.0.1", "port": at_third.port(), "network": "tcp,udp"},
        }],
        "outbounds": [{"protocol": "freedom"}, {"tag": "dns-out", "protocol": "dns"}],
        "routing": {"rules": [{"type": "field", "inboundTag": ["door"], "outboundTag": "dns-out"}]},
    });
    stage.run(peer, "peer", &config, &[door]).await;
    let mut lines = Vec::new();
    for (network, name, kind) in [
        ("udp", "two.test", A),
        ("udp", "two.test", A),
        ("tcp", "two.test", AAAA),
        ("udp", "silent.test", A),
        ("udp", "odd.test", A),
        ("udp", "empty.test", AAAA),
        ("tcp", "gone.test", A),
        ("udp", "gone.test", A),
        ("udp", "broken.test", A),
        ("udp", "refused.test", A),
        ("udp", "x.prior.test", A),
        ("udp", "x.fixed.test", A),
        ("udp", "x.fixed.test", AAAA),
        ("udp", "list.test", A),
        ("tcp", "list.test", AAAA),
        ("udp", "alias.test", A),
        ("udp", "chain.test", A),
        ("udp", "a-word-there.test", A),
        ("udp", "text.test", RecordType::TXT),
        ("tcp", "text.test", RecordType::TXT),
        ("udp", "real.test", RecordType::MX),
    ] {
        let answer = match network {
            "udp" => ask_by_udp(door, name, kind).await,
            _ => ask_by_tcp(door, &[(name, kind)]).await.remove(0),
        };
        let mut asked = String::new();
        for server in &servers {
            if server.forget_questions() > 0 {
                asked = format!("{asked} {}", server.name);
            }
        }
        lines.push(format!("{network} {name} {kind}: {answer}, asked{asked}"));
    }
    lines
}

#[tokio::test]
async fn xrays_rules_say_what_becomes_of_a_question() {
    let (inside, outside) = (NameServer::new("inside"), NameServer::new("outside"));
    inside.has("plain.test", &["10.0.0.1", "2001:db8::1"]);
    outside.has("x.direct.test", &["10.0.0.2"]);
    let (at_inside, at_outside) = (inside.run().await, outside.run().await);
    let dns = json!({"servers": [{"address": "127.0.0.1", "port": at_inside.port()}]});
    let mut stage = Stage::new();
    let door = free_port();
    let rules = json!({"rules": [
        {"action": "return", "rCode": 3, "domain": ["domain:ads.test"]},
        {"action": "direct", "domain": ["domain:direct.test"]},
        {"action": "drop", "qType": "15,28"},
        {"action": "hijack", "qType": 33, "rCode": 4},
    ]});
    let config = door_to_dns(door, at_outside, &dns, &rules);
    stage.run(Peer::Mobula, "rules", &config, &[door]).await;
    for (name, kind, expected) in [
        ("plain.test", A, "NoError 10.0.0.1"),
        ("x.ads.test", A, "NXDomain"),
        ("x.ads.test", RecordType::MX, "NXDomain"),
        ("x.direct.test", A, "NoError 10.0.0.2"),
        ("x.direct.test", RecordType::TXT, "NoError outside"),
        ("plain.test", AAAA, "nothing"),
        ("plain.test", RecordType::MX, "nothing"),
        ("plain.test", RecordType::SRV, "NotImp"),
        ("plain.test", RecordType::TXT, "NoError"),
    ] {
        let answer = said_by_udp(door, name, kind).await;
        assert_eq!(answer, expected, "{name} {kind}");
    }
    assert!(!inside.was_asked("x.direct.test") && !outside.was_asked("plain.test"));
    // What came before them.
    let door = free_port();
    let blocked = json!({"blockTypes": [28], "nonIPQuery": "skip"});
    let config = door_to_dns(door, at_outside, &dns, &blocked);
    stage.run(Peer::Mobula, "blocked", &config, &[door]).await;
    for (kind, expected) in [
        (A, "NoError 10.0.0.1"),
        (AAAA, "nothing"),
        (RecordType::TXT, "NoError outside"),
    ] {
        let answer = said_by_udp(door, "plain.test", kind).await;
        assert_eq!(answer, expected, "{kind}");
    }
}

#[tokio::test]
async fn the_hosts_file_of_the_system_answers_where_it_is_asked() {
    let server = NameServer::new("server");
    let at = server.run().await;
    server.has("localhost", &["10.0.0.9"]);
    let mut stage = Stage::new();
    for (counts, answer) in [(true, "NoError 127.0.0.1"), (false, "NoError 10.0.0.9")] {
        let door = free_port();
        let servers = json!([{"address": "127.0.0.1", "port": at.port()}]);
        let dns = json!({"servers": servers, "useSystemHosts": counts});
        let config = door_to_dns(door, at, &dns, &json!({}));
        let name = format!("peer-{door}");
        stage.run(Peer::Mobula, &name, &config, &[door]).await;
        assert_eq!(ask_by_udp(door, "localhost", A).await, answer);
        assert_eq!(server.was_asked("localhost"), !counts);
    }
}

#[tokio::test]
async fn many_questions_of_one_connection_are_answered_each() {
    let server = NameServer::new("server");
    server.has("a.test", &["10.0.0.1"]);
    server.has("b.test", &["10.0.0.2"]);
    let at = server.run().await;
    let mut stage = Stage::new();
    let door = free_port();
    let dns = json!({"servers": [format!("tcp://{at}")]});
    let config = door_to_dns(door, at, &dns, &json!({"nonIPQuery": "reject"}));
    stage.run(Peer::Mobula, "peer", &config, &[door]).await;
    let questions = [
        ("a.test", A),
        ("text.test", RecordType::TXT),
        ("b.test", A),
        ("a.test", A),
    ];
    let mut answers = ask_by_tcp(door, &questions).await;
    answers.sort();
    assert_eq!(
        answers,
        [
            "NoError 10.0.0.1",
            "NoError 10.0.0.1",
            "NoError 10.0.0.2",
            "Refused"
        ]
    );
}

#[tokio::test]
async fn servers_are_asked_by_https_in_both_versions() {
    for protocol in ["h2", "http/1.1"] {
        for (peer, scheme) in [
            (Peer::Mobula, "https"),
            (Peer::Mobula, "https+local"),
            (Peer::V2ray445, "https+local"),
        ] {
            let mut stage = Stage::new();
            let certificate = Certificate::new(&stage);
            let server = NameServer::new("server");
            server.has("a.test", &["10.0.0.1"]);
            let at = server.run_https(&certificate, protocol).await;
            let door = free_port();
            let url = format!("{scheme}://localhost:{}/dns-query", at.port());
            let config = door_to_dns(door, at, &json!({"servers": [url]}), &json!({}));
            let authority = Some(certificate.authority.as_path());
            stage
                .run_believing(authority, peer, "peer", &config, &[door])
                .await;
            for name in ["a.test", "a.test", "b.test"] {
                let expected = match name {
                    "a.test" => "NoError 10.0.0.1",
                    _ => "NXDomain",
                };
                assert_eq!(
                    ask_by_udp(door, name, A).await,
                    expected,
                    "{peer:?} {scheme} {protocol}"
                );
            }
            assert_eq!(
                server.forget_questions(),
                2,
                "the second answer was remembered"
            );
        }
    }
}

#[tokio::test]
async fn servers_are_asked_by_tls() {
    for scheme in ["tls", "tls+local"] {
        let mut stage = Stage::new();
        let certificate = Certificate::new(&stage);
        let server = NameServer::new("server");
        server.has("a.test", &["10.0.0.1"]);
        let at = server.run_tls(&certificate).await;
        let door = free_port();
        let url = format!("{scheme}://localhost:{}", at.port());
        let config = door_to_dns(door, at, &json!({"servers": [url]}), &json!({}));
        let authority = Some(certificate.authority.as_path());
        stage
            .run_believing(authority, Peer::Mobula, "peer", &config, &[door])
            .await;
        for (name, said) in [("a.test", "NoError 10.0.0.1"), ("b.test", "NXDomain")] {
            assert_eq!(ask_by_udp(door, name, A).await, said, "{scheme}");
        }
        assert_eq!(server.forget_questions(), 2);

        // Nobody vouches for it here.
        let stranger = free_port();
        let config = door_to_dns(stranger, at, &json!({"servers": [url]}), &json!({}));
        stage
            .run(Peer::Mobula, "stranger", &config, &[stranger])
            .await;
        assert_eq!(ask_by_udp(stranger, "a.test", A).await, "ServFail");
        assert_eq!(server.forget_questions(), 0);
    }
}

#[tokio::test]
async fn an_https_server_that_nobody_vouches_for_is_not_believed() {
    let mut stage = Stage::new();
    let certificate = Certificate::new(&stage);
    let server = NameServer::new("server");
    let at = server.run_https(&certificate, "h2").await;
    let door = free_port();
    let url = format!("https+local://localhost:{}/dns-query", at.port());
    let config = door_to_dns(door, at, &json!({"servers": [url]}), &json!({}));
    stage.run(Peer::Mobula, "peer", &config, &[door]).await;
    assert_eq!(ask_by_udp(door, "a.test", A).await, "ServFail");
    let text = "has no answer for a.test: no authority that this system believes has issued its certificate";
    stage.until_file_has("peer.log", text).await;
}

#[tokio::test]
async fn targets_are_resolved_and_questions_go_by_the_rules() {
    let by_tag = json!({"inboundTag": ["dns-in"]});
    let by_protocol = json!({"protocol": ["dns"]});
    let peers = [Peer::Mobula, Peer::V2ray445];
    let asked = peers.map(|peer| [(peer, &by_tag), (peer, &by_protocol)]);
    for (peer, questions) in asked.into_iter().flatten() {
        let mut rule = questions.clone();
        rule["type"] = "field".into();
        rule["outboundTag"] = "direct".into();
        let echo = traffic::echo().await.port();
        let server = NameServer::new("server");
        server.has("target.test", &["127.0.0.1"]);
        server.has("blocked.test", &["10.66.0.1"]);
        let at = server.run().await;
        let mut stage = Stage::new();
        let socks = free_port();
        let config = json!({
            "log": {"loglevel": "debug"},
            "dns": {
                "tag": "dns-in",
                "servers": [{"address": "127.0.0.1", "port": at.port()}],
                "hosts": {"hosted.test": "127.0.0.1", "other.test": "target.test"},
            },
            "inbounds": [{"listen": "127.0.0.1", "port": socks, "protocol": "socks"}],
            "outbounds": [
                {"tag": "blackhole", "protocol": "blackhole"},
                {"tag": "direct", "protocol": "freedom"},
                {"tag": "resolved", "protocol": "freedom", "settings": {"domainStrategy": "UseIPv4"}},
            ],
            "routing": {"domainStrategy": "IPIfNonMatch", "rules": [
                rule,
                {"type": "field", "ip": ["10.66.0.0/16"], "outboundTag": "blackhole"},
                {"type": "field", "ip": ["127.0.0.0/8"], "outboundTag": "resolved"},
            ]},
        });
        stage.run(peer, "peer", &config, &[socks]).await;
        for name in ["target.test", "hosted.test", "other.test"] {
            traffic::word(socks, &To::Name(name, echo)).await;
        }
        let blocked = traffic::connect(socks, &To::Name("blocked.test", echo)).await;
        if let Ok(mut stream) = blocked {
            let mut byte = [0];
            let end = timeout(LIMIT, stream.read(&mut byte))
                .await
                .expect("it ends soon");
            assert!(
                !matches!(end, Ok(1..)),
                "{peer:?}: a blocked target answers"
            );
        }
    }
}

#[tokio::test]
async fn questions_travel_through_a_tunnel() {
    for address in ["", "tcp://"] {
        let server = NameServer::new("server");
        server.has("a.test", &["10.0.0.1"]);
        let at = server.run().await;
        let mut stage = Stage::new();
        let (port, door, socks) = (free_port(), free_port(), free_port());
        let vmess = Vmess::ws();
        let server = vmess.server(Peer::V2ray445, port);
        stage.run(Peer::V2ray445, "server", &server, &[port]).await;
        let mut config = vmess.client(Peer::Mobula, socks, port);
        config["dns"] = match address {
            "" => json!({"servers": [{"address": "127.0.0.1", "port": at.port()}]}),
            scheme => json!({"servers": [format!("{scheme}{at}")]}),
        };
        let more = door_to_dns(door, at, &json!({}), &json!({}));
        config["inbounds"]
            .as_array_mut()
            .unwrap()
            .push(more["inbounds"][0].clone());
        config["outbounds"]
            .as_array_mut()
            .unwrap()
            .push(more["outbounds"][1].clone());
        config["routing"] = more["routing"].clone();
        stage.run(Peer::Mobula, "client", &config, &[door]).await;
        for _ in 0..2 {
            assert_eq!(ask_by_udp(door, "a.test", A).await, "NoError 10.0.0.1");
        }
        let asked = format!("127.0.0.1:{}", at.port());
        let log = stage.until_file_has("access.log", &asked).await;
        assert_eq!(log.matches(&asked).count(), 1, "{log}");
    }
}

/// It would wait for the answer to a question that waits for the way to it.
#[tokio::test]
async fn a_server_behind_an_outbound_with_a_strategy_is_not_asked_for_its_own_name() {
    let server = NameServer::new("server");
    server.has("a.test", &["10.0.0.1"]);
    let mut stage = Stage::new();
    let certificate = Certificate::new(&stage);
    let at = server.run_https(&certificate, "h2").await;
    let (port, door, socks) = (free_port(), free_port(), free_port());
    let vmess = Vmess::ws();
    let there = vmess.server(Peer::V2ray445, port);
    stage.run(Peer::V2ray445, "server", &there, &[port]).await;
    let mut config = vmess.client(Peer::Mobula, socks, port);
    config["outbounds"][0]["domainStrategy"] = "UseIP".into();
    let url = format!("https://localhost:{}/dns-query", at.port());
    let more = door_to_dns(door, at, &json!({"servers": [url]}), &json!({}));
    config["dns"] = more["dns"].clone();
    config["inbounds"] = more["inbounds"].clone();
    let dns_out = more["outbounds"][1].clone();
    config["outbounds"].as_array_mut().unwrap().push(dns_out);
    config["routing"] = more["routing"].clone();
    let authority = Some(certificate.authority.as_path());
    stage
        .run_believing(authority, Peer::Mobula, "client", &config, &[door])
        .await;
    assert_eq!(ask_by_udp(door, "a.test", A).await, "NoError 10.0.0.1");
}

#[tokio::test]
async fn an_outbound_with_a_strategy_asks_its_server_for_addresses() {
    let echo = traffic::echo().await.port();
    let mut stage = Stage::new();
    let (port, socks) = (free_port(), free_port());
    let vmess = Vmess::ws();
    let server = vmess.server(Peer::V2ray445, port);
    stage.run(Peer::V2ray445, "server", &server, &[port]).await;
    let mut config = vmess.client(Peer::Mobula, socks, port);
    config["dns"] = json!({"hosts": {"only-here.test": "127.0.0.1"}});
    config["outbounds"][0]["domainStrategy"] = "UseIP".into();
    stage.run(Peer::Mobula, "client", &config, &[socks]).await;
    traffic::word(socks, &To::Name("only-here.test", echo)).await;

    // Xray's longer word has no name sent on that has no such address; the shorter one has.
    let port = free_port();
    let mut server = vmess.server(Peer::Mobula, port);
    server["dns"] = json!({"hosts": {"four.test": "127.0.0.1"}});
    server["outbounds"] = json!([{"protocol": "freedom", "settings": {"domainStrategy": "UseIP"}}]);
    stage.run(Peer::Mobula, "far", &server, &[port]).await;
    let names = NameServer::new("names");
    names.has("four.test", &["127.0.0.1"]);
    let at = names.run().await;
    for (word, arrives) in [("ForceIPv6", false), ("UseIPv6", true)] {
        let socks = free_port();
        let mut config = vmess.client(Peer::Mobula, socks, port);
        config["dns"] = json!({"servers": [format!("tcp+local://{at}")]});
        config["outbounds"][0]["targetStrategy"] = word.into();
        stage.run(Peer::Mobula, word, &config, &[socks]).await;
        let name = To::Name("four.test", echo);
        let stream = traffic::connect(socks, &name).await;
        let answered = async {
            let mut stream = stream?;
            stream.write_all(b"word").await?;
            stream.read_exact(&mut [0; 4]).await
        };
        let answered = timeout(LIMIT, answered).await.expect("it ends soon");
        assert_eq!(answered.is_ok(), arrives, "{word}");
    }
}

/// The name is known here alone, and nobody else is to hear it.
#[tokio::test]
async fn datagrams_that_another_outbound_sends_on_go_to_addresses() {
    let echo = traffic::udp_echo().await;
    let mut stage = Stage::new();
    let port = free_port();
    let vmess = Vmess::ws();
    let server = vmess.server(Peer::V2ray445, port);
    stage.run(Peer::V2ray445, "server", &server, &[port]).await;
    for peer in [Peer::Mobula, Peer::V2ray445] {
        let socks = free_port();
        let mut config = vmess.client(peer, socks, port);
        config["dns"] = json!({"servers": ["localhost"], "hosts": {"only-here.test": "127.0.0.1"}});
        config["outbounds"][0]["tag"] = "next".into();
        let first = json!({
            "protocol": "freedom", "settings": {"domainStrategy": "UseIP"}, "proxySettings": {"tag": "next"},
        });
        config["outbounds"].as_array_mut().unwrap().insert(0, first);
        let name = format!("client-{peer:?}");
        stage.run(peer, &name, &config, &[socks]).await;
        let (_association, relay) = traffic::associate(socks).await;
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let to = To::Name("only-here.test", echo.port());
        let asked = traffic::datagram(&to, b"question");
        let mut buf = [0; 512];
        let n = traffic::answered(&socket, relay, &asked, &mut buf).await;
        // It comes from whom was asked.
        assert_eq!(buf[..n], asked, "{peer:?}");
    }
}

const LIMIT: Duration = Duration::from_secs(10);

/// A door on `door` that leads to a `dns` outbound, for questions to `to`.
fn door_to_dns(door: u16, to: SocketAddr, dns: &Value, settings: &Value) -> Value {
    json!({
        "log": {"loglevel": "debug"},
        "dns": dns,
        "inbounds": [{
            "tag": "door", "listen": "127.0.0.1", "port": door, "protocol": "dokodemo-door",
            "settings": {"address": to.ip().to_string(), "port": to.port(), "network": "tcp,udp"},
        }],
        "outbounds": [
            {"protocol": "freedom"},
            {"tag": "dns-out", "protocol": "dns", "settings": settings},
        ],
        "routing": {"rules": [{"type": "field", "inboundTag": ["door"], "outboundTag": "dns-out"}]},
    })
}

async fn ask_by_udp(door: u16, name: &str, kind: RecordType) -> String {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let question = question(name, kind);
    socket
        .send_to(&question, (Ipv4Addr::LOCALHOST, door))
        .await
        .unwrap();
    let mut buf = [0; 4096];
    let received = timeout(LIMIT, socket.recv(&mut buf)).await;
    let n = received.expect("an answer in time").unwrap();
    shown(&buf[..n])
}

/// As `ask_by_udp`, where silence is an answer, too.
async fn said_by_udp(door: u16, name: &str, kind: RecordType) -> String {
    let asking = timeout(Duration::from_secs(2), ask_by_udp(door, name, kind));
    asking.await.unwrap_or_else(|_| "nothing".to_owned())
}

/// All questions at once, then all answers.
async fn ask_by_tcp(door: u16, questions: &[(&str, RecordType)]) -> Vec<String> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, door))
        .await
        .unwrap();
    for (name, kind) in questions {
        let question = question(name, *kind);
        stream.write_u16(question.len() as u16).await.unwrap();
        stream.write_all(&question).await.unwrap();
    }
    let mut answers = Vec::new();
    for _ in questions {
        let len = timeout(LIMIT, stream.read_u16())
            .await
            .expect("an answer in time");
        let mut bytes = vec![0; len.unwrap().into()];
        stream.read_exact(&mut bytes).await.unwrap();
        answers.push(shown(&bytes));
    }
    answers
}
