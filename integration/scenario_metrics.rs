//! Metrics, read as Prometheus' own parsers read them.

use std::net::Ipv4Addr;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::configs::Vmess;
use crate::peers::Peer::Mobula;
use crate::peers::{Stage, free_port, mobula, python, root};
use crate::traffic::{self, To};

/// The answer to a request, head and body.
async fn ask(port: u16, path: &str, headers: &str) -> (String, String) {
    let connecting = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await;
    let mut stream = connecting.expect("metrics are served");
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n{headers}\r\n"
    );
    stream
        .write_all(request.as_bytes())
        .await
        .expect("it reads");
    let mut answer = String::new();
    let reading = stream.read_to_string(&mut answer);
    let read = tokio::time::timeout(traffic::LIMIT, reading).await;
    read.expect("in time").expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    (head.to_owned(), body.to_owned())
}

/// What the official parser makes of a text: `[name, labels, value]` of each sample.
fn parsed(stage: &Stage, body: &str, parser: &str) -> Vec<(String, Value, f64)> {
    let file = stage.write("metrics.txt", body);
    let script = format!(
        "import json, sys\nfrom {parser} import text_string_to_metric_families as families\n\
        text = open(sys.argv[1], newline='').read()\n\
        print(json.dumps([[s.name, s.labels, s.value] for f in families(text) for s in f.samples]))"
    );
    let output = python().arg("-c").arg(script).arg(file).output();
    let output = output.expect("python runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{body}");
    serde_json::from_slice(&output.stdout).expect("samples")
}

fn value(samples: &[(String, Value, f64)], name: &str, labels: &Value) -> f64 {
    let found = samples.iter().find(|(n, l, _)| n == name && l == labels);
    found
        .unwrap_or_else(|| panic!("{name} of {labels} is not in {samples:#?}"))
        .2
}

/// A server with `metrics` and a client for it.
async fn watched(stage: &mut Stage, metrics: Value) -> (u16, u16) {
    let (server, socks) = (free_port(), free_port());
    let mut config = Vmess::ws().server(Mobula, server);
    config["metrics"] = metrics;
    config["inbounds"][0]["tag"] = json!("front");
    config["outbounds"][0]["tag"] = json!("direct");
    stage.run(Mobula, "server", &config, &[server]).await;
    let config = Vmess::ws().client(Mobula, socks, server);
    stage.run(Mobula, "client", &config, &[socks]).await;
    (server, socks)
}

#[tokio::test]
async fn both_official_parsers_read_what_happened() {
    let mut stage = Stage::new();
    let port = free_port();
    let listen = format!("127.0.0.1:{port}");
    let (server, socks) = watched(&mut stage, json!({"listen": listen})).await;
    let to = To::Ip(traffic::echo().await);
    let mut held = traffic::connect(socks, &to).await.expect("SOCKS connects");
    traffic::exchange(&mut held, &traffic::bytes(100_000)).await;
    // A refusal, under the code that the log has.
    let mut stranger = TcpStream::connect((Ipv4Addr::LOCALHOST, server))
        .await
        .expect("mobula listens");
    let request = b"GET /other HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n";
    stranger.write_all(request).await.expect("it reads");
    let _ = stranger.read_to_end(&mut Vec::new()).await;
    stage.until_file_has("access.log", "[ws-path]").await;
    for (accept, form, parser) in [
        ("", "text/plain; version=0.0.4", "prometheus_client.parser"),
        (
            "Accept: application/openmetrics-text;version=1.0.0;q=0.5,*/*;q=0.1\r\n",
            "application/openmetrics-text; version=1.0.0",
            "prometheus_client.openmetrics.parser",
        ),
    ] {
        let (head, body) = ask(port, "/metrics", accept).await;
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        let head = head.to_ascii_lowercase();
        assert!(head.contains(&format!("content-type: {form}")), "{head}");
        let samples = parsed(&stage, &body, parser);
        let front = json!({"inbound": "front"});
        let of = |name: &str, labels: Value| value(&samples, name, &labels);
        assert_eq!(of("mobula_tunnels", json!({})), 1.0);
        assert_eq!(value(&samples, "mobula_connections", &front), 1.0);
        let outcome = |outcome: &str| json!({"inbound": "front", "outcome": outcome});
        assert_eq!(of("mobula_handshakes_total", outcome("accepted")), 1.0);
        assert_eq!(of("mobula_handshakes_total", outcome("refused")), 1.0);
        let reason = json!({"inbound": "front", "reason": "ws-path"});
        assert_eq!(of("mobula_refusals_total", reason), 1.0);
        let up = json!({"user": "a@mobula.test", "direction": "uplink"});
        assert_eq!(of("mobula_user_traffic_bytes_total", up), 100_000.0);
        let down = json!({"inbound": "front", "direction": "downlink"});
        assert!(of("mobula_inbound_traffic_bytes_total", down) > 100_000.0);
        let direct = json!({"outbound": "direct", "direction": "uplink"});
        assert_eq!(of("mobula_outbound_traffic_bytes_total", direct), 100_000.0);
        let made = json!({"outbound": "direct", "outcome": "made"});
        assert_eq!(of("mobula_connects_total", made), 1.0);
        assert_eq!(
            of("mobula_handshake_duration_seconds_count", front.clone()),
            1.0
        );
        let version = json!({"version": env!("CARGO_PKG_VERSION")});
        assert_eq!(of("mobula_build_info", version), 1.0);
        assert!(of("process_open_fds", json!({})) > 5.0);
        assert!(of("process_resident_memory_bytes", json!({})) > 1e6);
    }
    let (head, _) = ask(port, "/debug/pprof/", "").await;
    assert!(head.starts_with("HTTP/1.1 404"), "{head}");
}

