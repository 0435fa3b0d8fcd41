//! What a stranger on the way or at the door sees: the client's request beside a real browser's, a server that
//! takes up the compression which browsers offer, and refusals that all look alike.

use std::net::Ipv4Addr;
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use crate::configs::{self, Carrier, Certificate, Early, Vmess};
use crate::peers::Peer::{Mobula, V2ray445};
use crate::peers::{Stage, free_port, listen, python, root, system};
use crate::traffic::{self, To};

/// Answers `/` with a page that opens a WebSocket at `/ray`, and gives the heads of requests for that.
async fn recorder(tls: Option<TlsAcceptor>, host: &str) -> (u16, mpsc::Receiver<String>) {
    let listener = listen();
    let port = listener.local_addr().expect("it listens").port();
    let scheme = if tls.is_some() { "wss" } else { "ws" };
    let page = format!("<script>new WebSocket('{scheme}://{host}:{port}/ray')</script>");
    let (heads, recorded) = mpsc::channel(4);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (page, heads, tls) = (page.clone(), heads.clone(), tls.clone());
            tokio::spawn(async move {
                match tls {
                    None => record(stream, &page, heads).await,
                    Some(tls) => record(tls.accept(stream).await?, &page, heads).await,
                }
            });
        }
    });
    (port, recorded)
}

async fn record(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    page: &str,
    heads: mpsc::Sender<String>,
) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    if head.starts_with("GET /ray ") {
        let _ = heads.send(head).await;
        return Ok(());
    }
    let page = if head.starts_with("GET / ") { page } else { "" };
    let answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{page}",
        page.len()
    );
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await
}

/// The lines of a request, without what differs from one browser to the next: the key, and the system and the
/// version in its name, which is given by itself.
fn lines(head: &str) -> (Vec<String>, u32) {
    let mut version = 0;
    let lines = head.lines().map(|line| {
        if let Some(key) = line.strip_prefix("Sec-WebSocket-Key: ") {
            return format!("Sec-WebSocket-Key: {} letters", key.len());
        }
        let Some(agent) = line.strip_prefix("User-Agent: ") else {
            return line.to_owned();
        };
        let agent = agent.replace("HeadlessChrome", "Chrome");
        let (front, rest) = agent.split_once('(').expect("a system");
        let (_, rest) = rest.split_once(')').expect("a system");
        let (middle, chrome) = rest.split_once("Chrome/").expect("Chrome");
        let (major, rest) = chrome.split_once('.').expect("a version");
        version = major.parse().expect("a version");
        format!("User-Agent: {front}(){middle}Chrome/.{rest}")
    });
    (lines.collect(), version)
}

/// How many versions we may be behind; there are a dozen or more in a year.
const BEHIND: u32 = 8;

#[tokio::test]
async fn the_client_s_request_is_chromium_s_line_by_line() {
    for (with_tls, host) in [
        (false, "127.0.0.1"),
        (true, "127.0.0.1"),
        (false, "a.example"),
    ] {
        let mut stage = Stage::new();
        let names = ["127.0.0.1", "localhost"];
        let certificate = with_tls.then(|| Certificate::with_names(&stage, &names));
        let acceptor = certificate.as_ref().map(|c| c.acceptor(&["http/1.1"]));
        let (port, mut heads) = recorder(acceptor, host).await;
        let mut chromium = system("chromium");
        chromium.args(FLAGS).env("HOME", stage.path(""));
        let profile = stage.path("profile");
        chromium.arg(format!("--user-data-dir={}", profile.display()));
        let scheme = if with_tls { "https" } else { "http" };
        chromium.arg(format!("{scheme}://{host}:{port}/"));
        stage.start("chromium", &mut chromium, &[]).await;
        let theirs = timeout(Duration::from_secs(60), heads.recv()).await;
        let theirs = theirs.expect("the page is opened").expect("a request");

        let socks = free_port();
        let mut config = Vmess {
            tls: certificate,
            ..Vmess::ws()
        }
        .client(Mobula, socks, port);
        let settings = &mut config["outbounds"][0]["streamSettings"]["wsSettings"];
        settings["headers"] = json!({"Host": format!("{host}:{port}")});
        if with_tls {
            config["outbounds"][0]["streamSettings"]["tlsSettings"]["serverName"] =
                json!("127.0.0.1");
        }
        stage.run(Mobula, "client", &config, &[socks]).await;
        let to = To::Ip(traffic::echo().await);
        if let Ok(mut stream) = traffic::connect(socks, &to).await {
            let _ = stream.write_all(b"hello?").await;
        }
        let ours = timeout(traffic::LIMIT, heads.recv()).await;
        let ours = ours.expect("a request in time").expect("a request");

        let ((ours, our_version), (theirs, their_version)) = (lines(&ours), lines(&theirs));
        assert_eq!(ours, theirs);
        assert!(
            our_version + BEHIND >= their_version,
            "Chrome is at version {their_version}, we say {our_version}: CHROME in http/request.rs is too old"
        );
    }
}

