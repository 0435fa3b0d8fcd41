//! Behind nginx, with the `location /ray` that the documents show.

use std::net::Ipv4Addr;
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::configs::{self, Carrier, Certificate, Early, SERVER_NAME, Vmess};
use crate::peers::Peer::{self, Mihomo, Mobula, SingBox, V2ray434, V2ray445};
use crate::peers::{Stage, free_port, system};
use crate::traffic::{self, To};

struct Front {
    stage: Stage,
    /// nginx.
    port: u16,
    client_vmess: Vmess,
}

/// mobula behind nginx, which terminates TLS where `tls` says so; `extra` stands in its server block
/// and `edit` changes the location.
async fn front(tls: bool, early: Early, extra: &str, edit: impl Fn(String) -> String) -> Front {
    front_of(Vmess::ws_early(early), tls, extra, edit).await
}

async fn front_of(vmess: Vmess, tls: bool, extra: &str, edit: impl Fn(String) -> String) -> Front {
    let mut stage = Stage::new();
    let (port, server) = (free_port(), free_port());
    let mut config = vmess.server(Mobula, server);
    if vmess.carrier == Carrier::Ws {
        // Soon enough to see it; a test has no minute.
        config["inbounds"][0]["streamSettings"]["wsSettings"]["heartbeatPeriod"] = json!(1);
    }
    stage.run(Mobula, "server", &config, &[server]).await;

    let certificate = tls.then(|| Certificate::new(&stage));
    let listen = match &certificate {
        None => format!("listen 127.0.0.1:{port};"),
        Some(files) => format!(
            "listen 127.0.0.1:{port} ssl; ssl_certificate {}; ssl_certificate_key {};",
            files.chain.display(),
            files.key.display()
        ),
    };
    let location = edit(configs::documented_location(server));
    let block = format!("{listen}\nserver_name {SERVER_NAME};\n{extra}\n{location}");
    let file = configs::nginx(&stage, &block);
    let mut nginx = system("nginx");
    nginx.arg("-p").arg(stage.path("")).arg("-c").arg(file);
    stage.start("nginx", &mut nginx, &[port]).await;
    let client_vmess = Vmess {
        tls: certificate,
        ..vmess
    };
    Front {
        stage,
        port,
        client_vmess,
    }
}

impl Front {
    async fn client(&mut self, client: Peer) -> u16 {
        let socks = free_port();
        let config = self.client_vmess.client(client, socks, self.port);
        let name = format!("client-{client:?}");
        self.stage.run(client, &name, &config, &[socks]).await;
        socks
    }
}

async fn each_client_gets_through(tls: bool) {
    let mut ws = front(tls, Early::No, "", |location| location).await;
    get_through(&mut ws, &[V2ray434, V2ray445, SingBox, Mobula]).await;
    let mut upgraded = front_of(Vmess::httpupgrade(), tls, "", |location| location).await;
    get_through(&mut upgraded, &[SingBox, Mihomo, Mobula]).await;
}

async fn get_through(front: &mut Front, clients: &[Peer]) {
    for client in clients {
        let socks = front.client(*client).await;
        traffic::ready(socks).await;
        traffic::word(socks, &To::Ip(traffic::echo().await)).await;
        traffic::server_speaks_first(socks).await;
        traffic::both_ways(socks, 2 * 1024 * 1024).await;
        traffic::datagrams(socks, &[60, 1200]).await;
    }
}

#[tokio::test]
async fn every_client_gets_through_nginx() {
    each_client_gets_through(false).await;
}

#[tokio::test]
async fn every_client_gets_through_nginx_with_tls() {
    each_client_gets_through(true).await;
}

#[tokio::test]
async fn early_data_in_any_form_gets_through_nginx() {
    for early in [Early::Path, Early::Header("Sec-WebSocket-Protocol")] {
        let mut front = front(true, early, "", |location| location).await;
        for client in [V2ray445, SingBox, Mobula] {
            let socks = front.client(client).await;
            traffic::word(socks, &To::Ip(traffic::echo().await)).await;
            traffic::both_ways(socks, 100_000).await;
        }
    }
    let protocol = Early::Header("Sec-WebSocket-Protocol");
    for early in [Early::Query, protocol, Early::Header("X-Early")] {
        let vmess = Vmess::httpupgrade().with_early(early);
        let mut front = front_of(vmess, true, "", |location| location).await;
        for client in [Mihomo, Mobula] {
            let socks = front.client(client).await;
            traffic::ready(socks).await;
            traffic::word(socks, &To::Ip(traffic::echo().await)).await;
            traffic::both_ways(socks, 100_000).await;
        }
    }
}

