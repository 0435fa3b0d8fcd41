//! Certificates of our own making.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{Certificate, CertificateParams, DistinguishedName, DnType, Issuer, KeyPair};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use tokio_rustls::rustls::sign::CertifiedKey;
use tracing::warn;

use super::PROVIDER;
use super::certificates::{Keyed, Loaded, Look};

/// Leaf certificates by an authority of the user's, one for each name that is asked for.
pub(super) struct Authority {
    /// What signs leaves, and the key of the leaves; `None` while the files are not read.
    signer: Option<(Issuer<'static, KeyPair>, KeyPair)>,
    /// Its chain is sent behind the leaf.
    keyed: Keyed,
    issued: HashMap<String, (Arc<CertifiedKey>, SystemTime)>,
}

/// Names one authority remembers; with more, all are issued anew.
const MAX_ISSUED: usize = 512;

/// How long a leaf is valid, and how long before its end it is issued anew. As V2Ray does.
const VALID: Duration = Duration::from_secs(60 * 60);
const RENEW: Duration = Duration::from_secs(5 * 60);

/// Ten years, for a certificate that lives as long as the process.
const VALID_BY_ITSELF: Duration = Duration::from_secs(3650 * 24 * 60 * 60);

/// Clocks differ: a leaf is valid from a little before it was issued.
const SKEW: Duration = Duration::from_secs(60 * 60);

impl Authority {
    /// An authority of `keyed`, which is its certificate, what stands above that, and its key.
    pub(super) fn new(keyed: Keyed) -> Result<Self, String> {
        Ok(Self {
            signer: keyed.loaded().map(signer).transpose()?,
            keyed,
            issued: HashMap::new(),
        })
    }

    pub(super) fn keyed(&self) -> &Keyed {
        &self.keyed
    }

    /// As [`Keyed::take_late`].
    pub(super) fn take_late(&mut self) {
        if self.keyed.take_late() {
            self.renew();
        }
    }

    /// As [`Keyed::take`]; what was issued before is forgotten then.
    pub(super) fn take(&mut self, look: Look) {
        if self.keyed.take(look) {
            self.renew();
        }
    }

    fn renew(&mut self) {
        match self.keyed.loaded().map(signer) {
            Some(Ok(signer)) => {
                self.signer = Some(signer);
                self.issued.clear();
            }
            Some(Err(text)) => warn!("a changed certificate is not taken: {text}"),
            None => {}
        }
    }

    /// A certificate for `name`.
    pub(super) fn certificate(&mut self, name: &str) -> Option<Arc<CertifiedKey>> {
        let now = SystemTime::now();
        if let Some((key, renew)) = self.issued.get(name)
            && now < *renew
        {
            return Some(key.clone());
        }
        let key = Arc::new(self.issue(name, now).ok()?);
        if self.issued.len() >= MAX_ISSUED {
            self.issued.clear();
        }
        self.issued
            .insert(name.to_owned(), (key.clone(), now + VALID - RENEW));
        Some(key)
    }

    fn issue(&self, name: &str, now: SystemTime) -> Result<CertifiedKey, String> {
        let mut params =
            CertificateParams::new(vec![name.to_owned()]).map_err(|e| e.to_string())?;
        params.distinguished_name.push(DnType::CommonName, name);
        params.not_before = (now - SKEW).into();
        params.not_after = (now + VALID).into();
        let (Some((issuer, key)), Some(loaded)) = (&self.signer, self.keyed.loaded()) else {
            return Err("the authority is not read yet".to_owned());
        };
        let leaf = params.signed_by(key, issuer).map_err(|e| e.to_string())?;
        let mut chain = vec![leaf.der().clone()];
        chain.extend_from_slice(&loaded.key.cert);
        certified(chain, key)
    }
}

/// What signs leaves, and a new key for them.
pub(super) fn signer(loaded: &Loaded) -> Result<(Issuer<'static, KeyPair>, KeyPair), String> {
    let (Some(cert), Some(key)) = (loaded.key.cert.first(), &loaded.private) else {
        return Err("there is no key to sign with".to_owned());
    };
    let key = KeyPair::try_from(key).map_err(|e| format!("the key cannot sign: {e}"))?;
    let issuer = Issuer::from_ca_cert_der(cert, key)
        .map_err(|e| format!("the certificate is no authority: {e}"))?;
    let key = KeyPair::generate().map_err(|e| format!("cannot make a key: {e}"))?;
    Ok((issuer, key))
}

/// A certificate for `names` that nobody but itself vouches for. It looks as one that somebody made by
/// hand; rcgen's defaults (its own name, valid until 4096) would give us away.
pub(super) fn self_signed(names: Vec<String>) -> Result<CertifiedKey, String> {
    let (cert, key) = made(names)?;
    certified(vec![cert.der().clone()], &key)
}

/// The same for files: the certificate, and its key.
///
/// # Errors
///
/// When a name cannot stand in a certificate, or there is no chance for a key.
pub fn self_signed_pem(names: Vec<String>) -> Result<(String, String), String> {
    let (cert, key) = made(names)?;
    Ok((cert.pem(), key.serialize_pem()))
}

fn made(names: Vec<String>) -> Result<(Certificate, KeyPair), String> {
    let mut name = DistinguishedName::new();
    if let Some(first) = names.first() {
        name.push(DnType::CommonName, first.as_str());
    }
    let mut params = CertificateParams::new(names).map_err(|e| e.to_string())?;
    params.distinguished_name = name;
    let now = SystemTime::now();
    params.not_before = (now - SKEW).into();
    params.not_after = (now + VALID_BY_ITSELF).into();
    let key = KeyPair::generate().map_err(|e| e.to_string())?;
    let cert = params.self_signed(&key).map_err(|e| e.to_string())?;
    Ok((cert, key))
}

fn certified(chain: Vec<CertificateDer<'static>>, key: &KeyPair) -> Result<CertifiedKey, String> {
    let key = PrivatePkcs8KeyDer::from(key.serialize_der());
    CertifiedKey::from_der(chain, key.into(), &PROVIDER).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use x509_parser::prelude::{FromDer, X509Certificate};

    use super::*;

    #[test]
    fn a_certificate_of_our_own_names_its_server_and_no_library() {
        let key = self_signed(vec!["example.com".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        let (_, cert) = X509Certificate::from_der(&key.cert[0]).unwrap();
        assert_eq!(cert.subject().to_string(), "CN=example.com");
        assert!(cert.validity().is_valid());
        assert_eq!(cert.validity().not_after.to_datetime().year() / 100, 20);
    }
}