/// Nothing but the page, from a server of any name whose certificate nobody vouches for.
const FLAGS: [&str; 12] = [
    "--headless",
    "--host-resolver-rules=MAP *.example 127.0.0.1",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--no-proxy-server",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--ignore-certificate-errors",
];

/// Python's `websockets` accepts what browsers offer, and compresses.
#[tokio::test]
async fn a_server_that_compresses_carries_a_tunnel() {
    for options in [
        &[][..],
        &["server_no_context_takeover=yes", "server_max_window_bits=9"],
        &["client_no_context_takeover=yes", "client_max_window_bits=8"],
    ] {
        let mut stage = Stage::new();
        let (vmess, bridge, socks) = (free_port(), free_port(), free_port());
        let server = Vmess::tcp().server(V2ray445, vmess);
        stage.run(V2ray445, "server", &server, &[vmess]).await;
        let mut command = python();
        command.arg(root().join("integration/peers/websocket_bridge.py"));
        command
            .args([bridge.to_string(), vmess.to_string()])
            .args(options);
        let bridging = stage.start("bridge", &mut command, &[bridge]).await;
        // Bytes that are not sealed can be compressed.
        let client = Vmess::ws_sealed("none").client(Mobula, socks, bridge);
        stage.run(Mobula, "client", &client, &[socks]).await;
        let to = To::Ip(traffic::echo().await);
        let mut stream = traffic::connect(socks, &to).await.expect("SOCKS connects");
        for n in [1, 1000, 100_000, 7] {
            let zeros = vec![0; n];
            traffic::exchange(&mut stream, &zeros).await;
        }
        traffic::server_speaks_first(socks).await;
        traffic::both_ways(socks, 2 * 1024 * 1024).await;
        assert_eq!(stage.log(bridging), "", "{options:?}");
    }
}

/// A server's answer to `request`, up to its end.
async fn answer(port: u16, request: &[u8]) -> String {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await;
    let mut stream = stream.expect("it listens");
    stream.write_all(request).await.expect("it reads");
    let _ = stream.shutdown().await;
    let mut answer = Vec::new();
    let end = timeout(traffic::LIMIT, stream.read_to_end(&mut answer)).await;
    assert!(end.is_ok(), "still open");
    String::from_utf8_lossy(&answer).into_owned()
}

/// Names of headers, and the page without its status: all that could tell one refusal from another.
fn shape(answer: &str) -> (Vec<&str>, String) {
    let (head, page) = answer.split_once("\r\n\r\n").expect("a whole answer");
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split_once(' '));
    let (_, status) = status.expect("a status");
    let names = lines.map(|line| line.split(':').next().unwrap_or_default());
    (names.collect(), page.replace(status, "STATUS"))
}