/// An exact location knows the path alone, and the client is told what stands behind it.
#[tokio::test]
async fn an_exact_location_takes_no_early_data_in_the_path_and_the_client_says_so() {
    let exact = |location: String| location.replace("location /ray", "location = /ray");
    let mut front = front(false, Early::Path, "", exact).await;
    let socks = front.client(Mobula).await;
    let to = To::Ip(traffic::echo().await);
    if let Ok(mut stream) = traffic::connect(socks, &to).await {
        let _ = stream.write_all(b"hello").await;
    }
    let told = "404: the server does not know path /ray with early data behind it";
    front.stage.until_file_has("client-Mobula.log", told).await;
}

/// nginx passes on what a front before it wrote: the first one counts.
#[tokio::test]
async fn the_access_log_names_who_is_in_front_of_nginx() {
    let real = "198.51.100.77";
    let edit = |location: String| {
        location.replace(
            "X-Forwarded-For $remote_addr",
            &format!("X-Forwarded-For \"{real}, 10.0.0.1\""),
        )
    };
    let mut front = front(false, Early::No, "", edit).await;
    let socks = front.client(V2ray445).await;
    let to = traffic::echo().await;
    traffic::word(socks, &To::Ip(to)).await;
    let log = front.stage.until_file_has("access.log", real).await;
    let line = log.lines().find(|line| line.contains(real));
    let line = line.expect("it was just found");
    assert!(
        line.contains(&format!("accepted tcp:{to}")) && line.contains("email: a@mobula.test"),
        "{line}"
    );
}

/// nginx would cut it after three silent seconds.
#[tokio::test]
async fn an_idle_tunnel_outlives_the_read_timeout() {
    let extra = "proxy_read_timeout 3s; proxy_send_timeout 3s;";
    let mut front = front(false, Early::No, extra, |location| location).await;
    for client in [V2ray434, SingBox] {
        let socks = front.client(client).await;
        let to = To::Ip(traffic::echo().await);
        let mut stream = traffic::connect(socks, &to).await.expect("SOCKS connects");
        traffic::exchange(&mut stream, b"before").await;
        tokio::time::sleep(Duration::from_secs(7)).await;
        traffic::exchange(&mut stream, b"after").await;
    }
}

#[tokio::test]
async fn upgrade_that_is_not_forwarded_is_told() {
    let edit = |location: String| {
        location
            .replace("proxy_set_header Upgrade $http_upgrade;", "")
            .replace("proxy_set_header Connection \"upgrade\";", "")
    };
    let mut front = front(false, Early::No, "", edit).await;
    let answer = handshake(front.port).await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert!(!answer.to_lowercase().contains("mobula"), "{answer}");
    let log = front.stage.until_file_has("access.log", "rejected").await;
    assert!(log.contains("Upgrade"), "{log}");

    // A mobula client says what is the likeliest cause.
    let socks = front.client(Mobula).await;
    let to = To::Ip(traffic::echo().await);
    if let Ok(mut stream) = traffic::connect(socks, &to).await {
        let _ = stream.write_all(b"hello?").await;
        let ended = tokio::time::timeout(traffic::LIMIT, stream.read(&mut [0; 1])).await;
        assert!(!matches!(ended, Ok(Ok(1..)) | Err(_)), "nothing can come");
    }
    let log = front.stage.until_file_has("client-Mobula.log", "400").await;
    assert!(log.contains("Upgrade"), "{log}");
}

async fn handshake(port: u16) -> String {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))
        .await
        .expect("nginx listens");
    let request = format!(
        "GET /ray HTTP/1.1\r\nHost: {SERVER_NAME}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream
        .write_all(request.as_bytes())
        .await
        .expect("nginx reads");
    let mut answer = vec![0; 4096];
    let read = tokio::time::timeout(traffic::LIMIT, stream.read(&mut answer)).await;
    let n = read.expect("an answer in time").expect("an answer");
    String::from_utf8_lossy(&answer[..n]).into_owned()
}
