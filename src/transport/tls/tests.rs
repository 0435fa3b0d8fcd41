//! Both sides together, over a pipe in memory.

use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio::time::Instant;

use super::certificates::chain_hash;
use super::{Inbound, Outbound};
use crate::address::{Destination, Host};
use crate::io::{Link, Refusal};
use crate::json::{Node, Report};

#[tokio::test]
async fn a_certificate_of_a_believed_authority_is_taken_and_bytes_pass() {
    let (ca, ca_key) = authority();
    let leaf = Pair::issued(&["example.com"], &ca, ca_key);
    let server = server(json!({"certificates": [leaf.json()]}));
    let client =
        client(json!({"certificates": [{"usage": "verify", "certificate": lines(&ca.pem())}]}));
    assert_eq!(exchange(&server, &client, "example.com").await, Ok(()));
    assert_eq!(
        exchange(&server, &client, "other.example").await,
        Err("the certificate is for example.com, not for other.example: set `serverName` to the name it is for".to_owned())
    );
}

#[tokio::test]
async fn a_self_signed_certificate_is_taken_only_when_it_is_known() {
    for is_authority in [false, true] {
        let pair = Pair::self_signed(&["example.com"], is_authority);
        let server = server(json!({"certificates": [pair.json()]}));
        let known =
            json!({"certificates": [{"usage": "verify", "certificate": lines(&pair.cert)}]});
        assert_eq!(
            exchange(&server, &client(known), "example.com").await,
            Ok(())
        );
        let stranger = Pair::self_signed(&["example.com"], false);
        let unknown = json!({
            "disableSystemRoot": true,
            "certificates": [{"usage": "verify", "certificate": lines(&stranger.cert)}],
        });
        let error = exchange(&server, &client(unknown), "example.com")
            .await
            .unwrap_err();
        assert!(error.contains("nobody we believe has issued"), "{error}");
        let insecure = json!({"allowInsecure": true});
        assert_eq!(
            exchange(&server, &client(insecure), "elsewhere.example").await,
            Ok(())
        );
    }
}

#[tokio::test]
async fn a_pinned_chain_needs_no_issuer_and_another_chain_is_refused() {
    let pair = Pair::self_signed(&["example.com"], false);
    let server = server(json!({"certificates": [pair.json()]}));
    let pin = STANDARD.encode(chain_hash(&[&pair.der]));
    let pinned = json!({"pinnedPeerCertificateChainSha256": [pin]});
    assert_eq!(
        exchange(&server, &client(pinned.clone()), "example.com").await,
        Ok(())
    );
    let other = Pair::self_signed(&["example.com"], false);
    let imposter = self::server(json!({"certificates": [other.json()]}));
    for settings in [
        pinned.clone(),
        merged(pinned, json!({"allowInsecure": true})),
    ] {
        let error = exchange(&imposter, &client(settings), "example.com")
            .await
            .unwrap_err();
        assert!(
            error.contains("none of `pinnedPeerCertificateChainSha256`"),
            "{error}"
        );
    }
}

#[test]
fn a_chain_is_hashed_as_v2ray_hashes_it() {
    // sha256(sha256("a") || sha256("b")), by sha256sum.
    let hash = chain_hash(&[b"a", b"b"]);
    let hex: String = hash.iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(
        hex,
        "e5a01fee14e0ed5c48714f22180f25ad8365b53f9779f79dc4a3d7e93963f94a"
    );
}

#[tokio::test]
async fn an_expired_certificate_is_refused_in_plain_words() {
    let mut params = CertificateParams::new(vec!["example.com".to_owned()]).unwrap();
    params.not_after = (SystemTime::now() - Duration::from_secs(60)).into();
    let pair = Pair::from(params);
    let server = server(json!({"certificates": [pair.json()]}));
    let client =
        client(json!({"certificates": [{"usage": "verify", "certificate": lines(&pair.cert)}]}));
    let error = exchange(&server, &client, "example.com").await.unwrap_err();
    assert_eq!(
        error,
        "the server's certificate has expired (or our clock is wrong)"
    );
}

#[tokio::test]
async fn the_name_that_is_asked_for_chooses_the_certificate() {
    let pairs = [
        &["first.example"][..],
        &["*.wild.example"],
        &["a.wild.example"],
    ]
    .map(|names| Pair::self_signed(names, false));
    let all: Vec<Value> = pairs.iter().map(Pair::json).collect();
    let server = server(json!({"certificates": all}));
    for (name, expected) in [
        ("first.example", 0),
        ("b.wild.example", 1),
        ("a.wild.example", 2),
        ("unknown.example", 0),
    ] {
        let pin = STANDARD.encode(chain_hash(&[&pairs[expected].der]));
        let settings = json!({"pinnedPeerCertificateChainSha256": [pin], "allowInsecure": true});
        assert_eq!(
            exchange(&server, &client(settings), name).await,
            Ok(()),
            "{name}"
        );
    }
}

