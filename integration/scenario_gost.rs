//! GOST's command line and files, in its words: mobula at both ends, and a peer in Python that was written from the
//! description of what gost says.

use std::process::Command;

use crate::peers::{Stage, free_port, mobula, python, root};
use crate::scenario_documents::blocks;
use crate::traffic::{self, To};
use crate::tunnel::EIGHT_MIB;

/// `mobula gost`, or what follows `gost` in a line of a shell.
fn gost(args: &[&str]) -> Command {
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
        assert_eq!(said, "", "{args:?}");
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
async fn a_port_of_the_server_leads_to_the_client() {
    let mut stage = Stage::new();
    let [server, published] = [(); 2].map(|()| free_port());
    let relay = format!("relay+mws://u:p@127.0.0.1:{server}");
    let serving = format!("{relay}?bind=true");
    stage
        .start("server", &mut gost(&["-L", &serving]), &[server])
        .await;
    let target = traffic::echo().await;
    let service = format!("rtcp://127.0.0.1:{published}/{target}");
    let args = ["-L", &service, "-F", &relay];
    stage.start("client", &mut gost(&args), &[published]).await;
    let visitor = tokio::net::TcpStream::connect(("127.0.0.1", published));
    let mut visitor = visitor.await.expect("it is published");
    traffic::exchange(&mut visitor, b"a word").await;
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
