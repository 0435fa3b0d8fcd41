//! `mobula convert`: what it writes is good to the programs that it is for, and carries what the original did.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::configs::{Carrier, Vmess};
use crate::peers::Peer::{self, Mihomo, Mobula, SingBox, V2ray445};
use crate::peers::{Stage, fetched, free_port, listen, mobula, root, system};
use crate::scenario_scripts::gzip;
use crate::traffic;

fn convert(args: &[&str], stage: &Stage) -> Output {
    let output = mobula()
        .arg("convert")
        .args(args)
        .current_dir(stage.path(""))
        .output();
    output.expect("mobula runs")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// What it prints.
fn converted(args: &[&str], stage: &Stage) -> String {
    let output = convert(args, stage);
    assert!(output.status.success(), "{args:?}: {}", said(&output));
    String::from_utf8(output.stdout).expect("text")
}

/// Asks the program itself whether its config is good.
fn is_good(command: &mut Command, config: &Path) {
    let output = command.output().expect("the program runs");
    let text = std::fs::read_to_string(config).unwrap_or_default();
    assert!(
        output.status.success(),
        "{command:?}\n{}{}\n{text}",
        String::from_utf8_lossy(&output.stdout),
        said(&output)
    );
}

#[test]
fn what_is_written_is_good_to_the_programs_it_is_for() {
    let stage = Stage::new();
    for file in [
        "mihomo.yaml",
        "sing-box.json",
        "subscription.txt",
        "sip008.json",
    ] {
        let from = root().join("testdata/convert").join(file);
        let from = from.to_str().expect("a path of ours");
        let write = |to: &str| {
            let name = format!("{file}.{to}");
            converted(&[from, "--to", to, "-o", &name, "--force"], &stage);
            stage.path(&name)
        };
        let config = write("sing-box");
        is_good(
            Command::new(fetched("sing-box"))
                .args(["check", "-c"])
                .arg(&config),
            &config,
        );
        let config = write("clash");
        let mut mihomo = Command::new(fetched("mihomo"));
        is_good(
            mihomo
                .arg("-d")
                .arg(stage.path(""))
                .arg("-t")
                .arg("-f")
                .arg(&config),
            &config,
        );
        let config = write("config");
        is_good(mobula().args(["test", "-c"]).arg(&config), &config);
        if file == "subscription.txt" {
            is_good(
                Command::new(fetched("v2ray-4.45"))
                    .args(["-test", "-config"])
                    .arg(&config),
                &config,
            );
            is_good(
                system("v2ray").args(["-test", "-config"]).arg(&config),
                &config,
            );
        }
        // Links are read by `mobula link`, whose own are read by mihomo elsewhere.
        let config = write("links");
        is_good(mobula().arg("link").arg(&config), &config);
    }
}

/// The tunnels that every form has words for.
fn tunnels(stage: &Stage) -> Vec<Vmess> {
    vec![
        Vmess::tcp(),
        Vmess::ws(),
        Vmess::httpupgrade(),
        Vmess::ws().vless(),
        Vmess::wss(stage),
        Vmess::grpc().over_tls(stage),
        Vmess::h2().over_tls(stage),
        Vmess::wss(stage).trojan(),
    ]
}

async fn carries(
    stage: &mut Stage,
    peer: Peer,
    config: &Value,
    authority: Option<&Path>,
    socks: u16,
) {
    stage
        .run_believing(authority, peer, "client", config, &[socks])
        .await;
    traffic::ready(socks).await;
    traffic::both_ways(socks, 200_000).await;
}

/// A client's config of each program, carried by the others.
#[tokio::test]
async fn what_is_written_carries_what_the_original_did() {
    let certificates = Stage::new();
    for vmess in tunnels(&certificates) {
        let mut stage = Stage::new();
        let port = free_port();
        let server = if vmess.carrier == Carrier::HttpUpgrade {
            SingBox
        } else {
            V2ray445
        };
        stage
            .run(server, "server", &vmess.server(server, port), &[port])
            .await;
        let authority = vmess.tls.as_ref().map(|tls| &*tls.authority);
        for (from, to, peer) in [
            (SingBox, "config", Mobula),
            (Mihomo, "config", Mobula),
            (Mobula, "sing-box", SingBox),
            (Mobula, "clash", Mihomo),
            (Mihomo, "sing-box", SingBox),
        ] {
            let socks = free_port();
            let mut config = vmess.client(from, socks, port);
            // Clash has no word for authorities of one's own.
            if let (Mobula, "clash", Some(_)) = (from, to, authority) {
                let tls = &mut config["outbounds"][0]["streamSettings"]["tlsSettings"];
                *tls = json!({"serverName": tls["serverName"]});
            }
            stage.write("given", config.to_string());
            println!("{from:?} to {to}: {config}");
            let text = converted(&["given", "--to", to], &stage);
            println!("{text}");
            stage.write("written", &text);
            let config = match to {
                // mihomo reads JSON as well, so its YAML is given as it is.
                "clash" => {
                    let path = stage.path("written");
                    let mut command = Mihomo.command(&path);
                    command.envs(authority.map(|authority| ("SSL_CERT_FILE", authority)));
                    stage.start("client", &mut command, &[socks]).await;
                    traffic::ready(socks).await;
                    traffic::both_ways(socks, 200_000).await;
                    continue;
                }
                _ => serde_json::from_str(&text).expect("JSON"),
            };
            carries(&mut stage, peer, &config, authority, socks).await;
        }
    }
}

/// A server that answers every request with what is next.
async fn web<T: Into<Vec<u8>> + Send + 'static>(
    answers: Vec<T>,
) -> (u16, tokio::task::JoinHandle<Vec<String>>) {
    let listener = listen();
    let port = listener.local_addr().expect("it listens").port();
    let asked = tokio::spawn(async move {
        let mut asked = Vec::new();
        for answer in answers {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.expect("a request"));
            }
            asked.push(String::from_utf8(head).expect("text"));
            // Whoever has read enough goes away.
            let _ = stream.write_all(&answer.into()).await;
        }
        asked
    });
    (port, asked)
}

