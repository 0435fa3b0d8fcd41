//! `mobula doctor` and what stands in front of the server: it passes something, and not what is asked for.

use crate::configs::Vmess;
use crate::peers::{Stage, free_port, system};
use crate::scenario_doctor::{Report, client, nginx, server, target};

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
