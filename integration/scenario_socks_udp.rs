//! UDP of local inbounds: a `socks` inbound takes it by its own port, as V2Ray's does, and whoever asked an address
//! has the answer from there.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use crate::peers::Peer::{Mobula, V2ray445};
use crate::peers::{Stage, free_port};
use crate::traffic::{self, To};

const PASSWORD: [(&str, &str); 1] = [("a", "b")];

fn inbound(listen: &str, port: u16, settings: Value) -> Value {
    json!({
        "log": {"loglevel": "warning"},
        "inbounds": [{"listen": listen, "port": port, "protocol": "socks", "settings": settings}],
        "outbounds": [{"protocol": "freedom"}],
    })
}

fn with_password() -> Value {
    let (user, pass) = PASSWORD[0];
    json!({"udp": true, "auth": "password", "accounts": [{"user": user, "pass": pass}]})
}

/// An association, and what the client is told, after the first three bytes.
async fn associate(at: SocketAddr, login: bool) -> (TcpStream, Vec<u8>) {
    let mut control = TcpStream::connect(at).await.expect("the inbound listens");
    let hello: &[u8] = match login {
        true => b"\x05\x01\x02\x01\x01a\x01b",
        false => b"\x05\x01\x00",
    };
    control.write_all(hello).await.expect("it is taken");
    let mut agreed = vec![0; if login { 4 } else { 2 }];
    control.read_exact(&mut agreed).await.expect("an answer");
    let request = b"\x05\x03\x00\x01\0\0\0\0\0\0";
    control.write_all(request).await.expect("it is taken");
    let mut told = vec![0; 64];
    let n = control.read(&mut told).await.expect("an answer");
    assert_eq!(told[..3], [5, 0, 0]);
    told.truncate(n);
    (control, told.split_off(3))
}

/// Who answers a datagram of `socket` to `relay` and for `target`; `None` when nobody does.
async fn asked(socket: &UdpSocket, relay: SocketAddr, target: SocketAddr) -> Option<SocketAddr> {
    let datagram = traffic::datagram(&To::Ip(target), b"word");
    socket.send_to(&datagram, relay).await.expect("UDP sends");
    let mut buf = [0; 64];
    let got = timeout(Duration::from_secs(2), socket.recv_from(&mut buf)).await;
    let (n, from) = got.ok()?.expect("UDP receives");
    assert_eq!(buf[..n], datagram);
    Some(from)
}

async fn any(like: SocketAddr) -> UdpSocket {
    UdpSocket::bind(crate::netns::any(like))
        .await
        .expect("a port")
}

#[tokio::test]
async fn clients_are_told_what_v2ray_tells_them() {
    for (listen, settings, clients) in [
        ("127.0.0.1", json!({"udp": true}), &["127.0.0.1"][..]),
        ("0.0.0.0", json!({"udp": true}), &["127.0.0.1"]),
        ("::", json!({"udp": true}), &["127.0.0.1", "::1"]),
        ("0.0.0.0", with_password(), &["127.0.0.1"]),
        (
            "127.0.0.1",
            json!({"udp": true, "ip": "192.0.2.7"}),
            &["127.0.0.1"],
        ),
        (
            "127.0.0.1",
            json!({"udp": true, "ip": "proxy.test"}),
            &["127.0.0.1"],
        ),
    ] {
        let port = free_port();
        let mut told = Vec::new();
        for peer in [V2ray445, Mobula] {
            let mut stage = Stage::new();
            let config = inbound(listen, port, settings.clone());
            stage.run(peer, "proxy", &config, &[port]).await;
            let mut by_it = Vec::new();
            for client in clients {
                let at = SocketAddr::new(client.parse().unwrap(), port);
                let login = settings.get("auth").is_some();
                by_it.push(associate(at, login).await.1);
            }
            told.push(by_it);
        }
        assert_eq!(told[0], told[1], "{listen} {settings}");
    }
}

#[tokio::test]
async fn the_port_of_the_inbound_serves_every_port_of_a_client_from_the_address_that_it_asked() {
    let target = traffic::udp_echo().await;
    for (listen, relays) in [
        ("0.0.0.0", &["127.0.0.1", "127.0.0.7", "::1"][..]),
        ("127.0.0.7", &["127.0.0.7"]),
        ("::1", &["::1"]),
    ] {
        let (mut stage, port) = (Stage::new(), free_port());
        let config = inbound(listen, port, json!({"udp": true}));
        stage.run(Mobula, "proxy", &config, &[port]).await;
        for relay in relays {
            let relay = SocketAddr::new(relay.parse().unwrap(), port);
            let unasked = any(relay).await;
            assert_eq!(asked(&unasked, relay, target).await, Some(relay));
            let (control, told) = associate(relay, false).await;
            assert_eq!(told[told.len() - 2..], port.to_be_bytes());
            let (one, two) = (any(relay).await, any(relay).await);
            for socket in [&one, &two, &one, &two] {
                assert_eq!(asked(socket, relay, target).await, Some(relay), "{listen}");
            }
            // A fragment is dropped.
            let mut datagram = traffic::datagram(&To::Ip(target), b"part");
            datagram[2] = 1;
            one.send_to(&datagram, relay).await.expect("UDP sends");
            drop(control);
            assert_eq!(asked(&one, relay, target).await, Some(relay));
            let late = any(relay).await;
            assert_eq!(asked(&late, relay, target).await, Some(relay));
        }
    }
}