fn page(body: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

async fn fetched_from<T: Into<Vec<u8>> + Send + 'static>(answers: Vec<T>) -> (Output, Vec<String>) {
    let (port, asked) = web(answers).await;
    let url = format!("http://127.0.0.1:{port}/sub/secret?token=x");
    let output =
        tokio::task::spawn_blocking(move || convert(&[&url, "--to", "links"], &Stage::new()));
    let output = output.await.expect("it ends");
    (output, asked.await.expect("it was asked"))
}

/// Some web servers pack it for everybody.
#[tokio::test]
async fn a_subscription_that_comes_packed_is_opened() {
    let body =
        std::fs::read(root().join("testdata/convert/subscription.txt")).expect("it is there");
    let answer = |packed: &[u8]| {
        let head = "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nConnection: close\r\n\r\n";
        vec![[head.as_bytes(), packed].concat()]
    };
    let (output, _) = fetched_from(answer(&gzip(&body))).await;
    assert!(output.status.success(), "{}", said(&output));
    let links = String::from_utf8(output.stdout).expect("text");
    assert!(
        links.starts_with("vless://") && links.lines().count() == 2,
        "{links}"
    );
    for (packed, expected) in [
        (gzip(&vec![b'\n'; 17 << 20]), "more than 16 MiB"),
        (gzip(b"").repeat(65), "more than 64 parts"),
        (body, "not the gzip"),
    ] {
        let (output, _) = fetched_from(answer(&packed)).await;
        let said = said(&output);
        assert_eq!(output.status.code(), Some(23), "{said}");
        assert!(said.contains(expected), "{expected}: {said}");
    }
}

#[tokio::test]
async fn a_subscription_is_fetched() {
    let body = std::fs::read_to_string(root().join("testdata/convert/subscription.txt"))
        .expect("it is there");
    let moved = "HTTP/1.1 302 Found\r\nLocation: other?a=b\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    let (output, asked) = fetched_from(vec![moved.to_owned(), page(&body)]).await;
    assert!(output.status.success(), "{}", said(&output));
    let links = String::from_utf8(output.stdout).expect("text");
    assert!(
        links.starts_with("vless://") && links.lines().count() == 2,
        "{links}"
    );
    assert!(
        asked[0].starts_with("GET /sub/secret?token=x HTTP/1.1\r\n"),
        "{asked:?}"
    );
    assert!(
        asked[1].starts_with("GET /sub/other?a=b HTTP/1.1\r\n"),
        "{asked:?}"
    );
    let agent = format!("user-agent: mobula/{}\r\n", env!("CARGO_PKG_VERSION"));
    assert!(asked[1].to_ascii_lowercase().contains(&agent), "{asked:?}");

    let missing = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    let much = format!(
        "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{}",
        "# x\n".repeat(5 << 20)
    );
    let html = page("<!DOCTYPE html><html></html>");
    for (answers, expected) in [
        (vec![missing.to_owned()], "the server answers 404 Not Found"),
        (vec![moved.to_owned(); 6], "after 5 redirects"),
        (vec![much], "more than 16 MiB"),
        (vec![html], "a web page"),
    ] {
        let (output, _) = fetched_from(answers).await;
        let said = said(&output);
        assert_eq!(output.status.code(), Some(23), "{said}");
        assert!(said.contains(expected), "{expected}: {said}");
        assert!(
            !said.contains("secret") && !said.contains("token"),
            "{said}"
        );
    }
}

