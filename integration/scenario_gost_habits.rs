//! What users of GOST rely on beside the traffic itself: retries, versions of SOCKS, files that are read again.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use serde_json::json;

use crate::configs::Vmess;
use crate::peers::Peer::Mobula;
use crate::peers::{Stage, free_port, listen, mobula};
use crate::scenario_gost::gost;
use crate::traffic::{self, LIMIT, To};

/// A server that listens on a port, and a client on another one whose sessions go through it; gives the server's index.
async fn pair(
    stage: &mut Stage,
    (listen, server): (&str, u16),
    (local, by, port): (&str, &str, u16),
) -> usize {
    let mut command = gost(&["-L", listen]);
    let index = stage.start("server", &mut command, &[server]).await;
    let mut client = gost(&["-L", local, "-F", by]);
    stage.start("client", &mut client, &[port]).await;
    index
}

/// What comes back within the limit, until the end.
async fn answer(port: u16, said: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.expect("open");
    stream.write_all(said).await.expect("write");
    let mut got = vec![0; 64];
    let read = timeout(LIMIT, stream.read(&mut got)).await;
    let len = read.expect("an answer in time").unwrap_or(0);
    got.truncate(len);
    got
}

#[tokio::test]
async fn the_first_request_already_finds_the_node_that_is_there() {
    let mut stage = Stage::new();
    let [server, nobody, once, again] = [(); 4].map(|()| free_port());
    let listen = format!("http+ws://127.0.0.1:{server}");
    stage
        .start("server", &mut gost(&["-L", &listen]), &[server])
        .await;
    let nodes = format!("http+ws://127.0.0.1:{nobody},127.0.0.1:{server}?strategy=fifo");
    for (name, port, keys) in [("once", once, ""), ("again", again, "?retries=1")] {
        let local = format!("socks5://127.0.0.1:{port}{keys}");
        stage
            .start(name, &mut gost(&["-L", &local, "-F", &nodes]), &[port])
            .await;
    }
    let target = traffic::echo().await;
    let mut hello = vec![5, 1, 0, 5, 1, 0, 1, 127, 0, 0, 1];
    hello.extend(target.port().to_be_bytes());
    let mut replies = Vec::new();
    for port in [once, again] {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.expect("open");
        stream.write_all(&hello).await.expect("write");
        let mut reply = [0; 4];
        stream.read_exact(&mut reply).await.expect("a reply");
        replies.push(reply[3]);
    }
    assert_ne!(
        replies[0], 0,
        "without retries the first node's failure is the answer"
    );
    assert_eq!(replies[1], 0, "with one the other node is asked");
}

#[tokio::test]
async fn a_service_speaks_its_own_version_of_socks_and_nothing_else() {
    let mut stage = Stage::new();
    let [five, four, auto] = [(); 3].map(|()| free_port());
    let urls = [
        format!("socks5://127.0.0.1:{five}"),
        format!("socks4://bob@127.0.0.1:{four}"),
        format!("auto://127.0.0.1:{auto}"),
    ];
    let args: Vec<&str> = urls.iter().flat_map(|url| ["-L", url]).collect();
    stage
        .start("services", &mut gost(&args), &[five, four, auto])
        .await;
    let target = traffic::echo().await;
    let of_4 = |id: &str| {
        let port = target.port().to_be_bytes();
        [&[4, 1][..], &port, &[127, 0, 0, 1], id.as_bytes(), &[0]].concat()
    };
    let of_5 = [5, 1, 0];
    let http = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n");
    assert_eq!(answer(five, &of_5).await, &[5, 0]);
    assert_eq!(answer(five, &of_4("")).await, b"");
    assert_eq!(answer(five, http.as_bytes()).await, b"");
    assert_eq!(answer(four, &of_4("bob")).await[..2], [0, 0x5a]);
    assert_eq!(answer(four, &of_4("eve")).await[..2], [0, 0x5b]);
    assert_eq!(answer(four, &of_5).await, b"");
    assert_eq!(answer(auto, &of_5).await, &[5, 0]);
    assert_eq!(answer(auto, &of_4("x")).await[..2], [0, 0x5a]);
    assert!(
        answer(auto, http.as_bytes())
            .await
            .starts_with(b"HTTP/1.1 200")
    );
}

