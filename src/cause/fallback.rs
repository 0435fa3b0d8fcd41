//! What stands behind an inbound for strangers, and is not there.

use std::fmt;
use std::io;

use thiserror::Error;

use super::reason;

/// Nobody answers where `fallbacks` lead, or at a service that is published.
#[derive(Debug, Error)]
#[error("nobody answers at the {what} {to}: {}", reason(.source))]
pub struct FallbackError {
    /// Which of the two.
    pub what: Behind,
    /// `dest`.
    pub to: String,
    /// What the last attempt met.
    #[source]
    pub source: io::Error,
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
