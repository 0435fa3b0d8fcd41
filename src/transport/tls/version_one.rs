//! Certificates of version 1, which `openssl x509 -req` made before 3.2 where nobody asked for extensions. webpki takes none, and Go
//! takes them where no name has to be in them: of clients, and of servers whose name is not asked for.
//!
//! They have no extensions, so there is nothing else to look at than who issued them, and when they hold.

use tokio_rustls::rustls::pki_types::{CertificateDer, UnixTime};
use tokio_rustls::rustls::{CertificateError, Error};
use x509_parser::prelude::{FromDer, X509Certificate, X509Version};

use super::der;
use super::short_rsa::{self, is_rsa};
use super::signed;
use super::verify::check_dates;

/// Whether a certificate is one of these.
pub(super) fn is_one(certificate: &CertificateDer<'_>) -> bool {
    let parsed = X509Certificate::from_der(certificate);
    // What says that it has none of them and has some is none of ours.
    parsed.is_ok_and(|(_, parsed)| {
        parsed.version == X509Version::V1 && parsed.extensions().is_empty()
    })
}

/// Checks that one of `authorities` has issued `leaf` itself, and the dates of both.
///
/// # Errors
///
/// When none has, or they do not hold now.
pub(super) fn vouched(
    leaf: &CertificateDer<'_>,
    authorities: &[CertificateDer<'_>],
    now: UnixTime,
) -> Result<(), Error> {
    let issuers = authorities
        .iter()
        .filter(|one| has_issued(one, leaf).unwrap_or(false));
    let mut refusal = CertificateError::UnknownIssuer.into();
    for issuer in issuers {
        match check_dates(leaf, now).and_then(|()| check_dates(issuer, now)) {
            Ok(()) => return Ok(()),
            Err(e) => refusal = e,
        }
    }
    Err(refusal)
}

/// `None` where one of them is no certificate.
fn has_issued(issuer: &CertificateDer<'_>, leaf: &CertificateDer<'_>) -> Option<bool> {
    let (_, leaf_parsed) = X509Certificate::from_der(leaf).ok()?;
    let (_, issuer_parsed) = X509Certificate::from_der(issuer).ok()?;
    let is_named = leaf_parsed.issuer().as_raw() == issuer_parsed.subject().as_raw();
    let is_one_algorithm = leaf_parsed.signature_algorithm == leaf_parsed.tbs_certificate.signature;
    if !is_named || !is_one_algorithm || !may_issue(&issuer_parsed) || is_weak(leaf)? {
        return Some(false);
    }
    Some(signed::by(issuer, leaf).unwrap_or(false))
}

/// Keys of RSA that webpki takes from nobody.
fn is_weak(certificate: &CertificateDer<'_>) -> Option<bool> {
    let public = der::certificate_key(certificate)?;
    Some(is_rsa(public.algorithm) && short_rsa::PublicKey::short(public.key).is_some())
}

/// As Go has it: one of version 1 says nothing of it, the others say that they are authorities.
fn may_issue(certificate: &X509Certificate<'_>) -> bool {
    let basic = certificate.basic_constraints().ok().flatten();
    let usage = certificate.key_usage().ok().flatten();
    let is_authority = match basic {
        Some(basic) => basic.value.ca,
        None => certificate.version != X509Version::V3,
    };
    is_authority && usage.is_none_or(|usage| usage.value.key_cert_sign())
}
