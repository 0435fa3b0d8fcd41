//! A certificate that an authority was asked for, and did not come.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;

use super::system_words;

/// Why there is no new certificate.
#[derive(Debug, Error)]
pub enum AcmeError {
    /// The authority does not answer.
    #[error("cannot ask {url}: {why}")]
    Unreachable {
        /// What was asked.
        url: String,
        /// What happened to the connection, or which status came.
        why: String,
    },
    /// Something answers that is no authority.
    #[error("{url} does not answer as an ACME server does ({why}): is `directory` right?")]
    Directory {
        /// The directory.
        url: String,
        /// What was not understood.
        why: String,
    },
    /// The authority has been asked too often.
    #[error("the authority wants to be asked later: {0}")]
    RateLimit(String),
    /// The authority does not want to.
    #[error("the authority refuses: {0}")]
    Refused(String),
    /// The authority has looked for the name, and has not found us.
    #[error(
        "the authority did not find this server at {name} by {by}: {said}: does the name lead here, and does port {} of it?",
        .by.port()
    )]
    Validation {
        /// The name.
        name: String,
        /// How it was looked for.
        by: Challenge,
        /// What the authority says.
        said: String,
    },
    /// The authority would look for us in a way that is not built.
    #[error("for {name} the authority offers no {by}")]
    NoChallenge {
        /// The name.
        name: String,
        /// What was wanted.
        by: Challenge,
    },
    /// It was not over in this time.
    #[error("the authority was not done within {} s", .0.as_secs())]
    Slow(Duration),
    /// A file of `folder`.
    #[error("{}: {}", .path.display(), system_words(.source))]
    Folder {
        /// The file, or the folder.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// What came is of no use.
    #[error("the certificate that came cannot be used: {0}")]
    Certificate(String),
}

/// How an authority looks for a name (RFC 8555, section 8.3, and RFC 8737).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Challenge {
    /// By a TLS handshake.
    TlsAlpn,
    /// By a request without TLS.
    Http,
}

impl Challenge {
    /// Where authorities look.
    fn port(self) -> u16 {
        match self {
            Self::TlsAlpn => 443,
            Self::Http => 80,
        }
    }
}

impl fmt::Display for Challenge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TlsAlpn => "TLS-ALPN-01",
            Self::Http => "HTTP-01",
        })
    }
}

impl AcmeError {
    /// Stays when the sentence changes.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unreachable { .. } => "acme-unreachable",
            Self::Directory { .. } => "acme-directory",
            Self::RateLimit(_) => "acme-rate-limit",
            Self::Refused(_) => "acme-refused",
            Self::Validation { .. } => "acme-validation",
            Self::NoChallenge { .. } => "acme-no-challenge",
            Self::Slow(_) => "acme-timeout",
            Self::Folder { .. } => "acme-folder",
            Self::Certificate(_) => "acme-certificate",
        }
    }

    /// Whether the authority has done no work yet, so that it may be asked again soon.
    pub fn is_free(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Folder { .. })
    }
}
