//! Ports in GOST's words that lead to targets: at the server of a relay, and for datagrams.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use crate::peers::{Stage, free_port, mobula};
use crate::scenario_gost::gost;
use crate::traffic::{self, LIMIT, To};
use crate::tunnel::EIGHT_MIB;

#[tokio::test]
async fn a_port_of_the_server_leads_to_the_client() {
    for (carrier, version) in [("mws", ""), ("ws", "mux.version=2")] {
        port_of_the_server(carrier, version).await;
    }
}

async fn port_of_the_server(carrier: &str, version: &str) {
    let mut stage = Stage::new();
    let [server, published] = [(); 2].map(|()| free_port());
    let relay = format!("relay+{carrier}://u:p@127.0.0.1:{server}?{version}");
    let serving = format!("{relay}&bind=true");
    stage
        .start("server", &mut gost(&["-L", &serving]), &[server])
        .await;
    let target = traffic::echo().await;
    let service = format!("rtcp://127.0.0.1:{published}/{target}");
    let args = ["-L", &service, "-F", &relay];
    stage.start("client", &mut gost(&args), &[published]).await;
    let visitor = TcpStream::connect(("127.0.0.1", published));
    let mut visitor = visitor.await.expect("it is published");
    traffic::exchange(&mut visitor, b"a word").await;
}

/// `forward` and `relay` may have a target of their own.
#[tokio::test]
async fn a_port_without_a_target_leads_to_that_of_the_server() {
    for carrier in ["forward+ws", "relay+mwss"] {
        let mut stage = Stage::new();
        let (server, port) = (free_port(), free_port());
        let target = traffic::echo().await;
        let listen = format!("{carrier}://127.0.0.1:{server}/{target}");
        stage
            .start("server", &mut gost(&["-L", &listen]), &[server])
            .await;
        let local = format!("tcp://127.0.0.1:{port}");
        let forward = format!("{carrier}://127.0.0.1:{server}");
        let args = ["-L", &local, "-F", &forward];
        stage.start("client", &mut gost(&args), &[port]).await;
        let mut visitor = TcpStream::connect(("127.0.0.1", port)).await.expect("open");
        traffic::exchange(&mut visitor, b"a word").await;
    }
}