/// GOST's own client offers to go without as well.
#[tokio::test]
async fn a_client_with_an_account_reaches_a_server_that_asks_for_none() {
    let mut stage = Stage::new();
    let [server, socks] = [(); 2].map(|()| free_port());
    let open = format!("socks5+ws://127.0.0.1:{server}");
    let named = format!("socks5+ws://u:p@127.0.0.1:{server}");
    let local = format!("auto://127.0.0.1:{socks}");
    pair(&mut stage, (&open, server), (&local, &named, socks)).await;
    traffic::word(socks, &To::Ip(traffic::echo().await)).await;
}

#[tokio::test]
async fn a_file_is_read_again_on_sighup_and_tunnels_stay() {
    let mut stage = Stage::new();
    let [first, second] = [(); 2].map(|()| free_port());
    let target = traffic::echo().await;
    let service = |port: u16| {
        format!(
            "- name: to-{port}\n  addr: 127.0.0.1:{port}\n  handler: {{type: tcp}}\n  listener: {{type: tcp}}\n  forwarder: {{nodes: [{{addr: '{target}'}}]}}\n"
        )
    };
    let file = stage.write("gost.yml", format!("services:\n{}", service(first)));
    let mut command = mobula();
    command.arg("gost").arg("-C").arg(&file);
    let index = stage.start("gost", &mut command, &[first]).await;
    let mut stays = TcpStream::connect(("127.0.0.1", first))
        .await
        .expect("open");
    traffic::exchange(&mut stays, b"before").await;

    stage.write("gost.yml", format!("services:\n{}", "- nonsense\n"));
    stage.child(index).signal("HUP");
    stage.until_file_has("gost.log", "was not taken over").await;
    stage.write(
        "gost.yml",
        format!("services:\n{}{}", service(first), service(second)),
    );
    stage.child(index).signal("HUP");
    stage.until_file_has("gost.log", "was read again").await;
    let mut added = TcpStream::connect(("127.0.0.1", second))
        .await
        .expect("the new service");
    traffic::exchange(&mut added, b"a word").await;
    traffic::exchange(&mut stays, b"behind").await;
}

#[tokio::test]
async fn a_relay_chooses_among_its_targets_as_it_is_told() {
    let mut stage = Stage::new();
    let [server, local, nobody] = [(); 3].map(|()| free_port());
    let (first, second) = (traffic::says("first").await, traffic::says("second").await);
    let targets = format!("127.0.0.1:{nobody},{first},{second}");
    let listen = format!("relay+ws://127.0.0.1:{server}/{targets}?strategy=fifo&failTimeout=60s");
    let (to, by) = (
        format!("tcp://127.0.0.1:{local}"),
        format!("relay+ws://127.0.0.1:{server}"),
    );
    let services = pair(&mut stage, (&listen, server), (&to, &by, local)).await;
    let mut said = Vec::new();
    for _ in 0..5 {
        let connecting = TcpStream::connect(("127.0.0.1", local));
        // A reset may come before the connection is looked at.
        let Ok(mut stream) = connecting.await else {
            said.push(None);
            continue;
        };
        let mut word = [0; 6];
        let read = timeout(LIMIT, stream.read_exact(&mut word)).await;
        let is_said = read.expect("in time").is_ok();
        said.push(is_said.then(|| String::from_utf8_lossy(&word).trim().to_owned()));
    }
    let first = Some("first".to_owned());
    assert_eq!(
        said[1..],
        [(); 4].map(|()| first.clone()),
        "{}",
        stage.log(services)
    );
}

