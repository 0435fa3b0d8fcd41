//! `mobula tunnel`: a client's services at a server's ports, and what happens to them.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::time::{Instant, sleep, timeout};

use crate::configs;
use crate::peers::{Stage, free_port, listen, mobula, system};
use crate::scenario_recipes::{shown, with};
use crate::traffic::{self, LIMIT};

/// As the manual has it.
const BACK_WITHIN: Duration = Duration::from_secs(5);

pub struct Tunnel {
    pub stage: Stage,
    port: u16,
    pin: String,
}

fn tunnel(end: &str, file: &PathBuf) -> Command {
    let mut command = mobula();
    command.arg("tunnel").arg(end).arg(file);
    command
}

impl Tunnel {
    /// A server with `more` in its file.
    pub async fn start(more: &str) -> Self {
        let mut tunnel = Self {
            stage: Stage::new(),
            port: free_port(),
            pin: String::new(),
        };
        let port = tunnel.port;
        let file = format!(
            "[server]\nbind_addr = \"127.0.0.1\"\nbind_port = {port}\nauth_key = \"k\"\n{more}\n"
        );
        tunnel.stage.write("server.toml", file);
        tunnel.run_server().await;
        if !more.contains("\"ws\"") {
            let log = tunnel.stage.until_file_has("server.log", "pin = ").await;
            let pin = log.split("pin = \"").nth(1).expect("it is there");
            tunnel.pin = pin[..64].to_owned();
        }
        tunnel
    }

    async fn run_server(&mut self) -> usize {
        let mut command = tunnel("server", &self.stage.path("server.toml"));
        self.stage.start("server", &mut command, &[self.port]).await
    }

    pub fn client_file(&self, more: &str, proxies: &str) -> String {
        let pin = match self.pin.is_empty() {
            true => String::new(),
            false => format!("pin = \"{}\"\n", self.pin),
        };
        let port = self.port;
        format!(
            "[client]\nserver_addr = \"127.0.0.1\"\nserver_port = {port}\nauth_key = \"k\"\n{pin}{more}\n{proxies}"
        )
    }

    pub async fn run_client(&mut self, name: &str, file: &str, ports: &[u16]) -> usize {
        let path = self.stage.write(&format!("{name}.toml"), file);
        let mut command = tunnel("client", &path);
        self.stage.start(name, &mut command, ports).await
    }

    async fn kill(&mut self, index: usize) {
        let child = self.stage.child(index);
        child.signal("KILL");
        child.ended(LIMIT).await;
    }
}

pub fn proxy(name: &str, kind: &str, publish: u16, local: u16, more: &str) -> String {
    format!(
        "[[proxies]]\nname = \"{name}\"\nproxy_type = \"{kind}\"\npublish_addr = \"127.0.0.1\"\npublish_port = {publish}\nlocal_port = {local}\n{more}\n"
    )
}

pub async fn visit(port: u16) -> bool {
    let talk = async {
        let mut visitor = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
        visitor.write_all(b"a word").await.ok()?;
        let mut back = [0; 6];
        visitor.read_exact(&mut back).await.ok()?;
        Some(back == *b"a word")
    };
    timeout(Duration::from_secs(2), talk).await.ok().flatten() == Some(true)
}