#[tokio::test]
async fn a_prober_cannot_tell_refusals_apart() {
    let mut stage = Stage::new();
    let servers = [free_port(), free_port()];
    for (n, vmess) in [Vmess::ws(), Vmess::httpupgrade()].iter().enumerate() {
        let (port, name) = (servers[n], format!("server-{n}"));
        let config = vmess.server(Mobula, port);
        stage.run(Mobula, &name, &config, &[port]).await;
    }
    let upgrade =
        "Host: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n";
    let long = "x".repeat(50_000);
    let probes = [
        ("404", "GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_owned()),
        ("404", "GET / HTTP/1.0\r\n\r\n".to_owned()),
        ("400", "GET /ray HTTP/1.1\r\nHost: a\r\n\r\n".to_owned()),
        ("400", "GET /ray HTTP/1.0\r\n\r\n".to_owned()),
        (
            "400",
            format!("GET /ray HTTP/1.1\r\n{upgrade}Sec-WebSocket-Key: c2hvcnQ=\r\n\r\n"),
        ),
        (
            "405",
            "POST /ray HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi".to_owned(),
        ),
        ("400", "GET /ray\r\n\r\n".to_owned()),
        ("400", "GET / HTTP/1.1\r\nno colon\r\n\r\n".to_owned()),
        ("400", "GET / HTTP/9.9\r\nHost: a\r\n\r\n".to_owned()),
        ("431", format!("GET / HTTP/1.1\r\nX: {long}\r\n\r\n")),
        ("431", format!("GET /{long} HTTP/1.1\r\n\r\n")),
        (
            "431",
            format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(200)),
        ),
        (
            "400",
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_owned(),
        ),
        ("400", "\x16\x03\x01\x02\0\x01\0\x01".to_owned()),
    ];
    let mut first = None;
    for (vmess, (status, probe)) in [Vmess::ws(), Vmess::httpupgrade()]
        .iter()
        .flat_map(|vmess| probes.iter().map(move |probe| (vmess, probe)))
    {
        // Without a WebSocket behind it a key means nothing.
        if vmess.carrier == Carrier::HttpUpgrade && probe.contains("Sec-WebSocket-Key") {
            continue;
        }
        let port = servers[usize::from(vmess.carrier == Carrier::HttpUpgrade)];
        let answer = answer(port, probe.as_bytes()).await;
        let line = format!("HTTP/1.1 {status} ");
        assert!(answer.starts_with(&line), "{probe}: {answer}");
        let (names, page) = shape(&answer);
        let names: Vec<_> = names.into_iter().map(str::to_owned).collect();
        let first = first.get_or_insert_with(|| (names.clone(), page.clone()));
        assert_eq!((&names, &page), (&first.0, &first.1), "{probe}");
    }
}

/// What many people have: `proxy_http_version 1.1` is missing. V2Ray answers it.
#[tokio::test]
async fn an_nginx_that_asks_as_http_1_0_gets_its_tunnel() {
    for server in [Mobula, V2ray445] {
        let mut stage = Stage::new();
        let (front, port, socks) = (free_port(), free_port(), free_port());
        let config = Vmess::ws().server(server, port);
        let serving = stage.run(server, "server", &config, &[port]).await;
        let location = configs::documented_location(port).replace("proxy_http_version 1.1;", "");
        let file = configs::nginx(&stage, &format!("listen 127.0.0.1:{front};\n{location}"));
        let mut nginx = system("nginx");
        nginx.arg("-p").arg(stage.path("")).arg("-c").arg(file);
        stage.start("nginx", &mut nginx, &[front]).await;
        let vmess = Vmess::ws_early(Early::No);
        let config = vmess.client(Mobula, socks, front);
        stage.run(Mobula, "client", &config, &[socks]).await;
        traffic::word(socks, &To::Ip(traffic::echo().await)).await;
        traffic::both_ways(socks, 1024 * 1024).await;
        if server == Mobula {
            let log = stage.log(serving);
            assert_eq!(log.matches("proxy_http_version 1.1").count(), 1, "{log}");
        }
    }
}
