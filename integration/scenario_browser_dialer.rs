//! A real browser opens the client's WebSockets: in V2Ray's form and in Xray's, to the real servers.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::sleep;

use crate::configs::{Certificate, Early, SERVER_NAME, Vmess};
use crate::peers::Peer::{self, Mobula, SingBox, V2ray445};
use crate::peers::{Stage, free_port, listen, system};
use crate::traffic::{self, To};

const FLAGS: [&str; 13] = [
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
    "--ignore-certificate-errors",
    "--host-resolver-rules=MAP mobula.test 127.0.0.1",
    "--renderer-process-limit=1",
];

/// A browser starts slowly where much else runs.
const PATIENCE: Duration = Duration::from_secs(60);

const SUBPROTOCOL: Early = Early::Header("Sec-WebSocket-Protocol");

/// A browser with a page of the dialer at `port`; gives its index. It is waited for until `client` has heard of it.
async fn browse(stage: &mut Stage, client: usize, name: &str, port: u16) -> usize {
    let pages = |stage: &Stage| stage.log_so_far(client).matches("a page is open").count();
    let before = pages(stage);
    let mut chromium = system("chromium");
    chromium.args(FLAGS).env("HOME", stage.path(""));
    let profile = stage.path(&format!("profile-{name}"));
    chromium.arg(format!("--user-data-dir={}", profile.display()));
    chromium.arg(format!("http://127.0.0.1:{port}/"));
    let index = stage.start(name, &mut chromium, &[]).await;
    until(|| pages(stage) > before).await;
    index
}

async fn until(holds: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "it never came");
        sleep(Duration::from_millis(50)).await;
    }
}

/// One outbound and one SOCKS inbound for each server, in one client.
async fn client(stage: &mut Stage, servers: &[(Peer, Early)], page: u16) -> (usize, Vec<u16>) {
    let mut config = json!({
        "log": {"loglevel": "info"},
        "browserForwarder": {"listenAddr": "127.0.0.1", "listenPort": page},
        "policy": {"levels": {"0": {"uplinkOnly": 5, "downlinkOnly": 5}}},
        "inbounds": [], "outbounds": [], "routing": {"rules": []},
    });
    let mut proxies = Vec::new();
    for (i, (peer, early)) in servers.iter().enumerate() {
        let (at, socks) = (free_port(), free_port());
        let tunnel = Vmess::ws_early(*early);
        let server = tunnel.server(*peer, at);
        stage
            .run(*peer, &format!("server-{i}"), &server, &[at])
            .await;
        let one = tunnel.client(Mobula, socks, at);
        let (mut inbound, mut outbound) = (one["inbounds"][0].clone(), one["outbounds"][0].clone());
        inbound["tag"] = json!(format!("in-{i}"));
        outbound["tag"] = json!(format!("out-{i}"));
        outbound["streamSettings"]["wsSettings"]["useBrowserForwarding"] = json!(true);
        let rule = json!({
            "type": "field", "inboundTag": inbound["tag"], "outboundTag": outbound["tag"],
        });
        for (list, value) in [("inbounds", inbound), ("outbounds", outbound)] {
            config[list].as_array_mut().expect("a list").push(value);
        }
        config["routing"]["rules"]
            .as_array_mut()
            .expect("a list")
            .push(rule);
        proxies.push(socks);
    }
    let ports: Vec<u16> = proxies.iter().copied().chain([page]).collect();
    let index = stage.run(Mobula, "client", &config, &ports).await;
    (index, proxies)
}

async fn carries(socks: u16) {
    traffic::server_speaks_first(socks).await;
    traffic::both_ways(socks, 2 * 1024 * 1024).await;
    traffic::target_sends_and_closes(socks).await;
}

#[tokio::test]
async fn v2rays_form_reaches_the_real_servers_with_every_kind_of_early_data() {
    let mut stage = Stage::new();
    let page = free_port();
    let servers = [
        (V2ray445, Early::No),
        (V2ray445, Early::Path),
        (SingBox, Early::No),
        (SingBox, Early::Path),
        (Mobula, Early::Path),
        (Mobula, SUBPROTOCOL),
        (Mobula, Early::Query),
    ];
    let (mobula, proxies) = client(&mut stage, &servers, page).await;
    browse(&mut stage, mobula, "chromium", page).await;
    for socks in &proxies {
        carries(*socks).await;
    }
    // V2Ray's servers let an answer go when the application has ended, with and without a browser.
    for socks in &proxies[4..] {
        traffic::application_ends_first(*socks).await;
    }
    // More at a time than a browser has connections for a web server.
    traffic::many(proxies[0], 20).await;
    traffic::many(proxies[5], 20).await;
    traffic::both_ways(proxies[0], 24 * 1024 * 1024).await;
}

