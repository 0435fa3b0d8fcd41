//! Both sides together, over a pipe in memory.

use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, SystemTime};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer};
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio::time::Instant;

use super::certificates::chain_hash;
use super::{
    ClientSettings, Inbound, KeyPair, Outbound, Pem, SelfSigned, ServerSettings, Versions,
};
use crate::address::{Destination, Host};
use crate::cause::TlsAcceptError;
use crate::io::Link;

#[tokio::test]
async fn a_certificate_of_a_believed_authority_is_taken_and_bytes_pass() {
    let (ca, ca_key) = authority();
    let leaf = Pair::issued(&["example.com", "192.0.2.1"], &ca, ca_key);
    let server = server(showing([leaf.keys()]));
    let client = client(believing(&ca.pem()));
    assert_eq!(exchange(&server, &client, "example.com").await, Ok(()));
    assert_eq!(
        exchange(&server, &client, "other.example").await,
        Err("the certificate is for example.com, 192.0.2.1, not for other.example: set `serverName` to the name it is for".to_owned())
    );
}

#[tokio::test]
async fn a_self_signed_certificate_is_taken_only_when_it_is_known() {
    for is_authority in [false, true] {
        let pair = Pair::self_signed(&["example.com"], is_authority);
        let server = server(showing([pair.keys()]));
        let known = client(believing(&pair.cert));
        assert_eq!(exchange(&server, &known, "example.com").await, Ok(()));
        let stranger = Pair::self_signed(&["example.com"], false);
        let unknown = ClientSettings {
            disable_system_root: true,
            ..believing(&stranger.cert)
        };
        let error = exchange(&server, &client(unknown), "example.com")
            .await
            .unwrap_err();
        assert!(error.contains("nobody we believe has issued"), "{error}");
        let any = client(insecure());
        assert_eq!(exchange(&server, &any, "elsewhere.example").await, Ok(()));
    }
}

