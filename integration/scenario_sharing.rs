//! Several inbounds on one port, told apart by what requests ask for.

use std::fs;

use serde_json::{Value, json};

use crate::configs::{Certificate, SERVER_NAME, Vmess};
use crate::peers::Peer::{self, Mobula, SingBox, V2ray445};
use crate::peers::{Stage, free_port, mobula, system};
use crate::scenario_site::{folder, is_hidden};
use crate::traffic::{self, To};

/// One server with these inbounds on one port. Inbound `n` has the tag `inN`, and its user `inN@mobula.test`.
fn server(all: &[Vmess], port: u16) -> Value {
    let mut config = all[0].server(Mobula, port);
    config["inbounds"] = json!([]);
    for (n, one) in all.iter().enumerate() {
        let mut inbound = one.server(Mobula, port)["inbounds"][0].clone();
        inbound["tag"] = json!(format!("in{n}"));
        inbound["settings"]["clients"][0]["email"] = json!(format!("in{n}@mobula.test"));
        add(&mut config, inbound);
    }
    config
}

fn add(config: &mut Value, inbound: Value) {
    let inbounds = config["inbounds"].as_array_mut();
    inbounds.expect("a list").push(inbound);
}

/// A client of one of them carries bytes both ways, and the log says whose it was.
async fn carries(stage: &mut Stage, port: u16, n: usize, one: &Vmess, client: Peer) {
    let socks = free_port();
    let config = one.client(client, socks, port);
    let name = format!("client-{n}-{client:?}");
    stage.run(client, &name, &config, &[socks]).await;
    traffic::ready(socks).await;
    traffic::word(socks, &To::Ip(traffic::echo().await)).await;
    traffic::both_ways(socks, 1024 * 1024).await;
    let user = format!("in{n}@mobula.test");
    stage
        .until_line_has("access.log", &["accepted", &user])
        .await;
}

fn at(path: &'static str, vmess: Vmess) -> Vmess {
    Vmess {
        path: Some(path),
        ..vmess
    }
}

#[tokio::test]
async fn two_protocols_and_three_transports_share_a_port() {
    for over_tls in [false, true] {
        let mut stage = Stage::new();
        let all = [
            at("/a", Vmess::ws()),
            at("/b", Vmess::ws().vless()),
            at("/b", Vmess::httpupgrade()),
            at("/c", Vmess::grpc().vless()),
        ];
        let certificate = over_tls.then(|| Certificate::new(&stage));
        let all = all.map(|one| Vmess {
            tls: certificate.clone(),
            ..one
        });
        let port = free_port();
        let config = server(&all, port);
        stage.run(Mobula, "server", &config, &[port]).await;
        for (n, client) in [
            (0, V2ray445),
            (0, SingBox),
            (1, V2ray445),
            (1, SingBox),
            (2, SingBox),
            (3, V2ray445),
            (3, SingBox),
            (3, Mobula),
        ] {
            carries(&mut stage, port, n, &all[n], client).await;
        }
    }
}

/// The site is everybody's, though one inbound alone names it, and no path is to be told from one that does not exist.
#[tokio::test]
async fn a_site_is_beside_several_tunnels() {
    let mut stage = Stage::new();
    let site = folder(&stage);
    let certificate = Certificate::new(&stage);
    let over_tls = |one| Vmess {
        tls: Some(certificate.clone()),
        ..one
    };
    let all = [
        over_tls(Vmess::ws()),
        over_tls(at("/h", Vmess::h2().vless())),
    ];
    let port = free_port();
    let mut config = server(&all, port);
    config["inbounds"][1]["streamSettings"]["fallback"] = json!(site);
    stage.run(Mobula, "server", &config, &[port]).await;
    for version in ["--http1.1", "--http2"] {
        for (path, status) in [("", "200"), ("ray", "404"), ("h", "404"), ("no", "404")] {
            let mut curl = system("curl");
            curl.args([
                "-sk",
                version,
                "-o",
                "/dev/null",
                "-w",
                "%{http_code} %{http_version}",
            ]);
            let output = curl
                .arg(format!("https://localhost:{port}/{path}"))
                .output();
            let output = output.expect("curl runs");
            let by = if version == "--http2" { "2" } else { "1.1" };
            let said = String::from_utf8_lossy(&output.stdout);
            assert_eq!(said, format!("{status} {by}"), "{path}");
        }
    }
    carries(&mut stage, port, 0, &all[0], V2ray445).await;
    carries(&mut stage, port, 1, &all[1], V2ray445).await;
    carries(&mut stage, port, 1, &all[1], SingBox).await;

    let (mut stage, port) = (Stage::new(), free_port());
    let site = folder(&stage);
    let all = [at("/other", Vmess::ws()), Vmess::httpupgrade()];
    let mut config = server(&all, port);
    config["inbounds"][0]["streamSettings"]["fallback"] = json!(site);
    stage.run(Mobula, "server", &config, &[port]).await;
    is_hidden(port, &all[1]).await;
}