#[tokio::test]
async fn xrays_form_goes_by_name_and_over_tls() {
    let mut stage = Stage::new();
    let certificate = Certificate::new(&stage);
    // The answer must name the subprotocol, which V2Ray 4.45 and sing-box leave out.
    for (peer, name, early) in [
        (V2ray445, "v2ray", Early::No),
        (Mobula, "mobula", SUBPROTOCOL),
    ] {
        let (page, at, socks) = (free_port(), free_port(), free_port());
        let tunnel = Vmess {
            tls: Some(certificate.clone()),
            ..Vmess::ws_early(early)
        };
        let server = tunnel.server(peer, at);
        stage
            .run(peer, &format!("server-{name}"), &server, &[at])
            .await;
        let mut config = tunnel.client(Mobula, socks, at);
        config["outbounds"][0]["streamSettings"]["tlsSettings"] =
            json!({"serverName": SERVER_NAME});
        let client = format!("client-{name}");
        let mut command =
            Mobula.command(&stage.write(&format!("{client}.json"), config.to_string()));
        command.env("XRAY_BROWSER_DIALER", format!("127.0.0.1:{page}"));
        let mobula = stage.start(&client, &mut command, &[socks, page]).await;
        let log = stage.log(mobula);
        let open = format!("XRAY_BROWSER_DIALER: open http://127.0.0.1:{page}/ in a browser");
        assert!(log.contains(&open), "{log}");
        assert!(
            log.contains("the browser goes to `mobula.test` as it finds it by itself"),
            "{log}"
        );
        browse(&mut stage, mobula, &format!("chromium-{name}"), page).await;
        carries(socks).await;
    }
}

#[tokio::test]
async fn without_a_page_the_cause_is_told_and_a_page_that_comes_again_carries() {
    let mut stage = Stage::new();
    let page = free_port();
    let (mobula, proxies) = client(&mut stage, &[(Mobula, Early::No)], page).await;
    let nobody = "no browser page is open at http://127.0.0.1:";
    // The session waits for a page, and longer than a test would for a connection.
    let (socks, to) = (proxies[0], To::Ip(traffic::echo().await));
    let mut early = traffic::connect(socks, &to).await;
    if let Ok(stream) = &mut early {
        let _ = stream.write_all(b"?").await;
        let _ = stream.read(&mut [0]).await;
    }
    until(|| {
        stage.log_so_far(mobula).contains(nobody)
            && stage.log_so_far(mobula).contains("[browser-none]")
    })
    .await;

    let first = browse(&mut stage, mobula, "chromium-1", page).await;
    let mut open = traffic::connect(socks, &to).await.expect("SOCKS connects");
    traffic::exchange(&mut open, b"hello").await;
    stage.child(first).signal("TERM");
    // What went by that page breaks off, and nothing hangs.
    let mut rest = [0; 16];
    let end = tokio::time::timeout(PATIENCE, open.read(&mut rest)).await;
    assert!(!matches!(end.expect("an end"), Ok(n) if n > 0));
    until(|| {
        stage
            .log_so_far(mobula)
            .contains("was closed, no WebSocket is opened until")
    })
    .await;

    browse(&mut stage, mobula, "chromium-2", page).await;
    carries(socks).await;

    // The page of a process that has gone loads itself again when another one is there.
    stage.child(mobula).signal("TERM");
    stage.child(mobula).ended(Duration::from_secs(20)).await;
    let mut command = Mobula.command(&stage.path("client.json"));
    let again = stage
        .start("client-again", &mut command, &[socks, page])
        .await;
    until(|| stage.log_so_far(again).contains("a page is open")).await;
    carries(socks).await;
}

#[derive(Clone, Copy, Debug)]
enum Way {
    Up,
    Down,
}

