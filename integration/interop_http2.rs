//! `grpc` and `http` with V2Ray, sing-box and mihomo at the other end, and behind Nginx.

use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::configs::{self, Carrier, Vmess};
use crate::peers::Peer::{self, Mihomo, Mobula, SingBox, V2ray434, V2ray445};
use crate::peers::{Stage, connections, free_port, system};
use crate::traffic::{self, LIMIT, To};
use crate::tunnel::Tunnel;

const GRPC: [(Peer, Peer); 7] = [
    (V2ray445, Mobula),
    (SingBox, Mobula),
    (Mihomo, Mobula),
    (Mobula, V2ray445),
    (Mobula, SingBox),
    (Mobula, Mihomo),
    (Mobula, Mobula),
];

/// mihomo has the client alone. V2Ray and sing-box want TLS.
const H2: [(Peer, Peer); 8] = [
    (V2ray434, Mobula),
    (V2ray445, Mobula),
    (SingBox, Mobula),
    (Mihomo, Mobula),
    (Mobula, V2ray434),
    (Mobula, V2ray445),
    (Mobula, SingBox),
    (Mobula, Mobula),
];

/// What every tunnel does, and a file whose end follows it at once.
async fn carries_all(tunnel: &Tunnel, server: Peer) {
    traffic::ready(tunnel.socks).await;
    if server == Mihomo {
        // It stops when more than a little goes both ways, whoever its client is.
        traffic::word(tunnel.socks, &To::Ip(traffic::echo().await)).await;
        traffic::server_speaks_first(tunnel.socks).await;
        return;
    }
    tunnel.carries_all().await;
    traffic::target_sends_and_closes(tunnel.socks).await;
}

/// mihomo loses the answers to datagrams of VLESS over h2, whoever its server is.
async fn carries_streams(tunnel: &Tunnel) {
    traffic::ready(tunnel.socks).await;
    tunnel.carries_streams().await;
}

#[tokio::test]
async fn grpc_plain() {
    for (client, server) in GRPC {
        let tunnel = Tunnel::start(client, server, &Vmess::grpc()).await;
        carries_all(&tunnel, server).await;
    }
    // mihomo serves VLESS over TLS alone.
    for (client, server) in GRPC.into_iter().filter(|(_, server)| *server != Mihomo) {
        let tunnel = Tunnel::start(client, server, &Vmess::grpc().vless()).await;
        carries_all(&tunnel, server).await;
    }
}

async fn over_tls(pairs: &[(Peer, Peer)], vmess: fn() -> Vmess) {
    for (client, server) in pairs {
        for vless in [false, true] {
            let stage = Stage::new();
            let vmess = vmess().over_tls(&stage);
            let vmess = if vless { vmess.vless() } else { vmess };
            println!("{client:?} to {server:?}, {vmess:?}");
            let tunnel = Tunnel::start_on(stage, *client, &vmess, *server, &vmess).await;
            match (*client, vmess.carrier) {
                (Mihomo, Carrier::H2) if vless => carries_streams(&tunnel).await,
                _ => carries_all(&tunnel, *server).await,
            }
        }
    }
}

#[tokio::test]
async fn grpc_over_tls() {
    over_tls(&GRPC, Vmess::grpc).await;
}

#[tokio::test]
async fn h2_over_tls() {
    over_tls(&H2, Vmess::h2).await;
}

/// What stands in `path` is no query and no encoding: V2Ray encodes it.
#[tokio::test]
async fn a_path_of_h2_has_any_letters() {
    for (client, server) in [(V2ray445, Mobula), (Mobula, V2ray445), (Mobula, Mobula)] {
        let (mut stage, port, socks) = (Stage::new(), free_port(), free_port());
        let vmess = Vmess::h2().over_tls(&stage);
        let (mut there, mut here) = (
            vmess.server(server, port),
            vmess.client(client, socks, port),
        );
        for end in [&mut there["inbounds"][0], &mut here["outbounds"][0]] {
            end["streamSettings"]["httpSettings"]["path"] = json!("/x?ed=2048#y %20/日本");
        }
        stage.run(server, "server", &there, &[port]).await;
        stage.run(client, "client", &here, &[socks]).await;
        traffic::word(socks, &To::Ip(traffic::echo().await)).await;
    }
}

#[tokio::test]
async fn many_tunnels_share_one_connection() {
    for (client, server) in GRPC.into_iter().filter(|(_, server)| *server != Mihomo) {
        println!("{client:?} to {server:?}");
        let tunnel = Tunnel::start(client, server, &Vmess::grpc()).await;
        traffic::ready(tunnel.socks).await;
        traffic::many(tunnel.socks, 100).await;
        if client == Mobula {
            assert_eq!(connections(tunnel.server), 1);
        }
    }
}

