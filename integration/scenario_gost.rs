//! GOST's command line and files, in its words: mobula at both ends, and a peer in Python that was written from the
//! description of what gost says.

use std::process::Command;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

use crate::peers::{Stage, free_port, mobula, python, root};
use crate::scenario_documents::blocks;
use crate::traffic::{self, To};
use crate::tunnel::EIGHT_MIB;

/// `mobula gost`, or what follows `gost` in a line of a shell.
pub fn gost(args: &[&str]) -> Command {
    let mut command = mobula();
    command.arg("gost").args(args);
    command
}

async fn carries(socks: u16) {
    traffic::ready(socks).await;
    traffic::word(socks, &To::Ip(traffic::echo().await)).await;
    traffic::server_speaks_first(socks).await;
    traffic::both_ways(socks, EIGHT_MIB).await;
    traffic::many(socks, 30).await;
    traffic::target_sends_and_closes(socks).await;
}

#[tokio::test]
async fn proxies_go_over_each_carrier() {
    for (protocol, carrier, keys) in [
        ("http", "ws", ""),
        ("socks5", "wss", "?path=/other&host=example.com"),
        ("http", "mws", ""),
        ("socks5", "mws", "?mux.version=2"),
        ("socks4a", "mwss", "?keepAlive=true&ttl=1s"),
        ("http", "tls", ""),
        ("relay", "ws", ""),
        ("relay", "mwss", "?mux.version=2&nodelay=true"),
    ] {
        let mut stage = Stage::new();
        let (server, socks) = (free_port(), free_port());
        let path = keys
            .split('&')
            .find(|key| key.contains("path"))
            .unwrap_or_default();
        let user = if protocol == "socks4a" { "" } else { "u:p@" };
        let url = |keys: &str| format!("{protocol}+{carrier}://{user}127.0.0.1:{server}{keys}");
        let (listen, forward) = (url(path), url(keys));
        stage
            .start("server", &mut gost(&["-L", &listen]), &[server])
            .await;
        let local = format!("socks5://127.0.0.1:{socks}");
        let args = ["-L", &local, "-F", &forward];
        stage.start("client", &mut gost(&args), &[socks]).await;
        carries(socks).await;
    }
}

/// A config.json of gost's words carries what they did, and so does what is made of that.
#[tokio::test]
async fn its_words_are_written_as_a_config_and_back() {
    let printed = |stage: &Stage, args: &[&str]| {
        let output = mobula().args(args).current_dir(stage.path("")).output();
        let output = output.expect("mobula runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{args:?}: {said}");
        // A config.json's `socks` takes every version.
        let lost = said
            .lines()
            .find(|line| !line.contains("one version of SOCKS"));
        assert_eq!(lost, None, "{args:?}");
        String::from_utf8(output.stdout).expect("text")
    };
    for protocol in ["relay+mwss", "http+ws", "socks5+tls"] {
        let mut stage = Stage::new();
        let (server, socks) = (free_port(), free_port());
        let url = format!("{protocol}://u:p@127.0.0.1:{server}");
        let local = format!("socks5://127.0.0.1:{socks}");
        for (name, port, args) in [
            ("server", server, &["gost", "-L", &url][..]),
            ("client", socks, &["gost", "-L", &local, "-F", &url]),
        ] {
            let json = printed(&stage, &[args, &["-O", "config"]].concat());
            stage.write(&format!("{name}.json"), &json);
            let yaml = printed(&stage, &[args, &["-O", "yaml"]].concat());
            stage.write("gost.yml", yaml);
            assert_eq!(printed(&stage, &["convert", "gost.yml"]), json);
            let back = printed(
                &stage,
                &["convert", &format!("{name}.json"), "--to", "gost"],
            );
            let back = stage.write(&format!("{name}.yml"), back);
            // Either, in turn.
            let mut command = mobula();
            match name {
                "server" => command.args(["run", "-c", "server.json"]),
                _ => command.args(["run", "-c"]).arg(back),
            };
            stage.start(name, &mut command, &[port]).await;
        }
        traffic::ready(socks).await;
        traffic::both_ways(socks, 200_000).await;
    }
}