/// How long it takes until a published port leads to an echo.
pub async fn until_back(port: u16) -> Duration {
    let began = Instant::now();
    while !visit(port).await {
        assert!(began.elapsed() < LIMIT, "port {port} is not back");
        sleep(Duration::from_millis(20)).await;
    }
    began.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn services_are_published_and_come_back_after_each_end_was_started_anew() {
    let mut tunnel = Tunnel::start("").await;
    let (tcp, udp) = (free_port(), free_port());
    let echo = traffic::echo().await.port();
    let proxies = [
        proxy("echo", "tcp", tcp, echo, ""),
        proxy(
            "datagrams",
            "udp",
            udp,
            traffic::udp_echo().await.port(),
            "",
        ),
    ];
    let file = tunnel.client_file("", &proxies.concat());
    let client = tunnel.run_client("client", &file, &[tcp]).await;
    let said = format!("echo: published on 127.0.0.1:{tcp} → 127.0.0.1:{echo}");
    tunnel.stage.until_file_has("client.log", &said).await;
    let said = format!("datagrams: published on 127.0.0.1:{udp}");
    tunnel.stage.until_file_has("client.log", &said).await;
    let mut visitor = TcpStream::connect(("127.0.0.1", tcp))
        .await
        .expect("it is open");
    traffic::exchange(&mut visitor, &traffic::bytes(4 * 1024 * 1024)).await;
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
    socket.connect(("127.0.0.1", udp)).await.expect("a socket");
    socket.send(b"a word").await.expect("a socket");
    let mut back = [0; 16];
    let read = timeout(LIMIT, socket.recv(&mut back)).await;
    assert_eq!(read.expect("an answer in time").expect("a socket"), 6);

    tunnel.kill(0).await;
    let server = tunnel.run_server().await;
    let took = until_back(tcp).await;
    assert!(took < BACK_WITHIN, "it took {took:?} after the server");
    tunnel.kill(client).await;
    tunnel.run_client("client", &file, &[]).await;
    let took = until_back(tcp).await;
    assert!(took < BACK_WITHIN, "it took {took:?} after the client");
    let log = tunnel.stage.log(server);
    assert!(!log.contains("\"k\""), "no key is in {log}");
}

#[tokio::test]
async fn services_come_and_go_when_the_file_is_read_again() {
    let mut tunnel = Tunnel::start("").await;
    let [stays, goes, comes] = [(); 3].map(|()| free_port());
    let echo = traffic::echo().await.port();
    let proxies = |ports: [u16; 2]| {
        ports
            .map(|port| proxy(&format!("of-{port}"), "tcp", port, echo, ""))
            .concat()
    };
    let file = tunnel.client_file("", &proxies([stays, goes]));
    let client = tunnel.run_client("client", &file, &[stays, goes]).await;
    let mut visitor = TcpStream::connect(("127.0.0.1", stays))
        .await
        .expect("it is open");
    traffic::exchange(&mut visitor, b"before").await;
    let file = tunnel.client_file("", &proxies([stays, comes]));
    tunnel.stage.write("client.toml", file);
    tunnel.stage.child(client).signal("HUP");
    until_back(comes).await;
    traffic::exchange(&mut visitor, b"behind").await;
    assert!(!visit(goes).await, "it is published no more");
}

/// The cure is a key of this file, not one of a config.json.
#[tokio::test]
async fn a_certificate_that_is_not_believed_is_told_in_the_words_of_the_file() {
    for (pin, code) in [("", "tls-issuer"), (&*"ab".repeat(32), "tls-pin")] {
        let mut tunnel = Tunnel::start("").await;
        tunnel.pin = pin.to_owned();
        let file = tunnel.client_file("", &proxy("echo", "tcp", free_port(), free_port(), ""));
        tunnel.run_client("client", &file, &[]).await;
        let log = tunnel.stage.until_file_has("client.log", code).await;
        assert!(log.contains("`pin`"), "{log}");
        assert!(
            !log.contains("usage: verify") && !log.contains("pinnedPeer"),
            "{log}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_another_key_or_comes_second_is_told_so() {
    let mut tunnel = Tunnel::start("allow_ports = [\"1-65535\"]").await;
    let port = free_port();
    let proxies = proxy("echo", "tcp", port, traffic::echo().await.port(), "");
    let file = tunnel.client_file("", &proxies);
    tunnel.run_client("client", &file, &[port]).await;
    tunnel.run_client("second", &file, &[]).await;
    let texts = [
        "echo: 127.0.0.1",
        "is not published",
        "another client or program has it",
    ];
    tunnel.stage.until_line_has("second.log", &texts).await;
    let wrong = file.replace("auth_key = \"k\"", "auth_key = \"wrong-key\"");
    tunnel.run_client("stranger", &wrong, &[]).await;
    let texts = ["is not published", "auth_key"];
    let log = tunnel.stage.until_line_has("stranger.log", &texts).await;
    assert!(!log.contains("wrong-key"), "{log}");
    tunnel
        .stage
        .until_file_has("server.log", "proxy-auth")
        .await;
    assert!(visit(port).await, "the first is not disturbed");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_leads_nobody_anywhere() {
    let port = free_port();
    let mut tunnel = Tunnel::start("transport = \"ws\"\nwss_path = \"/t\"").await;
    let socks = port;
    let config = serde_json::json!({
        "inbounds": [{"listen": "127.0.0.1", "port": socks, "protocol": "socks", "settings": {}}],
        "outbounds": [{
            "protocol": "relay", "streamSettings": {"network": "mws", "mwsSettings": {"path": "/t"}},
            "settings": {"address": "127.0.0.1", "port": tunnel.port, "user": "tunnel", "pass": "k"},
        }],
    });
    tunnel
        .stage
        .run(crate::peers::Peer::Mobula, "proxy", &config, &[socks])
        .await;
    let to = traffic::To::Ip(traffic::says("reached").await);
    assert_eq!(traffic::line(socks, &to).await, "");
    tunnel
        .stage
        .until_file_has("proxy.log", "relay-forbidden")
        .await;
}

/// Answers each request with its head.
async fn web(name: &'static str) -> u16 {
    let listener = listen();
    let port = listener.local_addr().expect("an address").port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut head = Vec::new();
                let mut byte = [0];
                while !head.ends_with(b"\r\n\r\n") && stream.read_exact(&mut byte).await.is_ok() {
                    head.push(byte[0]);
                }
                let body = format!("{name}\n{}", String::from_utf8_lossy(&head));
                let answer = format!(
                    "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
                    body.len()
                );
                let _ = stream.write_all(answer.as_bytes()).await;
            });
        }
    });
    port
}

