//! Relay with an independent codec of it at the other end, and over the carriers of both ends.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::{sleep, timeout};

use crate::peers::Peer::Mobula;
use crate::peers::{Stage, free_port, python, root};
use crate::traffic::{self, LIMIT, To};

const MIB: usize = 1024 * 1024;

fn server(port: u16, settings: Value, stream: Value) -> Value {
    json!({
        "inbounds": [{"listen": "127.0.0.1", "port": port, "protocol": "relay", "settings": settings, "streamSettings": stream}],
        "outbounds": [{"protocol": "freedom"}],
    })
}

fn client(socks: u16, port: u16, udp: &str, stream: Value) -> Value {
    json!({
        "inbounds": [{"listen": "127.0.0.1", "port": socks, "protocol": "socks", "settings": {"udp": true, "ip": "127.0.0.1"}}],
        "outbounds": [{
            "protocol": "relay", "streamSettings": stream,
            "settings": {"udp": udp, "servers": [{"address": "127.0.0.1", "port": port, "users": [{"user": "u", "pass": "pw"}]}]},
        }],
    })
}

fn users() -> Value {
    json!({"users": [{"user": "u", "pass": "pw"}]})
}

fn peer() -> std::process::Command {
    let mut command = python();
    command.arg(root().join("integration/peers/relay.py"));
    command
}

