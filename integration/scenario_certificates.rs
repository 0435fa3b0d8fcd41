//! Certificates that a library may object to, with OpenSSL at the other end; and files that do not answer.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::configs::{ID, SERVER_NAME, Vmess};
use crate::peers::Peer::{Mobula, V2ray445};
use crate::peers::{Stage, free_port, root, system};
use crate::traffic::{self, To};

/// `testdata/certs/odd/make` says what is odd about each.
const ODD: [&str; 9] = [
    "version-1",
    "version-1-short",
    "short",
    "odd-length",
    "sha-1",
    "critical",
    "p-521",
    "ed25519",
    "expired",
];

fn file(name: &str, kind: &str) -> PathBuf {
    root().join(format!("testdata/certs/odd/{name}.{kind}"))
}

/// OpenSSL, willing to use short keys.
fn openssl(command: &str, version: &str) -> Command {
    let mut openssl = system("openssl");
    openssl.args([command, "-cipher", "ALL@SECLEVEL=0"]);
    openssl.arg(match version {
        "1.2" => "-tls1_2",
        _ => "-tls1_3",
    });
    openssl
}

/// What `openssl req -x509` makes calls itself an authority, and people put it into the system's list.
#[tokio::test]
async fn a_certificate_by_itself_is_believed_where_the_system_does() {
    let mut stage = Stage::new();
    let (pem, key) = (stage.path("own.pem"), stage.path("own.key"));
    let mut made = system("openssl");
    made.args([
        "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
    ]);
    made.args([
        "-subj",
        "/CN=own",
        "-addext",
        "subjectAltName=DNS:own.example",
    ]);
    let made = made.arg("-keyout").arg(&key).arg("-out").arg(&pem).output();
    assert!(made.expect("openssl runs").status.success());
    let (at, door, other) = (free_port(), free_port(), free_port());
    let server = json!({
        "inbounds": [{
            "listen": "127.0.0.1", "port": at, "protocol": "vmess", "settings": {"clients": [{"id": ID}]},
            "streamSettings": {"security": "tls", "tlsSettings": {"certificates": [{"certificateFile": pem, "keyFile": key}]}},
        }],
        "outbounds": [{"protocol": "freedom"}],
    });
    stage.run(Mobula, "server", &server, &[at]).await;
    let client = |port: u16, name: &str| {
        json!({
            "inbounds": [{"listen": "127.0.0.1", "port": port, "protocol": "socks"}],
            "outbounds": [{
                "protocol": "vmess", "settings": {"vnext": [{"address": "127.0.0.1", "port": at, "users": [{"id": ID}]}]},
                "streamSettings": {"security": "tls", "tlsSettings": {"serverName": name}},
            }],
        })
    };
    let echo = traffic::echo().await;
    let config = client(door, "own.example");
    stage
        .run_believing(Some(&pem), Mobula, "client", &config, &[door])
        .await;
    let tunnel = traffic::connect(door, &To::Ip(echo)).await;
    traffic::exchange(&mut tunnel.expect("it is let in"), b"a word").await;
    // Its name counts all the same.
    let config = client(other, "other.example");
    stage
        .run_believing(Some(&pem), Mobula, "other", &config, &[other])
        .await;
    let mut refused = TcpStream::connect(("127.0.0.1", other))
        .await
        .expect("it is there");
    let _ = refused
        .write_all(b"\x05\x01\x00\x05\x01\x00\x01\x7f\0\0\x01\0\x50")
        .await;
    stage.until_file_has("other.log", "[tls-name]").await;
}

#[tokio::test]
async fn openssl_believes_the_signature_of_any_key_that_we_serve() {
    let mut stage = Stage::new();
    let ports: Vec<u16> = ODD.iter().map(|_| free_port()).collect();
    let inbounds = ODD.iter().zip(&ports).map(|(name, port)| {
        json!({
            "listen": "127.0.0.1", "port": port, "protocol": "vmess", "settings": {"clients": [{"id": ID}]},
            "streamSettings": {"security": "tls", "tlsSettings": {"certificates": [
                {"certificateFile": file(name, "crt"), "keyFile": file(name, "key")},
            ]}},
        })
    });
    let config = json!({"inbounds": inbounds.collect::<Vec<_>>()});
    stage.run(Mobula, "server", &config, &ports).await;
    for (name, port) in ODD.iter().zip(&ports) {
        for version in ["1.2", "1.3"] {
            let mut client = openssl("s_client", version);
            client.args(["-connect", &format!("127.0.0.1:{port}"), "-brief"]);
            let ended = client.stdin(Stdio::null()).output().expect("openssl runs");
            let said = String::from_utf8_lossy(&ended.stderr);
            assert!(
                said.contains("CONNECTION ESTABLISHED"),
                "{name}, TLS {version}: {said}"
            );
            assert!(said.contains(&format!("TLSv{version}")), "{name}: {said}");
        }
    }
}

