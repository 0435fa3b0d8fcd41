//! The first minute: `mobula run` with nothing else.

use std::net::SocketAddr;
use std::process::{Command, Output};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::peers::{Stage, listen, mobula};
use crate::traffic::LIMIT;

/// A web server that says the same to everyone.
async fn web() -> SocketAddr {
    let listener = listen();
    let at = listener.local_addr().expect("a listener has an address");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 4096]).await;
            let answer = "HTTP/1.1 200 OK\r\nContent-Length: 7\r\nConnection: close\r\n\r\nit runs";
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    at
}

/// The printed line with another target.
async fn by(curl: &str, target: &str) -> Output {
    let curl = curl.replace("https://example.com/", target);
    assert!(curl.contains(target), "{curl}");
    let output = tokio::task::spawn_blocking(move || {
        let mut words = curl.split_whitespace();
        let mut command = Command::new(words.next().unwrap_or_default());
        command.args(["-sS", "--max-time", "20"]).args(words);
        command.env("no_proxy", "").output()
    });
    output.await.expect("no panic").expect("curl runs")
}

#[tokio::test]
async fn the_printed_curl_line_works_and_the_link_leads_here() {
    let mut stage = Stage::new();
    let mut command = mobula();
    command.arg("run").env_remove("V2RAY_LOCATION_CONFIG");
    let child = stage.start("default", &mut command, &[]).await;
    let said = timeout(LIMIT, async {
        loop {
            let log = stage.log_so_far(child);
            if log.contains("started") {
                return log;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let said = said.await.expect("it starts");

    let curl = said.lines().find(|line| line.starts_with("curl "));
    let curl = curl.expect("a curl line is printed");
    let target = format!("http://{}/", web().await);
    let output = by(curl, &target).await;
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.stdout, b"it runs", "{errors}");

    // Of private networks, this machine alone: nobody else may come in.
    let output = by(curl, "http://10.1.2.3:18765/").await;
    assert!(!output.status.success());
    let log = stage.log_so_far(child);
    assert!(log.contains("hold back 10.1.2.3:18765"), "{log}");

    let link = said
        .split_whitespace()
        .find(|word| word.starts_with("vmess://"));
    let link = link
        .expect("a link is printed")
        .trim_start_matches("vmess://");
    let link = STANDARD.decode(link).expect("the link is base64");
    let link: Value = serde_json::from_slice(&link).expect("of JSON");
    let id = link["id"].as_str().expect("with an id");
    assert_eq!(
        id.parse::<uuid::Uuid>().map(|id| id.to_string()),
        Ok(id.to_owned())
    );
    assert_eq!(
        (&link["net"], &link["path"]),
        (&"ws".into(), &"/ray".into())
    );
    assert_eq!(link["v"], "2");
}
