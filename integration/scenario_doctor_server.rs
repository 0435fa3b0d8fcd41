//! `mobula doctor --server`: ports, certificates, paths, clocks and files that are really wrong, and public URLs that lead
//! elsewhere.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use crate::configs::{self, Certificate, SERVER_NAME, Vmess};
use crate::peers::Peer::Mobula;
use crate::peers::{Stage, free_port, listener, mobula, system};
use crate::scenario_doctor::{Report, certificate_until, new_year_2020, nginx};

fn vmess_server(port: u16) -> Value {
    Vmess::ws().server(Mobula, port)
}

/// The same server with users of another protocol.
fn server_of(protocol: &str, port: u16) -> Value {
    let mut config = vmess_server(port);
    let inbound = &mut config["inbounds"][0];
    inbound["protocol"] = json!(protocol);
    match protocol {
        "vless" => inbound["settings"]["decryption"] = json!("none"),
        "trojan" => inbound["settings"] = json!({"clients": [{"password": "as long as a word"}]}),
        _ => {}
    }
    config
}

#[tokio::test]
async fn who_holds_a_servers_port_is_named() {
    let stage = Stage::new();
    let taken = listener();
    let port = taken.local_addr().unwrap().port();
    let report = Report::of(&stage, &vmess_server(port), &["--server"]).await;
    let pid = format!("pid {}", std::process::id());
    report.breaks("ports", "port-taken", &[&pid, &port.to_string()]);
    drop(taken);
    let mut stage = Stage::new();
    let port = free_port();
    let report = Report::of(&stage, &vmess_server(port), &["--server"]).await;
    report.is_well("ports", &["is free"]);
    report.is_well("paths", &["/ray"]);
    stage
        .run(Mobula, "server", &vmess_server(port), &[port])
        .await;
    let report = Report::of(&stage, &vmess_server(port), &["--server"]).await;
    report.is_well("ports", &["is listened on by mobula"]);
    report.is_well("descriptors", &["mobula (pid"]);
    let mut elsewhere = vmess_server(port);
    elsewhere["inbounds"][0]["listen"] = json!("192.0.2.1");
    let report = Report::of(&stage, &elsewhere, &["--server"]).await;
    report.breaks("ports", "port-nowhere", &["192.0.2.1"]);
}

#[tokio::test]
async fn a_servers_certificates_are_read_compared_and_dated() {
    let stage = Stage::new();
    let with = |certificate: &Path, key: &Path| {
        let mut config = vmess_server(free_port());
        let stream = &mut config["inbounds"][0]["streamSettings"];
        stream["security"] = json!("tls");
        stream["tlsSettings"] =
            json!({"certificates": [{"certificateFile": certificate, "keyFile": key}]});
        config
    };
    let good = Certificate::new(&stage);
    let report = Report::of(&stage, &with(&good.chain, &good.key), &["--server"]).await;
    report.is_well("certificates", &[SERVER_NAME]);
    let missing = stage.path("missing.pem");
    let report = Report::of(&stage, &with(&missing, &good.key), &["--server"]).await;
    report.breaks("certificates", "certificate-unreadable", &["missing.pem"]);
    let other = Stage::new();
    let others = Certificate::new(&other);
    let report = Report::of(&stage, &with(&good.chain, &others.key), &["--server"]).await;
    report.breaks("certificates", "certificate-key", &["does not belong"]);
    let old = Stage::new();
    let expired = certificate_until(&old, new_year_2020());
    let report = Report::of(&stage, &with(&expired.chain, &expired.key), &["--server"]).await;
    report.breaks("certificates", "certificate-invalid", &["expired"]);
    let soon = SystemTime::now() + Duration::from_secs(3 * 24 * 3600 + 60);
    let soon = certificate_until(&old, soon);
    let report = Report::of(&stage, &with(&soon.chain, &soon.key), &["--server"]).await;
    report.breaks("certificates", "certificate-expiring", &["3 days"]);
}

#[tokio::test]
async fn paths_that_collide_are_found() {
    let stage = Stage::new();
    let port = free_port();
    let mut config = vmess_server(port);
    let second = config["inbounds"][0].clone();
    config["inbounds"].as_array_mut().unwrap().push(second);
    let report = Report::of(&stage, &config, &["--server"]).await;
    report.breaks("paths", "paths-collide", &["/ray"]);
    // Early data behind the shorter path may be the longer one.
    config["inbounds"][1]["streamSettings"]["wsSettings"]["path"] = json!("/rayAAAA");
    config["inbounds"][0]["streamSettings"]["wsSettings"]["maxEarlyData"] = json!(2048);
    let report = Report::of(&stage, &config, &["--server"]).await;
    report.breaks("paths", "paths-collide", &["/rayAAAA"]);
    let site = stage.path("site");
    std::fs::create_dir_all(&site).unwrap();
    std::fs::write(site.join("ray"), "a page").unwrap();
    let mut config = vmess_server(port);
    config["inbounds"][0]["streamSettings"]["fallback"] = json!(site);
    let report = Report::of(&stage, &config, &["--server"]).await;
    report.breaks("paths", "paths-collide", &["/ray", "site"]);
}