#[tokio::test]
async fn hops_and_forwarders_stand_behind_each_other() {
    let mut stage = Stage::new();
    let [first, second, inner, socks] = [(); 4].map(|()| free_port());
    let services = [
        format!("wss://127.0.0.1:{first}/127.0.0.1:{inner}"),
        format!("socks5://127.0.0.1:{inner}"),
        format!("http+mws://127.0.0.1:{second}"),
    ];
    let args: Vec<&str> = services.iter().flat_map(|url| ["-L", url]).collect();
    stage
        .start("servers", &mut gost(&args), &[first, second, inner])
        .await;
    let local = format!(":{socks}");
    // The port that is forwarded is a SOCKS proxy over WebSocket, as `socks5+wss` would be one.
    let hops = [
        format!("http+mws://127.0.0.1:{second}"),
        format!("socks5+wss://127.0.0.1:{first}"),
    ];
    let args = ["-L", &local, "-F", &hops[0], "-F", &hops[1]];
    stage.start("client", &mut gost(&args), &[socks]).await;
    carries(socks).await;
}

#[tokio::test]
async fn a_node_that_is_not_there_is_passed_over() {
    let mut stage = Stage::new();
    let [server, nobody, socks] = [(); 3].map(|()| free_port());
    let listen = format!("http+ws://127.0.0.1:{server}");
    stage
        .start("server", &mut gost(&["-L", &listen]), &[server])
        .await;
    let nodes =
        format!("http+ws://127.0.0.1:{nobody},127.0.0.1:{server}?strategy=fifo&failTimeout=60s");
    let local = format!("socks5://127.0.0.1:{socks}");
    stage
        .start("client", &mut gost(&["-L", &local, "-F", &nodes]), &[socks])
        .await;
    traffic::ready(socks).await;
    traffic::many(socks, 20).await;
}

#[tokio::test]
async fn a_certificate_that_nobody_vouched_for_is_named_with_its_pin() {
    let mut stage = Stage::new();
    let [server, socks, other] = [(); 3].map(|()| free_port());
    let listen = format!("http+mwss://127.0.0.1:{server}");
    stage
        .start("server", &mut gost(&["-L", &listen]), &[server])
        .await;
    let local = format!("socks5://127.0.0.1:{socks}");
    let client = stage
        .start(
            "client",
            &mut gost(&["-L", &local, "-F", &listen]),
            &[socks],
        )
        .await;
    traffic::ready(socks).await;
    let log = stage.log(client);
    let line = log
        .lines()
        .find(|line| line.contains("nobody vouched for"))
        .expect("it is told");
    let pin = line
        .split("SHA-256 ")
        .nth(1)
        .and_then(|rest| rest.split(':').next())
        .expect("its fingerprint");

    let pinned = format!("{listen}?pin={pin}");
    let local = format!("socks5://127.0.0.1:{other}");
    let client = stage
        .start(
            "pinned",
            &mut gost(&["-L", &local, "-F", &pinned]),
            &[other],
        )
        .await;
    traffic::ready(other).await;
    assert!(!stage.log(client).contains("nobody vouched"));
    // Who wants it verified gets nothing from a stranger.
    let secure = format!("{listen}?secure=true");
    let third = free_port();
    let local = format!("socks5://127.0.0.1:{third}");
    stage
        .start(
            "secure",
            &mut gost(&["-L", &local, "-F", &secure]),
            &[third],
        )
        .await;
    let line = traffic::line(third, &To::Ip(traffic::says("here").await)).await;
    assert_ne!(line, "here");
}