#[tokio::test]
async fn allow_insecure_takes_any_certificate_that_openssl_serves() {
    let mut stage = Stage::new();
    let mut inbounds: Vec<Value> = Vec::new();
    let mut outbounds: Vec<Value> = Vec::new();
    let mut rules: Vec<Value> = Vec::new();
    let mut servers = Vec::new();
    // With a modulus of 8n + 1 bits OpenSSL itself cannot make the signature that it chooses.
    for name in ODD.into_iter().filter(|name| *name != "odd-length") {
        for version in ["1.2", "1.3"] {
            let port = free_port();
            let mut server = openssl("s_server", version);
            server.args(["-www", "-quiet", "-accept", &port.to_string()]);
            server
                .arg("-cert")
                .arg(file(name, "crt"))
                .arg("-key")
                .arg(file(name, "key"));
            stage
                .start(&format!("{name}-{version}"), &mut server, &[port])
                .await;
            let (tag, socks) = (format!("{name}-{version}"), free_port());
            inbounds.push(
                json!({"tag": tag, "listen": "127.0.0.1", "port": socks, "protocol": "socks"}),
            );
            outbounds.push(json!({
                "tag": tag, "protocol": "vmess",
                "settings": {"vnext": [{"address": "127.0.0.1", "port": port, "users": [{"id": ID}]}]},
                "streamSettings": {
                    "network": "ws", "wsSettings": {"path": "/ray"},
                    "security": "tls", "tlsSettings": {"allowInsecure": true},
                },
            }));
            rules.push(json!({"type": "field", "inboundTag": [tag], "outboundTag": tag}));
            servers.push((tag, socks));
        }
    }
    let config = json!({
        "log": {"error": "error.log"}, "inbounds": inbounds, "outbounds": outbounds, "routing": {"rules": rules},
    });
    let ports: Vec<u16> = servers.iter().map(|(_, socks)| *socks).collect();
    stage.run(Mobula, "client", &config, &ports).await;
    let nowhere = To::Ip("192.0.2.1:80".parse().expect("an address"));
    for (tag, socks) in servers {
        let refused = traffic::connect(socks, &nowhere).await;
        assert_eq!(refused.unwrap_err().to_string(), "SOCKS says 1");
        // OpenSSL answers the handshake of the WebSocket with a page, which is as far as it goes.
        let log = stage
            .until_file_has("error.log", &format!("({tag}): "))
            .await;
        let line = log
            .lines()
            .find(|line| line.contains(&format!("({tag}): ")))
            .unwrap_or_default();
        assert!(
            line.contains("200: an ordinary web page is at /ray"),
            "{line}"
        );
    }
}

/// What does not answer: a pipe, a directory, a device, nothing, and what has no end.
#[tokio::test]
async fn whatever_takes_the_place_of_a_certificate_the_old_one_serves() {
    let mut stage = Stage::new();
    let (server, socks) = (free_port(), free_port());
    let vmess = Vmess::wss(&stage);
    let mut config = vmess.server(Mobula, server);
    config["log"]["error"] = json!("error.log");
    stage.run(Mobula, "server", &config, &[server]).await;
    let client = vmess.client(V2ray445, socks, server);
    let authority = vmess.tls.as_ref().map(|tls| tls.authority.clone());
    stage
        .run_believing(authority.as_deref(), V2ray445, "client", &client, &[socks])
        .await;
    let to = To::Ip(traffic::echo().await);
    traffic::word(socks, &to).await;
    let tls = vmess.tls.as_ref().expect("it has TLS");
    for place in [&tls.chain, &tls.key] {
        let kept = fs::read(place).expect("it is there");
        for instead in ["pipe", "directory", "/dev/zero", "nothing", "text"] {
            replace(place, instead);
            tokio::time::sleep(Duration::from_millis(1050)).await;
            let began = Instant::now();
            for _ in 0..3 {
                traffic::word(socks, &to).await;
            }
            assert!(
                began.elapsed() < Duration::from_secs(1),
                "{instead}: {:?}",
                began.elapsed()
            );
        }
        replace(place, "nothing");
        fs::write(place, kept).expect("the test's folder is ours");
    }
    stage
        .until_file_has("error.log", "is a pipe or a device now")
        .await;
}

fn replace(place: &Path, instead: &str) {
    let _ = fs::remove_file(place).or_else(|_| fs::remove_dir(place));
    match instead {
        "pipe" => {
            let made = Command::new("mkfifo").arg(place).status();
            assert!(made.is_ok_and(|status| status.success()));
        }
        "directory" => fs::create_dir(place).expect("the test's folder is ours"),
        "nothing" => {}
        "text" => fs::write(place, "no certificate").expect("the test's folder is ours"),
        device => symlink(device, place).expect("the test's folder is ours"),
    }
}

