//! Certificates that a library may object to: `testdata/certs/odd/make` says what is odd about each.

use std::sync::Arc;

use tokio::io::duplex;
use tokio::time::Instant;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::sign::{CertifiedKey, SigningKey, SingleCertAndKey};
use tokio_rustls::rustls::{ClientConfig, ServerConfig, version};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::certificates::chain_hash;
use super::settings::{Authorities, ClientAuth, ServerSettings};
use super::short_rsa::{PrivateKey, Signing};
use super::tests::{client, exchange, files, insecure, pinned, server, showing};
use super::{ClientSettings, KeyPair, PROVIDER, Pem, Versions, verify};
use crate::address::{Destination, Host};
use crate::io::Link;

/// Each with another one whose key is of the same kind.
const ODD: [(&str, &str); 9] = [
    ("version-1", "sha-1"),
    ("version-1-short", "short"),
    ("short", "version-1-short"),
    ("odd-length", "short"),
    ("sha-1", "version-1"),
    ("critical", "p-521"),
    ("p-521", "critical"),
    ("ed25519", "expired"),
    ("expired", "ed25519"),
];

fn file(name: &str, kind: &str) -> String {
    let root = env!("CARGO_MANIFEST_DIR");
    format!("{root}/testdata/certs/odd/{name}.{kind}")
}

fn leaf(name: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(file(name, "crt")).unwrap()
}

fn pin(name: &str) -> [u8; 32] {
    chain_hash(&[leaf(name)])
}

fn keys(name: &str) -> KeyPair {
    files(file(name, "crt"), file(name, "key"))
}

#[tokio::test]
async fn allow_insecure_and_pins_take_any_certificate_that_a_server_has() {
    for (name, _) in ODD {
        let server = server(showing([keys(name)]));
        for versions in [Versions::Only12, Versions::Only13] {
            for trust in [insecure(), pinned(pin(name))] {
                let client = client(ClientSettings { versions, ..trust });
                let ended = exchange(&server, &client, "elsewhere.test").await;
                assert_eq!(ended, Ok(()), "{name}, {versions:?}");
            }
        }
    }
}

#[tokio::test]
async fn whoever_has_the_certificate_but_not_its_key_is_refused() {
    for (name, other) in ODD {
        for versions in [Versions::Only12, Versions::Only13] {
            let settings = ClientSettings {
                versions,
                ..insecure()
            };
            let error = meet_imposter(name, other, settings).await;
            let text = "nobody we believe has issued the server's certificate";
            assert!(!error.contains(text), "{name}, {versions:?}: {error}");
            let settings = ClientSettings {
                versions,
                ..pinned(pin(name))
            };
            let error = meet_imposter(name, other, settings).await;
            // P-256 for P-521 is another algorithm, and the rest a wrong signature.
            let is_told = error.contains("has not the key of its certificate");
            assert!(is_told, "{name}, {versions:?}: {error}");
        }
    }
}

/// A server that shows the certificate of `name` and signs with the key of `other`.
async fn meet_imposter(name: &str, other: &str, settings: ClientSettings) -> String {
    let key = PrivateKeyDer::from_pem_file(file(other, "key")).unwrap();
    let key: Arc<dyn SigningKey> = match PrivateKey::short(&key) {
        Some(short) => Arc::new(Signing(Arc::new(short))),
        None => PROVIDER.key_provider.load_private_key(key).unwrap(),
    };
    let stolen = CertifiedKey::new(vec![leaf(name)], key);
    let config = ServerConfig::builder_with_provider(PROVIDER.clone())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(stolen)));
    let (near, far) = duplex(64 * 1024);
    crate::io::spawn(TlsAcceptor::from(Arc::new(config)).accept(far));
    let to = Destination::new(Host::Domain("odd.test".to_owned()), 443);
    let met = client(settings).wrap(Link::other(near), &to).await;
    match met {
        Ok(_) => panic!("{name} with the key of {other} was taken"),
        Err(e) => e.to_string(),
    }
}

#[tokio::test]
async fn without_being_asked_to_nobody_takes_them_and_the_cure_is_named() {
    let server = server(showing([keys("version-1")]));
    let trusted = Pem::File(file("version-1", "crt").into());
    let trusting = ClientSettings {
        authorities: trusted.authorities().unwrap(),
        ..ClientSettings::default()
    };
    let error = exchange(&server, &client(trusting), "odd.test")
        .await
        .unwrap_err();
    assert!(
        error.contains("pinnedPeerCertificateChainSha256"),
        "{error}"
    );
}

fn authority(name: &str) -> Authorities {
    let pem = Pem::File(file(name, "crt").into());
    pem.authorities().unwrap()
}

