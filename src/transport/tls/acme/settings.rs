//! What is said about certificates that an authority issues.

#![warn(missing_docs)]

use std::path::PathBuf;

use crate::transport::tls::Authorities;

/// `tlsSettings.acme`, ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `domains`: the names of the certificate, in small letters, each once and in order. There is at least one.
    pub domains: Vec<String>,
    /// `email`: where the authority writes to.
    pub email: Option<String>,
    /// `directory`: the URL of the authority, with `https`.
    pub directory: String,
    /// `folder`: where the account and the certificates are kept.
    pub folder: PathBuf,
    /// `ca`: believed besides the system's authorities when the directory is asked.
    pub authorities: Authorities,
    /// `httpPort`: an inbound without TLS that listens there answers HTTP-01. 80 by default.
    pub http_port: u16,
}

/// The directory of Let's Encrypt, where another is not named.
pub const LETS_ENCRYPT: &str = "https://acme-v02.api.letsencrypt.org/directory";
