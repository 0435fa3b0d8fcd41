//! Whether a client's certificate is to be believed: one that the settings themselves give, as a self-signed one is, or one that an
//! authority of theirs has issued.

use std::sync::Arc;

use tokio_rustls::rustls::client::danger::HandshakeSignatureValid;
use tokio_rustls::rustls::pki_types::{CertificateDer, UnixTime};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use tokio_rustls::rustls::{
    DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme,
};

use super::settings::ClientAuth;
use super::verify::check_dates;
use super::{BuildError, PROVIDER, proof, version_one};

#[derive(Debug)]
struct Clients {
    known: Vec<CertificateDer<'static>>,
    chains: Arc<dyn ClientCertVerifier>,
}

impl ClientAuth {
    /// What looks at the certificates of clients.
    ///
    /// # Errors
    ///
    /// When nobody could have issued them.
    pub fn verifier(&self) -> Result<Option<Arc<dyn ClientCertVerifier>>, BuildError> {
        let Self::Required(authorities) = self else {
            return Ok(None);
        };
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(authorities.0.iter().cloned());
        let builder =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), PROVIDER.clone());
        Ok(Some(Arc::new(Clients {
            known: authorities.0.clone(),
            chains: builder.build()?,
        })))
    }
}

impl Clients {
    /// webpki takes no certificate that calls itself an authority for a client's, and none of version 1.
    fn is_odd(&self, leaf: &CertificateDer<'_>) -> bool {
        self.known.contains(leaf) || version_one::is_one(leaf)
    }
}

impl ClientCertVerifier for Clients {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chains.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        if self.known.contains(leaf) {
            check_dates(leaf, now)?;
        } else if version_one::is_one(leaf) {
            version_one::vouched(leaf, &self.known, now)?;
        } else {
            return self.chains.verify_client_cert(leaf, chain, now);
        }
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        match self.is_odd(cert) {
            true => proof::check(message, cert, signed, false),
            false => self.chains.verify_tls12_signature(message, cert, signed),
        }
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        match self.is_odd(cert) {
            true => proof::check(message, cert, signed, true),
            false => self.chains.verify_tls13_signature(message, cert, signed),
        }
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chains.supported_verify_schemes()
    }
}
