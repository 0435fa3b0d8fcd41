//! TLS' early data: how many round trips lie before the first byte of an answer, through nginx too, and what a copy of a flight is worth.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};

use crate::configs::{ID, SERVER_NAME};
use crate::peers::Peer::Mobula;
use crate::peers::{Stage, free_port, listen, root, system};
use crate::traffic::{self, To};
use crate::wire_with_faults::{self, FAR};

fn certificate(kind: &str) -> String {
    let file = format!("testdata/certs/odd/ed25519.{kind}");
    root().join(file).display().to_string()
}

fn server(listen: &str, port: u16, protocol: &str, early_data: bool) -> Value {
    let settings = match protocol {
        "vless" => json!({"clients": [{"id": ID}], "decryption": "none"}),
        "trojan" => json!({"clients": [{"password": ID}]}),
        _ => json!({"clients": [{"id": ID}]}),
    };
    json!({
        "log": {"loglevel": "debug"},
        "inbounds": [{
            "listen": listen, "port": port, "protocol": protocol, "settings": settings,
            "streamSettings": {
                "network": "ws", "wsSettings": {"path": "/ray"}, "security": "tls",
                "tlsSettings": {
                    "certificates": [{"certificateFile": certificate("crt"), "keyFile": certificate("key")}],
                    "earlyData": early_data,
                },
            },
        }],
        "outbounds": [{"protocol": "freedom"}],
    })
}

fn client(socks: u16, address: &str, port: u16, protocol: &str, early_data: bool) -> Value {
    let settings = match protocol {
        "trojan" => json!({"servers": [{"address": address, "port": port, "password": ID}]}),
        _ => {
            json!({"vnext": [{"address": address, "port": port, "users": [{"id": ID, "encryption": "none"}]}]})
        }
    };
    json!({
        "log": {"loglevel": "debug"},
        "inbounds": [{"listen": "127.0.0.1", "port": socks, "protocol": "socks"}],
        "outbounds": [{
            "protocol": protocol, "settings": settings,
            "streamSettings": {
                "network": "ws", "wsSettings": {"path": "/ray?ed=2048"}, "security": "tls",
                "tlsSettings": {"allowInsecure": true, "serverName": SERVER_NAME, "earlyData": early_data},
            },
        }],
    })
}

/// A word there and back on a new connection, in round trips; that of the target is none.
async fn round_trips(socks: u16, target: &To, round_trip: Duration) -> f64 {
    let began = Instant::now();
    let mut stream = traffic::connect(socks, target).await.expect("a session");
    stream.write_all(b"a word").await.expect("it is taken");
    let mut back = [0; 6];
    let answer = timeout(Duration::from_secs(20), stream.read_exact(&mut back));
    answer.await.expect("in time").expect("an answer");
    assert_eq!(&back, b"a word");
    began.elapsed().as_secs_f64() / round_trip.as_secs_f64()
}

/// Whoever has a ticket has an answer after two round trips, TCP's and one for all the rest; by every protocol.
#[test]
fn two_round_trips_with_a_ticket_and_three_without() {
    wire_with_faults::run(|mut far| async move {
        let there: SocketAddr = (FAR.parse::<Ipv4Addr>().expect("it is one"), 0).into();
        let target = counting(far.machine.tcp_listen(there), Arc::default());
        let round_trip = Duration::from_millis(100);
        for (at, protocol) in ["vmess", "vless", "trojan"].into_iter().enumerate() {
            let port = 8443 + at as u16;
            let config = server(FAR, port, protocol, true);
            far.wire.is_mended();
            far.stage
                .run_on(
                    &far.machine,
                    Mobula,
                    &format!("server {protocol}"),
                    &config,
                    &[port],
                )
                .await;
            for (early_data, expected) in [(false, 3.0), (true, 2.0)] {
                let socks = free_port();
                let config = client(socks, FAR, port, protocol, early_data);
                far.stage
                    .run(
                        Mobula,
                        &format!("client {protocol} {early_data}"),
                        &config,
                        &[socks],
                    )
                    .await;
                far.wire.takes(round_trip / 2);
                let first = round_trips(socks, &target, round_trip).await;
                assert!(
                    first.round() == 3.0,
                    "{protocol}: {first} round trips without a ticket"
                );
                for _ in 0..3 {
                    // The tickets come behind the answer.
                    sleep(round_trip).await;
                    let took = round_trips(socks, &target, round_trip).await;
                    assert!(
                        took.round() == expected,
                        "{protocol}, earlyData {early_data}: {took} round trips in the place of {expected}"
                    );
                }
            }
        }
    });
}

