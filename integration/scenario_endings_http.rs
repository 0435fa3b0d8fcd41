//! Responses through the `http` inbound that break off: none may look whole, however its end is told.

use std::io::ErrorKind;
use std::net::Ipv4Addr;
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::configs::Vmess;
use crate::peers::Peer::Mobula;
use crate::peers::{Stage, free_port, listen};
use crate::traffic::LIMIT;

/// What the head says about the end of the body, and the beginning of it.
const RESPONSES: [&str; 3] = [
    "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\nthe beginning",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nd\r\nthe beginning\r\n",
    // The end of the connection is the end of the body.
    "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nthe beginning",
];

#[tokio::test]
async fn a_response_that_breaks_off_is_reset() {
    for response in RESPONSES {
        for version in ["1.0", "1.1"] {
            for breaks in ["target", "server", "client"] {
                let (got, end) = broken(response, version, breaks).await;
                assert!(got.contains("the beginning"), "{got:?}");
                assert!(!got.ends_with("0\r\n\r\n"), "{got:?}");
                assert_eq!(
                    end,
                    Err(ErrorKind::ConnectionReset),
                    "HTTP/{version}, the {breaks} breaks off: {response:?} {got:?}"
                );
            }
        }
    }
}

/// What an application gets of `response`, and how it ended.
async fn broken(response: &str, version: &str, breaks: &str) -> (String, Result<(), ErrorKind>) {
    let mut stage = Stage::new();
    let (port, http) = (free_port(), free_port());
    let vmess = Vmess::ws();
    let config = vmess.server(Mobula, port);
    let server = stage.run(Mobula, "server", &config, &[port]).await;
    let mut config = vmess.client(Mobula, free_port(), port);
    config["inbounds"] = json!([{"listen": "127.0.0.1", "port": http, "protocol": "http"}]);
    let client = stage.run(Mobula, "client", &config, &[http]).await;
    let listener = listen();
    let at = listener.local_addr().unwrap();
    let mut application = TcpStream::connect((Ipv4Addr::LOCALHOST, http))
        .await
        .unwrap();
    let request = format!("GET http://{at}/ HTTP/{version}\r\nHost: {at}\r\n\r\n");
    application.write_all(request.as_bytes()).await.unwrap();
    let (mut target, _) = timeout(LIMIT, listener.accept()).await.unwrap().unwrap();
    let mut asked = [0; 1024];
    assert!(target.read(&mut asked).await.unwrap() > 0);
    target.write_all(response.as_bytes()).await.unwrap();
    let mut got = Vec::new();
    while !String::from_utf8_lossy(&got).contains("beginning") {
        let mut piece = [0; 1024];
        let n = timeout(LIMIT, application.read(&mut piece)).await;
        let n = n.expect("the beginning comes").unwrap();
        assert!(n > 0, "{got:?}");
        got.extend_from_slice(&piece[..n]);
    }
    sleep(Duration::from_millis(50)).await;
    match breaks {
        "target" => target.set_zero_linger().unwrap(),
        "server" => stage.child(server).signal("KILL"),
        _ => stage.child(client).signal("KILL"),
    }
    drop(target);
    let read = timeout(LIMIT, application.read_to_end(&mut got)).await;
    let end = read.expect("an end in time").map(|_| ());
    let got = String::from_utf8_lossy(&got).into_owned();
    (got, end.map_err(|e| e.kind()))
}
