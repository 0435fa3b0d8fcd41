//! A reverse tunnel that is not there.

use std::io;
use std::time::Duration;

use thiserror::Error;

/// Why a bridge and a portal are not connected. It travels inside an [`io::Error`].
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ReverseError {
    /// A portal has nobody to send a session through. (Its `domain` is not said: who knows it may pass for a bridge.)
    #[error(
        "no bridge of portal `{portal}` is connected: does one run that has this portal's `domain`, and does a rule here lead its connection to this tag?"
    )]
    NoBridge {
        /// Its tag.
        portal: String,
    },
    /// The rules lead a bridge's connection to an outbound that dials targets itself.
    #[error(
        "the rules lead the connection to the portal here, which would dial `{domain}` itself: expected a rule with this bridge's `inboundTag` and `full:{domain}` that leads to the portal's server"
    )]
    Astray {
        /// The name that stands for the portal.
        domain: String,
    },
    /// A bridge's connection is for nobody.
    #[error("the rules lead the connection to the portal nowhere")]
    Nowhere,
    /// The server has taken a bridge's connection, and then let it go.
    #[error(
        "the connection ended before the portal spoke: does a rule at the server lead `{domain}` to its portal? ({ended})"
    )]
    Unanswered {
        /// The name that stands for the portal.
        domain: String,
        /// How it ended.
        ended: String,
    },
    /// Whoever took a bridge's connection says nothing.
    #[error("no word from the portal for {} s: does a rule at the server lead `{domain}` to its portal?", .after.as_secs())]
    Mute {
        /// The name that stands for the portal.
        domain: String,
        /// So long.
        after: Duration,
    },
    /// A published port names an outbound that is not there, or that has no relay server.
    #[error("no `relay` outbound is tagged `{tag}`")]
    NoOutbound {
        /// What is named.
        tag: String,
    },
    /// A relay server did not open a port in time.
    #[error("the server has not opened the port within {} s (`{tag}`)", .after.as_secs())]
    Slow {
        /// The outbound that leads to it.
        tag: String,
        /// So long.
        after: Duration,
    },
    /// The connection by which visitors come has ended.
    #[error("the connection to the server has ended")]
    ServerGone,
    /// A portal that spoke every two seconds does so no more.
    #[error("no word from the portal for {} s", .after.as_secs())]
    Silent {
        /// So long.
        after: Duration,
    },
}

impl ReverseError {
    /// The cause that an error carries.
    pub fn of(error: &io::Error) -> Option<&Self> {
        super::inner(error)?.downcast_ref()
    }

    /// Stays when the sentence changes.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoBridge { .. } => "no-bridge",
            Self::Astray { .. } | Self::Nowhere => "bridge-astray",
            Self::Unanswered { .. } | Self::Mute { .. } => "portal-unanswered",
            Self::NoOutbound { .. } => "publish-outbound",
            Self::Slow { .. } => "publish-timeout",
            Self::ServerGone => "publish-lost",
            Self::Silent { .. } => "portal-silent",
        }
    }

    fn kind(&self) -> io::ErrorKind {
        match self {
            Self::Mute { .. } | Self::Silent { .. } | Self::Slow { .. } => io::ErrorKind::TimedOut,
            _ => io::ErrorKind::NotConnected,
        }
    }
}

impl From<ReverseError> for io::Error {
    fn from(error: ReverseError) -> Self {
        Self::new(error.kind(), error)
    }
}
