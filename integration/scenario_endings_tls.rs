//! In TLS 1.2 Go tells a close_notify by one read with the data in front of it, and V2Ray's VMess and Shadowsocks forget these then.

use std::io;
use std::time::Duration;

use serde_json::{Value, json};
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufStream, copy, split};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::version::TLS12;

use crate::configs::{Certificate, ID, PASSWORD, SERVER_NAME};
use crate::peers::Peer::{Mobula, V2ray445};
use crate::peers::{Stage, free_port, listen};
use crate::scenario_abrupt::{connected, rest};
use crate::traffic;

const ANSWER: usize = 300_000;

/// More than what lies on the way from the front to the application.
const SLOW: usize = 16_000_000;

/// What comes within it of something else goes on together with that.
const MOMENT: Duration = Duration::from_millis(20);

/// A proxy that takes TLS off, and ends as soon as the server behind it does: the last data and its end are one segment. nginx
/// does so wherever both have come.
async fn front(acceptor: TlsAcceptor, server: u16) -> u16 {
    let listener = listen();
    let port = listener.local_addr().expect("it listens").port();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let client = BufStream::with_capacity(8 * 1024, 1 << 20, client);
                let (mut from, mut to) = split(acceptor.accept(client).await?);
                let server = TcpStream::connect(("127.0.0.1", server)).await?;
                let (mut read, mut write) = server.into_split();
                tokio::spawn(async move { copy(&mut from, &mut write).await });
                let mut answer = Vec::new();
                loop {
                    match timeout(MOMENT, read.read_buf(&mut answer)).await {
                        Ok(Ok(0)) => break,
                        Ok(read) => drop(read?),
                        Err(_) => {
                            to.write_all(&answer).await?;
                            to.flush().await?;
                            answer.clear();
                        }
                    }
                }
                to.write_all(&answer).await?;
                to.shutdown().await?;
                io::Result::Ok(())
            });
        }
    });
    port
}

/// V2Ray's client of `outbound` reads whole answers.
async fn reads_all(stage: &mut Stage, mut outbound: Value, tls: &Certificate) {
    let socks = free_port();
    outbound["streamSettings"] = json!({"network": "tcp", "security": "tls", "tlsSettings": {
        "serverName": SERVER_NAME,
        "certificates": [{"usage": "verify", "certificateFile": tls.authority}],
    }});
    let config = json!({
        "inbounds": [{"listen": "127.0.0.1", "port": socks, "protocol": "socks"}],
        "outbounds": [outbound],
    });
    stage.run(V2ray445, "client", &config, &[socks]).await;
    for _ in 0..12 {
        let (mut application, mut target) = connected(socks).await;
        target.write_all(&traffic::bytes(ANSWER)).await.unwrap();
        drop(target);
        assert_eq!(rest(&mut application).await, (ANSWER, Ok(())));
    }
    // An application that is slow, so that V2Ray is.
    let (mut application, mut target) = connected(socks).await;
    let began = Instant::now();
    SockRef::from(&application)
        .set_recv_buffer_size(64 * 1024)
        .unwrap();
    let sending = tokio::spawn(async move {
        target.write_all(&traffic::bytes(SLOW)).await.unwrap();
    });
    let mut got = 0;
    loop {
        let mut piece = vec![0; 128 * 1024];
        match application.read(&mut piece).await.unwrap() {
            0 => break,
            n => got += n,
        }
        sleep(Duration::from_millis(got as u64 / 4096).saturating_sub(began.elapsed())).await;
    }
    sending.await.unwrap();
    assert_eq!(got, SLOW);
}

#[tokio::test]
async fn an_answer_is_whole_behind_a_proxy_that_ends_with_it() {
    let mut stage = Stage::new();
    let port = free_port();
    let config = json!({
        "inbounds": [{
            "listen": "127.0.0.1", "port": port, "protocol": "vmess", "settings": {"clients": [{"id": ID}]},
        }],
        "outbounds": [{"protocol": "freedom"}],
    });
    stage.run(Mobula, "server", &config, &[port]).await;
    let tls = Certificate::new(&stage);
    let front = front(tls.acceptor_of(&[&TLS12], &[]), port).await;
    let outbound = json!({"protocol": "vmess", "settings": {
        "vnext": [{"address": "127.0.0.1", "port": front, "users": [{"id": ID}]}],
    }});
    reads_all(&mut stage, outbound, &tls).await;
}

#[tokio::test]
async fn an_answer_is_whole_in_tls_of_our_own() {
    let mut stage = Stage::new();
    let tls = Certificate::new(&stage);
    let port = free_port();
    let config = json!({
        "inbounds": [{
            "listen": "127.0.0.1", "port": port, "protocol": "shadowsocks",
            "settings": {"method": "aes-128-gcm", "password": PASSWORD},
            "streamSettings": {"network": "tcp", "security": "tls", "tlsSettings": {
                "maxVersion": "1.2",
                "certificates": [{"certificateFile": tls.chain, "keyFile": tls.key}],
            }},
        }],
        "outbounds": [{"protocol": "freedom"}],
    });
    stage.run(Mobula, "server", &config, &[port]).await;
    let outbound = json!({"protocol": "shadowsocks", "settings": {"servers": [{
        "address": "127.0.0.1", "port": port, "method": "aes-128-gcm", "password": PASSWORD,
    }]}});
    reads_all(&mut stage, outbound, &tls).await;
}
