//! A link that could not be opened.

use std::borrow::Cow;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use thiserror::Error;

use super::{BrowserError, TlsError, UpgradeError};
use crate::address::Destination;
use crate::io::own_listeners;

/// Why a transport opened no link. It travels inside an [`io::Error`], where [`DialError::of`] finds it again.
#[derive(Debug, Error)]
pub enum DialError {
    /// A name has no address.
    #[error("{0}")]
    Name(#[source] io::Error),
    /// A name was meant, and is not known.
    #[error(
        "{0} is a made-up address of `fakedns` whose name is forgotten: the application has to ask for the name again"
    )]
    Forgotten(Destination),
    /// There is no connection.
    #[error(transparent)]
    Tcp(#[from] TcpError),
    /// There is no TLS on it.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The server opens no tunnel.
    #[error(transparent)]
    Upgrade(UpgradeError),
    /// A browser was to open it.
    #[error(transparent)]
    Browser(#[from] BrowserError),
}

/// How far a transport came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Resolving a name.
    Name,
    /// Connecting.
    Tcp,
    /// The handshake of TLS.
    Tls,
    /// The request of a carrier, or all of it in a browser.
    Upgrade,
}

/// Why there is no connection.
#[derive(Debug, Error)]
pub enum TcpError {
    /// What the last address of those that were tried answered.
    #[error("cannot connect to {to}: {}{}", reason(.source), list(.to, .tried))]
    Failed {
        /// Where to.
        to: Destination,
        /// All addresses, in their order.
        tried: Vec<SocketAddr>,
        /// What the system says.
        source: io::Error,
    },
    /// A unix socket is not connected to.
    #[error("cannot connect to the unix socket {socket}: {}", reason(.source))]
    Unix {
        /// Where it is.
        socket: String,
        /// What the system says.
        source: io::Error,
    },
    /// None of the addresses is of the family of our own that was asked for.
    #[error(
        "cannot connect to {to}: it has no {} address for sendThrough {local}",
        if local.is_ipv4() { "IPv4" } else { "IPv6" }
    )]
    NoFamily {
        /// Where to.
        to: Destination,
        /// From where.
        local: IpAddr,
    },
    /// What there is of it is held back by `finalRules` of `freedom`.
    #[error("{to} is not connected to: `finalRules` hold back {}", .held.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))]
    HeldBack {
        /// Where to.
        to: Destination,
        /// Its addresses.
        held: Vec<SocketAddr>,
    },
    /// Nobody answers.
    #[error("no answer from {to} within {} s", .limit.as_secs())]
    Slow {
        /// Where to.
        to: Destination,
        /// How long was waited.
        limit: Duration,
    },
}

impl DialError {
    /// The cause that an error carries.
    pub fn of(error: &io::Error) -> Option<&Self> {
        super::inner(error)?.downcast_ref()
    }

    /// How far it came.
    pub fn stage(&self) -> Stage {
        match self {
            Self::Name(_) | Self::Forgotten(_) => Stage::Name,
            Self::Tcp(_) => Stage::Tcp,
            Self::Tls(_) => Stage::Tls,
            Self::Upgrade(_) | Self::Browser(_) => Stage::Upgrade,
        }
    }

    /// Stays when the sentence changes.
    pub fn code(&self) -> Cow<'static, str> {
        match self {
            Self::Name(e) => Cow::Borrowed(match e.kind() {
                io::ErrorKind::NotFound => "dns-none",
                io::ErrorKind::TimedOut => "dns-timeout",
                _ => "dns-failed",
            }),
            Self::Forgotten(_) => Cow::Borrowed("fakedns-forgotten"),
            Self::Tcp(e) => Cow::Borrowed(e.code()),
            Self::Tls(e) => Cow::Borrowed(e.code()),
            Self::Upgrade(e) => e.code(),
            Self::Browser(e) => Cow::Borrowed(e.code()),
        }
    }

    fn kind(&self) -> io::ErrorKind {
        match self {
            Self::Name(e)
            | Self::Tcp(TcpError::Failed { source: e, .. } | TcpError::Unix { source: e, .. }) => {
                e.kind()
            }
            Self::Forgotten(_) => io::ErrorKind::NotFound,
            Self::Tcp(TcpError::HeldBack { .. }) => io::ErrorKind::PermissionDenied,
            Self::Tcp(TcpError::NoFamily { .. }) => io::ErrorKind::AddrNotAvailable,
            Self::Tcp(TcpError::Slow { .. }) => io::ErrorKind::TimedOut,
            Self::Tls(e) => e.kind(),
            Self::Upgrade(e) => e.kind(),
            Self::Browser(e) => e.kind(),
        }
    }
}

impl TcpError {
    /// As [`DialError::code`].
    pub fn code(&self) -> &'static str {
        match self {
            Self::Failed { source, .. } | Self::Unix { source, .. } => match source.kind() {
                _ if own_listeners::is_kept(source) => "tcp-own-listener",
                io::ErrorKind::ConnectionRefused => "tcp-refused",
                io::ErrorKind::ConnectionReset => "tcp-reset",
                io::ErrorKind::TimedOut => "tcp-timeout",
                io::ErrorKind::NetworkUnreachable
                | io::ErrorKind::HostUnreachable
                | io::ErrorKind::AddrNotAvailable => "tcp-unreachable",
                _ => "tcp-failed",
            },
            Self::HeldBack { .. } => "final-rules",
            Self::NoFamily { .. } => "tcp-family",
            Self::Slow { .. } => "tcp-timeout",
        }
    }
}

/// What a layer below told in the middle of an upgrade stays what it is: TLS with early data has its handshake there.
impl From<UpgradeError> for DialError {
    fn from(error: UpgradeError) -> Self {
        match error {
            UpgradeError::Broken(e) => match e.downcast() {
                Ok(below) => below,
                Err(e) => Self::Upgrade(UpgradeError::Broken(e)),
            },
            error => Self::Upgrade(error),
        }
    }
}

impl From<DialError> for io::Error {
    fn from(error: DialError) -> Self {
        Self::new(error.kind(), error)
    }
}

/// An IP address that was asked for need not be said twice.
fn list(to: &Destination, tried: &[SocketAddr]) -> String {
    let is_news = |one: &SocketAddr| one.to_string() != to.to_string();
    if tried.len() > 1 || tried.first().is_some_and(is_news) {
        let tried: Vec<String> = tried.iter().map(ToString::to_string).collect();
        return format!(" (tried {})", tried.join(", "));
    }
    String::new()
}

/// An error of the system in lower case and without its number.
pub fn reason(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(_) => super::system_words(error),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_found_in_the_error_that_carries_it() {
        let source = io::Error::from(io::ErrorKind::ConnectionRefused);
        let failed = TcpError::Failed {
            to: "192.0.2.1:80".parse().unwrap(),
            tried: vec!["192.0.2.1:80".parse().unwrap()],
            source,
        };
        let error = io::Error::from(DialError::from(failed));
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        assert_eq!(
            error.to_string(),
            "cannot connect to 192.0.2.1:80: connection refused"
        );
        let cause = DialError::of(&error).unwrap();
        assert_eq!((cause.stage(), &*cause.code()), (Stage::Tcp, "tcp-refused"));
        assert!(DialError::of(&io::ErrorKind::TimedOut.into()).is_none());
    }
}
