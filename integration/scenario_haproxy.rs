//! Behind HAProxy, which says in a PROXY header who connected.

use std::net::Ipv4Addr;
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::configs::{Carrier, Vmess};
use crate::peers::Peer::{Mobula, SingBox, V2ray434, V2ray445};
use crate::peers::{Stage, free_port, system};
use crate::traffic::{self, To};

/// HAProxy in TCP mode on `port`, in front of `servers`.
async fn haproxy(stage: &mut Stage, port: u16, servers: &[u16], send: &str) {
    let mut text = format!(
        "defaults\n  mode tcp\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n\
         frontend in\n  bind 127.0.0.1:{port}\n  default_backend out\n\
         backend out\n  balance roundrobin\n"
    );
    for (n, server) in servers.iter().enumerate() {
        text += &format!("  server s{n} 127.0.0.1:{server} {send}\n");
    }
    let file = stage.write("haproxy.cfg", text);
    let mut command = system("haproxy");
    command.arg("-db").arg("-f").arg(file);
    stage.start("haproxy", &mut command, &[port]).await;
}

/// A server that wants the header, and writes its access log to `access`.
async fn server(stage: &mut Stage, vmess: &Vmess, access: &str) -> u16 {
    let port = free_port();
    let mut config = vmess.server(Mobula, port);
    config["log"]["access"] = json!(access);
    let settings = match vmess.path {
        Some(_) => vmess.carrier.settings(),
        None => "tcpSettings",
    };
    config["inbounds"][0]["streamSettings"][settings]["acceptProxyProtocol"] = json!(true);
    stage.run(Mobula, access, &config, &[port]).await;
    port
}

#[tokio::test]
async fn both_versions_of_the_header_are_read() {
    for send in ["send-proxy", "send-proxy-v2"] {
        for vmess in [Vmess::ws(), Vmess::tcp(), Vmess::httpupgrade()] {
            let mut stage = Stage::new();
            let server = server(&mut stage, &vmess, "access.log").await;
            let front = free_port();
            haproxy(&mut stage, front, &[server], send).await;
            for client in [V2ray434, V2ray445, SingBox, Mobula] {
                let is_v2ray = matches!(client, V2ray434 | V2ray445);
                if is_v2ray && vmess.carrier == Carrier::HttpUpgrade {
                    continue;
                }
                let socks = free_port();
                let config = vmess.client(client, socks, front);
                let name = format!("client-{client:?}");
                stage.run(client, &name, &config, &[socks]).await;
                traffic::word(socks, &To::Ip(traffic::echo().await)).await;
                traffic::both_ways(socks, 1024 * 1024).await;
            }
        }
    }
}

/// HAProxy connects from a port of its own; the log must name the client's.
#[tokio::test]
async fn the_access_log_names_who_is_in_front_of_haproxy() {
    let mut stage = Stage::new();
    let server = server(&mut stage, &Vmess::ws(), "access.log").await;
    let header = "PROXY TCP4 203.0.113.9 198.51.100.1 51234 443\r\n";
    let (front, socks) = (free_port(), free_port());
    relay_with(header, front, server).await;
    let config = Vmess::ws().client(V2ray445, socks, front);
    stage.run(V2ray445, "client", &config, &[socks]).await;
    let to = traffic::echo().await;
    traffic::word(socks, &To::Ip(to)).await;
    let wanted = format!("203.0.113.9:51234 accepted tcp:{to}");
    stage.until_file_has("access.log", &wanted).await;
}

/// A visitor without a tunnel is named as well, and what was wrong, though the connection stays open.
#[tokio::test]
async fn the_access_log_names_whom_the_header_names_when_it_refuses_too() {
    for vmess in [Vmess::ws(), Vmess::httpupgrade()] {
        refused_by_name(&vmess).await;
    }
}

async fn refused_by_name(vmess: &Vmess) {
    let mut stage = Stage::new();
    let server = server(&mut stage, vmess, "access.log").await;
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, server)).await;
    let mut stream = stream.expect("mobula listens");
    stream
        .write_all(
            b"PROXY TCP4 203.0.113.9 198.51.100.1 51234 443\r\nGET /x HTTP/1.1\r\nHost: a\r\n\r\n",
        )
        .await
        .expect("mobula reads");
    let wanted = "203.0.113.9:51234 rejected  GET /x: 404";
    stage.until_file_has("access.log", wanted).await;
}

/// A proxy that says `header` first.
async fn relay_with(header: &'static str, port: u16, server: u16) {
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await;
    let listener = listener.expect("the port is free");
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut far = TcpStream::connect((Ipv4Addr::LOCALHOST, server)).await?;
                far.write_all(header.as_bytes()).await?;
                tokio::io::copy_bidirectional(&mut near, &mut far).await
            });
        }
    });
}

/// The clients dial from addresses of their own, so that the logs tell them from HAProxy.
#[tokio::test]
async fn two_servers_share_the_work_and_both_know_who_came() {
    let mut stage = Stage::new();
    let logs = ["first.log", "second.log"];
    let first = server(&mut stage, &Vmess::ws(), logs[0]).await;
    let second = server(&mut stage, &Vmess::ws(), logs[1]).await;
    let front = free_port();
    haproxy(&mut stage, front, &[first, second], "send-proxy-v2").await;
    let to = traffic::echo().await;
    let clients = [(V2ray445, "127.0.0.77"), (Mobula, "127.0.0.78")];
    for (client, source) in clients {
        let vmess = Vmess {
            outbound: json!({"sendThrough": source}),
            ..Vmess::ws()
        };
        let socks = free_port();
        let config = vmess.client(client, socks, front);
        let name = format!("client-{client:?}");
        stage.run(client, &name, &config, &[socks]).await;
        for _ in 0..8 {
            traffic::word(socks, &To::Ip(to)).await;
        }
        traffic::many(socks, 100).await;
    }
    for file in logs {
        let log = stage.until_file_has(file, clients[1].1).await;
        let lines: Vec<_> = log.lines().filter(|l| l.contains("accepted")).collect();
        for (client, source) in clients {
            let from = format!(" {source}:");
            let count = lines.iter().filter(|line| line.contains(&from)).count();
            assert!(count >= 40, "{file}: {count} of 108 are of {client:?}");
        }
        let strangers = lines.iter().filter(|line| line.contains(" 127.0.0.1:"));
        assert_eq!(strangers.count(), 0, "HAProxy itself is in {file}:\n{log}");
    }
}

/// Silent or not, who does not come through the proxy gets no answer.
#[tokio::test]
async fn a_connection_without_the_header_is_closed_without_an_answer() {
    let mut stage = Stage::new();
    let server = server(&mut stage, &Vmess::ws(), "access.log").await;
    for said in [
        "",
        "GET /ray HTTP/1.1\r\nHost: a\r\n\r\n",
        "PROXY TCP4 nonsense\r\n",
    ] {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, server))
            .await
            .expect("mobula listens");
        stream
            .write_all(said.as_bytes())
            .await
            .expect("mobula reads");
        let mut answer = Vec::new();
        let ended = timeout(Duration::from_secs(15), stream.read_to_end(&mut answer)).await;
        assert!(ended.is_ok(), "{said:?} is left open");
        assert!(answer.is_empty(), "{said:?} got {answer:?}");
    }
}