#[tokio::test]
async fn a_token_is_asked_for_and_what_is_hidden_is_not_told() {
    let mut stage = Stage::new();
    let port = free_port();
    let metrics = json!({
        "listen": format!("127.0.0.1:{port}"), "token": "sesame", "hide": ["users", "version", "process"],
    });
    let (_, socks) = watched(&mut stage, metrics).await;
    traffic::word(socks, &To::Ip(traffic::echo().await)).await;
    for header in [
        "",
        "Authorization: Bearer sesam\r\n",
        "Authorization: Bearer sesame!\r\n",
        "Authorization: Basic sesame\r\n",
        "Authorization: sesame\r\n",
    ] {
        let (head, body) = ask(port, "/metrics", header).await;
        assert!(head.starts_with("HTTP/1.1 401"), "{header}: {head}");
        assert!(!body.contains("mobula_"), "{body}");
    }
    let (head, body) = ask(port, "/metrics", "Authorization: Bearer sesame\r\n").await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    let samples = parsed(&stage, &body, "prometheus_client.parser");
    assert!(
        samples
            .iter()
            .any(|(name, ..)| name == "mobula_inbound_traffic_bytes_total")
    );
    for hidden in ["a@mobula.test", "build_info", "process_"] {
        assert!(!body.contains(hidden), "{hidden}:\n{body}");
    }
}

/// Xray's way: rules lead an inbound to the tag.
#[tokio::test]
async fn rules_lead_to_the_tag_as_in_xray() {
    let mut stage = Stage::new();
    let door = free_port();
    let config = json!({
        "metrics": {"tag": "numbers"},
        "inbounds": [{
            "tag": "door", "listen": "127.0.0.1", "port": door, "protocol": "dokodemo-door",
            "settings": {"address": "127.0.0.1"},
        }],
        "outbounds": [{"protocol": "freedom"}],
        "routing": {"rules": [{"type": "field", "inboundTag": "door", "outboundTag": "numbers"}]},
    });
    stage.run(Mobula, "server", &config, &[door]).await;
    let (head, body) = ask(door, "/metrics", "").await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert!(body.contains("mobula_build_info"), "{body}");
    // For all the world there must be a token.
    let mut open = config.clone();
    open["inbounds"][0]["listen"] = json!("0.0.0.0");
    let file = stage.write("open.json", open.to_string());
    let output = mobula().args(["test", "-c"]).arg(&file).output();
    let output = output.expect("mobula runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && said.contains("metrics: "),
        "{said}"
    );
    open["metrics"]["token"] = json!("sesame");
    let file = stage.write("closed.json", open.to_string());
    let output = mobula().args(["test", "-c"]).arg(&file).output();
    assert!(output.expect("mobula runs").status.success());
}