#[tokio::test]
async fn a_client_that_speaks_as_gost_does_is_served() {
    for version in ["1", "2"] {
        let mut stage = Stage::new();
        let server = free_port();
        let listen = format!("http+mws://u:pw@127.0.0.1:{server}");
        stage
            .start("server", &mut gost(&["-L", &listen]), &[server])
            .await;
        let to = traffic::echo().await.to_string();
        let script = root().join("integration/peers/gost.py");
        let mut client = python();
        client
            .arg(script)
            .args(["client", &server.to_string(), version, &to]);
        let output = tokio::task::spawn_blocking(move || client.output()).await;
        let output = output.expect("no panic").expect("Python runs");
        let said = String::from_utf8_lossy(&output.stdout);
        assert_eq!(
            said.trim(),
            "ok",
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

#[tokio::test]
async fn a_server_that_speaks_as_gost_does_is_used() {
    for version in ["1", "2"] {
        let mut stage = Stage::new();
        let (server, socks) = (free_port(), free_port());
        let mut peer = python();
        peer.arg(root().join("integration/peers/gost.py"));
        peer.args(["server", &server.to_string(), version]);
        let peer = stage.start("gost.py", &mut peer, &[server]).await;
        let local = format!("socks5://127.0.0.1:{socks}");
        let forward = format!("http+mws://127.0.0.1:{server}?mux.version={version}");
        stage
            .start(
                "client",
                &mut gost(&["-L", &local, "-F", &forward]),
                &[socks],
            )
            .await;
        traffic::ready(socks).await;
        traffic::server_speaks_first(socks).await;
        traffic::both_ways(socks, 2 * 1024 * 1024).await;
        traffic::many(socks, 10).await;
        assert!(!stage.log(peer).contains("wrong"), "{}", stage.log(peer));
    }
}

/// The words of a line of a shell.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for c in line.chars() {
        match c {
            '"' => quoted = !quoted,
            ' ' if !quoted => words.push(String::new()),
            c => words.last_mut().expect("there is one").push(c),
        }
    }
    words
}

#[tokio::test]
async fn every_command_and_file_of_the_document_is_taken() {
    let (mut commands, mut files) = (0, 0);
    for (place, text) in blocks("sh") {
        let lines = text.lines().filter(|line| line.starts_with("gost -L"));
        for line in lines.filter(|_| place.contains("gost.md")) {
            let mut stage = Stage::new();
            let mut line = line.to_owned();
            for written in ["8080", "8443", "1080"] {
                line = line.replace(&format!(":{written}"), &format!(":{}", free_port()));
            }
            let args = words(&line);
            let args: Vec<&str> = args[1..].iter().map(String::as_str).collect();
            let listens = args.windows(2).filter(|pair| {
                pair[0] == "-L"
                    && !["udp:", "rtcp:"]
                        .iter()
                        .any(|word| pair[1].starts_with(word))
            });
            let port = |url: &str| {
                let front = url
                    .split(['?', '/'])
                    .find(|part| part.contains(':') && !part.ends_with(':'));
                let (_, port) = front
                    .and_then(|front| front.rsplit_once(':'))
                    .expect("a port");
                port.parse().expect("a number")
            };
            let ports: Vec<u16> = listens.map(|pair| port(pair[1])).collect();
            stage.start("gost", &mut gost(&args), &ports).await;
            commands += 1;
        }
    }
    for (place, text) in blocks("yaml") {
        if place.contains("gost.md") {
            let stage = Stage::new();
            let file = stage.write("gost.yml", &text);
            let output = mobula()
                .arg("test")
                .arg("-C")
                .arg(file)
                .output()
                .expect("it runs");
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{place}: {said}");
            files += 1;
        }
    }
    assert!(
        commands >= 10 && files >= 3,
        "{commands} commands, {files} files"
    );
}

/// A listener's path that ends in `/` is that of Go's ServeMux.
#[tokio::test]
async fn a_path_that_ends_in_a_slash_takes_what_is_below() {
    for carrier in ["ws", "mws"] {
        for (there, here, reached) in [
            ("/a/", "/a/b/c", true),
            ("/a/", "/a/", true),
            ("/", "/anything", true),
            ("/a/", "/ab", false),
            ("/a", "/a/b", false),
        ] {
            let mut stage = Stage::new();
            let (server, socks) = (free_port(), free_port());
            let listen = format!("http+{carrier}://127.0.0.1:{server}?path={there}");
            stage
                .start("server", &mut gost(&["-L", &listen]), &[server])
                .await;
            let local = format!("socks5://127.0.0.1:{socks}");
            let forward = format!("http+{carrier}://127.0.0.1:{server}?path={here}");
            let args = ["-L", &local, "-F", &forward];
            stage.start("client", &mut gost(&args), &[socks]).await;
            let line = traffic::line(socks, &To::Ip(traffic::says("here").await)).await;
            assert_eq!(line == "here", reached, "{there} {here} over {carrier}");
        }
    }
}

/// A close frame would end both directions at a gost: the end of one of them is that of the connection below.
#[tokio::test]
async fn an_application_that_ends_first_has_its_answer_over_a_websocket() {
    for protocol in ["http", "socks5", "socks4a", "relay"] {
        let mut stage = Stage::new();
        let (server, socks) = (free_port(), free_port());
        let url = format!("{protocol}+ws://127.0.0.1:{server}");
        let seen = free_port();
        no_close_frame_between(seen, server);
        stage
            .start("server", &mut gost(&["-L", &url]), &[server])
            .await;
        let local = format!("socks5://127.0.0.1:{socks}");
        let forward = format!("{protocol}+ws://127.0.0.1:{seen}");
        let args = ["-L", &local, "-F", &forward];
        stage.start("client", &mut gost(&args), &[socks]).await;
        traffic::ready(socks).await;
        traffic::application_ends_first(socks).await;
    }
}

/// As a gost, which ends a connection without a close frame, and says no more behind that of its peer.
fn no_close_frame_between(port: u16, server: u16) {
    let listener = std::net::TcpListener::bind(("127.0.0.1", port)).expect("it is free");
    listener.set_nonblocking(true).expect("a socket");
    let listener = TcpListener::from_std(listener).expect("a socket");
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            tokio::spawn(async move {
                let far = TcpStream::connect(("127.0.0.1", server)).await?;
                let (from_near, to_near) = near.into_split();
                let (from_far, to_far) = far.into_split();
                let mut down = tokio::spawn(frames(from_far, to_near));
                let up = frames(from_near, to_far);
                tokio::select! {
                    up = up => match up? {
                        Last::CloseFrame => down.abort(),
                        Last::End => drop(down.await),
                    },
                    _ = &mut down => {}
                }
                Ok::<_, std::io::Error>(())
            });
        }
    });
}