/// Each name has its own certificate, whichever inbound has brought it.
#[tokio::test]
async fn certificates_are_chosen_by_name() {
    let mut stage = Stage::new();
    let mut certificates = Vec::new();
    for name in [SERVER_NAME, "other.test"] {
        let made = Certificate::with_names(&stage, &[name]);
        let kept = |file: &std::path::Path| {
            let kept = stage.path(&format!("{name}-{}", file.file_name().unwrap().display()));
            fs::rename(file, &kept).unwrap();
            kept
        };
        certificates.push(Certificate {
            chain: kept(&made.chain),
            key: kept(&made.key),
            authority: kept(&made.authority),
        });
    }
    let all = [("/a", 0), ("/b", 1)].map(|(path, n)| Vmess {
        tls: Some(certificates[n].clone()),
        ..at(path, Vmess::ws())
    });
    let port = free_port();
    stage
        .run(Mobula, "server", &server(&all, port), &[port])
        .await;
    for (n, name) in [SERVER_NAME, "other.test"].into_iter().enumerate() {
        let mut openssl = system("openssl");
        openssl.args(["s_client", "-servername", name, "-connect"]);
        let connected = openssl.arg(format!("127.0.0.1:{port}")).output();
        let shown = connected.expect("openssl runs").stdout;
        let shown = String::from_utf8_lossy(&shown).into_owned();
        let pem = fs::read_to_string(&certificates[n].chain).unwrap();
        let line = pem.lines().nth(3).unwrap();
        assert!(shown.contains(line), "{name}: {shown}");
    }
    // It believes the authority of this one alone.
    carries(&mut stage, port, 0, &all[0], V2ray445).await;
}

/// One that the API takes away leaves the port to the others.
#[tokio::test]
async fn one_goes_and_the_others_stay() {
    let mut stage = Stage::new();
    let all = [at("/a", Vmess::ws()), at("/b", Vmess::ws().vless())];
    let (port, api) = (free_port(), free_port());
    let mut config = server(&all, port);
    config["api"] = json!({"tag": "api", "services": ["HandlerService"]});
    let panel = json!({
        "tag": "panel", "listen": "127.0.0.1", "port": api, "protocol": "dokodemo-door",
        "settings": {"address": "127.0.0.1"},
    });
    add(&mut config, panel);
    config["routing"] = json!({
        "rules": [{"type": "field", "inboundTag": ["panel"], "outboundTag": "api"}],
    });
    stage.run(Mobula, "server", &config, &[port, api]).await;
    let removed = mobula()
        .args(["api", "rmi"])
        .arg(format!("--server=127.0.0.1:{api}"))
        .arg("in0")
        .output()
        .expect("mobula runs");
    assert!(removed.status.success(), "{removed:?}");
    carries(&mut stage, port, 1, &all[1], V2ray445).await;
    let upgrade =
        |path: &str| format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    for path in ["/a", "/no"] {
        let answer = crate::scenario_site::raw(port, &upgrade(path)).await;
        assert!(answer.starts_with("HTTP/1.1 404 "), "{path}: {answer}");
    }
    // Of the one that is there the answer says what is missing.
    let answer = crate::scenario_site::raw(port, &upgrade("/b")).await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
}

/// What the documents show, with places of this machine.
#[tokio::test]
async fn the_documented_tunnels_share_a_port() {
    let mut stage = Stage::new();
    let site = folder(&stage);
    let (port, certificate) = (free_port(), Certificate::new(&stage));
    let shown = crate::scenario_recipes::shown("site.md", "json").remove(1);
    let shown = crate::scenario_recipes::with(
        &shown,
        &[
            ("/path/to/site", &site.display().to_string()),
            (
                "/path/to/fullchain.pem",
                &certificate.chain.display().to_string(),
            ),
            (
                "/path/to/privkey.pem",
                &certificate.key.display().to_string(),
            ),
            ("\"port\": 443", &format!("\"port\": {port}")),
            ("5c3ae1b2-9d10-4f6e-8a77-0e1f4b6c2d93", crate::configs::ID),
        ],
    );
    let mut config: Value = serde_json::from_str(&shown).expect("it is JSON");
    config["log"] = json!({"access": "access.log"});
    for n in 0..2 {
        config["inbounds"][n]["settings"]["clients"][0]["email"] =
            json!(format!("in{n}@mobula.test"));
    }
    stage.run(Mobula, "server", &config, &[port]).await;
    for (n, one) in [Vmess::ws(), at("/tunnel", Vmess::grpc().vless())]
        .into_iter()
        .enumerate()
    {
        let tls = Some(certificate.clone());
        carries(&mut stage, port, n, &Vmess { tls, ..one }, V2ray445).await;
    }
}
