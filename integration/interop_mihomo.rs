//! mihomo at the other end. When it is the first to end it sends neither VMess's end mark nor WebSocket's close
//! frame: it must not be taken for one that broke off.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::sleep;

use crate::configs::Vmess;
use crate::peers::Peer::{self, Mihomo, Mobula};
use crate::peers::{Stage, free_port};
use crate::scenario_abrupt::{connected, rest};
use crate::scenario_endings::nginx;
use crate::traffic;
use crate::tunnel::Tunnel;

const PAIRS: [(Peer, Peer); 2] = [(Mihomo, Mobula), (Mobula, Mihomo)];

/// Whole transfers end like whole transfers, whoever ends first.
async fn ends_in_order(socks: u16) {
    traffic::ready(socks).await;
    let data = traffic::bytes(300_000);
    for upload in [true, false] {
        let (mut application, mut target) = connected(socks).await;
        let (from, to) = match upload {
            true => (&mut application, &mut target),
            false => (&mut target, &mut application),
        };
        let send = async {
            from.write_all(&data).await.unwrap();
            from.shutdown().await.unwrap();
        };
        let ((), end) = tokio::join!(send, rest(to));
        assert_eq!(end, (data.len(), Ok(())), "upload: {upload}");
        to.shutdown().await.unwrap();
        assert_eq!(rest(from).await, (0, Ok(())), "upload: {upload}");
    }
    // An application that closes altogether, as most do.
    let (mut application, mut target) = connected(socks).await;
    application.write_all(&data).await.unwrap();
    let mut got = vec![0; data.len()];
    target.read_exact(&mut got).await.unwrap();
    drop(application);
    assert_eq!(rest(&mut target).await, (0, Ok(())));
}

async fn each(vmess: &Vmess) {
    for (client, server) in PAIRS {
        let tunnel = Tunnel::start(client, server, vmess).await;
        ends_in_order(tunnel.socks).await;
    }
}

#[tokio::test]
async fn a_whole_file_ends_in_order_over_ws() {
    each(&Vmess::ws()).await;
}

#[tokio::test]
async fn a_whole_file_ends_in_order_over_tcp() {
    each(&Vmess::tcp()).await;
}

#[tokio::test]
async fn a_whole_file_ends_in_order_whatever_the_cipher() {
    for security in ["chacha20-poly1305", "none", "zero"] {
        each(&Vmess::ws_sealed(security)).await;
    }
}

#[tokio::test]
async fn a_whole_file_ends_in_order_behind_nginx() {
    for (client, server) in PAIRS {
        let mut stage = Stage::new();
        let (port, front, socks) = (free_port(), free_port(), free_port());
        let vmess = Vmess::ws();
        let config = vmess.server(server, port);
        stage.run(server, "server", &config, &[port]).await;
        nginx(&mut stage, front, port).await;
        let config = vmess.client(client, socks, front);
        stage.run(client, "client", &config, &[socks]).await;
        traffic::ready(socks).await;
        let data = traffic::bytes(300_000);
        let (mut application, mut target) = connected(socks).await;
        target.write_all(&data).await.unwrap();
        target.shutdown().await.unwrap();
        let end = rest(&mut application).await;
        assert_eq!(end, (data.len(), Ok(())), "{client:?} to {server:?}");
        let (mut application, mut target) = connected(socks).await;
        application.write_all(&data).await.unwrap();
        sleep(Duration::from_millis(300)).await;
        drop(application);
        let end = rest(&mut target).await;
        assert_eq!(end, (data.len(), Ok(())), "{client:?} to {server:?}");
    }
}
