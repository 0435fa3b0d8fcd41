//! The flags of commands that listen by themselves: where, and with which certificate.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;

use clap::Args as ClapArgs;

use crate::transport::tcp::Listen;
use crate::transport::tls::{KeyPair, Pem, SelfSigned, ServerSettings};

#[derive(Debug, Default, ClapArgs)]
pub(super) struct TlsArgs {
    /// Serve wss, with this certificate
    #[arg(long, value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,
    /// The key of the certificate
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
    /// Serve wss, with a certificate that is made at the start: clients have to skip its verification
    #[arg(long, conflicts_with = "cert")]
    self_signed: bool,
}

impl TlsArgs {
    /// Whether anything is said.
    pub(super) fn are_given(&self) -> bool {
        self.cert.is_some() || self.self_signed
    }

    /// What they say; `None` is plain TCP.
    pub(super) fn settings(&self) -> Result<Option<ServerSettings>, String> {
        let mut settings = ServerSettings {
            alpn: vec!["http/1.1".to_owned()],
            ..ServerSettings::default()
        };
        match (&self.cert, &self.key) {
            (Some(cert), Some(key)) => {
                let pair = KeyPair::new(Pem::File(cert.clone()), Pem::File(key.clone()));
                pair.check().map_err(|e| format!("--cert: {e}"))?;
                settings.certificates.push(pair);
            }
            _ if self.self_signed => settings.self_signed = Some(SelfSigned::new(None)),
            _ => return Ok(None),
        }
        Ok(Some(settings))
    }
}

/// Reads `--listen`.
pub(super) fn address(text: &str) -> Result<Listen, String> {
    if text.starts_with('/') {
        return Ok(Listen::Unix(text.into()));
    }
    let whole = match text.strip_prefix(':') {
        Some(port) => format!("[::]:{port}"),
        None => text.to_owned(),
    };
    let found: Option<SocketAddr> = whole.to_socket_addrs().ok().and_then(|mut all| all.next());
    found.map(Listen::Tcp).ok_or_else(|| {
        let text = text.escape_debug();
        format!("--listen: `{text}` is no address, expected HOST:PORT, `:PORT` or a path")
    })
}
