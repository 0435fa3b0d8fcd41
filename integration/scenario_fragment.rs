//! `fragment` and `noises` of `freedom`: what is on the wire, and that real servers take it.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use crate::configs::{self, Certificate, SERVER_NAME, Vmess};
use crate::peers::Peer::{self, Mobula, V2ray445};
use crate::peers::{Stage, free_port, listen, system};
use crate::traffic::{self, LIMIT, To};

/// What a client's first connection sends, piece by piece.
type Seen = Arc<Mutex<Vec<(Instant, Vec<u8>)>>>;

/// Stands in front of the server at `port`: its own port, and what passes there.
async fn tap(port: u16) -> (u16, Seen) {
    let listener = listen();
    let at = listener.local_addr().unwrap().port();
    let seen = Seen::default();
    let pieces = seen.clone();
    tokio::spawn(async move {
        let mut is_first = true;
        while let Ok((client, _)) = listener.accept().await {
            let notes = std::mem::take(&mut is_first).then(|| pieces.clone());
            tokio::spawn(async move {
                let server = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                server.set_nodelay(true).unwrap();
                let (mut from, mut back) = client.into_split();
                let (mut answers, mut to) = server.into_split();
                tokio::spawn(async move { copy(&mut answers, &mut back).await });
                let mut buf = vec![0; 64 * 1024];
                while let Ok(n @ 1..) = from.read(&mut buf).await {
                    if let Some(notes) = &notes {
                        let piece = (Instant::now(), buf[..n].to_vec());
                        notes.lock().unwrap().push(piece);
                    }
                    if to.write_all(&buf[..n]).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    (at, seen)
}

/// The lengths of the handshake records at the front of `bytes`.
fn handshake_records(mut bytes: &[u8]) -> Vec<usize> {
    let mut lengths = Vec::new();
    while let [22, 3, 1, high, low, rest @ ..] = bytes {
        let len = usize::from(u16::from_be_bytes([*high, *low]));
        lengths.push(len);
        bytes = rest.get(len..).unwrap_or_default();
    }
    lengths
}

/// A client whose tunnel goes through a `freedom` with these settings, and a word through it.
async fn through(stage: &mut Stage, vmess: &Vmess, port: u16, freedom: Value) -> Seen {
    let (front, seen) = tap(port).await;
    let socks = free_port();
    let mut config = vmess.client(Mobula, socks, front);
    config["outbounds"][0]["streamSettings"]["sockopt"]["dialerProxy"] = json!("pieces");
    let pieces = json!({"tag": "pieces", "protocol": "freedom", "settings": freedom});
    config["outbounds"].as_array_mut().unwrap().push(pieces);
    let name = format!("client-{socks}");
    stage.run(Mobula, &name, &config, &[socks]).await;
    traffic::word(socks, &To::Ip(traffic::echo().await)).await;
    traffic::both_ways(socks, 300_000).await;
    seen
}

/// The same of a client whose own connections are cut.
async fn masked(stage: &mut Stage, vmess: &Vmess, port: u16, settings: Value) -> Seen {
    let (front, seen) = tap(port).await;
    let socks = free_port();
    let mut config = vmess.client(Mobula, socks, front);
    let noise =
        json!({"type": "noise", "settings": {"noise": [{"rand": "10-20", "delay": "10-16"}]}});
    config["outbounds"][0]["streamSettings"]["finalmask"] =
        json!({"tcp": [{"type": "fragment", "settings": settings}], "udp": [noise]});
    let name = format!("client-{socks}");
    stage.run(Mobula, &name, &config, &[socks]).await;
    traffic::word(socks, &To::Ip(traffic::echo().await)).await;
    traffic::both_ways(socks, 300_000).await;
    seen
}

#[tokio::test]
async fn finalmask_cuts_an_outbounds_own_connections() {
    let mut stage = Stage::new();
    let (vmess, port) = v2ray_with_tls(&mut stage).await;
    let settings = json!({"packets": "tlshello", "length": "9", "delay": "9", "lengths": ["20", "40-50"],
        "delays": ["5"], "maxSplit": 0});
    let seen = masked(&mut stage, &vmess, port, settings).await;
    let first: Vec<u8> = seen
        .lock()
        .unwrap()
        .iter()
        .flat_map(|(_, bytes)| bytes.clone())
        .collect();
    let records = handshake_records(&first);
    assert!(records.len() > 4 && records[0] == 20, "{records:?}");
    let (_, middle) = records[1..].split_last().unwrap();
    assert!(
        middle.iter().all(|len| (40..=50).contains(len)),
        "{records:?}"
    );
}

async fn v2ray_with_tls(stage: &mut Stage) -> (Vmess, u16) {
    let (vmess, port) = (Vmess::wss(stage), free_port());
    let config = vmess.server(V2ray445, port);
    stage.run(V2ray445, "server", &config, &[port]).await;
    (vmess, port)
}

async fn nginx_with_tls(stage: &mut Stage, behind: Peer) -> (Vmess, u16) {
    let (port, server) = (free_port(), free_port());
    let config = Vmess::ws().server(behind, server);
    stage.run(behind, "server", &config, &[server]).await;
    let files = Certificate::new(stage);
    let block = format!(
        "listen 127.0.0.1:{port} ssl; ssl_certificate {}; ssl_certificate_key {};\nserver_name {SERVER_NAME};\n{}",
        files.chain.display(),
        files.key.display(),
        configs::documented_location(server)
    );
    let file = configs::nginx(stage, &block);
    let mut nginx = system("nginx");
    nginx.arg("-p").arg(stage.path("")).arg("-c").arg(file);
    stage.start("nginx", &mut nginx, &[port]).await;
    let tls = Some(files);
    (Vmess { tls, ..Vmess::ws() }, port)
}

#[tokio::test]
async fn a_tunnels_hello_is_cut_into_records_that_servers_put_together() {
    for is_nginx in [false, true] {
        let mut stage = Stage::new();
        let (vmess, port) = match is_nginx {
            true => nginx_with_tls(&mut stage, Mobula).await,
            false => v2ray_with_tls(&mut stage).await,
        };
        let slow =
            json!({"fragment": {"packets": "tlshello", "length": "40-50", "interval": "30-40"}});
        let seen = through(&mut stage, &vmess, port, slow).await;
        let seen = std::mem::take(&mut *seen.lock().unwrap());
        let hello: Vec<_> = seen
            .iter()
            .map_while(|(at, bytes)| match handshake_records(bytes)[..] {
                [len] if bytes.len() == len + 5 => Some((*at, len)),
                _ => None,
            })
            .collect();
        assert!(hello.len() > 4, "{hello:?}");
        let (last, front) = hello.split_last().unwrap();
        assert!(front.iter().all(|(_, len)| (40..=50).contains(len)));
        assert!(last.1 <= 50);
        let gaps = hello.windows(2).map(|pair| pair[1].0 - pair[0].0);
        let waited: Duration = gaps.clone().sum();
        let least = Duration::from_millis(25) * u32::try_from(gaps.count()).unwrap();
        assert!(waited >= least, "{waited:?}, expected {least:?}");

        let quick = json!({"fragment": {"packets": "tlshello", "length": "40-50", "interval": "0", "maxSplit": 3}});
        let seen = through(&mut stage, &vmess, port, quick).await;
        let first = seen.lock().unwrap()[0].1.clone();
        let records = handshake_records(&first);
        assert_eq!(records.len(), 3, "{records:?}");
        assert_eq!(
            records.iter().sum::<usize>() + 15,
            first.len(),
            "in one write"
        );
    }
}

#[tokio::test]
async fn writes_are_cut_and_their_bytes_stay_as_they_are() {
    let mut stage = Stage::new();
    let (vmess, port) = v2ray_with_tls(&mut stage).await;
    let cut = json!({"fragment": {"packets": "1-1", "length": "100", "interval": "20"}});
    let seen = through(&mut stage, &vmess, port, cut).await;
    let seen = seen.lock().unwrap();
    let record = &seen[0].1[..5];
    let whole = 5 + usize::from(u16::from_be_bytes([record[3], record[4]]));
    let pieces = whole.div_ceil(100);
    let lengths: Vec<_> = seen[..pieces]
        .iter()
        .map(|(_, bytes)| bytes.len())
        .collect();
    assert_eq!(lengths.iter().sum::<usize>(), whole, "{lengths:?}");
    assert!(
        lengths[..pieces - 1].iter().all(|len| *len == 100),
        "{lengths:?}"
    );
}

#[tokio::test]
async fn noise_goes_in_front_of_the_first_datagram_alone() {
    let mut stage = Stage::new();
    let socks = free_port();
    let noises = json!([
        {"type": "rand", "packet": "11-19", "delay": "30-40"},
        {"type": "str", "packet": "six", "applyTo": "ipv6"},
        {"type": "hex", "packet": "00ff", "applyTo": "ipv4"},
    ]);
    let config = json!({
        "inbounds": [{
            "listen": "127.0.0.1", "port": socks, "protocol": "socks",
            "settings": {"udp": true, "ip": "127.0.0.1"},
        }],
        "outbounds": [{"protocol": "freedom", "settings": {"noises": noises}}],
    });
    stage.run(Mobula, "client", &config, &[socks]).await;
    let (_control, relay) = traffic::associate(socks).await;
    let target = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let to = To::Ip(target.local_addr().unwrap());
    let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    for word in [b"one", b"two"] {
        let packet = traffic::datagram(&to, word);
        client.send_to(&packet, relay).await.unwrap();
    }
    let mut came = Vec::new();
    for _ in 0..4 {
        let mut buf = [0; 100];
        let received = timeout(LIMIT, target.recv_from(&mut buf)).await;
        let (n, _) = received.expect("a datagram in time").unwrap();
        came.push((Instant::now(), buf[..n].to_vec()));
    }
    assert!((11..=19).contains(&came[0].1.len()), "{came:?}");
    assert!(came[1].0 - came[0].0 >= Duration::from_millis(25));
    let rest: Vec<_> = came[1..].iter().map(|(_, bytes)| &bytes[..]).collect();
    assert_eq!(rest, [&[0, 255][..], b"one", b"two"]);
}

/// The connections of mux lead to the server that `redirect` names, and are this outbound's as well.
#[tokio::test]
async fn a_connection_of_mux_is_cut_too() {
    let mut stage = Stage::new();
    let (socks, server) = (free_port(), free_port());
    let door = json!({
        "inbounds": [{
            "listen": "127.0.0.1", "port": server, "protocol": "dokodemo-door",
            "settings": {"address": "v1.mux.cool"},
        }],
        "outbounds": [{"protocol": "freedom"}],
    });
    stage.run(Mobula, "server", &door, &[server]).await;
    let (front, seen) = tap(server).await;
    let settings = json!({
        "redirect": format!("127.0.0.1:{front}"),
        "fragment": {"packets": "1-3", "length": "5", "interval": "20-30"},
    });
    let config = json!({
        "inbounds": [{"listen": "127.0.0.1", "port": socks, "protocol": "socks"}],
        "outbounds": [{"protocol": "freedom", "settings": settings, "mux": {"enabled": true}}],
    });
    stage.run(Mobula, "client", &config, &[socks]).await;
    traffic::word(socks, &To::Ip(traffic::echo().await)).await;
    let seen = std::mem::take(&mut *seen.lock().unwrap());
    let first: Vec<usize> = seen.iter().map(|(_, bytes)| bytes.len()).take(4).collect();
    assert_eq!(first, [5; 4]);
    assert!(seen[1].0 - seen[0].0 >= Duration::from_millis(15));
}