#[test]
fn a_file_is_kept_and_what_is_lost_is_told() {
    let stage = Stage::new();
    let from = root().join("testdata/convert/mihomo.yaml");
    let from = from.to_str().expect("a path of ours");
    let output = convert(&[from, "-o", "out.json"], &stage);
    assert!(output.status.success() && output.stdout.is_empty());
    assert!(said(&output).contains("left out: "), "{}", said(&output));
    let output = convert(&[from, "-o", "out.json"], &stage);
    assert_eq!(output.status.code(), Some(23));
    assert!(said(&output).contains("--force"), "{}", said(&output));
    let mode = |mode: u32| std::fs::Permissions::from_mode(mode);
    let out = stage.path("out.json");
    std::fs::set_permissions(&out, mode(0o644)).expect("it is ours");
    let output = convert(&[from, "-o", "out.json", "--force"], &stage);
    assert!(output.status.success());
    let is = std::fs::metadata(&out).expect("it is there").permissions();
    assert_eq!(is.mode() & 0o777, 0o600);
    let output = convert(&[from, "--strict"], &stage);
    assert!(output.status.code() == Some(23) && output.stdout.is_empty());
    stage.write("good", "trojan://p@a.example:443#a\n");
    for to in ["config", "v5", "sing-box", "clash", "links"] {
        let output = convert(&["good", "--to", to, "--strict"], &stage);
        assert!(
            output.status.success() && output.stderr.is_empty(),
            "{to}: {}",
            said(&output)
        );
    }
    let output = convert(&["no/such/file"], &stage);
    assert!(
        said(&output).contains("no/such/file: no such file or directory"),
        "{}",
        said(&output)
    );
}

/// The commands of `docs/convert.md`, and what it says that they say.
#[test]
fn the_document_shows_what_happens() {
    let stage = Stage::new();
    let given = |name: &str| {
        std::fs::read(root().join("testdata/convert").join(name)).expect("it is there")
    };
    stage.write("clash.yaml", given("mihomo.yaml"));
    stage.write("sing-box.json", given("sing-box.json"));
    let mut client = Vmess::ws().client(Mobula, 1080, 443);
    client["outbounds"][0]["streamSettings"]["wsSettings"]["heartbeatPeriod"] = json!(7);
    stage.write("client.json", client.to_string());
    let document = std::fs::read_to_string(root().join("docs/convert.md")).expect("it is there");
    let (mut lines, mut commands) = (String::new(), 0);
    for line in document.lines() {
        let command = line
            .split_once("mobula convert ")
            .filter(|(front, _)| !front.contains('`'));
        let Some((_, args)) = command else { continue };
        let args = args.split("   ").next().unwrap_or_default();
        let args: Vec<&str> = args.split_whitespace().filter(|arg| *arg != "-").collect();
        // Those on the web and on standard input are tried elsewhere.
        if args
            .first()
            .is_none_or(|first| first.contains("://") || first.starts_with('-'))
        {
            continue;
        }
        let output = convert(&args, &stage);
        assert!(output.status.success(), "{line}: {}", said(&output));
        lines.push_str(&said(&output));
        commands += 1;
    }
    assert_eq!(commands, 4);
    let shown = document
        .lines()
        .filter(|line| line.starts_with("left out: "));
    let missing: Vec<&str> = shown
        .filter(|line| !lines.lines().any(|said| said == *line))
        .collect();
    assert!(missing.is_empty(), "{missing:#?} are not in\n{lines}");
}
