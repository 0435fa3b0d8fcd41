//! What users of GOST rely on beside the traffic itself: retries, versions of SOCKS, files that are read again.

use std::process::Command;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::peers::{Stage, free_port, mobula};
use crate::traffic::{self, LIMIT, To};

fn gost(args: &[&str]) -> Command {
    let mut command = mobula();
    command.arg("gost").args(args);
    command
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
    stage
        .start("server", &mut gost(&["-L", &open]), &[server])
        .await;
    let named = format!("socks5+ws://u:p@127.0.0.1:{server}");
    let local = format!("auto://127.0.0.1:{socks}");
    stage
        .start("client", &mut gost(&["-L", &local, "-F", &named]), &[socks])
        .await;
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
