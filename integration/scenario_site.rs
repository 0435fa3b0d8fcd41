//! A site on the port of a tunnel: the files of a folder, for browsers, beside the tunnel's clients.

use std::fs;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::configs::{Carrier, Certificate, ID, SERVER_NAME, Vmess};
use crate::peers::Peer::{self, Mobula, SingBox, V2ray434, V2ray445};
use crate::peers::{Stage, free_port, system};
use crate::scenario_recipes;
use crate::traffic::{self, To};

/// mobula with a site beside its tunnel.
pub struct Front {
    pub stage: Stage,
    pub port: u16,
    pub server: usize,
    pub vmess: Vmess,
}

impl Front {
    pub async fn new(mut stage: Stage, vmess: Vmess, fallback: Value) -> Self {
        let port = free_port();
        let mut config = vmess.server(Mobula, port);
        config["inbounds"][0]["streamSettings"]["fallback"] = fallback;
        let server = stage.run(Mobula, "server", &config, &[port]).await;
        Self {
            stage,
            port,
            server,
            vmess,
        }
    }

    /// A client of the tunnel carries bytes both ways.
    pub async fn carries(&mut self, client: Peer) {
        let socks = free_port();
        let config = self.vmess.client(client, socks, self.port);
        let name = format!("client-{client:?}");
        self.stage.run(client, &name, &config, &[socks]).await;
        traffic::ready(socks).await;
        traffic::word(socks, &To::Ip(traffic::echo().await)).await;
        traffic::both_ways(socks, 1024 * 1024).await;
    }