/// A machine whose clock nobody sets, as systemd says of it; and one that may open few files.
#[tokio::test]
async fn the_clock_and_the_files_of_a_machine_are_looked_at() {
    let stage = Stage::new();
    std::fs::create_dir_all(stage.path("bin")).unwrap();
    for (answer, ok) in [("no", false), ("yes", true)] {
        let script = stage.write("script", format!("#!/bin/sh\necho {answer}\n"));
        // By another process, as `copy_of_mobula` has it.
        let mut install = system("install");
        install.args(["-m", "755"]).arg(script);
        let installed = install.arg(stage.path("bin/timedatectl")).status();
        assert!(
            installed.is_ok_and(|status| status.success()),
            "install works"
        );
        let report = Report::of(&stage, &vmess_server(free_port()), &["--server"]).await;
        match ok {
            true => report.is_well("clock", &[]),
            false => report.breaks("clock", "clock-unsynchronised", &["set-ntp"]),
        }
    }
    let file = stage.write("few.json", vmess_server(free_port()).to_string());
    let output = system("sh")
        .arg("-c")
        .arg("ulimit -n 256 && exec \"$0\" doctor --server --json -c \"$1\"")
        .arg(mobula().get_program())
        .arg(file)
        .output()
        .unwrap();
    let value: Value = serde_json::from_slice(&output.stdout).unwrap();
    let steps = value["steps"].as_array().unwrap();
    let files = steps
        .iter()
        .find(|step| step["step"] == "descriptors")
        .unwrap();
    assert_eq!(files["code"], "files-few", "{value:#}");
    assert_eq!(output.status.code(), Some(1));
}

/// The public URL leads by nginx to the server that runs, to one that is made to run for it, to another one, nowhere.
#[tokio::test]
async fn the_public_url_leads_here_or_it_is_said_where_it_breaks() {
    let protocols = ["vmess", "vless", "trojan"];
    for (runs, protocol) in [true, false]
        .into_iter()
        .flat_map(|r| protocols.map(|p| (r, p)))
    {
        let mut stage = Stage::new();
        let (behind, port) = (free_port(), free_port());
        let config = server_of(protocol, behind);
        if runs {
            stage.run(Mobula, "server", &config, &[behind]).await;
        }
        nginx(&mut stage, "", port, &configs::documented_location(behind)).await;
        let url = format!("http://localhost:{port}/ray");
        let report = Report::of(&stage, &config, &["--server", "--url", &url]).await;
        report.is_well("dns", &["this machine"]);
        report.is_well("url", &["leads to"]);
        let other = format!("http://localhost:{port}/other");
        let report = Report::of(&stage, &config, &["--server", "--url", &other]).await;
        report.breaks(
            "url",
            "ws-path",
            &["no inbound has the path /other", "/ray"],
        );
    }
    let mut stage = Stage::new();
    let (behind, port, other) = (free_port(), free_port(), free_port());
    let mut stranger = vmess_server(other);
    stranger["inbounds"][0]["settings"]["clients"][0]["id"] =
        json!("00000000-0000-4000-8000-000000000001");
    stage.run(Mobula, "other", &stranger, &[other]).await;
    nginx(&mut stage, "", port, &configs::documented_location(other)).await;
    let config = vmess_server(behind);
    let url = format!("http://localhost:{port}/ray");
    let report = Report::of(&stage, &config, &["--server", "--url", &url]).await;
    report.breaks("url", "url-elsewhere", &["proxy_pass"]);
    let closed: SocketAddr = (Ipv4Addr::LOCALHOST, free_port()).into();
    let url = format!("http://{closed}/ray");
    let report = Report::of(&stage, &config, &["--server", "--url", &url]).await;
    report.breaks("url", "tcp-refused", &["at `tcp`"]);
}

/// A certificate that an authority has issued whom nobody here believes: a gap in its chain looks like that, and is no matter of pins.
#[tokio::test]
async fn a_public_certificate_without_its_chain_is_a_fault() {
    let mut stage = Stage::new();
    let (behind, port) = (free_port(), free_port());
    let config = server_of("vmess", behind);
    stage.run(Mobula, "server", &config, &[behind]).await;
    let until = SystemTime::now() + Duration::from_secs(30 * 24 * 3600);
    let certificate = certificate_until(&stage, until);
    let (chain, key) = (certificate.chain.display(), certificate.key.display());
    let listen = format!("ssl; ssl_certificate {chain}; ssl_certificate_key {key}");
    nginx(
        &mut stage,
        &listen,
        port,
        &configs::documented_location(behind),
    )
    .await;
    let url = format!("https://localhost:{port}/ray");
    let report = Report::of(&stage, &config, &["--server", "--url", &url]).await;
    report.breaks("url", "tls-issuer", &["at `tls`"]);
}
