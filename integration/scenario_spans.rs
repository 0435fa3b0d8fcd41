//! Whose a line of the error log is.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::sleep;

use crate::configs::Vmess;
use crate::peers::Peer::Mobula;
use crate::peers::{Stage, free_port};
use crate::traffic::{self, To};

/// With a thousand tunnels a line is only of use when it says whose it is.
#[tokio::test]
async fn every_debug_line_names_its_connection_and_its_session() {
    let mut stage = Stage::new();
    let (server, socks) = (free_port(), free_port());
    let mut config = Vmess::ws().server(Mobula, server);
    config["log"]["loglevel"] = "debug".into();
    let at = stage.run(Mobula, "server", &config, &[server]).await;
    let mut config = Vmess::ws().client(Mobula, socks, server);
    config["log"]["loglevel"] = "debug".into();
    let client = stage.run(Mobula, "client", &config, &[socks]).await;
    let to = traffic::echo().await;
    for _ in 0..3 {
        traffic::word(socks, &To::Ip(to)).await;
    }
    traffic::datagrams(socks, &[60]).await;
    let ends = |log: &str| log.matches("session ended").count() >= 3;
    for _ in 0..50 {
        if ends(&stage.log_so_far(at)) && ends(&stage.log_so_far(client)) {
            break;
        }
        sleep(Duration::from_millis(100)).await;
    }
    for (log, is_server) in [(stage.log(at), true), (stage.log(client), false)] {
        let lines: Vec<&str> = log.lines().filter(|l| l.contains("[Debug]")).collect();
        assert!(lines.len() >= 6, "{log}");
        for line in &lines {
            assert!(line.contains(" inbound=inbounds[0]"), "{line}");
            assert!(line.contains(" source=127.0.0.1:"), "{line}");
        }
        let ended: Vec<_> = lines
            .iter()
            .filter(|l| l.contains("session ended"))
            .collect();
        assert!(ended.len() >= 3, "{log}");
        for line in ended {
            assert!(
                line.contains(" id=") && line.contains(" outbound=outbounds[0]"),
                "{line}"
            );
            assert!(
                line.contains(&format!(" to={to}")) || line.contains("to="),
                "{line}"
            );
        }
        // What a layer far below says belongs to a session, too.
        let closed: Vec<_> = lines.iter().filter(|l| l.contains("peer closed")).collect();
        assert!(!closed.is_empty() || !is_server, "{log}");
        for line in closed {
            assert!(line.contains(" id=") && line.contains(" to="), "{line}");
        }
    }
}

/// Those of a session that a SOCKS client begins, for a server with a name and TLS.
pub const CLIENT_STEPS: [&str; 7] = [
    "request",
    "dns",
    "tcp",
    "tls",
    "upgrade",
    "protocol",
    "first byte",
];

/// A step's name, and how long it took.
fn step(line: &str) -> Option<(&str, f64)> {
    let (_, said) = line.split_once(" [Debug] ")?;
    let (name, rest) = said.split_once(": ")?;
    let (ms, _) = rest.split_once(" ms, ")?;
    Some((name, ms.parse().ok()?))
}

/// Where a session spends its time is read from the log, at either end.
#[tokio::test]
async fn a_debug_log_is_a_waterfall_at_both_ends() {
    const SLOW: Duration = Duration::from_millis(300);
    let target = crate::peers::listen();
    let at = target.local_addr().expect("a listener has an address");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = target.accept().await {
            tokio::spawn(async move {
                let mut buf = [0; 1024];
                let n = stream.read(&mut buf).await.expect("a question");
                sleep(SLOW).await;
                stream.write_all(&buf[..n]).await.expect("an answer");
                // Held until the other end goes.
                let _ = stream.read(&mut buf).await;
            });
        }
    });
    for vless in [false, true] {
        let mut stage = Stage::new();
        let (server, socks) = (free_port(), free_port());
        let mut vmess = Vmess::wss(&stage);
        if vless {
            vmess = vmess.vless();
        }
        let log = json!({"loglevel": "debug"});
        let mut config = vmess.server(Mobula, server);
        config["log"] = log.clone();
        let there = stage.run(Mobula, "server", &config, &[server]).await;
        let mut config = vmess.client(Mobula, socks, server);
        config["log"] = log;
        let config = config.to_string().replace(
            &format!("\"127.0.0.1\",\"port\":{server}"),
            &format!("\"localhost\",\"port\":{server}"),
        );
        let config: Value = serde_json::from_str(&config).expect("JSON");
        let here = stage.run(Mobula, "client", &config, &[socks]).await;
        let to = To::Name("localhost", at.port());
        traffic::word(socks, &to).await;
        for _ in 0..50 {
            if stage.log_so_far(here).contains("session ended")
                && stage.log_so_far(there).contains("session ended")
            {
                break;
            }
            sleep(Duration::from_millis(100)).await;
        }
        let server = ["tls", "upgrade", "protocol", "dns", "tcp", "first byte"];
        for (log, wanted) in [
            (stage.log(here), &CLIENT_STEPS[..]),
            (stage.log(there), &server[..]),
        ] {
            let lines: Vec<&str> = log.lines().filter(|line| step(line).is_some()).collect();
            let steps: Vec<(&str, f64)> = lines.iter().filter_map(|line| step(line)).collect();
            let names: Vec<&str> = steps.iter().map(|(name, _)| *name).collect();
            assert_eq!(names, wanted, "{log}");
            for (name, ms) in steps {
                let is_slow = (299.0..2000.0).contains(&ms);
                match name {
                    "first byte" => assert!(is_slow, "{ms} ms: {log}"),
                    _ => assert!(ms < 5000.0, "{ms} ms: {log}"),
                }
            }
            // They belong together, and those of the session to it.
            let connection = |line: &str| {
                let (_, rest) = line.split_once(" connection=")?;
                rest.split(' ').next().map(str::to_owned)
            };
            let first = connection(lines[0]);
            assert!(first.is_some(), "{log}");
            for line in &lines {
                assert_eq!(connection(line), first, "{log}");
                let (name, _) = step(line).expect("it is one");
                let is_before = ["request", "tls", "upgrade", "protocol"].contains(&name)
                    && !line.contains(" outbound=");
                assert!(is_before || line.contains(" id=0 "), "{line}");
            }
        }
    }
}

/// Nobody pays for it who does not read it.
#[tokio::test]
async fn without_debug_no_step_is_told() {
    let mut stage = Stage::new();
    let (server, socks) = (free_port(), free_port());
    let config = Vmess::ws().server(Mobula, server);
    stage.run(Mobula, "server", &config, &[server]).await;
    let mut config = Vmess::ws().client(Mobula, socks, server);
    config["log"]["loglevel"] = "info".into();
    let at = stage.run(Mobula, "client", &config, &[socks]).await;
    traffic::word(socks, &To::Ip(traffic::echo().await)).await;
    let log = stage.log(at);
    assert!(log.contains("started") && !log.contains("[Debug]"), "{log}");
}