    /// What curl prints.
    pub fn curl(&self, args: &[&str]) -> String {
        let mut curl = system("curl");
        curl.args(["-s", "--max-time", "120"]).args(args);
        let output = curl.current_dir(self.stage.path("")).output();
        let output = output.expect("curl runs");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

/// A little site, in the test's folder; a secret lies beside it.
pub fn folder(stage: &Stage) -> PathBuf {
    let site = stage.path("site");
    fs::create_dir_all(site.join("sub/empty")).unwrap();
    fs::create_dir_all(site.join(".git")).unwrap();
    fs::write(site.join("index.html"), HOME).unwrap();
    fs::write(site.join("sub/index.html"), "below").unwrap();
    fs::write(site.join("style.css"), "p {}").unwrap();
    fs::write(site.join("app.js"), "1;").unwrap();
    fs::write(site.join("ten.txt"), "0123456789").unwrap();
    fs::write(site.join(".git/config"), "hidden").unwrap();
    stage.write("secret.txt", "secret");
    std::os::unix::fs::symlink("../secret.txt", site.join("out.txt")).unwrap();
    std::os::unix::fs::symlink("..", site.join("up")).unwrap();
    std::os::unix::fs::symlink("ten.txt", site.join("in.txt")).unwrap();
    site
}

/// It says over which HTTP it came.
const HOME: &str = "<!doctype html><title>home</title><p id=p>welcome</p><script>\
    p.textContent = 'by ' + performance.getEntriesByType('navigation')[0].nextHopProtocol</script>";

/// All that a server sends to `request` until it closes.
pub async fn raw(port: u16, request: &str) -> String {
    let asking = async {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    };
    let answer = timeout(traffic::LIMIT, asking).await;
    let answer = answer.unwrap_or_else(|_| panic!("no end of the answer to {request}"));
    String::from_utf8_lossy(&answer.expect("an answer")).into_owned()
}

async fn get(port: u16, path: &str, more: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\n{more}Connection: close\r\n\r\n");
    raw(port, &request).await
}

/// Requests that open no tunnel; `PATH` stands for a path, `KEY` for a good one.
const NO_TUNNELS: [&str; 10] = [
    "GET PATH HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    "HEAD PATH HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    "POST PATH HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nConnection: close\r\n\r\nbody",
    "PUT PATH HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n4\r\nbody\r\n0\r\n\r\n",
    "OPTIONS PATH HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    "GET PATH HTTP/1.0\r\n\r\n",
    "GET PATH HTTP/1.1\r\nConnection: close\r\n\r\n",
    // An old HTTP.
    "GET PATH HTTP/1.0\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: KEY\r\nSec-WebSocket-Version: 13\r\n\r\n",
    // With a body, and not a GET.
    "GET PATH HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nConnection: Upgrade, close\r\nUpgrade: websocket\r\nSec-WebSocket-Key: KEY\r\nSec-WebSocket-Version: 13\r\n\r\nx",
    "POST PATH HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nConnection: Upgrade, close\r\nUpgrade: websocket\r\nSec-WebSocket-Key: KEY\r\nSec-WebSocket-Version: 13\r\n\r\n",
];

/// The same of a WebSocket alone: without a key, with a wrong one, of another version.
const NO_WEBSOCKETS: [&str; 3] = [
    "GET PATH HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, close\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\r\n",
    "GET PATH HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, close\r\nUpgrade: websocket\r\nSec-WebSocket-Key: AAAA\r\nSec-WebSocket-Version: 13\r\n\r\n",
    "GET PATH HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, close\r\nUpgrade: websocket\r\nSec-WebSocket-Key: KEY\r\nSec-WebSocket-Version: 8\r\n\r\n",
];

/// The tunnel's own path is one that does not exist, to the byte.
pub async fn is_hidden(port: u16, vmess: &Vmess) {
    let more = match vmess.carrier {
        Carrier::Ws => &NO_WEBSOCKETS[..],
        _ => &[],
    };
    for request in NO_TUNNELS.iter().chain(more) {
        let request = request.replace("KEY", "dGhlIHNhbXBsZSBub25jZQ==");
        let mut answers = Vec::new();
        for path in ["/ray", "/no1"] {
            let answer = raw(port, &request.replace("PATH", path)).await;
            assert!(answer.starts_with("HTTP/1."), "{request}: {answer}");
            assert!(!answer.contains("101 Switching"), "{request}: {answer}");
            // Of all lines one is the clock's.
            let is_timeless = |line: &&str| !line.to_ascii_lowercase().starts_with("date: ");
            let lines = answer.split("\r\n").filter(is_timeless);
            answers.push(lines.map(str::to_owned).collect::<Vec<_>>());
        }
        assert_eq!(answers[0], answers[1], "{request}");
    }
}

/// A handshake of the tunnel, as a browser would send it.
pub const UPGRADE: &str = "GET /ray HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";

#[tokio::test]
async fn the_tunnels_path_is_one_that_does_not_exist() {
    for vmess in [Vmess::ws(), Vmess::httpupgrade()] {
        let stage = Stage::new();
        let site = folder(&stage);
        let front = Front::new(stage, vmess, json!(site)).await;
        is_hidden(front.port, &front.vmess).await;
        let missing = get(front.port, "/ray", "").await;
        assert!(
            missing.starts_with("HTTP/1.1 404 Not Found\r\n"),
            "{missing}"
        );
        // The operator hears of who nearly knows the way.
        let log = front
            .stage
            .until_line_has("access.log", &["GET /ray goes to the site", "[ws-upgrade]"])
            .await;
        assert!(!log.contains("/no1"), "{log}");
    }
}

#[tokio::test]
async fn files_are_served_as_web_servers_do() {
    let stage = Stage::new();
    let site = folder(&stage);
    let front = Front::new(stage, Vmess::ws(), json!({"to": site})).await;
    let port = front.port;
    for (path, head, body) in [
        ("/", "Content-Type: text/html\r\n", HOME),
        ("/index.html?x=1", "Content-Type: text/html\r\n", HOME),
        ("/sub/", "Content-Type: text/html\r\n", "below"),
        ("/style.css", "Content-Type: text/css\r\n", "p {}"),
        ("/app.js", "Content-Type: text/javascript\r\n", "1;"),
        ("/in.txt", "Content-Length: 10\r\n", "0123456789"),
        ("//ten.txt", "Accept-Ranges: bytes\r\n", "0123456789"),
    ] {
        let answer = get(port, path, "").await;
        assert!(
            answer.starts_with("HTTP/1.1 200 OK\r\n"),
            "{path}: {answer}"
        );
        assert!(answer.contains(head), "{path}: {answer}");
        assert_eq!(answer.split_once("\r\n\r\n").unwrap().1, body, "{path}");
    }
    let moved = get(port, "/sub?x=1", "").await;
    assert!(
        moved.starts_with("HTTP/1.1 301 ") && moved.contains("Location: /sub/?x=1\r\n"),
        "{moved}"
    );
    // Nothing is listed, nothing hidden is shown, and nothing leads out.
    for path in [
        "/sub/empty/",
        "/no",
        "/index.html/",
        "/index.html/x",
        "/.git/config",
        "/.git/",
        "/out.txt",
        "/up/secret.txt",
        "/../secret.txt",
        "/sub/../../secret.txt",
        "/%2e%2e/secret.txt",
        "/..%2fsecret.txt",
        "/%2e%2e%2fsecret.txt",
        "/.%2e/secret.txt",
        "/..%5csecret.txt",
        "/..\\secret.txt",
        "/ten.txt%00",
        "/%00",
        "/ten%0a.txt",
        "/%ff%fe",
        "/sub%2findex.html",
    ] {
        let answer = get(port, path, "").await;
        let refused = answer.starts_with("HTTP/1.1 404 ") || answer.starts_with("HTTP/1.1 400 ");
        assert!(
            refused && !answer.contains("secret\n") && !answer.contains("hidden"),
            "{path}: {answer}"
        );
    }
    // A name that is too long for any file is none.
    let long = get(port, &format!("/{}", "a".repeat(5000)), "").await;
    assert!(long.starts_with("HTTP/1.1 404 "), "{long}");

    let whole = get(port, "/ten.txt", "").await;
    let value = |name: &str| {
        let line = whole.split("\r\n").find_map(|line| line.strip_prefix(name));
        line.unwrap_or_else(|| panic!("no {name} in {whole}"))
            .trim()
            .to_owned()
    };
    let (etag, modified) = (value("Etag:"), value("Last-Modified:"));
    for (condition, status) in [
        (format!("If-None-Match: {etag}\r\n"), "304"),
        (format!("If-None-Match: \"x\", {etag}\r\n"), "304"),
        ("If-None-Match: \"x\"\r\n".to_owned(), "200"),
        (format!("If-Modified-Since: {modified}\r\n"), "304"),
        (
            "If-Modified-Since: Thu, 01 Jan 1998 00:00:00 GMT\r\n".to_owned(),
            "200",
        ),
        (
            format!("If-None-Match: \"x\"\r\nIf-Modified-Since: {modified}\r\n"),
            "200",
        ),
        ("If-Match: \"x\"\r\n".to_owned(), "412"),
    ] {
        let answer = get(port, "/ten.txt", &condition).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{condition}: {answer}"
        );
        if status == "304" {
            assert!(
                answer.ends_with("\r\n\r\n") && answer.contains(&etag),
                "{answer}"
            );
        }
    }
    for (asked, status, range, body) in [
        (
            "Range: bytes=2-4\r\n".to_owned(),
            "206",
            "bytes 2-4/10",
            "234",
        ),
        (
            "Range: Bytes=2-4\r\n".to_owned(),
            "206",
            "bytes 2-4/10",
            "234",
        ),
        (
            "Range: bytes=7-\r\n".to_owned(),
            "206",
            "bytes 7-9/10",
            "789",
        ),
        (
            "Range: bytes=-2\r\n".to_owned(),
            "206",
            "bytes 8-9/10",
            "89",
        ),
        (
            "Range: bytes=4-99\r\n".to_owned(),
            "206",
            "bytes 4-9/10",
            "456789",
        ),
        (
            "Range: bytes=-20\r\n".to_owned(),
            "206",
            "bytes 0-9/10",
            "0123456789",
        ),
        ("Range: bytes=-0\r\n".to_owned(), "416", "bytes */10", ""),
        ("Range: bytes=20-\r\n".to_owned(), "416", "bytes */10", ""),
        ("Range: lines=1-2\r\n".to_owned(), "200", "", "0123456789"),
        (
            "Range: bytes=0-1,4-5\r\n".to_owned(),
            "200",
            "",
            "0123456789",
        ),
        (
            format!("Range: bytes=2-4\r\nIf-Range: {etag}\r\n"),
            "206",
            "bytes 2-4/10",
            "234",
        ),
        (
            format!("Range: bytes=2-4\r\nIf-Range: {modified}\r\n"),
            "206",
            "bytes 2-4/10",
            "234",
        ),
        (
            "Range: bytes=2-4\r\nIf-Range: \"x\"\r\n".to_owned(),
            "200",
            "",
            "0123456789",
        ),
    ] {
        let answer = get(port, "/ten.txt", &asked).await;
        let (head, came) = answer.split_once("\r\n\r\n").unwrap();
        assert!(
            head.starts_with(&format!("HTTP/1.1 {status} ")),
            "{asked}: {answer}"
        );
        assert!(
            range.is_empty() || head.contains(&format!("Content-Range: {range}")),
            "{asked}: {answer}"
        );
        assert!(status == "416" || came == body, "{asked}: {answer}");
    }
    let head = raw(
        port,
        "HEAD /ten.txt HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    )
    .await;
    assert!(
        head.contains("Content-Length: 10\r\n") && head.ends_with("\r\n\r\n"),
        "{head}"
    );
    let posted = raw(
        port,
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    )
    .await;
    assert!(
        posted.starts_with("HTTP/1.1 405 ") && posted.contains("Allow: GET,HEAD"),
        "{posted}"
    );
    for odd in [
        "\r\n\r\n\x16\x03\x01",
        "GET /\x01 HTTP/1.1\r\n\r\n",
        "HELLO\r\n\r\n",
        "GET / HTTP/3.7\r\n\r\n",
    ] {
        let answer = raw(port, odd).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{odd:?}: {answer}");
    }
}

/// A connection is the site's only until it becomes a tunnel.
#[tokio::test]
async fn a_visitors_connection_may_still_become_a_tunnel() {
    let stage = Stage::new();
    let site = folder(&stage);
    fs::write(site.join("big"), vec![7; 3_000_000]).unwrap();
    let front = Front::new(stage, Vmess::ws(), json!(site)).await;
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, front.port))
        .await
        .unwrap();
    // All at once: the answers come in order, to the last byte.
    let requests = format!(
        "GET /ten.txt HTTP/1.1\r\nHost: a\r\n\r\nGET /big HTTP/1.1\r\nHost: a\r\n\r\n\
         POST /no HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab{UPGRADE}"
    );
    stream.write_all(requests.as_bytes()).await.unwrap();
    let mut came = Vec::new();
    let reading = async {
        let switched = b"101 Switching Protocols";
        while !came
            .windows(switched.len())
            .rev()
            .take(4096)
            .any(|part| part == switched)
        {
            assert!(
                stream.read_buf(&mut came).await.unwrap() > 0,
                "{}",
                came.len()
            );
        }
    };
    timeout(traffic::LIMIT, reading)
        .await
        .expect("the tunnel opens");
    assert!(came.len() > 3_000_000 && came.starts_with(b"HTTP/1.1 200 OK"));
}

