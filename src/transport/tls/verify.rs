//! Whether a server's certificate is to be believed.
//!
//! 1. Pins, where there are any, must match. V2Ray checks them beside everything else; here a chain
//!    that matches needs nothing more, for it is known to the byte.
//! 2. With `allowInsecure` any certificate is taken.
//! 3. A leaf that the config itself gives (`usage: verify`) needs no issuer either, whether or not it
//!    calls itself an authority: self-signed certificates usually do, and Go takes them.
//! 4. Else the chain must lead to an authority of the config or of the system.
//!
//! In 3 and 4 the name and the dates are checked. In 1 and 2 the certificate may be anything that has a key in
//! it: of version 1, with unknown extensions, expired, for another name. That the server has this key is
//! checked always.

use std::fmt;
use std::sync::{Arc, OnceLock};

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
use super::settings::ClientSettings;
use super::{proof, system};
use crate::cause::Untrusted;

pub(super) struct Verifier {
    allow_insecure: bool,
    pins: Vec<[u8; 32]>,
    /// What the settings give.
    known: Vec<CertificateDer<'static>>,
    disable_system_root: bool,
    /// Made before the first handshake, or at it: the system's store takes a while to read.
    chains: OnceLock<Chains>,
}

/// What follows a chain to its authority, or why nothing can.
type Chains = Result<Arc<WebPkiServerVerifier>, Untrusted>;

/// What most outbounds have.
static SYSTEM_ALONE: OnceLock<Chains> = OnceLock::new();

impl Verifier {
    pub(super) fn new(settings: &ClientSettings) -> Self {
        Self {
            allow_insecure: settings.allow_insecure,
            pins: settings.pins.clone(),
            known: settings.authorities.0.clone(),
            disable_system_root: settings.disable_system_root,
            chains: OnceLock::new(),
        }
    }

    /// Whether the system's authorities are believed.
    pub(super) fn asks_system(&self) -> bool {
        !self.takes_any() && !self.disable_system_root
    }

    /// Makes what a handshake would make, if one would.
    pub(super) fn warm_up(&self) {
        if !self.takes_any() {
            let _ = self.chains();
        }
    }

    fn chains(&self) -> Chains {
        if let Some(chains) = self.chains.get() {
            return chains.clone();
        }
        let read = match self.disable_system_root {
            true => Some(Arc::default()),
            false => system::authorities(),
        };
        match read {
            Some(system) => {
                let make = || chains(&self.known, &system, self.disable_system_root);
                let own = || match self.known.is_empty() && !self.disable_system_root {
                    true => SYSTEM_ALONE.get_or_init(make).clone(),
                    false => make(),
                };
                self.chains.get_or_init(own).clone()
            }
            // What the config gives is believed meanwhile.
            None if !self.known.is_empty() => chains(&self.known, &[], false),
            None => Err(Untrusted::Late),
        }
    }

    /// Whether a certificate is taken whatever it says; pins have been compared before.
    pub(super) fn takes_any(&self) -> bool {
        self.allow_insecure || !self.pins.is_empty()
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
                return Err(refused(Untrusted::Pins));
            }
        }
        if self.takes_any() {
            return Ok(ServerCertVerified::assertion());
        }
        if self.known.iter().any(|known| known == leaf) {
            check_dates(leaf, now)?;
            verify_server_name(&ParsedCertificate::try_from(leaf)?, name)?;
            return Ok(ServerCertVerified::assertion());
        }
        match self.chains() {
            Ok(chains) => chains.verify_server_cert(leaf, chain, name, ocsp, now),
            Err(why) => Err(refused(why)),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        if self.takes_any() {
            return proof::check(message, cert, signed, false);
        }
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
        if self.takes_any() {
            return proof::check(message, cert, signed, true);
        }
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

fn chains(
    known: &[CertificateDer<'static>],
    system: &[CertificateDer<'static>],
    disable_system_root: bool,
) -> Chains {
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(known.iter().cloned());
    store.add_parsable_certificates(system.iter().cloned());
    if store.is_empty() {
        return Err(match disable_system_root {
            true => Untrusted::Nobody,
            false => Untrusted::NoSystem,
        });
    }
    WebPkiServerVerifier::builder_with_provider(Arc::new(store), PROVIDER.clone())
        .build()
        .map_err(|e| Untrusted::Other(e.to_string()))
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

fn refused(why: Untrusted) -> Error {
    Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(why))))
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Verifier")
    }
}
