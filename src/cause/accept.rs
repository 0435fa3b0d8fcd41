//! A connection that came in and brings no link.

use std::io;
use std::time::Duration;

use thiserror::Error;

use super::{ProtocolError, RequestError};
use crate::limits::{Full, Limit};
use crate::session::Source;

/// Why nothing was taken from a connection.
#[derive(Debug, Error)]
pub enum AcceptError {
    /// `acceptProxyProtocol`.
    #[error(transparent)]
    ProxyHeader(#[from] ProxyHeaderError),
    /// `security: tls`.
    #[error(transparent)]
    Tls(#[from] TlsAcceptError),
    /// A carrier that begins with HTTP.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// What the protocol reads.
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
    /// `limits`.
    #[error(transparent)]
    Full(#[from] Full),
}

/// Why there is no PROXY header.
#[derive(Debug, Error)]
pub enum ProxyHeaderError {
    /// Something else came.
    #[error("does not begin with a PROXY header, which `acceptProxyProtocol` asks for")]
    Missing,
    /// With the most that a line may have.
    #[error("a PROXY line has more than {0} bytes")]
    LongLine(usize),
    /// A header of version 2 that is no sensible one.
    #[error("a PROXY header of {len} bytes, at most {max} are read")]
    LongHeader {
        /// How many it has.
        len: usize,
        /// How many are read.
        max: usize,
    },
    /// What is wrong with it.
    #[error("a broken PROXY header: {0}")]
    Malformed(String),
    /// The peer went away.
    #[error("closed before the end of a PROXY header")]
    Unfinished,
    /// The connection failed.
    #[error("while reading a PROXY header: {0}")]
    Broken(#[source] io::Error),
    /// Nothing came in this time.
    #[error("no PROXY header within {} s", .0.as_secs())]
    Slow(Duration),
}

/// Why a client's TLS handshake failed.
#[derive(Debug, Error)]
pub enum TlsAcceptError {
    /// The client went away, before it said anything or in the middle.
    #[error("closed without a TLS handshake")]
    Closed,
    /// The client speaks something else.
    #[error(
        "this is not TLS: has the client no `security: tls` (`ws` in the place of `wss`), or is it a plain HTTP request?"
    )]
    NotTls,
    /// The client ends it, with this alert.
    #[error("the client ends the TLS handshake: {0}, does it believe the certificate?")]
    Alert(String),
    /// There is none for the name that the client asks for.
    #[error(
        "the TLS client asks for a name that there is no certificate for, or its file is not read yet"
    )]
    NoCertificate,
    /// There is none at all: an authority is asked for it.
    #[error(
        "there is no certificate yet, an authority is asked for one (`acme`): earlier lines say how that goes"
    )]
    NotYet,
    /// An authority has looked for a name, and found us.
    #[error("an authority has looked for a name of ours (TLS-ALPN-01)")]
    Proved,
    /// All that it offers is older than what is taken.
    #[error(
        "the TLS client offers no cipher suite that is taken here, only old ones (CBC, RC4) as a `fingerprint` of `360` does: set `chrome` there"
    )]
    NoSuite,
    /// The connection, or anything else about the handshake.
    #[error("TLS handshake: {0}")]
    Failed(#[source] io::Error),
    /// It was not over in this time.
    #[error("no TLS handshake within {} s", .0.as_secs())]
    Slow(Duration),
}

/// Limits themselves have no codes.
pub(super) trait Coded {
    /// Stays when the sentence changes.
    fn code(&self) -> &'static str;
}

impl Coded for Full {
    fn code(&self) -> &'static str {
        match self.limit {
            Limit::Connections => "limit-connections",
            Limit::PerSource => "limit-source",
            Limit::Handshakes => "limit-handshakes",
        }
    }
}

impl AcceptError {
    /// Stays when the sentence changes.
    pub fn code(&self) -> &'static str {
        match self {
            Self::ProxyHeader(e) => e.code(),
            Self::Tls(e) => e.code(),
            Self::Request(e) => e.code(),
            Self::Protocol(e) => e.code(),
            Self::Full(full) => full.code(),
        }
    }

    /// Who came, where what was read names somebody else than the connection's other end.
    pub fn client(&self) -> Option<Source> {
        match self {
            Self::Request(e) => e.client(),
            Self::ProxyHeader(_) | Self::Tls(_) | Self::Protocol(_) | Self::Full(_) => None,
        }
    }

    /// Whether nobody is to blame: who came has only gone again, or was a visitor of the site.
    pub fn is_nothing(&self) -> bool {
        matches!(
            self,
            Self::Tls(TlsAcceptError::Closed | TlsAcceptError::Proved)
                | Self::Request(RequestError::Visited)
        )
    }
}

impl ProxyHeaderError {
    /// As [`AcceptError::code`].
    pub fn code(&self) -> &'static str {
        match self {
            Self::Missing => "proxy-header-missing",
            Self::LongLine(_) | Self::LongHeader { .. } | Self::Malformed(_) => {
                "proxy-header-malformed"
            }
            Self::Unfinished | Self::Broken(_) => "proxy-header-broken",
            Self::Slow(_) => "proxy-header-timeout",
        }
    }
}

impl TlsAcceptError {
    /// As [`AcceptError::code`].
    pub fn code(&self) -> &'static str {
        match self {
            Self::Closed => "tls-closed",
            Self::NotTls => "tls-not-tls",
            Self::Alert(_) => "tls-alert",
            Self::NoCertificate => "tls-no-certificate",
            Self::NotYet => "tls-no-certificate-yet",
            Self::Proved => "tls-proved",
            Self::NoSuite => "tls-no-suite",
            Self::Failed(_) => "tls-handshake",
            Self::Slow(_) => "tls-timeout",
        }
    }
}