async fn get(port: u16, host: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port))
        .await
        .expect("it is open");
    let request = format!(
        "GET / HTTP/1.1\r\nHost: {host}\r\nX-Forwarded-For: 192.0.2.9\r\nConnection: close\r\n\r\n"
    );
    stream
        .write_all(request.as_bytes())
        .await
        .expect("it is taken");
    let mut answer = String::new();
    let read = timeout(LIMIT, stream.read_to_string(&mut answer)).await;
    read.expect("an answer in time").expect("an answer");
    answer.to_ascii_lowercase()
}

#[tokio::test(flavor = "multi_thread")]
async fn web_servers_share_a_port_by_their_hosts_and_hear_who_comes() {
    let mut tunnel = Tunnel::start("").await;
    let port = free_port();
    let proxies = [
        proxy(
            "a",
            "http/1.1",
            port,
            web("first").await,
            "hosts = \"a.example\"",
        ),
        proxy(
            "b",
            "http/1.1",
            port,
            web("second").await,
            "hosts = [\"b.example\"]",
        ),
    ];
    let file = tunnel.client_file("", &proxies.concat());
    tunnel.run_client("client", &file, &[port]).await;
    let answer = get(port, "A.example:8080").await;
    assert!(answer.contains("\nfirst\n"), "{answer}");
    assert!(
        answer.contains("x-forwarded-for: 127.0.0.1\r\n"),
        "{answer}"
    );
    assert!(get(port, "b.example").await.contains("\nsecond\n"));
    assert!(get(port, "c.example").await.starts_with("http/1.1 404"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_is_down_for_a_while_is_reached_again() {
    let mut tunnel = Tunnel::start("").await;
    let (port, local) = (free_port(), free_port());
    let file = tunnel.client_file("", &proxy("echo", "tcp", port, local, ""));
    tunnel.run_client("client", &file, &[port]).await;
    assert!(!visit(port).await, "nobody is there");
    let listener = TcpListener::bind(("127.0.0.1", local))
        .await
        .expect("it is free");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut read, mut write) = stream.split();
                let _ = tokio::io::copy(&mut read, &mut write).await;
            });
        }
    });
    until_back(port).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nginx_may_stand_in_front_with_a_path() {
    let mut tunnel = Tunnel::start("transport = \"ws\"\nwss_path = \"/tunnel/v1\"").await;
    let (front, port) = (free_port(), free_port());
    let block = format!(
        "listen 127.0.0.1:{front};\nlocation /tunnel/v1 {{ proxy_pass http://127.0.0.1:{}; proxy_http_version 1.1; \
         proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade; }}",
        tunnel.port
    );
    let file = configs::nginx(&tunnel.stage, &block);
    let mut nginx = system("nginx");
    nginx
        .arg("-p")
        .arg(tunnel.stage.path(""))
        .arg("-c")
        .arg(file);
    tunnel.stage.start("nginx", &mut nginx, &[front]).await;
    let more = "transport = \"ws\"\nwss_path = \"/tunnel/v1\"";
    let proxies = proxy("echo", "tcp", port, traffic::echo().await.port(), "");
    let file = tunnel.client_file(more, &proxies);
    let file = file.replace(
        &format!("server_port = {}", tunnel.port),
        &format!("server_port = {front}"),
    );
    tunnel.run_client("client", &file, &[port]).await;
    assert!(visit(port).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_alone_is_there_where_the_websocket_does_not_get_through() {
    let mut tunnel = Tunnel::start("wss_path = \"/one\"\nfallback = [\"wss\", \"tls\"]").await;
    let ports = [free_port(), free_port()];
    let echo = traffic::echo().await.port();
    // The path is another one, so there is no WebSocket for the first.
    for (i, path) in ["/other", "/one"].into_iter().enumerate() {
        let more = format!("wss_path = \"{path}\"\nfallback = [\"wss\", \"tls\"]");
        let file = tunnel.client_file(&more, &proxy("echo", "tcp", ports[i], echo, ""));
        tunnel
            .run_client(&format!("client{i}"), &file, &[ports[i]])
            .await;
        assert!(visit(ports[i]).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_web_service_that_is_away_is_called_one() {
    let mut tunnel = Tunnel::start("").await;
    let (port, local) = (free_port(), free_port());
    let file = tunnel.client_file("", &proxy("web", "http/1.1", port, local, ""));
    tunnel.run_client("client", &file, &[port]).await;
    let mut visitor = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let asked = visitor.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    asked.await.unwrap();
    let mut answer = String::new();
    let heard = timeout(LIMIT, visitor.read_to_string(&mut answer)).await;
    heard.expect("in time").expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
    let told = format!("nobody answers at the service 127.0.0.1:{local}: ");
    tunnel.stage.until_file_has("client.log", &told).await;
}

/// A company's proxy has an issuer of the company's own.
#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_with_tls_is_vouched_for_by_the_same_authority() {
    let mut tunnel = Tunnel::start("").await;
    let certificate = configs::Certificate::new(&tunnel.stage);
    let http = free_port();
    let listen = format!(
        "http+tls://u:p@127.0.0.1:{http}?certFile={}&keyFile={}",
        certificate.chain.display(),
        certificate.key.display()
    );
    let mut gost = mobula();
    gost.args(["gost", "-L", &listen]);
    tunnel.stage.start("proxy", &mut gost, &[http]).await;
    let port = free_port();
    let proxies = proxy("echo", "tcp", port, traffic::echo().await.port(), "");
    let more = format!("proxy = \"https://u:p@localhost:{http}\"");
    let file = tunnel.client_file(&more, &proxies);
    tunnel.run_client("stranger", &file, &[]).await;
    let told =
        "nobody we believe has issued the proxy's certificate: give its issuer by `ca_cert_path`";
    tunnel.stage.until_file_has("stranger.log", told).await;
    let authority = certificate.authority.display();
    let more = format!("{more}\nca_cert_path = \"{authority}\"");
    let file = tunnel.client_file(&more, &proxies);
    tunnel.run_client("client", &file, &[]).await;
    until_back(port).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_leads_to_the_server_and_one_of_two_servers_will_do() {
    let mut tunnel = Tunnel::start("").await;
    let (http, port) = (free_port(), free_port());
    let config = serde_json::json!({
        "inbounds": [{"listen": "127.0.0.1", "port": http, "protocol": "http",
            "settings": {"accounts": [{"user": "u", "pass": "p@"}]}}],
        "outbounds": [{"protocol": "freedom"}],
    });
    tunnel
        .stage
        .run(crate::peers::Peer::Mobula, "proxy", &config, &[http])
        .await;
    let dead = free_port();
    let more = format!("proxy = \"http://u:p%40@127.0.0.1:{http}\"");
    let proxies = proxy("echo", "tcp", port, traffic::echo().await.port(), "");
    let file = tunnel.client_file(&more, &proxies);
    let both = format!("server_addr = [\"127.0.0.1:{dead}\", \"127.0.0.1\"]");
    let file = file.replace("server_addr = \"127.0.0.1\"", &both);
    tunnel.run_client("client", &file, &[port]).await;
    assert!(visit(port).await);
}

/// One that has another key, or says nothing at all, holds up the next for a moment only.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_refuses_or_is_silent_does_not_keep_the_others_from_their_turn() {
    let mut tunnel = Tunnel::start("transport = \"ws\"").await;
    let other = free_port();
    let file = tunnel.stage.write(
        "other.toml",
        format!("[server]\nbind_addr = \"127.0.0.1\"\nbind_port = {other}\nauth_key = \"other\"\ntransport = \"ws\"\n"),
    );
    let mut command = self::tunnel("server", &file);
    tunnel.stage.start("other", &mut command, &[other]).await;
    let silent = listen();
    let silent = silent.local_addr().expect("it is bound").port();
    let echo = traffic::echo().await.port();
    for (name, bad) in [("refused", other), ("unheard", silent)] {
        let port = free_port();
        let file = tunnel.client_file("transport = \"ws\"", &proxy("echo", "tcp", port, echo, ""));
        // With which of two a port begins is its own.
        let mut both = [format!("\"127.0.0.1:{bad}\""), "\"127.0.0.1\"".to_owned()];
        both.rotate_left(usize::from(port % 2));
        let both = format!("server_addr = [{}]", both.join(", "));
        let file = file.replace("server_addr = \"127.0.0.1\"", &both);
        let began = Instant::now();
        tunnel.run_client(name, &file, &[]).await;
        until_back(port).await;
        let took = began.elapsed();
        assert!(took < Duration::from_secs(7), "{name}: {took:?}");
        let log = tunnel
            .stage
            .until_file_has(&format!("{name}.log"), "published")
            .await;
        assert!(log.contains("is not published"), "{log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_two_files_of_the_manual_work_but_for_their_ports() {
    let shown = shown("tunnel.md", "toml");
    let [server, client] = &shown[..] else {
        panic!("two files");
    };
    let mut stage = Stage::new();
    let port = free_port();
    let bind = format!("bind_port = {port}");
    let file = stage.write(
        "server-wss.toml",
        with(server, &[("bind_port = 443", &bind)]),
    );
    stage
        .start("server", &mut tunnel("server", &file), &[port])
        .await;
    let log = stage.until_file_has("server.log", "pin = ").await;
    let pin = &log.split("pin = ").nth(1).expect("it is there")[..66];
    let (web_port, ssh_port) = (free_port(), free_port());
    let client = with(
        client,
        &[
            ("\"your-server.com\"", "\"127.0.0.1\""),
            ("server_port = 443", &format!("server_port = {port}")),
            ("# pin = \"5f0c...\"", &format!("pin = {pin}")),
            ("8080", &web_port.to_string()),
            (
                "local_port = 80\n",
                &format!("local_port = {}\n", web("web").await),
            ),
            ("2222", &ssh_port.to_string()),
            (
                "local_port = 22",
                &format!("local_port = {}", traffic::echo().await.port()),
            ),
        ],
    );
    let file = stage.write("client-wss.toml", client);
    let ports = [web_port, ssh_port];
    stage
        .start("client", &mut tunnel("client", &file), &ports)
        .await;
    let said = format!("ssh-server: published on 0.0.0.0:{ssh_port} → 127.0.0.1:");
    stage.until_file_has("client.log", &said).await;
    assert!(visit(ssh_port).await);
    assert!(get(web_port, "your-server.com").await.contains("\nweb\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mistake_is_told_with_its_line_and_column() {
    let mut stage = Stage::new();
    let file = stage.write(
        "c.toml",
        "[client]\nserver_addr = \"a\"\nserver_prot = 443\nauth_key = \"x\"\n",
    );
    let index = stage
        .start("client", &mut tunnel("client", &file), &[])
        .await;
    let status = stage.child(index).ended(LIMIT).await;
    assert_eq!(status.code(), Some(23));
    let log = stage.log(index);
    assert!(
        log.contains("c.toml:3:1: [client] has no key `server_prot`, did you mean `server_port`?"),
        "{log}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_web_site_stands_beside_the_tunnel() {
    let stage = Stage::new();
    let folder = stage.path("site");
    std::fs::create_dir(&folder).expect("a folder");
    std::fs::write(folder.join("index.html"), "a page of ours").expect("a file");
    let site = format!("site = {:?}", folder.display().to_string());
    for more in ["wss_path = \"/tunnel/v1\"", ""] {
        let mut tunnel = Tunnel::start(&format!("transport = \"ws\"\n{site}\n{more}")).await;
        let port = free_port();
        let proxies = proxy("echo", "tcp", port, traffic::echo().await.port(), "");
        let file = tunnel.client_file(&format!("transport = \"ws\"\n{more}"), &proxies);
        tunnel.run_client("client", &file, &[port]).await;
        assert!(visit(port).await);
        assert!(
            get(tunnel.port, "your-server.com")
                .await
                .contains("a page of ours")
        );
        assert!(visit(port).await);
    }
}

/// The client is at one of three servers, and its ports with it.
#[tokio::test(flavor = "multi_thread")]
async fn haproxy_may_stand_in_front_of_three_servers() {
    let mut tunnel = Tunnel::start("transport = \"ws\"\nwss_path = \"/t\"").await;
    let (front, port) = (free_port(), free_port());
    let mut servers = vec![(0, tunnel.port)];
    for n in 1..3 {
        let own = free_port();
        let text = format!(
            "[server]\nbind_addr = \"127.0.0.1\"\nbind_port = {own}\nauth_key = \"k\"\ntransport = \"ws\"\nwss_path = \"/t\"\n"
        );
        let file = tunnel.stage.write(&format!("server{n}.toml"), text);
        let mut command = self::tunnel("server", &file);
        let name = format!("server{n}");
        let index = tunnel.stage.start(&name, &mut command, &[own]).await;
        servers.push((index, own));
    }
    let mut text = format!(
        "defaults\n  mode http\n  timeout connect 2s\n  timeout client 60s\n  timeout server 60s\n  timeout tunnel 1h\n\
         \x20 option redispatch\n  retries 3\nfrontend in\n  bind 127.0.0.1:{front}\n  default_backend out\nbackend out\n  balance roundrobin\n"
    );
    for (n, (_, own)) in servers.iter().enumerate() {
        text += &format!("  server s{n} 127.0.0.1:{own} check inter 500ms fall 1 rise 1\n");
    }
    let file = tunnel.stage.write("haproxy.cfg", text);
    let mut command = system("haproxy");
    command.arg("-db").arg("-f").arg(file);
    tunnel.stage.start("haproxy", &mut command, &[front]).await;
    let proxies = proxy("echo", "tcp", port, traffic::echo().await.port(), "");
    let file = tunnel.client_file("transport = \"ws\"\nwss_path = \"/t\"", &proxies);
    let file = file.replace(
        &format!("server_port = {}", tunnel.port),
        &format!("server_port = {front}"),
    );
    tunnel.run_client("client", &file, &[port]).await;
    assert!(visit(port).await);
    // Whichever has it, it is at another one soon after that has gone.
    for _ in 0..2 {
        let said = format!("port 127.0.0.1:{port} is open for");
        let has_it = |index: usize| {
            let log = tunnel.stage.log(index);
            log.matches(&said).count() > log.matches("is closed again").count()
        };
        let holder = servers.iter().position(|(index, _)| has_it(*index));
        let (index, _) = servers.remove(holder.expect("one of them has it"));
        tunnel.kill(index).await;
        let took = until_back(port).await;
        assert!(took < BACK_WITHIN, "it took {took:?}");
    }
}
