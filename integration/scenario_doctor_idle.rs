//! `mobula doctor --idle`: who cuts a tunnel in which nothing passes.

use serde_json::json;

use crate::configs::{self, Vmess};
use crate::peers::{Stage, free_port, system};
use crate::scenario_doctor::{Report, client, nginx, server, target};

/// The documented location, which here cuts what is silent for so many seconds.
fn silent_for(seconds: u32, port: u16) -> String {
    let location = configs::documented_location(port);
    let location: Vec<&str> = location
        .lines()
        .filter(|l| !l.contains("_timeout"))
        .collect();
    let limit = format!("proxy_read_timeout {seconds}s;\n    proxy_pass");
    location.join("\n").replace("proxy_pass", &limit)
}

/// nginx and HAProxy cut what is silent for 2 s; the default heartbeat of 30 s does not save it, one of a second does.
#[tokio::test]
async fn what_cuts_silence_is_found_and_the_heartbeat_that_cures_it() {
    let url = target().await;
    let mut stage = Stage::new();
    let behind = server(&mut stage, &Vmess::ws()).await;
    let (port, second) = (free_port(), free_port());
    nginx(&mut stage, "", port, &silent_for(3, behind)).await;
    let haproxy = format!(
        "defaults\n  mode http\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n  timeout tunnel 3s\n\
         frontend in\n  bind 127.0.0.1:{second}\n  default_backend out\nbackend out\n  server s 127.0.0.1:{behind}\n"
    );
    let file = stage.write("haproxy.cfg", haproxy);
    let mut command = system("haproxy");
    command.arg("-db").arg("-f").arg(file);
    stage.start("haproxy", &mut command, &[second]).await;
    for (port, name) in [(port, "nginx"), (second, "something in between")] {
        let mut config = client(&Vmess::ws(), port);
        let args = ["--url", &*url, "--idle", "20"];
        let report = Report::of(&stage, &config, &args).await;
        report.breaks("idle", "idle-cut", &[name, "heartbeatPeriod", "silent for"]);
        config["outbounds"][0]["streamSettings"]["wsSettings"]["heartbeatPeriod"] = json!(1);
        let report = Report::of(&stage, &config, &args).await;
        report.is_well("idle", &["keeps it alive"]);
    }
}

/// What ends a tunnel that has no word for it is not known; every other tunnel tells.
#[tokio::test]
async fn who_cuts_silence_is_known_as_far_as_the_tunnel_tells() {
    let url = target().await;
    let mut stage = Stage::new();
    for (vmess, tells) in [
        (Vmess::ws().vless(), true),
        (Vmess::ws().trojan(), true),
        (Vmess::httpupgrade(), true),
        (Vmess::httpupgrade().vless(), false),
        (Vmess::httpupgrade().trojan(), false),
    ] {
        let behind = server(&mut stage, &vmess).await;
        let port = free_port();
        let mut stage = Stage::new();
        nginx(&mut stage, "", port, &silent_for(2, behind)).await;
        let args = ["--url", &*url, "--idle", "10"];
        let report = Report::of(&stage, &client(&vmess, port), &args).await;
        match tells {
            true => report.breaks("idle", "idle-cut", &["something in between"]),
            false => report.is_well("idle", &["or by what is in between"]),
        }
    }
}