#[tokio::test]
async fn a_pinned_chain_needs_no_issuer_and_another_chain_is_refused() {
    let pair = Pair::self_signed(&["example.com"], false);
    let server = server(showing([pair.keys()]));
    let pinned = pinned(chain_hash(&[&pair.der]));
    let knowing = client(pinned.clone());
    assert_eq!(exchange(&server, &knowing, "example.com").await, Ok(()));
    let other = Pair::self_signed(&["example.com"], false);
    let imposter = self::server(showing([other.keys()]));
    let careless = ClientSettings {
        allow_insecure: true,
        ..pinned.clone()
    };
    for settings in [pinned, careless] {
        let error = exchange(&imposter, &client(settings), "example.com")
            .await
            .unwrap_err();
        assert!(
            error.contains("none of `pinnedPeerCertificateChainSha256`"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_pinned_certificate_is_the_servers_own_or_its_issuers() {
    let own = Pair::self_signed(&["example.com"], false);
    let pins = |certificate: &[u8]| ClientSettings {
        certificate_pins: vec![chain_hash(&[certificate])],
        ..ClientSettings::default()
    };
    let its_own = server(showing([own.keys()]));
    let knowing = client(pins(&own.der));
    assert_eq!(exchange(&its_own, &knowing, "any.example").await, Ok(()));

    let (ca, ca_key) = authority();
    let mut issued = Pair::issued(&["example.com"], &ca, ca_key);
    issued.cert += &ca.pem();
    let issued = server(showing([issued.keys()]));
    let knowing = client(pins(ca.der()));
    assert_eq!(exchange(&issued, &knowing, "example.com").await, Ok(()));
    let error = exchange(&issued, &knowing, "other.example").await;
    assert!(error.unwrap_err().contains("not for other.example"));

    // Whoever copies a pinned authority's certificate has not been issued one by it.
    let mut copied = Pair::self_signed(&["example.com"], false);
    copied.cert += &ca.pem();
    let imposter = server(showing([copied.keys()]));
    let careless = ClientSettings {
        allow_insecure: true,
        ..pins(ca.der())
    };
    for settings in [pins(ca.der()), careless] {
        let error = exchange(&imposter, &client(settings), "example.com").await;
        assert!(error.unwrap_err().contains("nobody we believe"));
    }
    let error = exchange(&its_own, &knowing, "example.com").await;
    assert_eq!(
        error.unwrap_err(),
        "none of the server's certificates is one of `pinnedPeerCertSha256`"
    );
}

#[tokio::test]
async fn a_certificate_is_for_one_of_the_names_to_verify() {
    let (ca, ca_key) = authority();
    let leaf = Pair::issued(&["real.example"], &ca, ca_key);
    let server = server(showing([leaf.keys()]));
    let verifying = |names: &[&str]| ClientSettings {
        verify_names: names.iter().map(|n| Host::parse(n).unwrap()).collect(),
        allow_insecure: true,
        ..believing(&ca.pem())
    };
    let knowing = client(verifying(&["first.example", "real.example"]));
    assert_eq!(exchange(&server, &knowing, "front.example").await, Ok(()));
    let wrong = client(verifying(&["first.example"]));
    let error = exchange(&server, &wrong, "real.example").await;
    assert!(error.unwrap_err().contains("not for first.example"));
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
    let server = server(showing([pair.keys()]));
    let client = client(believing(&pair.cert));
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
    let server = server(showing(pairs.each_ref().map(Pair::keys)));
    for (name, expected) in [
        ("first.example", 0),
        ("b.wild.example", 1),
        ("a.wild.example", 2),
        ("unknown.example", 0),
    ] {
        let client = client(pinned(chain_hash(&[&pairs[expected].der])));
        assert_eq!(exchange(&server, &client, name).await, Ok(()), "{name}");
    }
}

#[tokio::test]
async fn an_authority_issues_certificates_for_the_names_asked_for() {
    let (ca, key) = authority();
    let server = server(issuing(inline(&ca.pem(), &key.serialize_pem())));
    let client = client(believing(&ca.pem()));
    for name in ["one.example", "two.example", "one.example"] {
        assert_eq!(exchange(&server, &client, name).await, Ok(()), "{name}");
    }
}

#[tokio::test]
async fn an_authority_whose_files_change_issues_in_its_new_name() {
    let dir = tempfile::tempdir().unwrap();
    let (cert, key) = (dir.path().join("ca.pem"), dir.path().join("ca.key"));
    let write = |(ca, ca_key): &(rcgen::Certificate, rcgen::KeyPair)| {
        fs::write(&cert, ca.pem()).unwrap();
        fs::write(&key, ca_key.serialize_pem()).unwrap();
    };
    let authorities = [authority(), authority()];
    write(&authorities[0]);
    let server = server(issuing(files(&cert, &key)));
    let believes = |(ca, _): &(rcgen::Certificate, rcgen::KeyPair)| {
        client(ClientSettings {
            disable_system_root: true,
            ..believing(&ca.pem())
        })
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
async fn a_certificate_made_at_start_is_pinned_by_its_hash() {
    let host = Host::Domain("example.com".to_owned());
    let self_signed = SelfSigned::new(Some(&host));
    let hash = self_signed.make().unwrap();
    let server = server(ServerSettings {
        self_signed: Some(self_signed),
        ..ServerSettings::default()
    });
    let client = client(pinned(hash));
    assert_eq!(exchange(&server, &client, "example.com").await, Ok(()));
    assert_eq!(exchange(&server, &client, "127.0.0.1").await, Ok(()));
}

#[tokio::test]
async fn settings_make_more_than_one_server() {
    let pair = Pair::self_signed(&["example.com"], false);
    let settings = showing([pair.keys()]);
    settings.certificates[0].check().unwrap();
    let client = client(pinned(chain_hash(&[&pair.der])));
    for _ in 0..2 {
        let server = server(settings.clone());
        assert_eq!(exchange(&server, &client, "example.com").await, Ok(()));
    }
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
    let server = server(showing([files(&cert, &key)]));
    let knows = |pair: &Pair| client(pinned(chain_hash(&[&pair.der])));
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
    let old = server(ServerSettings {
        versions: Versions::Only12,
        ..showing([pair.keys()])
    });
    let any = client(insecure());
    assert_eq!(exchange(&old, &any, "example.com").await, Ok(()));
    let new = client(ClientSettings {
        versions: Versions::Only13,
        ..insecure()
    });
    let error = exchange(&old, &new, "example.com").await.unwrap_err();
    assert!(error.contains("ProtocolVersion"), "{error}");
}

#[tokio::test]
async fn protocols_that_do_not_meet_are_no_reason_to_part() {
    let pair = Pair::self_signed(&["example.com"], false);
    let server = server(showing([pair.keys()]));
    let client = client(ClientSettings {
        alpn: vec!["spdy/3".to_owned()],
        ..insecure()
    });
    assert_eq!(exchange(&server, &client, "example.com").await, Ok(()));
}

#[tokio::test]
async fn a_plain_request_is_told_from_tls() {
    let pair = Pair::self_signed(&["example.com"], false);
    let server = server(showing([pair.keys()]));
    let (mut near, far) = duplex(4096);
    near.write_all(b"GET /ray HTTP/1.1\r\n\r\n").await.unwrap();
    let end = server.accept(Link::other(far), Instant::now()).await;
    let error = end.unwrap_err();
    assert!(matches!(error, TlsAcceptError::NotTls), "{error}");

    let (mut near, far) = duplex(4096);
    near.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        .await
        .unwrap();
    let to = Destination::new(Host::Domain("example.com".to_owned()), 443);
    let error = client(ClientSettings::default())
        .wrap(Link::other(far), &to)
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "the server does not speak TLS on this port"
    );
}

/// What a browser of 2015 offers, and the fingerprint `360` with it.
#[tokio::test]
async fn a_client_of_old_suites_alone_is_told() {
    let pair = Pair::self_signed(&["example.com"], false);
    let server = server(showing([pair.keys()]));
    let mut hello = vec![3, 3];
    hello.extend([7; 32]);
    // No session; ECDHE-ECDSA and ECDHE-RSA with AES-128-CBC and SHA-1, and RC4; no compression.
    hello.extend([0, 0, 6, 0xc0, 0x09, 0xc0, 0x13, 0, 5, 1, 0]);
    // supported_groups, ec_point_formats, signature_algorithms.
    let extensions = [
        &[0, 10, 0, 4, 0, 2, 0, 23][..],
        &[0, 11, 0, 2, 1, 0],
        &[0, 13, 0, 4, 0, 2, 4, 3],
    ]
    .concat();
    hello.extend([0, u8::try_from(extensions.len()).unwrap()]);
    hello.extend(extensions);
    let len = u8::try_from(hello.len()).unwrap();
    let (mut near, far) = duplex(4096);
    let head = [22, 3, 1, 0, len + 4, 1, 0, 0, len];
    near.write_all(&[&head[..], &hello].concat()).await.unwrap();
    let end = server.accept(Link::other(far), Instant::now()).await;
    let error = end.unwrap_err();
    assert!(matches!(error, TlsAcceptError::NoSuite), "{error}");
}

#[tokio::test]
async fn a_connection_cut_without_goodbye_has_ended() {
    let pair = Pair::self_signed(&["example.com"], false);
    let server = server(showing([pair.keys()]));
    let (near, far) = duplex(64 * 1024);
    let accepting =
        crate::io::spawn(async move { server.accept(Link::other(far), Instant::now()).await });
    let to = Destination::new(Host::Domain("example.com".to_owned()), 443);
    let client = client(insecure());
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
        let Ok((mut link, _)) = server.accept(Link::other(far), Instant::now()).await else {
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

pub(super) fn server(settings: ServerSettings) -> Inbound {
    Inbound::new(&settings).unwrap()
}

pub(super) fn client(settings: ClientSettings) -> Outbound {
    Outbound::new(&settings).unwrap()
}

/// A server that has these certificates.
pub(super) fn showing<const N: usize>(certificates: [KeyPair; N]) -> ServerSettings {
    ServerSettings {
        certificates: certificates.into(),
        ..ServerSettings::default()
    }
}

fn issuing(issuer: KeyPair) -> ServerSettings {
    ServerSettings {
        issuers: vec![issuer],
        ..ServerSettings::default()
    }
}

pub(super) fn believing(pem: &str) -> ClientSettings {
    ClientSettings {
        authorities: Pem::Inline(pem.to_owned()).authorities().unwrap(),
        ..ClientSettings::default()
    }
}

pub(super) fn pinned(hash: [u8; 32]) -> ClientSettings {
    ClientSettings {
        pins: vec![hash],
        ..ClientSettings::default()
    }
}

pub(super) fn insecure() -> ClientSettings {
    ClientSettings {
        allow_insecure: true,
        ..ClientSettings::default()
    }
}

fn inline(certificate: &str, key: &str) -> KeyPair {
    let [certificate, key] = [certificate, key].map(|text| Pem::Inline(text.to_owned()));
    KeyPair::new(certificate, key)
}

pub(super) fn files(certificate: impl AsRef<Path>, key: impl AsRef<Path>) -> KeyPair {
    let file = |path: &Path| Pem::File(path.to_owned());
    KeyPair::new(file(certificate.as_ref()), file(key.as_ref()))
}

/// A certificate and its key.
pub(super) struct Pair {
    pub(super) cert: String,
    der: Vec<u8>,
    key: String,
}

impl Pair {
    pub(super) fn self_signed(names: &[&str], is_authority: bool) -> Self {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(names).unwrap();
        if is_authority {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        }
        Self::from(params)
    }

    fn issued(names: &[&str], ca: &rcgen::Certificate, key: rcgen::KeyPair) -> Self {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let issuer = Issuer::from_ca_cert_der(ca.der(), key).unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
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

    pub(super) fn keys(&self) -> KeyPair {
        inline(&self.cert, &self.key)
    }
}

impl From<CertificateParams> for Pair {
    fn from(params: CertificateParams) -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let cert = params.self_signed(&key).unwrap();
        Self {
            cert: cert.pem(),
            der: cert.der().to_vec(),
            key: key.serialize_pem(),
        }
    }
}

fn authority() -> (rcgen::Certificate, rcgen::KeyPair) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params
        .distinguished_name
        .push(DnType::CommonName, "test authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = rcgen::KeyPair::generate().unwrap();
    (params.self_signed(&key).unwrap(), key)
}