#[tokio::test]
async fn an_authority_issues_certificates_for_the_names_asked_for() {
    let (ca, key) = authority();
    let server = server(json!({"certificates": [
        {"usage": "issue", "certificate": lines(&ca.pem()), "key": lines(&key.serialize_pem())},
    ]}));
    let client =
        client(json!({"certificates": [{"usage": "verify", "certificate": lines(&ca.pem())}]}));
    for name in ["one.example", "two.example", "one.example"] {
        assert_eq!(exchange(&server, &client, name).await, Ok(()), "{name}");
    }
}

#[tokio::test]
async fn an_authority_whose_files_change_issues_in_its_new_name() {
    let dir = tempfile::tempdir().unwrap();
    let (cert, key) = (dir.path().join("ca.pem"), dir.path().join("ca.key"));
    let write = |(ca, ca_key): &(rcgen::Certificate, KeyPair)| {
        fs::write(&cert, ca.pem()).unwrap();
        fs::write(&key, ca_key.serialize_pem()).unwrap();
    };
    let authorities = [authority(), authority()];
    write(&authorities[0]);
    let server = server(json!({"certificates": [
        {"usage": "issue", "certificateFile": text(&cert), "keyFile": text(&key)},
    ]}));
    let believes = |(ca, _): &(rcgen::Certificate, KeyPair)| {
        client(json!({"disableSystemRoot": true, "certificates": [
            {"usage": "verify", "certificate": lines(&ca.pem())},
        ]}))
    };
    let name = "one.example";
    // A new client each time: one that has been here before resumes its session.
    let ask = async |authority| exchange(&server, &believes(authority), name).await;
    assert_eq!(ask(&authorities[0]).await, Ok(()));
    write(&authorities[1]);
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert_eq!(ask(&authorities[1]).await, Ok(()));
    assert!(ask(&authorities[0]).await.is_err());
}

#[tokio::test]
async fn a_certificate_made_at_start_is_pinned_by_what_the_warning_says() {
    let settings = json!({"selfSigned": true, "serverName": "example.com"});
    let report = Report::default();
    let server = Inbound::read(
        &Node::root(&Value::Null, &report),
        Some(&Node::root(&settings, &report)),
        true,
    )
    .unwrap();
    let warning = report.warnings()[0].text.clone();
    let pin = warning.split('"').rev().nth(1).unwrap();
    let client = client(json!({"pinnedPeerCertificateChainSha256": [pin]}));
    assert_eq!(exchange(&server, &client, "example.com").await, Ok(()));
    assert_eq!(exchange(&server, &client, "127.0.0.1").await, Ok(()));
}

#[tokio::test]
async fn changed_files_are_read_again_and_broken_ones_are_not_taken() {
    let dir = tempfile::tempdir().unwrap();
    let (cert, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
    let write = |pair: &Pair| {
        for (path, text) in [(&cert, &pair.cert), (&key, &pair.key)] {
            fs::write(path.with_extension("new"), text).unwrap();
            fs::rename(path.with_extension("new"), path).unwrap();
        }
    };
    let pairs = [(); 2].map(|()| Pair::self_signed(&["example.com"], false));
    write(&pairs[0]);
    let server = server(json!({"certificates": [
        {"certificateFile": text(&cert), "keyFile": text(&key)},
    ]}));
    let knows = |pair: &Pair| {
        client(
            json!({"pinnedPeerCertificateChainSha256": [STANDARD.encode(chain_hash(&[&pair.der]))]}),
        )
    };
    assert_eq!(
        exchange(&server, &knows(&pairs[0]), "example.com").await,
        Ok(())
    );
    write(&pairs[1]);
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert_eq!(
        exchange(&server, &knows(&pairs[1]), "example.com").await,
        Ok(())
    );
    fs::write(&cert, "no certificate").unwrap();
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert_eq!(
        exchange(&server, &knows(&pairs[1]), "example.com").await,
        Ok(())
    );
}

#[tokio::test]
async fn versions_meet_or_the_error_says_that_they_do_not() {
    let pair = Pair::self_signed(&["example.com"], false);
    let with = |more: Value| merged(json!({"certificates": [pair.json()]}), more);
    let client = |more| client(merged(json!({"allowInsecure": true}), more));
    let old = server(with(json!({"maxVersion": "1.2"})));
    assert_eq!(
        exchange(&old, &client(json!({})), "example.com").await,
        Ok(())
    );
    let error = exchange(&old, &client(json!({"minVersion": "1.3"})), "example.com")
        .await
        .unwrap_err();
    assert!(error.contains("ProtocolVersion"), "{error}");
}

#[tokio::test]
async fn protocols_that_do_not_meet_are_no_reason_to_part() {
    let pair = Pair::self_signed(&["example.com"], false);
    let server = server(json!({"certificates": [pair.json()]}));
    let report = Report::default();
    let settings = json!({"allowInsecure": true, "alpn": ["spdy/3"]});
    let client = Outbound::read(Some(&Node::root(&settings, &report)), false).unwrap();
    assert_eq!(exchange(&server, &client, "example.com").await, Ok(()));
}

#[tokio::test]
async fn a_plain_request_is_told_from_tls() {
    let pair = Pair::self_signed(&["example.com"], false);
    let server = server(json!({"certificates": [pair.json()]}));
    let (mut near, far) = duplex(4096);
    near.write_all(b"GET /ray HTTP/1.1\r\n\r\n").await.unwrap();
    let Err(Refusal::Done(reason)) = server.accept(Link::other(far), Instant::now()).await else {
        panic!("taken");
    };
    assert!(reason.starts_with("this is not TLS"), "{reason}");

    let (mut near, far) = duplex(4096);
    near.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        .await
        .unwrap();
    let to = Destination::new(Host::Domain("example.com".to_owned()), 443);
    let error = client(json!({}))
        .wrap(Link::other(far), &to)
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "the server does not speak TLS on this port"
    );
}