/// A server whose certificate comes late, and one whose authorities never do, start all the same.
#[tokio::test]
async fn a_certificate_that_does_not_come_stops_neither_the_start_nor_other_inbounds() {
    let mut stage = Stage::new();
    let (late, plain) = (free_port(), free_port());
    let pipe = stage.path("late.pem");
    let made = Command::new("mkfifo").arg(&pipe).status();
    assert!(made.is_ok_and(|status| status.success()));
    let config = json!({
        "log": {"error": "error.log"},
        "inbounds": [
            {
                "listen": "127.0.0.1", "port": late, "protocol": "vmess", "settings": {"clients": [{"id": ID}]},
                "streamSettings": {"security": "tls", "tlsSettings": {"certificates": [
                    {"certificateFile": pipe, "keyFile": file("ed25519", "key")},
                ]}},
            },
            {"listen": "127.0.0.1", "port": plain, "protocol": "socks"},
        ],
        "outbounds": [{"protocol": "freedom"}],
    });
    let began = Instant::now();
    stage.run(Mobula, "server", &config, &[late, plain]).await;
    assert!(began.elapsed() < Duration::from_secs(4));
    traffic::word(plain, &To::Ip(traffic::echo().await)).await;
    let log = stage
        .until_file_has("error.log", "cannot be read in time")
        .await;
    assert!(
        log.contains("tlsSettings.certificates[0].certificateFile: "),
        "{log}"
    );
    let shakes = |version: &str| {
        let mut client = openssl("s_client", version);
        client.args(["-connect", &format!("127.0.0.1:{late}"), "-brief"]);
        let ended = client.stdin(Stdio::null()).output().expect("openssl runs");
        String::from_utf8_lossy(&ended.stderr).contains("CONNECTION ESTABLISHED")
    };
    assert!(!shakes("1.3"));
    fs::write(
        &pipe,
        fs::read(file("ed25519", "crt")).expect("it is there"),
    )
    .expect("somebody reads");
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(shakes("1.3") && shakes("1.2"));
    drop(TcpStream::connect(("127.0.0.1", late)).await);

    // `mobula test` does not wait either.
    let began = Instant::now();
    let mut test = crate::peers::mobula();
    let file = stage.path("server.json");
    let ended = test
        .args(["test", "-c"])
        .arg(file)
        .output()
        .expect("it runs");
    assert!(ended.status.success() && began.elapsed() < Duration::from_secs(4));
}

/// The system's authorities are read once, and not by whoever needs them for a handshake.
#[tokio::test]
async fn authorities_that_do_not_come_leave_other_sessions_alone() {
    let mut stage = Stage::new();
    let (server, socks, direct) = (free_port(), free_port(), free_port());
    let vmess = Vmess::wss(&stage);
    stage
        .run(Mobula, "server", &vmess.server(Mobula, server), &[server])
        .await;
    let pipe = stage.path("authorities.pem");
    let made = Command::new("mkfifo").arg(&pipe).status();
    assert!(made.is_ok_and(|status| status.success()));
    let mut config = vmess.client(Mobula, socks, server);
    config["inbounds"][0]["tag"] = json!("in");
    config["inbounds"][0]["settings"]["waitForConnect"] = json!(false);
    config["outbounds"][0]["streamSettings"]["tlsSettings"] = json!({"serverName": SERVER_NAME});
    let inbounds = config["inbounds"].as_array_mut().expect("a list");
    inbounds
        .push(json!({"tag": "direct", "listen": "127.0.0.1", "port": direct, "protocol": "socks"}));
    let outbounds = config["outbounds"].as_array_mut().expect("a list");
    outbounds.push(json!({"tag": "direct", "protocol": "freedom"}));
    config["routing"] =
        json!({"rules": [{"type": "field", "inboundTag": ["direct"], "outboundTag": "direct"}]});
    config["log"] = json!({"access": "none", "error": "client-error.log"});
    stage
        .run_believing(Some(&pipe), Mobula, "client", &config, &[socks, direct])
        .await;
    let to = To::Ip(traffic::echo().await);
    // As many as there are threads, and more.
    let mut waiting = Vec::new();
    for _ in 0..8 {
        let mut stream = traffic::connect(socks, &to).await.expect("SOCKS connects");
        let _ = stream.write_all(b"hello").await;
        waiting.push(stream);
    }
    for _ in 0..3 {
        traffic::word(direct, &to).await;
    }
    stage
        .until_file_has("client-error.log", "authorities cannot be read in time")
        .await;
}
