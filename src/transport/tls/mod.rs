//! TLS by rustls: TLS 1.2 and 1.3. Keys and signatures are aws-lc's, ciphers those of [`crate::aead`].
//!
//! A server has certificates from files (read again when they change), inline, made for each name by an
//! authority of the user's (`usage: issue`), issued by a public one ([`mod@acme`]), or one made at start (`selfSigned`, ours). A client
//! believes the system's authorities, those of the config (`usage: verify`) and pinned chains.

#[cfg(feature = "app")]
pub mod acme;
mod certificates;
mod clients;
mod der;
pub(crate) mod early;
mod files;
mod inbound;
mod issue;
mod key_pair;
mod outbound;
mod p_521;
mod proof;
pub(crate) mod record;
mod resolver;
mod seen;
mod settings;
mod short_rsa;
mod signed;
mod stream;
mod suites;
mod system;
mod verify;
mod version_one;

pub use certificates::Broken;
pub use files::{Pem, Unreadable};
pub use inbound::Inbound;
pub use issue::self_signed_pem;
pub use key_pair::{KeyPair, Remarks, SelfSigned, Shown};
pub use outbound::Outbound;
pub use seen::{Leaf, Seen};
pub use settings::{
    Authorities, ClientAuth, ClientSettings, NOT_BROWSERS, ServerSettings, Versions,
};

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use thiserror::Error;
use tokio_rustls::rustls;
use tokio_rustls::rustls::crypto::CryptoProvider;
use tokio_rustls::rustls::server::VerifierBuilderError;
use tokio_rustls::rustls::{CommonState, ProtocolVersion};

/// How long a handshake may take.
pub(super) const HANDSHAKE_LIMIT: Duration = Duration::from_secs(8);

/// What was agreed on, for people.
fn version(connection: &CommonState) -> &'static str {
    match connection.protocol_version() {
        Some(ProtocolVersion::TLSv1_3) => "TLS 1.3",
        Some(ProtocolVersion::TLSv1_2) => "TLS 1.2",
        _ => "TLS",
    }
}

static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| Arc::new(suites::provider()));

/// Why settings make no server or client.
#[derive(Debug, Error)]
pub enum BuildError {
    /// A certificate or its key.
    #[error(transparent)]
    Certificate(#[from] Broken),
    /// A server has nothing to show.
    #[error("`certificates` is missing, a TLS server needs one")]
    NoCertificate,
    /// An authority that cannot issue certificates, and why.
    #[error("{0}")]
    Issuer(String),
    /// Why no certificate can be made.
    #[error("cannot make a certificate: {0}")]
    SelfSigned(String),
    /// There is nobody whose certificates clients could show.
    #[error("`verifyClientCertificate` needs a certificate with `usage: verifyclient`: {0}")]
    ClientAuth(#[from] VerifierBuilderError),
    /// The provider of ciphers has none.
    #[error("{0}")]
    Provider(#[from] rustls::Error),
}

#[cfg(test)]
mod blocking_tests;
#[cfg(test)]
mod odd_tests;
#[cfg(test)]
mod tests;
