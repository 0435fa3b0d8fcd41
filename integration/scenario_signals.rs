//! How the service ends, and how its log files are turned over.

use std::fs;
use std::time::{Duration, Instant};

use tokio::io::AsyncReadExt;

use crate::configs::Vmess;
use crate::peers::Peer::{Mobula, V2ray445};
use crate::peers::{Stage, free_port, listening};
use crate::traffic::{self, To};

/// A tunnel, by mobula's server and V2Ray's client; the server is the first child.
async fn pair(stage: &mut Stage) -> (u16, u16) {
    let (server, socks) = (free_port(), free_port());
    let config = Vmess::ws().server(Mobula, server);
    stage.run(Mobula, "server", &config, &[server]).await;
    let config = Vmess::ws().client(V2ray445, socks, server);
    stage.run(V2ray445, "client", &config, &[socks]).await;
    (server, socks)
}

#[tokio::test]
async fn tunnels_may_finish_after_the_signal() {
    let mut stage = Stage::new();
    let (server, socks) = pair(&mut stage).await;
    let to = To::Ip(traffic::echo().await);
    let mut stream = traffic::connect(socks, &to).await.expect("SOCKS connects");
    traffic::exchange(&mut stream, b"before").await;
    stage.child(0).signal("TERM");
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!listening(server), "nothing new is accepted");
    traffic::exchange(&mut stream, b"after").await;
    drop(stream);
    let status = stage.child(0).ended(Duration::from_secs(4)).await;
    assert_eq!(status.code(), Some(0));
}

#[tokio::test]
async fn a_tunnel_that_stays_is_ended_in_bounded_time() {
    for signal in ["TERM", "INT"] {
        let mut stage = Stage::new();
        let (_, socks) = pair(&mut stage).await;
        let to = To::Ip(traffic::echo().await);
        let mut stream = traffic::connect(socks, &to).await.expect("SOCKS connects");
        traffic::exchange(&mut stream, b"before").await;
        let began = Instant::now();
        stage.child(0).signal(signal);
        let status = stage.child(0).ended(Duration::from_secs(5)).await;
        assert_eq!(status.code(), Some(0));
        assert!(
            began.elapsed() > Duration::from_secs(1),
            "no time was given"
        );
        let end = tokio::time::timeout(Duration::from_secs(10), stream.read(&mut [0; 1])).await;
        assert!(
            matches!(end, Ok(Ok(0) | Err(_))),
            "the end is felt: {end:?}"
        );
    }
}

#[tokio::test]
async fn a_log_that_was_moved_away_is_begun_anew() {
    let mut stage = Stage::new();
    let (_, socks) = pair(&mut stage).await;
    let first = traffic::echo().await;
    traffic::word(socks, &To::Ip(first)).await;
    stage.until_file_has("access.log", &first.to_string()).await;
    fs::rename(stage.path("access.log"), stage.path("access.log.1")).expect("one folder");
    stage.child(0).signal("USR1");
    tokio::time::sleep(Duration::from_millis(300)).await;
    let second = traffic::echo().await;
    traffic::word(socks, &To::Ip(second)).await;
    let log = stage
        .until_file_has("access.log", &second.to_string())
        .await;
    assert!(!log.contains(&first.to_string()), "{log}");
    assert!(!stage.read("access.log.1").contains(&second.to_string()));
}

#[tokio::test]
async fn a_certificate_that_cannot_be_read_is_one_line() {
    let mut stage = Stage::new();
    let vmess = Vmess::wss(&stage);
    let config = vmess.server(Mobula, free_port());
    fs::remove_file(stage.path("key.pem")).expect("it was written");
    let child = stage.run(Mobula, "server", &config, &[]).await;
    let status = stage.child(child).ended(Duration::from_secs(1)).await;
    assert!(!status.success());
    let said = stage.log(child);
    let lines: Vec<_> = said
        .lines()
        .filter(|line| line.contains("key.pem"))
        .collect();
    assert_eq!(lines.len(), 1, "{said}");
    assert!(
        lines[0].contains("inbounds[0].streamSettings.tlsSettings"),
        "{said}"
    );
}

#[tokio::test]
async fn signals_that_mean_nothing_to_us_end_nothing() {
    let mut stage = Stage::new();
    let (_, socks) = pair(&mut stage).await;
    let to = To::Ip(traffic::echo().await);
    let mut stream = traffic::connect(socks, &to).await.expect("SOCKS connects");
    for signal in [
        "QUIT", "PIPE", "ALRM", "VTALRM", "PROF", "IO", "PWR", "STKFLT", "XCPU", "XFSZ", "RTMIN",
        "RTMIN+3", "RTMIN+30",
    ] {
        stage.child(0).signal(signal);
        traffic::exchange(&mut stream, signal.as_bytes()).await;
    }
    let mut late = traffic::connect(socks, &to).await.expect("SOCKS connects");
    traffic::exchange(&mut late, b"afterwards").await;
    let said = stage.log(0);
    for signal in ["SIGQUIT", "SIGXFSZ", "SIGRTMIN+3"] {
        assert!(
            said.contains(&format!("[Warning] {signal} is ignored")),
            "{signal}: {said}"
        );
    }
    stage.child(0).signal("TERM");
    traffic::exchange(&mut stream, b"in the last seconds").await;
    stage.child(0).signal("HUP");
    traffic::exchange(&mut stream, b"even then").await;
}
