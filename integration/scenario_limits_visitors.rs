//! Visitors of a site whom a proxy in front names: each counts among those of his source while he is answered.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::configs::Vmess;
use crate::peers::{Peer::Mobula, Stage, free_port, listen, system};
use crate::scenario_site::raw;
use crate::traffic;

/// An upstream that begins each answer; what is asked for at `/long` it does not end before it is told to, and at `/longer`
/// not at once.
async fn slow() -> (String, watch::Sender<()>) {
    let listener = listen();
    let at = listener.local_addr().expect("it is bound");
    let end = watch::Sender::new(());
    let telling = end.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut told = telling.subscribe();
            tokio::spawn(async move {
                let mut head = [0; 4096];
                let n = stream.read(&mut head).await.unwrap_or(0);
                if head[..n].starts_with(b"GET /ws ") {
                    let switched = b"HTTP/1.1 101 Switching Protocols\r\n\
                        Connection: upgrade\r\nUpgrade: websocket\r\n\r\nabc";
                    let _ = stream.write_all(switched).await;
                    let _ = stream.read(&mut head).await;
                    return;
                }
                let begun = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n";
                let _ = stream.write_all(begun).await;
                if head[..n].starts_with(b"GET /longer ") {
                    sleep(Duration::from_millis(300)).await;
                }
                if head[..n].starts_with(b"GET /long ") {
                    let _ = told.changed().await;
                }
                let _ = stream.write_all(b"0\r\n\r\n").await;
            });
        }
    });
    (format!("http://{at}"), end)
}

/// A server with a site of a slow upstream, two of a source at a time.
async fn front(vmess: &Vmess) -> (Stage, u16, watch::Sender<()>) {
    let (upstream, end) = slow().await;
    let (mut stage, port) = (Stage::new(), free_port());
    let mut config = vmess.server(Mobula, port);
    config["inbounds"][0]["streamSettings"]["fallback"] = json!(upstream);
    config["inbounds"][0]["limits"] = json!({"perSource": 2});
    stage.run(Mobula, "server", &config, &[port]).await;
    (stage, port, end)
}

const ANN: &str = "198.51.100.7";
const BOB: &str = "198.51.100.8";

/// A request that is being answered.
async fn visit(port: u16, from: &str) -> TcpStream {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))
        .await
        .expect("mobula listens");
    ask(&mut stream, from).await;
    stream
}

async fn ask(stream: &mut TcpStream, from: &str) {
    let request = format!("GET /long HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: {from}\r\n\r\n");
    stream
        .write_all(request.as_bytes())
        .await
        .expect("it reads");
    let head = until(stream, "abc").await;
    assert!(head.starts_with("HTTP/1.1 200"), "{from}: {head}");
}

async fn until(stream: &mut TcpStream, end: &str) -> String {
    let (mut all, mut buf) = (String::new(), [0; 4096]);
    while !all.contains(end) {
        let read = timeout(traffic::LIMIT, stream.read(&mut buf)).await;
        let n = read.unwrap_or_else(|_| panic!("no {end:?} in time behind {all:?}"));
        let n = n.expect("an answer");
        assert!(n > 0, "it ended: {all}");
        all.push_str(&String::from_utf8_lossy(&buf[..n]));
    }
    all
}

/// What one more is answered at once, without its date; `more` are lines of its head.
async fn refused(port: u16, path: &str, more: &str) -> String {
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: {ANN}\r\nConnection: close\r\n{more}\r\n"
    );
    let answer = raw(port, &request).await;
    let lines = answer.lines().filter(|line| !line.starts_with("Date: "));
    lines.collect::<Vec<_>>().join("\n")
}

