//! V2Ray at the other end: Debian's 4.34, and 4.45.2, which has early data and authenticated length.

use std::time::Duration;

use crate::configs::{Early, Vmess};
use crate::peers::Peer::{self, Mobula, V2ray434, V2ray445};
use crate::peers::Stage;
use crate::traffic;
use crate::tunnel::Tunnel;

/// mobula against each V2Ray, in either role.
const PAIRS: [(Peer, Peer); 4] = [
    (V2ray434, Mobula),
    (V2ray445, Mobula),
    (Mobula, V2ray434),
    (Mobula, V2ray445),
];

/// 4.34 has no word for the cipher `zero` as a client, and reads it as a server.
const ZERO_PAIRS: [(Peer, Peer); 3] = [(V2ray445, Mobula), (Mobula, V2ray434), (Mobula, V2ray445)];

const LATER_PAIRS: [(Peer, Peer); 2] = [(V2ray445, Mobula), (Mobula, V2ray445)];

async fn each(pairs: &[(Peer, Peer)], vmess: &Vmess) {
    for (client, server) in pairs {
        let tunnel = Tunnel::start(*client, *server, vmess).await;
        tunnel.carries_all().await;
    }
}

#[tokio::test]
async fn plain_ws() {
    each(&PAIRS, &Vmess::ws()).await;
}

#[tokio::test]
async fn ws_over_tls() {
    for pair in PAIRS {
        let stage = Stage::new();
        let vmess = Vmess::wss(&stage);
        let tunnel = Tunnel::start_on(stage, pair.0, &vmess, pair.1, &vmess).await;
        tunnel.carries_all().await;
    }
}

/// In a client's `auto` V2Ray takes another cipher under TLS than without: here each is asked for.
#[tokio::test]
async fn every_cipher_under_tls() {
    for security in ["aes-128-gcm", "chacha20-poly1305", "none"] {
        for (client, server) in PAIRS {
            carries_under_tls(security, client, server).await;
        }
    }
    for (client, server) in ZERO_PAIRS {
        carries_under_tls("zero", client, server).await;
    }
}

async fn carries_under_tls(security: &'static str, client: Peer, server: Peer) {
    println!("{client:?} to {server:?}, {security}");
    let stage = Stage::new();
    let vmess = Vmess {
        security,
        ..Vmess::wss(&stage)
    };
    let tunnel = Tunnel::start_on(stage, client, &vmess, server, &vmess).await;
    traffic::server_speaks_first(tunnel.socks).await;
    traffic::both_ways(tunnel.socks, 1024 * 1024).await;
    traffic::datagrams(tunnel.socks, &[1, 1200]).await;
}

#[tokio::test]
async fn plain_tcp() {
    each(&PAIRS, &Vmess::tcp()).await;
}

#[tokio::test]
async fn aes_128_gcm() {
    each(&PAIRS, &Vmess::ws_sealed("aes-128-gcm")).await;
}

#[tokio::test]
async fn chacha20_poly1305() {
    each(&PAIRS, &Vmess::ws_sealed("chacha20-poly1305")).await;
}

#[tokio::test]
async fn no_cipher() {
    each(&PAIRS, &Vmess::ws_sealed("none")).await;
}

#[tokio::test]
async fn zero_cipher() {
    each(&ZERO_PAIRS, &Vmess::ws_sealed("zero")).await;
}

#[tokio::test]
async fn early_data_in_the_path() {
    let early = Early::Path;
    each(&LATER_PAIRS, &Vmess::ws_early(early)).await;
}

#[tokio::test]
async fn early_data_in_a_header() {
    let early = Early::Header("X-Early");
    each(&LATER_PAIRS, &Vmess::ws_early(early)).await;
}

#[tokio::test]
async fn early_data_in_the_subprotocol() {
    let early = Early::Header("Sec-WebSocket-Protocol");
    each(&LATER_PAIRS, &Vmess::ws_early(early)).await;
}

#[tokio::test]
async fn authenticated_length() {
    for security in ["aes-128-gcm", "chacha20-poly1305"] {
        let vmess = Vmess {
            security,
            authenticated_length: true,
            ..Vmess::ws()
        };
        each(&LATER_PAIRS, &vmess).await;
    }
}

#[tokio::test]
async fn two_hundred_connections_at_once() {
    for (client, server) in PAIRS {
        let tunnel = Tunnel::start(client, server, &Vmess::ws()).await;
        traffic::many(tunnel.socks, 200).await;
        let stage = Stage::new();
        let vmess = Vmess::wss(&stage);
        let tunnel = Tunnel::start_on(stage, client, &vmess, server, &vmess).await;
        traffic::many(tunnel.socks, 200).await;
    }
}

/// V2Ray carries an end of stream through the tunnel, but shuts no socket down for it: only mobula's
/// side shows it. A stand-in in mobula's place fails these.
#[tokio::test]
async fn the_end_of_a_v2ray_application_reaches_the_target() {
    for vmess in [Vmess::ws(), Vmess::tcp()] {
        for client in [V2ray434, V2ray445] {
            let tunnel = Tunnel::start(client, Mobula, &vmess).await;
            traffic::application_ends_first(tunnel.socks).await;
        }
    }
}

/// Once both directions have ended V2Ray drops what it has not handed to the target yet, so the
/// application waits a little with its end.
#[tokio::test]
async fn the_end_of_a_target_behind_v2ray_reaches_the_application() {
    for vmess in [Vmess::ws(), Vmess::tcp()] {
        for server in [V2ray434, V2ray445] {
            let tunnel = Tunnel::start(Mobula, server, &vmess).await;
            traffic::target_ends_first(tunnel.socks, Duration::from_secs(1)).await;
        }
    }
}

#[tokio::test]
async fn the_end_of_a_target_reaches_the_application_of_v2ray() {
    for vmess in [Vmess::ws(), Vmess::tcp()] {
        for client in [V2ray434, V2ray445] {
            let tunnel = Tunnel::start(client, Mobula, &vmess).await;
            traffic::target_sends_and_closes(tunnel.socks).await;
        }
    }
}

#[tokio::test]
async fn mobula_at_both_ends() {
    let stage = Stage::new();
    let vmess = Vmess {
        early: Early::Header("Sec-WebSocket-Protocol"),
        authenticated_length: true,
        ..Vmess::wss(&stage)
    };
    let tunnel = Tunnel::start_on(stage, Mobula, &vmess, Mobula, &vmess).await;
    tunnel.carries_all().await;
    traffic::application_ends_first(tunnel.socks).await;
    traffic::target_ends_first(tunnel.socks, Duration::ZERO).await;
    traffic::many(tunnel.socks, 200).await;
}
