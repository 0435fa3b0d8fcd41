//! `finalRules` of `freedom`: they hold for the address that is sent to, whatever it was called.

use std::net::{Ipv4Addr, SocketAddr};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use crate::configs::Vmess;
use crate::peers::Peer::{Mobula, V2ray445};
use crate::peers::{Stage, free_port};
use crate::traffic::{self, LIMIT, To};

/// A server with these rules: its ports for SOCKS, HTTP and VMess.
async fn start(stage: &mut Stage, rules: Value, change: impl FnOnce(&mut Value)) -> [u16; 3] {
    let [socks, http, vmess] = std::array::from_fn(|_| free_port());
    let mut config = json!({
        "log": {"loglevel": "warning"},
        "dns": {"hosts": {"inner.test": "127.0.0.1", "six.test": "::1"}},
        "inbounds": [
            {
                "listen": "127.0.0.1", "port": socks, "protocol": "socks",
                "settings": {"udp": true, "ip": "127.0.0.1"},
            },
            {"listen": "127.0.0.1", "port": http, "protocol": "http"},
            {
                "listen": "127.0.0.1", "port": vmess, "protocol": "vmess",
                "settings": {"clients": [{"id": crate::configs::ID}]},
            },
        ],
        "outbounds": [{
            "tag": "direct", "protocol": "freedom",
            "settings": {"domainStrategy": "UseIPv4", "finalRules": rules},
        }],
    });
    change(&mut config);
    let ports = [socks, http, vmess];
    stage.run(Mobula, "server", &config, &ports).await;
    ports
}

/// What a SOCKS CONNECT is answered.
async fn code(proxy: u16, to: &To) -> u8 {
    match traffic::connect(proxy, to).await {
        Ok(_) => 0,
        Err(e) => {
            let text = e.to_string();
            let code = text.strip_prefix("SOCKS says ").map(str::parse);
            code.unwrap_or_else(|| panic!("{text}")).expect("a number")
        }
    }
}

#[tokio::test]
async fn no_name_and_no_spelling_leads_around_them() {
    let mut stage = Stage::new();
    let (open, closed) = (traffic::echo().await, traffic::echo().await);
    let rules = json!([
        {"action": "allow", "ip": ["127.0.0.0/8"], "port": open.port(), "network": "tcp"},
        {"action": "block", "ip": ["geoip:private"]},
        {"action": "allow"},
    ]);
    let [socks, http, _] = start(&mut stage, rules, |_| {}).await;
    for host in ["127.0.0.1", "localhost", "inner.test"] {
        let allowed = To::Name(host, open.port());
        traffic::word(socks, &allowed).await;
    }
    let ways = [
        "127.0.0.1",
        "127.1",
        "0.0.0.0",
        "2130706433",
        "localhost",
        "inner.test",
        "::ffff:127.0.0.1",
        "::1",
    ];
    for host in ways {
        let to = To::Name(host, closed.port());
        assert_eq!(
            code(socks, &to).await,
            2,
            "{host}: not allowed by the rules"
        );
    }
    let mapped = "[::ffff:127.0.0.1]:0"
        .parse::<SocketAddr>()
        .expect("an address");
    let mapped = SocketAddr::new(mapped.ip(), closed.port());
    assert_eq!(code(socks, &To::Ip(mapped)).await, 2);

    let mut client = TcpStream::connect(("127.0.0.1", http))
        .await
        .expect("it listens");
    let port = closed.port();
    let request = format!("CONNECT inner.test:{port} HTTP/1.1\r\nHost: inner.test\r\n\r\n");
    client
        .write_all(request.as_bytes())
        .await
        .expect("it is taken");
    let mut answer = String::new();
    let read = timeout(LIMIT, client.read_to_string(&mut answer)).await;
    read.expect("in time").expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
    let cause =
        format!("inner.test:{port} is not connected to: `finalRules` hold back 127.0.0.1:{port}");
    assert!(answer.contains(&cause), "{answer}");
    let log = stage.until_file_has("server.log", "[final-rules]").await;
    assert!(log.contains("`finalRules` hold back"), "{log}");
}

/// As in Xray: who has rules keeps the users of tunnels from private addresses that no rule allows.
#[tokio::test]
async fn users_of_tunnels_come_to_no_private_address_unless_a_rule_says_so() {
    let other = json!({"action": "block", "port": 9});
    let here = json!({"action": "allow", "ip": ["127.0.0.1"]});
    for (rules, in_tunnel) in [
        (json!([other]), false),
        (json!([other, here]), true),
        (json!([]), true),
    ] {
        let mut stage = Stage::new();
        let to = To::Ip(traffic::echo().await);
        let [socks, _, vmess] = start(&mut stage, rules.clone(), |_| {}).await;
        traffic::word(socks, &to).await;
        let tunnel = free_port();
        let client = Vmess::tcp().client(V2ray445, tunnel, vmess);
        stage.run(V2ray445, "client", &client, &[tunnel]).await;
        let mut stream = traffic::connect(tunnel, &to)
            .await
            .expect("V2Ray says yes first");
        if in_tunnel {
            traffic::exchange(&mut stream, b"a word").await;
        } else {
            let _ = stream.write_all(b"a word").await;
            let read = timeout(LIMIT, stream.read(&mut [0])).await.expect("an end");
            assert!(matches!(read, Ok(0) | Err(_)), "{rules}: {read:?}");
            stage.until_file_has("server.log", "[final-rules]").await;
        }
    }
}