#[tokio::test]
async fn a_connection_cut_without_goodbye_has_ended() {
    let pair = Pair::self_signed(&["example.com"], false);
    let server = server(json!({"certificates": [pair.json()]}));
    let (near, far) = duplex(64 * 1024);
    let accepting =
        tokio::spawn(async move { server.accept(Link::other(far), Instant::now()).await });
    let to = Destination::new(Host::Domain("example.com".to_owned()), 443);
    let client = client(json!({"allowInsecure": true}));
    let mut near = client.wrap(Link::other(near), &to).await.unwrap();
    drop(accepting.await.unwrap().unwrap());
    let mut rest = Vec::new();
    assert_eq!(near.read_to_end(&mut rest).await.unwrap(), 0);
}

/// A handshake, and a few bytes both ways; the error is the client's.
pub(super) async fn exchange(
    server: &Inbound,
    client: &Outbound,
    name: &str,
) -> Result<(), String> {
    let (near, far) = duplex(64 * 1024);
    let host = name
        .parse::<IpAddr>()
        .map_or(Host::Domain(name.to_owned()), Host::Ip);
    let to = Destination::new(host, 443);
    let dressing = async {
        let mut link = client
            .wrap(Link::other(near), &to)
            .await
            .map_err(|e| e.to_string())?;
        link.write_all(b"ping").await.unwrap();
        link.flush().await.unwrap();
        link.shutdown().await.unwrap();
        let mut answer = Vec::new();
        link.read_to_end(&mut answer).await.unwrap();
        assert_eq!(answer, b"pong");
        Ok(())
    };
    let accepting = async {
        let Ok(mut link) = server.accept(Link::other(far), Instant::now()).await else {
            return;
        };
        let mut question = Vec::new();
        link.read_to_end(&mut question).await.unwrap();
        assert_eq!(question, b"ping");
        link.write_all(b"pong").await.unwrap();
        link.shutdown().await.unwrap();
    };
    tokio::join!(dressing, accepting).0
}

pub(super) fn server(settings: Value) -> Inbound {
    let report = Report::default();
    let stream = Node::root(&Value::Null, &report);
    let inbound = Inbound::read(&stream, Some(&Node::root(&settings, &report)), true);
    assert_eq!(report.errors(), []);
    inbound.unwrap()
}

pub(super) fn client(settings: Value) -> Outbound {
    let report = Report::default();
    let outbound = Outbound::read(Some(&Node::root(&settings, &report)), true);
    assert_eq!(report.errors(), []);
    outbound.unwrap()
}

/// A certificate and its key.
struct Pair {
    cert: String,
    der: Vec<u8>,
    key: String,
}

impl Pair {
    fn self_signed(names: &[&str], is_authority: bool) -> Self {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(names).unwrap();
        if is_authority {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        }
        Self::from(params)
    }

    fn issued(names: &[&str], ca: &rcgen::Certificate, key: KeyPair) -> Self {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let issuer = Issuer::from_ca_cert_der(ca.der(), key).unwrap();
        let key = KeyPair::generate().unwrap();
        let cert = CertificateParams::new(names)
            .unwrap()
            .signed_by(&key, &issuer)
            .unwrap();
        Self {
            cert: cert.pem(),
            der: cert.der().to_vec(),
            key: key.serialize_pem(),
        }
    }

    fn json(&self) -> Value {
        json!({"certificate": lines(&self.cert), "key": lines(&self.key)})
    }
}

impl From<CertificateParams> for Pair {
    fn from(params: CertificateParams) -> Self {
        let key = KeyPair::generate().unwrap();
        let cert = params.self_signed(&key).unwrap();
        Self {
            cert: cert.pem(),
            der: cert.der().to_vec(),
            key: key.serialize_pem(),
        }
    }
}

fn authority() -> (rcgen::Certificate, KeyPair) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params
        .distinguished_name
        .push(DnType::CommonName, "test authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    (params.self_signed(&key).unwrap(), key)
}

fn lines(pem: &str) -> Vec<&str> {
    pem.lines().collect()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn merged(mut one: Value, other: Value) -> Value {
    one.as_object_mut()
        .unwrap()
        .extend(other.as_object().unwrap().clone());
    one
}
