//! What goes wrong behind the server, or between id and clock, is called by its name at both ends.

use std::time::{Duration, Instant, SystemTime};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};

use crate::configs::Vmess;
use crate::peers::Peer::{Mobula, V2ray445};
use crate::peers::{Stage, free_port, listen};
use crate::traffic::{self, LIMIT, To};

/// Asks for something that nobody gives, and waits for the end; gives how long it took.
async fn in_vain(socks: u16, host: &'static str, port: u16) -> Duration {
    let begin = Instant::now();
    let to = To::Name(host, port);
    let mut client = traffic::connect(socks, &to).await.expect("granted");
    let request = b"GET / HTTP/1.0\r\n\r\n";
    client.write_all(request).await.expect("it is taken");
    let end = timeout(LIMIT, client.read_to_end(&mut Vec::new())).await;
    let _ = end.expect("in time");
    begin.elapsed()
}

fn logging(mut config: Value, file: &str) -> Value {
    config["log"] = json!({"loglevel": "warning", "error": file});
    config
}

fn count(log: &str, text: &str) -> usize {
    log.lines().filter(|line| line.contains(text)).count()
}

#[tokio::test]
async fn a_target_out_of_reach_is_named_by_the_server_and_by_its_client() {
    for (name, vmess) in [("vmess", Vmess::ws()), ("vless", Vmess::ws().vless())] {
        let (mut stage, port, socks) = (Stage::new(), free_port(), free_port());
        let server = logging(vmess.server(Mobula, port), "server.log");
        stage.run(Mobula, "server", &server, &[port]).await;
        let client = logging(vmess.client(Mobula, socks, port), "client.log");
        stage.run(Mobula, "client", &client, &[socks]).await;
        let dead = free_port();
        for _ in 0..20 {
            let took = in_vain(socks, "127.0.0.1", dead).await;
            assert!(took < Duration::from_secs(3), "{name}: {took:?}");
        }
        let told = stage.until_file_has("client.log", "[far-refused]").await;
        assert!(told.contains("the target refuses the connection"), "{told}");
        let own = stage.until_file_has("server.log", "[tcp-refused]").await;
        assert!(
            own.contains(&format!("cannot connect to 127.0.0.1:{dead}")),
            "{own}"
        );
        // One line for all of them, as long as nothing else is to be told.
        assert!(count(&own, "[Warning]") <= 2, "{own}");
        in_vain(socks, "nobody.invalid", 80).await;
        let told = stage.until_file_has("client.log", "[far-host]").await;
        assert!(!told.contains("does it know this id"), "{told}");
    }
}

/// Without a WebSocket there is no code to tell by. What a client can know is whether the tunnel has worked before.
#[tokio::test]
async fn the_id_is_not_accused_where_it_has_worked() {
    let (mut stage, port, socks) = (Stage::new(), free_port(), free_port());
    let vmess = Vmess::tcp();
    stage
        .run(Mobula, "server", &vmess.server(Mobula, port), &[port])
        .await;
    let client = logging(vmess.client(Mobula, socks, port), "client.log");
    stage.run(Mobula, "client", &client, &[socks]).await;
    let dead = free_port();
    in_vain(socks, "127.0.0.1", dead).await;
    let told = stage.until_file_has("client.log", "[no-answer]").await;
    assert!(
        told.contains("A target that it cannot reach looks the same"),
        "{told}"
    );
    traffic::both_ways(socks, 10_000).await;
    in_vain(socks, "127.0.0.1", dead).await;
    let told = stage
        .until_file_has("client.log", "[no-answer-target]")
        .await;
    let line = told.lines().find(|line| line.contains("-target]"));
    assert!(!line.unwrap().contains("clock"), "{told}");
}

/// V2Ray's server tries for a second, and then answers with nothing.
#[tokio::test]
async fn a_slow_target_of_a_server_that_works_is_no_reason_to_warn() {
    let (mut stage, port, socks) = (Stage::new(), free_port(), free_port());
    let vmess = Vmess::ws();
    stage
        .run(V2ray445, "server", &vmess.server(V2ray445, port), &[port])
        .await;
    let client = logging(vmess.client(Mobula, socks, port), "client.log");
    stage.run(Mobula, "client", &client, &[socks]).await;
    traffic::both_ways(socks, 10_000).await;
    let took = in_vain(socks, "127.0.0.1", free_port()).await;
    assert!(took > Duration::from_millis(900), "{took:?}");
    let told = stage.read("client.log");
    assert!(!told.contains("does it know this id"), "{told}");
}