/// How one direction has ended.
enum Last {
    CloseFrame,
    End,
}

/// Passes on a head, and frames up to a close frame; the end is that of the connection.
async fn frames(mut from: OwnedReadHalf, mut to: OwnedWriteHalf) -> std::io::Result<Last> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(from.read_u8().await?);
    }
    to.write_all(&head).await?;
    while let Ok(frame) = frame(&mut from).await {
        if frame[0] & 0x0f == 8 {
            to.shutdown().await?;
            return Ok(Last::CloseFrame);
        }
        to.write_all(&frame).await?;
    }
    to.shutdown().await?;
    Ok(Last::End)
}

/// A frame as it is.
async fn frame(from: &mut OwnedReadHalf) -> std::io::Result<Vec<u8>> {
    let mut frame = vec![0; 2];
    from.read_exact(&mut frame).await?;
    let more = match frame[1] & 0x7f {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    frame.resize(2 + more, 0);
    from.read_exact(&mut frame[2..]).await?;
    let len = match more {
        0 => usize::from(frame[1] & 0x7f),
        _ => frame[2..]
            .iter()
            .fold(0, |len, byte| len << 8 | usize::from(*byte)),
    };
    let (at, key) = (frame.len(), usize::from(frame[1] >> 7) * 4);
    frame.resize(at + key + len, 0);
    from.read_exact(&mut frame[at..]).await?;
    Ok(frame)
}

/// It looks like V2Ray, which says so when it ends; the application must not hear of a reset.
#[tokio::test]
async fn a_gost_that_only_hangs_up_has_said_all_it_had_to_say() {
    for protocol in ["http", "socks5", "relay", "forward"] {
        let seen = free_port();
        let between = |server| {
            no_close_frame_between(seen, server);
            seen
        };
        let (_stage, socks) = both_ends_with(&format!("{protocol}+ws"), between).await;
        traffic::target_sends_and_closes(socks).await;
    }
}

/// A SOCKS proxy whose way leads by `scheme`, both ends mobula.
async fn both_ends(scheme: &str) -> (Stage, u16) {
    both_ends_with(scheme, |server| server).await
}

/// As [`both_ends`], with what stands `between`: the port by which the server is come to.
async fn both_ends_with(scheme: &str, between: impl FnOnce(u16) -> u16) -> (Stage, u16) {
    let mut stage = Stage::new();
    let [server, socks, inner] = [(); 3].map(|()| free_port());
    let (target, local) = match scheme.starts_with("forward") {
        // What is forwarded is a SOCKS proxy.
        true => (format!("/127.0.0.1:{inner}"), "tcp"),
        false => (String::new(), "socks5"),
    };
    let listen = [
        format!("{scheme}://127.0.0.1:{server}{target}"),
        format!("socks5://127.0.0.1:{inner}"),
    ];
    let args = ["-L", &listen[0], "-L", &listen[1]];
    stage
        .start("server", &mut gost(&args), &[server, inner])
        .await;
    let local = format!("{local}://127.0.0.1:{socks}");
    let way = format!("{scheme}://127.0.0.1:{}", between(server));
    let args = ["-L", &local, "-F", &way];
    stage.start("client", &mut gost(&args), &[socks]).await;
    traffic::ready(socks).await;
    (stage, socks)
}

/// FIN would be the end of both directions: who knows another one is told of it.
#[tokio::test]
async fn an_application_that_ends_first_has_its_answer_over_many_streams() {
    for scheme in ["relay+mws", "socks5+mws", "http+mws", "relay+mwss"] {
        let (_stage, socks) = both_ends(scheme).await;
        let began = Instant::now();
        traffic::application_ends_first(socks).await;
        assert!(
            began.elapsed() < Duration::from_millis(900),
            "{scheme}: {:?} passed",
            began.elapsed()
        );
    }
}

/// A download that ends with its connection is over then, and not a second later.
#[tokio::test]
async fn the_end_of_an_answer_is_heard_of_at_once() {
    for scheme in [
        "relay+ws",
        "relay+wss",
        "relay+mws",
        "socks5+mws",
        "http+ws",
        "forward+ws",
    ] {
        let (_stage, socks) = both_ends(scheme).await;
        let began = Instant::now();
        traffic::target_sends_and_closes(socks).await;
        let took = began.elapsed();
        assert!(took < Duration::from_millis(900), "{scheme}: {took:?}");
    }
}

/// As gost has it: inside the connection, whatever carries that.
#[tokio::test]
async fn datagrams_go_inside_socks_and_http_over_every_carrier() {
    for (protocol, carrier) in [
        ("socks5", "tcp"),
        ("socks5", "tls"),
        ("socks5", "ws"),
        ("socks5", "mwss"),
        ("http", "tcp"),
        ("http", "wss"),
        ("http", "mws"),
    ] {
        let mut stage = Stage::new();
        let (server, socks) = (free_port(), free_port());
        let url = format!("{protocol}+{carrier}://u:p@127.0.0.1:{server}");
        let listen = format!("{url}?udp=true");
        stage
            .start("server", &mut gost(&["-L", &listen]), &[server])
            .await;
        let local = format!("socks5://127.0.0.1:{socks}?udp=true");
        let args = ["-L", &local, "-F", &url];
        stage.start("client", &mut gost(&args), &[socks]).await;
        traffic::ready(socks).await;
        traffic::datagrams(socks, &[1, 100, 1400, 9000]).await;
        traffic::full_cone(socks).await;
    }
}
