//! Whether a server's certificate is to be believed.
//!
//! 1. Pins, where there are any, must match. V2Ray checks them beside everything else; here a chain
//!    that matches needs nothing more, for it is known to the byte.
//! 2. Xray's pins are of single certificates: the server's own needs nothing more, an authority's is then the only one
//!    that counts.
//! 3. With `allowInsecure` any certificate is taken.
//! 4. A leaf that the config itself gives (`usage: verify`), or that the system believes, needs no issuer either, whether
//!    or not it calls itself an authority: self-signed certificates usually do, and Go takes them.
//! 5. Else the chain must lead to an authority of the config or of the system.
//!
//! A certificate of version 1, whose name nobody asks for, is one of 5 where an authority of the settings has issued it itself.
//!
//! In 4 and 5 the name (or one of `verifyPeerCertByName`, which `allowInsecure` does not lift) and the dates are checked.
//! In 1 to 3 the certificate may be anything that has a key in
//! it: of version 1, with unknown extensions, expired, for another name. That the server has this key is
//! checked always.

use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

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
use tracing::warn;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::PROVIDER;
use super::certificates::chain_hash;
use super::settings::ClientSettings;
use super::{proof, system, version_one};
use crate::address::Host;
use crate::cause::Untrusted;

pub(super) struct Verifier {
    allow_insecure: bool,
    any_name: bool,
    /// What the log says of the cure when nobody vouches for a certificate; and of which it has been said.
    told: Option<&'static str>,
    heard: Mutex<HashSet<[u8; 32]>>,
    pins: Vec<[u8; 32]>,
    certificate_pins: Vec<[u8; 32]>,
    /// Instead of the name that is asked for.
    names: Vec<ServerName<'static>>,
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
            any_name: settings.any_name,
            told: settings.told_unverified,
            heard: Mutex::default(),
            pins: settings.pins.clone(),
            certificate_pins: settings.certificate_pins.clone(),
            names: settings.verify_names.iter().filter_map(name).collect(),
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
        (self.allow_insecure && self.names.is_empty())
            || !self.pins.is_empty()
            || !self.certificate_pins.is_empty()
    }

    /// Whether a certificate is taken that webpki takes for none.
    fn is_odd(&self, leaf: &CertificateDer<'_>) -> bool {
        self.takes_any() || self.any_name && version_one::is_one(leaf)
    }

    /// Says once of each certificate that nobody vouched for it.
    fn tell(&self, leaf: &CertificateDer<'_>, name: &ServerName<'_>, cure: &str) {
        /// Who shows another certificate each time fills no memory.
        const MANY: usize = 64;
        let print = chain_hash(&[leaf]);
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        if heard.len() < MANY && heard.insert(print) {
            let print: String = print.iter().map(|byte| format!("{byte:02x}")).collect();
            let name = name.to_str();
            warn!("nobody vouched for the certificate of {name}, SHA-256 {print}: {cure}");
        }
    }

    /// Whether a certificate is believed by itself.
    fn knows(&self, leaf: &CertificateDer<'_>) -> bool {
        let has = |all: &[CertificateDer]| all.iter().any(|known| known == leaf);
        let system = || system::authorities().is_some_and(|system| has(&system));
        has(&self.known) || !self.disable_system_root && system()
    }

    /// Whether one of `names` is the certificate's, and it is known or one of `chains` vouches for it, which lead to
    /// `authorities` of the settings.
    fn vouched(
        &self,
        names: &[ServerName<'_>],
        is_known: bool,
        (authorities, chains): (&[CertificateDer<'_>], impl Fn() -> Chains),
        presented: &Presented<'_>,
    ) -> Result<ServerCertVerified, Error> {
        let Presented {
            leaf,
            chain,
            ocsp,
            now,
        } = presented;
        // There is no name in it that could be asked for.
        if self.any_name && version_one::is_one(leaf) {
            let vouched = match is_known {
                true => check_dates(leaf, *now),
                false => version_one::vouched(leaf, authorities, *now),
            };
            return vouched.map(|()| ServerCertVerified::assertion());
        }
        let mut refusal = refused(Untrusted::Nobody);
        for name in names {
            let verified = if is_known {
                check_dates(leaf, *now)?;
                verify_server_name(&ParsedCertificate::try_from(*leaf)?, name)
                    .map(|()| ServerCertVerified::assertion())
            } else {
                match chains() {
                    Ok(chains) => chains.verify_server_cert(leaf, chain, name, ocsp, *now),
                    Err(why) => Err(refused(why)),
                }
            };
            match verified {
                Ok(verified) => return Ok(verified),
                // The name is what is looked at last.
                Err(Error::InvalidCertificate(
                    CertificateError::NotValidForName
                    | CertificateError::NotValidForNameContext { .. },
                )) if self.any_name => return Ok(ServerCertVerified::assertion()),
                Err(e) => refusal = e,
            }
        }
        Err(refusal)
    }
}

/// What a server shows.
struct Presented<'a> {
    leaf: &'a CertificateDer<'a>,
    chain: &'a [CertificateDer<'a>],
    ocsp: &'a [u8],
    now: UnixTime,
}

fn name(host: &Host) -> Option<ServerName<'static>> {
    match host {
        Host::Ip(ip) => Some(ServerName::from(*ip)),
        Host::Domain(name) => ServerName::try_from(name.clone()).ok(),
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
        let presented = Presented {
            leaf,
            chain,
            ocsp,
            now,
        };
        let asked = [name.clone()];
        let names: &[ServerName] = match &self.names[..] {
            [] => &asked,
            names => names,
        };
        if !self.certificate_pins.is_empty() {
            let is_pinned =
                |cert: &CertificateDer| self.certificate_pins.contains(&chain_hash(&[cert]));
            if is_pinned(leaf) {
                return Ok(ServerCertVerified::assertion());
            }
            let Some(authority) = chain.iter().find(|cert| is_pinned(cert)) else {
                return Err(refused(Untrusted::CertificatePins));
            };
            let authority = [authority.clone().into_owned()];
            let only = || chains(&authority, &[], true);
            return self.vouched(names, false, (&authority, only), &presented);
        }
        if self.takes_any() {
            if !pinned && let Some(cure) = self.told {
                self.tell(leaf, name, cure);
            }
            return Ok(ServerCertVerified::assertion());
        }
        let authorities = (&self.known[..], || self.chains());
        self.vouched(names, self.knows(leaf), authorities, &presented)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        if self.is_odd(cert) {
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
        if self.is_odd(cert) {
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

pub(super) fn check_dates(leaf: &CertificateDer<'_>, now: UnixTime) -> Result<(), Error> {
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