/// Those of V2Ray, sing-box and mihomo cancel each stream when the application has gone.
#[tokio::test]
async fn an_upload_ends_as_its_application_ended_it() {
    for client in [V2ray445, SingBox, Mihomo, Mobula] {
        for vmess in [
            Vmess::grpc(),
            Vmess::grpc().vless(),
            Vmess::h2(),
            Vmess::h2().vless(),
        ] {
            let stage = Stage::new();
            let vmess = vmess.over_tls(&stage);
            println!("{client:?}, {vmess:?}");
            let tunnel = Tunnel::start_on(stage, client, &vmess, Mobula, &vmess).await;
            traffic::ready(tunnel.socks).await;
            traffic::application_sends_and_closes(tunnel.socks).await;
        }
    }
}

#[tokio::test]
async fn each_direction_ends_by_itself() {
    for vmess in [Vmess::grpc(), Vmess::grpc().vless(), Vmess::h2()] {
        let tunnel = Tunnel::start(Mobula, Mobula, &vmess).await;
        traffic::application_ends_first(tunnel.socks).await;
        traffic::target_answers_late(tunnel.socks).await;
        traffic::target_ends_first(tunnel.socks, Duration::from_millis(1500)).await;
    }
}

/// What docs/nginx.md says of gRPC.
#[tokio::test]
async fn grpc_behind_nginx() {
    for client in [Mobula, V2ray445, SingBox] {
        let (mut stage, front, port, socks) = (Stage::new(), free_port(), free_port(), free_port());
        // Without an end of its own.
        let vmess = Vmess::grpc().vless();
        stage
            .run(Mobula, "server", &vmess.server(Mobula, port), &[port])
            .await;
        let location = format!(
            "listen 127.0.0.1:{front} http2;\n{}",
            configs::documented_grpc_location(port)
        );
        let config = configs::nginx(&stage, &location);
        let mut nginx = system("nginx");
        nginx.arg("-p").arg(stage.path("")).arg("-c").arg(config);
        stage.start("nginx", &mut nginx, &[front]).await;
        let config = vmess.client(client, socks, front);
        stage.run(client, "client", &config, &[socks]).await;
        traffic::ready(socks).await;
        traffic::both_ways(socks, 2_000_000).await;
        traffic::many(socks, 30).await;
        traffic::application_sends_and_closes(socks).await;
    }
}

#[tokio::test]
async fn a_wrong_name_is_told_at_both_ends() {
    let (mut stage, port, socks) = (Stage::new(), free_port(), free_port());
    let mut server = Vmess::grpc().server(Mobula, port);
    server["log"] = json!({"loglevel": "warning", "error": "server.log", "access": "server.log"});
    stage.run(Mobula, "server", &server, &[port]).await;
    let mut client = Vmess::grpc().client(Mobula, socks, port);
    client["log"] = json!({"loglevel": "warning", "error": "client.log"});
    client["outbounds"][0]["streamSettings"]["grpcSettings"]["serviceName"] = json!("other");
    stage.run(Mobula, "client", &client, &[socks]).await;
    let to = To::Ip(traffic::echo().await);
    if let Ok(mut tunnel) = traffic::connect(socks, &to).await {
        let _ = tunnel.write_all(b"hello").await;
        // Until the server has been heard.
        let _ = timeout(LIMIT, tunnel.read(&mut [0; 1])).await;
    }
    let told = stage.until_file_has("client.log", "[grpc-12]").await;
    assert!(
        told.contains("compare `serviceName` on both ends"),
        "{told}"
    );
    let told = stage.until_file_has("server.log", "[ws-path]").await;
    assert!(told.contains("the path is not \"/ray/Tun\""), "{told}");
}

/// A server that comes back is used again, and nobody waits for the connection that is gone.
#[tokio::test]
async fn a_server_that_was_away_is_found_again() {
    for carrier in [Carrier::Grpc, Carrier::H2] {
        let vmess = Vmess {
            carrier,
            ..Vmess::ws()
        };
        let (mut stage, port, socks) = (Stage::new(), free_port(), free_port());
        let server = vmess.server(Mobula, port);
        let index = stage.run(Mobula, "server", &server, &[port]).await;
        let client = vmess.client(Mobula, socks, port);
        stage.run(Mobula, "client", &client, &[socks]).await;
        traffic::both_ways(socks, 10_000).await;
        stage.child(index).signal("KILL");
        stage.child(index).ended(Duration::from_secs(5)).await;
        stage.run(Mobula, "again", &server, &[port]).await;
        traffic::ready(socks).await;
        traffic::both_ways(socks, 10_000).await;
    }
}