#[tokio::test]
async fn each_datagram_of_an_association_is_asked_about() {
    let mut stage = Stage::new();
    let (open, closed) = (
        traffic::udp_echo().await,
        UdpSocket::bind("127.0.0.1:0").await,
    );
    let closed = closed.expect("a port");
    let port = closed.local_addr().expect("an address").port();
    let rules = json!([
        {"action": "allow", "ip": "127.0.0.1", "port": open.port(), "network": ["udp"]},
        {"action": "block", "ip": ["127.0.0.0/8", "::1"]},
    ]);
    let [socks, ..] = start(&mut stage, rules, |_| {}).await;
    let (_association, relay) = traffic::associate(socks).await;
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
    let mapped = SocketAddr::new(Ipv4Addr::LOCALHOST.to_ipv6_mapped().into(), port);
    let held = [
        To::Ip((Ipv4Addr::LOCALHOST, port).into()),
        To::Ip(mapped),
        To::Ip((Ipv4Addr::UNSPECIFIED, port).into()),
        To::Name("localhost", port),
        To::Name("inner.test", port),
    ];
    let mut buf = [0; 64];
    for to in held {
        let datagram = traffic::datagram(&to, b"let me in");
        socket.send_to(&datagram, relay).await.expect("UDP sends");
        // What comes behind it on the same association arrives, so that one has had its turn.
        let word = traffic::datagram(&To::Ip(open), b"a word");
        let n = traffic::answered(&socket, relay, &word, &mut buf).await;
        assert_eq!(buf[..n], word);
        let word = traffic::datagram(&To::Name("inner.test", open.port()), b"by name");
        let n = traffic::answered(&socket, relay, &word, &mut buf).await;
        assert!(buf[..n].ends_with(b"by name"));
    }
    let got = closed.try_recv(&mut buf);
    assert!(
        got.is_err(),
        "nothing came: {:?}",
        String::from_utf8_lossy(&buf)
    );
    let log = stage.until_file_has("server.log", "[final-rules]").await;
    let line = format!("a datagram is dropped, `finalRules` hold back 127.0.0.1:{port}");
    assert!(log.contains(&line), "{log}");
}

/// Where the connection itself is another outbound's, what it is asked for is the address that was allowed.
#[tokio::test]
async fn they_hold_in_front_of_another_outbound() {
    let mut stage = Stage::new();
    let (open, closed) = (traffic::echo().await, traffic::echo().await);
    let rules = json!([
        {"action": "allow", "port": open.port()},
        {"action": "block", "network": "tcp"},
    ]);
    let onward = free_port();
    let next = json!({
        "log": {"loglevel": "warning", "access": stage.path("next.access")},
        "inbounds": [{"listen": "127.0.0.1", "port": onward, "protocol": "socks", "settings": {"udp": true, "ip": "127.0.0.1"}}],
        "outbounds": [{"protocol": "freedom"}],
    });
    stage.run(Mobula, "next", &next, &[onward]).await;
    let [socks, ..] = start(&mut stage, rules, |config| {
        config["outbounds"][0]["proxySettings"] = json!({"tag": "next"});
        let server = json!({"address": "127.0.0.1", "port": onward});
        let next = json!({"tag": "next", "protocol": "socks", "settings": {"servers": [server]}});
        config["outbounds"]
            .as_array_mut()
            .expect("a list")
            .push(next);
    })
    .await;
    traffic::word(socks, &To::Name("inner.test", open.port())).await;
    let asked = format!("tcp:127.0.0.1:{}", open.port());
    stage.until_file_has("next.access", &asked).await;
    assert_ne!(code(socks, &To::Name("inner.test", closed.port())).await, 0);
    traffic::datagrams(socks, &[100]).await;
    let log = stage.read("next.access");
    assert!(!log.contains(&closed.port().to_string()), "{log}");
}

#[tokio::test]
async fn what_older_xray_blocks_is_blocked() {
    let mut stage = Stage::new();
    let (here, there) = (traffic::echo().await, traffic::echo().await);
    let [socks, _, vmess] = start(&mut stage, json!(null), |config| {
        config["outbounds"][0]["settings"]["ipsBlocked"] = json!(["127.0.0.2", "::1"]);
    })
    .await;
    let (allowed, blocked) = (To::Ip(here), To::Name("127.0.0.2", there.port()));
    traffic::word(socks, &allowed).await;
    assert_eq!(code(socks, &blocked).await, 2);
    // Nothing else is held back, from nobody.
    let tunnel = free_port();
    let client = Vmess::tcp().client(V2ray445, tunnel, vmess);
    stage.run(V2ray445, "client", &client, &[tunnel]).await;
    traffic::word(tunnel, &allowed).await;
}