/// V2Ray's client of a server of ours gets an end, whatever its code.
#[tokio::test]
async fn other_clients_see_an_end() {
    let (mut stage, port, socks) = (Stage::new(), free_port(), free_port());
    let vmess = Vmess::ws();
    stage
        .run(Mobula, "server", &vmess.server(Mobula, port), &[port])
        .await;
    stage
        .run(
            V2ray445,
            "client",
            &vmess.client(V2ray445, socks, port),
            &[socks],
        )
        .await;
    let took = in_vain(socks, "127.0.0.1", free_port()).await;
    assert!(took < Duration::from_secs(5), "{took:?}");
    traffic::both_ways(socks, 10_000).await;
}

#[tokio::test]
async fn a_wrong_id_is_suspected_within_a_second() {
    for server in [Mobula, V2ray445] {
        let (mut stage, port, socks) = (Stage::new(), free_port(), free_port());
        let vmess = Vmess::ws();
        stage
            .run(server, "server", &vmess.server(server, port), &[port])
            .await;
        let mut client = logging(vmess.client(Mobula, socks, port), "client.log");
        client["outbounds"][0]["tag"] = json!("far");
        let id = "11111111-2222-4333-8444-555555555555";
        client["outbounds"][0]["settings"]["vnext"][0]["users"][0]["id"] = json!(id);
        stage.run(Mobula, "client", &client, &[socks]).await;
        let begin = Instant::now();
        let to = To::Ip(traffic::echo().await);
        let mut tunnel = traffic::connect(socks, &to).await.expect("granted");
        tunnel.write_all(b"hello").await.unwrap();
        let told = stage.until_file_has("client.log", "[silent]").await;
        assert!(
            begin.elapsed() < Duration::from_secs(2),
            "{:?}",
            begin.elapsed()
        );
        assert!(
            told.contains("(far)") && told.contains("does it know this id"),
            "{told}"
        );
        assert!(!told.contains(id), "{told}");
    }
}

/// A WebSocket server of VMess whose clock is an hour ahead, as its `Date` says: it is silent, as V2Ray is.
async fn server_of_another_time(ahead: i64) -> u16 {
    let listener = listen();
    let port = listener.local_addr().expect("it listens").port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(silent(stream, ahead));
        }
    });
    port
}

#[expect(clippy::result_large_err, reason = "the library's own signature")]
async fn silent(stream: TcpStream, ahead: i64) {
    let span = Duration::from_secs(ahead.unsigned_abs());
    let there = match ahead {
        0.. => SystemTime::now() + span,
        _ => SystemTime::now() - span,
    };
    let date = httpdate::fmt_http_date(there);
    let dated = |_: &Request, mut response: Response| {
        response.headers_mut().insert("date", date.parse().unwrap());
        Ok(response)
    };
    let socket = tokio_tungstenite::accept_hdr_async(stream, dated).await;
    let mut stream = socket.expect("a handshake").into_inner();
    let _ = stream.read_to_end(&mut Vec::new()).await;
}

#[tokio::test]
async fn a_wrong_clock_is_known_within_a_second() {
    for (ahead, words) in [(3600, "3600 s behind"), (-900, "900 s ahead of")] {
        let (mut stage, socks) = (Stage::new(), free_port());
        let port = server_of_another_time(ahead).await;
        let client = logging(Vmess::ws().client(Mobula, socks, port), "client.log");
        stage.run(Mobula, "client", &client, &[socks]).await;
        let took = in_vain(socks, "192.0.2.1", 80).await;
        assert!(took < Duration::from_secs(3), "{took:?}");
        let told = stage.until_file_has("client.log", "[clock-skew]").await;
        let near = |words: &str| {
            let (secs, side) = words.split_once(' ').unwrap();
            let secs: u64 = secs.parse().unwrap();
            (secs - 2..=secs).any(|secs| told.contains(&format!("{secs} {side}")))
        };
        assert!(near(words), "{told}");
    }
}
