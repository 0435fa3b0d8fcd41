//! Pipes in the place of certificate files.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use super::tests::{client, exchange, files, insecure, server, showing};

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
    let server = server(showing([files(&cert, fixture("key"))]));
    let any = || client(insecure());
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
    let keys = files(&cert, fixture("key"));
    assert!(keys.check().unwrap().late.is_some());
    let server = server(showing([keys]));
    assert!(began.elapsed() < Duration::from_secs(2));
    let any = client(insecure());
    assert!(exchange(&server, &any, "odd.test").await.is_err());
    fs::write(&cert, fs::read(fixture("crt")).unwrap()).unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(exchange(&server, &any, "odd.test").await, Ok(()));
}