const UPGRADE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_visitor_of_a_proxy_counts_while_he_is_answered() {
    let (stage, port, end) = front(&Vmess::ws()).await;
    let mut first = visit(port, ANN).await;
    let _second = visit(port, ANN).await;
    let page = refused(port, "/other", "").await;
    assert!(page.starts_with("HTTP/1.1 503 "), "{page}");
    // Whether it would have been a tunnel is not told.
    assert_eq!(refused(port, "/ray", UPGRADE).await, page);
    assert_eq!(refused(port, "/other", UPGRADE).await, page);
    assert_eq!(by_http2(&stage, port, ANN, "/other", &[]), "503");
    assert_eq!(by_http2(&stage, port, BOB, "/other", &[]), "200");
    let said = [ANN, "rejected", "[limit-source]"];
    stage.until_line_has("access.log", &said).await;
    let _other = visit(port, BOB).await;
    // A proxy's connection brings one visitor after another.
    end.send_replace(());
    until(&mut first, "0\r\n\r\n").await;
    until_room(port).await;
    for from in [BOB, ANN, BOB, ANN] {
        ask(&mut first, from).await;
        end.send_replace(());
        until(&mut first, "0\r\n\r\n").await;
    }
    // The site's own WebSockets are visitors as long as they last.
    let request = format!("GET /ws HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: {ANN}\r\n{UPGRADE}\r\n");
    let mut own = visit(port, ANN).await;
    let mut socket = visit(port, BOB).await;
    end.send_replace(());
    until(&mut socket, "0\r\n\r\n").await;
    until(&mut own, "0\r\n\r\n").await;
    socket
        .write_all(request.as_bytes())
        .await
        .expect("it reads");
    until(&mut socket, "abc").await;
    ask(&mut own, ANN).await;
    assert!(
        refused(port, "/other", "")
            .await
            .starts_with("HTTP/1.1 503 ")
    );
    drop((own, socket));
    until_room(port).await;
    // Who goes leaves his place.
    drop((visit(port, ANN).await, visit(port, ANN).await));
    until_room(port).await;
}

/// The tunnels of gRPC and the visitors beside them are counted together, and refused alike.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_of_a_proxys_connection_count_each_for_its_own() {
    let (stage, port, end) = front(&Vmess::grpc()).await;
    let tunnel = [
        "-H",
        "Content-Type: application/grpc",
        "-H",
        "TE: trailers",
        "-T",
        "-",
        "-X",
        "POST",
    ];
    assert_eq!(by_http2(&stage, port, ANN, "/ray/Tun", &tunnel), "200");
    let _two = [visit(port, ANN).await, visit(port, ANN).await];
    for path in ["/ray/Tun", "/other"] {
        assert_eq!(by_http2(&stage, port, ANN, path, &tunnel), "503", "{path}");
        assert_eq!(by_http2(&stage, port, ANN, path, &[]), "503", "{path}");
    }
    assert_eq!(by_http2(&stage, port, BOB, "/ray/Tun", &tunnel), "200");
    end.send_replace(());
    until_room(port).await;
    assert_eq!(by_http2(&stage, port, ANN, "/ray/Tun", &tunnel), "200");
}

/// The status that curl is answered.
fn by_http2(stage: &Stage, port: u16, from: &str, path: &str, more: &[&str]) -> String {
    let mut curl = system("curl");
    curl.args([
        "-s",
        "--max-time",
        "20",
        "--http2-prior-knowledge",
        "-o",
        "body",
        "-w",
        "%{http_code}",
    ]);
    curl.args(["-H", &format!("X-Forwarded-For: {from}")])
        .args(more);
    curl.arg(format!("http://127.0.0.1:{port}{path}"));
    let output = curl
        .current_dir(stage.path(""))
        .output()
        .expect("curl runs");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Waits until both places are given back.
async fn until_room(port: u16) {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let is_full = |page: &str| page.starts_with("HTTP/1.1 503 ");
        let long = refused(port, "/longer", "");
        let short = async {
            sleep(Duration::from_millis(50)).await;
            refused(port, "/other", "").await
        };
        let (long, short) = tokio::join!(long, short);
        if !is_full(&long) && !is_full(&short) {
            return;
        }
        assert!(Instant::now() < deadline, "no place is given back");
    }
}