#[tokio::test]
async fn with_passwords_only_a_host_that_has_logged_in_may_send_and_only_so_long() {
    let (mut stage, port) = (Stage::new(), free_port());
    let config = inbound("0.0.0.0", port, with_password());
    stage.run(Mobula, "proxy", &config, &[port]).await;
    let target = traffic::udp_echo().await;
    let relay = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let (one, two) = (any(relay).await, any(relay).await);
    let stranger = UdpSocket::bind("127.0.0.2:0").await.expect("a port");
    assert_eq!(asked(&one, relay, target).await, None);
    let (control, _) = associate(relay, true).await;
    for socket in [&one, &two] {
        assert_eq!(asked(socket, relay, target).await, Some(relay));
    }
    assert_eq!(asked(&stranger, relay, target).await, None);
    let (another, _) = associate(relay, true).await;
    drop(control);
    // What is on its way at that moment may be lost with the association that it came by.
    let mut answered = asked(&two, relay, target).await;
    if answered.is_none() {
        answered = asked(&two, relay, target).await;
    }
    assert_eq!(answered, Some(relay));
    drop(another);
    tokio::time::sleep(Duration::from_millis(200)).await;
    for socket in [&one, &two] {
        assert_eq!(asked(socket, relay, target).await, None);
    }
}

/// V2Ray as the client: its datagrams go where the reply says, and there is one association for each application.
#[tokio::test]
async fn v2ray_as_a_client_has_its_datagrams_carried() {
    let (user, pass) = PASSWORD[0];
    let target = traffic::udp_echo().await;
    for (settings, users) in [
        (json!({"udp": true}), json!([])),
        (with_password(), json!([{"user": user, "pass": pass}])),
    ] {
        let (mut stage, port, door, gate) = (Stage::new(), free_port(), free_port(), free_port());
        let config = inbound("0.0.0.0", port, settings);
        stage.run(Mobula, "proxy", &config, &[port]).await;
        let client = json!({
            "inbounds": [
                {"listen": "127.0.0.1", "port": door, "protocol": "dokodemo-door",
                 "settings": {"address": "127.0.0.1", "port": target.port(), "network": "udp"}},
                {"listen": "127.0.0.1", "port": gate, "protocol": "socks"},
            ],
            "outbounds": [{"protocol": "socks", "settings": {"servers": [
                {"address": "127.0.0.1", "port": port, "users": users}]}}],
        });
        stage.run(V2ray445, "client", &client, &[gate]).await;
        let door = SocketAddr::from((Ipv4Addr::LOCALHOST, door));
        let mut buf = [0; 2048];
        for size in [1, 1400] {
            let socket = any(door).await;
            let data = traffic::bytes(size);
            let n = traffic::answered(&socket, door, &data, &mut buf).await;
            assert_eq!(buf[..n], data);
        }
    }
}

#[tokio::test]
async fn a_door_for_every_address_answers_from_the_one_that_was_asked() {
    let (mut stage, door, gate) = (Stage::new(), free_port(), free_port());
    let target = traffic::udp_echo().await;
    let config = json!({
        "inbounds": [
            {"port": door, "protocol": "dokodemo-door",
             "settings": {"address": "127.0.0.1", "port": target.port(), "network": "udp"}},
            {"listen": "127.0.0.1", "port": gate, "protocol": "socks"},
        ],
        "outbounds": [{"protocol": "freedom"}],
    });
    stage.run(Mobula, "door", &config, &[gate]).await;
    for ip in ["127.0.0.1", "127.0.0.9", "::1"] {
        let at = SocketAddr::new(ip.parse::<IpAddr>().unwrap(), door);
        let socket = any(at).await;
        socket.send_to(b"word", at).await.expect("UDP sends");
        let mut buf = [0; 8];
        let got = timeout(traffic::LIMIT, socket.recv_from(&mut buf)).await;
        assert_eq!(got.expect("in time").expect("UDP receives"), (4, at));
    }
}
