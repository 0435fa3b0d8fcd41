use super::*;
use crate::transport::tls::Authorities;
use serde_json::json;
use std::process::Command;

#[test]
fn what_is_not_read_in_time_is_a_warning() {
    let dir = tempfile::tempdir().unwrap();
    let authority = dir.path().join("authority.pem");
    let made = Command::new("mkfifo").arg(&authority).status().unwrap();
    assert!(made.success());
    let settings = json!({"certificates": [{"usage": "verify", "certificateFile": authority}]});
    let report = Report::default();
    let read = client(Some(&Node::root(&settings, &report)), true).unwrap();
    assert_eq!(read.authorities, Authorities::default());
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

#[test]
fn the_hash_of_a_certificate_made_at_start_is_in_the_warning() {
    let settings = json!({"selfSigned": true, "serverName": "example.com"});
    let report = Report::default();
    let node = Node::root(&settings, &report);
    let read = server(&node, Some(&node), true).unwrap();
    assert_eq!(read.self_signed.unwrap().names[0], "example.com");
    let warning = report.warnings()[0].text.clone();
    let pin = warning.split('"').rev().nth(1).unwrap();
    let settings = json!({"pinnedPeerCertificateChainSha256": [pin]});
    let read = client(Some(&Node::root(&settings, &report)), false).unwrap();
    assert_eq!(read.pins.len(), 1);
    assert_eq!(report.errors(), []);
}

#[test]
fn settings_are_equal_when_they_mean_the_same() {
    let file = |kind: &str| {
        let root = env!("CARGO_MANIFEST_DIR");
        format!("{root}/testdata/certs/odd/ed25519.{kind}")
    };
    let keys = json!([{"certificateFile": file("crt"), "keyFile": file("key")}]);
    let settings = |more: Value| {
        let mut value = json!({"certificates": keys.clone()});
        value
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        let report = Report::default();
        let node = Node::root(&value, &report);
        server(&node, Some(&node), false).unwrap()
    };
    let one = settings(json!({}));
    assert_eq!(
        one,
        settings(json!({"minVersion": "1.2", "alpn": ["h2", "http/1.1"]}))
    );
    assert_ne!(one, settings(json!({"minVersion": "1.3"})));
    assert!(!format!("{one:?}").contains("ed25519.key"));
}
