//! TLS by rustls, with the aws-lc-rs provider: TLS 1.2 and 1.3.
//!
//! A server has certificates from files (read again when they change), inline, made for each name by an
//! authority of the user's (`usage: issue`), or one made at start (`selfSigned`, ours). A client
//! believes the system's authorities, those of the config (`usage: verify`) and pinned chains.

mod certificates;
#[path = "../../dialect/v2ray/tls.rs"]
mod config;
mod der;
mod files;
mod inbound;
mod issue;
mod outbound;
mod p_521;
mod proof;
mod resolver;
mod short_rsa;
mod stream;
mod system;
mod verify;

pub use inbound::Inbound;
pub use outbound::Outbound;

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use tokio_rustls::rustls::SupportedProtocolVersion;
use tokio_rustls::rustls::crypto::{CryptoProvider, aws_lc_rs};
use tokio_rustls::rustls::version::{TLS12, TLS13};

/// How long a handshake may take.
pub(super) const HANDSHAKE_LIMIT: Duration = Duration::from_secs(8);

static PROVIDER: LazyLock<Arc<CryptoProvider>> =
    LazyLock::new(|| Arc::new(aws_lc_rs::default_provider()));

/// `minVersion` and `maxVersion`, as far as rustls goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Versions {
    Both,
    Only12,
    Only13,
}

impl Versions {
    fn list(self) -> &'static [&'static SupportedProtocolVersion] {
        static ALL: [&SupportedProtocolVersion; 2] = [&TLS12, &TLS13];
        match self {
            Self::Both => &ALL,
            Self::Only12 => &ALL[..1],
            Self::Only13 => &ALL[1..],
        }
    }
}

#[cfg(test)]
mod blocking_tests;
#[cfg(test)]
mod odd_tests;
#[cfg(test)]
mod tests;