async fn carries_all(socks: u16) {
    traffic::ready(socks).await;
    let port = traffic::echo().await.port();
    traffic::word(socks, &To::Name("localhost", port)).await;
    traffic::server_speaks_first(socks).await;
    traffic::both_ways(socks, 4 * MIB).await;
    traffic::datagrams(socks, &[1, 60, 1200]).await;
    traffic::many(socks, 50).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn both_ends_of_ours_over_each_carrier() {
    let carriers = [
        (json!({}), "connect"),
        (
            json!({"network": "ws", "wsSettings": {"path": "/r"}}),
            "associate",
        ),
        (json!({"network": "mws"}), "associate"),
        (
            json!({"network": "grpc", "grpcSettings": {"serviceName": "r"}}),
            "connect",
        ),
    ];
    for (stream, udp) in carriers {
        println!("{stream} {udp}");
        let mut stage = Stage::new();
        let (port, socks) = (free_port(), free_port());
        let config = server(port, users(), stream.clone());
        stage.run(Mobula, "server", &config, &[port]).await;
        let config = client(socks, port, udp, stream);
        stage.run(Mobula, "client", &config, &[socks]).await;
        carries_all(socks).await;
        if udp == "associate" {
            traffic::full_cone(socks).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_may_answer_at_once_or_with_the_first_byte_of_its_target() {
    for how in ["lazy", "prompt"] {
        let mut stage = Stage::new();
        let (port, socks) = (free_port(), free_port());
        let mut command = peer();
        command.args(["server", &port.to_string(), how]);
        stage.start("peer", &mut command, &[port]).await;
        let config = client(socks, port, "connect", json!({}));
        stage.run(Mobula, "client", &config, &[socks]).await;
        carries_all(socks).await;
    }
}

async fn asked(stage: &mut Stage, port: u16, args: &[&str], expected: &str) {
    let mut command = peer();
    command.arg("ask").arg(port.to_string()).args(args);
    let index = stage.start("ask", &mut command, &[]).await;
    stage.child(index).ended(LIMIT).await;
    assert!(
        stage.log(index).starts_with(expected),
        "{args:?}: {}",
        stage.log(index)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_waits_for_the_answer_has_it_with_the_outcome() {
    let mut stage = Stage::new();
    let port = free_port();
    let config = server(port, users(), json!({}));
    stage.run(Mobula, "server", &config, &[port]).await;
    let echo = traffic::echo().await.to_string();
    let dead = format!("127.0.0.1:{}", free_port());
    asked(&mut stage, port, &["u", "pw", &echo], "status 0\nb'a word'").await;
    asked(&mut stage, port, &["u", "pw", &dead], "status 7\nthen b''").await;
    asked(&mut stage, port, &["u", "no", &echo], "status 2\nthen b''").await;
    let port = free_port();
    let forward = json!({"forward": [echo.clone(), dead]});
    let config = server(port, forward, json!({}));
    stage.run(Mobula, "forwarder", &config, &[port]).await;
    asked(
        &mut stage,
        port,
        &["x", "y", "192.0.2.1:9"],
        "status 0\nb'a word'",
    )
    .await;
    asked(
        &mut stage,
        port,
        &["x", "y", "192.0.2.1:9"],
        "status 6\nthen b''",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_is_opened_where_that_is_allowed() {
    let mut stage = Stage::new();
    let (port, open) = (free_port(), free_port());
    let settings = json!({"users": users()["users"], "bind": true, "allowPorts": open.to_string()});
    let config = server(port, settings, json!({}));
    stage.run(Mobula, "server", &config, &[port]).await;
    let bind = |listen: String| {
        let mut command = peer();
        command.arg("bind").arg(port.to_string()).arg(listen);
        command
    };
    let mut forbidden = bind(format!("127.0.0.1:{}", free_port()));
    let index = stage.start("forbidden", &mut forbidden, &[]).await;
    stage.child(index).ended(LIMIT).await;
    assert_eq!(stage.log(index), "status 3\n");
    // In the form of a gost whose address has no host.
    let mut command = bind(format!("0.0.0.0::{open}"));
    let index = stage.start("bind", &mut command, &[open]).await;
    stage.until_file_has("bind.log", "status 0 0.0.0.0").await;
    for _ in 0..3 {
        let mut visitor = TcpStream::connect(("127.0.0.1", open))
            .await
            .expect("it is open");
        visitor.write_all(b"a word").await.expect("it is taken");
        let mut said = String::new();
        let read = timeout(LIMIT, visitor.read_to_string(&mut said)).await;
        read.expect("an answer in time").expect("an answer");
        assert_eq!(said, "127.0.0.1 says a word\n");
    }
    let mut second = bind(format!("127.0.0.1:{open}"));
    let other = stage.start("second", &mut second, &[]).await;
    stage.child(other).ended(LIMIT).await;
    assert_eq!(stage.log(other), "status 5\n", "another one has it");
    stage.child(index).signal("KILL");
    until_closed(open).await;
}

async fn until_closed(port: u16) {
    for _ in 0..500 {
        if TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            return;
        }
        sleep(Duration::from_millis(20)).await;
    }
    panic!("the port stays open");
}

#[tokio::test(flavor = "multi_thread")]
async fn published_ports_of_both_networks_lead_to_the_client() {
    let mut stage = Stage::new();
    let (port, tcp, udp) = (free_port(), free_port(), free_port());
    let settings = json!({"users": users()["users"], "bind": true});
    let config = server(port, settings, json!({"network": "mws"}));
    stage.run(Mobula, "server", &config, &[port]).await;
    let mut config = client(free_port(), port, "connect", json!({"network": "mws"}));
    config["inbounds"] = json!([]);
    config["outbounds"][0]["tag"] = json!("server");
    let direct = json!({"protocol": "freedom", "tag": "direct"});
    config["outbounds"]
        .as_array_mut()
        .expect("a list")
        .insert(0, direct);
    let target = |at: std::net::SocketAddr| at.to_string();
    config["reverse"] = json!({"publish": [
        {"tag": "tcp", "outboundTag": "server", "listen": format!("127.0.0.1:{tcp}"), "target": target(traffic::echo().await)},
        {"tag": "udp", "outboundTag": "server", "listen": format!("127.0.0.1:{udp}"), "network": "udp", "target": target(traffic::udp_echo().await)},
    ]});
    stage.run(Mobula, "client", &config, &[tcp]).await;
    let said = format!("udp: published on 127.0.0.1:{udp}");
    stage.until_file_has("client.log", &said).await;
    let mut visitor = TcpStream::connect(("127.0.0.1", tcp))
        .await
        .expect("it is open");
    traffic::exchange(&mut visitor, &traffic::bytes(MIB)).await;
    // Each of two visitors hears its own answers.
    let mut sockets = Vec::new();
    for i in 0..2_u8 {
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
        socket.connect(("127.0.0.1", udp)).await.expect("a socket");
        socket.send(&[i; 100]).await.expect("a socket");
        sockets.push(socket);
    }
    for (i, socket) in sockets.iter().enumerate() {
        let mut answer = [0; 200];
        let n = timeout(LIMIT, socket.recv(&mut answer))
            .await
            .expect("an answer")
            .expect("a socket");
        assert_eq!(answer[..n], [i as u8; 100]);
    }
}
