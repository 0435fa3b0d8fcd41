//! V2Ray's `domainsocket`, either end against V2Ray.

use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use serde_json::{Value, json};

use crate::configs::Vmess;
use crate::peers::Peer::{self, Mobula, V2ray434, V2ray445};
use crate::peers::{Stage, free_port};
use crate::traffic;

/// A tunnel whose middle is the socket of `ds`; the port of its SOCKS.
async fn tunnel(stage: &mut Stage, client: Peer, server: Peer, vmess: &Vmess, ds: &Value) -> u16 {
    let (socks, beside) = (free_port(), free_port());
    // Nobody listens on the port that the server is said to have.
    let (mut inside, mut outside) = (vmess.server(server, 9), vmess.client(client, socks, 9));
    inside["inbounds"].as_array_mut().unwrap().push(json!({
        "listen": "127.0.0.1", "port": beside, "protocol": "socks",
    }));
    for part in [&mut inside["inbounds"][0], &mut outside["outbounds"][0]] {
        part["streamSettings"]["network"] = json!("domainsocket");
        part["streamSettings"]["dsSettings"] = ds.clone();
    }
    let name = format!("server-{socks}");
    stage.run(server, &name, &inside, &[beside]).await;
    let name = format!("client-{socks}");
    let authority = vmess.tls.as_ref().map(|tls| tls.authority.as_path());
    stage
        .run_believing(authority, client, &name, &outside, &[socks])
        .await;
    socks
}

fn is_socket(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket())
}

#[tokio::test]
async fn a_socket_in_the_file_system_carries_all() {
    for (client, server) in [
        (Mobula, V2ray445),
        (V2ray445, Mobula),
        (V2ray434, Mobula),
        (Mobula, Mobula),
    ] {
        println!("{client:?} to {server:?}");
        let mut stage = Stage::new();
        let path = stage.path("tunnel.sock");
        let ds = json!({"path": path});
        let socks = tunnel(&mut stage, client, server, &Vmess::tcp(), &ds).await;
        assert!(is_socket(&path));
        traffic::both_ways(socks, 300_000).await;
        traffic::server_speaks_first(socks).await;
        traffic::datagrams(socks, &[1, 1000]).await;
    }
}

#[tokio::test]
async fn tls_is_inside_of_it_where_it_is_asked_for() {
    for (client, server) in [(Mobula, V2ray445), (V2ray445, Mobula)] {
        println!("{client:?} to {server:?}");
        let mut stage = Stage::new();
        let vmess = Vmess::tcp().over_tls(&stage);
        let ds = json!({"path": stage.path("tunnel.sock")});
        let socks = tunnel(&mut stage, client, server, &vmess, &ds).await;
        traffic::both_ways(socks, 100_000).await;
    }
}

#[tokio::test]
async fn names_of_the_abstract_namespace_are_the_same_at_both_ends() {
    for (client, server) in [(Mobula, V2ray445), (V2ray445, Mobula)] {
        for (mark, padding) in [("", false), ("@", false), ("", true)] {
            println!("{client:?} to {server:?}, {mark:?}, {padding}");
            let mut stage = Stage::new();
            let name = format!("{mark}mobula-{}-{}", std::process::id(), free_port());
            let ds = json!({"path": name, "abstract": true, "padding": padding});
            let socks = tunnel(&mut stage, client, server, &Vmess::tcp(), &ds).await;
            traffic::both_ways(socks, 10_000).await;
        }
    }
}