#[tokio::test]
async fn a_browser_and_the_tunnels_clients_share_a_port() {
    let stage = Stage::new();
    let site = folder(&stage);
    let vmess = Vmess::wss(&stage);
    let mut front = Front::new(stage, vmess, json!(site)).await;
    let url = format!("https://{SERVER_NAME}:{}/", front.port);
    let resolve = format!("{SERVER_NAME}:{}:127.0.0.1", front.port);
    let curl = ["-k", "--resolve", &resolve, "-D", "-"];
    for (version, first) in [("--http2", "HTTP/2 200"), ("--http1.1", "HTTP/1.1 200 OK")] {
        let answer = front.curl(&[&curl[..], &[version, &url]].concat());
        assert!(
            answer.starts_with(first) && answer.ends_with(HOME),
            "{answer}"
        );
        assert!(
            answer.to_ascii_lowercase().contains("\r\netag: "),
            "{answer}"
        );
    }
    // By HTTP/2 the tunnel's path is as hidden.
    for request in [&["-X", "GET"][..], &["-d", "body"], &["-I"]] {
        let asked = |path: &str| {
            let url = format!("{url}{path}");
            let answer = front.curl(&[&curl[..], request, &["--http2", &url]].concat());
            let is_timeless = |line: &&str| !line.starts_with("date: ");
            answer
                .lines()
                .filter(is_timeless)
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        let ray = asked("ray");
        assert!(ray[0].starts_with("HTTP/2 40"), "{ray:?}");
        assert_eq!(ray, asked("no1"));
    }
    let mut chromium = system("chromium");
    chromium.args([
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
    ]);
    chromium.args([
        "--disable-dev-shm-usage",
        "--disable-background-networking",
        "--no-proxy-server",
    ]);
    chromium.args([
        "--ignore-certificate-errors",
        "--virtual-time-budget=5000",
        "--dump-dom",
    ]);
    chromium.arg(format!(
        "--user-data-dir={}",
        front.stage.path("profile").display()
    ));
    chromium.arg(format!("https://localhost:{}/", front.port));
    chromium.env("HOME", front.stage.path(""));
    let index = front.stage.start("chromium", &mut chromium, &[]).await;
    front
        .stage
        .child(index)
        .ended(Duration::from_secs(90))
        .await;
    let log = front.stage.log(index);
    assert!(log.contains(">by h2</p>"), "{log}");
    // V2Ray offers `h2`, and goes on in HTTP/1.1 when it is agreed on.
    for client in [V2ray434, V2ray445, SingBox, Mobula] {
        front.carries(client).await;
    }
}

/// The tunnel in HTTP/2 has the same neighbour.
#[tokio::test]
async fn a_site_is_beside_grpc_and_h2() {
    for vmess in [Vmess::grpc as fn() -> Vmess, Vmess::h2] {
        let stage = Stage::new();
        let site = folder(&stage);
        let vmess = vmess().over_tls(&stage);
        let mut front = Front::new(stage, vmess, json!(site)).await;
        let url = format!("https://localhost:{}", front.port);
        for version in ["--http2", "--http1.1"] {
            let asked = |more: &[&str], path: &str| {
                let url = format!("{url}{path}");
                front.curl(&[&["-k", "-D", "-", version][..], more, &[&url]].concat())
            };
            assert!(asked(&[], "/").ends_with(HOME));
            for more in [&[][..], &["-d", "body"], &["-T", "site/ten.txt"], &["-I"]] {
                let timeless = |text: String| {
                    let is_timeless =
                        |line: &&str| !line.to_ascii_lowercase().starts_with("date: ");
                    text.lines()
                        .filter(is_timeless)
                        .map(str::to_owned)
                        .collect::<Vec<_>>()
                };
                for own in ["/ray", "/ray/Tun"] {
                    let ray = timeless(asked(more, own));
                    assert!(
                        ray.iter()
                            .any(|line| line.starts_with("HTTP/") && line.contains(" 40")),
                        "{ray:?}"
                    );
                    let missing = timeless(asked(more, &own.replace("ray", "no1")));
                    assert_eq!(ray, missing, "{more:?}");
                }
            }
        }
        for client in [V2ray445, SingBox, Mobula] {
            front.carries(client).await;
        }
    }
}

/// A download is as long as it is, and takes no more memory.
#[tokio::test]
async fn a_long_download_takes_no_memory() {
    let stage = Stage::new();
    let site = folder(&stage);
    let made = Command::new("truncate")
        .args(["-s", "256M"])
        .arg(site.join("big"))
        .status();
    assert!(made.is_ok_and(|status| status.success()));
    let vmess = Vmess::wss(&stage);
    let mut front = Front::new(stage, vmess, json!(site)).await;
    let url = format!("https://localhost:{}/big", front.port);
    let before = front.stage.child(front.server).resident_kib();
    for version in ["--http2", "--http1.1"] {
        let size = front.curl(&[
            "-k",
            version,
            "-o",
            "/dev/null",
            "-w",
            "%{size_download}",
            &url,
        ]);
        assert_eq!(size, (256 * 1024 * 1024).to_string());
    }
    let after = front.stage.child(front.server).resident_kib();
    assert!(after < before + 32 * 1024, "{before} KiB, then {after} KiB");
}

/// What the documents show, with places of this machine.
#[tokio::test]
async fn mobula_on_443_alone() {
    let mut stage = Stage::new();
    let site = folder(&stage);
    let (port, certificate) = (free_port(), Certificate::new(&stage));
    let shown = scenario_recipes::shown("site.md", "json").remove(0);
    let config = scenario_recipes::with(
        &shown,
        &[
            ("/path/to/site", &site.display().to_string()),
            (
                "/path/to/fullchain.pem",
                &certificate.chain.display().to_string(),
            ),
            (
                "/path/to/privkey.pem",
                &certificate.key.display().to_string(),
            ),
            ("\"port\": 443", &format!("\"port\": {port}")),
            ("5c3ae1b2-9d10-4f6e-8a77-0e1f4b6c2d93", ID),
        ],
    );
    let config: Value = serde_json::from_str(&config).expect("it is JSON");
    let server = stage.run(Mobula, "server", &config, &[port]).await;
    let vmess = Vmess {
        tls: Some(certificate),
        ..Vmess::ws()
    };
    let mut front = Front {
        stage,
        port,
        server,
        vmess,
    };
    let url = format!("https://localhost:{port}/");
    assert_eq!(front.curl(&["-k", "--http2", &url]), HOME);
    front.carries(V2ray445).await;
}
