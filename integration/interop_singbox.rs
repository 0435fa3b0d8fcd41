//! sing-box at the other end.

use crate::configs::{Early, Vmess};
use crate::peers::Peer::{self, Mobula, SingBox};
use crate::peers::Stage;
use crate::traffic;
use crate::tunnel::Tunnel;

const PAIRS: [(Peer, Peer); 2] = [(SingBox, Mobula), (Mobula, SingBox)];

async fn each(vmess: &Vmess) {
    for (client, server) in PAIRS {
        let tunnel = Tunnel::start(client, server, vmess).await;
        tunnel.carries_all().await;
    }
}

#[tokio::test]
async fn plain_ws() {
    each(&Vmess::ws()).await;
}

/// With `auto` under TLS sing-box sends the body bare.
#[tokio::test]
async fn ws_over_tls() {
    for (client, server) in PAIRS {
        let stage = Stage::new();
        let vmess = Vmess::wss(&stage);
        let tunnel = Tunnel::start_on(stage, client, &vmess, server, &vmess).await;
        tunnel.carries_all().await;
    }
}

#[tokio::test]
async fn plain_tcp() {
    each(&Vmess::tcp()).await;
}

#[tokio::test]
async fn every_cipher() {
    for security in ["aes-128-gcm", "chacha20-poly1305", "none"] {
        each(&Vmess::ws_sealed(security)).await;
    }
}

#[tokio::test]
async fn every_cipher_under_tls() {
    for security in ["aes-128-gcm", "chacha20-poly1305", "none"] {
        for (client, server) in PAIRS {
            let stage = Stage::new();
            let vmess = Vmess {
                security,
                ..Vmess::wss(&stage)
            };
            let tunnel = Tunnel::start_on(stage, client, &vmess, server, &vmess).await;
            traffic::both_ways(tunnel.socks, 1024 * 1024).await;
            traffic::datagrams(tunnel.socks, &[1, 1200]).await;
        }
    }
}

/// A sing-box server finds no borders between the datagrams of a bare body, whoever sends it.
#[tokio::test]
async fn zero_cipher() {
    let vmess = Vmess::ws_sealed("zero");
    let tunnel = Tunnel::start(SingBox, Mobula, &vmess).await;
    tunnel.carries_all().await;
    let tunnel = Tunnel::start(Mobula, SingBox, &vmess).await;
    tunnel.carries_streams().await;
}

#[tokio::test]
async fn global_padding_and_authenticated_length() {
    for (global_padding, authenticated_length) in [(true, false), (false, true), (true, true)] {
        for security in ["aes-128-gcm", "chacha20-poly1305"] {
            let vmess = Vmess {
                security,
                global_padding,
                authenticated_length,
                ..Vmess::ws()
            };
            each(&vmess).await;
        }
    }
}

#[tokio::test]
async fn early_data_each_way() {
    let places = [
        Early::Path,
        Early::Header("X-Early"),
        Early::Header("Sec-WebSocket-Protocol"),
    ];
    for early in places {
        each(&Vmess::ws_early(early)).await;
    }
}

#[tokio::test]
async fn two_hundred_connections_at_once() {
    for (client, server) in PAIRS {
        let tunnel = Tunnel::start(client, server, &Vmess::ws()).await;
        traffic::many(tunnel.socks, 200).await;
    }
}

/// sing-box sends no end mark and closes the whole: what had been sent before must have arrived.
#[tokio::test]
async fn an_end_arrives_after_the_data() {
    for vmess in [Vmess::ws(), Vmess::tcp()] {
        for (client, server) in PAIRS {
            let tunnel = Tunnel::start(client, server, &vmess).await;
            traffic::target_sends_and_closes(tunnel.socks).await;
        }
    }
}