/// Each metric that the dashboard draws is one.
#[tokio::test]
async fn the_dashboard_draws_what_there_is() {
    let mut stage = Stage::new();
    let port = free_port();
    let listen = format!("127.0.0.1:{port}");
    let (_, socks) = watched(&mut stage, json!({"listen": listen})).await;
    traffic::word(socks, &To::Ip(traffic::echo().await)).await;
    let (_, body) = ask(port, "/metrics", "").await;
    let text = std::fs::read_to_string(root().join("docs/grafana.json")).expect("it is there");
    let dashboard: Value = serde_json::from_str(&text).expect("a dashboard");
    let panels = dashboard["panels"].as_array().expect("panels");
    let mut drawn = 0;
    for target in panels.iter().flat_map(|panel| {
        let targets = panel["targets"].as_array();
        targets.cloned().unwrap_or_default()
    }) {
        let query = target["expr"].as_str().expect("a query");
        for name in query.split(|c: char| !c.is_ascii_alphanumeric() && c != '_') {
            if !name.starts_with("mobula_") && !name.starts_with("process_") {
                continue;
            }
            drawn += 1;
            // Nothing was refused yet, so there is no sample of it.
            let is_known = body.contains(name) || name == "mobula_refusals_total";
            assert!(is_known, "{name} is in the dashboard and not in\n{body}");
        }
    }
    assert!(drawn >= 10, "{drawn} metrics");
}

/// As panels of Xray read them.
#[tokio::test]
async fn xray_s_vars_have_the_counters_and_what_the_observatory_saw() {
    let mut stage = Stage::new();
    let (port, server, nobody) = (free_port(), free_port(), free_port());
    let mut config = Vmess::ws().server(Mobula, server);
    config["metrics"] = json!({"listen": format!("127.0.0.1:{port}"), "hide": ["process"]});
    config["inbounds"][0]["tag"] = json!("front");
    config["outbounds"][0]["tag"] = json!("direct");
    config["outbounds"].as_array_mut().unwrap().push(json!({
        "tag": "dead", "protocol": "socks", "settings": {"servers": [{"address": "127.0.0.1", "port": nobody}]},
    }));
    let url = crate::scenario_doctor::target().await;
    config["observatory"] =
        json!({"subjectSelector": ["direct", "dead"], "probeURL": url, "probeInterval": "200ms"});
    stage.run(Mobula, "server", &config, &[server]).await;
    let socks = free_port();
    let client = Vmess::ws().client(Mobula, socks, server);
    stage.run(Mobula, "client", &client, &[socks]).await;
    let to = To::Ip(traffic::echo().await);
    let mut held = traffic::connect(socks, &to).await.expect("SOCKS connects");
    traffic::exchange(&mut held, &traffic::bytes(100_000)).await;
    let mut vars = Value::Null;
    for _ in 0..100 {
        let (head, body) = ask(port, "/debug/vars", "").await;
        assert!(head.contains("application/json"), "{head}");
        vars = serde_json::from_str(&body).expect("JSON");
        let seen = &vars["observatory"];
        if seen["direct"]["alive"] == json!(true) && seen["dead"]["last_try_time"].is_i64() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    let seen = &vars["observatory"];
    assert_eq!(seen["direct"]["outbound_tag"], "direct", "{vars:#}");
    assert!(seen["direct"]["last_seen_time"].is_i64(), "{vars:#}");
    assert_eq!(seen["dead"]["delay"], 99_999_999, "{vars:#}");
    assert!(seen["dead"]["last_error_reason"].is_string(), "{vars:#}");
    assert!(seen["dead"].get("alive").is_none(), "{vars:#}");
    for (kind, tag) in [("inbound", "front"), ("outbound", "direct")] {
        for direction in ["uplink", "downlink"] {
            let bytes = vars["stats"][kind][tag][direction].as_i64();
            assert!(
                bytes.is_some_and(|n| n >= 100_000),
                "{kind} {direction}: {vars:#}"
            );
        }
    }
    assert!(vars.get("memstats").is_none(), "it is hidden: {vars:#}");
}
