//! Whose key a certificate is signed with.

use tokio_rustls::rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::PROVIDER;
use super::der::{self, BIT_STRING, SEQUENCE};

/// Whether the key in `issuer` has signed `certificate`. `None` where one of them is no certificate, or by a way that is not
/// known here.
pub(super) fn by(issuer: &CertificateDer<'_>, certificate: &CertificateDer<'_>) -> Option<bool> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let mut fields = der::contents(certificate, SEQUENCE)?;
    fields.take(SEQUENCE)?;
    let algorithm = fields.take(SEQUENCE)?;
    let [0, signature @ ..] = fields.take(BIT_STRING)? else {
        return None;
    };
    let public = der::certificate_key(issuer)?;
    let signed = parsed.tbs_certificate.as_ref();
    let all = PROVIDER.signature_verification_algorithms.all.iter();
    let fitting = all.filter(|one| {
        one.signature_alg_id().as_ref() == algorithm
            && one.public_key_alg_id().as_ref() == public.algorithm
    });
    let verified = fitting.map(|one| one.verify_signature(public.key, signed, signature).is_ok());
    verified.reduce(|one, other| one || other)
}