/// Whoever does not read stops the other side after a bounded amount.
async fn ahead_is_bounded(socks: u16, way: Way) {
    const ENOUGH: u64 = 400 * 1024 * 1024;
    let written = Arc::new(AtomicU64::new(0));
    let listener = listen();
    let at: SocketAddr = listener.local_addr().expect("it listens");
    let count = written.clone();
    tokio::spawn(async move {
        let (mut target, _) = listener.accept().await.expect("a connection");
        let _ = target.read_u8().await;
        if let Way::Down = way {
            write(&mut target, &count, ENOUGH).await;
        }
        sleep(PATIENCE).await;
    });
    let mut app = traffic::connect(socks, &To::Ip(at))
        .await
        .expect("SOCKS connects");
    app.write_all(b"!").await.expect("our way is open");
    let count = written.clone();
    let writer = tokio::spawn(async move {
        if let Way::Up = way {
            write(&mut app, &count, ENOUGH).await;
        }
        sleep(PATIENCE).await;
    });
    let mut last = 0;
    loop {
        sleep(Duration::from_secs(2)).await;
        let here = written.load(Ordering::Relaxed);
        if here == last && here > 0 {
            break;
        }
        last = here;
    }
    assert!(last < 128 * 1024 * 1024, "{way:?}: {last} bytes are ahead");
    writer.abort();
}

async fn write(stream: &mut TcpStream, count: &AtomicU64, most: u64) {
    let piece = vec![7; 64 * 1024];
    while count.load(Ordering::Relaxed) < most && stream.write_all(&piece).await.is_ok() {
        count.fetch_add(piece.len() as u64, Ordering::Relaxed);
    }
}

#[tokio::test]
async fn who_does_not_read_is_not_filled_up() {
    let mut stage = Stage::new();
    let page = free_port();
    let (mobula, proxies) = client(&mut stage, &[(Mobula, Early::No)], page).await;
    browse(&mut stage, mobula, "chromium", page).await;
    ahead_is_bounded(proxies[0], Way::Up).await;
    ahead_is_bounded(proxies[0], Way::Down).await;
    // And nobody else waits for them.
    traffic::both_ways(proxies[0], 1024 * 1024).await;
}

/// The page's token is in no answer that another page could have asked for.
#[tokio::test]
async fn strangers_get_neither_the_page_nor_a_websocket() {
    let mut stage = Stage::new();
    let page = free_port();
    let (mobula, proxies) = client(&mut stage, &[(Mobula, Early::No)], page).await;
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n";
    for (request, status) in [
        (
            format!("GET / HTTP/1.1\r\nHost: 127.0.0.1:{page}\r\n\r\n"),
            "200",
        ),
        (
            format!("GET / HTTP/1.1\r\nHost: rebound.example:{page}\r\n\r\n"),
            "421",
        ),
        (
            format!(
                "GET /control HTTP/1.1\r\nHost: 127.0.0.1:{page}\r\nOrigin: http://evil.example\r\n{upgrade}\r\n"
            ),
            "403",
        ),
    ] {
        let mut stream = TcpStream::connect(("127.0.0.1", page))
            .await
            .expect("it listens");
        stream
            .write_all(request.as_bytes())
            .await
            .expect("it reads");
        let _ = stream.shutdown().await;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("an answer");
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{request}{answer}"
        );
    }
    until(|| {
        stage
            .log_so_far(mobula)
            .contains("another page asks, of \"http://evil.example\" [browser-stranger]")
    })
    .await;
    // A user of the proxy does not come to it by the proxy.
    let mut config: Value = serde_json::from_str(&stage.read("client.json")).expect("our own");
    let socks = free_port();
    config["browserForwarder"]["listenPort"] = json!(free_port());
    let page = config["browserForwarder"]["listenPort"]
        .as_u64()
        .expect("a port") as u16;
    config["inbounds"] = json!([{"listen": "127.0.0.1", "port": socks, "protocol": "socks"}]);
    config["outbounds"] = json!([{"protocol": "freedom"}]);
    config["routing"] = json!({});
    stage.run(Mobula, "direct", &config, &[socks, page]).await;
    let at = To::Ip(([127, 0, 0, 1], page).into());
    if let Ok(mut stream) = traffic::connect(socks, &at).await {
        let _ = stream
            .write_all(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            .await;
        let mut got = Vec::new();
        let _ = stream.read_to_end(&mut got).await;
        assert!(got.is_empty(), "{}", String::from_utf8_lossy(&got));
    }
    drop(proxies);
}
