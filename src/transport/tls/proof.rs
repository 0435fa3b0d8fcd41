//! Whether whoever sent a certificate has its key, for certificates that are taken whatever they are.
//!
//! rustls checks the signature of a handshake by a certificate that it can parse and that has the version, the
//! extensions and the key that it likes. Here only the key is looked for.

use tokio_rustls::rustls::client::danger::HandshakeSignatureValid;
use tokio_rustls::rustls::{
    CertificateError, DigitallySignedStruct, Error, PeerMisbehaved, SignatureScheme,
};

use super::PROVIDER;
use super::der;
use super::short_rsa::{self, is_rsa};

/// Checks the signature of a handshake by the key in `certificate`.
pub(super) fn check(
    message: &[u8],
    certificate: &[u8],
    signed: &DigitallySignedStruct,
    is_tls13: bool,
) -> Result<HandshakeSignatureValid, Error> {
    let supported = PROVIDER.signature_verification_algorithms.mapping;
    let algorithms = supported
        .iter()
        .find(|(scheme, _)| *scheme == signed.scheme && !(is_tls13 && is_old(*scheme)))
        .map(|(_, algorithms)| *algorithms)
        .ok_or(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme)?;
    let public = der::certificate_key(certificate)
        .ok_or(Error::InvalidCertificate(CertificateError::BadEncoding))?;
    if is_rsa(public.algorithm)
        && let Some(short) = short_rsa::PublicKey::short(public.key)
    {
        return valid(short.verifies(signed.scheme, message, signed.signature()));
    }
    // With TLS 1.3 a scheme names one algorithm, before it named a hash.
    let algorithms = &algorithms[..if is_tls13 { 1 } else { algorithms.len() }];
    let mut fitting = algorithms.iter().filter(|algorithm| {
        let id = algorithm.public_key_alg_id();
        id.as_ref() == public.algorithm || (is_rsa(&id) && is_rsa(public.algorithm))
    });
    let verified = fitting.any(|algorithm| {
        let verified = algorithm.verify_signature(public.key, message, signed.signature());
        verified.is_ok()
    });
    valid(verified)
}

fn valid(is_valid: bool) -> Result<HandshakeSignatureValid, Error> {
    match is_valid {
        true => Ok(HandshakeSignatureValid::assertion()),
        // `BadSignature` is what a wrong issuer is told by.
        false => Err(CertificateError::ApplicationVerificationFailure.into()),
    }
}

/// What TLS 1.3 has left behind.
fn is_old(scheme: SignatureScheme) -> bool {
    matches!(
        scheme,
        SignatureScheme::RSA_PKCS1_SHA256
            | SignatureScheme::RSA_PKCS1_SHA384
            | SignatureScheme::RSA_PKCS1_SHA512
    )
}
