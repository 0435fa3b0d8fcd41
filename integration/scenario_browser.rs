//! A real browser opens the WebSocket: its handshake, its compression offer and its frames are the
//! ones that a disguise has to withstand.

use std::net::SocketAddr;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::peers::Peer::Mobula;
use crate::peers::{Stage, free_port, listen, system};
use crate::traffic::{self, GREETING};

/// Opens `URL` with the subprotocol `EARLY`, where there is one, says the rest, and reports what came
/// back: a message of text first, then one longer than any buffer.
const PAGE: &str = r#"<!doctype html><title>tunnel</title><script>
const early = "EARLY", long = new Uint8Array(300000).fill(7);
const report = text => fetch("/result", {method: "POST", body: text});
const socket = early ? new WebSocket("URL", [early]) : new WebSocket("URL");
socket.binaryType = "arraybuffer";
const wanted = LENGTH;
let got = [];
socket.onopen = () => { socket.send("and text"); socket.send(long); };
socket.onmessage = message => {
  for (const byte of new Uint8Array(message.data)) got.push(byte);
  if (got.length >= wanted) socket.close(1000);
};
socket.onclose = event => report(JSON.stringify({
  protocol: socket.protocol, extensions: socket.extensions, code: event.code, clean: event.wasClean,
  length: got.length, head: String.fromCharCode(...got.slice(0, 40)),
  rest: got.slice(-long.length).every(byte => byte === 7),
}));
</script>"#;

const EARLY: &[u8] = b"first flight, ";
const LONG: usize = 300_000;

/// The page at `/`, and what it reports.
async fn web(page: String) -> (SocketAddr, mpsc::Receiver<String>) {
    let listener = listen();
    let at = listener.local_addr().expect("a listener has an address");
    let (reports, reported) = mpsc::channel(1);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream, page.clone(), reports.clone()));
        }
    });
    (at, reported)
}

/// One request of a browser, which may well ask for an icon.
async fn answer(mut stream: TcpStream, page: String, reports: mpsc::Sender<String>) {
    let mut request = Vec::new();
    let said = loop {
        if stream.read_buf(&mut request).await.is_ok_and(|n| n == 0) {
            return;
        }
        let text = String::from_utf8_lossy(&request);
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let head = head.to_ascii_lowercase();
        let len = head.split("content-length: ").nth(1);
        let len = len.and_then(|rest| rest.lines().next()?.parse().ok());
        if body.len() >= len.unwrap_or(0) {
            break (head, body.to_owned());
        }
    };
    let (head, body) = said;
    let page = if head.starts_with("get / ") {
        page
    } else {
        String::new()
    };
    if head.starts_with("post /result ") {
        let _ = reports.send(body).await;
    }
    let answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{page}",
        page.len()
    );
    let _ = stream.write_all(answer.as_bytes()).await;
}

/// What the browser found behind `settings`, where `target` listens.
async fn visit(settings: Value, target: SocketAddr, early: &str, wanted: usize) -> Value {
    let mut stage = Stage::new();
    let port = free_port();
    let config = json!({
        "log": {"loglevel": "debug"},
        "inbounds": [{
            "listen": "127.0.0.1", "port": port, "protocol": "dokodemo-door",
            "settings": {"address": "127.0.0.1", "port": target.port(), "network": "tcp"},
            "streamSettings": {"network": "ws", "wsSettings": settings},
        }],
        "outbounds": [{"protocol": "freedom"}],
    });
    stage.run(Mobula, "server", &config, &[port]).await;
    let page = PAGE
        .replace("URL", &format!("ws://127.0.0.1:{port}/d"))
        .replace("EARLY\"", &format!("{early}\""))
        .replace("LENGTH", &wanted.to_string());
    let (site, mut reported) = web(page).await;
    let mut chromium = system("chromium");
    chromium.args(FLAGS).env("HOME", stage.path(""));
    chromium.arg(format!(
        "--user-data-dir={}",
        stage.path("profile").display()
    ));
    chromium.arg(format!("http://{site}/"));
    stage.start("chromium", &mut chromium, &[]).await;
    let report = timeout(PATIENCE, reported.recv()).await;
    let report = report.expect("the browser reports").expect("once");
    serde_json::from_str(&report).expect("the page writes JSON")
}

/// Nothing but the page: no first-run pages, no calls home.
const FLAGS: [&str; 10] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--no-proxy-server",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
];

/// A browser starts slowly where much else runs.
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_browser_sends_early_data_as_a_subprotocol() {
    let settings = json!({
        "path": "/d", "maxEarlyData": 2048, "earlyDataHeaderName": "Sec-WebSocket-Protocol",
    });
    let early = URL_SAFE_NO_PAD.encode(EARLY);
    let wanted = EARLY.len() + "and text".len() + LONG;
    let report = visit(settings, traffic::echo().await, &early, wanted).await;
    // A browser gives up a connection whose answer does not name the subprotocol it asked for: V2Ray's
    // does not, so a stand-in in mobula's place fails here.
    assert_eq!(report["protocol"], early, "{report}");
    all_came_back(&report, "first flight, and text", wanted);
}

#[tokio::test]
async fn a_browser_without_early_data_hears_a_server_that_speaks_first() {
    let wanted = GREETING.len() + "and text".len() + LONG;
    let settings = json!({"path": "/d"});
    let report = visit(settings, traffic::greeter().await, "", wanted).await;
    assert_eq!(report["protocol"], "", "{report}");
    let head = format!("{}and text", String::from_utf8_lossy(GREETING));
    all_came_back(&report, &head, wanted);
}

fn all_came_back(report: &Value, head: &str, wanted: usize) {
    let came = report["head"].as_str().unwrap_or_default();
    assert!(came.starts_with(head), "{report}");
    assert_eq!(report["length"], wanted, "{report}");
    assert_eq!(report["rest"], true, "{report}");
    // The browser offers compression; whoever accepts it must also compress.
    assert_eq!(report["extensions"], "", "{report}");
    assert_eq!(report["code"], 1000, "{report}");
    assert_eq!(
        report["clean"], true,
        "the close handshake was done: {report}"
    );
}