/// Who sends nothing for so long is not known any more, and holds nothing.
#[tokio::test]
async fn clients_of_a_port_for_datagrams_are_forgotten_after_their_ttl() {
    let mut stage = Stage::new();
    let (port, target) = (free_port(), traffic::udp_echo().await);
    let service = format!("udp://127.0.0.1:{port}/{target}?keepAlive=true&ttl=1s");
    let index = stage
        .start("server", &mut gost(&["-L", &service]), &[])
        .await;
    let mut clients = Vec::new();
    // Before it listens they are told that nobody does.
    let word = async |client: &UdpSocket| {
        let until = Instant::now() + LIMIT;
        loop {
            let _ = client.send(b"a word").await;
            let mut buf = [0; 64];
            let heard = timeout(Duration::from_millis(200), client.recv(&mut buf)).await;
            if let Ok(Ok(n)) = heard {
                return assert_eq!(&buf[..n], b"a word");
            }
            assert!(Instant::now() < until, "no answer");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    for _ in 0..40 {
        let client = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
        client.connect(("127.0.0.1", port)).await.expect("a peer");
        word(&client).await;
        clients.push(client);
    }
    let open = |stage: &mut Stage| stage.child(index).open_files();
    assert!(open(&mut stage) >= 40);
    let until = Instant::now() + Duration::from_secs(15);
    while open(&mut stage) >= 40 {
        assert!(Instant::now() < until, "they are held");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // Whoever comes again is a new one.
    word(&clients[0]).await;
}

/// A machine that nobody reaches is a proxy at a port of the server.
#[tokio::test]
async fn a_proxy_may_listen_at_a_port_of_the_server() {
    let target = traffic::echo().await;
    for proxy in ["socks5", "auto", "http", "relay"] {
        let mut stage = Stage::new();
        let [server, published, socks] = [(); 3].map(|()| free_port());
        let relay = format!("relay+mws://127.0.0.1:{server}");
        let serving = format!("{relay}?bind=true");
        stage
            .start("server", &mut gost(&["-L", &serving]), &[server])
            .await;
        let service = format!("{proxy}+rtcp://u:p@127.0.0.1:{published}");
        let args = ["-L", &service, "-F", &relay];
        stage.start("machine", &mut gost(&args), &[published]).await;
        for (account, works) in [("u:p", true), ("u:wrong", false)] {
            let connector = if proxy == "auto" { "socks5" } else { proxy };
            let hop = format!("{connector}://{account}@127.0.0.1:{published}");
            let own = format!("socks5://127.0.0.1:{socks}");
            let mut visitor = gost(&["-L", &own, "-F", &hop]);
            let mut here = Stage::new();
            here.start("visitor", &mut visitor, &[socks]).await;
            match works {
                true => {
                    traffic::word(socks, &To::Ip(target)).await;
                    traffic::both_ways(socks, EIGHT_MIB).await;
                    traffic::many(socks, 20).await;
                }
                false => {
                    let to = To::Ip(traffic::says("inside").await);
                    assert_ne!(traffic::line(socks, &to).await, "inside");
                }
            }
        }
    }
}

/// `handler.chain` is the way to the target, `listener.chain` that to the server with the port.
#[tokio::test]
async fn a_published_port_may_lead_through_a_chain() {
    let mut stage = Stage::new();
    let [server, published, proxy] = [(); 3].map(|()| free_port());
    let listen = [
        format!("relay+mws://127.0.0.1:{server}?bind=true"),
        format!("http+ws://127.0.0.1:{proxy}"),
    ];
    let args = ["-D", "-L", &listen[0], "-L", &listen[1]];
    let servers = stage
        .start("servers", &mut gost(&args), &[server, proxy])
        .await;
    let target = traffic::echo().await;
    let file = format!(
        "services:\n- name: out\n  addr: 127.0.0.1:{published}\n  handler:\n    type: rtcp\n    chain: to-target\n  \
         listener:\n    type: rtcp\n    chain: to-server\n  forwarder:\n    nodes:\n    - addr: {target}\nchains:\n\
         - name: to-server\n  hops:\n  - name: a\n    nodes:\n    - addr: 127.0.0.1:{server}\n      connector:\n        type: relay\n      \
         dialer:\n        type: mws\n- name: to-target\n  hops:\n  - name: b\n    nodes:\n    - addr: 127.0.0.1:{proxy}\n      \
         connector:\n        type: http\n      dialer:\n        type: ws\n"
    );
    let file = stage.write("gost.yml", file);
    let mut client = mobula();
    client.arg("gost").arg("-C").arg(file);
    stage.start("client", &mut client, &[published]).await;
    let mut visitor = TcpStream::connect(("127.0.0.1", published))
        .await
        .expect("open");
    traffic::exchange(&mut visitor, b"a word").await;
    let log = stage.log(servers);
    assert!(
        log.contains(&target.to_string()),
        "through the proxy: {log}"
    );
}

/// A port for datagrams answers those who have come, and sends to nobody else.
#[tokio::test]
async fn a_published_port_for_datagrams_keeps_its_visitors_apart() {
    let mut stage = Stage::new();
    let [server, published] = [(); 2].map(|()| free_port());
    let relay = format!("relay+wss://127.0.0.1:{server}");
    let serving = format!("{relay}?bind=true");
    stage
        .start("server", &mut gost(&["-L", &serving]), &[server])
        .await;
    let service = format!("rudp://127.0.0.1:{published}/{}", traffic::udp_echo().await);
    let args = ["-L", &service, "-F", &relay];
    let client = stage.start("client", &mut gost(&args), &[]).await;
    stage.until_file_has("client.log", "published on").await;
    assert!(stage.log(client).contains("published on"));
    let mut visitors = Vec::new();
    for n in 0..20_u8 {
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
        socket
            .connect(("127.0.0.1", published))
            .await
            .expect("a socket");
        socket.send(&[n; 900]).await.expect("a socket");
        visitors.push((n, socket));
    }
    for (n, socket) in visitors {
        let mut back = [0; 2000];
        let read = timeout(LIMIT, socket.recv(&mut back)).await;
        let read = read.expect("an answer in time").expect("a socket");
        assert_eq!(&back[..read], &[n; 900]);
        let more = timeout(Duration::from_millis(5), socket.recv(&mut back));
        assert!(more.await.is_err(), "nobody else's");
    }
}

/// Whatever leads to them: nothing, a chain, or a port of the server that leads to the client.
#[tokio::test]
async fn several_targets_take_turns() {
    for (service, carrier) in [
        ("tcp", "relay+ws"),
        ("tcp", "socks5+mws"),
        ("udp", "relay+ws"),
        ("udp", "socks5+ws"),
        ("rtcp", "relay+mws"),
        ("rudp", "relay+mws"),
    ] {
        let mut stage = Stage::new();
        let [server, port] = [(); 2].map(|()| free_port());
        let is_udp = service.ends_with("udp");
        let targets = match is_udp {
            true => [says_to_each("a").await, says_to_each("b").await],
            false => [traffic::says("a").await, traffic::says("b").await],
        };
        let key = match carrier.starts_with("relay") {
            true => "bind",
            false => "udp",
        };
        let serving = format!("{carrier}://127.0.0.1:{server}?{key}=true");
        let forward = format!("{carrier}://127.0.0.1:{server}");
        let listen = format!("{service}://127.0.0.1:{port}/{},{}", targets[0], targets[1]);
        stage
            .start("server", &mut gost(&["-L", &serving]), &[server])
            .await;
        let ports = if is_udp { &[][..] } else { &[port] };
        let args = ["-L", &listen, "-F", &forward];
        stage.start("client", &mut gost(&args), ports).await;
        let mut heard = Vec::new();
        for _ in 0..4 {
            heard.push(match is_udp {
                true => answer_of(port).await,
                false => {
                    let visitor = TcpStream::connect(("127.0.0.1", port)).await.expect("open");
                    let (mut visitor, mut line) = (BufReader::new(visitor), String::new());
                    let read = timeout(LIMIT, visitor.read_line(&mut line)).await;
                    read.expect("in time").expect("text");
                    line.trim().to_owned()
                }
            });
        }
        assert_eq!(heard, ["a", "b", "a", "b"], "{service} over {carrier}");
    }
}

/// A target of datagrams that answers each with this word.
async fn says_to_each(word: &'static str) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
    let at = socket.local_addr().expect("it is bound");
    tokio::spawn(async move {
        while let Ok((_, from)) = socket.recv_from(&mut [0; 64]).await {
            let _ = socket.send_to(word.as_bytes(), from).await;
        }
    });
    at
}

/// What a new client hears; before somebody listens it is told that nobody does.
async fn answer_of(port: u16) -> String {
    let client = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
    client.connect(("127.0.0.1", port)).await.expect("a peer");
    let until = Instant::now() + LIMIT;
    loop {
        let _ = client.send(b"who").await;
        let mut buf = [0; 64];
        match timeout(Duration::from_secs(2), client.recv(&mut buf)).await {
            Ok(Ok(n)) => return String::from_utf8_lossy(&buf[..n]).into_owned(),
            _ => assert!(Instant::now() < until, "no answer"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
