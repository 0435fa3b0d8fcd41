//! Doors of several ports: `portMap` of `dokodemo-door`, and what a port that is not in it leads to.

use std::net::SocketAddr;

use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::time::timeout;

use crate::peers::Peer::Mobula;
use crate::peers::{Stage, free_port};
use crate::traffic::LIMIT;

/// Answers everybody at `at`, by TCP and by UDP, with that address.
async fn tells_itself(at: &str) -> SocketAddr {
    let listener = TcpListener::bind(at).await.unwrap();
    let at = listener.local_addr().unwrap();
    let socket = UdpSocket::bind(at).await.unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.write_all(format!("{at}\n").as_bytes()).await;
        }
    });
    tokio::spawn(async move {
        let mut buf = [0; 100];
        while let Ok((_, from)) = socket.recv_from(&mut buf).await {
            let _ = socket.send_to(at.to_string().as_bytes(), from).await;
        }
    });
    at
}

async fn by_tcp(port: u16) -> String {
    let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let mut line = String::new();
    let mut reader = BufReader::new(stream);
    let read = timeout(LIMIT, reader.read_line(&mut line)).await;
    read.expect("an answer in time").unwrap();
    line.trim().to_owned()
}

async fn by_udp(port: u16) -> String {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.connect(("127.0.0.1", port)).await.unwrap();
    socket.send(b"who?").await.unwrap();
    let mut buf = [0; 100];
    let received = timeout(LIMIT, socket.recv(&mut buf)).await;
    let n = received.expect("an answer in time").unwrap();
    String::from_utf8_lossy(&buf[..n]).into_owned()
}

/// Two ports in a row that are free on every loopback address that the test uses.
async fn two_in_a_row() -> u16 {
    loop {
        let first = free_port();
        let Some(second) = first.checked_add(1) else {
            continue;
        };
        let free = ["127.0.0.1", "127.0.0.2"].map(|ip| {
            let tcp = std::net::TcpListener::bind((ip, second));
            tcp.is_ok() && std::net::UdpSocket::bind((ip, second)).is_ok()
        });
        if free == [true; 2] {
            return first;
        }
    }
}

#[tokio::test]
async fn each_port_of_a_range_goes_where_the_map_says_and_the_others_to_their_own_number() {
    let (whole, port_only) = (
        tells_itself("127.0.0.3:0").await,
        tells_itself("127.0.0.2:0").await,
    );
    let first = two_in_a_row().await;
    let (host_only, neither) = (free_port(), free_port());
    let same = tells_itself(&format!("127.0.0.4:{host_only}")).await;
    let own = tells_itself(&format!("127.0.0.2:{neither}")).await;
    let mut stage = Stage::new();
    let config = json!({
        "inbounds": [{
            "listen": "127.0.0.1", "port": format!("{first}-{},{host_only},{neither}", first + 1),
            "protocol": "tunnel",
            "settings": {
                "allowedNetwork": "tcp,udp", "rewriteAddress": "127.0.0.2",
                "portMap": {
                    first.to_string(): whole.to_string(),
                    (first + 1).to_string(): format!(":{}", port_only.port()),
                    host_only.to_string(): "127.0.0.4:",
                },
            },
        }],
        "outbounds": [{"protocol": "freedom"}],
    });
    stage
        .run(
            Mobula,
            "door",
            &config,
            &[first, first + 1, host_only, neither],
        )
        .await;
    for (port, expected) in [
        (first, whole),
        (first + 1, port_only),
        (host_only, same),
        (neither, own),
    ] {
        assert_eq!(by_tcp(port).await, expected.to_string(), "{port}");
        assert_eq!(by_udp(port).await, expected.to_string(), "{port}");
    }
}
