//! What stands behind an inbound for strangers, and is not there.

use std::fmt;
use std::io;

use thiserror::Error;

use super::reason;

/// No answer comes from where `fallbacks` lead, or from a service that is published.
#[derive(Debug, Error)]
#[error("{lack} the {what} {to}: {}", reason(.source))]
pub struct FallbackError {
    /// How far it was.
    pub lack: Lack,
    /// Which of the two.
    pub what: Behind,
    /// `dest`.
    pub to: String,
    /// What the last attempt met.
    #[source]
    pub source: io::Error,
}

/// What there was none of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lack {
    /// A connection.
    Connection,
    /// An answer by HTTP, over one.
    Answer,
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connection => "nobody answers at",
            Self::Answer => "no answer by HTTP comes from",
        })
    }
}

/// What somebody has put there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behind {
    /// For whoever is no client.
    Fallback,
    /// Of a tunnel's client, for visitors.
    Service,
}

impl fmt::Display for Behind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fallback => "fallback",
            Self::Service => "service",
        })
    }
}

impl FallbackError {
    /// Stays when the sentence changes.
    pub fn code(&self) -> &'static str {
        "fallback-down"
    }
}
