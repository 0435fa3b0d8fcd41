//! `mobula doctor` and what stands in front of the server: it passes something, and not what is asked for.

use crate::configs::{Vmess, documented_location};
use crate::peers::{Stage, free_port, system};
use crate::scenario_doctor::{Report, client, nginx, server, stranger, target};

/// HAProxy refuses an upgrade without a WebSocket's key, which is no matter of `network` at the server.
#[tokio::test]
async fn a_front_that_passes_no_upgrade_but_websocket_s_is_told() {
    let url = target().await;
    let mut stage = Stage::new();
    let behind = server(&mut stage, &Vmess::httpupgrade()).await;
    let port = free_port();
    let haproxy = format!(
        "defaults\n  mode http\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n\
         frontend in\n  bind 127.0.0.1:{port}\n  default_backend out\nbackend out\n  server s 127.0.0.1:{behind}\n"
    );
    let file = stage.write("haproxy.cfg", haproxy);
    let mut command = system("haproxy");
    command.arg("-db").arg("-f").arg(file);
    stage.start("haproxy", &mut command, &[port]).await;
    let config = client(&Vmess::httpupgrade(), port);
    let report = Report::of(&stage, &config, &["--url", &url]).await;
    report.breaks("upgrade", "ws-400", &["HAProxy", "`mode tcp`"]);
}

/// nginx' `proxy_pass` takes a stream of gRPC, and brings it nowhere.
#[tokio::test]
async fn grpc_that_is_passed_on_as_http_1_is_told() {
    let url = target().await;
    let mut stage = Stage::new();
    let behind = server(&mut stage, &Vmess::grpc()).await;
    let port = free_port();
    let location = format!("location / {{\n    proxy_pass http://127.0.0.1:{behind};\n}}\n");
    nginx(&mut stage, "http2", port, &location).await;
    let report = Report::of(&stage, &client(&Vmess::grpc(), port), &["--url", &url]).await;
    report.breaks("auth", "silent", &["`grpc_pass`"]);
}

/// What answers in the server's place, and what is to be done about it.
#[tokio::test]
async fn what_a_front_says_for_itself_is_told_from_what_is_wrong_behind_it() {
    for (location, code, words) in [
        (
            "return 302 http://login.example/?from=x;",
            "ws-302",
            &["another host", "login"][..],
        ),
        ("return 302 /elsewhere;", "ws-302", &["set address, port"]),
        ("return 429;", "ws-429", &["`limit_req`"]),
        ("return 511;", "ws-511", &["log in"]),
    ] {
        let mut stage = Stage::new();
        let port = free_port();
        let location = format!("location / {{\n    absolute_redirect off;\n    {location}\n}}\n");
        nginx(&mut stage, "", port, &location).await;
        let report = Report::of(&stage, &client(&Vmess::ws(), port), &[]).await;
        report.breaks("upgrade", code, words);
    }
}

/// The time of what stands in front is not that of the server behind it.
#[tokio::test]
async fn a_clock_in_front_does_not_vouch_for_the_server_behind_it() {
    let url = target().await;
    let mut stage = Stage::new();
    let behind = server(&mut stage, &Vmess::ws()).await;
    let port = free_port();
    nginx(&mut stage, "", port, &documented_location(behind)).await;
    let report = Report::of(&stage, &stranger(port), &["--url", &url]).await;
    let code = report.step("auth")["code"].as_str().unwrap_or_default();
    assert!(matches!(code, "silent" | "no-answer"), "{}", report.text);
    let words = [
        "of `nginx",
        "may not",
        "`date -u` on the server",
        "`protocol`",
    ];
    report.breaks("auth", code, &words);
}