/// Whether a server's certificate is believed by a client that asks for no name; version 1 has none.
async fn believed(name: &str, authorities: Authorities, versions: Versions) -> Result<(), String> {
    let server = server(showing([keys(name)]));
    let trust = ClientSettings {
        authorities,
        disable_system_root: true,
        any_name: true,
        versions,
        ..ClientSettings::default()
    };
    exchange(&server, &client(trust), "elsewhere.test").await
}

/// Whether a client's certificate is.
async fn let_in(name: &str, authorities: Authorities, versions: Versions) -> Result<(), String> {
    let server = server(ServerSettings {
        client_auth: ClientAuth::Required(authorities),
        ..showing([keys("ed25519")])
    });
    let shown = ClientSettings {
        certificate: Some(keys(name)),
        versions,
        ..insecure()
    };
    exchange(&server, &client(shown), "odd.test").await
}

#[tokio::test]
async fn version_1_is_believed_of_an_authority_that_has_issued_it() {
    for (name, of) in [("issued", "authority"), ("issued-rsa", "authority-rsa")] {
        for versions in [Versions::Only12, Versions::Only13] {
            assert_eq!(
                believed(name, authority(of), versions).await,
                Ok(()),
                "{name}"
            );
            assert_eq!(
                let_in(name, authority(of), versions).await,
                Ok(()),
                "{name}"
            );
        }
    }
    // Both authorities have one name.
    for (name, of) in [("issued", "authority-rsa"), ("issued-rsa", "authority")] {
        let versions = Versions::Only12;
        assert!(
            believed(name, authority(of), versions).await.is_err(),
            "{name}"
        );
        assert!(
            let_in(name, authority(of), versions).await.is_err(),
            "{name}"
        );
    }
    // A pin of another authority is not got round by its certificate, which everybody may have.
    let mut shown = std::fs::read_to_string(file("issued", "crt")).unwrap();
    shown += &std::fs::read_to_string(file("p-521", "crt")).unwrap();
    let key = std::fs::read_to_string(file("issued", "key")).unwrap();
    let [shown, key] = [shown, key].map(Pem::Inline);
    let pinned = ClientSettings {
        authorities: authority("authority"),
        certificate_pins: vec![pin("p-521")],
        any_name: true,
        ..ClientSettings::default()
    };
    let imposter = server(showing([KeyPair::new(shown, key)]));
    assert!(
        exchange(&imposter, &client(pinned), "odd.test")
            .await
            .is_err()
    );
    // A name that is asked for is not in it.
    let server = server(showing([keys("issued")]));
    let asking = ClientSettings {
        authorities: authority("authority"),
        disable_system_root: true,
        ..ClientSettings::default()
    };
    assert!(
        exchange(&server, &client(asking), "odd.test")
            .await
            .is_err()
    );
}

#[tokio::test]
async fn a_client_may_show_what_the_server_was_given_itself() {
    for versions in [Versions::Only12, Versions::Only13] {
        // One says that it is an authority, the other is of version 1.
        for name in ["critical", "version-1"] {
            assert_eq!(
                let_in(name, authority(name), versions).await,
                Ok(()),
                "{name}"
            );
        }
    }
    for (name, known) in [
        ("critical", "p-521"),
        ("version-1", "sha-1"),
        ("expired", "expired"),
    ] {
        assert!(
            let_in(name, authority(known), Versions::Only12)
                .await
                .is_err(),
            "{name}"
        );
    }
}

/// A client that shows the certificate of `name` and signs with the key of `other`.
#[tokio::test]
async fn a_client_without_the_key_is_not_let_in() {
    for (name, other) in [("issued", "critical"), ("issued-rsa", "version-1")] {
        let of = if name == "issued" {
            "authority"
        } else {
            "authority-rsa"
        };
        let server = server(ServerSettings {
            client_auth: ClientAuth::Required(authority(of)),
            ..showing([keys("ed25519")])
        });
        let key = PrivateKeyDer::from_pem_file(file(other, "key")).unwrap();
        let key = PROVIDER.key_provider.load_private_key(key).unwrap();
        let stolen = CertifiedKey::new(vec![leaf(name)], key);
        let config = ClientConfig::builder_with_provider(PROVIDER.clone())
            .with_protocol_versions(&[&version::TLS12])
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verify::Verifier::new(&insecure())))
            .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(stolen)));
        let (near, far) = duplex(64 * 1024);
        let asking =
            TlsConnector::from(Arc::new(config)).connect("odd.test".try_into().unwrap(), near);
        let accepting = server.accept(Link::other(far), Instant::now());
        let (_, accepted) = tokio::join!(asking, accepting);
        assert!(
            accepted.is_err(),
            "{name} with the key of {other} was let in"
        );
    }
}