/// nginx has the word for it: what it took before the handshake was done.
#[tokio::test]
async fn nginx_takes_it() {
    let mut stage = Stage::new();
    let (inner, front, socks) = (free_port(), free_port(), free_port());
    let mut plain = server("127.0.0.1", inner, "vmess", false);
    plain["inbounds"][0]["streamSettings"]["security"] = json!("none");
    plain["inbounds"][0]["streamSettings"]
        .as_object_mut()
        .expect("it is one")
        .remove("tlsSettings");
    stage.run(Mobula, "server", &plain, &[inner]).await;
    let (tmp, pid) = (stage.path("tmp"), stage.path("pid"));
    let (tmp, pid, log) = (tmp.display(), pid.display(), stage.path("early.log"));
    let text = format!(
        "daemon off; pid {pid}; error_log stderr info; worker_processes 1;
        events {{ worker_connections 512; }}
        http {{
            log_format early early:$early,$ssl_session_reused,$status; access_log {} early;
            client_body_temp_path {tmp}; proxy_temp_path {tmp}; fastcgi_temp_path {tmp};
            uwsgi_temp_path {tmp}; scgi_temp_path {tmp};
            server {{
                listen 127.0.0.1:{front} ssl;
                ssl_certificate {}; ssl_certificate_key {};
                ssl_protocols TLSv1.3; ssl_early_data on; ssl_session_cache shared:tls:1m;
                # What it was when the request came.
                set $early $ssl_early_data;
                location /ray {{
                    proxy_pass http://127.0.0.1:{inner}; proxy_http_version 1.1;
                    proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade;
                }}
            }}
        }}",
        log.display(),
        certificate("crt"),
        certificate("key"),
    );
    let file = stage.write("nginx.conf", text);
    let mut nginx = system("nginx");
    nginx.arg("-p").arg(stage.path("")).arg("-c").arg(file);
    stage.start("nginx", &mut nginx, &[front]).await;
    let way = listen();
    let on_the_way = way.local_addr().expect("it listens").port();
    let recorded = Arc::new(Mutex::new(Vec::new()));
    tokio::spawn(record(way, front, recorded.clone()));
    let config = client(socks, "127.0.0.1", on_the_way, "vmess", true);
    stage.run(Mobula, "client", &config, &[socks]).await;
    let visits = Arc::new(AtomicUsize::new(0));
    let echo = counting(listen(), visits.clone());
    traffic::word(socks, &echo).await;
    stage.until_file_has("early.log", "early:,.,101").await;
    for _ in 0..3 {
        traffic::word(socks, &echo).await;
    }
    stage.until_file_has("early.log", "early:1,r,101").await;
    // nginx takes copies too; VMess behind it does not.
    let copies = recorded.lock().expect("nobody panicked").clone();
    for copy in &copies {
        send_again(copy, front).await;
    }
    assert_eq!(visits.load(Relaxed), 4, "a copy was carried");
}

/// Somebody on the way records all that a client sends, and sends it again: the target hears nothing of it.
#[tokio::test]
async fn a_copy_of_a_flight_reaches_nobody() {
    let mut stage = Stage::new();
    for protocol in ["vless", "trojan", "vmess"] {
        let (port, socks) = (free_port(), free_port());
        let config = server("127.0.0.1", port, protocol, true);
        let index = stage
            .run(Mobula, &format!("server {protocol}"), &config, &[port])
            .await;
        let way = listen();
        let on_the_way = way.local_addr().expect("it listens").port();
        let recorded = Arc::new(Mutex::new(Vec::new()));
        tokio::spawn(record(way, port, recorded.clone()));
        let config = client(socks, "127.0.0.1", on_the_way, protocol, true);
        stage
            .run(Mobula, &format!("client {protocol}"), &config, &[socks])
            .await;
        let visits = Arc::new(AtomicUsize::new(0));
        let target = counting(listen(), visits.clone());
        for _ in 0..3 {
            traffic::word(socks, &target).await;
            sleep(Duration::from_millis(100)).await;
        }
        let log = stage.log(index);
        assert_eq!(log.matches(", with early data").count(), 2, "{log}");
        assert_eq!(visits.load(Relaxed), 3);
        let copies = recorded.lock().expect("nobody panicked").clone();
        assert_eq!(copies.len(), 3);
        for copy in &copies {
            for _ in 0..3 {
                send_again(copy, port).await;
            }
        }
        assert_eq!(visits.load(Relaxed), 3, "{protocol}: a copy was carried");
        traffic::word(socks, &target).await;
    }
}

/// Sends what was recorded, and waits until the server has had enough.
async fn send_again(copy: &[u8], port: u16) {
    let stream = TcpStream::connect(("127.0.0.1", port)).await;
    let mut stream = stream.expect("a server");
    let _ = stream.write_all(copy).await;
    let _ = stream.shutdown().await;
    let mut rest = Vec::new();
    let end = timeout(Duration::from_secs(20), stream.read_to_end(&mut rest)).await;
    let _ = end.expect("the server does not wait for ever");
}

/// Passes everything on, and keeps what the client has sent, a piece for each connection.
async fn record(listener: TcpListener, server: u16, recorded: Arc<Mutex<Vec<Vec<u8>>>>) {
    while let Ok((stream, _)) = listener.accept().await {
        let recorded = recorded.clone();
        tokio::spawn(async move {
            let at = {
                let mut recorded = recorded.lock().expect("nobody panicked");
                recorded.push(Vec::new());
                recorded.len() - 1
            };
            let Ok(there) = TcpStream::connect(("127.0.0.1", server)).await else {
                return;
            };
            let (mut from_client, mut to_client) = stream.into_split();
            let (mut from_server, mut to_server) = there.into_split();
            let forth = async {
                let mut buf = [0; 4096];
                while let Ok(n @ 1..) = from_client.read(&mut buf).await {
                    recorded.lock().expect("nobody panicked")[at].extend_from_slice(&buf[..n]);
                    if to_server.write_all(&buf[..n]).await.is_err() {
                        break;
                    }
                }
                let _ = to_server.shutdown().await;
            };
            let back = async {
                let _ = tokio::io::copy(&mut from_server, &mut to_client).await;
                let _ = to_client.shutdown().await;
            };
            tokio::join!(forth, back);
        });
    }
}

/// An echo that counts its visits.
fn counting(listener: TcpListener, visits: Arc<AtomicUsize>) -> To {
    let at = listener.local_addr().expect("it listens");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            visits.fetch_add(1, Relaxed);
            tokio::spawn(async move {
                let (mut read, mut write) = stream.split();
                let _ = tokio::io::copy(&mut read, &mut write).await;
                let _ = write.shutdown().await;
            });
        }
    });
    To::Ip(at)
}
