//! Whether a server's certificate is to be believed.
//!
//! 1. Pins, where there are any, must match. V2Ray checks them beside everything else; here a chain
//!    that matches needs no issuer any more, for it is known to the byte.
//! 2. With `allowInsecure` that is all.
//! 3. A leaf that the config itself gives (`usage: verify`) needs no issuer either, whether or not it
//!    calls itself an authority: self-signed certificates usually do, and Go takes them.
//! 4. Else the chain must lead to an authority of the config or of the system.
//!
//! In 3 and 4, and in 1 without `allowInsecure`, the name and the dates are checked.

use std::fmt;
use std::sync::{Arc, LazyLock};

use tokio_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tokio_rustls::rustls::client::{WebPkiServerVerifier, verify_server_name};
use tokio_rustls::rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::server::ParsedCertificate;
use tokio_rustls::rustls::{
    CertificateError, DigitallySignedStruct, Error, OtherError, RootCertStore, SignatureScheme,
};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::PROVIDER;
use super::certificates::chain_hash;

pub(super) struct Verifier {
    allow_insecure: bool,
    pins: Vec<[u8; 32]>,
    /// DER of what the config gives.
    known: Vec<Vec<u8>>,
    /// Made before the first handshake, or at it: the system's store takes a while to read.
    chains: LazyLock<Chains, Box<dyn FnOnce() -> Chains + Send>>,
}

/// What follows a chain to its authority, or why nothing can.
type Chains = Result<Arc<WebPkiServerVerifier>, String>;

/// The system's authorities, read once for all outbounds.
static SYSTEM: LazyLock<Vec<CertificateDer<'static>>> =
    LazyLock::new(|| rustls_native_certs::load_native_certs().certs);

/// What most outbounds have.
static SYSTEM_ALONE: LazyLock<Chains> = LazyLock::new(|| make_chains(&[], false));

impl Verifier {
    pub(super) fn new(
        allow_insecure: bool,
        disable_system_root: bool,
        known: Vec<Vec<u8>>,
        pins: Vec<[u8; 32]>,
    ) -> Self {
        let roots = known.clone();
        let chains = move || chains(&roots, disable_system_root);
        Self {
            allow_insecure,
            pins,
            known,
            chains: LazyLock::new(Box::new(chains)),
        }
    }
}

impl Verifier {
    /// Makes what a handshake would make, if one would.
    pub(super) fn warm_up(&self) {
        if !self.allow_insecure && self.pins.is_empty() {
            LazyLock::force(&self.chains);
        }
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let pinned = !self.pins.is_empty();
        if pinned {
            let whole: Vec<&[u8]> = [leaf].into_iter().chain(chain).map(AsRef::as_ref).collect();
            if !self.pins.contains(&chain_hash(&whole)) {
                return Err(refused(
                    "the server's certificate chain is none of `pinnedPeerCertificateChainSha256`",
                ));
            }
        }
        if self.allow_insecure {
            return Ok(ServerCertVerified::assertion());
        }
        if pinned || self.known.iter().any(|known| known == leaf.as_ref()) {
            check_dates(leaf, now)?;
            verify_server_name(&ParsedCertificate::try_from(leaf)?, name)?;
            return Ok(ServerCertVerified::assertion());
        }
        match &*self.chains {
            Ok(chains) => chains.verify_server_cert(leaf, chain, name, ocsp, now),
            Err(text) => Err(refused(text)),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(
            message,
            cert,
            signed,
            &PROVIDER.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(
            message,
            cert,
            signed,
            &PROVIDER.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        PROVIDER
            .signature_verification_algorithms
            .supported_schemes()
    }
}

fn chains(known: &[Vec<u8>], disable_system_root: bool) -> Chains {
    match known.is_empty() && !disable_system_root {
        true => SYSTEM_ALONE.clone(),
        false => make_chains(known, disable_system_root),
    }
}

fn make_chains(known: &[Vec<u8>], disable_system_root: bool) -> Chains {
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(known.iter().map(|der| CertificateDer::from(der.as_slice())));
    if !disable_system_root {
        store.add_parsable_certificates(SYSTEM.iter().cloned());
    }
    if store.is_empty() {
        return Err(match disable_system_root {
            true => "there is no authority to believe: `disableSystemRoot` is set, and no certificate has `usage: verify`",
            false => "the system has no certificate authorities, install its package `ca-certificates`",
        }
        .to_owned());
    }
    WebPkiServerVerifier::builder_with_provider(Arc::new(store), PROVIDER.clone())
        .build()
        .map_err(|e| e.to_string())
}

fn check_dates(leaf: &CertificateDer<'_>, now: UnixTime) -> Result<(), Error> {
    let (_, leaf) = X509Certificate::from_der(leaf)
        .map_err(|_| Error::InvalidCertificate(CertificateError::BadEncoding))?;
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    let validity = leaf.validity();
    if now > validity.not_after.timestamp() {
        return Err(CertificateError::Expired.into());
    }
    if now < validity.not_before.timestamp() {
        return Err(CertificateError::NotValidYet.into());
    }
    Ok(())
}

fn refused(text: &str) -> Error {
    let text: Box<dyn std::error::Error + Send + Sync> = text.into();
    Error::InvalidCertificate(CertificateError::Other(OtherError(text.into())))
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Verifier")
    }
}
