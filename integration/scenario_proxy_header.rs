//! `proxyProtocol` of `freedom`: a target is told from where its client came to the inbound.

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::configs;
use crate::peers::Peer::{self, Mobula};
use crate::peers::{Stage, free_port, listen, system};
use crate::traffic::{self, LIMIT, To};

/// SOCKS in, and out by a `freedom` with these keys.
async fn proxy(stage: &mut Stage, outbound: &Value) -> u16 {
    let socks = free_port();
    let mut freedom = json!({"protocol": "freedom"});
    for (key, value) in outbound.as_object().unwrap() {
        freedom[key] = value.clone();
    }
    let config = json!({
        "inbounds": [{"listen": "127.0.0.1", "port": socks, "protocol": "socks"}],
        "outbounds": [freedom],
    });
    let name = format!("proxy-{socks}");
    stage.run(Mobula, &name, &config, &[socks]).await;
    socks
}

/// An Nginx that waits for a header and answers every request with what it said.
async fn nginx(stage: &mut Stage) -> u16 {
    let port = free_port();
    let block = format!(
        "listen 127.0.0.1:{port} proxy_protocol;\nlocation / {{ return 200 \"$proxy_protocol_addr $proxy_protocol_port $proxy_protocol_server_port\\n\"; }}"
    );
    let file = configs::nginx(stage, &block);
    let mut nginx = system("nginx");
    nginx.arg("-p").arg(stage.path("")).arg("-c").arg(file);
    stage.start("nginx", &mut nginx, &[port]).await;
    port
}

/// The last line of the answer to a request.
async fn asked(stream: &mut TcpStream) -> String {
    let request = b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut answer = String::new();
    let read = timeout(LIMIT, stream.read_to_string(&mut answer)).await;
    read.expect("an answer in time").unwrap();
    answer.lines().last().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn nginx_learns_from_both_versions_who_comes() {
    let mut stage = Stage::new();
    let port = nginx(&mut stage).await;
    let to = To::Ip(([127, 0, 0, 1], port).into());
    for version in [1, 2] {
        let settings = json!({"settings": {"proxyProtocol": version}});
        let socks = proxy(&mut stage, &settings).await;
        let mut stream = traffic::connect(socks, &to).await.expect("SOCKS");
        let client = stream.local_addr().unwrap().port();
        let expected = format!("127.0.0.1 {client} {port}");
        assert_eq!(asked(&mut stream).await, expected, "version {version}");
    }
}

/// By a tunnel the server tells of its client.
#[tokio::test]
async fn a_server_tells_of_the_client_of_its_tunnel() {
    let mut stage = Stage::new();
    let target = nginx(&mut stage).await;
    let vmess = configs::Vmess::ws();
    let (socks, server) = (free_port(), free_port());
    let mut config = vmess.server(Mobula, server);
    config["outbounds"][0]["settings"] = json!({"proxyProtocol": 2});
    stage.run(Mobula, "server", &config, &[server]).await;
    let config = vmess.client(Peer::V2ray445, socks, server);
    stage.run(Peer::V2ray445, "client", &config, &[socks]).await;
    let to = To::Ip(([127, 0, 0, 1], target).into());
    let mut stream = traffic::connect(socks, &to).await.expect("SOCKS");
    let application = stream.local_addr().unwrap().port();
    let said = asked(&mut stream).await;
    let words: Vec<&str> = said.split(' ').collect();
    assert_eq!((words[0], words[2]), ("127.0.0.1", &*target.to_string()));
    let port: u16 = words[1].parse().unwrap();
    assert!(port != application && port != server, "{said}");
}

/// Not of the proxy in between, which is nobody's affair.
#[tokio::test]
async fn a_target_behind_another_outbound_is_told_of_itself() {
    let mut stage = Stage::new();
    let way = proxy(&mut stage, &json!({})).await;
    let (socks, target) = (free_port(), listen());
    let port = target.local_addr().unwrap().port();
    let config = json!({
        "inbounds": [{"listen": "127.0.0.1", "port": socks, "protocol": "socks"}],
        "outbounds": [
            {"protocol": "freedom", "settings": {"proxyProtocol": 1}, "proxySettings": {"tag": "way"}},
            {"tag": "way", "protocol": "socks", "settings": {"servers": [{"address": "127.0.0.1", "port": way}]}},
        ],
    });
    stage.run(Mobula, "client", &config, &[socks]).await;
    let to = To::Ip(([127, 0, 0, 1], port).into());
    let stream = traffic::connect(socks, &to).await.expect("SOCKS");
    let client = stream.local_addr().unwrap().port();
    let (mut told, _) = timeout(LIMIT, target.accept())
        .await
        .expect("it comes")
        .unwrap();
    let expected = format!("PROXY TCP4 127.0.0.1 127.0.0.1 {client} {port}\r\n");
    let mut head = vec![0; expected.len()];
    let read = timeout(LIMIT, told.read_exact(&mut head)).await;
    read.expect("a header in time").unwrap();
    assert_eq!(String::from_utf8_lossy(&head), expected);
}

#[tokio::test]
async fn a_connection_that_many_share_names_nobody() {
    let mut stage = Stage::new();
    let target = listen();
    let port = target.local_addr().unwrap().port();
    let settings = json!({
        "settings": {"proxyProtocol": 1, "redirect": format!("127.0.0.1:{port}")},
        "mux": {"enabled": true},
    });
    let socks = proxy(&mut stage, &settings).await;
    let to = To::Ip(traffic::echo().await);
    tokio::spawn(async move { traffic::connect(socks, &to).await });
    let (mut stream, _) = timeout(LIMIT, target.accept())
        .await
        .expect("it comes")
        .unwrap();
    let mut head = [0; 15];
    let read = timeout(LIMIT, stream.read_exact(&mut head)).await;
    read.expect("a header in time").unwrap();
    assert_eq!(&head, b"PROXY UNKNOWN\r\n");
}
