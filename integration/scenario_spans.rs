//! Whose a line of the error log is.

use std::time::Duration;

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
        if ends(&stage.log(at)) && ends(&stage.log(client)) {
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