/// GOST's log is there, and what reads it looks there.
#[test]
fn the_log_goes_to_standard_error() {
    let said = |text: &str| {
        let mut command = gost(&["-C", text]);
        let child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let mut child = child.expect("mobula runs");
        std::thread::sleep(Duration::from_millis(700));
        child.kill().expect("it can be ended");
        let output = child.wait_with_output().expect("it has ended");
        [output.stdout, output.stderr]
            .map(|bytes| String::from_utf8_lossy(&bytes).contains("listens on"))
    };
    let with = |log: &str| {
        format!(
            r#"{{"services": [{{"name": "a", "addr": "127.0.0.1:0", "handler": {{"type": "http"}}}}]{log}}}"#
        )
    };
    assert_eq!(said(&with("")), [false, true]);
    assert_eq!(
        said(&with(r#", "log": {"output": "stderr"}"#)),
        [false, true]
    );
    assert_eq!(
        said(&with(r#", "log": {"output": "stdout"}"#)),
        [true, false]
    );
    assert_eq!(
        said(&with(r#", "log": {"output": "none"}"#)),
        [false, false]
    );
    let nowhere = with(r#", "log": {"output": "/nowhere/at/all"}"#);
    let output = gost(&["-C", &nowhere]).output().expect("mobula runs");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        told.contains("log.output: cannot open /nowhere/at/all"),
        "{told}"
    );
}

/// One end has `ws` and the other `mws`.
#[tokio::test]
async fn a_client_of_the_other_carrier_is_told_of_at_the_server() {
    let mut stage = Stage::new();
    let [server, local] = [(); 2].map(|()| free_port());
    let listen = format!("http+mws://127.0.0.1:{server}");
    let (to, by) = (
        format!("http://127.0.0.1:{local}"),
        format!("http+ws://127.0.0.1:{server}"),
    );
    pair(&mut stage, (&listen, server), (&to, &by, local)).await;
    answer(local, b"CONNECT a.test:80 HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
    let told = [
        "not a session of smux (`mws`)",
        "is the peer's carrier multiplexed?",
        "[request-other]",
    ];
    stage.until_line_has("server.log", &told).await;
}

/// The refusal is that of the inbound whose path it was, where several share a port.
#[tokio::test]
async fn among_several_inbounds_the_one_of_that_path_is_named() {
    let mut stage = Stage::new();
    let [server, socks] = [(); 2].map(|()| free_port());
    let mut config = Vmess::ws().server(Mobula, server);
    // Without an access log it is a warning, which names the inbound.
    config["log"] = json!({"access": "none"});
    let mut other = config["inbounds"][0].clone();
    other["tag"] = json!("multiplexed");
    other["streamSettings"] = json!({"network": "mws", "mwsSettings": {"path": "/mws"}});
    config["inbounds"]
        .as_array_mut()
        .expect("a list")
        .push(other);
    let index = stage.run(Mobula, "server", &config, &[server]).await;
    let mut client = Vmess::ws().client(Mobula, socks, server);
    client["outbounds"][0]["streamSettings"]["wsSettings"]["path"] = json!("/mws");
    stage.run(Mobula, "client", &client, &[socks]).await;
    traffic::connect(socks, &To::Ip(traffic::echo().await))
        .await
        .ok();
    let told = ["not a session of smux (`mws`)"];
    let log = stage.until_line_has("server.log", &told).await;
    let line = log
        .lines()
        .find(|line| line.contains(told[0]))
        .expect("a line");
    assert!(!line.contains("inbounds[0]"), "{line}");
    assert!(stage.log(index).contains("inbounds[1]"), "{log}");
}

/// The server's line names it as well, and another's log is not at hand.
#[tokio::test]
async fn a_target_that_the_server_cannot_reach_is_named_at_the_client() {
    for protocol in ["http", "socks5", "relay"] {
        let mut stage = Stage::new();
        let [server, local, nobody] = [(); 3].map(|()| free_port());
        let at = format!("{protocol}+ws://127.0.0.1:{server}");
        let socks = format!("socks5://127.0.0.1:{local}");
        pair(&mut stage, (&at, server), (&socks, &at, local)).await;
        let to = To::Ip(([127, 0, 0, 1], nobody).into());
        traffic::connect(local, &to).await.ok();
        let named = format!("(to 127.0.0.1:{nobody})");
        stage.until_file_has("client.log", &named).await;
    }
}

/// The other way round the server reads a head that it knows nothing of, and hangs up.
#[tokio::test]
async fn a_client_of_mws_at_a_server_of_ws_has_a_line_too() {
    for (protocol, told) in [
        ("http", "is the peer's carrier multiplexed?"),
        ("relay", "is it a relay server"),
        ("socks5", "the smux session has ended"),
    ] {
        let mut stage = Stage::new();
        let [server, local] = [(); 2].map(|()| free_port());
        let listen = format!("{protocol}+ws://127.0.0.1:{server}");
        let (to, by) = (
            format!("http://127.0.0.1:{local}"),
            format!("{protocol}+mws://127.0.0.1:{server}"),
        );
        pair(&mut stage, (&listen, server), (&to, &by, local)).await;
        answer(local, b"CONNECT a.test:80 HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
        stage.until_file_has("client.log", told).await;
    }
}

/// Who has no association is nobody: a port that sends on what anybody writes to it would be a reflector.
#[tokio::test]
async fn datagrams_are_taken_of_those_alone_who_have_an_association() {
    let mut stage = Stage::new();
    let port = free_port();
    let url = format!("socks5://127.0.0.1:{port}?udp=true");
    stage
        .start("server", &mut gost(&["-L", &url]), &[port])
        .await;
    let echo = traffic::udp_echo().await;
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
    let asked = traffic::datagram(&To::Ip(echo), b"a word");
    let mut answer = [0; 100];
    let mut ask = async || {
        socket
            .send_to(&asked, ("127.0.0.1", port))
            .await
            .expect("sent");
        timeout(Duration::from_millis(500), socket.recv(&mut answer)).await
    };
    assert!(ask().await.is_err(), "nobody is answered");
    let (association, _) = traffic::associate(port).await;
    assert!(ask().await.is_ok(), "who has an association is");
    drop(association);
    let other = UdpSocket::bind("127.0.0.2:0").await.expect("a port");
    other
        .send_to(&asked, ("127.0.0.1", port))
        .await
        .expect("sent");
    let mut answer = [0; 100];
    let heard = timeout(Duration::from_millis(500), other.recv(&mut answer)).await;
    assert!(heard.is_err(), "another host is not");
}

/// As a GOST of 2026 asks a server of HTTP to carry datagrams, which its SOCKS clients address one by one.
#[tokio::test]
async fn a_connect_for_datagrams_needs_no_target() {
    let mut stage = Stage::new();
    let port = free_port();
    let url = format!("http://127.0.0.1:{port}?udp=true");
    stage
        .start("server", &mut gost(&["-L", &url]), &[port])
        .await;
    let asked = b"CONNECT  HTTP/1.1\r\nHost: \r\nUser-Agent: Go-http-client/1.1\r\nProxy-Connection: keep-alive\r\nX-Gost-Protocol: udp\r\n\r\n";
    let told = answer(port, asked).await;
    assert!(
        told.starts_with(b"HTTP/1.1 200 "),
        "{:?}",
        String::from_utf8_lossy(&told)
    );
    let nowhere = b"CONNECT  HTTP/1.1\r\nHost: \r\n\r\n";
    let told = answer(port, nowhere).await;
    assert!(
        told.starts_with(b"HTTP/1.1 400 "),
        "{:?}",
        String::from_utf8_lossy(&told)
    );
}

#[test]
fn a_url_that_is_empty_opens_no_proxy() {
    let said = gost(&["-L", ""]).output().expect("it runs");
    assert_eq!(said.status.code(), Some(2));
    let told = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(told.contains("`-L` is empty"), "{told}");
}

/// A proxy that asks for a header of its own, as a company's may.
#[tokio::test]
async fn headers_of_a_connector_go_to_its_proxy() {
    let proxy = listen();
    let (mut stage, socks) = (Stage::new(), free_port());
    let file = stage.path("gost.yml");
    let text = format!(
        r#"
services:
- name: socks
  addr: 127.0.0.1:{socks}
  handler: {{type: socks5, chain: chain}}
  listener: {{type: tcp}}
chains:
- name: chain
  hops:
  - name: hop
    nodes:
    - name: node
      addr: {}
      connector:
        type: http
        metadata:
          header:
            X-Company: yes, we are
            User-Agent: ours
      dialer: {{type: tcp}}
"#,
        proxy.local_addr().unwrap()
    );
    std::fs::write(&file, text).unwrap();
    let args = ["-C", file.to_str().unwrap()];
    stage.start("client", &mut gost(&args), &[socks]).await;
    let asking = tokio::spawn(async move {
        let to = To::Name("example.com", 80);
        traffic::connect(socks, &to).await.is_ok()
    });
    let (mut asked, _) = proxy.accept().await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(asked.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap();
    for expected in [
        "CONNECT example.com:80 HTTP/1.1\r\n",
        "X-Company: yes, we are\r\n",
        "User-Agent: ours\r\n",
    ] {
        let is_there = head.to_lowercase().contains(&expected.to_lowercase());
        assert!(is_there, "{head}");
    }
    drop(asked);
    asking.await.unwrap();
}
