//! Who the client is behind real proxies, when it says something else of itself.

use std::net::{Ipv4Addr, SocketAddr};

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpSocket;

use crate::configs::{self, Carrier};
use crate::peers::Peer::{self, Mobula, V2ray445};
use crate::peers::{Stage, free_port, system};
use crate::traffic;

/// Where the client dials from; the proxies dial from 127.0.0.1.
const CLIENT: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 77);

/// What it says of itself.
const LIES: &str = "X-Forwarded-For: 8.8.8.8\r\nX-Forwarded-For: 8.8.4.4, 127.0.0.1\r\nX-Real-IP: 8.8.8.8\r\nForwarded: for=8.8.8.8\r\n";

/// An inbound behind `wsSettings` or `httpupgradeSettings` whose access log names the source of each upgrade. It listens on `port` of
/// loopback and, where that is 0, on a unix socket.
async fn server(stage: &mut Stage, peer: Peer, port: u16, more: &Value) {
    server_over(Carrier::Ws, stage, peer, port, more).await;
}

async fn server_over(carrier: Carrier, stage: &mut Stage, peer: Peer, port: u16, more: &Value) {
    let target = traffic::echo().await;
    let mut settings = json!({"path": "/ray"});
    for (key, value) in more.as_object().expect("keys") {
        settings[key] = value.clone();
    }
    let mut inbound = json!({
        "listen": "127.0.0.1", "port": port, "protocol": "dokodemo-door",
        "settings": {"address": "127.0.0.1", "port": target.port(), "network": "tcp"},
        "streamSettings": {"network": carrier.network(), carrier.settings(): settings},
    });
    if port == 0 {
        inbound["listen"] = json!(stage.path("ray.sock"));
        inbound.as_object_mut().expect("keys").remove("port");
    }
    let config = json!({
        "log": {"loglevel": "info", "access": "access.log"},
        "inbounds": [inbound], "outbounds": [{"protocol": "freedom"}],
    });
    let ports = if port == 0 { vec![] } else { vec![port] };
    stage.run(peer, "server", &config, &ports).await;
    while port == 0 && !stage.path("ray.sock").exists() {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

/// nginx with the documented location, in which `forwarded` stands for the value of `X-Forwarded-For`.
async fn nginx(stage: &mut Stage, to: u16, forwarded: Option<&str>) -> u16 {
    let port = free_port();
    let mut location = configs::documented_location(to);
    if to == 0 {
        let socket = format!("unix:{}", stage.path("ray.sock").display());
        location = location.replace("127.0.0.1:0", &socket);
    }
    if let Some(forwarded) = forwarded {
        let edited = location.replace(
            "X-Forwarded-For $remote_addr",
            &format!("X-Forwarded-For {forwarded}"),
        );
        assert_ne!(edited, location);
        location = edited;
    }
    let file = configs::nginx(stage, &format!("listen 127.0.0.1:{port};\n{location}"));
    let mut command = system("nginx");
    command.arg("-p").arg(stage.path("")).arg("-c").arg(file);
    stage.start("nginx", &mut command, &[port]).await;
    port
}

/// HAProxy, which adds a line of its own.
async fn haproxy(stage: &mut Stage, to: u16) -> u16 {
    let port = free_port();
    let text = format!(
        "defaults\n  mode http\n  option forwardfor\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n\
         frontend in\n  bind 127.0.0.1:{port}\n  default_backend out\nbackend out\n  server s 127.0.0.1:{to}\n"
    );
    let file = stage.write("haproxy.cfg", text);
    let mut command = system("haproxy");
    command.arg("-db").arg("-f").arg(file);
    stage.start("haproxy", &mut command, &[port]).await;
    port
}

/// An upgrade from [`CLIENT`] through the proxy on `port`, and whom the log names.
async fn named(stage: &Stage, port: u16, more: &str) -> String {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind((CLIENT, 0).into()).expect("loopback is ours");
    let to = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut stream = socket.connect(to).await.expect("the proxy listens");
    let request = format!(
        "GET /ray HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{LIES}{more}\r\n"
    );
    stream
        .write_all(request.as_bytes())
        .await
        .expect("it reads");
    // V2Ray's door opens with the first bytes.
    stream
        .write_all(b"\x82\x82\0\0\0\0hi")
        .await
        .expect("it reads");
    let log = stage.until_file_has("access.log", " accepted ").await;
    let line = log.lines().find(|line| line.contains(" accepted "));
    let source = line.and_then(|line| line.split(" accepted ").next()?.split(' ').next_back());
    source.expect("a source").to_owned()
}

const APPENDED: Option<&str> = Some("$proxy_add_x_forwarded_for");

#[tokio::test]
async fn the_client_does_not_choose_its_address_behind_nginx() {
    let cdn =
        json!({"trustedProxies": ["127.0.0.1", "cloudflare"], "realIpHeader": "CF-Connecting-IP"});
    let local = json!({"trustedProxies": ["127.0.0.1"], "realIpHeader": "CF-Connecting-IP"});
    let header = "CF-Connecting-IP: 203.0.113.9\r\n";
    let edge = Some("\"203.0.113.9, 172.70.1.2\"");
    for (peer, settings, forwarded, more, source) in [
        // The documents' snippet overwrites, for V2Ray as well.
        (Mobula, &json!({}), None, "", "127.0.0.77:0"),
        (V2ray445, &json!({}), None, "", "127.0.0.77:0"),
        // What V2Ray does where nginx appends, and mobula without the key.
        (Mobula, &json!({}), APPENDED, "", "8.8.8.8:0"),
        (V2ray445, &json!({}), APPENDED, "", "8.8.8.8:0"),
        (
            Mobula,
            &json!({"trustedProxies": ["127.0.0.1"]}),
            APPENDED,
            "",
            "127.0.0.77:0",
        ),
        (
            Mobula,
            &json!({"trustedProxies": ["127.0.0.1"]}),
            None,
            "",
            "127.0.0.77:0",
        ),
        // Everything on loopback is a proxy's, and the lies go on.
        (
            Mobula,
            &json!({"trustedProxies": "loopback"}),
            APPENDED,
            "",
            "8.8.4.4:0",
        ),
        // Through the CDN, and around it.
        (Mobula, &cdn, edge, header, "203.0.113.9:0"),
        (Mobula, &cdn, edge, "", "203.0.113.9:0"),
        (Mobula, &cdn, APPENDED, header, "127.0.0.77:0"),
        (Mobula, &local, APPENDED, header, "203.0.113.9:0"),
        (Mobula, &local, APPENDED, "", "127.0.0.77:0"),
    ] {
        for carrier in [Carrier::Ws, Carrier::HttpUpgrade] {
            if peer == V2ray445 && carrier == Carrier::HttpUpgrade {
                continue;
            }
            let mut stage = Stage::new();
            let port = free_port();
            server_over(carrier, &mut stage, peer, port, settings).await;
            let front = nginx(&mut stage, port, forwarded).await;
            let found = named(&stage, front, more).await;
            assert_eq!(
                found, source,
                "{peer:?} {carrier:?} {settings} {forwarded:?} {more}"
            );
        }
    }
}

#[tokio::test]
async fn the_client_does_not_choose_its_address_behind_others() {
    let trusting = json!({"trustedProxies": ["127.0.0.1"]});
    let mut stage = Stage::new();
    let port = free_port();
    server(&mut stage, Mobula, port, &trusting).await;
    let front = haproxy(&mut stage, port).await;
    assert_eq!(named(&stage, front, "").await, "127.0.0.77:0");

    let mut stage = Stage::new();
    let port = free_port();
    server_over(Carrier::HttpUpgrade, &mut stage, Mobula, port, &trusting).await;
    let front = haproxy(&mut stage, port).await;
    assert_eq!(named(&stage, front, "").await, "127.0.0.77:0");

    let mut stage = Stage::new();
    let port = free_port();
    server(&mut stage, Mobula, port, &trusting).await;
    let second = nginx(&mut stage, port, APPENDED).await;
    let front = haproxy(&mut stage, second).await;
    assert_eq!(named(&stage, front, "").await, "127.0.0.77:0");

    let mut stage = Stage::new();
    server(&mut stage, Mobula, 0, &trusting).await;
    let front = nginx(&mut stage, 0, APPENDED).await;
    assert_eq!(named(&stage, front, "").await, "127.0.0.77:0");

    // Nobody is believed.
    let mut stage = Stage::new();
    let port = free_port();
    server(&mut stage, Mobula, port, &json!({"trustedProxies": []})).await;
    let front = nginx(&mut stage, port, None).await;
    let found = named(&stage, front, "").await;
    assert!(found.starts_with("127.0.0.1:"), "{found}");
}
