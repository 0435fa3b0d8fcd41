//! Pipes in the place of certificate files.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;

use super::tests::{client, exchange, server};
use crate::json::{Node, Report};

fn fixture(kind: &str) -> String {
    let root = env!("CARGO_MANIFEST_DIR");
    format!("{root}/testdata/certs/odd/ed25519.{kind}")
}

fn pipe(dir: &Path, name: &str) -> PathBuf {
    let path = dir.join(name);
    let made = Command::new("mkfifo").arg(&path).status().unwrap();
    assert!(made.success());
    path
}

#[tokio::test]
async fn a_pipe_in_the_place_of_a_certificate_stops_no_handshake() {
    let dir = tempfile::tempdir().unwrap();
    let cert = dir.path().join("cert.pem");
    fs::copy(fixture("crt"), &cert).unwrap();
    let server = server(json!({"certificates": [
        {"certificateFile": cert, "keyFile": fixture("key")},
    ]}));
    let any = || client(json!({"allowInsecure": true}));
    assert_eq!(exchange(&server, &any(), "odd.test").await, Ok(()));
    fs::remove_file(&cert).unwrap();
    pipe(dir.path(), "cert.pem");
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let began = Instant::now();
    for _ in 0..3 {
        assert_eq!(exchange(&server, &any(), "odd.test").await, Ok(()));
    }
    assert!(began.elapsed() < Duration::from_secs(1));
}

#[tokio::test]
async fn a_pipe_that_nobody_writes_to_stops_no_start_and_is_read_when_somebody_does() {
    let dir = tempfile::tempdir().unwrap();
    let cert = pipe(dir.path(), "cert.pem");
    let began = Instant::now();
    let settings = json!({"certificates": [
        {"certificateFile": cert, "keyFile": fixture("key")},
    ]});
    let server = server(settings);
    assert!(began.elapsed() < Duration::from_secs(2));
    let any = client(json!({"allowInsecure": true}));
    assert!(exchange(&server, &any, "odd.test").await.is_err());
    fs::write(&cert, fs::read(fixture("crt")).unwrap()).unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(exchange(&server, &any, "odd.test").await, Ok(()));
}

#[test]
fn what_is_not_read_in_time_is_a_warning() {
    let dir = tempfile::tempdir().unwrap();
    let authority = pipe(dir.path(), "authority.pem");
    let settings = json!({"certificates": [{"usage": "verify", "certificateFile": authority}]});
    let report = Report::default();
    assert!(super::Outbound::read(Some(&Node::root(&settings, &report)), true).is_some());
    assert_eq!(report.errors(), []);
    let warning = report.warnings()[0].to_string();
    assert!(
        warning.starts_with("certificates[0].certificateFile: "),
        "{warning}"
    );
    assert!(
        warning.contains("authority.pem cannot be read in time"),
        "{warning}"
    );
}
